package sim

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

const (
	// syncTime is what one synced commit takes where a plan does not say. Steps
	// meanwhile share the next.
	syncTime = 300 // µs
	// stepTime keeps a core that wants to be woken at once from stopping time.
	stepTime = 100 // µs
)

// flaws are promises to the core that a node of a test breaks.
type flaws struct {
	early bool // sends what is not durable yet
	hasty bool // acknowledges what is not durable yet
	torn  bool // a crash tears a commit
}

// node is one simulated process and its disk.
type node struct {
	index   int32
	member  replication.Member
	skew    time.Duration
	up      bool
	run     int32 // of the process, from 1
	core    *replication.Core
	durable *replication.Memory
	current *replication.Memory // durable with what is on its way there
	syncing []pending           // in the commit that is under way
	waiting []pending           // in the next
	wakeAt  int64               // of the evWake that counts
	peers   []int32             // by node: the run of it that this core calls up, or 0
}

// pending is an output that is not carried out yet, and the writes in it.
type pending struct {
	out     replication.Output
	ops     []check.OpID
	replies int // to clients; a write that changes nothing is answered too
}

func (w *world) addNode(i int, n Node) {
	w.nodes = append(w.nodes, &node{
		index: int32(i), skew: time.Duration(n.Skew) * time.Millisecond,
		durable: replication.NewMemory(), peers: make([]int32, len(w.plan.Nodes)),
		member: replication.Member{
			Origin: atoll.Origin(i + 1), Node: n.ID, Region: n.ID.Region(),
		},
	})
}

// start begins a process on what is durable.
func (w *world) start(n *node) {
	n.up = true
	n.run++
	n.current = n.durable.Snapshot()
	n.wakeAt = never
	d := w.chance.draw(ofCore, uint64(n.index), uint64(n.run), 0)
	n.core = replication.New(replication.Config{
		Self: n.member, View: n.current, Chunk: w.plan.Chunk,
		Rand: rand.New(rand.NewPCG(uint64(d.throw(1<<62)), uint64(d.throw(1<<62)))),
	}, w.clock(n))
	w.do(n, replication.Wake{})
	var all replication.Layout
	for _, m := range w.nodes {
		all.Members = append(all.Members, m.member)
	}
	for _, l := range w.plan.Overlay {
		all.Links = append(all.Links, replication.Link{
			A: w.nodes[l[0]].member.Origin, B: w.nodes[l[1]].member.Origin,
		})
	}
	w.do(n, all)
	w.reconsider(n)
}

// crash ends a process. Of the commit under way all is durable or nothing.
func (w *world) crash(n *node) {
	d := w.chance.draw(ofCrash, uint64(n.index), uint64(n.run), 0)
	if d.throw(2) == 0 {
		for _, p := range n.syncing {
			n.durable.Apply(p.out.Writes)
		}
	} else {
		if w.flaws.torn {
			w.tear(n, &d)
		}
		w.lose(n.syncing)
	}
	w.lose(n.waiting)
	n.syncing, n.waiting = nil, nil
	n.up, n.core, n.current = false, nil, nil
	clear(n.peers)
	w.reconsider(n)
}

