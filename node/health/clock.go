package health

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// Limits of clocks.
const (
	// MaxOffset is how far a node's clock may be off the median of its cluster
	// before the node takes no more writes: it breaks ties that others pay for.
	MaxOffset = 500 * time.Millisecond
	// clearOffset is below what it takes them again, so that it does not flap.
	clearOffset = 400 * time.Millisecond

	// ClockEvery is the interval of measurements of each peer.
	ClockEvery = 2 * time.Second
	// clockSamples of a peer count, the one with the shortest round trip among
	// them: half of it is the most that the measurement can be wrong (RFC 5905,
	// section 10, has eight, for links that are far noisier).
	clockSamples = 4
	// clockFresh is how long a peer that answers no more still counts.
	clockFresh = 5 * ClockEvery
)

// Clocks compares a node's clock with those of its peers. The zero value is
// ready. It is not safe for concurrent use.
//
// A sample says what a peer's clock showed when a stopwatch of this node, which
// nobody sets, stood at zero. So a step of this node's own clock shows at once,
// and the samples stay what they are.
type Clocks struct {
	peers map[atoll.NodeID][]clockSample
	off   bool
}

// clockSample is one measurement.
type clockSample struct {
	taken time.Duration // on the stopwatch
	rtt   time.Duration
	zero  time.Time // what the peer's clock showed when the stopwatch stood at zero
}

// Observe takes the answer of a peer in: its clock showed there, the question
// left when the stopwatch stood at sent, the answer came at now. Nonsense is
// dropped.
func (c *Clocks) Observe(peer atoll.NodeID, sent, now time.Duration, there time.Time) {
	rtt := now - sent
	if sent < 0 || rtt < 0 || rtt > clockFresh {
		return
	}
	if c.peers == nil {
		c.peers = map[atoll.NodeID][]clockSample{}
	}
	kept := c.peers[peer]
	if len(kept) == clockSamples {
		kept = kept[1:]
	}
	c.peers[peer] = append(kept, clockSample{taken: now, rtt: rtt, zero: there.Add(-now + rtt/2)})
}

// Skew is what Judge found.
type Skew struct {
	// Offset is what the own clock is ahead of the median of all clocks, its own
	// included; negative when it is behind. Of two medians, the nearer one counts:
	// a node does not stop because of one other.
	Offset time.Duration
	// Off says that the node must not take writes, from MaxOffset on.
	Off bool
	// Peers are the clocks that counted, as ahead of the own one.
	Peers map[atoll.NodeID]time.Duration
}

// Judge compares, when the own clock shows wall and the stopwatch now.
func (c *Clocks) Judge(now time.Duration, wall time.Time) Skew {
	zero := wall.Add(-now)
	s := Skew{Peers: make(map[atoll.NodeID]time.Duration, len(c.peers))}
	for peer, samples := range c.peers {
		samples = slices.DeleteFunc(samples, func(x clockSample) bool { return now-x.taken > clockFresh })
		if c.peers[peer] = samples; len(samples) == 0 {
			delete(c.peers, peer)
			continue
		}
		best := slices.MinFunc(samples, func(a, b clockSample) int { return cmp.Compare(a.rtt, b.rtt) })
		s.Peers[peer] = best.zero.Sub(zero)
	}
	all := slices.Sorted(maps.Values(s.Peers))
	i, _ := slices.BinarySearch(all, 0)
	all = slices.Insert(all, i, 0)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	s.Offset = -low
	if high.Abs() < low.Abs() {
		s.Offset = -high
	}
	limit := MaxOffset
	if c.off {
		limit = clearOffset
	}
	c.off = s.Offset.Abs() > limit
	s.Off = c.off
	return s
}
