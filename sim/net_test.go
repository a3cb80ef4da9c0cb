package sim

import (
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/sim/check"
)

// quiet is a plan of two regions 80 ms apart, with perfect links and no faults.
func quiet(faults ...Fault) *Plan {
	return &Plan{
		Version: planVersion, Seed: 1, Regions: []string{"a", "b"},
		Nodes: []Node{{ID: "a/1"}, {ID: "a/2"}, {ID: "b/1"}},
		RTT:   [][]int64{{0, 80}, {80, 0}}, Chunk: 8, Chaos: 20_000, Settle: 20_000,
		Workload: Workload{Keyspace: "_sim", Keys: 3, Gap: 100,
			Clients: []atoll.NodeID{"a/1", "b/1"}, Mix: Mix{Put: 1, Inc: 1, Delete: 1}},
		Faults: faults, Checks: check.Properties(),
	}
}

// until runs w up to a virtual time, and calls each for every event before it
// is handled.
func (w *world) until(at time.Duration, each func(*event)) {
	for len(w.queue.heap) > 0 && w.queue.heap[0].at <= at.Microseconds() {
		e := w.queue.pop()
		w.now = e.at
		if each != nil {
			each(&e)
		}
		w.handle(&e)
	}
}

func begin(t *testing.T, p *Plan) *world {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return newWorld(p, flaws{})
}

// TestDeltasTakeHalfTheRoundTrip: 0.3 ms for the disk, then one way.
func TestDeltasTakeHalfTheRoundTrip(t *testing.T) {
	p := quiet()
	p.Workload.Mix = Mix{Put: 1} // each of which writes
	w := begin(t, p)
	sent := make(map[uint64]int64) // by first dot of a/1
	var far, near int
	w.until(10*time.Second, func(e *event) {
		if e.kind == evClient && e.node == 0 {
			clock := w.nodes[0].core.Clock(replication.Address{Keyspace: "_sim"})
			sent[clock.Max(w.nodes[0].self.Origin)+1] = e.at
		}
		d, ok := e.ref.(replication.Delta)
		if !ok || d.Delta.Dots.Origin != w.nodes[0].self.Origin || e.peer != 0 {
			return
		}
		took := e.at - sent[d.Delta.Dots.First]
		switch {
		case e.node == 2 && took == syncTime+40_000:
			far++
		case e.node == 1 && took == syncTime+localRTT/2:
			near++
		default:
			t.Errorf("delta %v took %d µs to node %d", d.Delta.Dots, took, e.node)
		}
	})
	if far < 30 || near < 30 {
		t.Errorf("%d deltas to the other region, %d in the own", far, near)
	}
}

// TestNothingCrossesACut counts what arrives while links are cut.
func TestNothingCrossesACut(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		cut   func(from, to int32) bool
	}{
		{Fault{At: 3000, For: 9000, Kind: Partition, A: "a", B: "b"},
			func(from, to int32) bool { return (from == 2) != (to == 2) }},
		{Fault{At: 3000, For: 9000, Kind: Partition, A: "b"},
			func(from, to int32) bool { return (from == 2) != (to == 2) }},
		{Fault{At: 3000, For: 9000, Kind: OneWay, A: "b/1", B: "a"},
			func(from, to int32) bool { return from == 2 }},
		{Fault{At: 3000, For: 9000, Kind: Partition, A: "a/1", B: "a/2"},
			func(from, to int32) bool { return from < 2 && to < 2 }},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			w := begin(t, quiet(c.fault))
			var before, during, after, other int
			for w.now < 20_000_000 {
				delivered, at := w.delivered, w.now
				var last event
				w.until(time.Duration(w.queue.heap[0].at)*time.Microsecond, func(e *event) {
					last = *e
					delivered = w.delivered
				})
				if w.delivered == delivered || last.kind != evMessage {
					continue
				}
				switch {
				case !c.cut(last.peer, last.node):
					other++
				case at < 3_000_000:
					before++
				case w.now > 3_000_000 && w.now < 12_000_000:
					during++
				case w.now > 12_000_000:
					after++
				}
			}
			if before == 0 || during > 0 || after == 0 || other == 0 {
				t.Errorf("%d messages before, %d during, %d after, %d elsewhere",
					before, during, after, other)
			}
		})
	}
}

