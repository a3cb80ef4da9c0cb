// Package check provides the properties that every run of replicas must have,
// whatever happened to it. They are written against operations: what a write
// saw, what it did and whether it became durable. They know nothing of how
// replicas agree.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Property names what must hold.
type Property string

// The properties.
const (
	// Convergence: once the network is whole, all replicas come to hold the same
	// bytes and the same clocks, within a limit.
	Convergence Property = "convergence"
	// LostWrite: every write that became durable, acknowledged or not, shows
	// everywhere, unless an operation that had seen it replaced or removed it.
	LostWrite Property = "no-lost-write"
	// Resurrection: what an operation removed never lives again at a replica that
	// has seen the operation.
	Resurrection Property = "no-resurrection"
	// Phantom: nothing shows that no durable operation wrote, nor in another form.
	Phantom Property = "no-phantom"
	// Counters: a counter is the sum of the increments that no reset, put or
	// deletion had seen.
	Counters Property = "counters"
	// Winner: of concurrent values the one with the greatest (time, origin) shows.
	Winner Property = "winner"
	// Function: documents are a function of the clock. Wherever and whenever a
	// partition has the same clock durably, it has the same documents, and a reader
	// finds in one what the seen operations have made of it.
	Function Property = "function-of-clock"
	// Sessions: a client reads its writes, and never anything older than it has seen,
	// at whatever node.
	Sessions Property = "sessions"
	// Durability: a write that was acknowledged as durable elsewhere is on the disks
	// that count.
	Durability Property = "durability"
	// ClockBound: no write is timed beyond what the clocks allow.
	ClockBound Property = "clock-bound"
	// Laws: documents that replicas hold join alike in any order and grouping, and
	// come back from their bytes as they were.
	Laws Property = "laws"
	// Core: nodes that hear each other come to agree, whatever goes on elsewhere.
	Core Property = "core-agrees"
	// Quiet: once all agree, nothing is sent but the hellos of every second, nothing
	// is written, and nothing is left of what has been repaired or removed.
	Quiet Property = "quiet"
)

// Properties returns all of them.
func Properties() []Property {
	return []Property{Convergence, LostWrite, Resurrection, Phantom, Counters, Winner, Function,
		Sessions, Durability, ClockBound, Laws, Core, Quiet}
}

// Violation is one property that did not hold, and where.
type Violation struct {
	Property Property
	At       time.Duration // virtual, since the run began
	Node     atoll.NodeID
	Key      atoll.Key
	Detail   string
}

func (v Violation) String() string {
	s := fmt.Sprintf("%s at %v", v.Property, v.At)
	if v.Node != "" {
		s += fmt.Sprintf(", node %s", v.Node)
	}
	if v.Key != "" {
		s += fmt.Sprintf(", key %s", v.Key)
	}
	return s + ": " + v.Detail
}

// OpID names an operation of a History.
type OpID int

// Op is one write: what its replica showed before and after, and the dots that
// it was told. Inc is what it added to the counter at Counter, if anything; an
// operation that increments does nothing else to counters.
type Op struct {
	Node          atoll.NodeID
	Key           atoll.Key
	At            time.Duration
	Dots          crdt.Run
	Before, After *crdt.Doc
	Counter       crdt.Path
	Inc           int64
}

// op is what a History keeps of an Op.
type op struct {
	node atoll.NodeID
	at   time.Duration
	dots crdt.Run
	key  atoll.Key

	acked, lost bool
	perhaps     bool // lost if no disk comes up with it
}

func (o *op) first() crdt.Dot { return crdt.Dot{Origin: o.dots.Origin, Seq: o.dots.First} }

// write is one entry that an operation wrote.
type write struct {
	entry crdt.Entry
	by    OpID
	gone  []OpID // those that removed it
}

// increment is one addition to a counter, under the dot of its row.
type increment struct {
	path crdt.Path
	dot  crdt.Dot
	by   OpID
	sum  int64
	gone []OpID // those that took it away

	// What a lost disk did to it: kept in a later row though its own operation is
	// gone, or doubtful because that which took it is.
	kept, doubtful bool
}

// record is the history of one document.
type record struct {
	ops    []OpID
	writes map[crdt.Dot]*write
	incs   []*increment
}

// History is every operation of a run. The zero History is empty; it is not
// safe for concurrent use.
type History struct {
	ops  []op
	keys map[atoll.Key]*record
	// sessions hold, by client and key, the operations that a client must find.
	sessions map[visit][]OpID
}

