package geodns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/geo"
)

// islands is the dev world as the server sees it, with knobs.
type islands struct{ now atomic.Pointer[atoll.Cluster] }

func newIslands() *islands {
	w := &islands{}
	w.set()
	return w
}

func (w *islands) cluster() atoll.Cluster { return *w.now.Load() }

// set makes all regions up but those named: "tokyo:down".
func (w *islands) set(states ...string) {
	c := atoll.Cluster{Name: "test", Self: "washington/1"}
	for _, r := range []atoll.RegionView{
		{Name: "frankfurt", Lat: 50.1, Lon: 8.7, Addresses: []string{"127.0.2.1", "2001:db8::2"}},
		{Name: "tokyo", Lat: 35.7, Lon: 139.7, Addresses: []string{"127.0.3.1"}},
		{Name: "washington", Lat: 38.9, Lon: -77, Addresses: []string{"127.0.1.1", "127.0.1.2"}},
	} {
		r.State = atoll.StateUp
		for _, s := range states {
			if name, state, _ := strings.Cut(s, ":"); name == string(r.Name) {
				r.State = state
			}
		}
		c.Regions = append(c.Regions, r)
	}
	w.now.Store(&c)
}

// places: 1/8 Japan, 2/8 Germany but 2.2/16, 3/8 America; 2a00::/16 Germany.
func places(t testing.TB) geo.Source {
	var b geo.Builder
	for p, place := range map[string]geo.Place{
		"1.0.0.0/8":  {Country: "JP", Lat: 35.5, Lon: 138.5},
		"2.0.0.0/8":  {Country: "DE", Lat: 50.6, Lon: 9.3},
		"2.2.0.0/16": {Country: "JP", Lat: 35.5, Lon: 138.5},
		"3.0.0.0/8":  {Country: "US", Lat: 39.8, Lon: -89.6},
		"2a00::/16":  {Country: "DE", Lat: 50.6, Lon: 9.3},
	} {
		if err := b.Add(netip.MustParsePrefix(p), place); err != nil {
			t.Fatal(err)
		}
	}
	o, err := geo.NewOverlay(b.Table(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func testConfig(t testing.TB, w *islands) Config {
	return Config{
		Zones: []Zone{
			{Name: "atoll.test", CAA: []CAA{{0, "issue", "ca.example"}}},
			{Name: "deep.atoll.test.", Geo: []string{"@", "a.b"}},
		},
		Cluster:   w.cluster,
		Places:    places(t),
		HTTPSPort: 8443,
		Limits:    Limits{Answers: 3},
		Metrics:   prometheus.NewRegistry(),
	}
}

func newServer(t testing.TB, w *islands) *Server {
	t.Helper()
	s, err := New(testConfig(t, w))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a server on loopback and returns its address, UDP and TCP.
func start(t *testing.T, s *Server) string {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for try := 0; ; try++ { // a port that is free for both
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			break
		}
		tcp.Close()
		if try == 20 {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, []net.PacketConn{udp}, []net.Listener{tcp}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tcp.Addr().String()
}

// ask sends "NAME TYPE [SUBNET]" and returns the answer.
func ask(t *testing.T, network, addr, line string) *dns.Msg {
	t.Helper()
	m := parseLine(line)
	c := dns.Client{Net: network}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s by %s: %v", line, network, err)
	}
	return r
}

func parseLine(line string) *dns.Msg {
	f := strings.Fields(line)
	m := new(dns.Msg)
	m.SetQuestion(f[0], dns.StringToType[f[1]])
	if len(f) == 3 {
		m.SetEdns0(4096, false)
		m.IsEdns0().Option = []dns.EDNS0{ecs(netip.MustParsePrefix(f[2]))}
	}
	return m
}

func ecs(p netip.Prefix) *dns.EDNS0_SUBNET {
	e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits())}
	if p.Addr().Is6() {
		e.Family = 2
	}
	e.Address = p.Addr().AsSlice()
	return e
}

// brief shows rcode, flags, data of the sections and scope in one line.
func brief(m *dns.Msg) string {
	out := []string{dns.RcodeToString[m.Rcode]}
	if m.Authoritative {
		out = append(out, "aa")
	}
	if m.Truncated {
		out = append(out, "tc")
	}
	for _, rr := range m.Answer {
		out = append(out, data(rr))
	}
	for _, rr := range m.Ns {
		out = append(out, "| "+rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
	}
	if o := m.IsEdns0(); o != nil {
		for _, opt := range o.Option {
			out = append(out, fmt.Sprintf("/%d", opt.(*dns.EDNS0_SUBNET).SourceScope))
		}
	}
	return strings.Join(out, " ")
}

func data(rr dns.RR) string {
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// sorted sorts the words behind the rcode: addresses of one region have no
// order that a test should know.
func sorted(s string) string {
	f := strings.Fields(s)
	if len(f) > 1 {
		slices.Sort(f[1:])
	}
	return strings.Join(f, " ")
}

// queries is the table of what the server says, by UDP and TCP alike. Clients
// on loopback have no place: they are near washington, which they ask.
const queries = `
www.atoll.test. A 1.2.3.0/24 => NOERROR aa 127.0.3.1 /8
www.atoll.test. A 2.1.0.0/24 => NOERROR aa 127.0.2.1 /15
www.atoll.test. A 2.2.0.0/24 => NOERROR aa 127.0.3.1 /16
www.atoll.test. A 2.128.0.0/24 => NOERROR aa 127.0.2.1 /9
www.atoll.test. A 3.0.0.0/24 => NOERROR aa 127.0.1.1 127.0.1.2 /8
www.atoll.test. A => NOERROR aa 127.0.1.1 127.0.1.2
www.atoll.test. A 10.0.0.0/24 => NOERROR aa 127.0.1.1 127.0.1.2 /8
www.atoll.test. A 1.0.0.0/0 => NOERROR aa 127.0.1.1 127.0.1.2 /0
www.atoll.test. A 1.2.3.4/32 => NOERROR aa 127.0.3.1 /8
www.atoll.test. A 2a00::/48 => NOERROR aa 127.0.2.1 /16
www.atoll.test. AAAA 2a00::/48 => NOERROR aa 2001:db8::2 /16
www.atoll.test. AAAA 2.1.0.0/24 => NOERROR aa 2001:db8::2 /15
www.atoll.test. AAAA 1.2.3.0/24 => NOERROR aa | atoll.test. SOA /8
www.atoll.test. A 2002:102:300::/40 => NOERROR aa 127.0.3.1 /24
www.atoll.test. A ::ffff:2.2.0.0/112 => NOERROR aa 127.0.3.1 /112
www.atoll.test. HTTPS 2.1.0.0/24 => NOERROR aa 1 . alpn="h2" port="8443" ipv4hint="127.0.2.1" ipv6hint="2001:db8::2" /15
www.atoll.test. HTTPS 1.2.3.0/24 => NOERROR aa 1 . alpn="h2" port="8443" ipv4hint="127.0.3.1" /8
www.atoll.test. MX 1.2.3.0/24 => NOERROR aa | atoll.test. SOA /0
www.atoll.test. ANY => NOERROR aa "RFC8482" ""
WwW.aToLL.tEst. A 1.2.3.0/24 => NOERROR aa 127.0.3.1 /8
tokyo.atoll.test. A => NOERROR aa 127.0.3.1
tokyo.atoll.test. A 2.1.0.0/24 => NOERROR aa 127.0.3.1 /0
frankfurt.atoll.test. AAAA => NOERROR aa 2001:db8::2
tokyo.atoll.test. AAAA => NOERROR aa | atoll.test. SOA
tokyo.atoll.test. TXT => NOERROR aa | atoll.test. SOA
ns1.atoll.test. A => NOERROR aa 127.0.2.1
ns3.atoll.test. A => NOERROR aa 127.0.1.1 127.0.1.2
ns4.atoll.test. A => NXDOMAIN aa | atoll.test. SOA
atoll.test. NS => NOERROR aa ns1.atoll.test. ns2.atoll.test. ns3.atoll.test.
atoll.test. SOA => NOERROR aa ns1.atoll.test. hostmaster.atoll.test. 1 7200 3600 1209600 30
atoll.test. CAA => NOERROR aa 0 issue "ca.example"
atoll.test. A => NOERROR aa | atoll.test. SOA
atoll.test. ANY => NOERROR aa "RFC8482" ""
nothing.atoll.test. A => NXDOMAIN aa | atoll.test. SOA
nothing.atoll.test. ANY => NXDOMAIN aa | atoll.test. SOA
x.www.atoll.test. A => NXDOMAIN aa | atoll.test. SOA
_explain.www.atoll.test. A => NOERROR aa | atoll.test. SOA
_explain.tokyo.atoll.test. TXT => NXDOMAIN aa | atoll.test. SOA
we\.ird\000.atoll.test. A => NXDOMAIN aa | atoll.test. SOA
deep.atoll.test. A 1.2.3.0/24 => NOERROR aa 127.0.3.1 /8
deep.atoll.test. NS => NOERROR aa ns1.deep.atoll.test. ns2.deep.atoll.test. ns3.deep.atoll.test.
a.b.deep.atoll.test. A 1.2.3.0/24 => NOERROR aa 127.0.3.1 /8
b.deep.atoll.test. A => NOERROR aa | deep.atoll.test. SOA
b.deep.atoll.test. ANY => NOERROR aa | deep.atoll.test. SOA
www.deep.atoll.test. A => NXDOMAIN aa | deep.atoll.test. SOA
example.org. A => REFUSED
test. SOA => REFUSED
. NS => REFUSED
notatoll.test. A => REFUSED
atoll.test. AXFR => REFUSED
atoll.test. IXFR => REFUSED
`

func TestQueries(t *testing.T) {
	addr := start(t, newServer(t, newIslands()))
	for line := range strings.Lines(strings.TrimSpace(queries)) {
		query, want, _ := strings.Cut(strings.TrimSpace(line), " => ")
		for _, network := range []string{"udp", "tcp"} {
			m := ask(t, network, addr, query)
			if got := brief(m); sorted(got) != sorted(want) {
				t.Errorf("%s by %s:\n got %s\nwant %s", query, network, got, want)
			}
			if name := strings.Fields(query)[0]; m.Question[0].Name != name {
				t.Errorf("asked for %s, the question came back as %s", name, m.Question[0].Name)
			}
		}
	}
}

func TestOwnerNameAndTTL(t *testing.T) {
	addr := start(t, newServer(t, newIslands()))
	for line, ttl := range map[string]uint32{
		"wWw.Atoll.Test. A":            30,
		"wWw.Atoll.Test. HTTPS":        30,
		"wWw.Atoll.Test. TXT":          30,
		"Tokyo.Atoll.Test. A":          30,
		"Atoll.Test. SOA":              30,
		"Atoll.Test. NS":               3600,
		"NS1.Atoll.Test. A":            3600,
		"_Explain.wWw.Atoll.tesT. TXT": 0,
	} {
		m := ask(t, "udp", addr, line)
		if len(m.Answer) == 0 {
			t.Fatalf("%s: %v", line, m)
		}
		h := m.Answer[0].Header()
		if h.Name != strings.Fields(line)[0] || h.Ttl != ttl {
			t.Errorf("%s: owner %s, TTL %d, want %d", line, h.Name, h.Ttl, ttl)
		}
	}
}

func TestGlue(t *testing.T) {
	addr := start(t, newServer(t, newIslands()))
	m := ask(t, "udp", addr, "atoll.test. NS")
	var got []string
	for _, rr := range m.Extra {
		got = append(got, rr.Header().Name+" "+data(rr))
	}
	want := []string{
		"ns1.atoll.test. 127.0.2.1", "ns1.atoll.test. 2001:db8::2", "ns2.atoll.test. 127.0.3.1",
		"ns3.atoll.test. 127.0.1.1", "ns3.atoll.test. 127.0.1.2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestNextAnswerFollowsState flips states and asks at once.
func TestNextAnswerFollowsState(t *testing.T) {
	w := newIslands()
	s := newServer(t, w)
	addr := start(t, s)
	for _, step := range []struct{ states, want string }{
		{"", "127.0.3.1"},
		{"tokyo:down", "127.0.2.1"},
		{"", "127.0.3.1"},
		{"tokyo:drained", "127.0.2.1"},
		{"tokyo:drained frankfurt:down washington:down", "127.0.3.1"},
		{"tokyo:down frankfurt:down washington:down", "127.0.3.1 127.0.2.1 127.0.1.1"},
		{"tokyo:left frankfurt:down", "127.0.1.1 127.0.1.2"},
	} {
		w.set(strings.Fields(step.states)...)
		s.Refresh()
		want := "NOERROR aa " + step.want + " /8"
		got := brief(ask(t, "udp", addr, "www.atoll.test. A 1.2.3.0/24"))
		if step.states == "tokyo:down frankfurt:down washington:down" {
			got = strings.Replace(got, "127.0.1.2", "127.0.1.1", 1) // either of two
		}
		if sorted(got) != sorted(want) {
			t.Errorf("%q: got %s, want %s", step.states, got, want)
		}
	}
}

// TestRunFollowsClusterByItself waits for the answer to change, without Refresh.
func TestRunFollowsClusterByItself(t *testing.T) {
	w := newIslands()
	addr := start(t, newServer(t, w))
	w.set("tokyo:down")
	for t.Context().Err() == nil {
		if strings.Contains(brief(ask(t, "udp", addr, "www.atoll.test. A 1.2.3.0/24")), "127.0.2.1") {
			return
		}
	}
}

func TestNoRegionIsServfail(t *testing.T) {
	s, err := New(Config{
		Zones:   []Zone{{Name: "atoll.test"}},
		Cluster: func() atoll.Cluster { return atoll.Cluster{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, s)
	for line, want := range map[string]string{
		"www.atoll.test. A":   "SERVFAIL aa",
		"www.atoll.test. MX":  "NOERROR aa | atoll.test. SOA",
		"ns1.atoll.test. A":   "NXDOMAIN aa | atoll.test. SOA",
		"atoll.test. SOA":     "NOERROR aa atoll.test. hostmaster.atoll.test. 1 7200 3600 1209600 30",
		"tokyo.atoll.test. A": "NXDOMAIN aa | atoll.test. SOA",
	} {
		if got := brief(ask(t, "udp", addr, line)); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no cluster":     func(c *Config) { c.Cluster = nil },
		"no zone name":   func(c *Config) { c.Zones[0].Name = "" },
		"the root":       func(c *Config) { c.Zones[0].Name = "." },
		"bad zone":       func(c *Config) { c.Zones[0].Name = "a..b" },
		"strange zone":   func(c *Config) { c.Zones[0].Name = "a b.test" },
		"long label":     func(c *Config) { c.Zones[0].Name = strings.Repeat("a", 64) + ".test" },
		"long zone":      func(c *Config) { c.Zones[0].Name = strings.Repeat("a.", 127) + "b" },
		"zone twice":     func(c *Config) { c.Zones[1].Name = "ATOLL.test." },
		"bad geo name":   func(c *Config) { c.Zones[0].Geo = []string{"a..b"} },
		"long geo name":  func(c *Config) { c.Zones[0].Geo = []string{strings.Repeat("a.", 117) + "b"} },
		"long TTL":       func(c *Config) { c.Zones[0].TTL = MaxTTL + 1 },
		"short TTL":      func(c *Config) { c.Zones[0].TTL = 1 },
		"bad hostmaster": func(c *Config) { c.Zones[0].Hostmaster = "me@example.org" },
		"bad CAA":        func(c *Config) { c.Zones[0].CAA = []CAA{{0, "is sue", "x"}} },
		"long CAA":       func(c *Config) { c.Zones[0].CAA[0].Value = strings.Repeat("x", 256) },
		"empty ALPN":     func(c *Config) { c.ALPN = []string{""} },
		"many zones":     func(c *Config) { c.Zones = make([]Zone, maxZones+1) },
	} {
		c := testConfig(t, newIslands())
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	c := testConfig(t, newIslands())
	if _, err := New(c); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c); err == nil {
		t.Error("a second server registers the same metrics")
	}
}

func TestLargeAnswerIsTruncatedAsAWhole(t *testing.T) {
	many := func() atoll.Cluster {
		c := atoll.Cluster{Self: "big/1", Regions: []atoll.RegionView{{Name: "big", State: atoll.StateUp}}}
		for i := range 120 {
			c.Regions[0].Addresses = append(c.Regions[0].Addresses, fmt.Sprintf("127.1.0.%d", i+1))
		}
		return c
	}
	s, err := New(Config{Zones: []Zone{{Name: "atoll.test"}}, Cluster: many})
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, s)
	for _, size := range []uint16{0, 512, 1232, 4096, 65535} {
		m := parseLine("big.atoll.test. A")
		if size > 0 {
			m.SetEdns0(size, true)
		}
		r, _, err := (&dns.Client{}).Exchange(m, addr)
		if err != nil || !r.Truncated || len(r.Answer)+len(r.Ns) > 0 {
			t.Errorf("size %d: %v %v", size, r, err)
		}
	}
	if m := ask(t, "tcp", addr, "big.atoll.test. A"); m.Truncated || len(m.Answer) != 120 {
		t.Errorf("by TCP: %d records", len(m.Answer))
	}
	// Glue goes first, without a word.
	m := ask(t, "udp", addr, "atoll.test. NS")
	if m.Truncated || len(m.Answer) != 1 || len(m.Extra) != 0 {
		t.Errorf("NS: %v", m)
	}
}
