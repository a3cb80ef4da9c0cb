package sim

import (
	"bytes"
	"fmt"

	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

// held is one document at one replica, with the clock of the same instant.
type held struct {
	doc   crdt.Doc
	clock crdt.Clock
}

// join returns what a replica that holds a makes of all that b holds.
func (a held) join(b held) held {
	both := a.clock.Clone()
	both.Join(b.clock)
	d := a.doc
	d.Join(&b.doc, &b.clock, a.clock.Has, both.Has)
	return held{d, both}
}

func (a held) same(b held) bool {
	return a.clock.Equal(b.clock) && bytes.Equal(a.doc.Append(nil), b.doc.Append(nil))
}

// look takes one document as three nodes hold it just now, and tries the laws on
// them.
func (w *world) look() {
	if !w.over {
		w.queue.push(event{at: w.now + lookEvery, kind: evLook})
	}
	d := w.chance.draw(ofLook, uint64(w.now), 0, 0)
	key := w.key(&d)
	a := replication.Address{Keyspace: w.plan.Workload.Keyspace,
		Partition: replication.PartitionOf(w.plan.Workload.Keyspace, key)}
	var x [3]held
	for i := range x {
		n := w.nodes[d.throw(int64(len(w.nodes)))]
		if !n.up || replication.Staging(n.disk.state, a) {
			return
		}
		x[i] = held{w.doc(n, key), n.core.Clock(a)}
	}
	if law := broken(x[0], x[1], x[2]); law != "" {
		w.violate(&check.Violation{Property: check.Laws, At: w.elapsed(), Key: key,
			Detail: fmt.Sprintf("%s does not hold for what three replicas have", law)})
	}
}

// broken names the law that does not hold, "" if all do.
func broken(a, b, c held) string {
	ab := a.join(b)
	switch {
	case !ab.same(b.join(a)):
		return "a+b = b+a"
	case !ab.join(c).same(a.join(b.join(c))):
		return "(a+b)+c = a+(b+c)"
	case !a.join(a).same(a), !ab.join(b).same(ab):
		return "a+a = a"
	}
	for _, h := range [...]held{a, b, c} {
		d, rest, err := crdt.DecodeDoc(h.doc.Append(nil))
		if err != nil || len(rest) > 0 || !(held{d, h.clock}).same(h) {
			return "decode(encode(a)) = a"
		}
	}
	return ""
}
