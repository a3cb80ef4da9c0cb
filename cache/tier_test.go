package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/groupcache"

	"github.com/atolledge/atoll"
)

// shelf is where the tiers of a test get their chunks from, and who they ask.
type shelf struct {
	mu     sync.Mutex
	chunks map[atoll.Hash][]byte
	tiers  map[atoll.NodeID]*Tier
	owners map[atoll.NodeID][]atoll.NodeID // what each believes
	loads  atomic.Int64
	asked  atomic.Int64
	spoilt atomic.Int64
	gate   chan struct{} // loads wait for it, if it is there
}

func newShelf(chunks ...[]byte) *shelf {
	s := &shelf{
		chunks: map[atoll.Hash][]byte{}, tiers: map[atoll.NodeID]*Tier{},
		owners: map[atoll.NodeID][]atoll.NodeID{},
	}
	for _, c := range chunks {
		s.chunks[atoll.HashOf(c)] = c
	}
	return s
}

func (s *shelf) load(_ context.Context, h atoll.Hash, _ []atoll.NodeID) ([]byte, error) {
	s.loads.Add(1)
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.chunks[h]; ok {
		return b, nil
	}
	return nil, atoll.Errorf(atoll.NotFound, "no chunk %s", h)
}

// tier opens a node that takes owners for the nodes of its region.
func (s *shelf) tier(t testing.TB, self atoll.NodeID, owners ...atoll.NodeID) *Tier {
	c := TierConfig{
		Self: self, Owners: func() []atoll.NodeID { return owners },
		Has: func(atoll.Hash) bool { return false }, Load: s.load,
		Spoilt: func(atoll.Hash) { s.spoilt.Add(1) },
		Ask: func(
			ctx context.Context, to atoll.NodeID, h atoll.Hash, homes []atoll.NodeID,
		) ([]byte, error) {
			s.asked.Add(1)
			v, err := s.tiers[to].GetOwn(ctx, h, homes)
			return v.ByteSlice(), err
		},
	}
	x := NewTier(c)
	s.tiers[self] = x
	t.Cleanup(x.Close)
	return x
}

func TestOneLoadForAll(t *testing.T) {
	chunk := bytes.Repeat([]byte("x"), atoll.ChunkSize)
	h := atoll.HashOf(chunk)
	s := newShelf(chunk)
	s.gate = make(chan struct{})
	names := []atoll.NodeID{"r/1", "r/2", "r/3"}
	for _, n := range names {
		s.tier(t, n, names...)
	}
	var clients sync.WaitGroup
	for i := range 60 {
		clients.Go(func() {
			v, err := s.tiers[names[i%3]].Get(t.Context(), h, nil)
			if err != nil || !v.EqualBytes(chunk) {
				t.Errorf("%d bytes, %v", v.Len(), err)
			}
		})
	}
	close(s.gate)
	clients.Wait()
	if n := s.loads.Load(); n != 1 {
		t.Errorf("%d loads of one chunk by three nodes", n)
	}
	_, err := s.tiers[Ranked(h, names)[0]].Get(t.Context(), h, nil)
	if err != nil || s.loads.Load() != 1 {
		t.Errorf("the owner forgot it: %v, %d loads", err, s.loads.Load())
	}
}

// Each of two nodes takes the other for the owner. With groupcache's own merging
// of callers both would wait for ever.
func TestTwoOwnersDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunk := []byte("chunk")
		h := atoll.HashOf(chunk)
		s := newShelf(chunk)
		a, b := s.tier(t, "r/a", "r/b"), s.tier(t, "r/b", "r/a")
		var clients sync.WaitGroup
		for _, x := range []*Tier{a, b, a, b} {
			clients.Go(func() {
				if v, err := x.Get(t.Context(), h, nil); err != nil || v.String() != "chunk" {
					t.Errorf("%q %v", v, err)
				}
			})
		}
		began := time.Now()
		clients.Wait()
		if time.Since(began) > 0 {
			t.Errorf("it took %v: only a deadline ended it", time.Since(began))
		}
		if s.asked.Load() == 0 {
			t.Error("nobody was asked: the test tests nothing")
		}
	})
}

func TestPanicInALoadIsAnError(t *testing.T) {
	chunk := []byte("chunk")
	h := atoll.HashOf(chunk)
	s := newShelf(chunk)
	x := s.tier(t, "r/1", "r/1")
	good := x.cfg.Load
	x.cfg.Load = func(context.Context, atoll.Hash, []atoll.NodeID) ([]byte, error) { panic("boom") }
	for range 2 {
		if _, err := x.Get(t.Context(), h, nil); err == nil {
			t.Fatal("no error")
		}
	}
	x.cfg.Load = good
	if v, err := x.Get(t.Context(), h, nil); err != nil || v.String() != "chunk" {
		t.Errorf("the key hangs or is spoilt: %q %v", v, err)
	}
}

func TestPanicInAPeerIsAnError(t *testing.T) {
	chunk := []byte("chunk")
	s := newShelf(chunk)
	x := s.tier(t, "r/1", "r/2")
	x.cfg.Ask = func(context.Context, atoll.NodeID, atoll.Hash, []atoll.NodeID) ([]byte, error) {
		panic("boom")
	}
	if v, err := x.Get(t.Context(), atoll.HashOf(chunk), nil); err != nil || v.String() != "chunk" {
		t.Errorf("%q %v", v, err)
	}
}

