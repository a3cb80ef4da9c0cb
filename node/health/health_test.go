package health

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"pgregory.net/rapid"
)

// regions returns n regions of k nodes, spread round the equator.
func regions(n, k int) []Region {
	var rs []Region
	for i := range n {
		r := Region{Name: atoll.Region(rune('a' + i)), Lon: float64(i) * 360 / float64(n)}
		for j := range k {
			r.Nodes = append(r.Nodes, atoll.NodeID(fmt.Sprintf("%s/%d", r.Name, j+1)))
		}
		rs = append(rs, r)
	}
	return rs
}

// TestDeadRegionIsOut kills a region of a random world: within 5 s each living
// view has it down and all others still up; within 10 s of its return it is up
// everywhere.
func TestDeadRegionIsOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, k := rapid.IntRange(2, 7).Draw(t, "regions"), rapid.IntRange(1, 3).Draw(t, "nodes")
		w := newWorld(Config{}, regions(n, k), rapid.Uint64().Draw(t, "seed"))
		w.delay = rapid.SampledFrom([]time.Duration{0, 1e6, 5e7, 15e7}).Draw(t, "delay")
		w.run(5*time.Second + time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms"))*time.Millisecond)
		victim := rapid.SampledFrom(w.roster).Draw(t, "victim").Name
		expect(t, w, "", "before")
		for _, m := range w.of(string(victim)) {
			m.dead = true
		}
		w.run(5 * time.Second)
		expect(t, w, victim, "5 s after the death")
		w.run(time.Minute)
		expect(t, w, victim, "a minute after the death")
		for _, m := range w.of(string(victim)) {
			w.start(m)
		}
		w.run(10 * time.Second)
		expect(t, w, "", "10 s after the return")
	})
}

// expect checks that each living node has exactly the victim down.
func expect(t *rapid.T, w *world, victim atoll.Region, when string) {
	t.Helper()
	for _, m := range w.members {
		for _, r := range w.roster {
			want := atoll.StateUp
			if r.Name == victim {
				want = atoll.StateDown
			}
			if got := m.sees(r.Name); !m.dead && got != want {
				t.Fatalf("%s: %s sees %s %s, want %s\n%s", when, m.id, r.Name, got, want, w.log.String())
			}
		}
	}
}

// TestCuts cuts random links and compares each settled view with the twin's. A
// node that reaches nobody has its own region up.
func TestCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(Config{}, regions(rapid.IntRange(3, 6).Draw(t, "regions"), 1),
			rapid.Uint64().Draw(t, "seed"))
		w.run(5 * time.Second)
		for i, a := range w.roster {
			for _, b := range w.roster[i+1:] {
				if rapid.Bool().Draw(t, string(a.Name+"-"+b.Name)) {
					w.cut[[2]atoll.Region{a.Name, b.Name}] = true
					w.cut[[2]atoll.Region{b.Name, a.Name}] = true
				}
			}
		}
		w.run(time.Minute)
		for _, m := range w.members {
			for _, r := range w.roster {
				if got, want := m.sees(r.Name), naive(w, m.id.Region(), r.Name); got != want {
					t.Fatalf("%s sees %s %s, want %s; cuts %v", m.id, r.Name, got, want, w.cut)
				}
			}
		}
	})
}

// naive judges a settled world with one node a region from what is cut alone:
// count the regions that the viewer hears and that do not hear the region.
func naive(w *world, viewer, about atoll.Region) string {
	if viewer == about {
		return atoll.StateUp
	}
	voters, down := 0, 0
	for _, r := range w.roster {
		if r.Name == about || w.cut[[2]atoll.Region{viewer, r.Name}] {
			continue
		}
		voters++
		if w.cut[[2]atoll.Region{r.Name, about}] {
			down++
		}
	}
	if voters > 5 {
		panic("the twin knows no nearest voters")
	}
	if down > voters/2 {
		return atoll.StateDown
	}
	return atoll.StateUp
}

// TestCount compares an opinion with a twin that looks through the whole history
// at every step.
func TestCount(t *testing.T) {
	twin := func(history []bool) (known, up bool) {
		run := 0
		for i, good := range history {
			if i > 0 && good != history[i-1] {
				run = 0
			}
			run++
			switch {
			case !known && good, good && run >= 5:
				known, up = true, true
			case !good && run >= 3:
				known, up = true, false
			}
		}
		return known, up
	}
	rapid.Check(t, func(t *rapid.T) {
		var o opinion
		history := rapid.SliceOfN(rapid.Bool(), 0, 300).Draw(t, "history")
		for i, good := range history {
			known, up := o.known, o.up
			changed := o.count(good, 3, 5)
			wantKnown, wantUp := twin(history[:i+1])
			if o.known != wantKnown || o.up != wantUp {
				t.Fatalf("after %v: known %v up %v, want %v %v",
					history[:i+1], o.known, o.up, wantKnown, wantUp)
			}
			if changed != (known != o.known || up != o.up) {
				t.Fatalf("after %v: changed is %v", history[:i+1], changed)
			}
		}
	})
}

