package geo

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// naive is the dumb twin of a Table: it walks all prefixes.
type naive []struct {
	prefix netip.Prefix
	place  Place
	known  bool
}

func (n naive) lookup(a netip.Addr) (Place, bool) {
	best, place, known := -1, Place{}, false
	for _, e := range n {
		if e.prefix.Contains(a) && e.prefix.Bits() >= best {
			best, place, known = e.prefix.Bits(), e.place, e.known
		}
	}
	return place, known
}

// drawPrefix draws from a small corner of both families, so that prefixes nest.
func drawPrefix(t *rapid.T) netip.Prefix {
	p, _ := drawAddr(t).Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
	if p.Addr().Is6() {
		p, _ = p.Addr().Prefix(p.Bits() * 2)
	}
	return p
}

func drawAddr(t *rapid.T) netip.Addr {
	nibble := rapid.SampledFrom([]byte{0x00, 0x01, 0x80, 0xff})
	b := [16]byte{nibble.Draw(t, "a"), nibble.Draw(t, "b"), nibble.Draw(t, "c"), nibble.Draw(t, "d")}
	if rapid.Bool().Draw(t, "v4") {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0x20 // never one of ::ffff:0:0/96
	b[7] = nibble.Draw(t, "h")
	return netip.AddrFrom16(b)
}

func drawNaive(t *rapid.T) (naive, *Table) {
	var n naive
	var b Builder
	for i := range rapid.IntRange(0, 12).Draw(t, "prefixes") {
		place := Place{Country: fmt.Sprintf("C%d", i%3), Lat: float64(i % 3)}
		p, known := drawPrefix(t), rapid.IntRange(0, 3).Draw(t, "known") > 0
		var err error
		if known {
			err = b.Add(p, place)
		} else {
			place, err = Place{}, b.Clear(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		n = append(n, struct {
			prefix netip.Prefix
			place  Place
			known  bool
		}{p, place, known})
	}
	return n, b.Table()
}

func TestTableAgreesWithNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, table := drawNaive(t)
		for range 20 {
			a := drawAddr(t)
			place, ok := table.Lookup(a)
			if !place.Range.Contains(a) {
				t.Fatalf("%v: range %v does not contain it", a, place.Range)
			}
			place.Range = netip.Prefix{}
			if w, wok := want.lookup(a); place != w || ok != wok {
				t.Fatalf("%v: got %v %v, want %v %v", a, place, ok, w, wok)
			}
		}
	})
}

// TestRangesAreScopes checks what makes a range usable as an ECS scope: all in
// it get the same answer, two ranges never overlap, and none could be wider.
func TestRangesAreScopes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, table := drawNaive(t)
		a, b := drawAddr(t), drawAddr(t)
		pa, oka := table.Lookup(a)
		pb, okb := table.Lookup(b)
		if pa.Range.Contains(b) && (pa != pb || oka != okb) {
			t.Fatalf("%v is in the range of %v but has %v, not %v", b, a, pb, pa)
		}
		if pa.Range.Overlaps(pb.Range) && pa.Range != pb.Range {
			t.Fatalf("ranges %v and %v overlap", pa.Range, pb.Range)
		}
		if n := pa.Range.Bits(); n > 0 && !differsWithin(table, around(a, n-1)) {
			t.Fatalf("%v: range %v could be wider", a, pa.Range)
		}
	})
}

// differsWithin reports whether p holds two different places, by looking at the
// first address of every range that the table has in it.
func differsWithin(table *Table, p netip.Prefix) bool {
	first, _ := table.find(p.Addr())
	for a := p.Addr(); p.Contains(a); {
		v, r := table.find(a)
		if v != first {
			return true
		}
		last := lastOf(r)
		if a = last.Next(); !a.IsValid() {
			break
		}
	}
	return false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func TestTableEdges(t *testing.T) {
	var b Builder
	jp := Place{Country: "JP", Lat: 35.5, Lon: 138.5}
	for _, p := range []string{"0.0.0.0/8", "255.255.255.255/32", "1.2.3.0/24", "ffff::/16"} {
		if err := b.Add(netip.MustParsePrefix(p), jp); err != nil {
			t.Fatal(err)
		}
	}
	table := b.Table()
	for _, c := range []struct {
		addr  string
		found bool
		rng   string
	}{
		{"0.0.0.0", true, "0.0.0.0/8"},
		{"0.255.255.255", true, "0.0.0.0/8"},
		{"1.2.2.255", false, "1.2.2.0/24"},
		{"1.2.3.4", true, "1.2.3.0/24"},
		{"255.255.255.255", true, "255.255.255.255/32"},
		{"255.255.255.254", false, "255.255.255.254/32"},
		{"128.0.0.0", false, "128.0.0.0/2"},
		{"::1", false, "::/1"},
		{"ffff::1", true, "ffff::/16"},
		{"fffe::", false, "fffe::/16"},
		{"fe80::1%eth0", false, "fe00::/8"},
	} {
		p, ok := table.Lookup(netip.MustParseAddr(c.addr))
		if ok != c.found || p.Range.String() != c.rng {
			t.Errorf("%s: %v %v, want %s %v", c.addr, p, ok, c.rng, c.found)
		}
	}
	if p, ok := table.Lookup(netip.Addr{}); ok || p.Range.IsValid() {
		t.Errorf("the invalid address is found: %v", p)
	}
}

func TestEmptyTableKnowsNothing(t *testing.T) {
	var b Builder
	for _, a := range []string{"1.2.3.4", "2001:db8::1"} {
		p, ok := b.Table().Lookup(netip.MustParseAddr(a))
		if ok || p.Range.Bits() != 0 {
			t.Errorf("%s: %v %v", a, p, ok)
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	var b Builder
	for _, p := range []netip.Prefix{
		{},
		netip.MustParsePrefix("::ffff:1.2.3.0/120"),
		netip.MustParsePrefix("2001:db8::/65"),
	} {
		if err := b.Add(p, Place{Country: "JP"}); err == nil {
			t.Errorf("%v is taken", p)
		}
	}
	for i := len(b.places); i < MaxPlaces; i++ {
		b.places = append(b.places, Place{})
	}
	if err := b.Add(netip.MustParsePrefix("1.0.0.0/8"), Place{Country: "ZZ"}); err == nil {
		t.Error("one place too many is taken")
	}
}