// peersOf returns which nodes a core calls up, as 0 and 1.
func peersOf(n *node) (up [3]int) {
	for i, run := range n.peers {
		if run != 0 {
			up[i] = 1
		}
	}
	return up
}

// TestSilenceIsNoticed: a peer is down 4 s after the cut and up a round trip
// after the end of it.
func TestSilenceIsNoticed(t *testing.T) {
	w := begin(t, quiet(Fault{At: 3000, For: 9000, Kind: OneWay, A: "a", B: "b"}))
	for _, c := range []struct {
		at   time.Duration
		a, b [3]int
	}{
		{79 * time.Millisecond, [3]int{0, 1, 0}, [3]int{0, 0, 0}},
		{80 * time.Millisecond, [3]int{0, 1, 1}, [3]int{1, 1, 0}},
		{6999 * time.Millisecond, [3]int{0, 1, 1}, [3]int{1, 1, 0}},
		{7 * time.Second, [3]int{0, 1, 0}, [3]int{0, 0, 0}},
		{12079 * time.Millisecond, [3]int{0, 1, 0}, [3]int{0, 0, 0}},
		{12080 * time.Millisecond, [3]int{0, 1, 1}, [3]int{1, 1, 0}},
	} {
		w.until(c.at, nil)
		if a, b := peersOf(w.nodes[0]), peersOf(w.nodes[2]); a != c.a || b != c.b {
			t.Errorf("at %v a/1 sees %v and b/1 sees %v, want %v and %v", c.at, a, b, c.a, c.b)
		}
	}
}

// TestShortCutsAreSurvived: a connection outlives a cut shorter than its idle
// timeout, and nobody is greeted anew.
func TestShortCutsAreSurvived(t *testing.T) {
	w := begin(t, quiet(Fault{At: 3000, For: 3900, Kind: Partition, A: "a", B: "b"}))
	w.until(2*time.Second, nil)
	greetings := 0
	w.until(15*time.Second, func(e *event) {
		if _, ok := e.ref.(replication.Marks); ok {
			greetings++
		}
	})
	if greetings != 0 || peersOf(w.nodes[2]) != [3]int{1, 1, 0} {
		t.Errorf("%d greetings; b/1 sees %v", greetings, peersOf(w.nodes[2]))
	}
}

// TestCrash: a process ends, is silent, and comes back as another one that holds
// what was durable.
func TestCrash(t *testing.T) {
	w := begin(t, quiet(Fault{At: 3000, For: 2000, Kind: Crash, A: "b/1"},
		Fault{At: 3500, For: 500, Kind: Crash, A: "b/1"}))
	n := w.nodes[2]
	w.until(2999*time.Millisecond, nil)
	had := n.core.Clock(replication.Address{Keyspace: "_sim"})
	w.until(4*time.Second, nil)
	if n.up || n.core != nil {
		t.Fatal("the process still runs")
	}
	w.until(5*time.Second, nil)
	if !n.up || n.run != 2 {
		t.Fatalf("up %v in run %d, want run 2: the second crash hit nothing", n.up, n.run)
	}
	if has := n.core.Clock(replication.Address{Keyspace: "_sim"}); !has.Covers(had) {
		t.Errorf("the process restarted with %v, and had %v", has, had)
	}
	w.until(5081*time.Millisecond, nil)
	if w.nodes[0].peers[2] != 2 || n.peers[0] != 1 {
		t.Error("the new process has not been greeted")
	}
}

