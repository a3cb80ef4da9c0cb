package replication

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
)

// Link says that two members speak to each other.
type Link struct{ A, B atoll.Origin }

// overlay is the graph of a layout with links. News of an origin go along one
// tree of shortest paths from it, so that a copy crosses as many links as there
// are other members. Every member computes the same trees from the same layout.
// Who is cut off from its place in one pulls instead.
type overlay struct {
	self     atoll.Origin
	beside   map[atoll.Origin][]atoll.Origin // neighbours, in order
	children map[atoll.Origin][]atoll.Origin // of self in the tree of an origin
}

// newOverlay returns the graph of links, nil when there are none: then everybody
// speaks to everybody.
func newOverlay(self atoll.Origin, links []Link) *overlay {
	if len(links) == 0 {
		return nil
	}
	g := &overlay{self: self, beside: make(map[atoll.Origin][]atoll.Origin),
		children: make(map[atoll.Origin][]atoll.Origin)}
	add := func(a, b atoll.Origin) {
		if i, found := slices.BinarySearch(g.beside[a], b); !found && a != b {
			g.beside[a] = slices.Insert(g.beside[a], i, b)
		}
	}
	for _, l := range links {
		add(l.A, l.B)
		add(l.B, l.A)
	}
	return g
}

// next returns to whom self passes on what root wrote, in order.
func (g *overlay) next(root atoll.Origin) []atoll.Origin {
	children, known := g.children[root]
	if _, member := g.beside[root]; member && !known {
		hops := g.hops(root)
		mine, reached := hops[g.self]
		for _, o := range g.beside[g.self] {
			if reached && hops[o] == mine+1 && g.parent(hops, root, o) == g.self {
				children = append(children, o)
			}
		}
		g.children[root] = children
	}
	return children
}

// hops returns how many links each member that root reaches is away from it.
func (g *overlay) hops(root atoll.Origin) map[atoll.Origin]int {
	hops := map[atoll.Origin]int{root: 0}
	for queue := []atoll.Origin{root}; len(queue) > 0; queue = queue[1:] {
		for _, o := range g.beside[queue[0]] {
			if _, seen := hops[o]; !seen {
				hops[o] = hops[queue[0]] + 1
				queue = append(queue, o)
			}
		}
	}
	return hops
}

// parent returns before whom o stands in the tree of root: of its neighbours
// that are a hop nearer the one of the greatest rendezvous weight, which spreads
// the work over equally short ways.
func (g *overlay) parent(hops map[atoll.Origin]int, root, o atoll.Origin) (best atoll.Origin) {
	most := uint64(0)
	for _, q := range g.beside[o] {
		var b [24]byte
		binary.BigEndian.PutUint64(b[:], uint64(root))
		binary.BigEndian.PutUint64(b[8:], uint64(o))
		binary.BigEndian.PutUint64(b[16:], uint64(q))
		if w := xxhash.Sum64(b[:]); hops[q] == hops[o]-1 && (best == 0 || w > most) {
			best, most = q, w
		}
	}
	return best
}

// passOn sends a delta to those for whom this node stands on its way: in an
// overlay its children in the tree of the writer, else the rest of its region.
func (c *Core) passOn(m Delta, from atoll.NodeID) {
	if c.overlay == nil {
		c.fanOut(m, from)
		return
	}
	m.Relay = true
	for _, o := range c.overlay.next(m.Delta.Dots.Origin) {
		for _, q := range c.peers {
			if q.Origin == o && q.Node != from {
				c.eager(q.Node, m)
			}
		}
	}
}
