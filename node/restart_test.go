package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/atolledge/atoll"
)

// TestRestartContinues: everything is there, counters go on, the origin stays.
func TestRestartContinues(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	origin := s.node(0).Origin()
	for round := range 3 {
		for i := range 20 {
			s.put(0, atoll.Key(fmt.Sprintf("%d/%d", round, i)), `{"v":1}`)
		}
		s.inc(0, "count", "/n", 5)
		s.inc(1, "count", "/n", 1)
		s.converge()
		before := export(t, s.node(0), testSpace)
		if round%2 == 0 {
			s.stop(0)
		} else {
			s.kill(0)
		}
		s.inc(1, "count", "/n", 1)
		s.start(0)
		s.everywhere("count", fmt.Sprintf(`{"n":%d}`, 7*(round+1)))
		if n := s.node(0); n.Origin() != origin {
			t.Fatalf("origin %s became %s", origin, n.Origin())
		}
		if after := export(t, s.node(0), testSpace); len(after) < len(before) {
			t.Errorf("round %d: %d bytes, %d before", round, len(after), len(before))
		}
	}
	s.settle()
	s.sameExports(testSpace)
	if members := s.node(1).membersNow(); len(members) != 2 {
		t.Errorf("roster %+v", members)
	}
}

// TestCopiedDirectory: an old copy of a data directory takes no writes once it
// has met those who know more of its origin, and is a new writer after a restart.
func TestCopiedDirectory(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1", "c/1")
	s.settle()
	s.put(2, "x", `{"v":1}`)
	s.converge()
	origin := s.node(2).Origin()
	s.stop(2)
	backup := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(backup, os.DirFS(s.spots[2].dir)); err != nil {
		t.Fatal(err)
	}
	s.start(2)
	s.put(2, "x", `{"v":2}`)
	s.put(2, "y", `{"v":2}`)
	s.settle()
	s.stop(2)

	s.spots[2].dir = backup
	s.start(2)
	n := s.node(2)
	eventually(t, "the copy is fenced", func() bool {
		return strings.Contains(fmt.Sprint(n.Ready()), "fenced")
	})
	_, err := s.tryWrite(2, atoll.Write{Key: "z", Body: []byte(`{}`)})
	e := refused(t, err, atoll.Fenced)
	if !strings.Contains(e.Hint, "restart") {
		t.Errorf("hint %q", e.Hint)
	}
	s.everywhere("y", `{"v":2}`) // it reads and catches up
	s.stop(2)
	s.start(2)
	if got := s.node(2).Origin(); got == origin || got == 0 {
		t.Fatalf("the copy goes on as %s", got)
	}
	s.put(2, "z", `{"v":3}`)
	s.everywhere("z", `{"v":3}`)
	s.everywhere("x", `{"v":2}`)
	for _, n := range s.living() {
		eventually(t, "the old origin has left the roster", func() bool {
			for _, m := range n.membersNow() {
				if m.Origin == origin {
					return false
				}
			}
			return len(n.membersNow()) == 3
		})
	}
	s.settle()
	s.sameExports(testSpace)
}

// TestLostDirectory: a node that lost everything comes back as a new writer and
// gets all of it from the others, who forget the one it was.
func TestLostDirectory(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	for i := range 50 {
		s.put(i%2, atoll.Key(fmt.Sprint(i)), `{"v":1}`)
	}
	s.converge()
	old := s.node(1).Origin()
	s.stop(1)
	s.spots[1].dir = filepath.Join(t.TempDir(), "new")
	s.start(1)
	s.everywhere("49", `{"v":1}`)
	s.put(1, "new", `{}`)
	s.settle()
	s.sameExports(testSpace)
	for _, n := range s.living() {
		eventually(t, "the old origin has left the roster", func() bool {
			for _, m := range n.membersNow() {
				if m.Origin == old {
					return false
				}
			}
			return len(n.membersNow()) == 2
		})
	}
}

// TestDirectoryRefused: in use, or of a later version; the socket is given back.
func TestDirectoryRefused(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	used := s.config2("b/1", s.spots[0].dir)
	if n, err := New(used); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("in use: %v, %v", n, err)
	}
	later := t.TempDir()
	if err := os.WriteFile(filepath.Join(later, "FORMAT"), []byte("format: 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := s.config2("c/1", later)
	n, err := New(cfg)
	if err == nil || !strings.Contains(err.Error(), "format 99") ||
		!strings.Contains(err.Error(), "newer atoll") {
		t.Errorf("newer format: %v, %v", n, err)
	}
	for _, c := range []Config{used, cfg} {
		if _, err := c.Peer.WriteTo([]byte("x"), c.Peer.LocalAddr()); err == nil {
			t.Error("the socket of a node that was not made is still open")
		}
	}
	s.put(0, "x", `{}`) // the one in use is unharmed
}

// config2 makes the configuration of a node beside those of the sea.
func (s *sea) config2(id atoll.NodeID, dir string) Config {
	s.spots = append(s.spots, &spot{id: id, dir: dir, addr: "127.0.0.1:0"})
	return s.config(len(s.spots) - 1)
}

// TestCloseWithoutRun frees all that New took.
func TestCloseWithoutRun(t *testing.T) {
	s := newSea(t)
	for range 2 {
		n, err := New(s.config2("a/1", filepath.Join(t.TempDir(), "d")))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCallsOfAnEndingNode: whoever calls while the node ends gets an answer or
// an error with a kind; what was acknowledged is there afterwards.
func TestCallsOfAnEndingNode(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	for round, end := range []func(int){s.stop, s.kill} {
		n := s.node(0)
		var acked [8]atomic.Int64
		var callers sync.WaitGroup
		for c := range acked {
			callers.Go(func() {
				for i := int64(1); ; i++ {
					_, err := n.Write(t.Context(), atoll.Write{Keyspace: testSpace,
						Key: atoll.Key(fmt.Sprintf("%d/%d", round, c)), Body: fmt.Appendf(nil, "%d", i)})
					if err != nil {
						refused(t, err, atoll.ShuttingDown)
						return
					}
					acked[c].Store(i)
				}
			})
			callers.Go(func() {
				for {
					_, err := n.List(t.Context(), atoll.Listing{Keyspace: testSpace, Limit: 100})
					if err == nil {
						_, err = n.Read(t.Context(), atoll.Read{Keyspace: testSpace, Key: "x"})
					}
					if err != nil {
						refused(t, err, atoll.ShuttingDown)
						return
					}
				}
			})
		}
		for c := range acked {
			eventually(t, "all write", func() bool { return acked[c].Load() > 3 })
		}
		end(0)
		callers.Wait()
		s.start(0)
		for c := range acked {
			got := s.get(0, atoll.Key(fmt.Sprintf("%d/%d", round, c)))
			if got != fmt.Sprint(acked[c].Load()) && got != fmt.Sprint(acked[c].Load()+1) {
				t.Errorf("round %d, writer %d: %s, acknowledged %d", round, c, got, acked[c].Load())
			}
		}
	}
}
