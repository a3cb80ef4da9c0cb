package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"github.com/atolledge/atoll"
)

// Limits of the chunk store.
const (
	chunkMemTable = 8 << 20 // bytes: it holds keys and stamps only
	chunkQueue    = 16      // operations that wait for the writer: 16 MiB of chunks
	chunkBatch    = 16      // operations of one synced transaction

	// StampEvery is how old the note of a chunk's last use may grow.
	StampEvery = 5 * time.Minute
)

// Keys of the chunk store: the bytes of a chunk, and 8 bytes of milliseconds
// since 1970 when it was last used, 4 bytes of its size, 1 if it is only cached.
const (
	kindChunk = 'c'
	kindStamp = 's'
)

// Keys that settle writes: the one so that it can be dropped, the other so that
// there is something to flush.
const (
	keyDropped = "d"
	keyFlushed = "f"
)

var (
	errChunksClosed = errors.New("the chunk store is closed")
	errNotPut       = errors.New("the chunk was not put here")
)

// Chunks keeps immutable chunks of bytes under their hashes, in a Badger of its
// own. It believes its callers that bytes and hash belong together. Its methods
// are safe for concurrent use.
type Chunks struct {
	db    *badger.DB
	full  func(time.Time) error
	clock func() time.Time
	ops   chan chunkOp
	wait  chan chan<- error // who wants all to be settled
	stop  chan struct{}
	done  chan struct{} // closed when the writer has ended
	stale atomic.Bool   // something was dropped since the garbage was collected

	reading sync.RWMutex // held by readers; Close waits for them
	closed  bool
}

// chunkOp is one write. Without bytes it drops the chunk if its stamp still is
// the given one, or renews its stamp, or does that only if it was put.
type chunkOp struct {
	hash  atoll.Hash
	bytes []byte
	cache bool
	drop  bool
	renew bool
	stamp time.Time
	done  chan<- error // has room for one; may be nil
}

