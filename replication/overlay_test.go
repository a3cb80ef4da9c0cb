package replication

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
)

// throwOverlay throws for a connected graph of origins 1 to n.
func throwOverlay(t *rapid.T) (n int, links []Link) {
	n = rapid.IntRange(2, 20).Draw(t, "nodes")
	for i := 2; i <= n; i++ {
		to := rapid.IntRange(1, i-1).Draw(t, "to")
		links = append(links, Link{atoll.Origin(i), atoll.Origin(to)})
	}
	for range rapid.IntRange(0, 2*n).Draw(t, "more") {
		a, b := rapid.IntRange(1, n).Draw(t, "a"), rapid.IntRange(1, n).Draw(t, "b")
		links = append(links, Link{atoll.Origin(a), atoll.Origin(b)})
	}
	return n, links
}

// TestOverlayLaw: whoever writes, each other member gets one copy, over links,
// on a shortest way, whatever the order in which the links are told.
func TestOverlayLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, links := throwOverlay(t)
		graphs := make(map[atoll.Origin]*overlay)
		for i := range n {
			o := atoll.Origin(i + 1)
			graphs[o] = newOverlay(o, rapid.Permutation(links).Draw(t, "order"))
		}
		linked := func(a, b atoll.Origin) bool {
			return slices.Contains(links, Link{a, b}) || slices.Contains(links, Link{b, a})
		}
		root := atoll.Origin(rapid.IntRange(1, n).Draw(t, "root"))
		far := distances(root, n, linked)
		copies := map[atoll.Origin]int{root: 0}
		for queue := []atoll.Origin{root}; len(queue) > 0; queue = queue[1:] {
			from := queue[0]
			for _, to := range graphs[from].next(root) {
				if copies[to]++; copies[to] > 1 || to == root {
					t.Fatalf("%d gets a second copy of what %d wrote, from %d", to, root, from)
				}
				if !linked(from, to) || far[to] != far[from]+1 {
					t.Fatalf("%d -> %d is on no shortest way from %d", from, to, root)
				}
				queue = append(queue, to)
			}
		}
		if len(copies) != n {
			t.Fatalf("what %d wrote reaches %d of %d members", root, len(copies), n)
		}
	})
}

// distances is the dumb way: relax all links until nothing changes.
func distances(root atoll.Origin, n int, linked func(a, b atoll.Origin) bool) map[atoll.Origin]int {
	far := map[atoll.Origin]int{root: 0}
	for range n {
		for a := atoll.Origin(1); int(a) <= n; a++ {
			for b := atoll.Origin(1); int(b) <= n; b++ {
				da, ok := far[a]
				if db, has := far[b]; ok && linked(a, b) && (!has || da+1 < db) {
					far[b] = da + 1
				}
			}
		}
	}
	return far
}

// TestOverlayStranger: an origin that no link names is passed on to nobody, and
// not remembered: peers could make up any number of them.
func TestOverlayStranger(t *testing.T) {
	g := newOverlay(1, []Link{{1, 2}, {2, 3}})
	for o := atoll.Origin(4); o < 100; o++ {
		if next := g.next(o); len(next) > 0 {
			t.Errorf("news of %d go to %v", o, next)
		}
	}
	if len(g.children) > 0 {
		t.Errorf("%d strangers are remembered", len(g.children))
	}
}
