package geodns

import (
	"net/netip"

	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/geodns/steer"
)

// located is a client with where it is and how we know.
type located struct {
	client steer.Client
	place  geo.Place
	source string // one of from…

	// subnet is the range around a client subnet whose place is not known, so
	// that the resolver's was taken: the answer holds for that range only, or
	// a cache would give it to clients whose place is known.
	subnet netip.Prefix
}

// The sources of a client's address.
const (
	fromECS      = "ecs"
	fromResolver = "resolver"
	fromArgument = "argument"
)

// locate finds the client: by its subnet if the resolver tells, else the
// resolver stands for it. A source length of 0 asks for the latter.
func (s *Server) locate(ecs *subnet, resolver netip.Addr) located {
	if ecs == nil || ecs.prefix.Bits() <= 0 {
		return s.at(resolver, fromResolver)
	}
	c := s.at(ecs.prefix.Addr(), fromECS)
	if c.client.Known {
		return c
	}
	r := s.at(resolver, fromResolver)
	r.subnet = c.place.Range
	return r
}

// at looks one address up.
func (s *Server) at(a netip.Addr, source string) located {
	p, ok := s.cfg.Places.Lookup(a)
	if !p.Range.IsValid() && a.IsValid() {
		p.Range, _ = a.Prefix(a.BitLen())
	}
	return located{
		client: steer.Client{
			Addr: a, Range: p.Range, At: steer.Point{Lat: p.Lat, Lon: p.Lon}, Known: ok,
		},
		place:  p,
		source: source,
	}
}

// scope returns the scope length of a client subnet answer.
func (l located) scope(a steer.Answer) int {
	switch {
	case l.source == fromECS:
		return max(a.Scope.Bits(), 0)
	case l.subnet.IsValid():
		return l.subnet.Bits()
	}
	return 0
}
