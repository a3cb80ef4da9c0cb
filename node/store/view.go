package store

import (
	"bytes"
	"errors"
	"iter"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/btree"

	"github.com/atolledge/atoll/replication"
)

// Snapshot reads one instant of a Store. It implements replication.View; a
// failed read makes Err return an error and what was read worthless. Close it.
// It is for one goroutine.
type Snapshot struct {
	s   *Store
	ts  uint64
	txn *badger.Txn
	err error
}

// Snapshot returns a reader of what is durable now; of a closed store one that
// reads nothing and says so.
func (s *Store) Snapshot() *Snapshot {
	s.readers.Lock()
	defer s.readers.Unlock()
	if s.readers.closed {
		return &Snapshot{s: s, err: ErrClosed}
	}
	ts := s.last.Load()
	s.readers.at[ts]++
	return &Snapshot{s: s, ts: ts, txn: s.db.NewTransactionAt(ts, false)}
}

// Close ends the snapshot. What it returned must not be used afterwards.
func (v *Snapshot) Close() {
	if v.txn == nil {
		return
	}
	v.txn.Discard()
	v.s.readers.Lock()
	defer v.s.readers.Unlock()
	if v.s.readers.at[v.ts]--; v.s.readers.at[v.ts] == 0 {
		delete(v.s.readers.at, v.ts)
	}
	if len(v.s.readers.at) == 0 {
		v.s.readers.gone.Broadcast()
	}
}

// Err returns the first failure to read.
func (v *Snapshot) Err() error { return v.err }

// Get implements replication.View.
func (v *Snapshot) Get(key []byte) ([]byte, bool) {
	if v.txn == nil {
		return nil, false
	}
	item, err := v.txn.Get(key)
	if err == nil {
		var b []byte
		if b, err = item.ValueCopy(nil); err == nil {
			return b, true
		}
	}
	if !errors.Is(err, badger.ErrKeyNotFound) && v.err == nil {
		v.err = err
	}
	return nil, false
}

// Scan implements replication.View.
func (v *Snapshot) Scan(from, to []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		if v.txn == nil {
			return
		}
		opt := badger.DefaultIteratorOptions
		opt.PrefetchValues = false
		it := v.txn.NewIterator(opt)
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			if bytes.Compare(item.Key(), to) >= 0 {
				return
			}
			b, err := item.ValueCopy(nil)
			if err != nil {
				v.err = errors.Join(v.err, err)
				return
			}
			if !yield(item.KeyCopy(nil), b) {
				return
			}
		}
	}
}

// Live reads what is durable behind the writes that are not yet: those being
// gathered and those whose commit is under way. It implements
// replication.View and belongs to the goroutine that commits.
type Live struct {
	s         *Store
	snap      *Snapshot
	gathering *btree.BTreeG[replication.Write]
	underway  *btree.BTreeG[replication.Write]
	bytes     int
}

// Live returns the committing goroutine's reader. Close it.
func (s *Store) Live() *Live {
	return &Live{s: s, snap: s.Snapshot(), gathering: layer(), underway: layer()}
}

func layer() *btree.BTreeG[replication.Write] {
	return btree.NewG(32, func(a, b replication.Write) bool {
		return bytes.Compare(a.Key, b.Key) < 0
	})
}

// Close ends the reader.
func (l *Live) Close() { l.snap.Close() }

// Err returns the first failure to read.
func (l *Live) Err() error { return l.snap.err }

// Add takes writes that are to be committed. It keeps their slices.
func (l *Live) Add(writes []replication.Write) {
	for _, w := range writes {
		old, _ := l.gathering.ReplaceOrInsert(w)
		l.bytes += len(w.Key) + len(w.Value) - len(old.Key) - len(old.Value)
	}
}

// Gathered returns how many keys and bytes wait for the next commit.
func (l *Live) Gathered() (keys, size int) { return l.gathering.Len(), l.bytes }

// Seal returns the gathered writes for one Commit; until Committed they are
// read from here. One batch at a time may be under way.
func (l *Live) Seal() []replication.Write {
	l.gathering, l.underway = l.underway, l.gathering
	l.bytes = 0
	writes := make([]replication.Write, 0, l.underway.Len())
	l.underway.Ascend(func(w replication.Write) bool {
		writes = append(writes, w)
		return true
	})
	return writes
}

// Committed says that the sealed batch is durable.
func (l *Live) Committed() {
	l.underway.Clear(true)
	err := l.snap.err
	l.snap.Close()
	l.snap = l.s.Snapshot()
	l.snap.err = err
}

// Get implements replication.View.
func (l *Live) Get(key []byte) ([]byte, bool) {
	for _, t := range [...]*btree.BTreeG[replication.Write]{l.gathering, l.underway} {
		if w, ok := t.Get(replication.Write{Key: key}); ok {
			return w.Value, w.Value != nil
		}
	}
	return l.snap.Get(key)
}

// Scan implements replication.View.
func (l *Live) Scan(from, to []byte) iter.Seq2[[]byte, []byte] {
	front := l.front(from, to)
	if len(front) == 0 {
		return l.snap.Scan(from, to)
	}
	return func(yield func([]byte, []byte) bool) {
		i := 0
		emit := func(w replication.Write) bool { return w.Value == nil || yield(w.Key, w.Value) }
		for k, b := range l.snap.Scan(from, to) {
			for ; i < len(front) && bytes.Compare(front[i].Key, k) < 0; i++ {
				if !emit(front[i]) {
					return
				}
			}
			if i < len(front) && bytes.Equal(front[i].Key, k) {
				continue // a newer write stands in front of it
			}
			if !yield(k, b) {
				return
			}
		}
		for ; i < len(front); i++ {
			if !emit(front[i]) {
				return
			}
		}
	}
}

// front returns the writes of both layers in from <= key < to, in order, the
// newer of each key.
func (l *Live) front(from, to []byte) []replication.Write {
	merged := l.underway
	if l.gathering.Len() > 0 {
		merged = layer()
		for _, t := range [...]*btree.BTreeG[replication.Write]{l.underway, l.gathering} {
			t.AscendRange(replication.Write{Key: from}, replication.Write{Key: to},
				func(w replication.Write) bool {
					merged.ReplaceOrInsert(w)
					return true
				})
		}
	}
	var front []replication.Write
	merged.AscendRange(replication.Write{Key: from}, replication.Write{Key: to},
		func(w replication.Write) bool {
			front = append(front, w)
			return true
		})
	return front
}
