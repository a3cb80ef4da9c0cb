package node

import (
	"context"
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
