package geodns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/steer"
)

// drawCluster draws regions with names that clash with those of the zone too.
func drawCluster(t *rapid.T) atoll.Cluster {
	c := atoll.Cluster{Self: "tokyo/1"}
	for i, name := range []atoll.Region{"www", "ns1", "tokyo", "frankfurt", "oslo"} {
		if rapid.Bool().Draw(t, "there") {
			continue
		}
		r := atoll.RegionView{Name: name, Lat: float64(10 * i), Lon: float64(20 * i)}
		r.State = rapid.SampledFrom([]string{
			atoll.StateUp, atoll.StateUp, atoll.StateDown, atoll.StateDrained, atoll.StateLeft,
		}).Draw(t, "state")
		for j := range rapid.IntRange(0, 3).Draw(t, "v4") {
			r.Addresses = append(r.Addresses, fmt.Sprintf("127.0.%d.%d", i+1, j+1))
		}
		if rapid.Bool().Draw(t, "v6") {
			r.Addresses = append(r.Addresses, fmt.Sprintf("2001:db8::%d", i+1))
		}
		c.Regions = append(c.Regions, r)
	}
	slices.SortFunc(c.Regions, func(a, b atoll.RegionView) int {
		return strings.Compare(string(a.Name), string(b.Name))
	})
	return c
}

// model is the dumb twin of the server: rcode and the set of addresses, by
// walking the regions for each query. Clients are on loopback.
func model(c atoll.Cluster, name string, typ uint16) (rcode int, addrs []string) {
	name, ok := strings.CutSuffix(strings.ToLower(name), "atoll.test.")
	if !ok || name != "" && !strings.HasSuffix(name, ".") {
		return refused, nil
	}
	var shown []atoll.RegionView
	for _, r := range c.Regions {
		if r.State != atoll.StateLeft && len(r.Addresses) > 0 {
			shown = append(shown, r)
		}
	}
	switch name {
	case "", "_explain.www.":
		return noError, nil
	case "www.":
		a := steer.NewWorld(c).Choose(steer.Client{Addr: loopback, Range: eight(loopback)}, 4)
		if a.Region == "" && slices.Contains([]uint16{typeA, typeAAAA, typeHTTPS, typeTXT}, typ) {
			return servFail, nil
		}
		return noError, ofType(typ, slices.Concat(a.V4, a.V6))
	}
	for i, r := range shown {
		if name == fmt.Sprintf("ns%d.", i+1) {
			return noError, ofType(typ, parsed(r.Addresses))
		}
	}
	for _, r := range shown {
		if name == string(r.Name)+"." {
			return noError, ofType(typ, parsed(r.Addresses))
		}
	}
	return nxDomain, nil
}

func eight(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(8)
	return p
}

func parsed(in []string) (out []netip.Addr) {
	for _, s := range in {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func ofType(typ uint16, in []netip.Addr) (out []string) {
	for _, a := range in {
		if typ == typeA && a.Is4() || typ == typeAAAA && a.Is6() {
			out = append(out, a.String())
		}
	}
	slices.Sort(out)
	return out
}

func TestServerAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(t)
		s, err := New(Config{
			Zones: []Zone{{Name: "atoll.test"}}, Cluster: func() atoll.Cluster { return c },
			Places: overLoopback{},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			name := rapid.SampledFrom([]string{
				"", "www.", "WWW.", "x.www.", "_explain.www.", "ns1.", "ns2.", "ns4.", "ns9.", "tokyo.",
				"frankfurt.", "oslo.", "_explain.", "x.", "x.tokyo.",
			}).Draw(t, "name") + rapid.SampledFrom([]string{
				"atoll.test.", "Atoll.TEST.", "test.", "",
			}).Draw(t, "zone")
			if name == "" {
				name = "."
			}
			typ := rapid.SampledFrom([]uint16{typeA, typeAAAA, typeHTTPS, typeTXT, typeSOA}).Draw(t, "type")
			checkModel(t, s, c, name, typ)
		}
	})
}

func checkModel(t *rapid.T, s *Server, c atoll.Cluster, name string, typ uint16) {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var r dns.Msg
	if err := r.Unpack(s.respond(p, loopback, maxMessage, nil)); err != nil {
		t.Fatal(err)
	}
	rcode, want := model(c, name, typ)
	var got []string
	for _, rr := range r.Answer {
		if h := rr.Header(); h.Rrtype == typeA || h.Rrtype == typeAAAA {
			got = append(got, data(rr))
		}
	}
	slices.Sort(got)
	if r.Rcode != rcode || !slices.Equal(got, want) {
		t.Fatalf("%s %s: %s, want %s %v", name, dns.TypeToString[typ], brief(&r),
			dns.RcodeToString[rcode], want)
	}
	hasSOA := len(r.Ns) == 1 && r.Ns[0].Header().Rrtype == typeSOA
	if negative := len(r.Answer) == 0 && (rcode == noError || rcode == nxDomain); negative != hasSOA {
		t.Fatalf("%s: SOA in authority is %v", brief(&r), hasSOA)
	}
	if r.Authoritative != (rcode != refused) {
		t.Fatalf("%s: aa is %v", brief(&r), r.Authoritative)
	}
}
