package geodns

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// packets are raw queries, hex with spaces, and what comes back. "q" stands for
// the question www.atoll.test. A IN; "-" means no answer.
const packets = `
                                            => - short
0000                                        => - short
00010000 0001 0000 0000 00                  => - short
00018000 0001 0000 0000 0000 q              => - response
00018580 0001 0001 0000 0000 q              => - response
00010000 0001 0000 0000 0000                => - garbage
00010000 0001 0000 0000 0000 03777777       => - garbage
00010000 0001 0000 0000 0000 c00c 0001 0001 => - garbage
00010000 0001 0000 0000 0000 40 00 0001 0001 => - garbage
00010000 0001 0000 0000 0000 00 0001 00     => - garbage
00010000 0000 0000 0000 0000                => FORMERR
00010000 0002 0000 0000 0000 q q            => FORMERR
00010000 0001 0001 0000 0000 q              => FORMERR
00010000 0001 0000 0001 0000 q              => FORMERR
00010000 0001 0000 0000 0000 q 00           => FORMERR
00010000 0001 0000 0000 0001 q              => FORMERR
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0001 => FORMERR
00010000 0001 0000 0000 ffff q              => FORMERR
00010000 0001 0000 0000 0000 q              => NOERROR
00010100 0001 0000 0000 0000 q              => NOERROR rd
00010010 0001 0000 0000 0000 q              => NOERROR cd
00012000 0001 0000 0000 0000 q              => NOTIMP
00012800 0001 0000 0000 0000 q              => NOTIMP
00012800 0000 0000 0000 0000                => NOTIMP
00011000 0001 0000 0000 0000 q              => NOTIMP
00012000 0001 0000 0000 0000 c00c 0006 0001 => NOTIMP
00012000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0000 => NOTIMP opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0000 => NOERROR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00008000 0000 => NOERROR opt do
00010000 0001 0000 0000 0001 q 00 0029 0000 00000000 0000 => NOERROR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00010000 0000 => BADVERS opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00ff8000 0003 000800 => BADVERS opt do
00010000 0001 0000 0000 0001 q c00c 0029 04d0 00000000 0000 => FORMERR
00010000 0001 0000 0000 0002 q 00 0029 04d0 00000000 0000 00 0029 04d0 00000000 0000 => FORMERR opt
00010000 0001 0000 0000 0002 q c00c 0001 0001 00000000 0004 7f000001 00 0029 04d0 00000000 0000 => NOERROR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0002 0008 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0004 00080001 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0004 000a0000 => NOERROR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0004 00080000 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0008 00080004 00000000 => NOERROR opt ecs
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0008 00080004 00010000 => NOERROR opt ecs
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0009 00080005 00000800 01 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00011800 010203 => NOERROR opt ecs
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00031800 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00011808 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00011700 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00011000 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00011000 010200 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000d 00080009 00012000 0102030400 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0009 00080005 00000000 00 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000b 00080007 00012000 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 000d 00080009 00012100 0102030400 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0016 00080007 00011800 010203 00080007 00011800 010203 => FORMERR opt
00010000 0001 0000 0000 0001 q 00 0029 04d0 00000000 0019 00080015 00028100 20010db800000000000000000000000000 => FORMERR opt
`

func TestPackets(t *testing.T) {
	question := hex.EncodeToString([]byte("\x03www\x05atoll\x04test\x00\x00\x01\x00\x01"))
	for line := range strings.Lines(strings.Trim(packets, "\n")) {
		in, want, _ := strings.Cut(strings.TrimSpace(line), "=> ")
		raw := strings.NewReplacer("q", question, " ", "").Replace(in)
		p, err := hex.DecodeString(raw)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		s := newServer(t, newIslands())
		got := outcome(t, s.respond(p, loopback, 0, nil))
		if reason, drop := strings.CutPrefix(want, "- "); drop {
			want = "-"
			v := map[string]verdict{
				"short": dropShort, "response": dropResponse, "garbage": dropGarbage,
			}[reason]
			if n := value(s.metrics.dropped[v]); n != 1 {
				t.Errorf("%s: counted %v as %s", in, n, reason)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// outcome words the rcode and flags of an answer.
func outcome(t *testing.T, b []byte) string {
	if b == nil {
		return "-"
	}
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	code := m.Rcode
	if m.Id != 1 || !m.Response || m.RecursionAvailable {
		t.Errorf("header %v", m.MsgHdr)
	}
	out := ""
	if o := m.IsEdns0(); o != nil {
		code |= int(o.ExtendedRcode())
		out = " opt"
		if o.Do() {
			out += " do"
		}
		if len(o.Option) > 0 {
			out += " ecs"
		}
	}
	if m.RecursionDesired {
		out += " rd"
	}
	if m.CheckingDisabled {
		out += " cd"
	}
	if code == 16 {
		return "BADVERS" + out
	}
	return dns.RcodeToString[code] + out
}

func TestOtherClassesAreRefused(t *testing.T) {
	s := newServer(t, newIslands())
	for _, name := range []string{"version.bind.", "hostname.bind.", "id.server.", "www.atoll.test."} {
		for _, class := range []uint16{dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassANY, dns.ClassNONE} {
			m := new(dns.Msg)
			m.SetQuestion(name, dns.TypeTXT)
			m.Question[0].Qclass = class
			m.Id = 1
			m.RecursionDesired = false
			p, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(t, s.respond(p, loopback, 0, nil)); got != "REFUSED" {
				t.Errorf("%s class %d: %s", name, class, got)
			}
		}
	}
}

func TestExplainIsForLoopbackOnly(t *testing.T) {
	s := newServer(t, newIslands())
	p, err := parseLine("_explain.www.atoll.test. TXT 1.2.3.0/24").Pack()
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]int{
		"127.0.0.1": dns.RcodeSuccess, "127.0.3.1": dns.RcodeSuccess, "::1": dns.RcodeSuccess,
		"::ffff:127.0.0.1": dns.RcodeSuccess,
		"1.2.3.4":          dns.RcodeNameError, "10.0.0.1": dns.RcodeNameError,
		"fe80::1": dns.RcodeNameError,
	} {
		var m dns.Msg
		if err := m.Unpack(s.respond(p, netip.MustParseAddr(from), 0, nil)); err != nil {
			t.Fatal(err)
		}
		if m.Rcode != want || (len(m.Answer) > 0) != (want == dns.RcodeSuccess) {
			t.Errorf("from %s: %s", from, brief(&m))
		}
	}
}

// TestScopeHoldsForAll draws two clients: if the second is in the scope of the
// first one's answer, it gets the same one, for every type.
func TestScopeHoldsForAll(t *testing.T) {
	s := newServer(t, newIslands())
	s.cfg.Limits.Answers = 1 // washington has two: its clients are spread
	for _, typ := range []string{"A", "AAAA", "HTTPS", "TXT"} {
		rapid.Check(t, func(t *rapid.T) {
			draw := func(name string) netip.Addr {
				b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 3, 10, 127, 255}), 4, 4)
				return netip.AddrFrom4([4]byte(b.Draw(t, name)))
			}
			a, b := draw("a"), draw("b")
			ma, mb := askRaw(t, s, typ, a), askRaw(t, s, typ, b)
			sa, _ := a.Prefix(scopeOf(ma))
			sb, _ := b.Prefix(scopeOf(mb))
			if sa.Overlaps(sb) && (sa != sb || brief(ma) != brief(mb)) {
				t.Fatalf("%v %s and %v %s", sa, brief(ma), sb, brief(mb))
			}
		})
	}
}

