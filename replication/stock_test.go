package replication

import (
	"slices"

	"github.com/atolledge/atoll/replication/crdt"
)

// The bounded counter of a schedule is stock: filled up now and then and sold by
// whoever can. What was said to be sold is sold, whatever crashes.

// order is one change of stock: put in, or sold where by is less than 0.
type order struct {
	birth crdt.Dot // of the counter
	dot   crdt.Dot // of its delta
	by    int64
	acked bool // somebody was told
}

// trade sells or stocks up at node i. What waits for rights replies later.
func (w *world) trade(i int) {
	by := -int64(1 + w.rng.IntN(4))
	fill := w.rng.IntN(8) == 0
	if fill {
		by = int64(1 + w.rng.IntN(9))
	}
	w.lastID++
	id, x := w.lastID, &order{by: by}
	w.orders[id] = x
	w.step(i, Mutate{ID: id, Keyspace: testSpace, Key: keyAt(w.rng.IntN(2)),
		Edit: func(e *crdt.Edit) error {
			ops := []crdt.Op{{Kind: crdt.Inc, Path: stockPath, By: by}}
			if fill {
				ops = slices.Insert(ops, 0, crdt.Op{Kind: crdt.Bound, Path: stockPath})
			} else if len(e.Doc().Accounts()) == 0 {
				return nil // what is not bounded is another sort of number
			}
			if err := crdt.ApplyOps(e, ops); err != nil {
				return err
			}
			x.birth = e.Doc().Accounts()[0].Birth // a write leaves one
			return nil
		}})
}

// replied takes down what was carried out, which is not durable yet.
func (w *world) replied(replies []Reply) {
	for _, r := range replies {
		x := w.orders[r.ID]
		if x == nil {
			continue
		}
		if x.dot = first(r.Dots); r.Err != nil || x.dot.Seq == 0 {
			delete(w.orders, r.ID)
			continue
		}
		w.oracle.orders = append(w.oracle.orders, x)
	}
}

// acked tells those who asked, and looks whether more was sold than there was.
func (w *world) acked(replies []Reply) {
	for _, r := range replies {
		x := w.orders[r.ID]
		if x == nil {
			continue
		}
		delete(w.orders, r.ID)
		x.acked = true
		stocked, sold := w.oracle.stock(x.birth)
		if sold > stocked {
			w.failf("oversold: %d of the %d that the counter of %v had", sold, stocked, x.birth)
		}
	}
}

// hurry sends shares before they are durable and returns the other sends.
func (w *world) hurry(i int, sends []Send) (rest []Send) {
	for _, s := range sends {
		d, ok := s.Message.(Delta)
		if ok && slices.ContainsFunc(d.Delta.Adds, func(x crdt.Entry) bool { return x.Share() }) {
			w.emit(i, Output{Sends: []Send{s}})
		} else {
			rest = append(rest, s)
		}
	}
	return rest
}

// stock returns what was put into a counter, and what somebody was told to have.
func (o *oracle) stock(birth crdt.Dot) (stocked, sold int64) {
	for _, x := range o.orders {
		switch {
		case x.birth != birth:
		case x.by > 0:
			stocked += x.by
		case x.acked:
			sold -= x.by
		}
	}
	return stocked, sold
}

// audit compares the bounded counters of a document that has seen all with the
// orders, and holds the rights to what there is. What an origin did that is
// forgotten may be lost, and its rights are.
func (w *world) audit(i int, d *crdt.Doc) {
	if w.parted.who >= 0 {
		return
	}
	for _, a := range d.Accounts() {
		want, rights := int64(0), int64(0)
		for _, x := range w.oracle.orders {
			if x.birth == a.Birth {
				want += x.by
			}
		}
		if a.Value() != want {
			w.failf("node %d: the counter of %v is %d, want %d", i, a.Birth, a.Value(), want)
		}
		for _, r := range w.nodes {
			n := a.Rights(r.member.Origin)
			if rights += n; n < 0 {
				w.failf("node %d: %v has %d rights to %v", i, r.member.Origin, n, a.Birth)
			}
		}
		if rights != want {
			w.failf("node %d: %d rights to the %d of %v", i, rights, want, a.Birth)
		}
	}
}
