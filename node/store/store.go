// Package store provides the durable state of a node: a sorted map from bytes to
// bytes in Badger, written by one goroutine in synced transactions.
//
// Open takes the data directory for this process. Commit makes a batch of
// writes durable, all or nothing. Snapshot reads one instant; Live reads what is
// durable with the writes that are still on their way in front of it.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
)

// Format is the version of what lies in a data directory. A newer one is
// refused; older ones are migrated here.
const Format = 1

// Limits of a store, in bytes.
const (
	// DefaultReserve is the free disk space below which nothing is added. Badger
	// maps sparse files: a disk that is truly full kills the process.
	DefaultReserve = 512 << 20

	memTable       = 32 << 20 // a transaction may have 15 % of it
	valueLogFile   = 128 << 20
	valueThreshold = 32 << 10 // longer values go to the value log
	blockCache     = 64 << 20

	// freeEvery is how long a reading of the free space is trusted.
	freeEvery = 100 * time.Millisecond
)

// Config opens a Store.
type Config struct {
	Dir     string
	Reserve int64 // bytes of disk space to keep free; 0: none
	Logger  *slog.Logger
}

// Store is an open data directory. Commit is for one goroutine; all else is
// safe for concurrent use.
type Store struct {
	cfg  Config
	db   *badger.DB
	last atomic.Uint64 // timestamp of the last durable transaction

	reserve atomic.Int64

	free struct {
		sync.Mutex
		at    time.Time
		bytes int64
	}
	readers struct {
		sync.Mutex
		at     map[uint64]int // open snapshots by timestamp
		gone   *sync.Cond     // there are none any more
		closed bool
	}
}

// Open opens the data directory, making it if need be. The error says what to
// do when it is in use, or written by a newer version.
func Open(cfg Config) (*Store, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := checkFormat(cfg.Dir); err != nil {
		return nil, err
	}
	for _, folder := range []string{"badger", "chunks"} {
		if err := dropEmpty(filepath.Join(cfg.Dir, folder)); err != nil {
			return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
		}
	}
	db, err := badger.OpenManaged(badgerOptions(cfg))
	switch {
	case err != nil && strings.Contains(err.Error(), "Another process is using"):
		return nil, fmt.Errorf("data directory %s is in use by another atoll process: "+
			"stop that one, or give this one its own --data", cfg.Dir)
	case err != nil:
		return nil, fmt.Errorf("data directory %s: %w", cfg.Dir, err)
	}
	s := &Store{cfg: cfg, db: db}
	s.reserve.Store(cfg.Reserve)
	s.readers.at = make(map[uint64]int)
	s.readers.gone = sync.NewCond(&s.readers)
	s.last.Store(max(db.MaxVersion(), 1))
	return s, nil
}

func badgerOptions(cfg Config) badger.Options {
	return badger.DefaultOptions(filepath.Join(cfg.Dir, "badger")).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		WithMetricsEnabled(false).
		WithMemTableSize(memTable).
		WithNumMemtables(3).
		WithNumLevelZeroTables(3).
		WithNumCompactors(2).
		WithBlockCacheSize(blockCache).
		WithValueLogFileSize(valueLogFile).
		WithValueThreshold(valueThreshold).
		WithCompression(options.None).
		WithLogger(badgerLog{cfg.Logger})
}

// checkFormat compares the directory's format with ours and writes it into a
// new one.
func checkFormat(dir string) error {
	name := filepath.Join(dir, "FORMAT")
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(name, fmt.Appendf(nil, "format: %d\n", Format), 0o600)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(b), "format:")))
	switch {
	case err != nil:
		return fmt.Errorf("data directory %s: cannot read its FORMAT file", dir)
	case n > Format:
		return fmt.Errorf("data directory %s has format %d, this atoll knows up to %d: "+
			"use the newer atoll that wrote it", dir, n, Format)
	}
	return nil
}

// ErrClosed is what a snapshot says that was asked for after Close.
var ErrClosed = errors.New("store: closed")

// Close closes the directory for the next process. It waits for the snapshots
// that are open: Badger must not be read once it is closed.
func (s *Store) Close() error {
	s.readers.Lock()
	s.readers.closed = true
	for len(s.readers.at) > 0 {
		s.readers.gone.Wait()
	}
	s.readers.Unlock()
	return s.db.Close()
}

// Commit makes the writes durable in one synced transaction; where a key is
// written twice the later write counts. They are visible to the readers that
// come after.
func (s *Store) Commit(writes []replication.Write) error {
	ts := s.last.Load() + 1
	txn := s.db.NewTransactionAt(ts-1, true)
	defer txn.Discard()
	for _, w := range writes {
		if err := put(txn, w); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if err := txn.CommitAt(ts, nil); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	s.last.Store(ts)
	s.discard()
	return nil
}

func put(txn *badger.Txn, w replication.Write) error {
	if w.Value == nil {
		return txn.Delete(w.Key)
	}
	return txn.Set(w.Key, w.Value)
}

// discard lets compaction drop the versions that no open snapshot reads.
func (s *Store) discard() {
	s.readers.Lock()
	defer s.readers.Unlock()
	oldest := s.last.Load()
	for ts := range s.readers.at {
		oldest = min(oldest, ts)
	}
	s.db.SetDiscardTs(oldest - 1)
}

// CollectGarbage rewrites value log files that are half empty until there is
// none or stop says so. It takes long; run it beside the rest.
func (s *Store) CollectGarbage(stop func() bool) {
	for !stop() && s.db.RunValueLogGC(0.5) == nil {
	}
}

// Full returns an error of kind atoll.DiskFull while the free disk space is
// below the reserve. Deletions may go on: that is what the reserve is for.
func (s *Store) Full(now time.Time) error {
	reserve := s.reserve.Load()
	if s.Free(now) >= reserve {
		return nil
	}
	return atoll.Errorf(atoll.DiskFull, "the disk of this node has less than its reserve free").
		WithHint("free space or delete documents; reads and deletes go on").
		WithLimit("limits.disk_reserve", reserve)
}

// Free returns the bytes of disk space that this process may still take, as
// they were at most freeEvery before now. A disk that cannot be asked counts as
// it was, and as boundless when it never answered.
func (s *Store) Free(now time.Time) int64 {
	s.free.Lock()
	defer s.free.Unlock()
	if now.Sub(s.free.at) < freeEvery && !now.Before(s.free.at) {
		return s.free.bytes
	}
	var fs unix.Statfs_t
	switch err := unix.Statfs(s.cfg.Dir, &fs); {
	case err == nil:
		s.free.bytes, s.free.at = int64(fs.Bavail)*int64(fs.Bsize), now
	case s.free.at.IsZero():
		return math.MaxInt64
	}
	return s.free.bytes
}

// Reserve returns the bytes that Full keeps free.
func (s *Store) Reserve() int64 { return s.reserve.Load() }

// SetReserve changes what Full keeps free.
func (s *Store) SetReserve(bytes int64) { s.reserve.Store(bytes) }

// Size returns the bytes of the tables and of the value log.
func (s *Store) Size() (tables, values int64) { return s.db.Size() }

// badgerLog passes Badger's words on: its news are details to us.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error(l.text(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn(l.text(f, a)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug(l.text(f, a)) }
func (l badgerLog) Debugf(f string, a ...any)   { l.log.Debug(l.text(f, a)) }

func (l badgerLog) text(f string, a []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(f, a...))
}
