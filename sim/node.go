package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

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
	// hearsay is how long the news of a member takes at most to reach the others.
	hearsay = 2_000_000 // µs
	// refitTime is from when a node is fenced until it starts under a new origin.
	refitTime = 1_000_000 // µs
)

// flaws are promises to the core that a node of a test breaks.
type flaws struct {
	early   bool // sends what is not durable yet
	hasty   bool // acknowledges what is not durable yet
	torn    bool // a crash tears a commit
	dirty   bool // answers pulls with what is not durable yet
	ghostly bool // an answer is heard by the process after the one that asked
}

// node is one simulated process and its disk.
type node struct {
	index  int32
	key    uint64 // of its name: what chance knows it by
	self   replication.Member
	member bool
	minted int   // origins so far
	skew   int64 // µs
	drift  int64 // ppm
	ahead  int64 // µs: the most that its clock was ever ahead

	up      bool
	down    int   // faults that keep it from starting
	paused  int   // faults that make it stand still
	drag    int64 // µs more for everything
	armed   string
	suspect bool    // its disk was rolled back and nobody has said how far
	rolled  bool    // its disk was rolled back under this origin
	swapped bool    // its disk is not the first
	greeted []int32 // by node: the last run of this one that it has greeted

	run     int32 // of the process, from 1
	core    *replication.Core
	disk    disk
	syncing []pending // in the commit that is under way
	waiting []pending // in the next
	spare   []pending
	wakeAt  int64   // of the evWake that counts
	peers   []int32 // by node: the run of it that this core calls up, or 0
	stalled []event // that a pause holds back
	open    map[uint64]*request
	random  *rand.Rand
}

func (w *world) addNode(i int, spec Node) {
	n := &node{index: int32(i), key: xxhash.Sum64String(string(spec.ID)), member: true,
		skew: spec.Skew * 1000, drift: spec.Drift,
		peers: make([]int32, len(w.plan.Nodes)), greeted: make([]int32, len(w.plan.Nodes)),
		self: replication.Member{Node: spec.ID, Region: spec.ID.Region()}}
	n.ahead = w.offset(n)
	n.disk = disk{state: replication.NewMemory(),
		parts: make([]part, w.plan.Workload.Keyspace.Partitions())}
	n.newOrigin()
	n.random = rand.New(&source{w: w, n: n})
	w.nodes = append(w.nodes, n)
}

// source is the randomness of one core: what it throws at a time depends on
// nothing else, so that what a fault elsewhere changes re-rolls nothing here.
type source struct {
	w   *world
	n   *node
	at  int64
	run int32
	d   dice
}

// Uint64 implements rand.Source.
func (s *source) Uint64() uint64 {
	if s.at != s.w.now || s.run != s.n.run {
		s.at, s.run = s.w.now, s.n.run
		s.d = s.w.chance.draw(ofCore, s.n.key, uint64(s.run), uint64(s.at))
	}
	return s.d.bits()
}

// newOrigin gives a node its next origin. It is odd, and so never 0.
func (n *node) newOrigin() {
	n.minted++
	n.self.Origin = atoll.Origin(mix(n.key+uint64(n.minted)) | 1)
	n.rolled, n.suspect = false, false
}

// mint gives a node a new origin, of which the others hear.
func (w *world) mint(n *node) {
	n.newOrigin()
	w.relayout()
}

// suspect makes a node, whose disk is older than its origin, refuse its clients
// until it has been greeted by all members: one of them may know better.
func (w *world) suspect(n *node) {
	n.rolled, n.suspect = true, true
	clear(n.greeted)
}

// trust ends that when all have greeted and none has fenced it.
func (w *world) trust(n *node, from int32) {
	n.greeted[from] = n.run
	for _, m := range w.nodes {
		if m.member && m != n && n.greeted[m.index] != n.run {
			return
		}
	}
	n.suspect = false
	w.note(true, trustedAgain)
	w.reuse(n)
}

// reuse forgets what a node had written since its disk was as it is now: that is
// nowhere any more, and its dots will name something else.
func (w *world) reuse(n *node) {
	clocks := n.disk.clocks()
	w.history.Forget(n.self.Origin, func(o *check.Op) bool {
		return clocks[replication.PartitionOf(w.plan.Workload.Keyspace, o.Key)].HasRun(o.Dots)
	})
	clear(w.seen)
}

// wrote reports whether an output has changes of the node's own.
func wrote(out *replication.Output) bool {
	return slices.ContainsFunc(out.Changes, func(c replication.Change) bool { return !c.Remote })
}

// relayout lets the members hear of each other, each in its own time.
func (w *world) relayout() {
	w.layouts++
	for _, n := range w.nodes {
		if n.up {
			d := w.chance.draw(ofLayout, n.key, w.layouts, 0)
			w.queue.push(event{at: w.now + d.throw(hearsay), kind: evLayout, run: n.run, node: n.index})
		}
	}
}

