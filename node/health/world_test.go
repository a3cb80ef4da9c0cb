package health

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// world runs a tracker per node on a virtual clock and network, and notes each
// change of a verdict. It is the shell that a node would be, in small.
type world struct {
	cfg     Config // Self is filled in
	now     time.Duration
	rng     *rand.Rand
	roster  []Region
	members []*member
	queue   events
	seq     int
	cut     map[[2]atoll.Region]bool
	delay   time.Duration
	loss    float64 // of probes, and of ballots
	log     strings.Builder
	changes []change
}

type change struct {
	at     time.Duration
	viewer atoll.NodeID
	Verdict
}

type member struct {
	id      atoll.NodeID
	dead    bool
	ready   bool
	tracker *Tracker
	last    []Verdict
	wakes   int // only the last Wake counts
}

// epoch is when a world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(cfg Config, roster []Region, seed uint64) *world {
	w := &world{
		cfg: cfg, roster: roster, rng: rand.New(rand.NewPCG(seed, 1)),
		cut: map[[2]atoll.Region]bool{}, delay: 50 * time.Millisecond,
	}
	for _, r := range roster {
		for _, id := range r.Nodes {
			m := &member{id: id, ready: true}
			w.members = append(w.members, m)
			w.start(m)
		}
	}
	return w
}

// start gives m a fresh tracker and a phase of its own.
func (w *world) start(m *member) {
	cfg := w.cfg
	cfg.Self = m.id
	m.tracker, m.dead = New(cfg), false
	m.tracker.SetRegions(w.roster)
	m.wakes++
	w.wake(m, w.now+time.Duration(w.rng.Int64N(int64(time.Second))))
}

func (w *world) wake(m *member, at time.Duration) {
	m.wakes++
	n := m.wakes
	w.at(at, func() {
		if m.wakes == n {
			w.tick(m)
		}
	})
}

func (w *world) tick(m *member) {
	if m.dead {
		return
	}
	m.tracker.SetReady(m.ready)
	out := m.tracker.Tick(epoch.Add(w.now))
	m.last = out.Verdicts
	for _, v := range out.Changed {
		w.changes = append(w.changes, change{w.now, m.id, v})
		fmt.Fprintf(&w.log, "%.2f %s: %s %s%s\n", w.now.Seconds(), m.id, v.Region, v.State, say(v))
	}
	for _, p := range out.Probes {
		w.probe(m, p)
	}
	if out.Cast != nil {
		for _, to := range w.members {
			w.send(m, to, w.loss, func() {
				if to.tracker.Vote(epoch.Add(w.now), m.id, out.Cast) {
					w.tick(to)
				}
			})
		}
	}
	w.wake(m, out.Wake.Sub(epoch))
}

func (w *world) probe(m *member, p Probe) {
	to := w.member(p.Node)
	w.send(m, to, w.loss, func() {
		ready := to.ready
		w.send(to, m, 0, func() {
			if m.tracker.Observe(epoch.Add(w.now), Reply{Probe: p, OK: true, Ready: ready}) {
				w.tick(m)
			}
		})
	})
}

// send delivers after the delay unless the message is lost, the link is cut or
// one of the two is dead.
func (w *world) send(from, to *member, loss float64, deliver func()) {
	lost := from == to || from.dead || w.rng.Float64() < loss
	if lost || w.cut[[2]atoll.Region{from.id.Region(), to.id.Region()}] {
		return
	}
	w.at(w.now+w.delay, func() {
		if !to.dead {
			deliver()
		}
	})
}

func (w *world) at(t time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, event{t, w.seq, do})
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

func (w *world) member(id atoll.NodeID) *member {
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.id == id })
	return w.members[i]
}

// of returns the members that a name means: a node, or all of a region.
func (w *world) of(name string) []*member {
	var some []*member
	for _, m := range w.members {
		if string(m.id) == name || string(m.id.Region()) == name {
			some = append(some, m)
		}
	}
	return some
}

// sees returns the state of a region as a node judged it at its last tick.
func (m *member) sees(r atoll.Region) string {
	for _, v := range m.last {
		if v.Region == r {
			return v.State
		}
	}
	return ""
}

// say writes the votes of a verdict: " (frankfurt down, tokyo up)".
func say(v Verdict) string {
	var parts []string
	for _, vote := range v.Votes {
		word := atoll.StateDown
		if vote.Up {
			word = atoll.StateUp
		}
		parts = append(parts, string(vote.Voter)+" "+word)
	}
	if parts == nil {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

// events is a heap by time, then by order of arrival.
type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}

func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}
