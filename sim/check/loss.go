package check

import (
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// Op returns an operation as it was recorded, but for the documents.
func (h *History) Op(id OpID) Op {
	o := &h.ops[id]
	return Op{Node: o.node, Key: o.key, At: o.at, Dots: o.dots}
}

// Endanger notes that a disk has been lost: the operations for which only says
// that no other disk holds them may be gone, acknowledged or not. It returns how
// many that are. They are gone unless somebody turns out to hold them in the end:
// they may have been on their way.
func (h *History) Endanger(only func(*Op) bool) (n int) {
	for i := range h.ops {
		if h.ops[i].lost || h.ops[i].perhaps {
			continue
		}
		if o := h.Op(OpID(i)); only(&o) {
			h.ops[i].perhaps = true
			n++
		}
	}
	return n
}

// Forget takes back the endangered operations of an origin that its disk does
// not hold: their dots may be used again.
func (h *History) Forget(origin atoll.Origin, held func(*Op) bool) {
	for i := range h.ops {
		if !h.ops[i].perhaps || h.ops[i].lost || h.ops[i].dots.Origin != origin {
			continue
		}
		if o := h.Op(OpID(i)); !held(&o) {
			h.undo(OpID(i))
		}
	}
}

// bury decides about the endangered operations when a run is over: what no
// replica has seen is lost. A counter row holds what its origin added before, so
// an increment lives on in a later one of the same row. Where a reset was lost,
// rows may remember it: nobody can say from outside what such a counter is.
func (h *History) bury(replicas []Replica) {
	for i := range h.ops {
		o := &h.ops[i]
		if !o.perhaps || o.lost || seenBy(replicas, o.key, o.first()) {
			continue
		}
		for _, n := range h.record(o.key).incs {
			if n.by == OpID(i) && h.survives(n, replicas) {
				n.kept = true
			}
			n.doubtful = n.doubtful || slices.Contains(n.gone, OpID(i))
		}
		h.undo(OpID(i))
	}
}

// seenBy reports whether a replica has seen a dot of a document's partition.
func seenBy(replicas []Replica, key atoll.Key, d crdt.Dot) bool {
	for i := range replicas {
		for a, c := range replicas[i].Clocks {
			if a.Partition == replication.PartitionOf(a.Keyspace, key) && c.Has(d) {
				return true
			}
		}
	}
	return false
}

// survives reports whether a lost increment is in a row that was seen: one of
// the same origin and counter, later, with nothing between that took it away.
func (h *History) survives(lost *increment, replicas []Replica) bool {
	key := h.ops[lost.by].key
	for _, n := range h.record(key).incs {
		if n.path != lost.path || n.dot.Origin != lost.dot.Origin || n.dot.Seq <= lost.dot.Seq ||
			!seenBy(replicas, key, n.dot) {
			continue
		}
		taken := false
		for _, id := range lost.gone {
			o := &h.ops[id]
			taken = taken || o.dots.Origin == n.dot.Origin && o.dots.First < n.dot.Seq
		}
		if !taken {
			return true
		}
	}
	return false
}
