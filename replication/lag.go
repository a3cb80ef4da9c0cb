package replication

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Lag says how many dots that are here a member has not reported.
type Lag struct {
	Origin atoll.Origin
	Dots   uint64
}

// Lags returns the lag of every other member.
func (c *Core) Lags() []Lag {
	var lags []Lag
	for _, m := range c.members {
		if m.Origin == c.self.Origin {
			continue
		}
		l := Lag{Origin: m.Origin}
		for _, s := range c.spaces {
			for _, p := range s.parts {
				for r := range p.clock.Minus(*p.report(m.Origin)) {
					l.Dots += r.Len()
				}
			}
		}
		lags = append(lags, l)
	}
	return lags
}

// Seen returns how many dots of each origin are here, by keyspace.
func (c *Core) Seen() map[atoll.Keyspace]map[atoll.Origin]uint64 {
	seen := make(map[atoll.Keyspace]map[atoll.Origin]uint64)
	for _, s := range c.spaces {
		dots := make(map[atoll.Origin]uint64)
		for _, p := range s.parts {
			for _, r := range p.clock.Runs() {
				dots[r.Origin] += r.Len()
			}
		}
		if len(dots) > 0 {
			seen[s.name] = dots
		}
	}
	return seen
}

// Holds reports whether a view has any partition of a keyspace.
func Holds(v View, ks atoll.Keyspace) bool {
	from := prefix(kindMeta, ks, 0)
	space := from[:len(from)-2]
	for k := range v.Scan(space, after(space)) {
		return bytes.HasPrefix(k, space)
	}
	return false
}

// Digest covers every partition's clock in a view: replicas that have seen the
// same have the same.
func Digest(v View) uint64 {
	h := xxhash.New()
	for k, b := range v.Scan([]byte{kindMeta}, []byte{kindMeta + 1}) {
		if clock, rest, err := crdt.DecodeClock(b); err == nil && !clock.Empty() {
			_, _ = h.Write(k)
			_, _ = h.Write(b[:len(b)-len(rest)])
		}
	}
	return h.Sum64()
}
