package replication

import (
	"bytes"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// oracle knows every operation that was made and nothing of how replicas keep
// them: live is what was added minus what any operation removed; a counter is
// the sum of the increments that no reset or deletion had seen.
type oracle struct {
	facts  [testKeys][]fact
	incs   []*increment
	orders []*order // that were carried out
}

// fact is one entry that was ever written, under the first dots of the delta
// that added it and of those that removed it.
type fact struct {
	dot, by crdt.Dot
	gone    []crdt.Dot
}

// increment is one inc operation, under a dot of its delta.
type increment struct {
	key  atoll.Key
	dot  crdt.Dot
	by   int64
	gone []crdt.Dot // the resets and deletions that had seen it
}

func place(key atoll.Key) int { return int(key[0] - 'x') }

func keyAt(i int) atoll.Key { return atoll.Key("xyz"[i : i+1]) }

// learn takes in a delta that its origin has made. It may come again.
func (o *oracle) learn(d *crdt.Delta) {
	by := first(d.Dots)
	for i := range d.Adds {
		o.fact(d.Key, d.Adds[i].Dot).by = by
	}
	for _, x := range d.Drops {
		if f := o.fact(d.Key, x); !slices.Contains(f.gone, by) {
			f.gone = append(f.gone, by)
		}
	}
}

// fact returns what is known of the entry of x, making room for it.
func (o *oracle) fact(key atoll.Key, x crdt.Dot) *fact {
	facts := &o.facts[place(key)]
	for i := range *facts {
		if (*facts)[i].dot == x {
			return &(*facts)[i]
		}
	}
	*facts = append(*facts, fact{dot: x})
	return &(*facts)[len(*facts)-1]
}

// forget takes back what a crash has lost.
func (o *oracle) forget(lost func(crdt.Dot) bool) {
	for k := range o.facts {
		o.facts[k] = slices.DeleteFunc(o.facts[k], func(f fact) bool { return lost(f.dot) })
		for i := range o.facts[k] {
			f := &o.facts[k][i]
			f.gone = slices.DeleteFunc(f.gone, lost)
		}
	}
	o.orders = slices.DeleteFunc(o.orders, func(x *order) bool { return !x.acked && lost(x.dot) })
	o.incs = slices.DeleteFunc(o.incs, func(n *increment) bool { return lost(n.dot) })
	for _, n := range o.incs {
		n.gone = slices.DeleteFunc(n.gone, lost)
	}
}

// reset notes that by took away the increments of key that its replica had
// seen. A row is cumulative: who sees an increment sees its origin's earlier ones.
func (o *oracle) reset(key atoll.Key, by crdt.Dot, seen func(crdt.Dot) bool) {
	last := make(map[atoll.Origin]uint64)
	for _, inc := range o.incs {
		if inc.key == key && seen(inc.dot) {
			last[inc.dot.Origin] = max(last[inc.dot.Origin], inc.dot.Seq)
		}
	}
	for _, inc := range o.incs {
		if inc.key == key && inc.dot.Seq <= last[inc.dot.Origin] {
			inc.gone = append(inc.gone, by)
		}
	}
}

// sum returns what the counter of key must show when all is seen.
func (o *oracle) sum(key atoll.Key) (n int64) {
	for _, inc := range o.incs {
		if inc.key == key && len(inc.gone) == 0 {
			n += inc.by
		}
	}
	return n
}

// expected returns the dots that are live and the ghosts of key at a replica
// that has seen what seen says.
func (o *oracle) expected(key atoll.Key, seen func(crdt.Dot) bool) (live, ghosts []crdt.Dot) {
	for _, f := range o.facts[place(key)] {
		removed := slices.ContainsFunc(f.gone, seen)
		added := f.by != crdt.Dot{} && seen(f.by)
		if added && !removed {
			live = append(live, f.dot)
		}
		if removed && !seen(f.dot) {
			ghosts = append(ghosts, f.dot)
		}
	}
	return live, ghosts
}

// invariant: documents and ghosts are a function of the clock. It looks at the
// keys that a step has written.
func (w *world) invariant(i int, writes []Write) {
	var touched [testKeys]bool
	for _, x := range writes {
		switch x.Key[0] {
		case kindDoc:
			touched[place(atoll.Key(x.Key[len(x.Key)-1:]))] = true
		case kindStage:
			touched = [testKeys]bool{true, true, true}
		}
	}
	for k, yes := range touched {
		if yes {
			w.functional(i, keyAt(k))
		}
	}
}

// functional checks one document of node i against the oracle.
func (w *world) functional(i int, key atoll.Key) {
	if w.parted.lost(i) {
		return
	}
	c := w.nodes[i].core
	p := c.find(testAddress)
	d := c.loadDoc(p, key)
	live, ghosts := w.oracle.expected(key, c.seen(p, key))
	if len(live) != len(d.Entries) || slices.ContainsFunc(live, func(x crdt.Dot) bool {
		return !d.Has(x)
	}) {
		w.failf("node %d, key %s: live %v, want %v, clock %v", i, key, dots(d), live, p.clock)
	}
	slices.SortFunc(ghosts, crdt.Dot.Compare)
	if !slices.Equal(d.Ghosts, ghosts) {
		w.failf("node %d, key %s: ghosts %v, want %v", i, key, d.Ghosts, ghosts)
	}
}

// indexed returns all that stands in the index of node r.
func indexed(r *replica, p *partition) (runs []crdt.Run) {
	for _, all := range p.clock.Runs() {
		all.First, all.Last = 1, ^uint64(0)
		for run := range scanIndex(&r.store, p.Keyspace, p.Partition, all) {
			if n := len(runs); n == 0 || runs[n-1].Origin < run.Origin || runs[n-1].Last < run.First {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

func dots(d crdt.Doc) []crdt.Dot {
	var got []crdt.Dot
	for i := range d.Entries {
		got = append(got, d.Entries[i].Dot)
	}
	return got
}

// verify compares every replica with the oracle.
func (w *world) verify() {
	for i, r := range w.nodes {
		if i == w.parted.who {
			continue
		}
		p := r.core.find(testAddress)
		for _, x := range r.core.Refusals() {
			if x.Reason != Retired { // what a forgotten node has still told to others
				w.failf("node %d: an honest node is refused: %+v", i, x)
			}
		}
		if got := indexed(r, p); len(got) != p.entries {
			w.failf("node %d: %d index entries, counted %d", i, len(got), p.entries)
		}
		for k := range testKeys {
			key := keyAt(k)
			w.functional(i, key)
			d := r.core.loadDoc(p, key)
			zero := w.nodes[0].core.loadDoc(p, key)
			if !bytes.Equal(d.Append(nil), zero.Append(nil)) {
				w.failf("key %s differs between 0 and %d", key, i)
			}
			if len(d.Ghosts) > 0 {
				w.failf("node %d, key %s: ghosts left %v", i, key, d.Ghosts)
			}
			if got, _ := d.Counter(counterPath); got != w.oracle.sum(key) {
				w.failf("node %d, key %s: counter %d, want %d", i, key, got, w.oracle.sum(key))
			}
			w.audit(i, &d)
		}
	}
}

// spent returns whether a document at r holds a reset entry that no counter row
// needs, or a share without a bound: the elected member has to remove it.
func (w *world) spent(r *replica) bool {
	p := r.core.find(testAddress)
	for k := range testKeys {
		d := r.core.loadDoc(p, keyAt(k))
		if d.Orphans() {
			return true
		}
		if !d.Resets() {
			continue
		}
		e := crdt.NewEdit(d, keyAt(k), 1, 1<<40, 1)
		e.DropSpentResets(func(crdt.Dot) bool { return true }, r.core.answers)
		if _, ok := e.Delta(); ok {
			return true
		}
	}
	return false
}
