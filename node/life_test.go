package node

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/wire"

	"github.com/atolledge/atoll/node/transport"
)

// forgetting returns what node i says of an origin.
func (s *sea) forgetting(i int, o atoll.Origin) atoll.Forgetting {
	for _, f := range s.node(i).Cluster().Forgetting {
		if f.Origin == o {
			return f
		}
	}
	return atoll.Forgetting{}
}

// knows reports whether node i has a dot of an origin in any clock.
func (s *sea) knows(i int, o atoll.Origin) (known bool) {
	err := s.node(i).loop.look(s.t.Context(), func(c *replication.Core) {
		for _, dots := range c.Seen() {
			known = known || dots[o] > 0
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return known
}

// TestLeave: a node that leaves has given all away before it goes, is forgotten,
// and comes back as another, empty one.
func TestLeave(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1", "c/1")
	s.settle()
	for range 20 {
		s.inc(2, "count", "/n", 1)
	}
	s.write(2, "lamp", atoll.Ops,
		`{"ops":[{"op":"set","path":"/stock","value":3},{"op":"bound","path":"/stock","min":0}]}`)
	old := s.node(2).Origin()
	if err := s.node(2).Leave(t.Context(), "a/1"); atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("leave of another: %v", err)
	}
	if err := s.node(2).Leave(t.Context(), "c/1"); err != nil {
		t.Fatal(err)
	}
	<-s.node(2).Left()
	if !s.node(2).Departed() {
		t.Error("it was put out, it says")
	}
	_, err := s.tryWrite(2, atoll.Write{Key: "x", Body: []byte(`{}`)})
	refused(t, err, atoll.ShuttingDown)
	s.stop(2)
	for i := range 2 {
		eventually(t, "its origin is closed", func() bool {
			p := s.forgetting(i, old).Phase
			return p == "closed" || p == "pruned"
		})
		if got := s.get(i, "count"); got != `{"n":20}` {
			t.Errorf("%s", got)
		}
		if n := len(s.node(i).membersNow()); n != 2 {
			t.Errorf("%d members", n)
		}
	}
	for range 3 { // its rights went to the others
		eventually(t, "one is sold", func() bool {
			_, err := s.tryWrite(0, atoll.Write{Key: "lamp", Change: atoll.Ops,
				Body: []byte(`{"ops":[{"op":"inc","path":"/stock","by":-1}]}`)})
			if err != nil && atoll.KindOf(err) != atoll.NoRights {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	s.start(2)
	if got := s.node(2).Origin(); got == old {
		t.Fatalf("it comes back as %s", got)
	}
	s.everywhere("count", `{"n":20}`)
	s.inc(2, "count", "/n", 1)
	s.everywhere("count", `{"n":21}`)
	s.settle()
	s.sameExports(testSpace)
}

// TestLeaveRefused: who is alone with what it wrote stays, and goes on.
func TestLeaveRefused(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	s.kill(1)
	s.put(0, "x", `{"v":1}`)
	err := s.node(0).Leave(t.Context(), "a/1")
	if atoll.KindOf(err) != atoll.DurabilityNotReached || !strings.Contains(err.Error(), "cannot leave") {
		t.Fatalf("%v", err)
	}
	if reasons := s.node(0).Ready(); len(reasons) > 0 {
		t.Errorf("not ready: %v", reasons)
	}
	s.put(0, "x", `{"v":2}`)
}

// TestForgetDeadNode: all promise, also one that has lapsed; then nothing of the
// dead one is left, and it finds itself out when it comes back after all.
func TestForgetDeadNode(t *testing.T) {
	t.Parallel()
	s := tunedSea(t, func(_ int, c *Config) { c.Lapse = time.Second }, "a/1", "b/1", "c/1")
	s.settle()
	s.put(2, "x", `{"v":1}`)
	s.converge()
	if _, err := s.node(0).Forget(t.Context(), "c/1"); atoll.KindOf(err) != atoll.PreconditionFailed {
		t.Errorf("forget of one that lives: %v", err)
	}
	if _, err := s.node(0).Forget(t.Context(), "d/1"); atoll.KindOf(err) != atoll.NotFound {
		t.Errorf("forget of nobody: %v", err)
	}
	dead := s.node(2).Origin()
	s.kill(2)
	s.kill(1)
	state := func(id atoll.NodeID) string {
		for _, r := range s.node(0).Cluster().Regions {
			for _, n := range r.Nodes {
				if n.ID == id {
					return n.State
				}
			}
		}
		return ""
	}
	eventually(t, "both have lapsed", func() bool {
		return state("b/1") == atoll.StateLapsed && state("c/1") == atoll.StateLapsed
	})
	if gone, err := s.node(0).Forget(t.Context(), "c/1"); err != nil || !slices.Equal(gone, []atoll.Origin{dead}) {
		t.Fatalf("%v, %v", gone, err)
	}
	eventually(t, "a has promised and waits for b, who has lapsed", func() bool {
		f := s.forgetting(0, dead)
		return f.Phase == "promised" && slices.Equal(f.Waiting, []atoll.NodeID{"b/1"}) && !f.Done
	})
	s.put(0, "x", `{"v":2}`)
	s.start(1)
	eventually(t, "b is a member again", func() bool { return state("b/1") == atoll.StateUp })
	for i := range 2 {
		eventually(t, "all know that nothing is left", func() bool { return s.forgetting(i, dead).Done })
		if s.knows(i, dead) {
			t.Error("something is left")
		}
	}
	s.start(2)
	n := s.node(2)
	if n.Origin() != dead {
		t.Fatal("it is another already")
	}
	select {
	case <-n.Left():
	case <-time.After(patience):
		t.Fatal("it does not find out that it is forgotten")
	}
	if n.Departed() {
		t.Error("it thinks that it left by itself")
	}
	s.stop(2)
	s.start(2)
	if s.node(2).Origin() == dead {
		t.Fatal("it goes on as the one that was forgotten")
	}
	s.everywhere("x", `{"v":2}`)
	s.put(2, "y", `{"v":3}`)
	s.everywhere("y", `{"v":3}`)
	s.settle()
	s.sameExports(testSpace)
}

// TestForgetLostDisk: the origin that a lost disk had is forgotten while the node
// goes on under a new one.
func TestForgetLostDisk(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	s.put(1, "x", `{"v":1}`)
	s.converge()
	old := s.node(1).Origin()
	s.kill(1)
	s.spots[1].dir = filepath.Join(t.TempDir(), "new")
	s.start(1)
	s.everywhere("x", `{"v":1}`)
	eventually(t, "it can be forgotten", func() bool {
		gone, err := s.node(1).Forget(t.Context(), "b/1")
		return err == nil && slices.Contains(gone, old)
	})
	s.put(0, "x", `{"v":2}`)
	for i := range 2 {
		eventually(t, "nothing of it is left", func() bool { return s.forgetting(i, old).Done })
	}
	s.settle()
	s.sameExports(testSpace)
}

// TestLiesAreNamed: what a peer says that cannot be so is not used, is counted
// under its name, and the others go on.
func TestLiesAreNamed(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	s.put(1, "x", `{"v":1}`)
	s.converge()
	g := s.guest(0, s.ca, nil)
	<-g.ups
	edit := func(o atoll.Origin, seq uint64, key atoll.Key, at time.Time) replication.Delta {
		e := crdt.NewEdit(crdt.Doc{}, key, o, seq, hlc.At(at))
		e.Add("", crdt.Existence, nil)
		d, _ := e.Delta()
		return replication.Delta{Delta: d, Address: replication.Address{Keyspace: testSpace,
			Partition: replication.PartitionOf(testSpace, key)}}
	}
	send := func(m replication.Message) {
		t, b := wire.Append(nil, m)
		g.Send("a/1", transport.Control, t, b)
	}
	misplaced := edit(4711, 1, "m", time.Now())
	misplaced.Partition = (misplaced.Partition + 1) % 64
	send(misplaced)
	send(edit(4713, 1, "u", time.Now())) // an origin that nobody knows
	theirs := edit(s.node(1).Origin(), 1<<40, "x", time.Now())
	send(theirs) // far above what b itself has said
	ahead := edit(4711, 7, "ahead", time.Now().Add(24*time.Hour))
	send(ahead) // stored, and no clock follows it
	eventually(t, "they are named", func() bool {
		var why []string
		for _, r := range s.node(0).Cluster().Refused {
			if r.Node == "guest/1" {
				why = append(why, r.Reason)
			}
		}
		return slices.Contains(why, "misplaced") && slices.Contains(why, "unknown") &&
			slices.Contains(why, "beyond")
	})
	eventually(t, "a document from tomorrow is kept", func() bool { return s.get(0, "ahead") == `{}` })
	s.put(0, "now", `{"v":1}`)
	d := s.conflictTimes(0, "now")
	if d.After(time.Now().Add(time.Hour)) {
		t.Errorf("the clock was dragged to %s", d)
	}
	s.put(1, "x", `{"v":2}`)
	s.everywhere("x", `{"v":2}`)
	if len(s.node(1).Cluster().Refused) > 0 {
		t.Errorf("b was told lies, too: %+v", s.node(1).Cluster().Refused)
	}
}

// conflictTimes returns when the newest entry of a document was written.
func (s *sea) conflictTimes(i int, key atoll.Key) (last time.Time) {
	v := s.node(i).store.Snapshot()
	defer v.Close()
	b, ok := v.Get(replication.DocKey(testSpace, replication.PartitionOf(testSpace, key), key))
	d, err := document(b, ok)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range d.Entries {
		if at := x.Time.Wall(); at.After(last) {
			last = at
		}
	}
	return last
}

// TestJoinBrokenOff: a new node takes everything in from two others. It is
// killed in the middle, with partitions half way in, and goes on to be exact.
func TestJoinBrokenOff(t *testing.T) {
	t.Parallel()
	const docs, writers = 6000, 64
	s := newSea(t, "a/1", "b/1")
	s.settle()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := w; i < docs; i += writers {
				_, err := s.node(i%2).Write(t.Context(), atoll.Write{Keyspace: testSpace,
					Key: atoll.Key(fmt.Sprint("k", i)), Body: fmt.Appendf(nil, `{"v":%d}`, i)})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	s.converge()
	for _, n := range s.living() { // as if a cap had been reached: the new one needs all
		cutAll(t, n)
	}
	s.spots = append(s.spots, &spot{id: "c/1", dir: filepath.Join(t.TempDir(), "c"), addr: "127.0.0.1:0"})
	s.start(2)
	begun := time.Now()
	sources := 0
	first := replication.Progress{}
	eventually(t, "it is in the middle", func() bool {
		first = s.progress(2)
		sources = max(sources, first.Sources)
		return first.Partitions > 0 && first.Documents > docs/10
	})
	s.kill(2)
	s.start(2)
	eventually(t, "it has all", func() bool {
		sources = max(sources, s.progress(2).Sources)
		page, err := s.node(2).List(t.Context(), atoll.Listing{Keyspace: testSpace, Limit: 1,
			After: "k5998"})
		return err == nil && len(page.Items) == 1
	})
	s.settle()
	s.sameExports(testSpace)
	second := s.progress(2)
	t.Logf("%d documents in %s; killed after %d with %d partitions left, of %d sources; then %d more",
		docs, time.Since(begun).Round(time.Millisecond), first.Documents, first.Partitions, sources,
		second.Documents)
	if first.Documents >= docs || second.Documents == 0 {
		t.Error("it was not in the middle")
	}
}

// progress returns how far node i is in taking whole partitions in.
func (s *sea) progress(i int) (p replication.Progress) {
	if err := s.node(i).loop.look(s.t.Context(), func(c *replication.Core) {
		p = c.Progress()
	}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// cutAll drops the whole index of a node's test keyspace.
func cutAll(t *testing.T, n *Node) {
	t.Helper()
	for part := range testSpace.Partitions() {
		at := replication.Address{Keyspace: testSpace, Partition: part}
		var clock crdt.Clock
		if err := n.loop.look(t.Context(), func(c *replication.Core) { clock = c.Clock(at) }); err != nil {
			t.Fatal(err)
		}
		for _, r := range clock.Runs() {
			n.loop.feed(t.Context(), replication.Cut{Address: at, Run: r})
		}
	}
}