// One that joins a load under way goes when its context ends; the load goes on
// for the other.
func TestJoinerMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunk := []byte("chunk")
		h := atoll.HashOf(chunk)
		s := newShelf(chunk)
		s.gate = make(chan struct{})
		x := s.tier(t, "r/1", "r/1")
		first := make(chan error, 1)
		go func() {
			_, err := x.Get(t.Context(), h, nil)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := x.Get(ctx, h, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("left after %v", took)
		}
		close(s.gate)
		if err := <-first; err != nil || s.loads.Load() != 1 {
			t.Errorf("%v, %d loads", err, s.loads.Load())
		}
	})
}

// A value that is larger than all memory would throw everything out of it and
// not stay itself: more than a chunk never gets in.
func TestTooLargeIsRefused(t *testing.T) {
	chunk, large := []byte("chunk"), make([]byte, atoll.ChunkSize+1)
	s := newShelf(chunk, large)
	x := s.tier(t, "r/1", "r/1")
	for range 2 {
		if _, err := x.Get(t.Context(), atoll.HashOf(chunk), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Get(t.Context(), atoll.HashOf(large), nil); !errors.Is(err, errBad) {
			t.Errorf("got %v", err)
		}
	}
	if n := s.loads.Load(); n != 3 {
		t.Errorf("%d loads, want 1 of the chunk and 2 of what is too large", n)
	}
}

func TestMemoryHasALimit(t *testing.T) {
	s := newShelf()
	x := s.tier(t, "r/1", "r/1")
	for i := range 3 * MinMemory / atoll.ChunkSize {
		b := bytes.Repeat([]byte{byte(i)}, atoll.ChunkSize)
		s.chunks[atoll.HashOf(b)] = b
		if _, err := x.Get(t.Context(), atoll.HashOf(b), nil); err != nil {
			t.Fatal(err)
		}
	}
	c := x.slot.group.CacheStats(groupcache.MainCache)
	if c.Bytes > MinMemory || c.Bytes < MinMemory/2 {
		t.Errorf("%d bytes in memory, limit %d", c.Bytes, MinMemory)
	}
}

func TestBadBytesAreNeverServed(t *testing.T) {
	chunk := []byte("chunk")
	h := atoll.HashOf(chunk)
	s := newShelf(chunk)
	owner := s.tier(t, "r/2", "r/2")
	x := s.tier(t, "r/1", "r/2")
	x.cfg.Ask = func(context.Context, atoll.NodeID, atoll.Hash, []atoll.NodeID) ([]byte, error) {
		return []byte("chunK"), nil
	}
	if v, err := x.Get(t.Context(), h, nil); err != nil || v.String() != "chunk" {
		t.Errorf("from a lying peer: %q %v, want it fetched elsewhere", v, err)
	}
	s.chunks[h] = []byte("chunK")
	if v, err := owner.Get(t.Context(), h, nil); !errors.Is(err, errBad) {
		t.Errorf("from a bad disk: %q %v", v, err)
	}
	if n := s.spoilt.Load(); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
	s.chunks[h] = chunk
	if v, err := owner.Get(t.Context(), h, nil); err != nil || v.String() != "chunk" {
		t.Errorf("the bad one stayed: %q %v", v, err)
	}
}

// Nodes that come and go in one process leave no group and no goroutine, and see
// nothing of those before them.
func TestRestartLeavesNothing(t *testing.T) {
	chunk := []byte("chunk")
	h := atoll.HashOf(chunk)
	s := newShelf(chunk)
	s.tier(t, "r/1", "r/1").Close()
	slots.Lock()
	groups := len(slots.all)
	slots.Unlock()
	before := runtime.NumGoroutine()
	for i := range 200 {
		x := s.tier(t, "r/1", "r/1")
		if _, err := x.Get(t.Context(), h, nil); err != nil {
			t.Fatal(err)
		}
		if n := s.loads.Load(); n != int64(i+1) {
			t.Fatalf("%d loads by %d nodes: one saw the memory of another", n, i+1)
		}
		x.Close()
		x.Close() // twice is fine
		if _, err := x.Get(t.Context(), h, nil); !errors.Is(err, errClosed) {
			t.Fatalf("after Close: %v", err)
		}
	}
	slots.Lock()
	defer slots.Unlock()
	if n := len(slots.all); n != groups {
		t.Errorf("%d groups, %d before 200 restarts", n, groups)
	}
	for range 10_000 { // those that have ended may not have left yet
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// Close ends a load that is under way, and those who wait for it.
func TestCloseEndsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		x := s.tier(t, "r/1", "r/1")
		x.cfg.Load = func(ctx context.Context, _ atoll.Hash, _ []atoll.NodeID) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		got := make(chan error)
		go func() {
			_, err := x.Get(context.Background(), atoll.HashOf(nil), nil)
			got <- err
		}()
		synctest.Wait()
		go x.Close()
		if err := <-got; err == nil {
			t.Error("no error")
		}
	})
}

func TestManyTiersInOneProcess(t *testing.T) {
	s := newShelf()
	var names []atoll.NodeID
	for i := range 12 {
		names = append(names, atoll.NodeID(fmt.Sprintf("r/%d", i)))
	}
	for _, n := range names {
		s.tier(t, n, names...)
	}
	for i := range 50 {
		b := fmt.Appendf(nil, "chunk %d", i)
		s.chunks[atoll.HashOf(b)] = b
		for _, n := range names {
			if v, err := s.tiers[n].Get(t.Context(), atoll.HashOf(b), nil); err != nil || !v.EqualBytes(b) {
				t.Fatalf("%s: %q %v", n, v, err)
			}
		}
	}
	if n := s.loads.Load(); n != 50 {
		t.Errorf("%d loads of 50 chunks by 12 nodes", n)
	}
}
