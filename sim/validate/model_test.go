package validate

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll/sim/dist"
)

func measured(t testing.TB, m model, err error, figures ...string) (out []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if err := m.knows(f); err != nil {
			t.Fatal(err)
		}
	}
	values, err := m.measure(context.Background(), figures)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

// TestQuorumByHand: with fixed times there is nothing to chance.
func TestQuorumByHand(t *testing.T) {
	q := Quorum{
		Replicas: 3, Away: "10", W: dist.Spec{{Fixed: "5"}}, A: dist.Spec{{Fixed: "1"}},
		R: dist.Spec{{Fixed: "0.5"}}, S: dist.Spec{{Fixed: "0.25"}},
	}
	m, err := q.model(50)
	got := measured(t, m, err, "write W=1 50%", "write W=2 99.9%", "read R=1 100%", "read R=3 1%",
		"fresh R=1 W=3 t=0", "fresh R=2 W=2 t=3.5", "t-visibility R=1 W=1 99.9%")
	// A write is at its near replica after 5 ms and answered after 6, elsewhere after
	// 15 and 26. A read that is near another one asks it after 0.5 ms.
	want := []string{"6 ms", "26 ms", "0.75 ms", "20.75 ms", "100%", "100%", "8.5 ms"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestStrictQuorum: where R+W > N, every read is fresh.
func TestStrictQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "n")
		w := rapid.IntRange(1, n).Draw(t, "w")
		r := rapid.IntRange(n-w+1, n).Draw(t, "r")
		q := Quorum{Replicas: n, W: dist.Spec{{Pareto: &dist.Pareto{Min: "1", Shape: "0.8"}}}}
		m, err := q.model(300)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.measure(context.Background(), []string{fmt.Sprintf("fresh R=%d W=%d t=0", r, w)})
		if err != nil || got[0].String() != "100%" {
			t.Fatalf("N=%d R=%d W=%d: %v fresh, %v", n, r, w, got, err)
		}
	})
}

func TestQuorumAsks(t *testing.T) {
	q := Quorum{Replicas: 3, W: dist.Spec{{Fixed: "1"}}}
	m, err := q.model(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, figure := range []string{
		"", "fresh", "fresh R=1 W=1", "fresh R=0 W=1 t=0", "fresh R=1 W=4 t=0", "fresh R=1 W=1 t=soon",
		"read R=4 99%", "read R=1 101%", "read R=1 99", "write W=0 99%", "t-visibility R=1 W=0 99%",
	} {
		if err := m.knows(figure); err == nil {
			t.Errorf("%q is known", figure)
		}
	}
}

// TestTail against sorting all.
func TestTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 5000).Draw(t, "all")
		ppm := rapid.Uint64Range(0, micro).Draw(t, "ppm")
		kept := newTail(len(all), ppm)
		for _, x := range all {
			kept.add(x)
		}
		slices.Sort(all)
		want := all[min(int(uint64(len(all))*ppm/micro), len(all)-1)]
		if got := kept.quantile(); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}

