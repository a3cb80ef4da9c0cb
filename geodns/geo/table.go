package geo

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Table is a compiled Source: sorted ranges with a first level over the top 16
// bits of the address. IPv6 is told apart down to /64. It does not change.
type Table struct {
	// Made is the day of the data, "2026-06-01"; Attribution must be shown
	// with its answers. Both are free text from the file.
	Made, Attribution string

	places []Place // without Range; value v of a family means places[v-1]
	v4     family[uint32]
	v6     family[uint64] // the upper half of the address
}

// Lookup implements Source. An IPv6 address is looked up as it is: what it may
// carry inside is Overlay's business.
func (t *Table) Lookup(a netip.Addr) (Place, bool) {
	v, r := t.find(a)
	if v == 0 {
		return Place{Range: r}, false
	}
	p := t.places[v-1]
	p.Range = r
	return p, true
}

// find returns the value of the range that a lies in, 0 for a gap, and the
// widest prefix around a inside that range.
func (t *Table) find(a netip.Addr) (uint16, netip.Prefix) {
	switch {
	case !a.IsValid():
		return 0, netip.Prefix{}
	case a.Is4():
		b := a.As4()
		v, n := t.v4.find(binary.BigEndian.Uint32(b[:]))
		return v, around(a, n)
	}
	b := a.As16()
	v, n := t.v6.find(binary.BigEndian.Uint64(b[:8]))
	return v, around(a.WithZone(""), n)
}

// Ranges returns the number of ranges of the table, gaps included.
func (t *Table) Ranges() int { return len(t.v4.starts) + len(t.v6.starts) }

// family holds the ranges of one address family. Invariant: starts begins with
// 0 and grows strictly, neighbours differ in value, so ranges are maximal.
type family[K uint32 | uint64] struct {
	starts []K
	vals   []uint16 // 0: nothing is known

	// first[h] is the last range that begins at or before the first key whose
	// top 16 bits are h; one more entry closes the last bucket.
	first []uint32
}

// firstBits is the width of the first level: 256 KiB a family, and a bucket of
// the default table then holds a handful of ranges.
const firstBits = 16

// width returns the number of bits of a key.
func (f *family[K]) width() int { return bits.Len64(uint64(^K(0))) }

// index fills the first level from starts.
func (f *family[K]) index() {
	f.first = make([]uint32, 1<<firstBits+1)
	shift := f.width() - firstBits
	at := 0
	for h := range 1 << firstBits {
		for at+1 < len(f.starts) && f.starts[at+1] <= K(h)<<shift {
			at++
		}
		f.first[h] = uint32(at)
	}
	f.first[1<<firstBits] = uint32(len(f.starts) - 1)
}

// find returns the value at k and the length of the widest prefix around k
// inside its range: the shortest that takes in neither neighbour.
func (f *family[K]) find(k K) (val uint16, prefix int) {
	h := k >> (f.width() - firstBits)
	lo, hi := int(f.first[h]), int(f.first[h+1])
	for lo < hi {
		mid := int(uint(lo+hi+1) >> 1)
		if f.starts[mid] <= k {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	if lo > 0 {
		prefix = f.common(k, f.starts[lo]-1) + 1
	}
	if lo+1 < len(f.starts) {
		prefix = max(prefix, f.common(k, f.starts[lo+1])+1)
	}
	return f.vals[lo], prefix
}

// common returns the number of leading bits that a and b share.
func (f *family[K]) common(a, b K) int {
	return bits.LeadingZeros64(uint64(a^b)) - (64 - f.width())
}
