package replication

import (
	"bytes"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Lag says how much of what is here a member has not reported.
type Lag struct {
	Origin atoll.Origin
	Dots   uint64
	// Age is for how long the oldest of them may have been here, to within the
	// time between two calls of Lags; 0 when there is none.
	Age time.Duration
}

// Lags returns the lag of every other member. Call it at regular times: the ages
// are what went by since.
func (c *Core) Lags(now time.Time) []Lag {
	var lags []Lag
	for _, m := range c.members {
		if m.Origin == c.self.Origin {
			continue
		}
		l := Lag{Origin: m.Origin}
		for _, s := range c.spaces {
			for _, p := range s.parts {
				dots, since := p.member(m.Origin).behind(p.clock, now)
				l.Dots += dots
				if dots > 0 {
					l.Age = max(l.Age, now.Sub(since))
				}
			}
		}
		lags = append(lags, l)
	}
	return lags
}

// behind returns how many dots of a clock are not reported, and since when the
// oldest of them may have been here. Some are always on their way while others
// write, so their number alone does not tell a slow member from a stuck one: the
// member is given a goal, all that was here at one time, and the next goal when
// it has reached that.
func (r *report) behind(own crdt.Clock, now time.Time) (dots uint64, since time.Time) {
	for run := range own.Minus(r.clock) {
		dots += run.Len()
	}
	switch {
	case dots == 0:
		r.goal, r.since = crdt.Clock{}, time.Time{}
	case r.since.IsZero() || r.clock.Covers(r.goal):
		r.goal, r.since = own.Clone(), now
	}
	return dots, r.since
}

// Heirs returns the members that have reported all dots that this node wrote
// in a keyspace, or in all for "".
func (c *Core) Heirs(ks atoll.Keyspace) (all []atoll.Origin) {
	for _, m := range c.members {
		if m.Origin != c.self.Origin && !slices.ContainsFunc(c.spaces, func(s *space) bool {
			return (ks == "" || s.name == ks) && c.lacks(m, s)
		}) {
			all = append(all, m.Origin)
		}
	}
	return all
}

// lacks reports whether m has not reported all dots that this node wrote in s.
func (c *Core) lacks(m Member, s *space) bool {
	return slices.ContainsFunc(s.parts, func(p *partition) bool {
		return !p.report(m.Origin).Covers(crdt.ClockOf(p.clock.Of(c.self.Origin)...))
	})
}

// Progress says how far full pulls are.
type Progress struct {
	Partitions       int    // not done: their pulls are open, being applied or still due
	Sources          int    // peers that are being pulled from
	Documents, Bytes uint64 // that came in since the process began
}

// Progress returns how far full pulls are. Its Partitions are 0 while there is none.
func (c *Core) Progress() Progress {
	p := Progress{Documents: c.stats.StagedDocs, Bytes: c.stats.StagedBytes}
	var from []atoll.Origin
	full := false
	for _, s := range c.sessions {
		full = full || s.full
		if !slices.Contains(from, s.from.Origin) {
			from = append(from, s.from.Origin)
		}
	}
	if full || len(c.staging) > 0 {
		p.Partitions, p.Sources = len(c.lagging), len(from)
		for _, q := range c.staging {
			if q.missing.IsZero() {
				p.Partitions++
			}
		}
	}
	return p
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
