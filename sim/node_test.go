package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

var onePartition = replication.Address{Keyspace: "_sim"}

// durableClock returns what a process would find after a crash now.
func durableClock(w *world, n *node) crdt.Clock {
	c := replication.New(replication.Config{Self: n.self, View: n.durable(), Chunk: 1},
		w.clock(n))
	return c.Clock(onePartition)
}

// busy is a quiet plan with a disk that takes 50 ms and a client every few.
func busy() *Plan {
	p := quiet()
	p.Disk, p.Workload.Gap, p.Workload.Mix = 50, 5, Mix{Put: 1}
	return p
}

// TestDurableBeforeSent: whatever deltas of its own a node has under way, their
// dots are on its disk.
func TestDurableBeforeSent(t *testing.T) {
	w := begin(t, busy())
	seen := 0
	w.until(3*time.Second, func(*event) {
		for i := range w.queue.heap {
			e := &w.queue.heap[i]
			d, ok := e.ref.(replication.Delta)
			if !ok || d.Delta.Dots.Origin != w.nodes[e.peer].self.Origin || e.peer != 0 {
				continue
			}
			if w.now%64 == 0 { // the look at the disk costs more than the event
				seen++
				if c := durableClock(w, w.nodes[0]); !c.HasRun(d.Delta.Dots) {
					t.Fatalf("at %v %v is on its way, durable is %v", w.elapsed(), d.Delta.Dots, c)
				}
			}
		}
	})
	if seen == 0 {
		t.Fatal("no delta was looked at")
	}
}

// TestGroupCommit: steps during one commit share the next, and all come out in
// order.
func TestGroupCommit(t *testing.T) {
	w := begin(t, busy())
	n := w.nodes[0]
	var syncs, outputs, largest int
	var last int64
	w.until(3*time.Second, func(e *event) {
		if e.kind != evSync || e.node != 0 {
			return
		}
		if last > 0 && e.at-last < 50_000 {
			t.Errorf("a commit ended %d µs after the one before it", e.at-last)
		}
		last = e.at
		syncs++
		outputs += len(n.syncing)
		largest = max(largest, len(n.syncing))
	})
	if syncs < 50 || outputs < 4*syncs || largest < 8 {
		t.Errorf("%d commits of %d outputs, the largest of %d", syncs, outputs, largest)
	}
}

// TestCrashLosesWhatIsNotDurable: the commit under way is there as a whole or
// not at all, what waits is not, and the history hears of it.
func TestCrashLosesWhatIsNotDurable(t *testing.T) {
	var whole, none int
	for seed := uint64(1); seed <= 40; seed++ {
		p := busy()
		p.Seed = seed
		w := begin(t, p)
		w.until(time.Second+time.Duration(seed)*7*time.Millisecond, nil)
		n := w.nodes[0]
		before := durableClock(w, n)
		inCommit, waiting := countOps(n.syncing), countOps(n.waiting)
		had := w.history.Len()
		w.crash(n)
		after := durableClock(w, n)
		lost := had - w.history.Len()
		switch {
		case lost == waiting && inCommit > 0:
			whole++
		case lost == waiting+inCommit:
			none++
			if !after.Equal(before) {
				t.Errorf("seed %d: durable was %v and is %v, though all was lost", seed, before, after)
			}
		default:
			t.Errorf("seed %d: %d operations lost of %d in the commit and %d behind it",
				seed, lost, inCommit, waiting)
		}
		w.start(n)
		if c := n.core.Clock(onePartition); !c.Equal(after) {
			t.Errorf("seed %d: restarted with %v, durable was %v", seed, c, after)
		}
	}
	if whole < 5 || none < 5 {
		t.Errorf("the commit under way survived %d times and did not %d times", whole, none)
	}
}

func countOps(all []pending) (n int) {
	for _, p := range all {
		n += len(p.ops)
	}
	return n
}

// TestOldProcessesAreGone: nothing that was meant for a process reaches the next.
func TestOldProcessesAreGone(t *testing.T) {
	w := begin(t, quiet())
	w.until(time.Second, nil)
	n := w.nodes[2]
	w.crash(n)
	w.start(n)
	for _, kind := range []kind{evWake, evSync, evMessage, evBroken} {
		stats := n.core.Stats()
		w.handle(&event{kind: kind, run: 1, node: 2, peer: 0, ref: replication.Heads{}})
		if n.core.Stats() != stats || n.run != 2 {
			t.Errorf("an event of kind %d reached the process after its own", kind)
		}
	}
}

// TestSkewedClocks: a node's core hears its own clock.
func TestSkewedClocks(t *testing.T) {
	p := quiet()
	p.Nodes[0].Skew, p.Nodes[2].Skew = 400, -400
	w := begin(t, p)
	w.until(1500*time.Millisecond, nil)
	if d := w.clock(w.nodes[0]).Sub(w.clock(w.nodes[2])); d != 800*time.Millisecond {
		t.Errorf("the clocks are %v apart, want 800ms", d)
	}
	if got := w.clock(w.nodes[1]).Sub(epoch); got != w.elapsed() {
		t.Errorf("a clock without skew shows %v after %v", got, w.elapsed())
	}
	if r := Run(p, nil); !r.OK {
		t.Errorf("with skewed clocks: %v", r.Violations)
	}
}