func (w *world) layout() (all replication.Layout) {
	for _, m := range w.nodes {
		if m.member {
			all.Members = append(all.Members, m.self)
		}
	}
	for _, l := range w.plan.Overlay {
		all.Links = append(all.Links, replication.Link{
			A: w.nodes[l[0]].self.Origin, B: w.nodes[l[1]].self.Origin,
		})
	}
	return all
}

// start begins a process on what is durable.
func (w *world) start(n *node) {
	n.up = true
	n.run++
	n.wakeAt = never
	n.open = make(map[uint64]*request)
	n.core = replication.New(replication.Config{
		Self: n.self, View: n.disk.state, Chunk: w.plan.Chunk, Rand: n.random,
	}, w.clock(n))
	w.do(n, replication.Wake{})
	w.do(n, w.layout())
	w.reconsider(n)
}

// refit restarts a fenced node under a new origin, as its next start does.
func (w *world) refit(n *node) {
	w.tell("start", n.self.Node, "%s starts under a new origin", n.self.Node)
	w.note(true, fencedAndMinted)
	w.crash(n)
	w.mint(n)
	if n.down == 0 {
		w.start(n)
	}
}

// resume lets a paused process go on with what came meanwhile.
func (w *world) resume(n *node) {
	w.reconsider(n)
	for _, e := range n.stalled {
		e.at = w.now
		w.queue.push(e)
	}
	n.stalled = nil
}

// offset returns how far a node's clock is ahead, in µs.
func (w *world) offset(n *node) int64 { return n.skew + w.now*n.drift/million }

// clock returns what a node's wall clock shows.
func (w *world) clock(n *node) time.Time {
	return epoch.Add(time.Duration(w.now+w.offset(n)) * time.Microsecond)
}

// step feeds one input to a core. What it wants done happens when it is durable.
func (w *world) step(n *node, in replication.Input) pending {
	out := n.core.Step(w.clock(n), in)
	p := pending{out: out}
	if len(out.Writes) > 0 {
		p.undo = n.disk.state.Exchange(out.Writes, nil)
	}
	w.digest(n, &out)
	if n.suspect && wrote(&out) {
		w.reuse(n) // the core tidies when all members have told it what they hold
	}
	if out.Fenced != "" {
		w.fenced(n, out.Fenced)
	}
	w.observe(n, out.Changes)
	w.wakeLater(n, out.Wake)
	return p
}

// fenced is right where a disk has been rolled back, and wrong elsewhere.
func (w *world) fenced(n *node, why string) {
	if !n.rolled {
		w.violate(&check.Violation{Property: check.Phantom, At: w.elapsed(), Node: n.self.Node,
			Detail: "fenced: " + why})
		return
	}
	w.tell("fenced", n.self.Node, "%s is fenced", n.self.Node)
	w.queue.push(event{at: w.now + refitTime, kind: evRefit, run: n.run, node: n.index})
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
		if !c.Remote || w.seen == nil {
			continue
		}
		clock := n.core.Clock(c.Address)
		w.violate(w.history.Changed(w.elapsed(), n.self.Node, c.Key, &c.Doc, clock.Has))
	}
}

// wakeLater wakes a core when its clock shows t.
func (w *world) wakeLater(n *node, t time.Time) {
	wait := int64((t.Sub(w.clock(n)) + time.Microsecond - 1) / time.Microsecond)
	wait -= wait * n.drift / million // its clock runs by so much faster
	us := w.now + max(wait, stepTime)
	if us < n.wakeAt {
		n.wakeAt = us
		w.queue.push(event{at: us, kind: evWake, run: n.run, node: n.index})
	}
}

// wakeNow lets a core look at a clock that has jumped.
func (w *world) wakeNow(n *node) {
	n.wakeAt = never
	w.do(n, replication.Wake{})
}

func (w *world) wake(n *node, e *event) {
	if e.at != n.wakeAt && n.wakeAt > w.now {
		return // another came before it
	}
	n.wakeAt = never
	w.do(n, replication.Wake{})
}

// do steps and commits.
func (w *world) do(n *node, in replication.Input) { w.commit(n, w.step(n, in)) }

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

// doc returns a document that a node holds.
func (w *world) doc(n *node, key atoll.Key) (d crdt.Doc) {
	ks := w.plan.Workload.Keyspace
	if b, ok := n.disk.state.Get(replication.DocKey(ks, replication.PartitionOf(ks, key), key)); ok {
		d, _, _ = crdt.DecodeDoc(b)
	}
	return d
}

// docs returns the documents that a node holds, decoded.
func (w *world) docs(n *node) map[atoll.Key]crdt.Doc {
	docs := make(map[atoll.Key]crdt.Doc)
	ks := w.plan.Workload.Keyspace
	for part := range ks.Partitions() {
		from, to, skip := replication.DocRange(ks, part, "")
		for k, b := range n.disk.state.Scan(from, to) {
			if d, _, err := crdt.DecodeDoc(b); err == nil && !d.Empty() {
				docs[atoll.Key(k[skip:])] = d
			}
		}
	}
	return docs
}

func itoa(n int) string { return strconv.Itoa(n) }
