package replication

import (
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// MaxHeads is how many heads fit one datagram of about 1,100 bytes, with names
// of the greatest length.
const MaxHeads = 14

// greet tells a new peer what we hold of it, and what we have seen.
func (c *Core) greet(m Member) {
	var marks []Mark
	for _, s := range c.spaces {
		for _, p := range s.parts {
			if seq := p.clock.Max(m.Origin); seq > 0 {
				marks = append(marks, Mark{p.Address, seq})
			}
		}
	}
	c.send(m.Node, Marks{m.Origin, marks})
	for _, g := range c.gone {
		c.vowTo(m, g)
	}
	c.sendHeads(m.Node, true)
}

// marks compares what a peer holds of this origin with what it wrote.
func (c *Core) marks(m Marks) {
	if m.Origin != c.self.Origin {
		return // meant for the process before this one
	}
	for _, k := range m.Marks {
		if p := c.find(k.Address); p != nil && k.Seq > p.clock.Max(c.self.Origin) {
			c.fence()
		}
	}
}

func (c *Core) sendHeads(to atoll.NodeID, reply bool) {
	heads := make([]Head, 0, len(c.spaces))
	for _, s := range c.spaces {
		heads = append(heads, Head{s.name, s.hash()})
	}
	for {
		n := min(len(heads), MaxHeads)
		c.send(to, Heads{Heads: heads[:n:n], Reply: reply, At: c.tell()})
		if heads = heads[n:]; len(heads) == 0 {
			return
		}
	}
}

// hash covers all partition clocks of s.
func (s *space) hash() (h uint64) {
	for _, p := range s.parts {
		h += p.sum()
	}
	return h
}

// heads answers those that differ with the hashes of their partitions.
func (c *Core) heads(from Member, m Heads) {
	var equal []Head
	for _, h := range m.Heads {
		s := c.space(h.Keyspace)
		if s == nil {
			continue
		}
		if s.hash() == h.Hash {
			for _, p := range s.parts {
				c.agree(from, p, m.At)
			}
			equal = append(equal, h)
			continue
		}
		parts := Parts{Keyspace: h.Keyspace, Hashes: make([]uint64, len(s.parts)), At: c.tell()}
		for i, p := range s.parts {
			parts.Hashes[i] = p.sum()
		}
		c.send(from.Node, parts)
	}
	switch {
	case m.Reply:
		c.sendHeads(from.Node, false)
	case m.Report && len(equal) > 0:
		c.send(from.Node, Heads{Heads: equal, At: c.tell()})
	}
}

// agree notes that a peer had seen exactly what we have, at a time by its clock.
// It may be late: what the peer said since then stays said.
func (c *Core) agree(from Member, p *partition, at int64) {
	r := p.member(from.Origin)
	r.whole = true
	if !r.told.Covers(p.clock) {
		r.told.Join(p.clock)
	}
	if !r.clock.Covers(p.clock) {
		r.clock.Join(p.clock)
		c.touch(p)
	}
	c.timely(p, r, at)
}

// timely notes when a report was made that says all that its member has.
func (c *Core) timely(p *partition, r *report, at int64) {
	r.at = max(r.at, at)
	c.ripen(p)
}

// parts answers the hashes that differ with our clocks and asks for the peer's.
func (c *Core) parts(from Member, m Parts) {
	s := c.space(m.Keyspace)
	if s == nil || len(m.Hashes) != len(s.parts) {
		return
	}
	reply := Clocks{Keyspace: m.Keyspace, Reply: true, At: c.tell()}
	for i, p := range s.parts {
		if p.sum() == m.Hashes[i] {
			c.agree(from, p, m.At)
			continue
		}
		reply.Clocks = append(reply.Clocks, PartitionClock{i, p.clock.Clone()})
	}
	if len(reply.Clocks) > 0 {
		c.send(from.Node, reply)
	}
}

// clocks learns what a peer has, and notes what we miss of it.
func (c *Core) clocks(from Member, m Clocks) {
	reply := Clocks{Keyspace: m.Keyspace, At: c.tell()}
	for _, k := range m.Clocks {
		p := c.find(Address{m.Keyspace, k.Partition})
		if p == nil {
			continue
		}
		c.learn(from, p, k.Clock)
		c.timely(p, p.member(from.Origin), m.At)
		reply.Clocks = append(reply.Clocks, PartitionClock{k.Partition, p.clock.Clone()})
	}
	if m.Reply && len(reply.Clocks) > 0 {
		c.send(from.Node, reply)
	}
}

// learn takes a peer's clock in and notes what we miss of it.
func (c *Core) learn(from Member, p *partition, k crdt.Clock) {
	k = c.strip(p, k)
	if why := c.suspect(p, from, k); why != "" {
		c.refuse(from.Node, why)
		return
	}
	if k.Max(c.self.Origin) > p.clock.Max(c.self.Origin) {
		c.fence()
	}
	r := p.member(from.Origin)
	r.whole = true
	r.clock.Join(k)
	r.told.Join(k)
	c.touch(p)
	c.ripen(p)
	if !p.clock.Covers(k) {
		c.lag(p, from.Node, c.now.Add(PullGrace))
	}
}

// lag notes that a peer has more of p than we do, to be pulled at due unless it
// comes by itself.
func (c *Core) lag(p *partition, from atoll.NodeID, due time.Time) {
	if p.missing.IsZero() {
		c.lagging = append(c.lagging, p)
		p.missing, p.from = due, from
		return
	}
	if due.Before(p.missing) {
		p.missing, p.from = due, from
	}
	if c.peer(p.from) < 0 {
		p.from = from
	}
}

// wake does what is due. Full pulls move in steps of their own: a step must not
// read what it has itself written.
func (c *Core) wake() {
	c.expire()
	c.startPulls()
	if c.unpark() {
		return
	}
	if len(c.yields.left) > 0 {
		c.yieldOn()
		return
	}
	if c.staged = !c.staged && len(c.staging) > 0; c.staged {
		c.applyStages()
		return
	}
	if c.sweeping = !c.sweeping && len(c.sweep.parts) > 0; c.sweeping {
		c.sweepOn()
		return
	}
	if c.now.Before(c.nextHeads) {
		c.tidy()
		return
	}
	c.nextHeads = c.now.Add(HeadsEvery/2 + time.Duration(c.rand.Int64N(int64(HeadsEvery))))
	for _, i := range c.rand.Perm(len(c.peers))[:min(HeadsTo, len(c.peers))] {
		c.sendHeads(c.peers[i].Node, false)
	}
	c.partings()
	if len(c.untidy) == 0 {
		for _, s := range c.spaces {
			for _, p := range s.parts {
				c.queue(p)
			}
		}
	}
	c.tidy()
}

// nextWake returns when something will be due.
func (c *Core) nextWake() time.Time {
	t := c.nextHeads
	if len(c.waits) > 0 && c.waits[0].deadline.Before(t) {
		t = c.waits[0].deadline
	}
	if len(c.staging)+len(c.untidy)+len(c.sweep.parts)+len(c.yields.left) > 0 {
		t = c.now
	}
	for _, k := range c.parked {
		if k.ready {
			t = c.now
		}
		for _, due := range [...]time.Time{k.until, k.claim} {
			if due.Before(t) {
				t = due
			}
		}
	}
	if len(c.held) > 0 && c.nextAsk.Before(t) {
		t = c.nextAsk
	}
	if len(c.sessions) < MaxPulls {
		for _, p := range c.lagging {
			if p.pull == nil && p.stage == nil && p.missing.Before(t) && c.mayPull(p) {
				t = p.missing
			}
		}
	}
	return t
}
