package replication

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// A schedule is a random run of a few replicas of one partition over a network
// that loses, doubles and reorders, with pulls and full pulls between the
// writes, crashes to the last durable point and an index cut at random. The
// oracle is op-based and knows nothing of clocks: live is what was added minus
// what any operation removed; a counter is the sum of the increments that no
// reset or deletion had seen.

const (
	testSpace = atoll.Keyspace("_test") // one partition
	testKeys  = 3
)

var testAddress = Address{testSpace, 0}

// store is a replica's state: durable, and durable with the pending writes.
type store struct{ durable, current *Memory }

func (s *store) Get(k []byte) ([]byte, bool) { return s.current.Get(k) }
func (s *store) Scan(from, to []byte) iter.Seq2[[]byte, []byte] {
	return s.current.Scan(from, to)
}

type replica struct {
	member  Member
	store   store
	core    *Core
	run     int // of the process
	pending []Output
}

// packet is a message, a request for a pull or a break on its way.
type packet struct {
	from, to int
	run      int // of the receiver for parts of a pull answer; -1: any
	msg      Message
	session  SessionID
	failed   bool
}

// increment is one inc operation, under a dot of its delta.
type increment struct {
	key  atoll.Key
	path crdt.Path
	dot  crdt.Dot
	by   int64
	gone []crdt.Dot // the resets and deletions that had seen it
}

type world struct {
	rng    *rand.Rand
	now    time.Time
	nodes  []*replica
	net    []packet
	deltas map[crdt.Dot]crdt.Delta // by first dot
	incs   []*increment
	full   int // full pulls seen
	calm   bool
	check  bool // the invariant at every step
	fail   string
}

func newWorld(seed uint64) *world {
	w := &world{
		rng:    rand.New(rand.NewPCG(seed, 0x5eed)),
		now:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		deltas: make(map[crdt.Dot]crdt.Delta),
		check:  seed%8 == 0,
	}
	for i := range 2 + w.rng.IntN(3) {
		region := atoll.Region("abcde"[i/2 : i/2+1])
		r := &replica{member: Member{
			Origin: atoll.Origin(i + 1), Region: region,
			Node: atoll.NodeID(fmt.Sprintf("%s/%d", region, i)),
		}}
		r.store.durable = NewMemory()
		w.nodes = append(w.nodes, r)
	}
	for i := range w.nodes {
		w.start(i)
	}
	return w
}

// start begins a process of node i on what is durable.
func (w *world) start(i int) {
	r := w.nodes[i]
	r.store.current = r.store.durable.Snapshot()
	r.pending = nil
	r.run++
	r.core = New(Config{Self: r.member, View: &r.store, Chunk: 1 + int(w.rng.Uint64()%4),
		Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 1))}, w.now)
	w.step(i, Layout{w.members()})
	for j, q := range w.nodes {
		if j != i && q.core != nil {
			w.step(i, PeerUp{q.member})
			w.step(j, PeerUp{r.member})
		}
	}
}

func (w *world) members() (ms []Member) {
	for _, r := range w.nodes {
		ms = append(ms, r.member)
	}
	return ms
}

// step feeds one input to node i and keeps what it wants done until it commits.
func (w *world) step(i int, in Input) Output {
	r := w.nodes[i]
	out := r.core.Step(w.now, in)
	r.store.current.Apply(out.Writes)
	if plant.Bug == plant.SendBeforeDurable {
		w.emit(i, out)
		out.Sends = nil
	}
	r.pending = append(r.pending, out)
	for _, s := range out.Sends {
		if d, ok := s.Message.(Delta); ok && d.Delta.Dots.Origin == r.member.Origin {
			w.deltas[first(d.Delta.Dots)] = d.Delta
		}
	}
	if out.Fenced != "" {
		w.failf("node %d was fenced", i)
	}
	if w.check {
		w.invariant(i)
	}
	return out
}

func first(r crdt.Run) crdt.Dot { return crdt.Dot{Origin: r.Origin, Seq: r.First} }

func (w *world) failf(format string, args ...any) {
	if w.fail == "" {
		w.fail = fmt.Sprintf(format, args...)
	}
}

// commit makes the first n pending outputs durable and carries out the rest of
// what they ask for.
func (w *world) commit(i, n int) {
	r := w.nodes[i]
	done := r.pending[:n]
	r.pending = slices.Clone(r.pending[n:])
	for _, out := range done {
		r.store.durable.Apply(out.Writes)
	}
	for _, out := range done {
		w.emit(i, out)
		for _, p := range out.Pulls {
			w.net = append(w.net, packet{from: i, to: w.index(p.To), run: r.run,
				msg: p.Pull, session: p.Session})
		}
	}
}

