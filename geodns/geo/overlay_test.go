package geo

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

var (
	japan   = Place{Country: "JP", Lat: 35.5, Lon: 138.5}
	germany = Place{Country: "DE", Lat: 50.6, Lon: 9.3}
)

// world is a tiny base: 1/8 is Japan, 2a00::/12 Germany, and so are some
// addresses that are nowhere.
func world(t interface{ Fatal(...any) }) *Table {
	var b Builder
	for p, place := range map[string]Place{
		"1.0.0.0/8": japan, "192.0.0.0/8": japan, "10.0.0.0/8": japan,
		"2a00::/12": germany, "2001::/16": germany, "2002::/16": germany, "fc00::/7": germany,
	} {
		if err := b.Add(netip.MustParsePrefix(p), place); err != nil {
			t.Fatal(err)
		}
	}
	return b.Table()
}

func TestOverlay(t *testing.T) {
	o, err := NewOverlay(world(t), map[netip.Prefix]Place{
		netip.MustParsePrefix("1.2.3.0/24"):    germany,
		netip.MustParsePrefix("10.1.0.0/16"):   japan,
		netip.MustParsePrefix("2a00:1::/32"):   japan,
		netip.MustParsePrefix("2a00:1:1::/48"): germany,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ addr, country, rng string }{
		{"1.128.0.1", "JP", "1.128.0.0/9"}, // from the base, bounded by the net
		{"1.2.3.4", "DE", "1.2.3.0/24"},
		{"1.2.2.4", "JP", "1.2.2.0/24"},
		{"10.1.2.3", "JP", "10.1.0.0/16"}, // a net makes a private address known
		{"10.2.2.3", "", "10.2.0.0/15"},
		{"127.0.0.1", "", "127.0.0.0/8"},
		{"192.0.2.1", "", "192.0.2.0/24"},
		{"192.0.3.1", "JP", "192.0.3.0/24"},
		{"192.1.0.1", "JP", "192.1.0.0/16"},
		{"239.1.2.3", "", "224.0.0.0/3"},
		{"2a00:2::1", "DE", "2a00:2::/31"},
		{"2a00:1::1", "JP", "2a00:1::/48"},
		{"2a00:1:1::1", "DE", "2a00:1:1::/48"},
		{"fd00::1", "", "8000::/1"},
		{"::1", "", "::/3"},
		{"2001:db8::1", "", "2001:db8::/32"},
		// IPv4 inside IPv6
		{"::ffff:1.2.3.4", "DE", "::ffff:1.2.3.0/120"},
		{"64:ff9b::1.2.3.4", "DE", "64:ff9b::102:300/120"},
		{"64:ff9b::10.9.0.1", "", "64:ff9b::a08:0/109"},
		{"2002:102:304::1", "DE", "2002:102:300::/40"},
		{"2001:0:1111:2222:3333:4444:fefd:fcfb", "DE", "2001:0:1111:2222:3333:4444:fefd:fc00/120"},
		{"::ffff:1.2.3.4%eth0", "DE", "::ffff:1.2.3.0/120"},
	} {
		a := netip.MustParseAddr(c.addr)
		p, ok := o.Lookup(a)
		if p.Country != c.country || ok != (c.country != "") || p.Range.String() != c.rng {
			t.Errorf("%s: %v %v, want %s %s", c.addr, p, ok, c.country, c.rng)
		}
		if !p.Range.Contains(a.WithZone("")) {
			t.Errorf("%s is not in its range %v", c.addr, p.Range)
		}
	}
	if p, ok := o.Lookup(netip.Addr{}); ok || p.Range.IsValid() {
		t.Errorf("the invalid address: %v %v", p, ok)
	}
}

func TestOverlayRangesAreScopes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, base := drawNaive(t)
		nets := map[netip.Prefix]Place{}
		for range rapid.IntRange(0, 4).Draw(t, "nets") {
			nets[drawPrefix(t)] = germany
		}
		o, err := NewOverlay(base, nets)
		if err != nil {
			t.Fatal(err)
		}
		a, b := drawAddr(t), drawAddr(t)
		pa, oka := o.Lookup(a)
		pb, okb := o.Lookup(b)
		if pa.Range.Contains(b) && (pa != pb || oka != okb) {
			t.Fatalf("%v is in the range of %v but has %v, not %v", b, a, pb, pa)
		}
		if pa.Range.Overlaps(pb.Range) && pa.Range != pb.Range {
			t.Fatalf("ranges %v and %v overlap", pa.Range, pb.Range)
		}
	})
}

func TestOverlayRefuses(t *testing.T) {
	for prefix, place := range map[string]Place{
		"1.0.0.0/8":          {},
		"2.0.0.0/8":          {Lat: 91},
		"3.0.0.0/8":          {Lon: -181},
		"2a00::/65":          japan,
		"::ffff:1.0.0.0/104": japan,
	} {
		nets := map[netip.Prefix]Place{netip.MustParsePrefix(prefix): place}
		if _, err := NewOverlay(world(t), nets); err == nil {
			t.Errorf("%s -> %v is taken", prefix, place)
		}
	}
}
