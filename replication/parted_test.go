package replication

import (
	"slices"

	"github.com/atolledge/atoll/replication/crdt"
)

// parted is the node of a schedule that is being forgotten.
type parted struct {
	who   int  // -1: none
	died  bool // its process has ended; else it lives on and does not know
	heard []bool
	over  bool // a member has closed it: what only it has is lost
}

// dead reports whether node i has no process any more.
func (p *parted) dead(i int) bool { return i == p.who && p.died }

// lost reports whether what node i does has no meaning any more.
func (p *parted) lost(i int) bool { return i == p.who && p.over }

// partOrHear begins to forget a node, or lets node i hear of it.
func (w *world) partOrHear(i int) {
	if w.parted.who < 0 {
		w.parted = parted{who: len(w.nodes) - 1, died: w.rng.IntN(2) == 0,
			heard: make([]bool, len(w.nodes))}
		if w.parted.died {
			w.nodes[w.parted.who].pending = nil
			w.oracle.forget(w.undurable())
		}
		return
	}
	w.hear(i)
}

// undurable returns which dots a node that died had made and not yet stored.
func (w *world) undurable() func(crdt.Dot) bool {
	r := w.nodes[w.parted.who]
	durable := recovered(r)
	r.store.current = r.store.durable.Snapshot()
	return func(d crdt.Dot) bool { return d.Origin == r.member.Origin && !durable.Has(d) }
}

// away reports whether node i has lapsed, and for a reason: nothing gets through.
func (w *world) away(i int) bool {
	return slices.Contains(w.lapsed, w.nodes[i].member.Origin)
}

// sink loses the k-th packet; who waits for an answer hears that none comes.
func (w *world) sink(k int) {
	p := w.net[k]
	w.lose(k)
	if p.session != 0 && !w.parted.dead(p.from) && p.run == w.nodes[p.from].run {
		w.step(p.from, PullFailed{p.session})
	}
}

func (w *world) hear(i int) {
	if w.parted.who < 0 || i == w.parted.who || w.parted.heard[i] {
		return
	}
	w.parted.heard[i] = true
	w.step(i, w.layout(i))
}

// layout is what node i has heard.
func (w *world) layout(i int) Layout {
	l := Layout{Members: w.members(), Lapsed: w.lapsed}
	if w.parted.who >= 0 && w.parted.heard[i] {
		l.Members = l.Members[:w.parted.who]
		l.Forgotten = append(l.Forgotten, w.nodes[w.parted.who].member.Origin)
	}
	return l
}

// everyone reports whether f holds for all but the forgotten.
func (w *world) everyone(f func(*replica) bool) bool {
	for i, r := range w.nodes {
		if i != w.parted.who && !f(r) {
			return false
		}
	}
	return true
}

// closed lets the oracle forget, when the first member closes the forgotten one,
// what no member has of it.
func (w *world) closed(i int) {
	if w.parted.who < 0 || w.parted.over || i == w.parted.who {
		return
	}
	gone := w.nodes[w.parted.who].member.Origin
	if !w.nodes[i].core.settled(gone) {
		return
	}
	w.parted.over = true
	var kept crdt.Clock
	w.everyone(func(r *replica) bool {
		if r != w.nodes[i] { // which has filled the holes already
			kept.Join(crdt.ClockOf(r.core.find(testAddress).clock.Of(gone)...))
		}
		return true
	})
	w.oracle.bury(func(d crdt.Dot) bool { return d.Origin == gone && !kept.Has(d) })
}

// bury is forget for a node that died: of a counter's row all increments count
// that were made before the last one that is kept.
func (o *oracle) bury(lost func(crdt.Dot) bool) {
	for _, n := range o.incs {
		if lost(n.dot) {
			for _, later := range o.incs {
				if later.key == n.key && later.dot.Origin == n.dot.Origin && !lost(later.dot) &&
					later.dot.Seq > n.dot.Seq && !n.ended(later.dot) {
					n.dot = later.dot
					break
				}
			}
		}
	}
	for k := range o.facts { // a ghost of what is lost stays until its holder closes, too
		for i := range o.facts[k] {
			f := &o.facts[k][i]
			if lost(f.by) {
				f.by = crdt.Dot{}
			}
			f.gone = slices.DeleteFunc(f.gone, lost)
		}
	}
	o.incs = slices.DeleteFunc(o.incs, func(n *increment) bool { return lost(n.dot) })
	for _, n := range o.incs {
		n.gone = slices.DeleteFunc(n.gone, func(x crdt.Dot) bool { return lost(x) && !o.outlived(n, x) })
	}
}

// outlived reports whether x, with which the writer of n took n away, shows in a
// later row of that writer: it is of a later birth, so n counts no more, although
// nobody has x.
func (o *oracle) outlived(n *increment, x crdt.Dot) bool {
	return slices.ContainsFunc(o.incs, func(later *increment) bool {
		return later.key == n.key && later.dot.Origin == n.dot.Origin && x.Origin == n.dot.Origin &&
			later.dot.Seq > x.Seq
	})
}

// ended reports whether the increment's own writer took it away before d.
func (n *increment) ended(d crdt.Dot) bool {
	return slices.ContainsFunc(n.gone, func(x crdt.Dot) bool {
		return x.Origin == d.Origin && x.Seq < d.Seq
	})
}

// part goes on until nothing of the forgotten node is left: all documents are
// deleted, and written anew.
func (w *world) part() {
	gone := w.nodes[w.parted.who].member.Origin
	for k := range testKeys {
		w.delete(0, keyAt(k))
		w.write(0)
	}
	if w.settle(); w.fail != "" {
		return
	}
	for range 3000 {
		if w.everyone(func(r *replica) bool {
			return r.core.pruned(gone) && r.core.find(testAddress).clock.Max(gone) == 0
		}) {
			break
		}
		w.now = w.soonest()
		w.settle()
	}
	w.verify()
	w.everyone(func(r *replica) bool {
		if !r.core.pruned(gone) {
			w.failf("%s: %+v", r.member.Node, r.core.Farewells())
		}
		if w.names(r) {
			w.failf("%s still names the forgotten", r.member.Node)
		}
		return true
	})
}

// names reports whether anything that r stores names the forgotten.
func (w *world) names(r *replica) bool {
	gone := w.nodes[w.parted.who].member.Origin
	p := r.core.find(testAddress)
	for k := range testKeys {
		if d := decodeStored(r.store.Get(keyOf(kindDoc, testSpace, 0, keyAt(k)))); d.Names(gone) {
			return true
		}
	}
	return len(p.clock.Of(gone))+len(p.cut.Of(gone)) > 0 ||
		slices.ContainsFunc(indexed(r, p), func(x crdt.Run) bool { return x.Origin == gone })
}