func (w *world) emit(i int, out Output) {
	for _, s := range out.Sends {
		w.net = append(w.net, packet{from: i, to: w.index(s.To), run: -1, msg: s.Message})
	}
}

func (w *world) index(n atoll.NodeID) int {
	return slices.IndexFunc(w.nodes, func(r *replica) bool { return r.member.Node == n })
}

// crash ends node i's process: what was not durable never happened.
func (w *world) crash(i int) {
	r := w.nodes[i]
	w.commit(i, w.rng.IntN(len(r.pending)+1)) // the process may get this far
	if plant.Bug == plant.TornCommit && len(r.pending) > 0 && len(r.pending[0].Writes) > 1 {
		n := w.rng.IntN(len(r.pending[0].Writes))
		r.store.durable.Apply(r.pending[0].Writes[n:])
	}
	durable := recovered(r)
	lost := func(d crdt.Dot) bool { return d.Origin == r.member.Origin && !durable.Has(d) }
	maps.DeleteFunc(w.deltas, func(d crdt.Dot, _ crdt.Delta) bool { return lost(d) })
	w.incs = slices.DeleteFunc(w.incs, func(n *increment) bool {
		return lost(n.dot)
	})
	for _, n := range w.incs {
		n.gone = slices.DeleteFunc(n.gone, lost)
	}
	w.start(i)
}

// recovered returns the clock that node r would restart with.
func recovered(r *replica) crdt.Clock {
	b, ok := r.store.durable.Get(prefix(kindMeta, testSpace, 0))
	if !ok {
		return crdt.Clock{}
	}
	c, _, err := crdt.DecodeClock(b)
	if err != nil {
		panic(err)
	}
	return c
}

// deliver hands the k-th packet over.
func (w *world) deliver(k int) {
	p := w.net[k]
	w.net = slices.Delete(w.net, k, k+1)
	switch {
	case p.session == 0:
		w.step(p.to, Receive{From: w.nodes[p.from].member.Node, Message: p.msg})
	case p.run != w.nodes[p.from].run && plant.Bug != plant.AnswerOutlivesRun:
		// The asker has restarted: nobody waits for this answer.
	case p.failed:
		w.step(p.from, PullFailed{p.session})
	default:
		if req, ok := p.msg.(Pull); ok {
			w.answer(p, req)
			return
		}
		w.step(p.from, PullEvent{p.session, p.msg})
	}
}

// answer serves a pull from what is durable at the source. The messages of an
// answer stay in order: stream returns the place of the next.
func (w *world) answer(p packet, req Pull) {
	snapshot := w.nodes[p.to].store.durable.Snapshot()
	var answer []packet
	_ = Answer(snapshot, req, func(m Message) error {
		if b, ok := m.(Begin); ok && b.Full {
			w.full++
		}
		q := p
		q.msg = m
		answer = append(answer, q)
		return nil
	})
	if !w.calm && w.rng.IntN(4) == 0 { // broken off somewhere
		answer = answer[:w.rng.IntN(len(answer)+1)]
		p.failed = true
		answer = append(answer, p)
	}
	w.net = append(w.net, answer...)
}

// next picks a packet: any, but the first of those of one answer.
func (w *world) next() int {
	k := w.rng.IntN(len(w.net))
	if p := w.net[k]; p.session != 0 {
		return slices.IndexFunc(w.net, func(q packet) bool {
			return q.session == p.session && q.from == p.from && q.run == p.run
		})
	}
	return k
}

// event does one random thing.
func (w *world) event() {
	i := w.rng.IntN(len(w.nodes))
	r := w.nodes[i]
	w.now = w.now.Add(time.Duration(w.rng.IntN(60)) * time.Millisecond)
	switch x := w.rng.IntN(100); {
	case x < 22:
		w.write(i)
	case x < 40:
		w.step(i, Wake{})
	case x < 60:
		w.commit(i, w.rng.IntN(len(r.pending)+1))
	case x < 62:
		w.crash(i)
	case x < 64:
		c := r.core.Clock(testAddress)
		if runs := c.Runs(); len(runs) > 0 {
			cut := runs[w.rng.IntN(len(runs))]
			cut.Last = cut.First + w.rng.Uint64N(cut.Len())
			w.step(i, Cut{testAddress, cut})
		}
	case len(w.net) > 0:
		k := w.next()
		switch y := w.rng.IntN(10); {
		case y == 0 && w.net[k].session == 0: // lost
			w.net = slices.Delete(w.net, k, k+1)
		case y == 1 && w.net[k].session == 0: // doubled
			w.net = append(w.net, w.net[k])
		default:
			w.deliver(k)
		}
	}
}