// Record adds an operation in the order in which its replica made it.
func (h *History) Record(o Op) OpID {
	id := OpID(len(h.ops))
	h.ops = append(h.ops, op{node: o.Node, at: o.At, dots: o.Dots, key: o.Key})
	r := h.record(o.Key)
	r.ops = append(r.ops, id)
	for i := range o.After.Entries {
		x := o.After.Entries[i]
		own := x.Dot.Origin == o.Dots.Origin && o.Dots.First <= x.Dot.Seq && x.Dot.Seq <= o.Dots.Last
		switch {
		case !own:
		case counted(x.Kind):
			r.writes[x.Dot] = &write{entry: x, by: id}
		case x.Kind == crdt.CounterOf && o.Inc != 0 && x.Path == o.Counter:
			r.incs = append(r.incs, &increment{path: x.Path, dot: x.Dot, by: id, sum: o.Inc})
		}
	}
	for i := range o.Before.Entries {
		x := &o.Before.Entries[i]
		switch {
		case o.After.Has(x.Dot):
		case counted(x.Kind):
			if w := r.writes[x.Dot]; w != nil {
				w.gone = append(w.gone, id)
			}
		case x.Kind == crdt.CounterOf && o.Inc == 0:
			r.take(x, id)
		}
	}
	return id
}

// counted reports whether entries of kind k are kept one by one.
func counted(k crdt.Kind) bool {
	return k == crdt.Existence || k == crdt.Register || k == crdt.Element
}

// take notes that an operation took away what a counter row holds: the
// increments of its origin up to it.
func (r *record) take(row *crdt.Entry, by OpID) {
	for _, n := range r.incs {
		if n.path == row.Path && n.dot.Origin == row.Dot.Origin && n.dot.Seq <= row.Dot.Seq {
			n.gone = append(n.gone, by)
		}
	}
}

func (h *History) record(key atoll.Key) *record {
	if h.keys == nil {
		h.keys = make(map[atoll.Key]*record)
	}
	r := h.keys[key]
	if r == nil {
		r = &record{writes: make(map[crdt.Dot]*write)}
		h.keys[key] = r
	}
	return r
}

// Ack notes that a client was told that an operation is durable.
func (h *History) Ack(id OpID) { h.ops[id].acked = true }

// Lose takes back an operation that a crash undid before it was durable. Its
// dots may be used again. It is a violation if a client had been told of it.
func (h *History) Lose(at time.Duration, id OpID) *Violation {
	o := &h.ops[id]
	h.undo(id)
	if !o.acked {
		return nil
	}
	return &Violation{LostWrite, at, o.node, o.key,
		fmt.Sprintf("a crash undid what was acknowledged after %v", o.at)}
}

// undo takes an operation back.
func (h *History) undo(id OpID) {
	o := &h.ops[id]
	o.lost = true
	r := h.record(o.key)
	for seq := o.dots.First; seq <= o.dots.Last; seq++ {
		d := crdt.Dot{Origin: o.dots.Origin, Seq: seq}
		if w := r.writes[d]; w != nil && w.by == id {
			delete(r.writes, d)
		}
	}
	r.incs = slices.DeleteFunc(r.incs, func(n *increment) bool { return n.by == id && !n.kept })
}

// Len returns the number of operations that were not lost.
func (h *History) Len() (n int) {
	for i := range h.ops {
		if !h.ops[i].lost {
			n++
		}
	}
	return n
}

// Keys returns the documents that were ever written, in order.
func (h *History) Keys() []atoll.Key {
	keys := make([]atoll.Key, 0, len(h.keys))
	for k := range h.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// gone returns the first of ids that happened and that seen says was seen.
func (h *History) gone(ids []OpID, seen func(crdt.Dot) bool) (OpID, bool) {
	for _, id := range ids {
		if !h.ops[id].lost && seen(h.ops[id].first()) {
			return id, true
		}
	}
	return 0, false
}

// Changed checks a document at a replica when it changes there. seen says which
// dots the replica has seen. It returns the first violation, or nil.
func (h *History) Changed(at time.Duration, node atoll.NodeID, key atoll.Key, d *crdt.Doc,
	seen func(crdt.Dot) bool) *Violation {
	r := h.record(key)
	for i := range d.Entries {
		x := &d.Entries[i]
		if !counted(x.Kind) {
			continue
		}
		w := r.writes[x.Dot]
		if w == nil || !same(x, &w.entry) {
			return &Violation{Phantom, at, node, key, describe(x) + " was never written"}
		}
		if id, yes := h.gone(w.gone, seen); yes {
			return &Violation{Resurrection, at, node, key, fmt.Sprintf(
				"%s lives again; %s removed it at %v", describe(x), h.ops[id].node, h.ops[id].at)}
		}
	}
	return nil
}

func same(a, b *crdt.Entry) bool {
	return a.Path == b.Path && a.Kind == b.Kind && a.Time == b.Time &&
		string(a.Value) == string(b.Value)
}

func describe(x *crdt.Entry) string {
	switch x.Kind {
	case crdt.Existence:
		return fmt.Sprintf("the existence of %q", x.Path.Pointer())
	case crdt.Element:
		return fmt.Sprintf("the element %s of %q", x.Value, x.Path.Pointer())
	}
	return fmt.Sprintf("the value %s of %q", x.Value, x.Path.Pointer())
}

// later orders entries as readers do: by (time, origin).
func later(a, b *crdt.Entry) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Dot.Origin, b.Dot.Origin),
		cmp.Compare(a.Dot.Seq, b.Dot.Seq))
}
