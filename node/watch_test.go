package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
)

// reader watches and keeps what it is told, as a cache of the documents would.
type reader struct {
	prefix string

	mu     sync.Mutex
	docs   map[atoll.Key]string
	cursor atoll.Cursor // of the last event taken
	puts   int
	events []atoll.Event
	resets int
	err    error // why the last watch ended
	done   chan struct{}
	stop   context.CancelFunc
}

func newReader(prefix string) *reader {
	return &reader{prefix: prefix, docs: make(map[atoll.Key]string)}
}

// watch begins to watch at n, where the reader left off.
func (r *reader) watch(n *Node) {
	ctx, cancel := context.WithCancel(context.Background())
	r.done, r.stop = make(chan struct{}), cancel
	w := atoll.Watch{Keyspace: "test", Prefix: r.prefix, Cursor: r.at()}
	go func() {
		defer close(r.done)
		for events, err := range n.Watch(ctx, w) {
			r.take(events, err)
		}
	}()
}

func (r *reader) take(events []atoll.Event, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	for _, e := range events {
		r.cursor = e.Cursor
		r.events = append(r.events, e)
		switch e.Kind {
		case atoll.EventPut:
			r.docs[e.Key] = string(e.Body)
			r.puts++
		case atoll.EventDelete:
			delete(r.docs, e.Key)
		case atoll.EventReset:
			r.resets++
			clear(r.docs)
		}
	}
}

// leave ends the watch from the reader's side.
func (r *reader) leave() {
	r.stop()
	<-r.done
}

func (r *reader) at() atoll.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursor
}

func (r *reader) has(want map[atoll.Key]string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Equal(r.docs, want)
}

func (r *reader) told() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.puts
}

// kinds returns the kind of each event so far, with its key.
func (r *reader) kinds() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		all = append(all, string(e.Kind)+" "+string(e.Key))
	}
	return all
}

func (s *sea) delete(i int, key string) {
	s.t.Helper()
	_, err := s.node(i).Write(s.t.Context(), atoll.Write{
		Keyspace: "test", Key: atoll.Key(key), Change: atoll.Delete})
	if err != nil {
		s.t.Fatalf("delete at %d: %v", i, err)
	}
}

// docs lists all documents of node i: the naive twin of a watch.
func (s *sea) docs(i int, prefix string) map[atoll.Key]string {
	s.t.Helper()
	all := make(map[atoll.Key]string)
	l := atoll.Listing{Keyspace: "test", Prefix: prefix, Limit: atoll.MaxPage}
	for {
		p, err := s.node(i).List(s.t.Context(), l)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, d := range p.Items {
			all[d.Key] = string(d.Body)
		}
		if l.After = p.Next; p.Next == "" {
			return all
		}
	}
}

