package node

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

func testDeadline(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// tide is a clock that a test moves on; all nodes of a sea share it.
type tide struct{ ahead atomic.Int64 }

func (d *tide) tune(_ int, c *Config) { c.Clock = d.now }
func (d *tide) now() time.Time        { return time.Now().Add(time.Duration(d.ahead.Load())) }
func (d *tide) pass(by time.Duration) { d.ahead.Add(int64(by)) }

// TestTTL: a document is gone everywhere at its deadline, whoever looks, and the
// next write begins anew.
func TestTTL(t *testing.T) {
	t.Parallel()
	clock := new(tide)
	s := threeRegions(t, clock.tune)
	if _, err := s.tryWrite(tokyo, atoll.Write{Key: "x", Body: []byte(`{"old":1}`),
		TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	s.put(tokyo, "stays", `{}`)
	s.everywhere("x", `{"old":1}`)
	s.everywhere("stays", `{}`)
	clock.pass(time.Hour - time.Minute)
	for i := range s.spots {
		if got := s.get(i, "x"); got != `{"old":1}` {
			t.Errorf("a minute before: %s", got)
		}
	}
	clock.pass(time.Minute)
	for i, n := range s.living() {
		if got := s.get(i, "x"); got != string(atoll.NotFound) {
			t.Errorf("at its deadline %s shows %s", n.Self(), got)
		}
		p, err := n.List(t.Context(), atoll.Listing{Keyspace: testSpace, Limit: 10})
		if err != nil || len(p.Items) != 1 || p.Items[0].Key != "stays" {
			t.Errorf("%s lists %+v, %v", n.Self(), p.Items, err)
		}
	}
	_, err := s.tryWrite(frankfurt, atoll.Write{Key: "x", Change: atoll.Merge,
		Body: []byte(`{"v":0}`), IfMatch: []string{"*"}})
	refused(t, err, atoll.PreconditionFailed)
	w, err := s.tryWrite(frankfurt,
		atoll.Write{Key: "x", Change: atoll.Merge, Body: []byte(`{"new":1}`)})
	if err != nil || w.Existed {
		t.Errorf("written anew: %+v, %v", w, err)
	}
	s.everywhere("x", `{"new":1}`)
	clock.pass(1000 * time.Hour)
	s.everywhere("x", `{"new":1}`) // the deadline went with the old document
}

// TestTTLOfTheKeyspace: writes that say nothing take the keyspace's.
func TestTTLOfTheKeyspace(t *testing.T) {
	t.Parallel()
	clock := new(tide)
	s := threeRegions(t, clock.tune)
	_, err := s.node(tokyo).Configure(t.Context(), testSpace, atoll.Settings{TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range s.living() {
		eventually(t, "the setting is everywhere", func() bool {
			set, err := n.Settings(t.Context(), testSpace)
			return err == nil && set.TTL == time.Hour
		})
		s.put(i, atoll.Key(n.Self()), `{}`)
		if _, err := s.tryWrite(i, atoll.Write{Key: atoll.Key(n.Self() + "/long"),
			Body: []byte(`{}`), TTL: 3 * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	s.converge()
	for hours, want := range []int{6, 3, 3, 0} {
		for _, n := range s.living() {
			p, err := n.List(t.Context(), atoll.Listing{Keyspace: testSpace, Limit: 10})
			if err != nil || len(p.Items) != want {
				t.Errorf("after %d h %s lists %d, want %d (%v)", hours, n.Self(), len(p.Items), want, err)
			}
		}
		clock.pass(time.Hour)
	}
}

// naming counts what a node's store holds of a key, in keys or in values.
func naming(t testing.TB, n *Node, key atoll.Key) (count int) {
	t.Helper()
	v := n.store.Snapshot()
	defer v.Close()
	for k, b := range v.Scan([]byte{0}, []byte{0xff}) {
		if bytes.Contains(k, []byte(key)) || bytes.Contains(b, []byte(key)) {
			count++
		}
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return count
}

// leavesNothing waits until no store names a key, and says how long that took.
func (s *sea) leavesNothing(key atoll.Key) {
	s.t.Helper()
	since := time.Now()
	eventually(s.t, "no store names "+string(key), func() bool {
		return !slices.ContainsFunc(s.living(), func(n *Node) bool { return naming(s.t, n, key) > 0 })
	})
	s.t.Logf("no store names %s after %v", key, time.Since(since).Round(10*time.Millisecond))
}

// TestNothingStays: of a document that was deleted, or past its deadline, no node
// keeps anything, neither cells nor index nor deadline, and yet one who watches
// hears that it is gone, also if he was away.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	clock := new(tide)
	s := threeRegions(t, clock.tune)
	s.put(tokyo, "there", `{}`)
	s.converge()
	away := newReader("")
	away.watch(s.node(washington))
	eventually(t, "told", func() bool { return away.told() > 0 })
	away.leave()
	for i := range 3 {
		s.put(i, "deleted-1", `{"n":1}`)
		s.inc(i, "deleted-1", "/hits", 1)
		s.converge()
	}
	for _, ttl := range []time.Duration{time.Hour, 2 * time.Hour} { // it is extended once
		if _, err := s.tryWrite(frankfurt, atoll.Write{Key: "expired-1", Change: atoll.Merge,
			Body: []byte(`{"v":1}`), TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	s.converge()
	for i := range s.spots {
		if n := naming(t, s.node(i), "deleted-1"); n == 0 {
			t.Fatal("what is there is not counted")
		}
	}
	s.write(frankfurt, "deleted-1", atoll.Delete, "")
	s.leavesNothing("deleted-1")
	clock.pass(time.Hour)
	s.shows(tokyo, "expired-1", `{"v":1}`)
	clock.pass(time.Hour)
	s.leavesNothing("expired-1")
	away.watch(s.node(washington))
	defer away.leave()
	eventually(t, "both are known to be gone", func() bool {
		return slices.Contains(away.kinds(), "delete deleted-1") &&
			slices.Contains(away.kinds(), "delete expired-1")
	})
	if slices.Contains(away.kinds(), "reset ") {
		t.Errorf("the watch began anew: %v", away.kinds())
	}
}

// TestDeletesWin: across a cut a document is deleted on one side and edited, put
// or extended on the other. Where deletes win it is gone everywhere afterwards,
// nobody speaks of a conflict, and nothing stays; what was written by somebody who
// knew of the deletion stays.
func TestDeletesWin(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	_, err := s.node(tokyo).Configure(t.Context(), testSpace,
		atoll.Settings{Conflict: atoll.DeleteWins})
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.spots {
		eventually(t, "the setting is everywhere", func() bool {
			set, err := s.node(i).Settings(t.Context(), testSpace)
			return err == nil && set.Conflict == atoll.DeleteWins
		})
	}
	keys := []atoll.Key{"sess-merged", "sess-put", "sess-counted", "sess-again"}
	for _, key := range keys {
		s.put(frankfurt, key, `{"user":"u","n":1}`)
	}
	s.converge()
	s.cutOff("tokyo")
	for _, key := range keys {
		s.write(tokyo, key, atoll.Delete, "")
	}
	s.write(tokyo, "sess-unseen", atoll.Delete, "") // there is none yet
	s.put(washington, "sess-unseen", `{}`)
	s.write(washington, "sess-merged", atoll.Merge, `{"seen":2}`)
	s.put(frankfurt, "sess-put", `{"user":"v"}`)
	s.inc(washington, "sess-counted", "/n", 5)
	s.put(tokyo, "sess-again", `{"user":"w"}`) // who deleted it
	s.write(frankfurt, "sess-again", atoll.Merge, `{"seen":2}`)
	s.net.Heal()
	s.everywhere("sess-again", `{"user":"w"}`)
	for _, key := range append(keys[:3], "sess-unseen") {
		s.leavesNothing(key)
	}
	s.everywhere("sess-again", `{"user":"w"}`)
	for i := range s.spots {
		if c := s.node(i).Conflicts(); len(c) > 0 {
			t.Errorf("%s speaks of conflicts: %+v", s.spots[i].id, c)
		}
	}
	s.write(washington, "sess-again", atoll.Delete, "")
	s.leavesNothing("sess-again")
}
