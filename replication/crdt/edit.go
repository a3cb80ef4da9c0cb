package crdt

import (
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Delta is one mutation of one document on its way to the other replicas. It is
// sent, stored, applied and recovered as a unit, however many cells it changes.
type Delta struct {
	Key   atoll.Key
	Dots  Run // one dot for each cell effect, or one that only carries removals
	Time  hlc.Time
	Adds  []Entry // new entries; their dots lie in Dots, their Time is Time
	Drops []Dot   // entries that the writer saw and removed, sorted
}

// Edit builds one Delta against a document as its writer sees it. The calls
// take effect in order: each sees what those before it did.
type Edit struct {
	doc   Doc
	delta Delta
	next  uint64
}

// NewEdit begins an edit of seen, which it does not change. Its entries get the
// dots of origin from next on.
func NewEdit(seen Doc, key atoll.Key, origin atoll.Origin, next uint64, at hlc.Time) *Edit {
	return &Edit{
		doc:   seen.Clone(),
		delta: Delta{Key: key, Dots: Run{Origin: origin, First: next}, Time: at},
		next:  next,
	}
}

// Doc returns the document as edited so far. It is e's own: read only.
func (e *Edit) Doc() *Doc { return &e.doc }

// Time returns the timestamp of the entries that e adds.
func (e *Edit) Time() hlc.Time { return e.delta.Time }

// Drop removes every live entry that matches. Counter rows and reset entries
// never match: only ResetCounters removes what a counter holds.
func (e *Edit) Drop(match func(*Entry) bool) {
	e.doc.Entries = slices.DeleteFunc(e.doc.Entries, func(x Entry) bool {
		if x.Kind == CounterOf || x.Kind == ResetOf || !match(&x) {
			return false
		}
		e.remove(x.Dot)
		return true
	})
}

// Add puts a live entry under a new dot. It keeps value.
func (e *Edit) Add(p Path, k Kind, value []byte) {
	x := Entry{Path: p, Kind: k, Time: e.delta.Time, Value: value,
		Dot: Dot{e.delta.Dots.Origin, e.next}}
	e.next++
	e.doc.insert(x)
	e.delta.Adds = append(e.delta.Adds, x)
}

// remove records that the entry of x goes: as a removal if others know it, by
// forgetting it if this edit made it.
func (e *Edit) remove(x Dot) {
	if x.Origin == e.delta.Dots.Origin && x.Seq >= e.delta.Dots.First {
		e.delta.Adds = slices.DeleteFunc(e.delta.Adds, func(a Entry) bool { return a.Dot == x })
		return
	}
	e.delta.Drops = append(e.delta.Drops, x)
}

// dropDots removes the entries of the given dots, of any kind.
func (e *Edit) dropDots(dots []Dot) {
	for _, x := range dots {
		if e.doc.drop(x) {
			e.remove(x)
		}
	}
}

// Delta returns what e did; ok is false when that is nothing. The Edit must not
// be used afterwards.
func (e *Edit) Delta() (d Delta, ok bool) {
	d = e.delta
	if len(d.Adds) == 0 && len(d.Drops) == 0 {
		return Delta{}, false
	}
	d.Dots.Last = max(e.next-1, d.Dots.First)
	slices.SortFunc(d.Drops, Dot.Compare)
	return d, true
}

// Size returns about how many bytes x has on its way, and not less.
func (x *Delta) Size() int {
	n := len(x.Key) + 64 + 18*len(x.Drops)
	for i := range x.Adds {
		n += len(x.Adds[i].Path) + len(x.Adds[i].Value) + 16
	}
	return n
}

// Apply takes x into d. has says which dots are in the replica's clock before
// x; the caller has checked that x's own are not, and adds them afterwards.
func (d *Doc) Apply(x *Delta, has func(Dot) bool) {
	for _, r := range x.Drops {
		if has(r) {
			d.drop(r)
		} else {
			d.haunt(r)
		}
	}
	for _, a := range x.Adds {
		if !d.lay(a.Dot) {
			d.insert(a)
		}
	}
	d.layRun(x.Dots)
}

// Join takes in the whole document r of another replica. theirs is the clock
// of that replica at the instant of r; has says which dots this replica's clock
// holds before the join, and will says which it holds afterwards.
func (d *Doc) Join(r *Doc, theirs *Clock, has, will func(Dot) bool) {
	live := make(map[Dot]struct{}, len(r.Entries))
	for i := range r.Entries {
		live[r.Entries[i].Dot] = struct{}{}
	}
	d.Entries = slices.DeleteFunc(d.Entries, func(x Entry) bool {
		if _, ok := live[x.Dot]; ok {
			return false
		}
		return theirs.Has(x.Dot) || slices.Contains(r.Ghosts, x.Dot)
	})
	for i := range r.Entries {
		if x := &r.Entries[i]; !has(x.Dot) && (plant.Bug == plant.GhostIgnored || !slices.Contains(d.Ghosts, x.Dot)) {
			d.insert(*x)
		}
	}
	for _, g := range r.Ghosts {
		if !has(g) && plant.Bug != plant.GhostNotAdopted {
			d.haunt(g)
		}
	}
	d.Ghosts = slices.DeleteFunc(d.Ghosts, will)
}

// layRun forgets the ghosts of all dots in r.
func (d *Doc) layRun(r Run) {
	d.Ghosts = slices.DeleteFunc(d.Ghosts, func(g Dot) bool {
		return g.Origin == r.Origin && r.First <= g.Seq && g.Seq <= r.Last
	})
}