// agree waits until all nodes have seen the same.
func (s *sea) agree() {
	s.t.Helper()
	eventually(s.t, "all agree", func() bool {
		sums := make(map[uint64]bool)
		for _, n := range s.living() {
			if n == nil {
				continue
			}
			sum, err := n.Digest(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			sums[sum] = true
		}
		return len(sums) == 1
	})
}

// cut drops the whole index of node i, as if no member needed it.
func (s *sea) cut(i int) {
	s.t.Helper()
	for part := range atoll.Keyspace("test").Partitions() {
		a := replication.Address{Keyspace: "test", Partition: part}
		var clock = make(chan []replication.Cut, 1)
		err := s.node(i).loop.look(s.t.Context(), func(c *replication.Core) {
			var cuts []replication.Cut
			at := c.Clock(a)
			for _, r := range at.Runs() {
				cuts = append(cuts, replication.Cut{Address: a, Run: r})
			}
			clock <- cuts
		})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, in := range <-clock {
			s.node(i).loop.feed(s.t.Context(), in)
		}
	}
	eventually(s.t, "the index is cut", func() bool {
		v := s.node(i).store.Snapshot()
		defer v.Close()
		for part := range atoll.Keyspace("test").Partitions() {
			clock, cut := replication.ClocksIn(v, replication.Address{Keyspace: "test", Partition: part})
			if !cut.Covers(clock) {
				return false
			}
		}
		return true
	})
}

func TestWatchTells(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.put(0, "x", `{"v":1}`)
	all, some, fresh := newReader(""), newReader("y/"), newReader("")
	fresh.cursor = atoll.FromNow
	for _, r := range []*reader{all, some, fresh} {
		r.watch(s.node(0))
		defer r.leave()
	}
	eventually(t, "x is told", func() bool { return all.has(map[atoll.Key]string{"x": `{"v":1}`}) })
	s.put(0, "y/1", `{"v":2}`)
	s.agree()
	s.put(1, "y/1", `{"v":3}`)
	s.delete(1, "x")
	want := map[atoll.Key]string{"y/1": `{"v":3}`}
	for name, r := range map[string]*reader{"all": all, "y/": some, "from now": fresh} {
		eventually(t, name, func() bool { return r.has(want) })
	}
	eventually(t, "the deletion", func() bool { return slices.Contains(all.kinds(), "delete x") })
	if got := some.kinds(); slices.Contains(got, "put x") || slices.Contains(got, "delete x") {
		t.Errorf("beside the prefix: %v", got)
	}
	if got := fresh.kinds(); slices.Contains(got, "put x") {
		t.Errorf("from before now: %v", got)
	}
	etag := s.put(0, "y/1", `{"v":4}`).ETag
	eventually(t, "the last state", func() bool { return some.has(map[atoll.Key]string{"y/1": `{"v":4}`}) })
	if last := some.events[len(some.events)-1]; last.ETag != etag {
		t.Errorf("%+v, want ETag %s", last, etag)
	}
}

// TestWatchResumes: each cursor that a reader may have got leads on to the last
// state, at this node, at one of another region, and when the node was restarted.
// What was told is not told again, but for what one batch holds; only who missed
// deletions and asks a node that was restarted since begins anew.
func TestWatchResumes(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	for i := range 600 {
		s.put(i%2, atoll.Key(fmt.Sprint("k", i)), `{"v":1}`)
	}
	s.agree()
	first := newReader("")
	first.watch(s.node(0))
	eventually(t, "all is told", func() bool { return first.has(s.docs(0, "")) })
	first.leave()
	for i := range 200 {
		s.put(0, atoll.Key(fmt.Sprint("k", i)), `{"v":2}`)
		s.delete(0, fmt.Sprint("k", 599-i))
	}
	s.agree()
	s.stop(0)
	s.start(0)
	s.agree()
	want := s.docs(0, "")
	for i := 0; i < len(first.events); i += 50 {
		r := newReader("")
		for _, e := range first.events[:i+1] {
			r.take([]atoll.Event{e}, nil)
		}
		before := r.told()
		r.watch(s.node(i / 50 % 2))
		eventually(t, fmt.Sprint("the rest after event ", i), func() bool { return r.has(want) })
		r.leave()
		if r.resets > 0 && i/50%2 == 1 {
			t.Errorf("after event %d: reset", i)
		}
		// 400 are left of 600, of which 200 were told in their last state.
		if most := 600 - before + 200 + 2*watchEvents; r.told()-before > most {
			t.Errorf("after event %d: %d told, want %d at most", i, r.told()-before, most)
		}
	}
}

// TestWatchTenThousand: 10,000 changes in three regions, the watched node killed in
// the middle, the watch resumed in another region. Nothing is missed.
func TestWatchTenThousand(t *testing.T) {
	s := newSea(t, "a/1", "b/1", "c/1")
	s.put(0, "first", `{}`)
	r := newReader("")
	r.watch(s.node(0))
	dead := s.node(0) // soon
	killed, move := make(chan struct{}), make(chan struct{})
	var writers sync.WaitGroup
	const each = 10_000/64 + 1
	for w := range 64 {
		writers.Go(func() {
			for i := range each {
				if w == 0 && i == each/2 {
					close(move)
				}
				n := s.node(1 + w%2)
				select {
				case <-killed:
				default:
					if w%3 == 0 && i < each/2 && w > 0 {
						n = dead
					}
				}
				write := atoll.Write{Keyspace: "test", Key: atoll.Key(fmt.Sprintf("k%d/%d", w, i%40)),
					Body: fmt.Appendf(nil, `{"w":%d,"i":%d}`, w, i)}
				if i%7 == 3 {
					write.Change, write.Body = atoll.Delete, nil
				}
				_, err := n.Write(t.Context(), write)
				if err != nil && atoll.KindOf(err) != atoll.ShuttingDown {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	<-move
	close(killed)
	s.kill(0)
	<-r.done
	if atoll.KindOf(r.err) != atoll.ShuttingDown {
		t.Errorf("the watch at the killed node ended with %v", r.err)
	}
	r.watch(s.node(1))
	writers.Wait()
	s.start(0)
	s.agree()
	want := s.docs(2, "")
	eventually(t, "the last state of all", func() bool { return r.has(want) })
	r.leave()
	r.watch(s.node(0)) // and back to where it began
	s.put(0, "last", `{}`)
	want["last"] = `{}`
	eventually(t, "the last change", func() bool { return r.has(want) })
	r.leave()
	if r.resets > 0 {
		t.Errorf("%d resets: the index was there", r.resets)
	}
	t.Logf("%d documents, %d puts told", len(want), r.told())
}

// TestWatchSlow: a reader that takes nothing costs no memory, misses nothing, and
// is told to begin again only when the index has lost what it lacks.
func TestWatchSlow(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut ", cut), func(t *testing.T) {
			r := newReader("")
			go1, taken := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				defer close(taken)
				for events, err := range s.node(0).Watch(ctx, atoll.Watch{Keyspace: "test"}) {
					r.take(events, err)
					if r.has(s.docs(0, "")) {
						select {
						case go1 <- struct{}{}: // here it sticks until all is written
						case <-ctx.Done():
						}
					}
				}
			}()
			<-go1
			for i := range 2000 {
				s.put(0, atoll.Key(fmt.Sprint("k", i%100)), fmt.Sprintf(`{"i":%d}`, i))
			}
			s.delete(0, "k7")
			if cut {
				s.cut(0)
			}
			eventually(t, "caught up", func() bool {
				select {
				case <-go1:
				default:
				}
				return r.has(s.docs(0, ""))
			})
			cancel()
			<-taken
			if got := r.resets > 0; got != cut {
				t.Errorf("reset %v, want %v", got, cut)
			}
			if !cut && r.told() > 1500 {
				t.Errorf("%d puts of 100 documents told", r.told())
			}
		})
	}
}

// TestWatchFullPull: at a node that took everything over by full pulls, whose
// dots are in no index, a watch begins again and goes on.
func TestWatchFullPull(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	for i := range 100 {
		s.put(0, atoll.Key(fmt.Sprint("k", i)), `{"v":1}`)
	}
	s.agree()
	r := newReader("")
	r.watch(s.node(1))
	eventually(t, "all is told", func() bool { return r.has(s.docs(0, "")) })
	r.leave()
	s.kill(1)
	for i := range 50 {
		s.delete(0, fmt.Sprint("k", i))
	}
	s.cut(0)
	s.spots[1].dir = t.TempDir()
	s.start(1)
	eventually(t, "the keyspace is there", func() bool {
		return s.node(1).exists("test") == nil
	})
	r.watch(s.node(1))
	defer r.leave()
	s.put(0, "k0", `{"v":2}`)
	s.agree()
	want := s.docs(0, "")
	eventually(t, "the rest", func() bool { return r.has(want) })
	if r.resets == 0 {
		t.Error("no reset, though no index knows what was deleted")
	}
}

// TestWatchBehind: a reader that knows more than the node to which it turns is
// told of what it knew again when that comes there, in the state that both made.
func TestWatchBehind(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.put(0, "x", `{"v":1}`)
	s.agree()
	s.kill(1)
	merge := func(i int, body string) {
		t.Helper()
		_, err := s.node(i).Write(t.Context(), atoll.Write{
			Keyspace: "test", Key: "x", Change: atoll.Merge, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
	}
	merge(0, `{"a":1}`)
	r := newReader("")
	r.watch(s.node(0))
	eventually(t, "told by a", func() bool { return r.has(map[atoll.Key]string{"x": `{"a":1,"v":1}`}) })
	r.leave()
	s.kill(0)
	s.start(1)
	merge(1, `{"b":1}`)
	r.watch(s.node(1))
	defer r.leave()
	eventually(t, "told by b", func() bool { return r.has(map[atoll.Key]string{"x": `{"b":1,"v":1}`}) })
	s.start(0)
	want := map[atoll.Key]string{"x": `{"a":1,"b":1,"v":1}`}
	eventually(t, "told of both", func() bool { return r.has(want) })
	if r.resets > 0 {
		t.Error("reset")
	}
}

func TestWatchExpired(t *testing.T) {
	s := newSea(t, "a/1")
	s.put(0, "stays", `{}`)
	early := newReader("")
	early.watch(s.node(0))
	eventually(t, "told", func() bool { return early.has(s.docs(0, "")) })
	start := early.at()
	_, err := s.node(0).Write(t.Context(), atoll.Write{Keyspace: "test", Key: "goes",
		Body: []byte(`{}`), TTL: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the put", func() bool { return slices.Contains(early.kinds(), "put goes") })
	early.leave()
	last := early.events[len(early.events)-1]
	if left := time.Until(last.Expires); left <= 0 && s.get(0, "goes") == `{}` || left > time.Minute {
		t.Errorf("expires at %v", last.Expires)
	}
	eventually(t, "expired", func() bool { return s.get(0, "goes") == string(atoll.NotFound) })
	late, again := newReader(""), newReader("")
	again.cursor = start
	late.watch(s.node(0))
	defer late.leave()
	again.watch(s.node(0))
	defer again.leave()
	eventually(t, "the others", func() bool { return late.has(map[atoll.Key]string{"stays": `{}`}) })
	eventually(t, "the deletion", func() bool { return slices.Contains(again.kinds(), "delete goes") })
	if got := slices.Concat(late.kinds(), again.kinds()); slices.Contains(got, "put goes") {
		t.Errorf("told of an expired document: %v", got)
	}
}

func TestWatchRefuses(t *testing.T) {
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	for want, w := range map[atoll.Kind]atoll.Watch{
		atoll.UnknownKeyspace: {Keyspace: "nowhere"},
		atoll.BadRequest:      {Keyspace: "test", Cursor: "none"},
	} {
		n := 0
		for events, err := range s.node(0).Watch(t.Context(), w) {
			if n++; atoll.KindOf(err) != want || events != nil {
				t.Errorf("%+v: %v %v", w, events, err)
			}
		}
		if n != 1 {
			t.Errorf("%+v: %d batches", w, n)
		}
	}
	var h watchers
	for range MaxWatches {
		if !h.add(new(watcher)) {
			t.Fatal("refused below the limit")
		}
	}
	full := func(open map[*watcher]struct{}) {
		s.node(0).watchers.Lock()
		defer s.node(0).watchers.Unlock()
		s.node(0).watchers.open = open
	}
	full(h.open)
	for _, err := range s.node(0).Watch(t.Context(), atoll.Watch{Keyspace: "test"}) {
		var e *atoll.Error
		if !errors.As(err, &e) || e.Kind != atoll.RateLimited || e.Limit == nil {
			t.Errorf("one too many: %v", err)
		}
	}
	full(nil)
}

// TestWatchEnds: a watch ends with its reader, and with the node; then nothing of
// it is left.
func TestWatchEnds(t *testing.T) {
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	n := s.node(0)
	open := func() int {
		n.watchers.Lock()
		defer n.watchers.Unlock()
		return len(n.watchers.open)
	}
	a, b := newReader(""), newReader("")
	a.watch(n)
	b.watch(n)
	eventually(t, "both watch", func() bool { return open() == 2 && a.told() == 1 && b.told() == 1 })
	a.leave()
	eventually(t, "one is gone", func() bool { return open() == 1 })
	if a.err != nil {
		t.Errorf("who leaves is told %v", a.err)
	}
	s.stop(0)
	<-b.done
	if atoll.KindOf(b.err) != atoll.ShuttingDown || open() != 0 {
		t.Errorf("%v, %d open", b.err, open())
	}
	late := newReader("")
	late.watch(n)
	<-late.done
	if atoll.KindOf(late.err) != atoll.ShuttingDown {
		t.Errorf("at a node that is closed: %v", late.err)
	}
}