// write makes one random change of one document at node i.
func (w *world) write(i int) {
	key := atoll.Key("xyz"[w.rng.IntN(testKeys):][:1])
	n, reset, del := crdt.Path("").Child("n"), false, false
	var incs []*increment
	out := w.step(i, Mutate{ID: 1, Keyspace: testSpace, Key: key,
		Edit: func(e *crdt.Edit) error {
			for range 1 + w.rng.IntN(2) {
				switch w.rng.IntN(8) {
				case 0, 1, 2:
					w.assign(e)
				case 3:
					w.element(e)
				case 4, 5:
					by := int64(w.rng.IntN(9) - 3)
					if len(incs) == 0 && !reset && !del {
						incs = append(incs, &increment{key: key, path: n, by: by})
						return e.Inc(n, by)
					}
				case 6:
					if len(incs) == 0 {
						e.ResetCounters(func(p crdt.Path) bool { return p == n })
						reset = true
					}
				case 7:
					if len(incs) == 0 {
						e.Drop(func(*crdt.Entry) bool { return true })
						e.ResetCounters(func(crdt.Path) bool { return true })
						del = true
					}
				}
			}
			return nil
		}})
	for _, reply := range out.Replies {
		if (reset || del) && reply.Dots.First > 0 {
			w.reset(i, key, first(reply.Dots))
		}
		for _, inc := range incs {
			inc.dot = first(reply.Dots)
			w.incs = append(w.incs, inc)
		}
	}
}

// assign writes a register and an existence cell, removing what it sees there.
func (w *world) assign(e *crdt.Edit) {
	p := crdt.Path("").Child("ab"[w.rng.IntN(2):][:1])
	e.Drop(func(x *crdt.Entry) bool { return x.Path == p || x.Path == "" })
	e.Add("", crdt.Existence, nil)
	e.Add(p, crdt.Register, fmt.Appendf(nil, "%d", w.rng.IntN(100)))
}

// element adds a member to a set, or removes what it sees of it.
func (w *world) element(e *crdt.Edit) {
	p, v := crdt.Path("").Child("s"), []byte{"123"[w.rng.IntN(3)]}
	e.Drop(func(x *crdt.Entry) bool { return x.Path == p && bytes.Equal(x.Value, v) })
	if w.rng.IntN(3) > 0 {
		e.Add(p, crdt.Element, v)
	}
}

// reset notes the increments that node i sees in key: they do not count again.
// A row is cumulative, so who sees an increment sees its origin's earlier ones.
func (w *world) reset(i int, key atoll.Key, by crdt.Dot) {
	p := w.nodes[i].core.find(testAddress)
	seen := p.seen(key)
	last := make(map[atoll.Origin]uint64)
	for _, inc := range w.incs {
		if inc.key == key && seen(inc.dot) {
			last[inc.dot.Origin] = max(last[inc.dot.Origin], inc.dot.Seq)
		}
	}
	for _, inc := range w.incs {
		if inc.key == key && inc.dot.Seq <= last[inc.dot.Origin] {
			inc.gone = append(inc.gone, by)
		}
	}
}

// expected returns the dots that are live and the ghosts of key at a replica
// that has seen what seen says, by the deltas alone.
func (w *world) expected(key atoll.Key, seen func(crdt.Dot) bool) (live, ghosts []crdt.Dot) {
	removed := make(map[crdt.Dot]bool)
	for dot, d := range w.deltas {
		if d.Key == key && seen(dot) {
			for _, x := range d.Drops {
				removed[x] = true
				if !seen(x) {
					ghosts = append(ghosts, x)
				}
			}
		}
	}
	for dot, d := range w.deltas {
		if d.Key == key && seen(dot) {
			for _, a := range d.Adds {
				if !removed[a.Dot] {
					live = append(live, a.Dot)
				}
			}
		}
	}
	slices.SortFunc(live, crdt.Dot.Compare)
	slices.SortFunc(ghosts, crdt.Dot.Compare)
	return live, slices.Compact(ghosts)
}

