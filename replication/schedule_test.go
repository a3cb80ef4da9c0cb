package replication

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
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
// writes, crashes to the last durable point and an index cut at random. After
// every step the oracle compares what the step has written.

const (
	testSpace = atoll.Keyspace("_test") // one partition
	testKeys  = 3
)

var (
	testAddress = Address{testSpace, 0}
	counterPath = crdt.Path("").Child("n")
	stockPath   = crdt.Path("").Child("q")
)

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
	wake    time.Time     // of the world
	skew    time.Duration // of its clock
}

// packet is a message on its way, or a pull: its request, then its answer in
// order, then perhaps a break.
type packet struct {
	from, to int
	run      int // of the asker
	msg      Message
	session  SessionID
	answer   []Message
	answered bool
	failed   bool
}

type world struct {
	odds    weather
	oracle  oracle
	rng     *rand.Rand
	now     time.Time
	nodes   []*replica
	net     []*packet
	full    int // full pulls seen
	expired int // documents that were removed past their deadline
	cleaned int // markers that were cleaned up
	orders  map[uint64]*order
	lastID  uint64
	calm    bool
	fail    string
	parted  parted
	lapsed  []atoll.Origin
}

func newWorld(seed uint64) *world {
	w := &world{
		parted: parted{who: -1},
		odds:   weathers[seed%uint64(len(weathers))],
		rng:    rand.New(rand.NewPCG(seed, 0x5eed)),
		now:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		orders: make(map[uint64]*order), lastID: 1,
	}
	for i := range w.odds.nodes + w.rng.IntN(5-w.odds.nodes) {
		region := atoll.Region("abcde"[i/2 : i/2+1])
		r := &replica{member: Member{
			Origin: atoll.Origin(i + 1), Region: region,
			Node: atoll.NodeID(fmt.Sprintf("%s/%d", region, i)),
		}}
		r.skew = time.Duration(w.rng.IntN(2*w.odds.skew+1)-w.odds.skew) * time.Millisecond
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
	r.core = New(Config{Self: r.member, View: &r.store, Chunk: 1 + int(w.rng.Uint64()%4), Keep: w.odds.keep,
		Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 1))}, w.clock(i))
	w.step(i, w.layout(i))
	if w.odds.wins { // whom it takes for elected
		k := w.rng.IntN(len(w.nodes))
		m := r.core.members
		m[0], m[k] = m[k], m[0]
	}
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
	clock := r.core.Clock(testAddress)
	out := r.core.Step(w.clock(i), in)
	r.wake = out.Wake.Add(-r.skew)
	for k := range out.Sends {
		d, ok := out.Sends[k].Message.(Delta)
		if ok && d.Delta.Dots.Origin == r.member.Origin && !w.parted.lost(i) {
			if w.oracle.learn(&d.Delta) && w.odds.wins {
				w.witness(i, &d.Delta)
			}
			if _, tidies := in.(Wake); tidies {
				w.buried(i, &d.Delta, &clock)
			}
		}
	}
	r.store.current.Apply(out.Writes)
	w.replied(out.Replies)
	if plant.Bug == plant.SendBeforeDurable {
		w.emit(i, out)
		out.Sends = nil
	}
	if plant.Bug == plant.EscrowSentBeforeDurable {
		out.Sends = w.hurry(i, out.Sends)
	}
	if plant.Bug == plant.EscrowAckBeforeDurable {
		w.acked(out.Replies)
	}
	if len(out.Writes)+len(out.Sends)+len(out.Pulls) > 0 {
		r.pending = append(r.pending, out)
	}
	if out.Fenced != "" || out.Expelled {
		w.failf("node %d was fenced", i)
	}
	w.closed(i)
	w.invariant(i, out.Writes)
	return out
}

// clock returns what node i's clock shows.
func (w *world) clock(i int) time.Time { return w.now.Add(w.nodes[i].skew) }

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
	r.pending = r.pending[n:]
	for _, out := range done {
		r.store.durable.Apply(out.Writes)
	}
	for _, out := range done {
		w.acked(out.Replies)
		w.emit(i, out)
		for _, p := range out.Pulls {
			w.net = append(w.net, &packet{from: i, to: w.index(p.To), run: r.run,
				msg: p.Pull, session: p.Session})
		}
	}
}

