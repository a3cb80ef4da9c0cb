package sim

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

// disk is what a node stores. The state holds what is on its way to the platter
// too: each pending output knows how to take it back.
type disk struct {
	id    int // of this disk in this state; images of another mean nothing
	state *replication.Memory
	parts []part // what is durable, by partition
}

// part sums up a partition as it is durable.
type part struct {
	clock   []byte // encoded, nil when empty
	docs    uint64 // sum of the hashes of its documents
	staging bool   // a full pull is on its way in
}

// image is a copy of what a disk held durably.
type image struct {
	disk  int
	state *replication.Memory
	parts []part
}

// pending is an output that is not durable yet, what it replaced, and the
// operations in it.
type pending struct {
	out  replication.Output
	undo []replication.Write
	ops  []check.OpID
}

// takeBack undoes outputs, the last first.
func takeBack(m *replication.Memory, outs []pending) {
	for _, p := range slices.Backward(outs) {
		for _, u := range slices.Backward(p.undo) {
			m.Apply([]replication.Write{u})
		}
	}
}

// durable returns the state of n's disk as a crash would leave it at the least.
func (n *node) durable() *replication.Memory {
	m := n.disk.state.Snapshot()
	takeBack(m, n.waiting)
	takeBack(m, n.syncing)
	return m
}

func (n *node) image() *image {
	return &image{disk: n.disk.id, state: n.durable(), parts: slices.Clone(n.disk.parts)}
}

// commit carries an output out once it is durable, behind those before it.
func (w *world) commit(n *node, p pending) {
	o := &p.out
	if len(o.Writes)+len(o.Sends)+len(o.Pulls)+len(o.Replies) == 0 {
		return
	}
	if w.flaws.early {
		w.send(n, o.Sends)
		o.Sends = nil
	}
	if w.flaws.hasty {
		w.answer(n, o.Replies)
		o.Replies = nil
	}
	if len(o.Writes) == 0 && n.syncing == nil {
		w.emit(n, &p)
		return
	}
	n.waiting = append(n.waiting, p)
	if n.syncing == nil {
		w.sync(n)
	}
}

// sync begins a commit of all that waits.
func (w *world) sync(n *node) {
	n.syncing, n.waiting, n.spare = n.waiting, n.spare[:0], nil
	at := w.now + cmp.Or(w.plan.Disk*1000, syncTime) + n.drag
	w.queue.push(event{at: at, kind: evSync, run: n.run, node: n.index})
}

// synced ends a commit.
func (w *world) synced(n *node) {
	if n.armed != Now {
		w.crash(n)
		return
	}
	done := n.syncing
	n.syncing = nil
	if len(n.waiting) > 0 {
		w.sync(n)
	}
	for i := range done {
		w.persist(n, &done[i])
	}
	for i := range done {
		w.emit(n, &done[i])
	}
	clear(done)
	n.spare = done[:0]
}

// emit carries out what a durable output asks for.
func (w *world) emit(n *node, p *pending) {
	w.send(n, p.out.Sends)
	for i := range p.out.Pulls {
		w.openPull(n, &p.out.Pulls[i])
	}
	w.answer(n, p.out.Replies)
}

// crash ends a process. Outputs become durable in order: how many of those in
// the commit under way do is for the moment to say, or for chance.
func (w *world) crash(n *node) {
	if !n.up {
		return
	}
	d := w.chance.draw(ofCrash, n.key, uint64(n.run), 0)
	kept := len(n.syncing)
	switch n.armed {
	case Before:
		kept = 0
	case Torn:
		kept = int(d.throw(int64(kept + 1)))
		w.note(kept > 0 && kept < len(n.syncing), tornCommit)
	case After, Amid:
		w.note(len(n.syncing) > 0, crashBeforeSend)
	default:
		kept *= int(d.throw(2))
	}
	takeBack(n.disk.state, n.waiting)
	takeBack(n.disk.state, n.syncing[kept:])
	if w.flaws.torn {
		w.tear(n, n.syncing[kept:], &d)
	}
	w.lose(n.syncing[kept:])
	w.lose(n.waiting)
	for i := range n.syncing[:kept] {
		w.persist(n, &n.syncing[i])
	}
	if n.armed == Amid {
		for i := range n.syncing[:(kept+1)/2] {
			w.send(n, n.syncing[i].out.Sends)
		}
	}
	w.retire(n)
	for _, r := range n.open {
		w.done(r)
	}
	n.syncing, n.waiting, n.open, n.stalled = nil, nil, nil, nil
	n.up, n.core, n.armed = false, nil, Now
	clear(n.peers)
	w.reconsider(n)
}

