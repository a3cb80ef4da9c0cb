package wan

import (
	"math/rand/v2"
	"time"

	"github.com/atolledge/atoll"
)

// fate is what a link does to one packet.
type fate uint8

const (
	arrives fate = iota
	cutOff       // the link is cut
	lost         // bad luck
)

// link is one direction between two regions. It is pure: time and chance are
// arguments.
type link struct {
	delay  time.Duration // one way
	jitter time.Duration // added at random, up to this
	loss   float64       // share of packets that get lost, 0..1
	slow   time.Duration // one way; while set it stands in for delay
	cut    bool

	last   time.Time // latest arrival given out so far
	counts Counts
}

// Counts are the packets of one direction since the network was made. A packet
// is sent when a node hands it over and delivered when it leaves for the other
// node's socket; those between the two are on their way.
type Counts struct {
	Sent      uint64
	Delivered uint64
	Blocked   uint64 // dropped because the link was cut, on their way or before
	Lost      uint64 // dropped by chance
	Overflow  uint64 // dropped because too many were on their way
}

// send decides on a packet handed over at now and returns when it arrives.
// Packets keep their order, unless the delay itself has become shorter by more
// than the jitter.
func (l *link) send(now time.Time, chance *rand.Rand) (time.Time, fate) {
	l.counts.Sent++
	if l.cut {
		l.counts.Blocked++
		return time.Time{}, cutOff
	}
	if l.loss > 0 && chance.Float64() < l.loss {
		l.counts.Lost++
		return time.Time{}, lost
	}
	at := now.Add(l.oneWay())
	if l.jitter > 0 {
		at = at.Add(time.Duration(chance.Int64N(int64(l.jitter))))
	}
	if ahead := l.last.Sub(at); ahead > 0 && ahead <= l.jitter {
		at = l.last
	}
	l.last = at
	return at, arrives
}

// deliver counts a packet that arrives now and reports whether it passes: a
// link that was cut after the packet was sent swallows it, too.
func (l *link) deliver() bool {
	if l.cut {
		l.counts.Blocked++
		return false
	}
	l.counts.Delivered++
	return true
}

func (l *link) oneWay() time.Duration {
	if l.slow > 0 {
		return l.slow
	}
	return l.delay
}

// LinkStatus describes one direction between two regions.
type LinkStatus struct {
	From, To atoll.Region
	OneWay   time.Duration // the delay in force, without jitter
	Jitter   time.Duration
	Loss     float64 // 0..1
	Cut      bool
	Slow     bool
	Counts
}
