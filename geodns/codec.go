package geodns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// This is the one file that knows miekg/dns: it packs answers.

// reply is the answer to one query.
type reply struct {
	rcode  int
	aa     bool
	answer []record
	soa    *record // in authority, for what is not there
	extra  []record
	scope  int          // of the client subnet option, if the query had one
	region *regionCount // whom the answer is of, for the metrics; nil: nobody
}

// record is one resource record; class IN, data is one of
//
//	netip.Addr   A or AAAA
//	host         NS
//	text         TXT
//	soa, CAA, service (HTTPS), hinfo
type record struct {
	name string
	ttl  uint32 // seconds
	data any
}

type (
	host  string
	text  []string // each at most 255 bytes
	hinfo string

	soa struct {
		server, mailbox string
		negative        uint32 // seconds that "not there" may be kept
	}

	// service is an HTTPS record of priority 1 for its own name.
	service struct {
		alpn   []string
		port   uint16 // 0: the default
		v4, v6 []netip.Addr
	}
)

// Timers of the SOA: nobody transfers the zone, but checkers look at them
// (RFC 1912 2.2).
const (
	soaSerial  = 1
	soaRefresh = 7200
	soaRetry   = 3600
	soaExpire  = 1209600
)

// pack writes the reply to q in at most limit bytes. What does not fit is left
// out as a whole: first glue, which nobody needs, then everything, with TC
// set, for the client to come back by TCP.
func pack(q *query, r *reply, limit int, out []byte) (b []byte, truncated bool) {
	m := message(q, r)
	b, err := m.PackBuffer(out[:cap(out)])
	if err == nil && len(b) > limit && len(r.extra) > 0 {
		m.Extra = m.Extra[len(r.extra):]
		b, err = m.PackBuffer(out[:cap(out)])
	}
	if err == nil && len(b) > limit {
		m.Truncated, truncated = true, true
		m.Answer, m.Ns = nil, nil
		b, err = m.PackBuffer(out[:cap(out)])
	}
	if err != nil { // cannot be: every record is of our own making
		m.Answer, m.Ns, m.Rcode = nil, nil, dns.RcodeServerFailure
		b, _ = m.PackBuffer(out[:cap(out)])
	}
	return b, truncated
}

// message turns a reply into one of miekg/dns; OPT comes last in Extra.
func message(q *query, r *reply) *dns.Msg {
	m := &dns.Msg{Compress: true}
	m.Id, m.Opcode, m.Response = q.id, int(q.opcode), true
	m.RecursionDesired, m.CheckingDisabled = q.rd, q.cd
	m.Authoritative, m.Rcode = r.aa, r.rcode
	if q.asked {
		m.Question = []dns.Question{{Name: q.shown, Qtype: q.typ, Qclass: q.class}}
	}
	for i := range r.answer {
		m.Answer = append(m.Answer, r.answer[i].rr())
	}
	if r.soa != nil {
		m.Ns = []dns.RR{r.soa.rr()}
	}
	for i := range r.extra {
		m.Extra = append(m.Extra, r.extra[i].rr())
	}
	if q.edns {
		m.Extra = append(m.Extra, option(q, r))
	}
	return m
}

// option makes the OPT record of a reply.
func option(q *query, r *reply) *dns.OPT {
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(maxUDP)
	o.SetDo(q.do)
	o.SetExtendedRcode(uint16(r.rcode))
	if s := q.ecs; s != nil && r.rcode != formErr {
		e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: s.family}
		if s.prefix.IsValid() {
			e.Address = s.prefix.Addr().AsSlice()
			e.SourceNetmask, e.SourceScope = uint8(s.prefix.Bits()), uint8(r.scope)
		}
		o.Option = []dns.EDNS0{e}
	}
	return o
}

func (r *record) rr() dns.RR {
	h := dns.RR_Header{Name: r.name, Class: dns.ClassINET, Ttl: r.ttl}
	switch d := r.data.(type) {
	case netip.Addr:
		if d.Is4() {
			h.Rrtype = dns.TypeA
			return &dns.A{Hdr: h, A: d.AsSlice()}
		}
		h.Rrtype = dns.TypeAAAA
		return &dns.AAAA{Hdr: h, AAAA: d.AsSlice()}
	case host:
		h.Rrtype = dns.TypeNS
		return &dns.NS{Hdr: h, Ns: string(d)}
	case text:
		h.Rrtype = dns.TypeTXT
		return &dns.TXT{Hdr: h, Txt: d}
	case hinfo:
		h.Rrtype = dns.TypeHINFO
		return &dns.HINFO{Hdr: h, Cpu: string(d)}
	case CAA:
		h.Rrtype = dns.TypeCAA
		return &dns.CAA{Hdr: h, Flag: d.Flag, Tag: d.Tag, Value: d.Value}
	case soa:
		h.Rrtype = dns.TypeSOA
		return &dns.SOA{
			Hdr: h, Ns: d.server, Mbox: d.mailbox, Serial: soaSerial, Refresh: soaRefresh,
			Retry: soaRetry, Expire: soaExpire, Minttl: d.negative,
		}
	case service:
		h.Rrtype = dns.TypeHTTPS
		return d.rr(h)
	}
	return nil
}

func (s service) rr(h dns.RR_Header) dns.RR {
	rr := &dns.HTTPS{SVCB: dns.SVCB{Hdr: h, Priority: 1, Target: "."}}
	rr.Value = append(rr.Value, &dns.SVCBAlpn{Alpn: s.alpn})
	if s.port != 0 {
		rr.Value = append(rr.Value, &dns.SVCBPort{Port: s.port})
	}
	if len(s.v4) > 0 {
		hint := &dns.SVCBIPv4Hint{}
		for _, a := range s.v4 {
			hint.Hint = append(hint.Hint, a.AsSlice())
		}
		rr.Value = append(rr.Value, hint)
	}
	if len(s.v6) > 0 {
		hint := &dns.SVCBIPv6Hint{}
		for _, a := range s.v6 {
			hint.Hint = append(hint.Hint, a.AsSlice())
		}
		rr.Value = append(rr.Value, hint)
	}
	return rr
}
