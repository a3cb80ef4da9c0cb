package sim

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll/sim/check"
)

// summary is everything that a run says, but for its plan.
func summary(r *Result) string {
	c := *r
	c.Plan = nil
	return fmt.Sprintf("%+v", c)
}

// TestSameSeedSameRun runs each seed twice, the second time on one processor.
func TestSameSeedSameRun(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		first := Run(Random(seed), nil)
		old := runtime.GOMAXPROCS(1)
		second := Run(Random(seed), nil)
		runtime.GOMAXPROCS(old)
		if a, b := summary(first), summary(second); a != b {
			t.Fatalf("seed %d:\n%s\n%s", seed, a, b)
		}
	}
}

// TestSeedsDiffer: another seed is another run.
func TestSeedsDiffer(t *testing.T) {
	traces := make(map[string]uint64)
	for seed := uint64(1); seed <= 15; seed++ {
		r := Run(Random(seed), nil)
		if other, ok := traces[r.Trace]; ok || len(r.Trace) != 16 {
			t.Errorf("seeds %d and %d have the trace %s", other, seed, r.Trace)
		}
		traces[r.Trace] = seed
	}
}

// TestReplay runs what the file of a run says.
func TestReplay(t *testing.T) {
	for seed := uint64(30); seed < 34; seed++ {
		first := Run(Random(seed), nil)
		file, err := ReadRepro(first.Repro("v1").JSON())
		if err != nil {
			t.Fatal(err)
		}
		second := Run(file.Plan, nil)
		if summary(first) != summary(second) || file.Trace != second.Trace || !file.OK {
			t.Errorf("seed %d: the replay has trace %s, the file %s", seed, second.Trace, first.Trace)
		}
	}
}

// TestChecksDoNotChangeTheRun: what is looked at is not disturbed.
func TestChecksDoNotChangeTheRun(t *testing.T) {
	p := Random(5)
	with := Run(p, nil)
	bare := *p
	bare.Checks = nil
	if without := Run(&bare, nil); without.Trace != with.Trace {
		t.Errorf("trace %s with checks, %s without", with.Trace, without.Trace)
	}
}

// TestFaultsAreIndependent takes one fault of links out: what clients do stays.
func TestFaultsAreIndependent(t *testing.T) {
	found := false
	for seed := uint64(1); seed <= 3; seed++ {
		p := Random(seed)
		p.Faults = slices.DeleteFunc(p.Faults, func(f Fault) bool { return !f.onLinks() })
		p.Workload.Roam = 0
		with := Run(p, nil)
		for i := range p.Faults {
			q := *p
			q.Faults = slices.Delete(slices.Clone(p.Faults), i, i+1)
			without := Run(&q, nil)
			found = found || without.Trace != with.Trace
			if without.Writes != with.Writes {
				t.Errorf("seed %d without fault %d: %d writes, else %d", seed, i, without.Writes,
					with.Writes)
			}
		}
	}
	if !found {
		t.Error("no fault made a difference")
	}
}

// TestSwarm hands results over in order, the same ones with any number of jobs.
func TestSwarm(t *testing.T) {
	collect := func(jobs int) (all []string) {
		Swarm(context.Background(), 10, 25, jobs, Random, func(r *Result) {
			all = append(all, fmt.Sprint(r.Plan.Seed, " ", summary(r)))
		})
		return all
	}
	one := collect(1)
	for i, s := range one {
		if !strings.HasPrefix(s, fmt.Sprint(10+i, " ")) {
			t.Fatalf("result %d is of seed %s", i, s[:3])
		}
	}
	for _, jobs := range []int{2, 7, 64} {
		if got := collect(jobs); !slices.Equal(got, one) || len(got) != 16 {
			t.Errorf("%d jobs: %d results, or others than one job", jobs, len(got))
		}
	}
}

func TestSwarmStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seeds []uint64
	Swarm(ctx, ^uint64(0)-100, ^uint64(0), 2, Random, func(r *Result) {
		if seeds = append(seeds, r.Plan.Seed); len(seeds) == 3 {
			cancel()
		}
	})
	if len(seeds) < 3 || len(seeds) > 3+4*2+2 {
		t.Errorf("%d results, want those under way when it was stopped", len(seeds))
	}
	for i, s := range seeds {
		if s != ^uint64(0)-100+uint64(i) {
			t.Errorf("result %d is of seed %d", i, s)
		}
	}
}

