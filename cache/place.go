package cache

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// Ranked returns the nodes in the order in which they are responsible for a
// chunk (rendezvous hashing: a node that comes or goes moves only its own
// chunks). The order of nodes does not matter.
func Ranked(h atoll.Hash, nodes []atoll.NodeID) []atoll.NodeID {
	type scored struct {
		node  atoll.NodeID
		score uint64
	}
	list := make([]scored, len(nodes))
	for i, n := range nodes {
		list[i] = scored{n, score(h, n)}
	}
	slices.SortFunc(list, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.node, b.node))
	})
	out := make([]atoll.NodeID, len(list))
	for i, s := range list {
		out[i] = s.node
	}
	return out
}

// score mixes a node's name with a hash: FNV-1a, whose last bytes spread badly,
// so the result is mixed once more (the finalizer of SplitMix64).
func score(h atoll.Hash, n atoll.NodeID) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(n))
	z := f.Sum64() ^ binary.BigEndian.Uint64(h[:])
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// copies is how many nodes of the region that took an object in hold it, where
// there are as many.
const copies = 2

// Keepers returns the nodes that are to hold an object, given the nodes of the
// cluster that are not lost. Those that stored it keep it; where fewer are left
// than a region is to have, others of that region stand in: two in the region
// that took it in, one in every other that had a copy.
func Keepers(o atoll.Object, nodes []atoll.NodeID) []atoll.NodeID {
	if len(o.Homes) == 0 {
		return nil
	}
	var keepers []atoll.NodeID
	for i, home := range o.Homes {
		r := home.Region()
		first := slices.IndexFunc(o.Homes, func(n atoll.NodeID) bool { return n.Region() == r })
		if first < i {
			continue // its region has been looked at
		}
		want := 1
		if i == 0 {
			want = copies
		}
		keepers = append(keepers, keepersIn(o, r, nodes, want)...)
	}
	return keepers
}

func keepersIn(o atoll.Object, r atoll.Region, nodes []atoll.NodeID, want int) []atoll.NodeID {
	var homes, others []atoll.NodeID
	for _, n := range nodes {
		switch {
		case n.Region() != r:
		case slices.Contains(o.Homes, n):
			homes = append(homes, n)
		default:
			others = append(others, n)
		}
	}
	missing := min(max(want-len(homes), 0), len(others))
	return append(homes, Ranked(o.Manifest, others)[:missing]...)
}

// Doomed returns which chunks to drop, given what is held and, of each chunk that
// an object names, whether this node is to keep it. One that nothing names goes
// when it was last used before cutoff. Of copies that are only cached the ones
// that were not used for longest go until what remains fits cached bytes.
func Doomed(
	held []atoll.Held, named map[atoll.Hash]bool, cutoff time.Time, cached int64,
) []atoll.Held {
	var doomed, spare []atoll.Held
	var size int64
	for _, c := range held {
		keep, known := named[c.Hash]
		switch {
		case keep:
		case !known && c.Used.Before(cutoff):
			doomed = append(doomed, c)
		case known || c.Cached:
			spare = append(spare, c)
			size += c.Size
		} // else it may be of an upload under way
	}
	slices.SortFunc(spare, func(a, b atoll.Held) int { return a.Used.Compare(b.Used) })
	for _, c := range spare {
		if size <= cached {
			break
		}
		doomed = append(doomed, c)
		size -= c.Size
	}
	return doomed
}