// TestSyncLaws on any overlay: with bp+rr an element crosses each link once, but
// for the way by which it came to a node; on a tree that is N-1 copies to the
// copy. The end may cut off copies that nobody needs.
func TestSyncLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 9).Draw(t, "nodes")
		overlay := make([][]int, n)
		directed := 0
		link := func(a, b int) {
			if a != b && !slices.Contains(overlay[a], b) {
				overlay[a], overlay[b] = append(overlay[a], b), append(overlay[b], a)
				directed += 2
			}
		}
		for i := 1; i < n; i++ {
			link(i, rapid.IntRange(0, i-1).Draw(t, "to"))
		}
		for range rapid.IntRange(0, n).Draw(t, "more") {
			link(rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b"))
		}
		s := &Study{Overlay: overlay, Sync: &Sync{Data: "gset", Events: 4}}
		made, err := s.syncModel()
		if err != nil {
			t.Fatal(err)
		}
		m := made.(*syncStudy)
		events := uint64(4 * n)
		sent := func(p string) uint64 { return m.run(p).elements }
		most, least := events*uint64(directed-(n-1)), events*uint64(n-1)
		if got := sent("bp+rr"); got > most || got < least || m.run("bp+rr").made != events {
			t.Fatalf("bp+rr sends %d, want %d to %d", got, least, most)
		}
		if got := sent("rr"); got > events*uint64(directed) || got < sent("bp+rr") {
			t.Fatalf("rr sends %d", got)
		}
		if sent("delta") < sent("bp") || sent("bp") < sent("bp+rr") {
			t.Fatalf("delta %d, bp %d, bp+rr %d", sent("delta"), sent("bp"), sent("bp+rr"))
		}
		if tree := directed == 2*(n-1); tree && (sent("bp") != least || sent("bp+rr") != least) {
			t.Fatalf("on a tree bp sends %d, bp+rr %d, want %d", sent("bp"), sent("bp+rr"), least)
		}
	})
}

// TestSmallGroups have only one way to go.
func TestSmallGroups(t *testing.T) {
	m, err := (&Push{Sites: 2}).model(9)
	if got := measured(t, m, err, "rounds"); got[0] != "1" {
		t.Errorf("two sites take %v rounds", got)
	}
	m, err = (&Rumor{Sites: 2, K: 1}).model(9)
	if got := measured(t, m, err, "residue", "traffic", "t-last"); !slices.Equal(got, []string{"0", "1", "1"}) {
		t.Errorf("two sites: %v", got)
	}
	m, err = (&Rumor{Sites: 2, K: 3, Counter: true, Feedback: true}).model(9)
	if got := measured(t, m, err, "residue", "t-last"); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("two sites with counters: %v", got)
	}
	m, err = (&Swim{Members: 4, RoundRobin: true}).model(5000)
	if got := measured(t, m, err, "worst wait", "probes"); got[0] != "5" {
		t.Errorf("three others wait for %v", got)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		v    value
		want string
	}{
		{value{0, ""}, "0"}, {value{1_000_000, ""}, "1"}, {value{999_500, "%"}, "99.95%"},
		{value{1_234_567, ""}, "1.2346"}, {value{12_345_678, "ms"}, "12.346 ms"},
		{value{123_456_789_000_000, ""}, "123456789"}, {value{1_250, ""}, "0.00125"},
		{value{-500_000, ""}, "-0.5"}, {ratio(1, 3), "0.33333"}, {ratio(5, 0), "0"},
		{ratio(1<<40, 1<<39), "2"}, {share(2, 3), "66.667%"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%+v is %s, want %s", c.v, got, c.want)
		}
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		paper, tolerance string
		ours             value
		want             bool
	}{
		{"43.9%", "1pp", value{429_000, "%"}, true}, {"43.9%", "1pp", value{428_999, "%"}, false},
		{"45.5 ms", "15%", value{52_325_000, "ms"}, true}, {"45.5 ms", "15%", value{52_325_001, "ms"}, false},
		{"45.5 ms", "15%", value{38_600_000, "ms"}, false}, {"19", "0", value{19_000_000, ""}, true},
		{"19", "0", value{19_000_001, ""}, false}, {"16.87", "2", value{18_870_000, ""}, true},
		{"<= 1.05", "", value{1_050_000, ""}, true}, {"<= 1.05", "", value{1_050_001, ""}, false},
		{"<= 1.05", "", value{0, ""}, true},
	} {
		g, err := newGoal(Figure{Paper: c.paper, Tolerance: c.tolerance, Where: "here"})
		if err != nil || g.meets(c.ours) != c.want {
			t.Errorf("%s +- %s, ours %s: %v, %v", c.paper, c.tolerance, c.ours, !c.want, err)
		}
	}
}
