package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
)

func config(dir string) Config {
	return Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, s *Store, writes ...replication.Write) {
	t.Helper()
	if err := s.Commit(writes); err != nil {
		t.Fatal(err)
	}
}

func write(key, value string) replication.Write {
	return replication.Write{Key: []byte(key), Value: []byte(value)}
}

func remove(key string) replication.Write { return replication.Write{Key: []byte(key)} }

// all returns what a view holds between two keys as "key=value …".
func all(v replication.View, from, to string) string {
	return collect(v.Scan([]byte(from), []byte(to)))
}

func collect(scan iter.Seq2[[]byte, []byte]) string {
	var out []string
	for k, b := range scan {
		out = append(out, fmt.Sprintf("%s=%s", k, b))
	}
	return strings.Join(out, " ")
}

func snapshot(t testing.TB, s *Store, from, to string) string {
	t.Helper()
	v := s.Snapshot()
	defer v.Close()
	got := all(v, from, to)
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFormats(t *testing.T) {
	for text, want := range map[string]string{
		"format: 1\n": "",
		"1":           "",
		"format: 2\n": "format 2, this atoll knows up to 1: use the newer atoll that wrote it",
		"format: x\n": "cannot read its FORMAT file",
		"":            "cannot read its FORMAT file",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "FORMAT"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(config(dir))
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want == "":
			closed(t, s)
		case err == nil:
			closed(t, s)
			t.Errorf("%q was opened", text)
		case !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir):
			t.Errorf("%q: %v, want %q and the directory", text, err, want)
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "deep")
	closed(t, open(t, dir))
	if b, err := os.ReadFile(filepath.Join(dir, "FORMAT")); err != nil || string(b) != "format: 1\n" {
		t.Errorf("a new directory's FORMAT is %q, %v", b, err)
	}
	_, err := Open(config("/dev/null/x"))
	if err == nil || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("a directory that cannot be made: %v", err)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, write("a", "1"))
	_, err := Open(config(dir))
	if err == nil || !strings.Contains(err.Error(), "in use by another atoll process") ||
		!strings.Contains(err.Error(), dir) {
		t.Errorf("the second Open: %v", err)
	}
	closed(t, s)
	s = open(t, dir)
	defer closed(t, s)
	if got := snapshot(t, s, "a", "b"); got != "a=1" {
		t.Errorf("reopened: %q", got)
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	begin := func(random string) Identity {
		t.Helper()
		id, err := s.Begin(strings.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		s = open(t, dir)
		return id
	}
	if got, want := begin("12345678"), (Identity{0x3132333435363739, 1, true}); got != want {
		t.Errorf("the first: %+v, want %+v", got, want)
	}
	if got, want := begin(""), (Identity{0x3132333435363739, 2, false}); got != want {
		t.Errorf("the second: %+v, want %+v", got, want)
	}
	commit(t, s, Fence(7)) // another's: a copy of this directory was fenced elsewhere
	if got, want := begin(""), (Identity{0x3132333435363739, 3, false}); got != want {
		t.Errorf("after another's fence: %+v, want %+v", got, want)
	}
	commit(t, s, Fence(0x3132333435363739))
	if id, err := s.Begin(strings.NewReader("short")); err == nil {
		t.Errorf("without enough randomness it is %+v", id)
	}
	if got, want := begin("abcdefgh"), (Identity{0x6162636465666769, 4, true}); got != want {
		t.Errorf("after the fence: %+v, want %+v", got, want)
	}
	if got, want := begin(""), (Identity{0x6162636465666769, 5, false}); got != want {
		t.Errorf("and then: %+v, want %+v", got, want)
	}
	closed(t, s)
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, s, write("a", "1"), write("b", "2"), write("a", "3"), remove("b"), write("c", ""))
	if got := snapshot(t, s, "a", "z"); got != "a=3 c=" {
		t.Errorf("the later write does not count: %q", got)
	}
	commit(t, s)
	commit(t, s, remove("nothing"))
	big := strings.Repeat("x", 20<<20) // far over the value threshold
	commit(t, s, write("big", big))
	closed(t, s)
	s = open(t, dir)
	defer closed(t, s)
	v := s.Snapshot()
	defer v.Close()
	if b, ok := v.Get([]byte("big")); !ok || string(b) != big {
		t.Errorf("%d bytes of a large value, %v", len(b), ok)
	}
	if b, ok := v.Get([]byte("c")); !ok || len(b) != 0 {
		t.Errorf("an empty value is %q, %v", b, ok)
	}
	if b, ok := v.Get([]byte("b")); ok {
		t.Errorf("what was removed is %q", b)
	}
}