func askRaw(t *rapid.T, s *Server, typ string, client netip.Addr) *dns.Msg {
	p, err := parseLine("www.atoll.test. " + typ + " " + client.String() + "/32").Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(s.respond(p, loopback, 0, nil)); err != nil {
		t.Fatal(err)
	}
	return m
}

func scopeOf(m *dns.Msg) int {
	return int(m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET).SourceScope)
}

// TestSubnetComesBack checks the echo: family, source and address as asked.
func TestSubnetComesBack(t *testing.T) {
	s := newServer(t, newIslands())
	for _, p := range []string{"1.2.3.0/24", "1.2.3.4/32", "1.0.0.0/7", "0.0.0.0/0", "2a00::/56", "::/0"} {
		want := ecs(netip.MustParsePrefix(p).Masked())
		q, err := parseLine("www.atoll.test. A " + netip.MustParsePrefix(p).Masked().String()).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(s.respond(q, loopback, 0, nil)); err != nil {
			t.Fatal(err)
		}
		got := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
		if got.Family != want.Family || got.SourceNetmask != want.SourceNetmask ||
			!got.Address.Equal(want.Address) {
			t.Errorf("%s: %v", p, got)
		}
	}
}

// FuzzRespond throws packets at the server: it never panics, never answers an
// answer, and what it says is sound DNS for the question asked, not too long.
func FuzzRespond(f *testing.F) {
	for _, line := range []string{
		"www.atoll.test. A", "www.atoll.test. HTTPS 2.1.0.0/24", "atoll.test. NS", "x.atoll.test. ANY",
		"_explain.www.atoll.test. TXT 2a00::/48", "example.org. A", ". SOA 1.2.3.0/24",
	} {
		p, err := parseLine(line).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	s := newServer(f, newIslands())
	f.Fuzz(func(t *testing.T, p []byte) {
		b := s.respond(p, loopback, 0, make([]byte, 0, maxQuery))
		if b == nil {
			return
		}
		if len(p) < headerLen || p[2]&0x80 != 0 {
			t.Fatalf("%x was answered", p)
		}
		var m dns.Msg
		if err := m.Unpack(b); err != nil {
			t.Fatalf("answer %x: %v", b, err)
		}
		if !m.Response || m.Id != binary.BigEndian.Uint16(p) || len(b) > maxUDP {
			t.Fatalf("answer of %d bytes: %v", len(b), &m)
		}
		checkAgainstTwin(t, p, &m)
	})
}

// checkAgainstTwin compares what our parser made of a packet with what
// miekg/dns does: we may refuse more, but never understand another question.
func checkAgainstTwin(t *testing.T, p []byte, answer *dns.Msg) {
	q, v := parse(p)
	if v != sound {
		return
	}
	var m dns.Msg
	if err := m.Unpack(p); err != nil {
		// It looks into records and options that we pass over.
		return
	}
	if len(m.Question) != 1 || len(answer.Question) != 1 || m.Question[0] != answer.Question[0] {
		t.Fatalf("asked %v, answered %v", m.Question, answer.Question)
	}
	if (m.IsEdns0() != nil) != q.edns {
		t.Fatalf("EDNS: %v, twin %v", q.edns, m.IsEdns0())
	}
	if o := m.IsEdns0(); o != nil && (o.Version() != q.version || o.Do() != q.do) {
		t.Fatalf("OPT %v, ours %+v", o, q)
	}
}

func BenchmarkRespond(b *testing.B) {
	s := newServer(b, newIslands())
	p, err := parseLine("www.atoll.test. A 1.2.3.0/24").Pack()
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, maxQuery)
	b.ReportAllocs()
	for b.Loop() {
		s.respond(p, loopback, 0, out)
	}
}
