package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// quay is a loop on a store of its own, whose commits a test holds up.
type quay struct {
	*loop
	t       *testing.T
	commits atomic.Int64  // begun
	widest  atomic.Int64  // most keys of one
	allow   chan struct{} // a commit takes one, unless it is closed
	edits   atomic.Int64
	end     chan error
	stop    context.CancelFunc
}

func newQuay(t *testing.T) *quay {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.Begin(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	q := &quay{t: t, allow: make(chan struct{}), end: make(chan error, 1)}
	self := replication.Member{Origin: id.Origin, Node: "a/1", Region: "a"}
	q.loop = newLoop(s, self, time.Now, mrand.New(mrand.NewPCG(1, 1)), slog.New(slog.DiscardHandler))
	q.release = func(replication.Output) {}
	q.dropped = func([]replication.Dropped) {}
	q.durable = func(w []replication.Write) error {
		q.commits.Add(1)
		q.widest.Store(max(q.widest.Load(), int64(len(w)))) // one commit at a time
		<-q.allow
		return s.Commit(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	q.stop = cancel
	t.Cleanup(func() {
		q.proceed()
		cancel()
		<-q.done
		q.live.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() { q.end <- q.run(ctx) }()
	return q
}

// proceed lets all commits go on.
func (q *quay) proceed() {
	select {
	case <-q.allow:
	default:
		close(q.allow)
	}
}

// put writes a document and waits for the answer.
func (q *quay) put(key string) (replication.Reply, error) {
	tree, err := crdt.Parse([]byte(`{"v":1}`))
	if err != nil {
		return replication.Reply{}, err
	}
	return q.call(q.t.Context(), mutation{Mutate: replication.Mutate{
		Keyspace: testSpace, Key: atoll.Key(key),
		Edit: func(e *crdt.Edit) error {
			q.edits.Add(1)
			return crdt.Put(e, tree)
		},
	}})
}

// stored reports whether a document is durable.
func (q *quay) stored(key string) bool {
	v := q.store.Snapshot()
	defer v.Close()
	_, ok := v.Get(replication.DocKey(testSpace,
		replication.PartitionOf(testSpace, atoll.Key(key)), atoll.Key(key)))
	return ok
}

// puts begins n writes and returns their answers as they come.
func (q *quay) puts(n int, name string) <-chan error {
	answers := make(chan error, n)
	for i := range n {
		go func() {
			_, err := q.put(fmt.Sprintf("%s/%d", name, i))
			answers <- err
		}()
	}
	return answers
}

// TestGroupCommit: while one commit syncs, all that come are gathered for the
// next: 64 writers behind one commit are two commits, not 65.
func TestGroupCommit(t *testing.T) {
	q := newQuay(t)
	first := q.puts(1, "first")
	eventually(t, "the first commit is under way", func() bool { return q.commits.Load() == 1 })
	const writers = 64
	answers := q.puts(writers, "x")
	eventually(t, "all are gathered", func() bool { return q.edits.Load() == writers+1 })
	q.allow <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	q.allow <- struct{}{}
	for range writers {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if n := q.commits.Load(); n != 2 {
		t.Errorf("%d commits for %d writes", n, writers+1)
	}
}

// TestGroupCommitUnderLoad: nothing is held up, and writers that do not stop
// still share commits.
func TestGroupCommitUnderLoad(t *testing.T) {
	q := newQuay(t)
	q.proceed()
	const writers, each = 64, 30
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if _, err := q.put(fmt.Sprintf("%d/%d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := q.commits.Load(); n > writers*each/4 {
		t.Errorf("%d commits for %d writes", n, writers*each)
	}
	t.Logf("%d commits for %d writes", q.commits.Load(), writers*each)
}

// TestNothingLeavesBeforeItIsDurable: no answer, no message, no sight of a write
// whose commit is under way.
func TestNothingLeavesBeforeItIsDurable(t *testing.T) {
	q := newQuay(t)
	var released atomic.Int64
	// Before the first input nothing is released, so the hook may be set here.
	if err := q.look(t.Context(), func(*replication.Core) {
		q.release = func(out replication.Output) {
			if len(out.Changes) > 0 {
				released.Add(1)
			}
			for _, c := range out.Changes {
				if !q.stored(string(c.Key)) {
					t.Errorf("%s left before it was durable", c.Key)
				}
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	answers := q.puts(1, "x")
	eventually(t, "the commit is under way", func() bool { return q.commits.Load() == 1 })
	for range 100 { // the loop goes round: it has every chance to answer
		if err := q.look(t.Context(), func(*replication.Core) {}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-answers:
		t.Fatalf("answered before it was durable: %v", err)
	default:
	}
	if q.stored("x/0") || released.Load() > 0 {
		t.Fatal("seen before it was durable")
	}
	q.allow <- struct{}{}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	if !q.stored("x/0") || released.Load() != 1 {
		t.Error("answered, and not there")
	}
}

// TestBackPressure: a full batch stops taking inputs, so those who send wait.
func TestBackPressure(t *testing.T) {
	q := newQuay(t)
	const writers = 4000
	answers := q.puts(writers, "x")
	eventually(t, "the batch and the queue are full", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := q.enqueue(ctx, input{in: replication.Wake{}})
		return err != nil && q.edits.Load() >= batchKeys/8
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	refused(t, q.enqueue(ctx, input{in: replication.Wake{}}), atoll.ShuttingDown)
	if n := q.edits.Load(); n > 2*batchKeys {
		t.Errorf("%d writes taken behind one commit", n)
	}
	q.proceed()
	for range writers {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	// A write has a document, an index entry and its partition's clock.
	if n := q.widest.Load(); n < batchKeys/2 || n > batchKeys+3 {
		t.Errorf("a commit of %d keys", n)
	}
}

// TestEndCommitsWhatWasGathered: a clean end answers those who were taken.
func TestEndCommitsWhatWasGathered(t *testing.T) {
	q := newQuay(t)
	answers := q.puts(40, "x")
	eventually(t, "all are taken", func() bool { return q.edits.Load() == 40 })
	q.stop()
	q.proceed()
	for range 40 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-q.end; err != nil {
		t.Error(err)
	}
	_, err := q.put("late")
	refused(t, err, atoll.ShuttingDown)
	refused(t, q.look(t.Context(), func(*replication.Core) {}), atoll.ShuttingDown)
}

// TestFailingDisk: a commit that fails ends the node; nobody is told that a
// write is durable which is not, and what was acknowledged is there.
func TestFailingDisk(t *testing.T) {
	s := newSea(t)
	dir := filepath.Join(t.TempDir(), "d")
	n, err := New(s.config2("a/1", dir))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("input/output error")
	var fail atomic.Bool
	n.loop.durable = func(w []replication.Write) error {
		if fail.Load() {
			return broken
		}
		return n.store.Commit(w)
	}
	end := make(chan error, 1)
	go func() { end <- n.Run(context.Background()) }()
	const writers = 16
	var acked [writers]atomic.Int64
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := int64(1); ; i++ {
				_, err := n.Write(t.Context(), atoll.Write{Keyspace: testSpace,
					Key: atoll.Key(fmt.Sprint(w)), Body: fmt.Append(nil, i)})
				if err != nil {
					refused(t, err, atoll.ShuttingDown)
					return
				}
				acked[w].Store(i)
			}
		})
	}
	for w := range writers {
		eventually(t, "all write", func() bool { return acked[w].Load() > 3 })
	}
	fail.Store(true)
	if err := <-end; !errors.Is(err, broken) || !strings.Contains(err.Error(), "a/1") {
		t.Errorf("Run returned %v", err)
	}
	all.Wait()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	s.start(0)
	for w := range writers {
		if got, want := s.get(0, atoll.Key(fmt.Sprint(w))), fmt.Sprint(acked[w].Load()); got != want {
			t.Errorf("writer %d: %s, acknowledged %s", w, got, want)
		}
	}
}

// TestFullDisk: below its reserve a node takes nothing that adds, neither from
// clients nor from peers; reads and deletes go on, and it catches up afterwards.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	s := tunedSea(t, func(i int, c *Config) {
		if i == 1 && full.Load() {
			c.Reserve = 1 << 60
		}
	}, "a/1", "b/1")
	s.settle()
	s.put(0, "x", `{"v":1}`)
	s.put(0, "gone", `{"v":1}`)
	s.converge()
	s.stop(1)
	full.Store(true)
	s.start(1)
	for _, c := range []atoll.Change{atoll.Put, atoll.Merge} {
		_, err := s.tryWrite(1, atoll.Write{Key: "y", Change: c, Body: []byte(`{}`)})
		if e := refused(t, err, atoll.DiskFull); e.Hint == "" || e.Limit == nil ||
			e.Limit.Name != "limits.disk_reserve" {
			t.Errorf("%+v", e)
		}
	}
	refused(t, s.node(1).Drain(t.Context(), "a", true), atoll.DiskFull)
	if got := s.get(1, "x"); got != `{"v":1}` {
		t.Errorf("reads %s", got)
	}
	s.write(1, "gone", atoll.Delete, "")
	s.shows(0, "gone", string(atoll.NotFound))
	for i := range 200 {
		s.put(0, atoll.Key(fmt.Sprint(i)), `{"v":2}`)
	}
	eventually(t, "a knows that b is behind", func() bool {
		for _, r := range s.node(0).Cluster().Regions {
			if r.Name == "b" {
				return r.Nodes[0].Behind.Dots >= 200
			}
		}
		return false
	})
	if got := s.get(1, "199"); got != string(atoll.NotFound) {
		t.Errorf("a full disk took %s", got)
	}
	full.Store(false)
	s.stop(1)
	s.start(1)
	s.everywhere("199", `{"v":2}`)
	s.settle()
	s.sameExports(testSpace)
}