// TestLoss measures one hour in which 20 % of probes and votes vanish: how often,
// and for how long in all, the first node calls a healthy region down. The bounds
// are what was measured over these seeds plus a third; they fail when a change
// makes flapping worse.
func TestLoss(t *testing.T) {
	tests := []struct {
		regions int
		loss    float64
		times   float64       // a region and hour
		down    time.Duration // a region and hour
	}{
		{2, 0.02, 0.2, time.Second},
		{3, 0.05, 0.2, time.Second},
		{2, 0.20, 32, 6 * time.Minute},
		{3, 0.20, 8, time.Minute},
		{4, 0.20, 8, time.Minute},
		{6, 0.20, 3, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d regions, %v lost", tt.regions, tt.loss), func(t *testing.T) {
			const hours = 3
			var times int
			var down time.Duration
			for seed := range uint64(hours) {
				n, d := flaps(tt.regions, tt.loss, seed)
				times, down = times+n, down+d
			}
			rate := float64(times) / float64(hours*(tt.regions-1))
			mean := down / time.Duration(hours*(tt.regions-1))
			t.Logf("%.2f times, %v a region and hour", rate, mean.Round(time.Millisecond))
			if rate > tt.times || mean > tt.down {
				t.Errorf("%.2f times, %v; want at most %v, %v", rate, mean, tt.times, tt.down)
			}
		})
	}
}

// flaps returns how often and for how long one node had another region down in
// an hour of loss.
func flaps(n int, loss float64, seed uint64) (times int, down time.Duration) {
	w := newWorld(Config{}, regions(n, 1), seed)
	w.run(10 * time.Second)
	w.loss = loss
	w.run(time.Hour)
	since := map[atoll.Region]time.Duration{}
	for _, c := range w.changes {
		if c.viewer != w.members[0].id {
			continue
		}
		if c.State == atoll.StateDown {
			times++
			since[c.Region] = c.at
		} else if at, was := since[c.Region]; was {
			down += c.at - at
			delete(since, c.Region)
		}
	}
	for _, at := range since {
		down += w.now - at
	}
	return times, down
}

// TestDeadNodeIsLeftOut gives a region one dead node among k: it stays up, and
// the dead node gets few of the probes.
func TestDeadNodeIsLeftOut(t *testing.T) {
	w := newWorld(Config{}, regions(2, 4), 1)
	w.run(10 * time.Second)
	w.member("b/1").dead, w.member("b/2").dead, w.member("b/3").dead = true, true, true
	w.changes = nil
	w.run(time.Hour)
	if len(w.changes) != 0 {
		t.Errorf("verdicts changed: %s", w.log.String())
	}
}

// TestStrangers feeds a tracker what it must not believe.
func TestStrangers(t *testing.T) {
	now := epoch
	h := New(Config{Self: "a/1"})
	h.SetRegions(regions(3, 1))
	out := h.Tick(now)
	if len(out.Probes) != 2 || out.Wake != now.Add(time.Second) {
		t.Fatalf("first tick: %+v", out)
	}
	p := out.Probes[0]
	for name, r := range map[string]Reply{
		"no such region": {Probe: Probe{Region: "x", Seq: p.Seq}, OK: true, Ready: true},
		"no such probe":  {Probe: Probe{Region: p.Region, Seq: 99}, OK: true, Ready: true},
		"no number":      {Probe: Probe{Region: p.Region}, OK: true, Ready: true},
	} {
		if h.Observe(now, r) {
			t.Errorf("%s: believed", name)
		}
	}
	if !h.Observe(now, Reply{Probe: p, OK: true, Ready: true}) {
		t.Error("a good reply changed nothing")
	}
	if h.Observe(now, Reply{Probe: p}) {
		t.Error("the same probe was answered twice")
	}
	down := []Vote{{About: "b", Up: false}, {About: "nowhere", Up: true}}
	for _, from := range []atoll.NodeID{"x/1", "c/2", "a/1", ""} {
		if h.Vote(now, from, down) {
			t.Errorf("a vote of %q counts", from)
		}
	}
	if !h.Vote(now, "c/1", down) || h.Vote(now, "c/1", down) {
		t.Error("the first vote of c/1 is new, the second is not")
	}
	if !h.Vote(now.Add(time.Minute), "c/1", down) {
		t.Error("a vote after a long silence is new")
	}
	if len(h.ballots) != 1 || len(h.ballots["c/1"].up) != 1 {
		t.Errorf("kept %v", h.ballots)
	}
}

// TestRosterChanges takes regions and nodes away: what was known of them goes,
// what is known of the others stays.
func TestRosterChanges(t *testing.T) {
	w := newWorld(Config{}, regions(3, 2), 1)
	w.run(5 * time.Second)
	h := w.members[0].tracker
	h.SetRegions([]Region{{Name: "a", Nodes: []atoll.NodeID{"a/1"}},
		{Name: "b", Nodes: []atoll.NodeID{"b/2"}}})
	out := h.Tick(epoch.Add(w.now))
	if len(out.Verdicts) != 2 || out.Verdicts[1].State != atoll.StateUp {
		t.Errorf("verdicts %+v", out.Verdicts)
	}
	if len(h.ballots) != 1 {
		t.Errorf("ballots of %d nodes are left, want b/2 only", len(h.ballots))
	}
	h.SetRegions(regions(3, 2))
	out = h.Tick(epoch.Add(w.now + 3*time.Second)) // the votes on c are no longer fresh
	if s := out.Verdicts[2].State; s != atoll.StateStarting {
		t.Errorf("a region that was taken away and came back is %s", s)
	}
}

// TestOrderDoesNotMatter gives trackers the same roster in different order, of
// regions and of nodes: they ask and say the same.
func TestOrderDoesNotMatter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	story := func(shuffle bool) string {
		rs := regions(5, 3)
		if shuffle {
			rng.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
			for _, r := range rs {
				slices.Reverse(r.Nodes)
			}
		}
		h, out := New(Config{Self: "a/1"}), ""
		h.SetRegions(rs)
		for i := range 20 {
			out += fmt.Sprintf("%+v\n", h.Tick(epoch.Add(time.Duration(i)*time.Second)))
		}
		return out
	}
	want := story(false)
	for range 20 {
		if got := story(true); got != want {
			t.Fatalf("got %s\nwant %s", got, want)
		}
	}
}
