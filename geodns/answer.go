package geodns

import (
	"net/netip"

	"github.com/atolledge/atoll/geodns/steer"
)

// answer decides what to say to a query that came from an address.
func (s *Server) answer(v *view, q *query, verdict verdict, from netip.Addr) reply {
	switch {
	case verdict == foreign:
		return reply{rcode: notImp}
	case q.edns && q.version != 0:
		return reply{rcode: badVers}
	case verdict == malformed:
		return reply{rcode: formErr}
	case q.class != classIN || q.typ == typeAXFR || q.typ == typeIXFR:
		return reply{rcode: refused} // version.bind too: it is nobody's business
	}
	z := v.zone(q.name)
	if z == nil {
		return reply{rcode: refused}
	}
	n := z.names[q.name]
	if n == nil || n.kind == explain && !from.IsLoopback() {
		return reply{rcode: nxDomain, aa: true, soa: &z.soa}
	}
	r := s.records(v, q, n, from)
	r.aa = true
	if len(r.answer) == 0 && r.rcode == noError {
		r.soa = &z.soa
	}
	return r
}

// records returns what a name has of the type asked for.
func (s *Server) records(v *view, q *query, n *node, from netip.Addr) reply {
	switch {
	case q.typ == typeANY && n.kind != empty: // RFC 8482
		return reply{answer: []record{{q.shown, staticTTL, hinfo("RFC8482")}}}
	case n.kind == explain && q.typ == typeTXT:
		return s.why(q, n, from)
	case n.kind == region:
		return reply{answer: addresses(q, n.ttl, n.region.V4, n.region.V6)}
	case n.kind == apex && q.typ == typeSOA:
		return reply{answer: []record{renamed(q, n.zone.soa)}}
	case n.kind == apex && q.typ == typeNS:
		r := reply{extra: n.zone.glue}
		for _, ns := range n.zone.ns {
			r.answer = append(r.answer, renamed(q, ns))
		}
		return r
	case n.kind == apex && q.typ == typeCAA:
		var r reply
		for _, c := range n.zone.CAA {
			r.answer = append(r.answer, record{q.shown, staticTTL, c})
		}
		return r
	case n.geo:
		return s.route(v, q, n, from)
	}
	return reply{}
}

// renamed gives a record of the apex the name as it was asked for.
func renamed(q *query, r record) record {
	r.name = q.shown
	return r
}

// addresses returns A or AAAA records, as asked for.
func addresses(q *query, ttl uint32, v4, v6 []netip.Addr) []record {
	var list []netip.Addr
	switch q.typ {
	case typeA:
		list = v4
	case typeAAAA:
		list = v6
	}
	var out []record
	for _, a := range list {
		out = append(out, record{q.shown, ttl, a})
	}
	return out
}

// route answers for the client's region. All types are of one choice.
func (s *Server) route(v *view, q *query, n *node, from netip.Addr) reply {
	switch q.typ {
	case typeA, typeAAAA, typeHTTPS, typeTXT:
	default:
		return reply{}
	}
	c := s.locate(q.ecs, from)
	a := v.world.Choose(c.client, s.cfg.Limits.Answers)
	if a.Region == "" { // an empty answer would be kept as the truth
		return reply{rcode: servFail}
	}
	r := reply{scope: c.scope(a), region: v.regions[a.Region]}
	switch q.typ {
	case typeHTTPS:
		r.answer = []record{{q.shown, n.ttl, s.service(a)}}
	case typeTXT:
		txt := text{"region=" + string(a.Region), "map=" + mapVersion(v.world)}
		r.answer = []record{{q.shown, n.ttl, txt}}
	default:
		r.answer = addresses(q, n.ttl, a.V4, a.V6)
	}
	return r
}

func (s *Server) service(a steer.Answer) service {
	port := s.cfg.HTTPSPort
	if port == 443 {
		port = 0
	}
	return service{alpn: s.cfg.ALPN, port: port, v4: a.V4, v6: a.V6}
}
