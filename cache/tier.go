package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang/groupcache"

	"github.com/atolledge/atoll"
)

// Limits of a Tier.
const (
	// MinMemory is the least memory of a Tier, in bytes: groupcache throws all
	// it has away for one value that is larger than its share.
	MinMemory = 16 * atoll.ChunkSize

	// loadTimeout is how long a chunk may take from wherever it is. Nobody who
	// waits for it is held so long against his will.
	loadTimeout = 2 * time.Minute
)

var (
	errClosed = errors.New("cache: the tier is closed")
	errBad    = errors.New("cache: bytes that do not match their hash")
)

// TierConfig makes a Tier. All fields are required. The functions are called
// from many goroutines.
type TierConfig struct {
	Self   atoll.NodeID
	Memory int64 // bytes of chunks to keep in memory, at least MinMemory

	// Owners returns the live nodes of the own region, Self included.
	Owners func() []atoll.NodeID

	// Has reports whether the chunk is on this node's disk.
	Has func(atoll.Hash) bool

	// Load gets a chunk from the own disk, or from anywhere outside, homes
	// first. It must not ask a node to get the chunk through its Tier.
	Load func(ctx context.Context, h atoll.Hash, homes []atoll.NodeID) ([]byte, error)

	// Ask lets a node of the own region get a chunk through its Tier.
	Ask func(ctx context.Context, to atoll.NodeID, h atoll.Hash, homes []atoll.NodeID) ([]byte, error)

	// Spoilt is told of a chunk whose bytes did not match.
	Spoilt func(atoll.Hash)
}

// Tier is the memory in front of the chunks of a region. However many ask for a
// chunk at however many nodes of a region, its owner there loads it once. Its
// methods are safe for concurrent use.
type Tier struct {
	cfg    TierConfig
	slot   *slot
	life   uint64
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight
	work    sync.WaitGroup
}

// flight is one Get under way, of all that ask for the same at the same time.
type flight struct {
	done chan struct{} // closed when view and err are set
	view groupcache.ByteView
	err  error
}

// NewTier returns a Tier. Close it.
func NewTier(cfg TierConfig) *Tier {
	t := &Tier{cfg: cfg, flights: make(map[string]*flight)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.slot, t.life = acquire(t, max(cfg.Memory, MinMemory))
	return t
}

// Close ends all that is under way and waits for it. Those who wait get an error.
func (t *Tier) Close() {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.work.Wait()
	if first {
		t.slot.release()
	}
}

// Get returns a chunk, from memory, from disk, from the chunk's owner in this
// region, or from outside. It returns when ctx ends, whatever it waits for.
func (t *Tier) Get(
	ctx context.Context, h atoll.Hash, homes []atoll.NodeID,
) (groupcache.ByteView, error) {
	owner := Ranked(h, t.cfg.Owners())
	if len(owner) == 0 || owner[0] == t.cfg.Self || t.cfg.Has(h) {
		return t.get(ctx, kindOwn, h, homes)
	}
	return t.get(ctx, kindOwned, h, homes)
}

// GetOwn is Get for a peer that takes this node for the owner: it is never
// passed on to another node's Tier, whoever this node takes for the owner.
func (t *Tier) GetOwn(
	ctx context.Context, h atoll.Hash, homes []atoll.NodeID,
) (groupcache.ByteView, error) {
	return t.get(ctx, kindOwn, h, homes)
}

func (t *Tier) get(
	ctx context.Context, kind byte, h atoll.Hash, homes []atoll.NodeID,
) (groupcache.ByteView, error) {
	f := t.join(key(kind, t.life, h), homes)
	select {
	case <-f.done:
		return f.view, f.err
	case <-ctx.Done():
		return groupcache.ByteView{}, ctx.Err()
	}
}

// join returns the flight of a key, beginning one if there is none. groupcache
// merges callers too, but keeps those that it merged whatever their contexts say.
func (t *Tier) join(key string, homes []atoll.NodeID) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.flights[key]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	if t.closed {
		f.err = errClosed
		close(f.done)
		return f
	}
	t.flights[key] = f
	t.work.Go(func() { t.fly(f, key, homes) })
	return f
}

func (t *Tier) fly(f *flight, key string, homes []atoll.NodeID) {
	ctx, cancel := context.WithTimeout(context.WithValue(t.ctx, homesKey{}, homes), loadTimeout)
	defer cancel()
	f.err = t.slot.group.Get(ctx, key, groupcache.ByteViewSink(&f.view))
	t.mu.Lock()
	delete(t.flights, key)
	t.mu.Unlock()
	close(f.done)
}

// homesKey is the key of the homes of a chunk in the context of its flight.
type homesKey struct{}

func homesOf(ctx context.Context) []atoll.NodeID {
	homes, _ := ctx.Value(homesKey{}).([]atoll.NodeID)
	return homes
}

// load is groupcache's getter.
func (t *Tier) load(ctx context.Context, h atoll.Hash, dest groupcache.Sink) error {
	b, err := t.checked(h, func() ([]byte, error) { return t.cfg.Load(ctx, h, homesOf(ctx)) })
	if err != nil {
		return err
	}
	return dest.SetBytes(b)
}

// checked calls f and returns bytes only if they are the chunk h. A panic of f
// becomes an error: in groupcache it would hold the key for ever.
func (t *Tier) checked(h atoll.Hash, f func() ([]byte, error)) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("cache: panic while loading %s: %v", h, p)
		}
	}()
	if b, err = f(); err != nil {
		return nil, err
	}
	if len(b) > atoll.ChunkSize || atoll.HashOf(b) != h {
		t.cfg.Spoilt(h)
		return nil, fmt.Errorf("%w: chunk %s", errBad, h)
	}
	return b, nil
}