// TestCommitAllOrNothing: a batch that Badger does not take leaves nothing, and
// the store goes on.
func TestCommitAllOrNothing(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	commit(t, s, write("d/0", "old"))
	value := make([]byte, valueThreshold-1) // kept in the tables, so that it counts
	many := []replication.Write{write("d/0", "new")}
	for i := range memTable*15/100/len(value) + 1 {
		many = append(many, replication.Write{Key: fmt.Appendf(nil, "d/%03d", i+1), Value: value})
	}
	small := []replication.Write{write("d/0", "new")}
	for i := range 1 << 16 {
		small = append(small, write(fmt.Sprintf("d/%05d", i+1), ""))
	}
	for name, batch := range map[string][]replication.Write{
		"bytes": many, "keys": small,
		"a long key": {write("d/0", "new"), write(strings.Repeat("k", 1<<16), "")},
	} {
		if err := s.Commit(batch); err == nil {
			t.Errorf("%s: %d writes were taken: the limits are not what they were", name, len(batch))
		} else if name != "a long key" && !errors.Is(err, badger.ErrTxnTooBig) {
			t.Errorf("%s: %v", name, err)
		}
		if got := snapshot(t, s, "d/", "d0"); got != "d/0=old" {
			t.Errorf("%s: it left %.60q", name, got)
		}
	}
	commit(t, s, write("d/0", "later"))
	if got := snapshot(t, s, "d/", "d0"); got != "d/0=later" {
		t.Errorf("afterwards: %.60q", got)
	}
}

