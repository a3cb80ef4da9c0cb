package health

import (
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// opinion is what one node thinks of another region from its own probes.
type opinion struct {
	known   bool // there was evidence; until then no vote is cast
	up      bool
	against int // probes in a row that contradict up; below the limit that turns it

	turn    int // rotation through the nodes
	missed  bool
	suspect map[atoll.NodeID]time.Time // nodes whose last probe missed, and when

	pending Probe // Seq 0: none
	asked   time.Time
}

// count takes in one outcome and reports whether the opinion changed. The first
// good reply of all is believed at once, so that a cluster starts quickly.
func (o *opinion) count(good bool, misses, goods int) bool {
	if !o.known && good {
		o.known, o.up, o.against = true, true, 0
		return true
	}
	if o.known && good == o.up {
		o.against = 0
		return false
	}
	limit := misses
	if good {
		limit = goods
	}
	if o.against++; o.against < limit {
		return false
	}
	o.known, o.up, o.against = true, good, 0
	return true
}

// choose returns the next node to probe: in rotation, leaving out nodes that
// missed lately, so that a region with one dead node can still show good replies
// in a row. A suspect is retried only after a good reply: retries alone never
// make a region look dead. When all are suspects, all are asked in turn.
func (o *opinion) choose(now time.Time, nodes []atoll.NodeID, retry time.Duration) atoll.NodeID {
	for i := 1; i <= len(nodes); i++ {
		n := nodes[(o.turn+i)%len(nodes)]
		at, suspect := o.suspect[n]
		if !suspect || !o.missed && now.Sub(at) >= retry {
			o.turn += i
			return n
		}
	}
	o.turn++
	return nodes[o.turn%len(nodes)]
}

// mark remembers whether a node answered.
func (o *opinion) mark(now time.Time, n atoll.NodeID, answered bool) {
	o.missed = !answered
	if answered {
		delete(o.suspect, n)
		return
	}
	if o.suspect == nil {
		o.suspect = map[atoll.NodeID]time.Time{}
	}
	o.suspect[n] = now
}

// forget drops suspects that are no longer nodes of the region.
func (o *opinion) forget(nodes []atoll.NodeID) {
	for n := range o.suspect {
		if !slices.Contains(nodes, n) {
			delete(o.suspect, n)
		}
	}
}