// OpenChunks opens the chunks of a data directory. Close them before the Store.
func (s *Store) OpenChunks(clock func() time.Time) (*Chunks, error) {
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(s.cfg.Dir, "chunks")).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false).
		WithMemTableSize(chunkMemTable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(1). // settle relies on it
		WithCompactL0OnClose(true).
		WithNumCompactors(2).
		WithBlockCacheSize(0). // values are in the value log, which is mapped
		WithValueLogFileSize(valueLogFile).
		WithValueThreshold(1 << 10).
		WithCompression(options.None).
		WithLogger(badgerLog{s.cfg.Logger}))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: chunks: %w", s.cfg.Dir, err)
	}
	c := &Chunks{
		db: db, full: s.Full, clock: clock, ops: make(chan chunkOp, chunkQueue),
		wait: make(chan chan<- error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	c.stale.Store(true) // by the process before, perhaps
	go c.write()
	return c, nil
}

// Close ends the writer and closes the files. What waits is refused.
func (c *Chunks) Close() error {
	close(c.stop)
	<-c.done
	c.reading.Lock()
	defer c.reading.Unlock()
	c.closed = true
	return c.db.Close()
}

// view reads one instant. Badger does not survive a read after its end.
func (c *Chunks) view(f func(*badger.Txn) error) error {
	c.reading.RLock()
	defer c.reading.RUnlock()
	if c.closed {
		return errChunksClosed
	}
	return c.db.View(f)
}

// Put returns when the chunk is durable: an error of kind atoll.DiskFull when
// there is no room. It keeps b.
func (c *Chunks) Put(ctx context.Context, h atoll.Hash, b []byte) error {
	done := make(chan error, 1)
	if err := c.enqueue(ctx, chunkOp{hash: h, bytes: b, done: done}); err != nil {
		return err
	}
	return c.await(ctx, done)
}

// Keep hands a chunk over to be stored soon, or not at all when there is no
// room: a copy of what others have. It keeps b.
func (c *Chunks) Keep(ctx context.Context, h atoll.Hash, b []byte) {
	_ = c.enqueue(ctx, chunkOp{hash: h, bytes: b, cache: true})
}

// Renew is Put of a chunk that was put before, without its bytes. It reports
// whether that is so: false when it is not here, or only as a copy of what others
// have, or the stamp could not be written.
func (c *Chunks) Renew(ctx context.Context, h atoll.Hash) bool {
	done := make(chan error, 1)
	return c.enqueue(ctx, chunkOp{hash: h, renew: true, done: done}) == nil &&
		c.await(ctx, done) == nil
}

// Drop deletes a chunk unless it was put or used after held was listed.
func (c *Chunks) Drop(ctx context.Context, held atoll.Held) error {
	done := make(chan error, 1)
	op := chunkOp{hash: held.Hash, drop: true, stamp: held.Used, done: done}
	if err := c.enqueue(ctx, op); err != nil {
		return err
	}
	return c.await(ctx, done)
}

func (c *Chunks) enqueue(ctx context.Context, op chunkOp) error {
	select {
	case c.ops <- op:
		return nil
	case <-c.done:
		return errChunksClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Chunks) await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-c.done:
		return errChunksClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Has reports whether the chunk is here.
func (c *Chunks) Has(h atoll.Hash) bool {
	return c.view(func(txn *badger.Txn) error {
		_, err := txn.Get(stampKey(h))
		return err
	}) == nil
}

// Get returns the bytes of a chunk, which the caller owns; false when it is not
// here or cannot be read.
func (c *Chunks) Get(h atoll.Hash) (b []byte, ok bool) {
	var used time.Time
	err := c.view(func(txn *badger.Txn) error {
		item, err := txn.Get(chunkKey(h))
		if err != nil {
			return err
		}
		used = stampOf(txn, h).Used
		return item.Value(func(mapped []byte) error {
			b = bytes.Clone(mapped)
			letGo(mapped)
			return nil
		})
	})
	if err != nil {
		return nil, false
	}
	if c.clock().Sub(used) > StampEvery {
		select {
		case c.ops <- chunkOp{hash: h}:
		default: // a busy writer has more to do
		}
	}
	return b, true
}

// All yields every chunk in order of hashes, as of one instant.
func (c *Chunks) All() iter.Seq[atoll.Held] {
	return func(yield func(atoll.Held) bool) {
		_ = c.view(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.IteratorOptions{
				Prefix: []byte{kindStamp}, PrefetchValues: true, PrefetchSize: 100,
			})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				var held atoll.Held
				copy(held.Hash[:], it.Item().Key()[1:])
				_ = it.Item().Value(func(b []byte) error { decodeStamp(b, &held); return nil })
				if !yield(held) {
					return nil
				}
			}
			return nil
		})
	}
}

// Full returns an error of kind atoll.DiskFull while nothing may be added.
func (c *Chunks) Full() error { return c.full(c.clock()) }

// CollectGarbage gives the space of dropped chunks back, as far as they make up
// half of a file, until that is done or stop says so. What waits to be written
// waits a little longer meanwhile.
func (c *Chunks) CollectGarbage(stop func() bool) {
	if c.stale.Swap(false) && c.settled() != nil {
		c.stale.Store(true)
		return
	}
	for !stop() && c.db.RunValueLogGC(0.5) == nil {
	}
}

// settled returns when Badger knows which values nothing points at any more. It
// learns that from compactions, of tables that it has flushed; but the keys of
// some 60 GiB of chunks fit into a table that it has not.
func (c *Chunks) settled() error {
	done := make(chan error, 1)
	select {
	case c.wait <- done:
	case <-c.done:
		return errChunksClosed
	}
	if err := <-done; err != nil {
		return err
	}
	return c.db.Flatten(1)
}

// settle flushes what is in memory, twice: one table alone is never compacted.
// The only call of Badger that flushes is the one that drops a prefix, as its
// first step, and no write may come meanwhile: the writer itself calls it.
func (c *Chunks) settle() error {
	for range 2 {
		err := c.db.Update(func(txn *badger.Txn) error {
			return errors.Join(txn.Set([]byte(keyDropped), nil), txn.Set([]byte(keyFlushed), nil))
		})
		if err == nil {
			err = c.db.DropPrefix([]byte(keyDropped))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write is the writer's goroutine: while one transaction is being synced the
// next operations gather.
func (c *Chunks) write() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case op := <-c.ops:
			c.commit(c.gather(op))
		case done := <-c.wait:
			done <- c.settle()
		}
	}
}

