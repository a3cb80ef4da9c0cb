package sim

import (
	"testing"
)

// TestShrink makes small what a torn commit breaks, and replays the file of it
// to the same failure.
func TestShrink(t *testing.T) {
	torn := func(p *Plan) *Result { return run(p, flaws{torn: true}, nil) }
	found := 0
	for seed := uint64(1); seed <= 300 && found < 4; seed++ {
		first := torn(Random(seed))
		if first.OK {
			continue
		}
		found++
		small, r := shrink(Random(seed), torn)
		if r.OK || r.Violations[0].Property != first.Violations[0].Property {
			t.Fatalf("seed %d: %v, want another of %v", seed, r.Violations, first.Violations[0])
		}
		file, err := ReadRepro(r.Repro("v1").JSON())
		if err != nil {
			t.Fatal(err)
		}
		again := torn(file.Plan)
		if summary(again) != summary(r) || again.Trace != file.Trace {
			t.Errorf("seed %d: the small plan has another run when it is replayed", seed)
		}
		// A crash is all that it takes.
		if len(small.Faults) > 2 || len(small.Nodes) > 3 {
			t.Errorf("seed %d: %d faults and %d nodes are left of %d and %d", seed, len(small.Faults),
				len(small.Nodes), len(first.Plan.Faults), len(first.Plan.Nodes))
		}
	}
	if found == 0 {
		t.Fatal("300 seeds did not notice a torn commit")
	}
}

// TestDdmin takes away all but those that are needed.
func TestDdmin(t *testing.T) {
	for n := range 40 {
		for a := range n {
			b := (a*7 + 3) % n
			list := make([]int, n)
			for i := range list {
				list[i] = i
			}
			ddmin(n, func(from, to int) bool {
				rest := append(append([]int(nil), list[:from]...), list[to:]...)
				has := 0
				for _, x := range rest {
					if x == a || x == b {
						has++
					}
				}
				if has < 1+min(max(a-b, b-a), 1) {
					return false
				}
				list = rest
				return true
			})
			if len(list) != 1+min(max(a-b, b-a), 1) {
				t.Fatalf("of %d things, of which %d and %d matter, %v are left", n, a, b, list)
			}
		}
	}
}
