package console

import (
	"time"

	"github.com/atolledge/atoll"
)

// The states of a link.
const (
	linkUp     = "up"      // each end hears the other
	linkOneWay = "one-way" // one end hears the other, which does not hear it
	linkCut    = "cut"     // both ends live, neither hears the other
	linkSilent = "silent"  // an end hears nothing; of the other nothing is known
	linkNone   = "unknown" // nobody has said anything yet
)

// link is what is known of the way between two regions, A before B by name.
type link struct {
	A     atoll.Region `json:"a"`
	B     atoll.Region `json:"b"`
	State string       `json:"state"`
	RTTMS float64      `json:"rtt_ms"` // 0 when nobody here measured it
	ToA   way          `json:"to_a"`
	ToB   way          `json:"to_b"`
}

// way is what one end misses of what the other knows, as the other sees it.
type way struct {
	Known bool   `json:"known"` // a node of the other end is looked into
	Dots  uint64 `json:"dots"`
	LagMS int64  `json:"lag_ms"`
}

// sight is how a region sees another.
type sight struct {
	way
	live bool // somebody of the region says so now: it lives
	up   bool
	rtt  time.Duration
}

// stale is the age at which a vote says nothing any more about its voter.
const stale = 10 * time.Second

// links describes each pair of regions.
func links(own atoll.Cluster, views []atoll.Cluster) []link {
	out := []link{}
	for i, a := range own.Regions {
		for _, b := range own.Regions[i+1:] {
			ab, ba := look(a.Name, b.Name, own, views), look(b.Name, a.Name, own, views)
			l := link{A: a.Name, B: b.Name, State: judge(ab, ba), ToA: ba.way, ToB: ab.way}
			if l.State == linkUp || l.State == linkOneWay {
				l.RTTMS = float64(shorter(ab.rtt, ba.rtt).Microseconds()) / 1000
			}
			out = append(out, l)
		}
	}
	return out
}

// shorter is the smaller of two measured times; 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// judge words what the two ends say.
func judge(ab, ba sight) string {
	heard, unheard := 0, 0
	for _, s := range []sight{ab, ba} {
		switch {
		case s.live && s.up:
			heard++
		case s.live:
			unheard++
		}
	}
	switch {
	case heard == 1 && unheard == 1:
		return linkOneWay
	case heard > 0:
		return linkUp
	case unheard == 2:
		return linkCut
	case unheard == 1:
		return linkSilent
	}
	return linkNone
}

// look returns how region a sees region b: by the views of its nodes that are
// here, else by the vote that it has cast.
func look(a, b atoll.Region, own atoll.Cluster, views []atoll.Cluster) (s sight) {
	for _, v := range views {
		if v.Self.Region() != a {
			continue
		}
		s.live, s.Known = true, true
		s.up = said(v, a, b, s.up)
		s.measure(v, b)
	}
	if !s.live {
		s.up = said(own, a, b, false)
		_, s.live = cast(own, a, b)
	}
	return s
}

// said is what a has voted on b; without a vote, otherwise or whether a node of
// b is connected.
func said(v atoll.Cluster, a, b atoll.Region, otherwise bool) bool {
	if up, ok := cast(v, a, b); ok {
		return up
	}
	for _, n := range nodes(v, b) {
		otherwise = otherwise || n.State == atoll.StateUp
	}
	return otherwise
}

// cast returns the vote of a on b, if it is young.
func cast(v atoll.Cluster, a, b atoll.Region) (up, ok bool) {
	for _, r := range v.Regions {
		if r.Name != b {
			continue
		}
		for _, vote := range r.Votes {
			if vote.Voter == a && vote.Age < stale {
				return vote.Up, true
			}
		}
	}
	return false, false
}

func nodes(v atoll.Cluster, name atoll.Region) []atoll.NodeView {
	for _, r := range v.Regions {
		if r.Name == name {
			return r.Nodes
		}
	}
	return nil
}

// measure adds what a view has measured of a region.
func (s *sight) measure(v atoll.Cluster, b atoll.Region) {
	for _, n := range nodes(v, b) {
		s.rtt = shorter(s.rtt, n.RTT)
		if n.Behind.Dots > s.Dots {
			s.Dots, s.LagMS = n.Behind.Dots, n.Behind.Lag.Milliseconds()
		}
	}
}
