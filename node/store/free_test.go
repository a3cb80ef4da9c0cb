package store

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

func TestFree(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		reserve int64
		want    atoll.Kind
	}{{0, ""}, {1, ""}, {math.MaxInt64, atoll.DiskFull}} {
		s, err := Open(Config{Dir: t.TempDir(), Reserve: tt.reserve,
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if free := s.Free(now); free <= 0 || free == math.MaxInt64 {
			t.Errorf("%d bytes free", free)
		}
		if got := atoll.KindOf(s.Full(now)); got != tt.want {
			t.Errorf("reserve %d: %q, want %q", tt.reserve, got, tt.want)
		}
		s.free.bytes = 7 // a reading counts for a while, then is made again
		if got := s.Free(now.Add(freeEvery - 1)); got != 7 {
			t.Errorf("asked again too soon: %d", got)
		}
		if got := s.Free(now.Add(freeEvery)); got == 7 {
			t.Error("never asked again")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFreeOfNoDisk: a disk that does not answer stops nobody, but what it said
// last counts.
func TestFreeOfNoDisk(t *testing.T) {
	s := &Store{cfg: Config{Dir: t.TempDir() + "/gone"}}
	s.SetReserve(1)
	now := time.Now()
	if got := s.Free(now); got != math.MaxInt64 {
		t.Errorf("%d bytes", got)
	}
	s.free.at, s.free.bytes = now, 0
	if got := s.Full(now.Add(time.Hour)); atoll.KindOf(got) != atoll.DiskFull {
		t.Errorf("got %v", got)
	}
}
