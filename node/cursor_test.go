package node

import (
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// madeUp returns a cursor that has told of dots of a few origins, with holes in
// one partition out of so many.
func madeUp(rng *rand.Rand, w atoll.Watch, origins, holes int) cursor {
	c := newCursor(w)
	c.scanning = false
	for o := range origins {
		origin := atoll.Origin(rng.Uint64() | 1)
		for part := range c.told {
			if o > 0 && rng.IntN(4) == 0 {
				continue
			}
			run := crdt.Run{Origin: origin, First: 1, Last: 1 + rng.Uint64N(1<<rng.IntN(30))}
			c.told[part].AddRun(run)
			for range rng.IntN(3) {
				if rng.IntN(holes) == 0 {
					run.First = run.Last + 2 + rng.Uint64N(100)
					run.Last = run.First + rng.Uint64N(100)
					c.told[part].AddRun(run)
				}
			}
		}
	}
	return c
}

func same(a, b cursor) bool {
	return a.topic == b.topic && a.scanning == b.scanning && a.part == b.part && a.key == b.key &&
		slices.EqualFunc(a.told, b.told, func(x, y crdt.Clock) bool { return x.Equal(y) })
}

func TestCursorRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 500 {
		w := atoll.Watch{Keyspace: "stars", Prefix: "hip/"}
		c := madeUp(rng, w, rng.IntN(5), 1+rng.IntN(20))
		if i%3 == 0 {
			c.scanning, c.part = true, rng.IntN(64)
			c.key = atoll.Key(strings.Repeat("k", rng.IntN(atoll.MaxKey+1)))
		}
		w.Cursor = c.encode()
		got, err := parseCursor(w)
		if len(w.Cursor) > atoll.MaxCursor {
			t.Fatalf("%d: %d bytes", i, len(w.Cursor))
		}
		if len(c.append(c.told)) > maxCursorBytes {
			continue // widened: the next test
		}
		if err != nil || !same(got, c) {
			t.Fatalf("%d: %v\n got %+v\nwant %+v", i, err, got, c)
		}
	}
}

// TestCursorOfUsualClusters: a cursor does not forget while clusters are of a
// usual size.
func TestCursorOfUsualClusters(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, c := range []struct {
		origins int
		dots    uint64 // of each in a partition
		most    int    // bytes
	}{
		{1, 100, 200},
		{3, 1 << 12, 600},
		{3, 1 << 19, 850},
		{15, 1<<20 - 1, atoll.MaxCursor},
	} {
		w := atoll.Watch{Keyspace: "stars"}
		at := newCursor(w)
		at.scanning = false
		for range c.origins {
			o := atoll.Origin(rng.Uint64())
			for part := range at.told {
				at.told[part].AddRun(crdt.Run{Origin: o, First: 1, Last: c.dots})
			}
		}
		w.Cursor = at.encode()
		if got, err := parseCursor(w); err != nil || !same(got, at) || len(w.Cursor) > c.most {
			t.Errorf("%+v: %d bytes, %v, exact %v", c, len(w.Cursor), err, same(got, at))
		}
	}
}

// TestCursorForgets: what does not fit is forgotten, never invented; holes go
// before partitions.
func TestCursorForgets(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range 60 {
		w := atoll.Watch{Keyspace: "stars"}
		c := madeUp(rng, w, 5+rng.IntN(80), 1+rng.IntN(4))
		c.scanning, c.part, c.key = true, 63, atoll.Key(strings.Repeat("x", atoll.MaxKey))
		w.Cursor = c.encode()
		got, err := parseCursor(w)
		if err != nil || len(w.Cursor) > atoll.MaxCursor {
			t.Fatalf("%d: %d bytes, %v", i, len(w.Cursor), err)
		}
		if !got.scanning || got.part != c.part || got.key != c.key {
			t.Errorf("%d: the place is %v %d %.10q", i, got.scanning, got.part, got.key)
		}
		for part := range c.told {
			if !c.told[part].Covers(got.told[part]) {
				t.Fatalf("%d: partition %d claims what was not told", i, part)
			}
		}
		if i == 0 && got.told[0].Empty() {
			t.Error("everything was forgotten")
		}
	}
}

func TestBadCursors(t *testing.T) {
	w := atoll.Watch{Keyspace: "stars", Prefix: "hip/"}
	rng := rand.New(rand.NewPCG(4, 4))
	c := madeUp(rng, w, 2, 3)
	good := string(c.encode())
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) string {
		return base64.RawURLEncoding.EncodeToString(f(slices.Clone(raw)))
	}
	other := newCursor(atoll.Watch{Keyspace: "stars", Prefix: "hip"})
	for name, text := range map[string]string{
		"no base64":         "£££",
		"padded":            good + "=",
		"a session token":   "AQVzdGFycwEAAQ",
		"nothing":           "AQ",
		"of another prefix": string(other.encode()),
		"of a new version":  change(func(b []byte) []byte { b[0] = 2; return b }),
		"cut off":           change(func(b []byte) []byte { return b[:len(b)-1] }),
		"with a tail":       change(func(b []byte) []byte { return append(b, 0) }),
		"too many origins":  change(func(b []byte) []byte { b[10] = 200; return b }),
		"origin zero":       change(func(b []byte) []byte { clear(b[11:19]); return b }),
		"partition 64":      change(func(b []byte) []byte { return append(b[:9], 65, 0, 0) }),
		"a key that is not": change(func(b []byte) []byte { return append(b[:9], 1, 9, 0) }),
		"too long":          strings.Repeat("A", atoll.MaxCursor+1),
	} {
		w.Cursor = atoll.Cursor(text)
		if _, err := parseCursor(w); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.Cursor = atoll.Cursor(good)
	if _, err := parseCursor(w); err != nil {
		t.Error(err)
	}
}

// FuzzCursor: what parses is written again as the same cursor.
func FuzzCursor(f *testing.F) {
	w := atoll.Watch{Keyspace: "stars"}
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range 4 {
		c := madeUp(rng, w, i, 2)
		c.scanning = i == 2
		b, _ := base64.RawURLEncoding.DecodeString(string(c.encode()))
		f.Add(b[9:])
	}
	start := newCursor(w)
	head, _ := base64.RawURLEncoding.DecodeString(string(start.encode()))
	f.Fuzz(func(t *testing.T, tail []byte) {
		w := w
		w.Cursor = atoll.Cursor(base64.RawURLEncoding.EncodeToString(append(head[:9:9], tail...)))
		c, err := parseCursor(w)
		if err != nil {
			if atoll.KindOf(err) != atoll.BadRequest {
				t.Fatal(err)
			}
			return
		}
		w.Cursor = c.encode()
		again, err := parseCursor(w)
		if err != nil || !same(again, c) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, again, c)
		}
	})
}
