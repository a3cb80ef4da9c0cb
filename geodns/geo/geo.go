// Package geo says where on Earth an internet address is.
//
// A Source maps an address to a Place. There are three: Table, compiled ranges
// that are read from a small file; MMDB, a database of the operator's own; and
// Overlay, which puts the operator's own prefixes above one of the others and
// knows the addresses that are nowhere. The server asks an Overlay:
//
//	table, err := geo.Default()
//	places, err := geo.NewOverlay(table, nets)
//	place, ok := places.Lookup(addr)
//
// The embedded table is made from DB-IP Lite (CC BY 4.0); Attribution has to be
// shown wherever its answers are.
package geo

import (
	"encoding/binary"
	"net/netip"
)

// Place is what is known about the users behind an address.
type Place struct {
	Country  string  // ISO 3166-1 alpha-2, upper case; "" when not known
	Lat, Lon float64 // degrees, north and east positive

	// Range is the prefix around the address asked about in which every
	// address has this same answer, "not found" included. Its length is the
	// scope of an EDNS client subnet answer (RFC 7871). Ranges of two
	// addresses of one Source are either equal or disjoint.
	Range netip.Prefix
}

// Source answers where an address is. When the place is not known, the second
// result is false and only Range is set. Lookups are safe for concurrent use.
type Source interface {
	Lookup(netip.Addr) (Place, bool)
}

// The blocks of IPv6 that carry an IPv4 address inside.
var (
	mapped = netip.MustParsePrefix("::ffff:0:0/96") // RFC 4291 2.5.5.2
	nat64  = netip.MustParsePrefix("64:ff9b::/96")  // RFC 6052 2.1
	sixto4 = netip.MustParsePrefix("2002::/16")     // RFC 3056
	teredo = netip.MustParsePrefix("2001::/32")     // RFC 4380
)

// inner returns the IPv4 address that a carries and at which bit it begins,
// or a itself and 0. An IPv4 client behind a translator is where its IPv4
// address is, not where the translator's prefix is registered.
func inner(a netip.Addr) (netip.Addr, int) {
	if !a.Is6() {
		return a, 0
	}
	b := a.As16()
	at := 0
	switch a = a.WithZone(""); {
	case mapped.Contains(a) || a.Is4In6() || nat64.Contains(a):
		at = 96
	case sixto4.Contains(a):
		at = 16
	case teredo.Contains(a):
		// The client's address is stored inverted, against naive rewriters.
		at = 96
		v := binary.BigEndian.Uint32(b[12:])
		binary.BigEndian.PutUint32(b[12:], ^v)
	default:
		return a, 0
	}
	return netip.AddrFrom4([4]byte(b[at/8 : at/8+4])), at
}

// outer turns a range of the address that inner found back into a range of the
// address it came from.
func outer(a netip.Addr, at int, r netip.Prefix) netip.Prefix {
	p, _ := a.WithZone("").Prefix(at + r.Bits())
	return p
}

// around returns the prefix of the given length around a; a has no zone.
func around(a netip.Addr, bits int) netip.Prefix {
	p, _ := a.Prefix(bits)
	return p
}
