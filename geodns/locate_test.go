package geodns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/geodns/steer"
)

// overLoopback is a Source that knows nobody, in ranges of eight bits.
type overLoopback struct{}

func (overLoopback) Lookup(a netip.Addr) (geo.Place, bool) {
	return geo.Place{Range: eight(a)}, false
}

func TestLocate(t *testing.T) {
	s := newServer(t, newIslands())
	for _, c := range []struct {
		ecs, resolver         string
		source, country, addr string
		scope                 int
	}{
		{"", "1.2.3.4", fromResolver, "JP", "1.2.3.4", 0},
		{"", "127.0.0.1", fromResolver, "", "127.0.0.1", 0},
		{"2.5.0.0/16", "1.2.3.4", fromECS, "DE", "2.5.0.0", 14},
		{"2.0.0.0/4", "1.2.3.4", fromECS, "", "", 0}, // masked: 0.0.0.0
		{"0.0.0.0/0", "1.2.3.4", fromResolver, "JP", "1.2.3.4", 0},
		{"10.1.0.0/16", "1.2.3.4", fromResolver, "JP", "1.2.3.4", 8},
		{"10.1.0.0/16", "192.168.1.1", fromResolver, "", "192.168.1.1", 8},
		{"2a00:1::/32", "1.2.3.4", fromECS, "DE", "2a00:1::", 16},
		{"fd00::/32", "1.2.3.4", fromResolver, "JP", "1.2.3.4", 1},
	} {
		var e *subnet
		if c.ecs != "" {
			e = &subnet{family: 1, prefix: netip.MustParsePrefix(c.ecs).Masked()}
		}
		if c.country == "" && c.addr == "" { // 0.0.0.0 is nowhere: the resolver's
			c.source, c.country, c.addr, c.scope = fromResolver, "JP", "1.2.3.4", 8
		}
		l := s.locate(e, netip.MustParseAddr(c.resolver))
		got := l.scope(s.now.Load().world.Choose(l.client, 4))
		if l.source != c.source || l.place.Country != c.country || got != c.scope ||
			l.client.Addr.String() != c.addr || l.client.Known != (c.country != "") {
			t.Errorf("%s by %s: %+v, scope %d", c.ecs, c.resolver, l, got)
		}
	}
}

// TestLocateWithoutRange takes a Source at its worst.
func TestLocateWithoutRange(t *testing.T) {
	s := newServer(t, newIslands())
	s.cfg.Places = nowhere{}
	l := s.locate(&subnet{family: 1, prefix: netip.MustParsePrefix("1.2.3.0/24")}, loopback)
	if got := l.scope(steer.Answer{}); got != 32 || l.client.Range.Bits() != 32 {
		t.Errorf("%+v, scope %d", l, got)
	}
}

type nowhere struct{}

func (nowhere) Lookup(netip.Addr) (geo.Place, bool) { return geo.Place{}, false }

func TestZoneOfAName(t *testing.T) {
	v := newServer(t, newIslands()).now.Load()
	for name, want := range map[string]string{
		"atoll.test.": "atoll.test.", "www.atoll.test.": "atoll.test.", "a.b.c.atoll.test.": "atoll.test.",
		"deep.atoll.test.": "deep.atoll.test.", "x.deep.atoll.test.": "deep.atoll.test.",
		"sodeep.atoll.test.": "atoll.test.", "test.": "", ".": "", "": "", "xatoll.test.": "",
		`a\046atoll.test.`: "",
	} {
		got := ""
		if z := v.zone(name); z != nil {
			got = z.Name
		}
		if got != want {
			t.Errorf("%q is in %q, want %q", name, got, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"Example.ORG": "example.org.", "a.": "a.", "_x-1.b": "_x-1.b.",
		"": "", ".": "", "a..b": "", ".a": "", "a b": "", "ü": "", "a\x00": "", "*.a": "",
		strings.Repeat("a", 63): strings.Repeat("a", 63) + ".", strings.Repeat("a", 64): "",
		strings.Repeat("a.", 126) + "a": strings.Repeat("a.", 126) + "a.",
		strings.Repeat("a.", 127) + "a": "",
	} {
		if got, ok := canonical(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

// TestZoneDefaults checks what an operator need not say.
func TestZoneDefaults(t *testing.T) {
	zones, err := checkZones([]Zone{{Name: "Example.ORG"}, {Name: "b.test", Geo: []string{"@", "Shop.EU."}}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := zones[0], zones[1]
	if a.Name != "example.org." || len(a.Geo) != 1 || a.Geo[0] != "www" || a.TTL != MaxTTL ||
		a.Hostmaster != "hostmaster.example.org." {
		t.Errorf("%+v", a)
	}
	if b.Geo[0] != "@" || b.Geo[1] != "shop.eu" {
		t.Errorf("%+v", b)
	}
}

func TestLines(t *testing.T) {
	e := Explanation{
		Client: "1.2.3.0/24", Source: fromECS, Range: "1.0.0.0/8", Place: &Place{"JP", 35.5, 138.5},
		List: []steer.Candidate{{
			Region: "tokyo", KM: 111, State: "up", Why: "chosen: the nearest healthy region",
			Votes: []steer.Vote{{Voter: "a", Up: true}, {Voter: "b"}},
		}},
		Answer: []string{"127.0.3.1"}, MapVersion: "0011", TTL: 30,
	}
	want := []string{
		"client 1.2.3.0/24 (ecs), in range 1.0.0.0/8, is in JP near 35.5,138.5",
		"1. tokyo: 111 km, up, 1 of 2 votes up: chosen: the nearest healthy region",
		"answer [127.0.3.1] for 30 s, map 0011",
	}
	if got := e.Lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
	e.Place = nil
	if got := e.Lines()[0]; !strings.HasSuffix(got, "is at a place nobody knows: near the region asked") {
		t.Errorf("got %q", got)
	}
}
