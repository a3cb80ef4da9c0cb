package sim

import (
	"testing"

	"github.com/atolledge/atoll"
)

// TestDrawsAreIndependent asks the same question twice, and others between.
func TestDrawsAreIndependent(t *testing.T) {
	c := chance(7)
	first := c.draw(ofLink, 1, 2, 3)
	seen := map[dice]bool{first: true}
	for _, q := range [][4]uint64{
		{ofPull, 1, 2, 3}, {ofLink, 2, 1, 3}, {ofLink, 1, 3, 2}, {ofLink, 1, 2, 4}, {ofLink, 0, 2, 3},
		{ofLink, 2, 2, 3}, {ofLink, 1, 2, 2},
	} {
		d := c.draw(q[0], q[1], q[2], q[3])
		if seen[d] {
			t.Errorf("draw %v has the answer of another question", q)
		}
		seen[d] = true
	}
	if c.draw(ofLink, 1, 2, 3) != first {
		t.Error("the same question has another answer")
	}
	if chance(8).draw(ofLink, 1, 2, 3) == first {
		t.Error("another seed has the same answer")
	}
}

// TestThrowsAreEven counts throws of a die, of one draw and of many.
func TestThrowsAreEven(t *testing.T) {
	const n = 60_000
	one := chance(1).draw(ofCore, 0, 0, 0)
	var of, across [6]int
	for i := range n {
		of[one.throw(6)]++
		d := chance(1).draw(ofLink, 1, 2, uint64(i))
		across[d.throw(6)]++
	}
	for face := range 6 {
		// Six standard deviations of a fair die: sqrt(n * 1/6 * 5/6) is 91.
		for _, count := range []int{of[face], across[face]} {
			if count < n/6-550 || count > n/6+550 {
				t.Errorf("face %d came %d times of %d", face, count, n)
			}
		}
	}
}

func TestThrowOfNothing(t *testing.T) {
	d := dice(1)
	for _, n := range []int64{1, 0, -5} {
		if got := d.throw(n); got != 0 {
			t.Errorf("throw(%d) = %d", n, got)
		}
	}
	if d.in(0) {
		t.Error("what never happens happened")
	}
	if !d.in(million) {
		t.Error("what always happens did not")
	}
}

func TestAmong(t *testing.T) {
	d := chance(3).draw(ofPlan, 0, 0, 0)
	var count [4]int
	for range 10_000 {
		count[d.among([]int{0, 1, 3, 0})]++
	}
	if count[0]+count[3] > 0 || count[1] < 2200 || count[1] > 2800 {
		t.Errorf("%v, want none, a quarter, three quarters, none", count)
	}
}

// TestChanceIsByName: what happens to the n-th message of a link, what a core
// throws at a time and what a client asks for depend on the names of those that
// are concerned, and on no fault and no other node.
func TestChanceIsByName(t *testing.T) {
	p := Random(11)
	for seed := uint64(12); len(p.Nodes) < 4 || len(p.Faults) < 3; seed++ {
		p = Random(seed)
	}
	q := *p
	q.Faults, q.Core = p.Faults[1:2], nil
	q.Nodes = p.Nodes[1:] // all places are others
	q.Workload.Clients = []atoll.NodeID{"", q.Nodes[0].ID}
	a, b := newWorld(p, flaws{}), newWorld(&q, flaws{})
	for i, from := range b.nodes {
		same := a.nodes[i+1]
		if same.key != from.key || same.self.Origin != from.self.Origin && same.member == from.member &&
			same.minted == from.minted {
			t.Fatalf("%s is known by another name", from.self.Node)
		}
		for k, to := range b.nodes {
			for n := range uint64(50) {
				if x, y := a.fate(same, a.nodes[k+1], n), b.fate(from, to, n); x != y {
					t.Errorf("message %d of %s to %s: %+v, and %+v", n, from.self.Node, to.self.Node, x, y)
				}
			}
		}
		for at := int64(1); at < 1000; at += 37 {
			a.now, b.now, from.run = at, at, same.run
			x, y := same.random.Uint64(), from.random.Uint64()
			if x != y {
				t.Errorf("%s throws %d at %d, and %d", from.self.Node, x, at, y)
			}
		}
	}
}
