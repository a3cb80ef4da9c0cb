package replication

import (
	"bytes"
	"slices"
	"time"

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
	edits  []edit
	ends   []burial
}

// edit is one write of a document that was not past its deadline where it was
// made, under its first dot, with what it saw there.
type edit struct {
	key   atoll.Key
	dot   crdt.Dot
	alive []crdt.Dot
}

// burial is a removal of a document that was past its deadline.
type burial struct {
	key   atoll.Key
	dot   crdt.Dot
	drops []crdt.Dot
}

// fact is one entry that was ever written, under the first dots of the delta
// that added it and of those that removed it.
type fact struct {
	dot, by crdt.Dot
	kind    crdt.Kind
	gone    []crdt.Dot
	deletes bool       // it is the marker of a deletion that wins
	past    []crdt.Dot // the markers that its writer had seen, itself or through what it saw
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

// learn takes in a delta that its origin has made, and reports whether it is new:
// it may come again.
func (o *oracle) learn(d *crdt.Delta) (news bool) {
	by := first(d.Dots)
	for i := range d.Adds {
		news = news || o.fact(d.Key, d.Adds[i].Dot).by == crdt.Dot{}
	}
	for i := range d.Adds {
		f := o.fact(d.Key, d.Adds[i].Dot)
		f.by, f.kind = by, d.Adds[i].Kind
	}
	for _, x := range d.Drops {
		if f := o.fact(d.Key, x); !slices.Contains(f.gone, by) {
			f.gone = append(f.gone, by)
			news = true
		}
	}
	return news
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
		for i := range o.facts[k] {
			f := &o.facts[k][i]
			f.past = slices.DeleteFunc(f.past, lost)
		}
		o.facts[k] = slices.DeleteFunc(o.facts[k], func(f fact) bool { return lost(f.dot) })
		for i := range o.facts[k] {
			f := &o.facts[k][i]
			f.gone = slices.DeleteFunc(f.gone, lost)
		}
	}
	o.orders = slices.DeleteFunc(o.orders, func(x *order) bool { return !x.acked && lost(x.dot) })
	o.edits = slices.DeleteFunc(o.edits, func(e edit) bool { return lost(e.dot) })
	o.ends = slices.DeleteFunc(o.ends, func(b burial) bool { return lost(b.dot) })
	o.incs = slices.DeleteFunc(o.incs, func(n *increment) bool { return lost(n.dot) })
	for _, n := range o.incs {
		n.gone = slices.DeleteFunc(n.gone, lost)
	}
}

// witness takes in what a write of node i, not yet stored, had seen of deletions
// that win: those in its replica's clock and those that the writers of what it
// sees had seen. What a clean-up removes must be what one of them had to remove.
func (w *world) witness(i int, d *crdt.Delta) {
	c := w.nodes[i].core
	p := c.find(testAddress)
	was := c.loadDoc(p, d.Key)
	for k := range d.Adds {
		f := w.oracle.fact(d.Key, d.Adds[k].Dot)
		f.deletes = f.kind == crdt.Marker && len(d.Adds[k].Value) == 0
	}
	past := w.oracle.deletions(d.Key, c.seen(p, d.Key))
	for k := range was.Entries {
		past = append(past, w.oracle.fact(d.Key, was.Entries[k].Dot).past...)
	}
	slices.SortFunc(past, crdt.Dot.Compare)
	past = slices.Compact(past)
	for k := range d.Adds {
		w.oracle.fact(d.Key, d.Adds[k].Dot).past = slices.Clone(past)
	}
	if !slices.ContainsFunc(d.Drops, func(x crdt.Dot) bool { return w.oracle.fact(d.Key, x).deletes }) {
		return
	}
	w.cleaned++
	for _, x := range d.Drops {
		if f := w.oracle.fact(d.Key, x); f.kind != crdt.Marker && !w.oracle.doomed(d.Key, f, anyDot) {
			w.failf("node %d cleaned %v of %s up, whose writer had seen every deletion", i, x, d.Key)
		}
	}
}

func anyDot(crdt.Dot) bool { return true }

// deletions returns the deletions of key that win and that seen says were seen.
func (o *oracle) deletions(key atoll.Key, seen func(crdt.Dot) bool) (dots []crdt.Dot) {
	for i := range o.facts[place(key)] {
		if f := &o.facts[place(key)][i]; f.deletes && seen(f.dot) {
			dots = append(dots, f.dot)
		}
	}
	return dots
}

// doomed reports whether the writer of an entry had not seen a deletion that seen
// says was seen.
func (o *oracle) doomed(key atoll.Key, f *fact, seen func(crdt.Dot) bool) bool {
	return slices.ContainsFunc(o.deletions(key, seen), func(x crdt.Dot) bool {
		return !slices.Contains(f.past, x)
	})
}

