package geo

import (
	"fmt"
	"net/netip"
)

// Overlay is a Source above another: prefixes of the operator's own decide
// first, then come the addresses that are nowhere (private, loopback,
// documentation, unassigned), then the source below. It also looks into IPv6
// addresses that carry an IPv4 address (v4-mapped, NAT64, 6to4, Teredo).
type Overlay struct {
	over *Table // value 0: ask below; nowhere: not found; else a place
	base Source
}

// nowhere is the value of addresses that have no place.
const nowhere = 1

// special lists what has no place on Earth, from the IANA special-purpose
// address registries (RFC 6890 and its updates).
const special = `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16
172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15
198.51.100.0/24 203.0.113.0/24 224.0.0.0/3
::/0 2001:2::/48 2001:db8::/32 3fff::/20`

// global is the part of IPv6 that has places at all (RFC 4291 2.4).
const global = "2000::/3"

// NewOverlay puts nets above base. IPv6 nets are at most 64 bits long. Where
// two contain an address, the longer decides.
func NewOverlay(base Source, nets map[netip.Prefix]Place) (*Overlay, error) {
	var b Builder
	if err := b.Clear(netip.MustParsePrefix(global)); err != nil {
		return nil, err
	}
	for p := range prefixes(special) {
		if err := b.Add(p, Place{}); err != nil { // the first place is nowhere
			return nil, err
		}
	}
	for p, place := range nets {
		if err := place.check(); err != nil {
			return nil, fmt.Errorf("nets: %v: %w", p, err)
		}
		if err := b.Add(p, place); err != nil {
			return nil, fmt.Errorf("nets: %w", err)
		}
	}
	return &Overlay{over: b.Table(), base: base}, nil
}

// Lookup implements Source.
func (o *Overlay) Lookup(a netip.Addr) (Place, bool) {
	if !a.IsValid() {
		return Place{}, false
	}
	in, at := inner(a)
	p, ok := o.lookup(in)
	if at > 0 {
		p.Range = outer(a, at, p.Range)
	}
	return p, ok
}

func (o *Overlay) lookup(a netip.Addr) (Place, bool) {
	v, r := o.over.find(a)
	if v == nowhere {
		return Place{Range: r}, false
	}
	if v > nowhere {
		p := o.over.places[v-1]
		p.Range = r
		return p, true
	}
	// The gap in the overlay bounds the range: beside it others decide.
	p, ok := o.base.Lookup(a)
	if r.Bits() > p.Range.Bits() {
		p.Range = r
	}
	return p, ok
}

// check tells whether p can be a place of the operator's.
func (p Place) check() error {
	if p.Lat < -90 || p.Lat > 90 || p.Lon < -180 || p.Lon > 180 || p.Lat != p.Lat || p.Lon != p.Lon {
		return fmt.Errorf("latitude %v, longitude %v: out of range", p.Lat, p.Lon)
	}
	if p == (Place{}) {
		return fmt.Errorf("the place is empty")
	}
	return nil
}
