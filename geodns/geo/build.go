package geo

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Limits of a table: what its values and its file can name.
const (
	MaxPlaces = 1<<16 - 2 // distinct places of a table
	MaxRanges = 1 << 23   // ranges of one family
	maxV6Bits = 64        // the finest IPv6 prefix that a table tells apart
)

// Builder collects prefixes and compiles them to a Table. The longest prefix
// that contains an address decides; of equal prefixes the last one added.
type Builder struct {
	places []Place
	ids    map[Place]uint16
	v4     []painted[uint32]
	v6     []painted[uint64]
}

// painted is a prefix as a range of keys, both ends included.
type painted[K uint32 | uint64] struct {
	lo, hi K
	val    uint16
}

// Add says that the addresses of prefix are at place, whose Range is ignored.
func (b *Builder) Add(prefix netip.Prefix, place Place) error {
	place.Range = netip.Prefix{}
	id, ok := b.ids[place]
	if !ok {
		if len(b.places) == MaxPlaces {
			return fmt.Errorf("more than %d distinct places", MaxPlaces)
		}
		if b.ids == nil {
			b.ids = map[Place]uint16{}
		}
		b.places = append(b.places, place)
		id = uint16(len(b.places))
		b.ids[place] = id
	}
	return b.paint(prefix, id)
}

// Clear says that nothing is known about the addresses of prefix.
func (b *Builder) Clear(prefix netip.Prefix) error { return b.paint(prefix, 0) }

func (b *Builder) paint(p netip.Prefix, val uint16) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("prefix %v is not valid", p)
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %v: write it as IPv4", p)
	case p.Addr().Is4():
		a := p.Masked().Addr().As4()
		lo := binary.BigEndian.Uint32(a[:])
		span := uint32(1<<(32-p.Bits()) - 1)
		b.v4 = append(b.v4, painted[uint32]{lo, lo | span, val})
	case p.Bits() > maxV6Bits:
		return fmt.Errorf("prefix %v is longer than /%d", p, maxV6Bits)
	default:
		a := p.Masked().Addr().As16()
		lo := binary.BigEndian.Uint64(a[:8])
		span := uint64(1)<<(64-p.Bits()) - 1
		b.v6 = append(b.v6, painted[uint64]{lo, lo | span, val})
	}
	return nil
}

// Table compiles what was added. The Builder can be used further.
func (b *Builder) Table() *Table {
	return &Table{
		places: slices.Clone(b.places),
		v4:     flatten(b.v4),
		v6:     flatten(b.v6),
	}
}

// flatten turns nested prefixes into ranges of constant value. Prefixes nest
// or are disjoint, so in order of (lo, widest first) the open ones are a stack.
func flatten[K uint32 | uint64](in []painted[K]) family[K] {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b painted[K]) int {
		return cmp.Or(cmp.Compare(a.lo, b.lo), cmp.Compare(b.hi, a.hi))
	})
	f := family[K]{starts: []K{0}, vals: []uint16{0}}
	open := []painted[K]{{0, ^K(0), 0}}
	for _, p := range in {
		open = f.close(open, p.lo)
		open = append(open, p)
		f.begin(p.lo, p.val)
	}
	f.close(open, ^K(0))
	f.index()
	return f
}

// close ends the open prefixes that lie before lo: behind each, the one around
// it goes on. The outermost is everything and stays.
func (f *family[K]) close(open []painted[K], lo K) []painted[K] {
	for len(open) > 1 && open[len(open)-1].hi < lo {
		end := open[len(open)-1].hi
		open = open[:len(open)-1]
		f.begin(end+1, open[len(open)-1].val)
	}
	return open
}

// begin starts a range at lo, which never goes back; ranges stay maximal.
func (f *family[K]) begin(lo K, val uint16) {
	last := len(f.starts) - 1
	if f.starts[last] == lo { // a narrower prefix with the same start decides
		f.starts, f.vals = f.starts[:last], f.vals[:last]
	}
	if n := len(f.vals); n > 0 && f.vals[n-1] == val {
		return
	}
	f.starts, f.vals = append(f.starts, lo), append(f.vals, val)
}