func TestSwarmOfTheLastSeed(t *testing.T) {
	n := 0
	Swarm(context.Background(), ^uint64(0), ^uint64(0), 3, Random, func(*Result) { n++ })
	if n != 1 {
		t.Errorf("%d results, want 1", n)
	}
}

func TestBreakOff(t *testing.T) {
	var heard []time.Duration
	r := Run(Random(1), func(at time.Duration) bool {
		heard = append(heard, at)
		return len(heard) < 1
	})
	if r != nil || len(heard) != 1 {
		t.Errorf("%v after %v, want no result after one word", r, heard)
	}
	r = Run(Random(1), func(at time.Duration) bool { heard = append(heard, at); return true })
	if r == nil || !slices.IsSorted(heard[1:]) || heard[len(heard)-1] > r.Virtual {
		t.Errorf("heard %v", heard)
	}
}

// TestRandomPlans: seeds make plans that can be run, of all kinds.
func TestRandomPlans(t *testing.T) {
	nodes, kinds, spaces := map[int]int{}, map[string]int{}, map[string]int{}
	quiet := 0
	for seed := range uint64(2000) {
		p := Random(seed)
		if err := p.Check(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if again := Random(seed); !reflect.DeepEqual(p, again) {
			t.Fatalf("seed %d has two plans", seed)
		}
		nodes[len(p.Nodes)]++
		spaces[string(p.Workload.Keyspace)]++
		if p.Links == (Links{}) {
			quiet++
		}
		for i, f := range p.Faults {
			kinds[f.Kind]++
			if i > 0 && f.At < p.Faults[i-1].At {
				t.Errorf("seed %d: fault %d is out of order", seed, i)
			}
		}
	}
	mostly := nodes[3] + nodes[4] + nodes[5] + nodes[6] + nodes[7]
	if mostly < 1600 || nodes[2] == 0 || nodes[12] == 0 {
		t.Errorf("nodes %v: want mostly 3 to 7, some 2, some 12", nodes)
	}
	for _, kind := range []string{Partition, OneWay, Slow, Crash, Trim} {
		if kinds[kind] < 500 {
			t.Errorf("faults %v: too few of %s", kinds, kind)
		}
	}
	if spaces["sim"] < 400 || spaces["_sim"] < 400 || quiet == 0 {
		t.Errorf("keyspaces %v, %d plans with perfect links", spaces, quiet)
	}
}

// TestSwarmReaches shows that the swarm's worlds do what they are for.
func TestSwarmReaches(t *testing.T) {
	var full, pulls, lost, writes, acked uint64
	for seed := uint64(1); seed <= 80; seed++ {
		r := Run(Random(seed), nil)
		if !r.OK {
			t.Fatalf("seed %d: %s", seed, r.Violations[0])
		}
		full, pulls = full+r.FullPulls, pulls+r.Pulls
		lost, writes, acked = lost+uint64(r.Lost), writes+uint64(r.Writes), acked+uint64(r.Acked)
	}
	if full < 80 || pulls < 4*full || lost == 0 || acked+lost > writes || acked < writes*9/10 {
		t.Errorf("%d pulls, %d full; %d of %d writes acknowledged, %d lost: too tame",
			pulls, full, acked, writes, lost)
	}
}

// TestViolationsAreKept: a run that fails says so in its story and its file.
func TestViolationsAreKept(t *testing.T) {
	for seed := uint64(1); ; seed++ {
		if seed > 300 {
			t.Fatal("300 seeds did not notice a torn commit")
		}
		r := run(Random(seed), flaws{torn: true}, nil)
		if r.OK {
			continue
		}
		told := slices.ContainsFunc(r.Moments, func(m Moment) bool {
			return m.Kind == "violation" && m.Text == r.Violations[0].String()
		})
		file := r.Repro("v1")
		if !told || file.OK || !slices.Contains(file.Violations, r.Violations[0].String()) {
			t.Errorf("seed %d: %v, told %v, file %v", seed, r.Violations[0], told, file.Violations)
		}
		return
	}
}

// TestOnlyTheChecksAsked: a property that a plan does not ask for is not judged.
func TestOnlyTheChecksAsked(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		p := Random(seed)
		if run(p, flaws{torn: true}, nil).OK {
			continue
		}
		p.Checks = []check.Property{check.Winner}
		if r := run(p, flaws{torn: true}, nil); !r.OK {
			t.Errorf("seed %d: %v, though only winners are asked for", seed, r.Violations)
		}
		return
	}
	t.Fatal("300 seeds did not notice a torn commit")
}
