package health

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// ballot is the last votes of one node.
type ballot struct {
	at time.Time // when it came
	up map[atoll.Region]bool
}

// Vote takes in the votes that a node has cast, in place of its earlier ones, and
// reports whether they differ from those: then a verdict may change, and the
// caller ticks. Votes of nodes that are not in the roster, or of this node, are
// ignored.
func (t *Tracker) Vote(now time.Time, from atoll.NodeID, votes []Vote) bool {
	r := t.region(from.Region())
	if r == nil || from == t.cfg.Self || !slices.Contains(r.Nodes, from) {
		return false
	}
	b := ballot{at: now, up: map[atoll.Region]bool{}}
	for _, v := range votes {
		if t.region(v.About) != nil {
			b.up[v.About] = v.Up
		}
	}
	old := t.ballots[from]
	t.ballots[from] = b
	return now.Sub(old.at) >= t.cfg.Fresh || !maps.Equal(old.up, b.up)
}

// cast returns the own opinions, by name of the region.
func (t *Tracker) cast() []Vote {
	var votes []Vote
	for _, r := range t.others() {
		if r.known {
			votes = append(votes, Vote{About: r.Name, Up: r.up})
		}
	}
	return votes
}

// judge decides on r and reports whether that is new. Without a voter r stays
// what it was.
func (t *Tracker) judge(now time.Time, r *region) (Verdict, bool) {
	state, votes := r.state, []atoll.Vote(nil)
	if r.Name == t.cfg.Self.Region() {
		state = atoll.StateDown
		if t.ready || t.alone() {
			state = atoll.StateUp
		}
	} else if votes = t.votes(now, r); len(votes) > 0 {
		state = majority(votes)
	}
	changed := state != r.state || r.since.IsZero()
	if changed {
		r.state, r.since = state, now
	}
	return Verdict{Region: r.Name, State: state, Since: r.since, Votes: votes}, changed
}

// majority is down when more than half of the voters say so.
func majority(votes []atoll.Vote) string {
	down := 0
	for _, v := range votes {
		if !v.Up {
			down++
		}
	}
	if 2*down > len(votes) {
		return atoll.StateDown
	}
	return atoll.StateUp
}

// alone reports whether this node reaches no other region. Then it answers with
// its own, ready or not: there is nothing better that it could know of.
func (t *Tracker) alone() bool {
	others := t.others()
	return len(others) > 0 && !slices.ContainsFunc(others, func(r *region) bool {
		return !r.known || r.up
	})
}

// votes returns the fresh votes on r of the nearest regions.
func (t *Tracker) votes(now time.Time, r *region) []atoll.Vote {
	var votes []atoll.Vote
	for _, voter := range r.voters {
		if len(votes) == t.cfg.Voters {
			break
		}
		if v, ok := t.regionVote(now, voter, r); ok {
			votes = append(votes, v)
		}
	}
	return votes
}

// regionVote sums up the fresh votes of one region's nodes, the own opinion
// among them: down when most of the nodes say down.
func (t *Tracker) regionVote(now time.Time, voter, about *region) (atoll.Vote, bool) {
	up, down, age := 0, 0, t.cfg.Fresh
	add := func(says bool, a time.Duration) {
		age = min(age, a)
		if says {
			up++
		} else {
			down++
		}
	}
	if voter.Name == t.cfg.Self.Region() && about.known {
		add(about.up, 0)
	}
	for _, id := range voter.Nodes {
		b, heard := t.ballots[id]
		says, votes := b.up[about.Name]
		if heard && votes && now.Sub(b.at) < t.cfg.Fresh {
			add(says, now.Sub(b.at))
		}
	}
	return atoll.Vote{Voter: voter.Name, Up: up >= down, Age: age}, up+down > 0
}

// nearest returns all regions but r by their distance from it, then by name.
func (t *Tracker) nearest(r *region) []*region {
	near := slices.DeleteFunc(slices.Clone(t.regions), func(o *region) bool { return o == r })
	slices.SortStableFunc(near, func(a, b *region) int {
		return cmp.Compare(separation(a.Region, r.Region), separation(b.Region, r.Region))
	})
	return near
}

// separation grows with the great-circle distance of two regions: the haversine
// of the angle between them in parts per billion, whole so that machines which
// fuse multiplications agree.
func separation(a, b Region) int64 {
	const degree = math.Pi / 180
	lat := math.Sin((b.Lat - a.Lat) * degree / 2)
	lon := math.Sin((b.Lon - a.Lon) * degree / 2)
	around := float64(math.Cos(a.Lat*degree)*math.Cos(b.Lat*degree)) * lon * lon
	return int64(math.Round((float64(lat*lat) + float64(around)) * 1e9))
}
