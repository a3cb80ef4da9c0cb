package replication

import (
	"bytes"
	"encoding/binary"
	"iter"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// The durable state of a replica is one sorted map from bytes to bytes. Keys are
//
//	kind 1, keyspace, 0, partition 2, rest
//
// so that a partition's documents lie together in byte order of their keys.
const (
	kindBounded  = 'b' // rest = key;            no value: the document holds a bounded counter
	kindDoc      = 'd' // rest = key;            value = doc, trail: see stored
	kindDeadline = 'e' // rest = ms 8, key;      no value: when the document expires
	kindGone     = 'g' // of the node: g, origin 8;    value = how far it is forgotten
	kindIndex    = 'i' // rest = origin 8 seq 8; value = length-1, key: the run that begins here
	kindMeta     = 'm' // no rest;               value = clock, cut, number of index entries
	kindMark     = 'r' // rest = key;            no value: something of it goes when all have seen it
	kindStaged   = 's' // rest = key;            value = doc of a full pull on its way in
	kindStage    = 't' // no rest;               value = state of that full pull
)

// View reads a replica's durable state. Inside Step it shows every write of the
// steps before; for Answer it is a snapshot of one instant. Slices stay valid
// until the view is closed, and are read only. A view that fails to read says
// so to its owner, who then discards what was decided on it.
type View interface {
	// Get returns the value of key; ok is false when there is none.
	Get(key []byte) (value []byte, ok bool)
	// Scan yields keys from <= key < to in order.
	Scan(from, to []byte) iter.Seq2[[]byte, []byte]
}

// Write is one change of the durable state. A nil Value deletes.
type Write struct{ Key, Value []byte }

// Record says what kind of thing a Write is about.
type Record byte

// The records that one who watches the durable state from outside may want to
// tell apart; the others are bookkeeping.
const (
	DocRecord   Record = kindDoc
	IndexRecord Record = kindIndex
	ClockRecord Record = kindMeta // the value begins with the partition's encoded clock
	StageRecord Record = kindStage
	// StagedRecord is a document of a full pull that has not been applied yet.
	StagedRecord Record = kindStaged
)

// About returns what w is about, and of which partition of its keyspace; ok is
// false when its key is none of ours.
func (w Write) About() (r Record, part int, ok bool) {
	i := bytes.IndexByte(w.Key, 0)
	if i < 1 || len(w.Key) < i+3 {
		return 0, 0, false
	}
	return Record(w.Key[0]), int(binary.BigEndian.Uint16(w.Key[i+1:])), true
}

// prefix returns the key of kind for a partition without its rest.
func prefix(kind byte, ks atoll.Keyspace, part int) []byte {
	b := make([]byte, 0, len(ks)+4+24)
	b = append(b, kind)
	b = append(b, ks...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint16(b, uint16(part))
}

// after returns the first key behind all that begin with p.
func after(p []byte) []byte {
	q := bytes.Clone(p)
	for i := len(q) - 1; i >= 0; i-- {
		if q[i]++; q[i] != 0 {
			return q[:i+1]
		}
	}
	return nil
}

func keyOf(kind byte, ks atoll.Keyspace, part int, key atoll.Key) []byte {
	return append(prefix(kind, ks, part), key...)
}

func indexKey(ks atoll.Keyspace, part int, d crdt.Dot) []byte {
	b := prefix(kindIndex, ks, part)
	b = binary.BigEndian.AppendUint64(b, uint64(d.Origin))
	return binary.BigEndian.AppendUint64(b, d.Seq)
}

func deadlineKey(p *partition, at int64, key atoll.Key) []byte {
	b := prefix(kindDeadline, p.Keyspace, p.Partition)
	return append(binary.BigEndian.AppendUint64(b, uint64(max(at, 0))), key...)
}

// DocKey returns where a document is stored.
func DocKey(ks atoll.Keyspace, part int, key atoll.Key) []byte {
	return keyOf(kindDoc, ks, part, key)
}

// DocRange returns the bounds of a partition's documents whose keys begin with
// keyPrefix, and the length of the stored key in front of the document key.
func DocRange(ks atoll.Keyspace, part int, keyPrefix string) (from, to []byte, skip int) {
	p := prefix(kindDoc, ks, part)
	skip = len(p)
	p = append(p, keyPrefix...)
	return p, after(p), skip
}

// scanIndex yields the indexed runs whose dots lie in r, with their keys.
func scanIndex(v View, ks atoll.Keyspace, part int, r crdt.Run) iter.Seq2[crdt.Run, atoll.Key] {
	from := indexKey(ks, part, crdt.Dot{Origin: r.Origin, Seq: r.First})
	to := after(indexKey(ks, part, crdt.Dot{Origin: r.Origin, Seq: r.Last}))
	return func(yield func(crdt.Run, atoll.Key) bool) {
		for k, val := range v.Scan(from, to) {
			first := binary.BigEndian.Uint64(k[len(k)-8:])
			length, n := binary.Uvarint(val)
			if n <= 0 {
				continue
			}
			run := crdt.Run{Origin: r.Origin, First: first, Last: first + length}
			if !yield(run, atoll.Key(val[n:])) {
				return
			}
		}
	}
}

// parseMeta splits a kindMeta key into keyspace and partition.
func parseMeta(key []byte) (ks atoll.Keyspace, part int, ok bool) {
	i := bytes.IndexByte(key, 0)
	if i < 1 || len(key) != i+3 {
		return "", 0, false
	}
	return atoll.Keyspace(key[1:i]), int(binary.BigEndian.Uint16(key[i+1:])), true
}