func (c *Chunks) gather(first chunkOp) []chunkOp {
	batch := []chunkOp{first}
	for len(batch) < chunkBatch {
		select {
		case op := <-c.ops:
			batch = append(batch, op)
		default:
			return batch
		}
	}
	return batch
}

// commit carries out a batch in one transaction and answers it.
func (c *Chunks) commit(batch []chunkOp) {
	errs := make([]error, len(batch))
	full := c.Full()
	err := c.db.Update(func(txn *badger.Txn) error {
		for i, op := range batch {
			switch {
			case op.bytes != nil && full != nil:
				errs[i] = full
			default:
				if err := op.apply(txn, c.clock()); errors.Is(err, errNotPut) {
					errs[i] = err
				} else if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		err = atoll.Errorf(atoll.Internal, "the chunk store cannot write").Because(err)
	}
	for i, op := range batch {
		if op.done != nil {
			op.done <- errors.Join(errs[i], err)
		}
		if op.drop {
			c.stale.Store(true)
		}
	}
	c.letGoOf(batch)
}

// letGoOf lets go of what a batch has written.
func (c *Chunks) letGoOf(batch []chunkOp) {
	_ = c.db.View(func(txn *badger.Txn) error {
		for _, op := range batch {
			if item, err := txn.Get(chunkKey(op.hash)); op.bytes != nil && err == nil {
				_ = item.Value(func(mapped []byte) error { letGo(mapped); return nil })
			}
		}
		return nil
	})
}

// letGoFrom is the size of a value from which on it lies in the value log, which
// is mapped, and not in the table, for certain.
const letGoFrom = 64 << 10

// letGo takes the pages that lie within a value of the value log out of this
// process. They stay in the page cache, and come back when they are looked at:
// without it, what is resident would grow by every chunk that was ever touched,
// though the kernel may take it back, and limits of memory look at that.
func letGo(mapped []byte) {
	if len(mapped) < letGoFrom {
		return
	}
	page := uintptr(os.Getpagesize())
	first := -uintptr(unsafe.Pointer(&mapped[0])) % page
	last := (uintptr(len(mapped)) - first) / page * page
	_ = unix.Madvise(mapped[first:first+last], unix.MADV_DONTNEED)
}

func (op chunkOp) apply(txn *badger.Txn, now time.Time) error {
	held := stampOf(txn, op.hash)
	here := !held.Used.IsZero()
	switch {
	case op.drop && here && held.Used.Equal(op.stamp):
		return errors.Join(txn.Delete(chunkKey(op.hash)), txn.Delete(stampKey(op.hash)))
	case op.renew && (!here || held.Cached):
		return errNotPut
	case op.drop, op.bytes == nil && !here:
		return nil
	case op.bytes != nil && !here:
		if err := txn.Set(chunkKey(op.hash), op.bytes); err != nil {
			return err
		}
		held.Size, held.Cached = int64(len(op.bytes)), op.cache
	case op.bytes != nil:
		held.Cached = held.Cached && op.cache
	}
	// A stamp that has not moved would let a Drop under way take what was just put.
	if !now.Truncate(time.Millisecond).After(held.Used) {
		now = held.Used.Add(time.Millisecond)
	}
	held.Used = now
	return txn.Set(stampKey(op.hash), encodeStamp(held))
}

func chunkKey(h atoll.Hash) []byte { return append([]byte{kindChunk}, h[:]...) }
func stampKey(h atoll.Hash) []byte { return append([]byte{kindStamp}, h[:]...) }

func encodeStamp(h atoll.Held) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(h.Used.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Size))
	if h.Cached {
		return append(b, 1)
	}
	return append(b, 0)
}

// stampOf returns what is noted of a chunk; one without Used is not here.
func stampOf(txn *badger.Txn, h atoll.Hash) atoll.Held {
	held := atoll.Held{Hash: h}
	if item, err := txn.Get(stampKey(h)); err == nil {
		_ = item.Value(func(b []byte) error { decodeStamp(b, &held); return nil })
	}
	return held
}

func decodeStamp(b []byte, held *atoll.Held) {
	if len(b) >= 13 {
		held.Used = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
		held.Size = int64(binary.BigEndian.Uint32(b[8:]))
		held.Cached = b[12] == 1
	}
}