// TestAlike is the quick look at two nodes; the decoded documents and clocks are
// the slow one.
func TestAlike(t *testing.T) {
	same, other := 0, 0
	for seed := uint64(1); seed <= 6; seed++ {
		w := newWorld(Random(seed), flaws{})
		for at := time.Second; at < 30*time.Second && !w.over; at += 700 * time.Millisecond {
			w.until(at, nil)
			a, b := w.nodes[0], w.nodes[1]
			if !a.up || !b.up || len(a.syncing)+len(b.syncing) > 0 {
				continue
			}
			replicas := []check.Replica{
				{Node: "a/1", Docs: w.docs(a), Clocks: w.clocks(a)},
				{Node: "b/1", Docs: w.docs(b), Clocks: w.clocks(b)},
			}
			var empty check.History
			slow := len(empty.Final(0, replicas)) == 0
			if quick := a.disk.alike(&b.disk); quick != slow {
				t.Errorf("seed %d at %v: alike %v, and %v by a close look", seed, at, quick, slow)
			}
			if slow {
				same++
			} else {
				other++
			}
		}
	}
	if same == 0 || other == 0 {
		t.Errorf("alike %d times and not %d times: the looks prove nothing", same, other)
	}
}

// TestWorkload counts what clients do.
func TestWorkload(t *testing.T) {
	p := quiet()
	p.Workload.Gap, p.Workload.Keys, p.Workload.Zipf = 10, 8, true
	p.Workload.Mix = Mix{Put: 3, Patch: 3, Inc: 3, Add: 3, Remove: 1, Delete: 1, Reset: 1}
	w := begin(t, p)
	by := make(map[int32]int)
	w.until(20*time.Second, func(e *event) {
		if e.kind == evClient {
			by[e.node]++
		}
	})
	for _, node := range []int32{0, 2} {
		if by[node] < 1800 || by[node] > 2200 { // every 10 ms for 20 s
			t.Errorf("the client of node %d wrote %d times", node, by[node])
		}
	}
	if by[1] != 0 {
		t.Errorf("node 2 has no client and had %d writes", by[1])
	}
	if got := w.history.Keys(); !slices.Equal(got, []atoll.Key{
		"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"}) {
		t.Errorf("keys %v", got)
	}
	count := make(map[atoll.Key]int)
	d := w.chance.draw(ofPlan, 9, 9, 9)
	for range 27_179 { // 1 + 1/2 + … + 1/8 = 2.7179
		count[w.key(&d)]++
	}
	for k, want := range map[atoll.Key]int{"k0": 10_000, "k1": 5000, "k3": 2500, "k7": 1250} {
		if got := count[k]; got < want*9/10 || got > want*11/10 {
			t.Errorf("%s came %d times, want about %d", k, got, want)
		}
	}
}

// TestOperations: each kind does what its name says to a document.
func TestOperations(t *testing.T) {
	for kind, c := range []struct {
		before []string
		after  []string // any of them
	}{
		{[]string{`{"z":1}`}, []string{`{"a":"v","b":"v"}`, `{"a":"v","o":{"x":"v"}}`, `{"b":"v"}`}},
		{[]string{`{"z":1}`}, []string{`{"a":"v","z":1}`, `{"b":"v","z":1}`, `{"o":{"y":"v"},"z":1}`,
			`{"o":{"z":"v"},"z":1}`}},
		{[]string{`{"n":10}`}, []string{`{"n":`}},
		{[]string{`{}`}, []string{`{"s":[`}},
		{[]string{`{"s":[0,1,2,3,4]}`}, []string{`{"s":[`}},
		{[]string{`{"z":1}`}, []string{``}},
		{[]string{`{"n":10}`}, []string{`{"n":0}`}},
	} {
		for n := range uint64(30) {
			d := chance(1).draw(ofPlan, uint64(kind), n, 0)
			var op check.Op
			e := crdt.NewEdit(crdt.Doc{}, "k", 1, 1, 1)
			if err := put(c.before[0])(e); err != nil {
				t.Fatal(err)
			}
			if err := operation("v", kind, &d, &op)(e); err != nil {
				t.Fatal(err)
			}
			body, _, _ := crdt.Render(e.Doc())
			ok := slices.ContainsFunc(c.after, func(want string) bool {
				prefix := len(want) > 0 && want[len(want)-1] != '}'
				return string(body) == want || prefix && len(body) > len(want) &&
					string(body[:len(want)]) == want
			})
			if !ok || (kind == 2) != (op.Inc != 0) {
				t.Errorf("kind %d makes %s of %s, want one of %v; it counts %d", kind, body,
					c.before[0], c.after, op.Inc)
			}
		}
	}
}