// TestStepsFit: the most that one step of the core writes, behind a batch that
// is full already, is a transaction.
func TestStepsFit(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	const batch = 256 << 10 // package node gathers this much before a last step
	value := make([]byte, valueThreshold-1)
	fill := func(size int, value []byte) (writes []replication.Write) {
		for i := 0; size > 0; i++ {
			w := replication.Write{Key: fmt.Appendf(nil, "d/%d/%06d", len(value), i), Value: value}
			writes = append(writes, w)
			size -= len(w.Key) + len(w.Value) + 64
		}
		return writes
	}
	var pull []replication.Write // of one document: its index entries hold its key
	for i := range replication.MaxDocRuns {
		pull = append(pull, replication.Write{Key: fmt.Appendf(nil, "i%064d%06d", 0, i),
			Value: make([]byte, atoll.MaxKey+10)})
	}
	pull = append(pull, write("d/document", string(make([]byte, 64<<20))))
	for name, step := range map[string][]replication.Write{
		"values": fill(replication.MaxStep+len(value), value),
		"keys":   fill(replication.MaxStep, []byte{}),
		"a pull": pull,
	} {
		if err := s.Commit(append(fill(batch, value[:100]), step...)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSnapshotIsolation(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	var views []*Snapshot
	for i := range 20 {
		commit(t, s, write("k", fmt.Sprint(i)), write(fmt.Sprintf("k%02d", i), "x"),
			remove(fmt.Sprintf("k%02d", i-1)))
		views = append(views, s.Snapshot(), s.Snapshot())
	}
	for i := range 500 { // the versions that are read must not be compacted away
		commit(t, s, write("k", strings.Repeat("y", 1000)+fmt.Sprint(i)))
	}
	for i, v := range views {
		want := fmt.Sprintf("k=%d k%02d=x", i/2, i/2)
		if got := all(v, "k", "l"); got != want {
			t.Errorf("snapshot %d shows %.60q, want %q", i, got, want)
		}
		if got := all(v, "k", "k00"); !strings.HasPrefix(want, got) {
			t.Errorf("snapshot %d, a part: %q", i, got)
		}
		for k := range v.Scan([]byte("k"), []byte("l")) {
			if string(k) != "k" {
				t.Errorf("the first key is %q", k)
			}
			break
		}
		if err := v.Err(); err != nil {
			t.Error(err)
		}
		v.Close()
	}
	if len(s.readers.at) > 0 {
		t.Errorf("readers are left: %v", s.readers.at)
	}
}

// model is the naive twin of a store under a Live reader: three maps.
type model struct{ durable, underway, gathering map[string]string }

// gone marks a deletion.
const gone = "\x00gone"

func (m *model) now() map[string]string {
	out := maps.Clone(m.durable)
	for _, layer := range []map[string]string{m.underway, m.gathering} {
		for k, v := range layer {
			if out[k] = v; v == gone {
				delete(out, k)
			}
		}
	}
	return out
}

func (m *model) commit() {
	for k, v := range m.underway {
		if m.durable[k] = v; v == gone {
			delete(m.durable, k)
		}
	}
	clear(m.underway)
}

// TestLive: what is gathered and under way stands in front of what is durable,
// against three maps, in any order of calls.
func TestLive(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		space := fmt.Sprintf("%06d/", round)
		live := s.Live()
		defer live.Close()
		m := model{map[string]string{}, map[string]string{}, map[string]string{}}
		var sealed []replication.Write
		busy := false
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				var writes []replication.Write
				for range rapid.IntRange(1, 3).Draw(t, "n") {
					k := space + rapid.StringMatching("[a-c]{1,2}").Draw(t, "key")
					v := rapid.SampledFrom([]string{"", "1", "22", gone}).Draw(t, "value")
					w := replication.Write{Key: []byte(k), Value: []byte(v)}
					if v == gone {
						w.Value = nil
					}
					m.gathering[k] = v
					writes = append(writes, w)
				}
				live.Add(writes)
			},
			"seal": func(t *rapid.T) {
				if busy {
					return // one batch at a time
				}
				sealed, busy = live.Seal(), true
				m.underway, m.gathering = m.gathering, m.underway
				if len(sealed) != len(m.underway) {
					t.Fatalf("sealed %d writes, want %d", len(sealed), len(m.underway))
				}
			},
			"commit": func(t *rapid.T) {
				if sealed == nil {
					return // nothing sealed
				}
				if err := s.Commit(sealed); err != nil {
					t.Fatal(err)
				}
				sealed = nil
			},
			"committed": func(t *rapid.T) {
				if !busy || sealed != nil {
					return // no commit has ended
				}
				live.Committed()
				m.commit()
				busy = false
			},
			"": func(t *rapid.T) { checkLive(t, live, &m, space) },
		})
		if busy && sealed != nil { // the next round begins on a store that is at rest
			if err := s.Commit(sealed); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func checkLive(t *rapid.T, live *Live, m *model, space string) {
	now := m.now()
	var want []string
	for _, k := range slices.Sorted(maps.Keys(now)) {
		want = append(want, k+"="+now[k])
	}
	if got := all(live, space, space+"z"); got != strings.Join(want, " ") {
		t.Fatalf("it shows %q, want %q", got, want)
	}
	from, to := space+rapid.StringMatching("[a-c]{1,2}").Draw(t, "from"),
		space+rapid.StringMatching("[a-c]{1,2}").Draw(t, "to")
	want = slices.DeleteFunc(want, func(w string) bool {
		k, _, _ := strings.Cut(w, "=")
		return k < from || k >= to
	})
	if got := all(live, from, to); got != strings.Join(want, " ") {
		t.Fatalf("from %q to %q it shows %q, want %q", from, to, got, want)
	}
	limit, n := rapid.IntRange(1, 3).Draw(t, "limit"), 0
	for range live.Scan([]byte(from), []byte(to)) {
		if n++; n == limit {
			break
		}
	}
	if n != min(limit, len(want)) {
		t.Fatalf("stopped at %d of %d after %d", limit, len(want), n)
	}
	k := space + rapid.StringMatching("[a-c]{1,2}").Draw(t, "get")
	v, there := now[k]
	if b, ok := live.Get([]byte(k)); ok != there || string(b) != v || live.Err() != nil {
		t.Fatalf("%q is %q, %v, %v; want %q, %v", k, b, ok, live.Err(), v, there)
	}
	size := 0
	for k, v := range m.gathering {
		if size += len(k); v != gone {
			size += len(v)
		}
	}
	if keys, bytes := live.Gathered(); keys != len(m.gathering) || bytes != size {
		t.Fatalf("gathered %d keys, %d bytes, want %d, %d", keys, bytes, len(m.gathering), size)
	}
}

func TestFull(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := open(t, t.TempDir())
	defer closed(t, s)
	if err := s.Full(now); err != nil {
		t.Errorf("without a reserve: %v", err)
	}
	s.SetReserve(1 << 62)
	s.free.bytes = 1 << 62
	if err := s.Full(now.Add(freeEvery - 1)); err != nil {
		t.Errorf("a reading is not trusted for %v: %v", freeEvery, err)
	}
	for _, at := range []time.Time{now.Add(freeEvery), now.Add(-time.Hour)} {
		s.free.bytes = 1 << 62
		err := s.Full(at)
		var e *atoll.Error
		if !errors.As(err, &e) || e.Kind != atoll.DiskFull || e.Limit == nil || e.Hint == "" {
			t.Errorf("below the reserve: %v", err)
		}
	}
	commit(t, s, write("a", "deletes go on"))
}

func TestCollectGarbage(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	commit(t, s, write("a", string(bytes.Repeat([]byte("v"), 1<<20))))
	s.CollectGarbage(func() bool { return true })
	s.CollectGarbage(func() bool { return false }) // nothing is half empty: it ends
	if got := snapshot(t, s, "a", "b"); len(got) != 1<<20+2 {
		t.Errorf("%d bytes are left", len(got))
	}
}
