package geodns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// drawQuery draws a sound query as any client may send it.
func drawQuery(t *rapid.T) *dns.Msg {
	m := new(dns.Msg)
	label := rapid.StringOfN(rapid.SampledFrom([]rune("aAzZ09-_")), 1, 12, -1)
	name := strings.Join(rapid.SliceOfN(label, 0, 8).Draw(t, "name"), ".") + "."
	m.SetQuestion(name, rapid.Uint16().Draw(t, "type"))
	m.Question[0].Qclass = rapid.Uint16().Draw(t, "class")
	m.Id = rapid.Uint16().Draw(t, "id")
	m.RecursionDesired = rapid.Bool().Draw(t, "rd")
	m.CheckingDisabled = rapid.Bool().Draw(t, "cd")
	if rapid.Bool().Draw(t, "edns") {
		m.SetEdns0(rapid.Uint16().Draw(t, "size"), rapid.Bool().Draw(t, "do"))
		o := m.IsEdns0()
		if rapid.Bool().Draw(t, "cookie") {
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"})
		}
		if rapid.Bool().Draw(t, "ecs") {
			o.Option = append(o.Option, ecs(drawSubnet(t)))
		}
	}
	return m
}

func drawSubnet(t *rapid.T) netip.Prefix {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "subnet")
	a := netip.AddrFrom16([16]byte(b))
	if rapid.Bool().Draw(t, "v4") {
		a = netip.AddrFrom4([4]byte(b[:4]))
	}
	p, _ := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "source"))
	return p
}

// TestParseReadsWhatClientsSend packs queries with another library.
func TestParseReadsWhatClientsSend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawQuery(t)
		p, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		q, v := parse(p)
		if v != sound {
			t.Fatalf("%v: verdict %d", m, v)
		}
		want := m.Question[0]
		if q.id != m.Id || q.rd != m.RecursionDesired || q.cd != m.CheckingDisabled || !q.asked ||
			q.shown != want.Name || q.name != strings.ToLower(want.Name) ||
			q.typ != want.Qtype || q.class != want.Qclass {
			t.Fatalf("%v: %+v", m, q)
		}
		o := m.IsEdns0()
		if q.edns != (o != nil) || o != nil && (q.size != o.UDPSize() || q.do != o.Do()) {
			t.Fatalf("%v: %+v", m, q)
		}
		checkSubnet(t, o, q.ecs)
		for n := range p { // no part of a query is a query
			if _, v := parse(p[:n]); v == sound {
				t.Fatalf("the first %d of %d bytes are taken", n, len(p))
			}
		}
	})
}

func checkSubnet(t *rapid.T, o *dns.OPT, got *subnet) {
	var want *dns.EDNS0_SUBNET
	if o != nil {
		for _, opt := range o.Option {
			if e, ok := opt.(*dns.EDNS0_SUBNET); ok {
				want = e
			}
		}
	}
	switch {
	case (want == nil) != (got == nil):
		t.Fatalf("subnet %v, want %v", got, want)
	case want == nil:
	case got.family != want.Family || got.prefix.Bits() != int(want.SourceNetmask) ||
		string(got.prefix.Addr().AsSlice()) != string(want.Address):
		t.Fatalf("subnet %v, want %v", got, want)
	}
}

// TestNames reads names of any bytes as the twin does, and packs them again.
func TestNames(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 3)
	for wire, want := range map[string]string{
		"\x00":                                ".",
		"\x01a\x00":                           "a.",
		"\x01A\x01B\x00":                      "A.B.",
		"\x03a.b\x00":                         `a\046b.`,
		"\x04\x00\x20\\\xff\x00":              `\000\032\092\255.`,
		"\x07(a;\"@)$\x00":                    `\040a\059\034\064\041\036.`,
		long + "\x3d" + xs(61) + "\x00":       strings.Repeat(xs(63)+".", 3) + xs(61) + ".",
		long + "\x3e" + xs(62) + "\x00":       "", // 256 bytes
		long + "\x3f" + xs(63) + "\x00":       "",
		strings.Repeat("\x01a", 127) + "\x00": strings.Repeat("a.", 127),
		strings.Repeat("\x01a", 128) + "\x00": "",
		"\x40" + xs(64) + "\x00":              "",
		"\x01":                                "",
	} {
		var q query
		rest, ok := q.question([]byte(wire + "\x00\x01\x00\x01rest"))
		if ok != (want != "") || ok && (q.shown != want || string(rest) != "rest") {
			t.Errorf("%q: %q %q %v, want %q", wire, q.shown, rest, ok, want)
			continue
		}
		if !ok {
			continue
		}
		buf := make([]byte, 300)
		n, err := dns.PackDomainName(q.shown, buf, 0, nil, false)
		if err != nil || string(buf[:n]) != wire {
			t.Errorf("%q is packed as %q, %v", wire, buf[:n], err)
		}
	}
}

func xs(n int) string { return strings.Repeat("x", n) }

func TestUDPLimit(t *testing.T) {
	for _, c := range []struct {
		edns bool
		size uint16
		want int
	}{
		{false, 0, 512}, {false, 4096, 512}, {true, 0, 512}, {true, 511, 512}, {true, 513, 513},
		{true, 1232, 1232}, {true, 1233, 1232}, {true, 65535, 1232},
	} {
		if got := (&query{edns: c.edns, size: c.size}).udpLimit(); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