// invariant: documents and ghosts are a function of the clock.
func (w *world) invariant(i int) {
	c := w.nodes[i].core
	p := c.find(testAddress)
	for k := range testKeys {
		key := atoll.Key("xyz"[k : k+1])
		d := c.loadDoc(p, key)
		live, ghosts := w.expected(key, p.seen(key))
		if got := dots(d); !slices.Equal(got, live) {
			w.failf("node %d, key %s: live %v, want %v, clock %v", i, key, got, live, p.clock)
		}
		if !slices.Equal(d.Ghosts, ghosts) {
			w.failf("node %d, key %s: ghosts %v, want %v", i, key, d.Ghosts, ghosts)
		}
	}
}

func dots(d crdt.Doc) []crdt.Dot {
	var got []crdt.Dot
	for i := range d.Entries {
		got = append(got, d.Entries[i].Dot)
	}
	slices.SortFunc(got, crdt.Dot.Compare)
	return got
}

// settle lets everything arrive until the clocks agree.
func (w *world) settle() {
	w.calm = true
	for range 400 {
		for i, r := range w.nodes {
			w.step(i, Wake{})
			w.commit(i, len(r.pending))
		}
		for len(w.net) > 0 {
			w.deliver(w.next())
			for i, r := range w.nodes {
				w.commit(i, len(r.pending))
			}
		}
		w.now = w.now.Add(150 * time.Millisecond)
		if w.agreed() {
			return
		}
	}
	w.failf("no agreement: %v", w.nodes[0].core.Clock(testAddress))
}

func (w *world) agreed() bool {
	zero := w.nodes[0].core.find(testAddress)
	for _, r := range w.nodes {
		p := r.core.find(testAddress)
		if !p.clock.Equal(zero.clock) || p.stage != nil || len(w.spent(r)) > 0 {
			return false
		}
	}
	return true
}

// spent returns the keys at r whose documents hold reset entries that no
// counter row needs: the elected member has to remove them.
func (w *world) spent(r *replica) (keys []atoll.Key) {
	p := r.core.find(testAddress)
	for k := range testKeys {
		key := atoll.Key("xyz"[k : k+1])
		e := crdt.NewEdit(r.core.loadDoc(p, key), key, 1, 1<<40, 1)
		e.DropSpentResets(func(crdt.Dot) bool { return true }, r.core.member)
		if _, ok := e.Delta(); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// verify compares every replica with the oracle.
func (w *world) verify() {
	w.check = true
	for i, r := range w.nodes {
		w.invariant(i)
		p := r.core.find(testAddress)
		for k := range testKeys {
			key := atoll.Key("xyz"[k : k+1])
			d := r.core.loadDoc(p, key)
			zero := w.nodes[0].core.loadDoc(p, key)
			if !bytes.Equal(d.Append(nil), zero.Append(nil)) {
				w.failf("key %s differs between 0 and %d", key, i)
			}
			if len(d.Ghosts) > 0 {
				w.failf("node %d, key %s: ghosts left %v", i, key, d.Ghosts)
			}
			w.verifyCounter(i, key, &d)
		}
	}
}

func (w *world) verifyCounter(i int, key atoll.Key, d *crdt.Doc) {
	sum := int64(0)
	for _, inc := range w.incs {
		if inc.key == key && len(inc.gone) == 0 {
			sum += inc.by
		}
	}
	if got, _ := d.Counter(crdt.Path("").Child("n")); got != sum {
		w.failf("node %d, key %s: counter %d, want %d", i, key, got, sum)
	}
}

// schedule runs one seed and returns what went wrong.
func schedule(seed uint64) (fail string, full int) {
	w := newWorld(seed)
	for range 20 + w.rng.IntN(120) {
		if w.event(); w.fail != "" {
			return w.fail, w.full
		}
	}
	if w.settle(); w.fail == "" {
		w.verify()
	}
	return w.fail, w.full
}

// campaign runs seeds on all cores until one fails; it returns the first that did.
func campaign(n uint64) (bad uint64, fail string, full int64) {
	var next, pulls, failed atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= n && failed.Load() == 0; seed = next.Add(1) {
				f, p := schedule(seed)
				pulls.Add(uint64(p))
				if f != "" {
					mu.Lock()
					bad, fail = seed, f
					mu.Unlock()
					failed.Store(seed)
				}
			}
		})
	}
	wg.Wait()
	return bad, fail, int64(pulls.Load())
}

func TestSchedules(t *testing.T) {
	if plant.Bug != plant.None {
		t.Fatal("a bug is planted")
	}
	n := uint64(schedules)
	bad, fail, full := campaign(n)
	if fail != "" {
		t.Fatalf("seed %d: %s", bad, fail)
	}
	if full == 0 {
		t.Fatal("no schedule had a full pull: the test does not reach what it is for")
	}
	t.Logf("%d schedules, %d full pulls, no divergence", n, full)
}
