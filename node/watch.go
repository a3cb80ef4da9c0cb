package node

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// A watcher keeps no queue of changes. It holds the clock of what it has told, by
// partition; when the loop says that a partition advanced it asks a snapshot what
// that clock lacks, and tells the last state of those documents. Catching up
// after a year, following live and being slow are one thing, and memory does not
// grow with any of them. What a snapshot shows is durable: a cursor never names a
// dot that a crash could take back.

// Limits of watches.
const (
	// MaxWatches of one node. Each costs about 20 KiB, and a read of the index a
	// change.
	MaxWatches = 4096
	// WatchBeat is how long a watcher hears nothing, at most.
	WatchBeat = 15 * time.Second

	keepEntries  = 4096    // index entries of a partition that stay for watchers
	keepDropped  = 1024    // of those of documents that are gone, in memory
	watchEvents  = 256     // of one batch, and as many again while reading all documents
	watchBytes   = 1 << 20 // of the documents in one batch, but for the one that passes it
	watchEntries = 4096    // index entries and documents that one batch looks at
)

// watchers are the open watches, and what they need of the index that the store
// need not keep.
type watchers struct {
	sync.Mutex
	open    map[*watcher]struct{}
	dropped map[replication.Address][]replication.Dropped // the latest last
}

// watcher tells one reader of the changes of a keyspace.
type watcher struct {
	n    *Node
	ask  atoll.Watch
	at   cursor       // what has been told once the batch in hand is taken
	last atoll.Cursor // at, encoded
	sent atoll.Cursor // that the reader has
	out  chan []atoll.Event
	err  error         // why out was closed; nil: the reader left
	wake chan struct{} // has room for one: some partition is dirty

	mu    sync.Mutex
	dirty []bool // partitions whose clock may hold more than has been told
}