func (w *world) emit(i int, out Output) {
	for _, s := range out.Sends {
		w.net = append(w.net, &packet{from: i, to: w.index(s.To), msg: s.Message})
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
	w.oracle.forget(func(d crdt.Dot) bool {
		return d.Origin == r.member.Origin && !durable.Has(d)
	})
	w.start(i)
	for k := range testKeys {
		w.functional(i, keyAt(k))
	}
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

// deliver hands the k-th packet over, or the next message of an answer.
func (w *world) deliver(k int) {
	p := w.net[k]
	if w.parted.dead(p.to) && !p.answered || p.session != 0 && w.parted.dead(p.from) {
		w.sink(k)
		return
	}
	if p.session == 0 {
		w.lose(k)
		w.step(p.to, Receive{From: w.nodes[p.from].member.Node, Message: p.msg})
		return
	}
	gone := p.run != w.nodes[p.from].run && plant.Bug != plant.AnswerOutlivesRun
	switch {
	case gone: // the asker has restarted: nobody waits for this answer
		w.lose(k)
	case !p.answered:
		w.answer(p)
	case len(p.answer) > 0:
		msg := p.answer[0]
		p.answer = p.answer[1:]
		w.step(p.from, PullEvent{p.session, msg})
		if _, ok := msg.(Begin); ok && !w.calm && w.rng.IntN(10) < w.odds.ambush {
			w.crash(p.from)
		}
	default:
		w.lose(k)
		if p.failed {
			w.step(p.from, PullFailed{p.session})
		}
	}
}

// lose takes the k-th packet off the network, whose order means nothing.
func (w *world) lose(k int) {
	last := len(w.net) - 1
	w.net[k] = w.net[last]
	w.net[last] = nil
	w.net = w.net[:last]
}

// answer serves a pull from what is durable at the source.
func (w *world) answer(p *packet) {
	p.answered = true
	_ = Answer(w.nodes[p.to].store.durable, p.msg.(Pull), func(m Message) error {
		if b, ok := m.(Begin); ok && b.Full {
			w.full++
		}
		p.answer = append(p.answer, m)
		return nil
	})
	if !w.calm && w.rng.IntN(w.odds.broken) == 0 { // broken off somewhere
		p.answer = p.answer[:w.rng.IntN(len(p.answer)+1)]
		p.failed = true
	}
}

// settle lets everything arrive until the clocks agree.
func (w *world) settle() {
	w.calm, w.lapsed = true, nil
	for i := range w.nodes {
		if w.hear(i); w.odds.lapse > 0 || w.odds.wins {
			w.step(i, w.layout(i))
		}
	}
	for range 1000 {
		for i, r := range w.nodes {
			if !r.wake.After(w.now) && !w.parted.dead(i) {
				w.step(i, Wake{})
			}
			w.commit(i, len(r.pending))
		}
		for len(w.net) > 0 && w.fail == "" {
			w.deliver(w.rng.IntN(len(w.net)))
			for i, r := range w.nodes {
				w.commit(i, len(r.pending))
			}
		}
		if w.fail != "" || w.agreed() {
			return
		}
		w.now = w.soonest()
	}
	w.failf("no agreement: %v", w.nodes[0].core.Clock(testAddress))
}

// soonest returns when the next node wants to wake.
func (w *world) soonest() time.Time {
	t := w.nodes[0].wake
	for i, r := range w.nodes {
		if r.wake.Before(t) && !w.parted.dead(i) {
			t = r.wake
		}
	}
	if t.Before(w.now) {
		return w.now
	}
	return t
}

func (w *world) agreed() bool {
	zero := w.nodes[0].core.find(testAddress)
	for i, r := range w.nodes {
		if i == w.parted.who {
			continue
		}
		p := r.core.find(testAddress)
		if !p.clock.Equal(zero.clock) || p.stage != nil || w.spent(r) ||
			w.parted.who < 0 && w.residue(r) {
			return false
		}
	}
	return w.parted.who < 0 || w.everyone(func(r *replica) bool {
		return r.core.settled(w.nodes[w.parted.who].member.Origin)
	})
}

// schedule runs one seed and returns what went wrong.
func schedule(seed uint64) (fail string, full int) {
	w := newWorld(seed)
	for range 20 + w.rng.IntN(w.odds.events) {
		if w.event(); w.fail != "" {
			return w.fail, w.full
		}
	}
	w.scrub()
	if w.settle(); w.fail == "" {
		w.verify()
		w.scrub()
	}
	if w.parted.who >= 0 && w.fail == "" && seed%5 == 0 {
		w.part()
	}
	return w.fail, w.full
}

// scrub compares what is durable at any two nodes: what differs because it is on
// its way is no difference.
func (w *world) scrub() {
	for i, a := range w.nodes {
		for j, b := range w.nodes[:i] {
			if i == w.parted.who || j == w.parted.who {
				continue // what is told of it here and there is not the same
			}
			clock := ClockIn(a.store.durable, testAddress)
			sums, ok := SumsOf(b.store.durable, testAddress, clock)
			if !ok {
				continue
			}
			if ranges, ok := sums.Differ(a.store.durable, testAddress); ok && len(ranges) > 0 {
				w.failf("scrubbing %s finds that %s differs in %v", a.member.Node, b.member.Node, ranges)
			}
		}
	}
}

// campaign runs seeds on all cores until one fails; it returns the first that
// did. A schedule lives for less than a millisecond, so garbage may gather.
func campaign(n uint64) (bad uint64, fail string, full int64) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
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
	if full < int64(n)/10 {
		t.Fatalf("%d full pulls: the schedules do not reach what they are for", full)
	}
	t.Logf("%d schedules, %d full pulls, no divergence", n, full)
}