// shows checks that of a document exactly that shows at node i which was written
// by those who had seen every deletion that node i has seen, or what has been
// removed by something that is still on its way.
func (w *world) shows(i int, key atoll.Key, d *crdt.Doc) {
	seen := w.seen(i, key)
	shown := crdt.NewEdit(*d, key, 1, 1, 1)
	awake := make(map[crdt.Dot]bool)
	shown.Drop(func(x *crdt.Entry) bool { awake[x.Dot] = true; return false })
	for k := range d.Entries {
		x := &d.Entries[k]
		if x.Kind == crdt.Marker {
			continue
		}
		f := w.oracle.fact(key, x.Dot)
		if doomed := w.oracle.doomed(key, f, seen); doomed == awake[x.Dot] && (!doomed || len(f.gone) == 0) {
			w.failf("node %d, key %s: %v shows: %v; clock %v", i, key, x.Dot, awake[x.Dot],
				w.nodes[i].core.Clock(testAddress))
		}
	}
}

// crossed says that an edit and a burial that do not know of each other met in
// one document: that is what nobody may ever lose by.
func crossed(e *edit, b *burial) bool {
	return e.key == b.key && slices.ContainsFunc(b.drops, func(x crdt.Dot) bool {
		return slices.Contains(e.alive, x)
	})
}

// seen says which dots node i reads a document by.
func (w *world) seen(i int, key atoll.Key) func(crdt.Dot) bool {
	c := w.nodes[i].core
	return c.seen(c.find(testAddress), key)
}

// buried takes in what node i removed by itself when its clock was as given.
func (w *world) buried(i int, d *crdt.Delta, clock *crdt.Clock) {
	b := burial{key: d.Key, dot: first(d.Dots), drops: d.Drops}
	drops := func(k crdt.Kind) bool {
		return slices.ContainsFunc(d.Drops, func(x crdt.Dot) bool {
			return w.oracle.fact(d.Key, x).kind == k
		})
	}
	if !drops(crdt.Expiry) || drops(crdt.Marker) { // or a marker is cleaned up
		return
	}
	w.expired++
	w.oracle.ends = append(w.oracle.ends, b)
	// Of a counter all goes that is seen: what was added since its start too.
	w.oracle.reset(d.Key, b.dot, w.seen(i, d.Key))
	for k := range w.oracle.edits {
		if e := &w.oracle.edits[k]; !clock.Has(e.dot) && crossed(e, &b) {
			w.failf("node %d removed %s, which %v was about to keep", i, d.Key, e.dot)
		}
	}
}

// edited takes in a write that node i has made.
func (w *world) edited(i int, e edit) {
	if e.dot.Seq == 0 || len(e.alive) == 0 {
		return
	}
	w.oracle.edits = append(w.oracle.edits, e)
	seen := w.seen(i, e.key)
	for k := range w.oracle.ends {
		if b := &w.oracle.ends[k]; !seen(b.dot) && crossed(&e, b) {
			w.failf("node %d kept %s by %v, which %v had removed", i, e.key, e.dot, b.dot)
		}
	}
}

// residue returns whether node r stores anything of a document that is gone, or
// shows one past its deadline.
func (w *world) residue(r *replica) bool {
	p := r.core.find(testAddress)
	for k := range testKeys {
		d := r.core.loadDoc(p, keyAt(k))
		if d.Expired(w.now.Add(-time.Duration(w.odds.skew) * time.Millisecond)) {
			return true
		}
		if d.Marked() {
			return true
		}
		if d.Empty() && naming(&r.store, keyAt(k)) > 0 {
			return true
		}
	}
	return false
}

// naming counts the keys of a store, and the entries of its index, that name a
// document.
func naming(v View, key atoll.Key) (n int) {
	for _, kind := range [...]byte{kindDoc, kindMark, kindStaged} {
		if _, ok := v.Get(keyOf(kind, testSpace, 0, key)); ok {
			n++
		}
	}
	for _, kind := range [...]byte{kindDeadline, kindIndex} {
		start := prefix(kind, testSpace, 0)
		for k, b := range v.Scan(start, after(start)) {
			if kind == kindDeadline {
				b = k[len(start):]
			}
			if bytes.HasSuffix(b, []byte(key)) {
				n++
			}
		}
	}
	return n
}

// reset notes that by took away the increments of key that its replica had
// seen. A row is cumulative: who sees an increment sees its origin's earlier ones.
// What an earlier reset had taken, by says again only if it took that one's entry
// over: it matters where the earlier one is lost with its origin.
func (o *oracle) reset(key atoll.Key, by crdt.Dot, seen func(crdt.Dot) bool) {
	last := make(map[atoll.Origin]uint64)
	for _, inc := range o.incs {
		if inc.key == key && seen(inc.dot) {
			last[inc.dot.Origin] = max(last[inc.dot.Origin], inc.dot.Seq)
		}
	}
	for _, inc := range o.incs {
		if inc.key == key && inc.dot.Seq <= last[inc.dot.Origin] && o.takes(key, by, inc, seen) {
			inc.gone = append(inc.gone, by)
		}
	}
}

// takes reports whether the delta of by says that inc is gone.
func (o *oracle) takes(key atoll.Key, by crdt.Dot, inc *increment, seen func(crdt.Dot) bool) bool {
	known := slices.DeleteFunc(slices.Clone(inc.gone), func(x crdt.Dot) bool { return !seen(x) })
	return len(known) == 0 || slices.ContainsFunc(o.facts[place(key)], func(f fact) bool {
		return f.kind == crdt.ResetOf && slices.Contains(known, f.by) && slices.Contains(f.gone, by)
	})
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
	if w.odds.wins {
		w.shows(i, key, &d)
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