// TestTrim makes the next pulls full ones.
func TestTrim(t *testing.T) {
	cut := Fault{At: 3000, For: 10_000, Kind: Partition, A: "b"}
	plain := Run(quiet(cut), nil)
	trimmed := Run(quiet(cut, Fault{At: 9000, Kind: Trim, A: "a/1"},
		Fault{At: 9000, Kind: Trim, A: "a/2"}), nil)
	if plain.FullPulls != 0 || plain.Pulls == 0 {
		t.Errorf("%d of %d pulls were full without a trim", plain.FullPulls, plain.Pulls)
	}
	if trimmed.FullPulls == 0 || !trimmed.OK {
		t.Errorf("%d full pulls after a trim, violations %v", trimmed.FullPulls, trimmed.Violations)
	}
}

// TestSlow adds to what a message takes.
func TestSlow(t *testing.T) {
	w := begin(t, quiet(Fault{At: 1000, For: 1000, Kind: Slow, A: "a", B: "b", By: 500}))
	for _, c := range []struct {
		at   time.Duration
		want int64
	}{{time.Second / 2, 40_000}, {1500 * time.Millisecond, 540_000}, {3 * time.Second, 40_000}} {
		w.until(c.at, nil)
		d := dice(1)
		if got := w.delay(0, 2, &d); got != c.want {
			t.Errorf("at %v a message takes %d µs, want %d", c.at, got, c.want)
		}
		if got := w.delay(0, 1, &d); got != localRTT/2 {
			t.Errorf("at %v a message takes %d µs inside the region", c.at, got)
		}
	}
}

// TestHeal ends faults of links at once, and their own end does nothing then.
func TestHeal(t *testing.T) {
	w := begin(t, quiet(Fault{At: 1000, For: 3000, Kind: Partition, A: "b"},
		Fault{At: 1500, For: 3000, Kind: OneWay, A: "b/1"}, Fault{At: 2000, Kind: Heal},
		Fault{At: 3000, Kind: Partition, A: "a", B: "b"}))
	cuts := func() int32 { return w.link(0, 2).cuts + 10*w.link(2, 0).cuts }
	for _, c := range []struct {
		at   time.Duration
		want int32
	}{{1200, 11}, {1700, 21}, {2000, 0}, {3500, 11}, {10_000, 11}, {20_001, 0}} {
		w.until(c.at*time.Millisecond, nil)
		if got := cuts(); got != c.want {
			t.Errorf("after %d ms the links are cut %d times, want %d", c.at, got, c.want)
		}
	}
}

// TestLossAndDup counts what arrives of what is sent.
func TestLossAndDup(t *testing.T) {
	arrived := func(l Links) float64 {
		p := quiet()
		p.Links = l
		w := begin(t, p)
		w.until(20*time.Second, nil)
		sent := uint64(0)
		for _, l := range w.net.links {
			sent += l.sent
		}
		return float64(w.delivered) / float64(sent)
	}
	for _, c := range []struct {
		links    Links
		from, to float64
	}{
		{Links{}, 0.97, 1}, {Links{Loss: 300_000}, 0.6, 0.8}, {Links{Dup: 300_000}, 1.2, 1.4},
		{Links{Loss: million}, 0, 0}, {Links{Late: 500_000, Jitter: 50}, 0.97, 1},
	} {
		if got := arrived(c.links); got < c.from || got > c.to {
			t.Errorf("%+v: %.3f of the messages arrive, want %v to %v", c.links, got, c.from, c.to)
		}
	}
}

// TestBreak: all answers break off somewhere, and what came before stays.
func TestBreak(t *testing.T) {
	p := quiet(Fault{At: 3000, For: 17_000, Kind: Partition, A: "b"})
	p.Settle = 300_000
	whole := Run(p, nil)
	p.Links.Break = million
	broken := Run(p, nil)
	if !broken.OK || broken.ConvergedIn < whole.ConvergedIn+idleTimeout*time.Microsecond {
		t.Errorf("converged in %v, and in %v with broken answers: %v",
			whole.ConvergedIn, broken.ConvergedIn, broken.Violations)
	}
}
