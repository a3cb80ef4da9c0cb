package steer

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
)

// Client is who asks.
type Client struct {
	Addr  netip.Addr   // its address, or the first of its subnet
	Range netip.Prefix // around Addr, wherein all clients are at the same place
	At    Point
	Known bool // whether At is; if not, the client stands where World's node does
}

// Answer is what the client gets.
type Answer struct {
	// Region is the chosen one: the nearest eligible. It is empty only when no
	// region of the world has an address.
	Region atoll.Region

	// V4 and V6 are addresses of that region, best first. When the region has
	// no IPv4 address, V4 is of the nearest one that has, for those who have
	// nothing else; V6 then still leads the others to the chosen region. There
	// is no such way round for V6: clients prefer it, even far away. When no
	// region lives, both are of all that are known, nearest first.
	V4, V6 []netip.Addr

	// Scope is the prefix around the client in which everybody gets this very
	// answer. Scopes of one world are either equal or disjoint.
	Scope netip.Prefix
}

// Where a region has more addresses than an answer, clients of one prefix of
// this length share theirs: what a resolver sends as EDNS client subnet at
// most (RFC 7871 11.1 and common practice), so that caches stay shared.
const (
	share4 = 24
	share6 = 48
)

// Choose returns the answer for a client, with at most n addresses a family.
func (w *World) Choose(c Client, n int) Answer {
	list := w.rank(c, w.eligible())
	if len(list) == 0 {
		return Answer{Scope: c.Range}
	}
	if w.tier != lost {
		list = list[:1:1]
	}
	list4 := list
	if len(list) == 1 && len(list[0].V4) == 0 {
		list4 = w.nearestV4(c)
	}
	a := Answer{Region: list[0].Name, Scope: c.share(slices.Concat(list, list4), n)}
	a.V4 = first(n, list4, func(r *Region) []netip.Addr { return spread(a.Scope, r.V4) })
	a.V6 = first(n, list, func(r *Region) []netip.Addr { return spread(a.Scope, r.V6) })
	return a
}

// eligible returns the regions of the best tier there is.
func (w *World) eligible() []*Region {
	var out []*Region
	for i := range w.regions {
		if w.tier != mute && w.regions[i].tier == w.tier {
			out = append(out, &w.regions[i])
		}
	}
	return out
}

// nearestV4 returns the nearest eligible region with an IPv4 address, if any.
func (w *World) nearestV4(c Client) []*Region {
	list := slices.DeleteFunc(w.eligible(), func(r *Region) bool { return len(r.V4) == 0 })
	list = w.rank(c, list)
	return list[:min(len(list), 1)]
}

// rank sorts regions nearest first. A client whose place is not known is taken
// to be near the region that it asks, whose own answer comes first.
func (w *World) rank(c Client, list []*Region) []*Region {
	at := w.stand(c)
	slices.SortFunc(list, func(a, b *Region) int {
		if !c.Known && (a.Name == w.self) != (b.Name == w.self) {
			return prefer(a.Name == w.self)
		}
		return cmp.Or(cmp.Compare(KM(at, a.At), KM(at, b.At)), cmp.Compare(a.Name, b.Name))
	})
	return list
}

func prefer(first bool) int {
	if first {
		return -1
	}
	return 1
}

// stand returns the point that distances are measured from.
func (w *World) stand(c Client) Point {
	if c.Known {
		return c.At
	}
	for i := range w.regions {
		if w.regions[i].Name == w.self {
			return w.regions[i].At
		}
	}
	return Point{}
}

// share returns the prefix whose clients get the same addresses: the range, or
// less of it where a region has more addresses than an answer and the load
// should be spread over them.
func (c Client) share(list []*Region, n int) netip.Prefix {
	for _, r := range list {
		if len(r.V4) <= n && len(r.V6) <= n {
			continue
		}
		bits := share6
		if c.Addr.Is4() {
			bits = share4
		}
		p, _ := c.Addr.Prefix(max(bits, c.Range.Bits()))
		return p
	}
	return c.Range
}

// spread returns addrs in the order of their rendezvous hash with the client's
// prefix: when one goes, only its own clients move.
func spread(client netip.Prefix, addrs []netip.Addr) []netip.Addr {
	if len(addrs) < 2 {
		return addrs
	}
	out := slices.Clone(addrs)
	slices.SortFunc(out, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(weigh(client, b), weigh(client, a)), a.Compare(b))
	})
	return out
}

// weigh hashes a prefix with an address.
func weigh(client netip.Prefix, a netip.Addr) uint64 {
	var b [40]byte
	c, d := client.Addr().As16(), a.As16()
	copy(b[:16], c[:])
	copy(b[16:32], d[:])
	binary.BigEndian.PutUint64(b[32:], uint64(client.Bits()))
	return xxhash.Sum64(b[:])
}

// first returns the first n addresses of the regions in their order.
func first(n int, list []*Region, of func(*Region) []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, r := range list {
		out = append(out, of(r)...)
		if len(out) >= n {
			return out[:n:n]
		}
	}
	return out
}
