package geodns

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/steer"
)

// Explanation says why a client gets an answer. Its JSON form is that of
// `GET /v1/explain/dns`.
type Explanation struct {
	Name   string            `json:"name"`
	Client string            `json:"client"` // address, or prefix of a subnet
	Source string            `json:"source"` // ecs, resolver or argument
	Range  string            `json:"range"`  // all in this prefix get the answer
	Place  *Place            `json:"place"`  // null when it is not known
	List   []steer.Candidate `json:"list"`   // regions, the chosen one first
	Answer []string          `json:"answer"` // addresses, IPv4 first

	MapVersion string `json:"map_version"` // equal where name servers agree
	TTL        int64  `json:"ttl_s"`
}

// Place is where a client is taken to be.
type Place struct {
	Country string  `json:"country"` // ISO 3166-1 alpha-2, "" when not known
	Lat     float64 `json:"lat"`
	Lon     float64 `json:"lon"`
}

// Explain says what a client at an address gets for a routed name, and why, as
// the cluster is now. Errors: atoll.BadRequest, atoll.NotFound.
func (s *Server) Explain(name string, client netip.Addr) (Explanation, error) {
	canon, ok := canonical(name)
	if !ok {
		return Explanation{}, atoll.Errorf(atoll.BadRequest, "DNS name %q", name)
	}
	if !client.IsValid() {
		return Explanation{}, atoll.Errorf(atoll.BadRequest, "the client's address is missing").
			WithHint("give an IPv4 or IPv6 address")
	}
	v := s.now.Load()
	z := v.zone(canon)
	if z == nil || z.names[canon] == nil || !z.names[canon].geo {
		return Explanation{}, atoll.Errorf(atoll.NotFound, "%s is not a routed name", canon).
			WithHint(s.routedNames())
	}
	return s.explain(canon, s.at(client.Unmap(), fromArgument), z.TTL), nil
}

// routedNames words which names can be explained, the first few of them.
func (s *Server) routedNames() string {
	const few = 5
	hint := "no name is routed: the node has no DNS zone"
	n := 0
	for _, z := range s.cfg.Zones {
		for _, g := range z.Geo {
			name := g + "." + z.Name
			if g == "@" {
				name = z.Name
			}
			if n++; n == 1 {
				hint = "routed names: " + name
			} else if n <= few {
				hint += ", " + name
			}
		}
	}
	return hint
}

// explain looks at the cluster anew, for the age of the votes.
func (s *Server) explain(name string, c located, ttl time.Duration) Explanation {
	world := steer.NewWorld(s.cfg.Cluster())
	a, list := world.Explain(c.client, s.cfg.Limits.Answers)
	e := Explanation{
		Name: name, Client: c.client.Addr.String(), Source: c.source,
		Range: a.Scope.String(), List: list, Answer: []string{},
		MapVersion: mapVersion(world), TTL: int64(ttl / time.Second),
	}
	if c.subnet.IsValid() {
		e.Range = c.subnet.String()
	}
	if c.client.Known {
		e.Place = &Place{c.place.Country, c.place.Lat, c.place.Lon}
	}
	for _, addr := range slices.Concat(a.V4, a.V6) {
		e.Answer = append(e.Answer, addr.String())
	}
	return e
}

// Lines returns the explanation for people, a thought a line.
func (e Explanation) Lines() []string {
	where := "at a place nobody knows: near the region asked"
	if e.Place != nil {
		where = fmt.Sprintf("in %s near %g,%g", e.Place.Country, e.Place.Lat, e.Place.Lon)
	}
	out := []string{
		fmt.Sprintf("client %s (%s), in range %s, is %s", e.Client, e.Source, e.Range, where),
	}
	for i, c := range e.List {
		up := 0
		for _, v := range c.Votes {
			if v.Up {
				up++
			}
		}
		out = append(out, fmt.Sprintf("%d. %s: %.0f km, %s, %d of %d votes up: %s",
			i+1, c.Region, c.KM, c.State, up, len(c.Votes), c.Why))
	}
	return append(out, fmt.Sprintf("answer %v for %d s, map %s", e.Answer, e.TTL, e.MapVersion))
}

// maxText is the length of one string of a TXT record (RFC 1035 3.3).
const maxText = 255

// why answers _explain.NAME.
func (s *Server) why(q *query, n *node, from netip.Addr) reply {
	c := s.locate(q.ecs, from)
	e := s.explain(q.name[len("_explain."):], c, n.zone.TTL)
	if c.source == fromECS {
		e.Client = q.ecs.prefix.String()
	}
	var r reply
	for _, line := range e.Lines() {
		if len(line) > maxText {
			line = line[:maxText]
		}
		r.answer = append(r.answer, record{q.shown, 0, text{line}})
	}
	return r
}
