package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

const (
	never      = math.MaxInt64
	probeEvery = 100_000   // µs
	lookEvery  = 1_000_000 // µs
	restTime   = 3_000_000 // µs: of one look at whether nothing happens any more
	// maxMoments bounds the story that a run keeps, maxViolations what it found.
	maxMoments    = 1 << 16
	maxViolations = 100
)

// epoch is when every run begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Result is what a run came to.
type Result struct {
	Plan        *Plan
	OK          bool
	Trace       string // 16 hex digits: a hash of all that the cores did
	Events      uint64
	Virtual     time.Duration
	ConvergedIn time.Duration // since the calm; of all the time there was if not at all
	Writes      int           // that clients made
	Lost        int           // of those, with a crash before they were durable
	Acked       int           // acknowledged
	Messages    uint64        // that arrived
	Pulls       uint64
	FullPulls   uint64
	Endangered  int // of the writes, those that only a disk held which was lost
	Rare        Rarities
	Traffic     *Traffic          // what crossed the links, if the plan asks for it
	Violations  []check.Violation // in order of time, the first 100
	Moments     []Moment          // in order of time
}

// Moment is one thing worth telling about a run.
type Moment struct {
	At   time.Duration
	Kind string       // that of a fault, or over, start, calm, converged, violation
	Node atoll.NodeID // if it is about one
	Text string
}

// world is a run under way.
type world struct {
	plan    *Plan
	chance  chance
	flaws   flaws
	now     int64 // µs
	queue   queue
	nodes   []*node
	byID    map[atoll.NodeID]int32
	regions []int // of nodes
	net     network
	active  []bool   // faults
	held    [][]grip // nodes in the hands of faults
	work    work
	core    []bool // nodes whose links are healed; nil until the calm, or without a core
	calm    bool
	whole   bool // everything is healed
	over    bool

	history    check.History
	seen       map[moment]uint64 // what documents clocks had; nil: nobody asks
	violations []check.Violation
	moments    []Moment
	trace      *xxhash.Digest
	buf, bytes []byte
	traffic    *Traffic

	events, delivered, full, sent, persisted uint64
	requests, layouts                        uint64
	writes, acked, lost, endangered, disks   int
	stats                                    replication.Stats
	calmAt, agreedAt, restAt                 int64
	restSent, restPersisted                  uint64
	rare                                     Rarities
}

// Run carries a plan out; it has passed Check. Now and then goOn, unless nil,
// hears how far the virtual time has come; the run is broken off and its result
// is nil if it returns false.
func Run(p *Plan, goOn func(at time.Duration) bool) *Result {
	return run(p, flaws{}, goOn)
}

func run(p *Plan, f flaws, goOn func(time.Duration) bool) *Result {
	w := newWorld(p, f)
	for !w.over && len(w.queue.heap) > 0 {
		e := w.queue.pop()
		w.now = e.at
		w.events++
		w.handle(&e)
		if goOn != nil && w.events%1024 == 0 && !goOn(w.elapsed()) {
			return nil
		}
	}
	return w.result()
}

func newWorld(p *Plan, f flaws) *world {
	n := len(p.Nodes)
	w := &world{plan: p, chance: chance(p.Seed), flaws: f, byID: index(p.Nodes),
		active: make([]bool, len(p.Faults)), held: make([][]grip, len(p.Faults)),
		trace: xxhash.New(), work: newWork(&p.Workload),
		net: network{links: make([]link, n*n), pairs: make([]pair, n*n)}}
	w.connectable()
	if slices.Contains(p.Checks, check.Function) {
		w.seen = make(map[moment]uint64)
	}
	for i, spec := range p.Nodes {
		w.addNode(i, spec)
		w.regions = append(w.regions, p.region(spec.ID))
	}
	for i := range p.Faults {
		f := &p.Faults[i]
		w.queue.push(event{at: f.At * 1000, kind: evFault, n: uint64(i)})
		if f.Kind == Join {
			for _, k := range p.among(f.A) {
				w.nodes[k].member = false
			}
		}
	}
	w.queue.push(event{at: p.Chaos * 1000, kind: evCalm})
	if slices.Contains(p.Checks, check.Laws) {
		w.queue.push(event{at: lookEvery, kind: evLook})
	}
	for _, n := range w.nodes {
		if n.member {
			w.start(n)
		}
	}
	for i := range p.Workload.Clients {
		w.nextWrite(i, 0)
	}
	return w
}

func (w *world) elapsed() time.Duration { return time.Duration(w.now) * time.Microsecond }

// handle lets one event happen, if the process that it is for still runs.
func (w *world) handle(e *event) {
	n := w.nodes[e.node]
	if e.run != 0 && (!n.up || n.run != e.run) {
		return
	}
	if n.paused > 0 && e.stalls() {
		n.stalled = append(n.stalled, *e)
		return
	}
	switch e.kind {
	case evWake:
		w.wake(n, e)
	case evSync:
		w.synced(n)
	case evClient:
		w.request(n, int(e.peer), e.n)
	case evMessage:
		w.message(n, e)
	case evAsk:
		w.asked(e.ref.(*stream))
	case evPiece:
		w.piece(e.ref.(*stream))
	case evBroken:
		w.do(n, replication.PullFailed{Session: e.ref.(*stream).session})
	case evDown:
		w.gone(n, e)
	case evLayout:
		w.do(n, w.layout())
	case evRefit:
		w.refit(n)
	case evLook:
		w.look()
	case evConnect:
		w.connect(e)
	case evSilence:
		w.silence(e)
	case evFault:
		w.fault(int(e.n))
	case evOver:
		w.lift(int(e.n))
	case evCalm:
		w.becalm()
	case evProbe:
		w.probe()
	}
}

func (w *world) tell(kind string, n atoll.NodeID, format string, args ...any) {
	if len(w.moments) < maxMoments {
		w.moments = append(w.moments, Moment{w.elapsed(), kind, n, fmt.Sprintf(format, args...)})
	}
}

// violate keeps a violation of a property that the plan asks for; nil is none.
func (w *world) violate(v *check.Violation) {
	if v == nil || len(w.violations) >= maxViolations || !slices.Contains(w.plan.Checks, v.Property) {
		return
	}
	w.violations = append(w.violations, *v)
	w.tell("violation", v.Node, "%s", v)
}

func (w *world) clocks(n *node) map[replication.Address]crdt.Clock {
	clocks := make(map[replication.Address]crdt.Clock)
	ks := w.plan.Workload.Keyspace
	for part := range ks.Partitions() {
		a := replication.Address{Keyspace: ks, Partition: part}
		clocks[a] = n.core.Clock(a)
	}
	return clocks
}

func (w *world) result() *Result {
	for _, n := range w.nodes {
		w.retire(n)
	}
	return &Result{
		Plan: w.plan, OK: len(w.violations) == 0,
		Trace: fmt.Sprintf("%016x", w.trace.Sum64()), Events: w.events,
		Virtual: w.elapsed(), Writes: w.writes, Acked: w.acked, Lost: w.lost,
		ConvergedIn: time.Duration(w.agreedAt-w.calmAt) * time.Microsecond,
		Messages:    w.delivered, Pulls: w.stats.Pulls, FullPulls: w.full,
		Endangered: w.endangered, Rare: w.rare, Traffic: w.traffic, Violations: w.violations, Moments: w.moments,
	}
}

// retire adds up what a process did.
func (w *world) retire(n *node) {
	if n.core != nil {
		w.stats.Pulls += n.core.Stats().Pulls
	}
}