// Watch tells of the changes of a keyspace's documents until ctx ends, in
// batches: at least the last state of every document that changed after
// w.Cursor, and none before it is durable here. The first batch says that the
// watch is open, an empty one that it still is. The errors, of which one at most comes and
// last, are *atoll.Error: UnknownKeyspace or BadRequest in the beginning,
// ShuttingDown when the node stops. The batches are the caller's.
func (n *Node) Watch(ctx context.Context, w atoll.Watch) iter.Seq2[[]atoll.Event, error] {
	return func(yield func([]atoll.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := n.openWatch(ctx, w)
		if err != nil {
			yield(nil, err)
			return
		}
		for events := range s.out {
			if !yield(events, nil) {
				return
			}
		}
		if s.err != nil {
			yield(nil, s.err)
		}
	}
}

// openWatch begins a watch, which ends with ctx or the node.
func (n *Node) openWatch(ctx context.Context, w atoll.Watch) (*watcher, error) {
	if n.stopping.Load() {
		return nil, errStopped()
	}
	if err := n.exists(w.Keyspace); err != nil {
		return nil, err
	}
	s := &watcher{n: n, ask: w, out: make(chan []atoll.Event), wake: make(chan struct{}, 1),
		dirty: make([]bool, w.Keyspace.Partitions())}
	if err := s.resume(ctx); err != nil {
		return nil, err
	}
	full := false
	// The loop is one of those that the node waits for at its end: while it looks
	// it may start another.
	err := n.loop.look(ctx, func(*replication.Core) {
		if full = !n.watchers.add(s); !full {
			n.work.Go(func() { s.run(ctx) })
		}
	})
	if full {
		return nil, atoll.Errorf(atoll.RateLimited, "this node has as many watches as it takes").
			WithHint("watch at another node; the cursor is good there").
			WithLimit("watches of a node", MaxWatches)
	}
	return s, err
}

func (h *watchers) add(s *watcher) bool {
	h.Lock()
	defer h.Unlock()
	if len(h.open) >= MaxWatches {
		return false
	}
	if h.open == nil {
		h.open = make(map[*watcher]struct{})
	}
	h.open[s] = struct{}{}
	return true
}

func (h *watchers) remove(s *watcher) {
	h.Lock()
	defer h.Unlock()
	delete(h.open, s)
}

func (h *watchers) count() int {
	h.Lock()
	defer h.Unlock()
	return len(h.open)
}

// remember keeps the index entries of documents that are gone for those who are
// away for a short while: the store has nothing of such a document. It is told
// before a snapshot can miss them. A restart forgets them.
func (h *watchers) remember(all []replication.Dropped) {
	if len(all) == 0 {
		return
	}
	h.Lock()
	defer h.Unlock()
	if h.dropped == nil {
		h.dropped = make(map[replication.Address][]replication.Dropped)
	}
	for _, d := range all {
		kept := h.dropped[d.Address]
		if len(kept) == keepDropped {
			kept = slices.Delete(kept, 0, keepDropped/8)
		}
		h.dropped[d.Address] = append(kept, d)
	}
}

// recall returns what was dropped from the index of a partition that a reader has
// not been told; false when that is not all that is in cut.
func (h *watchers) recall(a replication.Address, told, cut crdt.Clock) ([]replication.Dropped, bool) {
	h.Lock()
	defer h.Unlock()
	var news []replication.Dropped
	all := told.Clone()
	for _, d := range h.dropped[a] {
		if cut.HasRun(d.Run) && !told.HasRun(d.Run) {
			news = append(news, d)
			all.AddRun(d.Run)
		}
	}
	return news, all.Covers(cut)
}

// advanced hears which partitions durably grew. It runs in the loop's goroutine.
func (h *watchers) advanced(all []replication.Address) {
	if len(all) == 0 {
		return
	}
	h.Lock()
	defer h.Unlock()
	for s := range h.open {
		for _, a := range all {
			if a.Keyspace == s.ask.Keyspace {
				s.mark(a.Partition)
			}
		}
	}
}

// mark notes that a partition is to be looked at.
func (s *watcher) mark(part int) {
	s.mu.Lock()
	s.dirty[part] = true
	s.mu.Unlock()
	s.poke()
}

// poke makes the watcher look at the store once more.
func (s *watcher) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns the partitions to be looked at, which are told of already, and
// forgets that they are. Those that a scan has not passed will be read anyway.
func (s *watcher) take() (parts []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for part, dirty := range s.dirty {
		if dirty && (!s.at.scanning || part < s.at.part) {
			parts = append(parts, part)
		}
		s.dirty[part] = false
	}
	return parts
}

// resume finds out where the watch begins.
func (s *watcher) resume(ctx context.Context) (err error) {
	now := s.ask.Cursor == atoll.FromNow
	if now {
		s.ask.Cursor = ""
	}
	if s.at, err = parseCursor(s.ask); err != nil {
		return err
	}
	s.catchUp(ctx)
	v := s.n.store.Snapshot()
	defer v.Close()
	for part := range s.at.told {
		clock := replication.ClockIn(v, s.address(part))
		if now {
			s.at.told[part] = clock
		}
		// What this replica lacks it will tell of when it comes: until then it may
		// show documents without it, and the reader must hear of it again.
		s.at.told[part] = clock.Intersect(s.at.told[part])
		s.dirty[part] = true
	}
	s.at.scanning = s.at.scanning && !now
	s.last = s.at.encode()
	if err := v.Err(); err != nil {
		return s.n.readFailed(err)
	}
	return nil
}

// catchUp gives this replica a moment to get what the reader has been told
// elsewhere, so that what it is told next is not older. It need not succeed.
func (s *watcher) catchUp(ctx context.Context) {
	var t token
	for part, clock := range s.at.told {
		t.add(s.address(part), clock)
	}
	_ = s.n.await(ctx, t)
}

func (s *watcher) address(part int) replication.Address {
	return replication.Address{Keyspace: s.ask.Keyspace, Partition: part}
}

// run tells batch after batch until ctx or the node ends.
func (s *watcher) run(ctx context.Context) {
	defer close(s.out)
	defer s.n.watchers.remove(s)
	beat := time.NewTicker(WatchBeat)
	defer beat.Stop()
	for ok := s.send(ctx, s.pulse()); ok; { // who is let go at once has a cursor too
		events, err := s.next()
		if err != nil {
			s.err = err
			return
		}
		if len(events) > 0 {
			ok = s.send(ctx, events)
			continue
		}
		select {
		case <-s.wake:
		case <-beat.C:
			ok = s.send(ctx, s.pulse())
		case <-ctx.Done():
			return
		case <-s.n.ctx.Done():
			s.err = errStopped()
			return
		}
	}
}

// send hands a batch to the reader; false when the watch is over.
func (s *watcher) send(ctx context.Context, events []atoll.Event) bool {
	select {
	case s.out <- events:
		if n := len(events); n > 0 {
			s.sent = events[n-1].Cursor
		}
		return true
	case <-ctx.Done():
	case <-s.n.ctx.Done():
		s.err = errStopped()
	}
	return false
}

// pulse is what is told in a quiet time: a cursor, if changes that the reader did
// not ask for moved it.
func (s *watcher) pulse() []atoll.Event {
	if s.last == s.sent {
		return nil
	}
	return []atoll.Event{{Kind: atoll.EventMark, Cursor: s.last}}
}

// next returns the next batch, empty when there is nothing to tell. Of changes,
// the last event names what is told with all of it, the others what was told
// before it: nobody misses something who got half of it.
func (s *watcher) next() ([]atoll.Event, error) {
	parts := s.take() // first: what comes after this snapshot marks them again
	v := s.n.store.Snapshot()
	defer v.Close()
	b := gathering{s: s, v: v, now: s.n.cfg.Clock(), limit: watchEvents,
		seen: make(map[atoll.Key]bool)}
	for _, part := range parts {
		if !b.changes(part) {
			b.reset()
			break
		}
	}
	b.limit = len(b.events) + watchEvents // those who write do not starve the scan
	b.looked = 0
	b.scan()
	if b.err == nil && v.Err() != nil {
		b.err = s.n.readFailed(v.Err())
	}
	if b.err != nil {
		return nil, b.err
	}
	s.last = s.at.encode()
	if n := len(b.events); n > 0 {
		b.events[n-1].Cursor = s.last
	}
	return b.events, nil
}