// tear makes a part of a commit durable that a crash has undone.
func (w *world) tear(n *node, lost []pending, d *dice) {
	for i := range lost {
		all := lost[i].out.Writes
		if k := int(d.throw(int64(len(all) + 1))); k < len(all) {
			p := pending{out: replication.Output{Writes: all[k:]}}
			p.undo = n.disk.state.Exchange(p.out.Writes, nil)
			w.persist(n, &p)
			return
		}
	}
}

func (w *world) lose(lost []pending) {
	for _, p := range lost {
		for _, op := range p.ops {
			w.violate(w.history.Lose(w.elapsed(), op))
			w.lost++
		}
	}
}

// persist notes that an output is durable, and checks that the documents of each
// partition it changed are those of every replica with the same clock, ever.
func (w *world) persist(n *node, p *pending) {
	w.persisted += uint64(len(p.out.Writes))
	changed := -1
	for i := range p.out.Writes {
		x := &p.out.Writes[i]
		r, k, ok := x.About()
		if !ok {
			continue
		}
		at := &n.disk.parts[k]
		switch r {
		case replication.DocRecord:
			at.docs += docHash(x.Key, x.Value) - docHash(x.Key, p.undo[i].Value)
		case replication.ClockRecord:
			_, rest, _ := crdt.DecodeClock(x.Value)
			at.clock = x.Value[:len(x.Value)-len(rest)]
			changed = k
		case replication.StageRecord:
			at.staging = x.Value != nil
		}
	}
	if changed >= 0 {
		w.functional(n, changed)
	}
}

func docHash(key, value []byte) uint64 {
	if value == nil {
		return 0
	}
	d, rest, err := crdt.DecodeDoc(value)
	if err == nil && d.Empty() {
		return 0
	}
	h := xxhash.Sum64(value[:len(value)-len(rest)]) // what follows is the replica's own
	return h ^ xxhash.Sum64(key)*0x9e3779b97f4a7c15
}

// moment is a clock of a partition, as a hash.
type moment struct {
	part  int
	clock uint64
}

// functional checks that the documents are a function of the clock.
func (w *world) functional(n *node, k int) {
	at := &n.disk.parts[k]
	if w.seen == nil || at.staging {
		return
	}
	m := moment{k, xxhash.Sum64(at.clock)}
	first, known := w.seen[m]
	if !known {
		w.seen[m] = at.docs
	} else if first != at.docs {
		w.violate(&check.Violation{Property: check.Function, At: w.elapsed(), Node: n.self.Node,
			Detail: "partition " + itoa(k) + " holds other documents than a replica with the same clock did"})
	}
}

// swap puts another disk into a node that does not run: an image of the one it
// had, or an empty one. What no other disk holds may be lost with it.
func (w *world) swap(n *node, m *image) {
	old := n.disk
	w.disks++
	n.swapped = true
	n.disk = disk{id: w.disks, state: replication.NewMemory(),
		parts: make([]part, w.plan.Workload.Keyspace.Partitions())}
	if m != nil {
		n.disk.state, n.disk.parts = m.state.Snapshot(), slices.Clone(m.parts)
	}
	clocks := make([][]crdt.Clock, 0, len(w.nodes))
	for _, o := range w.nodes {
		clocks = append(clocks, o.disk.clocks())
	}
	held := old.clocks()
	w.endangered += w.history.Endanger(func(o *check.Op) (lost bool) {
		k := replication.PartitionOf(w.plan.Workload.Keyspace, o.Key)
		return held[k].HasRun(o.Dots) && !slices.ContainsFunc(clocks, func(c []crdt.Clock) bool {
			return c[k].HasRun(o.Dots)
		})
	})
}

// clocks returns what is durable of each partition.
func (d *disk) clocks() []crdt.Clock {
	all := make([]crdt.Clock, len(d.parts))
	for k := range d.parts {
		if b := d.parts[k].clock; b != nil {
			all[k], _, _ = crdt.DecodeClock(b)
		}
	}
	return all
}

// alike reports whether two disks hold the same documents and clocks, and
// nothing is on its way in.
func (d *disk) alike(o *disk) bool {
	return slices.EqualFunc(d.parts, o.parts, func(a, b part) bool {
		return a.docs == b.docs && bytes.Equal(a.clock, b.clock) && a.staging == b.staging
	})
}
