package replication

import (
	"cmp"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// MaxAhead is by how many dots what others say of an origin may be ahead of what
// that origin, which is connected, has said itself. Nobody writes as much in the
// second or two between its heads.
const MaxAhead = 1 << 20

// Reason is why a message of a peer was not used.
type Reason string

// The reasons. What is refused changes nothing here; if it was honest after all,
// a pull brings it.
const (
	Torn      Reason = "torn"      // a part of a delta is here and the rest is not
	Oversized Reason = "oversized" // a delta over MaxDelta
	Misplaced Reason = "misplaced" // a key in a partition that is not its own
	Beyond    Reason = "beyond"    // dots far above what their origin itself has said
	Retired   Reason = "retired"   // dots of a forgotten origin that no member had
	Unknown   Reason = "unknown"   // dots of an origin that the roster does not name
	Dishonest Reason = "dishonest" // an answer to a pull that contradicts itself
	Unsent    Reason = "unsent"    // an answer that ends without what its clock claims
)

// MaxRefusals bounds what is remembered: peers and reasons beyond are not counted.
const MaxRefusals = 1024

// Refusal counts what a peer said and was not used, since the process began.
type Refusal struct {
	Node   atoll.NodeID
	Reason Reason
	Count  uint64
}

func (r Refusal) compare(s Refusal) int {
	return cmp.Or(cmp.Compare(r.Node, s.Node), cmp.Compare(r.Reason, s.Reason))
}

// refuse counts a message of a peer that is not used.
func (c *Core) refuse(from atoll.NodeID, why Reason) {
	r := Refusal{Node: from, Reason: why}
	i, found := slices.BinarySearchFunc(c.refusals, r, Refusal.compare)
	if !found {
		if len(c.refusals) >= MaxRefusals {
			return
		}
		c.refusals = slices.Insert(c.refusals, i, r)
	}
	c.refusals[i].Count++
}

// Refusals returns what peers said and was not used, by node and reason.
func (c *Core) Refusals() []Refusal { return slices.Clone(c.refusals) }

// suspicious returns why dots of an origin are not taken from a peer, "" if they
// are.
func (c *Core) suspicious(p *partition, from Member, r crdt.Run) Reason {
	if r.Origin == c.self.Origin || r.Origin == from.Origin {
		return ""
	}
	if c.settled(r.Origin) && !p.clock.HasRun(r) {
		return Retired
	}
	if c.writers != nil && p.Keyspace != Roster {
		if _, known := slices.BinarySearch(c.writers, r.Origin); !known {
			return Unknown
		}
	}
	if said := p.report(r.Origin).Max(r.Origin); said > 0 && r.Last > said+MaxAhead &&
		slices.ContainsFunc(c.peers, func(q Member) bool { return q.Origin == r.Origin }) {
		return Beyond
	}
	return ""
}

// suspect returns why a clock that a peer claims is not believed, "" if it is.
func (c *Core) suspect(p *partition, from Member, k crdt.Clock) Reason {
	for r := range k.Minus(p.clock) {
		if why := c.suspicious(p, from, r); why != "" {
			return why
		}
	}
	return ""
}