// tear makes a part of the commit under way durable.
func (w *world) tear(n *node, d *dice) {
	for _, p := range n.syncing {
		if k := int(d.throw(int64(len(p.out.Writes) + 1))); k < len(p.out.Writes) {
			n.durable.Apply(p.out.Writes[k:])
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

// clock returns what a node's wall clock shows.
func (w *world) clock(n *node) time.Time {
	return epoch.Add(time.Duration(w.now)*time.Microsecond + n.skew)
}

// step feeds one input to a core. What it wants done happens when it is durable.
func (w *world) step(n *node, in replication.Input) replication.Output {
	out := n.core.Step(w.clock(n), in)
	n.current.Apply(out.Writes)
	w.digest(n, &out)
	if out.Fenced != "" {
		w.violate(&check.Violation{Property: check.Phantom, At: w.elapsed(), Node: n.member.Node,
			Detail: "fenced: " + out.Fenced})
	}
	w.observe(n, out.Changes)
	w.wakeLater(n, out.Wake)
	return out
}

// digest puts what a step did into the trace.
func (w *world) digest(n *node, out *replication.Output) {
	b := binary.BigEndian.AppendUint64(w.buf[:0], uint64(w.now))
	for _, v := range [...]int{
		int(n.index), len(out.Writes), len(out.Sends), len(out.Pulls), len(out.Replies),
	} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	for _, x := range out.Writes {
		b = append(b, x.Key...)
		b = append(b, x.Value...)
	}
	w.buf = b
	_, _ = w.trace.Write(b)
}

// observe checks the documents that a step has changed at the word of others.
func (w *world) observe(n *node, changes []replication.Change) {
	for i := range changes {
		c := &changes[i]
		if !c.Remote {
			continue
		}
		clock := n.core.Clock(c.Address)
		w.violate(w.history.Changed(w.elapsed(), n.member.Node, c.Key, &c.Doc, clock.Has))
	}
}

func (w *world) wakeLater(n *node, t time.Time) {
	at := t.Sub(epoch) - n.skew
	us := max(int64((at+time.Microsecond-1)/time.Microsecond), w.now+stepTime)
	if us < n.wakeAt {
		n.wakeAt = us
		w.queue.push(event{at: us, kind: evWake, run: n.run, node: n.index})
	}
}

func (w *world) wake(n *node, e *event) {
	if e.at != n.wakeAt {
		return // another came before it
	}
	n.wakeAt = never
	w.do(n, replication.Wake{})
}

// do steps and commits.
func (w *world) do(n *node, in replication.Input) {
	w.commit(n, pending{out: w.step(n, in)})
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
		w.acknowledge(&p)
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
	n.syncing, n.waiting = n.waiting, nil
	at := w.now + cmp.Or(w.plan.Disk*1000, syncTime)
	w.queue.push(event{at: at, kind: evSync, run: n.run, node: n.index})
}

// synced ends a commit.
func (w *world) synced(n *node) {
	done := n.syncing
	n.syncing = nil
	if len(n.waiting) > 0 {
		w.sync(n)
	}
	for i := range done {
		n.durable.Apply(done[i].out.Writes)
	}
	for i := range done {
		w.emit(n, &done[i])
	}
}

// emit carries out what a durable output asks for.
func (w *world) emit(n *node, p *pending) {
	w.send(n, p.out.Sends)
	for i := range p.out.Pulls {
		w.openPull(n, &p.out.Pulls[i])
	}
	w.acknowledge(p)
}

// acknowledge tells clients of their writes, each once.
func (w *world) acknowledge(p *pending) {
	for _, op := range p.ops {
		w.history.Ack(op)
	}
	w.acked += p.replies
	p.replies = 0
}

// trim drops a node's index in all partitions.
func (w *world) trim(n *node) {
	ks := w.plan.Workload.Keyspace
	for part := range ks.Partitions() {
		a := replication.Address{Keyspace: ks, Partition: part}
		clock := n.core.Clock(a)
		for _, r := range clock.Runs() {
			w.do(n, replication.Cut{Address: a, Run: r})
		}
	}
}

// docs returns the documents that a node holds, decoded.
func (w *world) docs(n *node) map[atoll.Key]crdt.Doc {
	docs := make(map[atoll.Key]crdt.Doc)
	ks := w.plan.Workload.Keyspace
	for part := range ks.Partitions() {
		from, to, skip := replication.DocRange(ks, part, "")
		for k, b := range n.current.Scan(from, to) {
			if d, _, err := crdt.DecodeDoc(b); err == nil {
				docs[atoll.Key(k[skip:])] = d
			}
		}
	}
	return docs
}

// alike reports whether two nodes hold the same documents and clocks.
func (w *world) alike(a, b *node) bool {
	ks := w.plan.Workload.Keyspace
	for part := range ks.Partitions() {
		addr := replication.Address{Keyspace: ks, Partition: part}
		if x := a.core.Clock(addr); !x.Equal(b.core.Clock(addr)) {
			return false
		}
		if !slices.EqualFunc(w.stored(a, part), w.stored(b, part), sameWrite) {
			return false
		}
	}
	return true
}

func sameWrite(a, b replication.Write) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
}

// stored returns the documents of a partition as they are stored, in order.
func (w *world) stored(n *node, part int) (all []replication.Write) {
	from, to, _ := replication.DocRange(w.plan.Workload.Keyspace, part, "")
	for k, v := range n.current.Scan(from, to) {
		all = append(all, replication.Write{Key: k, Value: v})
	}
	return all
}
