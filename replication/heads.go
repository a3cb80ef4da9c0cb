package replication

import (
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
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
		c.send(to, Heads{Heads: heads[:n:n], Reply: reply})
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
	for _, h := range m.Heads {
		s := c.space(h.Keyspace)
		if s == nil {
			continue
		}
		if s.hash() == h.Hash {
			for _, p := range s.parts {
				c.agree(from, p)
			}
			continue
		}
		parts := Parts{Keyspace: h.Keyspace, Hashes: make([]uint64, len(s.parts))}
		for i, p := range s.parts {
			parts.Hashes[i] = p.sum()
		}
		c.send(from.Node, parts)
	}
	if m.Reply {
		c.sendHeads(from.Node, false)
	}
}

// agree notes that a peer has seen exactly what we have.
func (c *Core) agree(from Member, p *partition) {
	r := p.member(from.Origin)
	r.whole = true
	if !r.clock.Equal(p.clock) {
		r.clock = p.clock.Clone()
		c.touch(p)
	}
}

// parts answers the hashes that differ with our clocks and asks for the peer's.
func (c *Core) parts(from Member, m Parts) {
	s := c.space(m.Keyspace)
	if s == nil || len(m.Hashes) != len(s.parts) {
		return
	}
	reply := Clocks{Keyspace: m.Keyspace, Reply: true}
	for i, p := range s.parts {
		if p.sum() == m.Hashes[i] {
			c.agree(from, p)
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
	reply := Clocks{Keyspace: m.Keyspace}
	for _, k := range m.Clocks {
		p := c.find(Address{m.Keyspace, k.Partition})
		if p == nil {
			continue
		}
		c.learn(from, p, k.Clock)
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
	c.touch(p)
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
			c.untidy = append(c.untidy, s.parts...)
		}
	}
	c.tidy()
}

// tidy drops what all members have passed: index entries and, at the elected
// member, reset entries. It stops when the step is full; the next goes on. A core
// that has not heard who the members are knows nothing of what they have passed.
func (c *Core) tidy() {
	if !c.listed {
		c.untidy = nil
		return
	}
	elected := c.elected()
	for len(c.untidy) > 0 && c.room > 0 {
		p := c.untidy[0]
		c.untidy = c.untidy[1:]
		if p.entries > c.keep && p.stage == nil {
			c.truncate(p)
		}
		if p.resets && p.stage == nil {
			c.dropResets(p, elected && !c.fenced)
		}
	}
}

// dropResets removes, at the elected member, the reset entries of p that are
// stable and spent, and the shares whose bound has gone; it notes whether any are
// left.
func (c *Core) dropResets(p *partition, elected bool) {
	start := prefix(kindReset, p.Keyspace, p.Partition)
	var keys []atoll.Key
	for k := range c.view.Scan(append(slices.Clone(start), p.tidied...), after(start)) {
		if keys = append(keys, atoll.Key(k[len(start):])); len(keys) == c.chunk {
			break
		}
	}
	p.resets = len(keys) > 0 || p.tidied != ""
	p.tidied = ""
	if len(keys) == c.chunk {
		p.tidied = keys[len(keys)-1] + "\x00" // go on behind it the next time
	}
	if len(keys) == 0 {
		return
	}
	stable, closed := crdt.Clock{}, elected && c.closed(p)
	if closed {
		stable = c.stable(p)
	}
	for _, key := range keys {
		if c.room <= 0 {
			p.tidied = key
			return
		}
		d := c.loadDoc(p, key)
		if !d.Resets() && !d.Orphans() {
			c.write(keyOf(kindReset, p.Keyspace, p.Partition, key), nil)
		} else if closed || elected && d.Orphans() {
			c.mutate(Mutate{Keyspace: p.Keyspace, Key: key, Edit: func(e *crdt.Edit) error {
				if closed {
					e.DropSpentResets(stable.Has, c.answers)
				}
				e.DropOrphans(c.seen(p, key))
				return nil
			}})
		}
	}
}

// closed reports whether every member has told in this run what it holds, and
// all that they reported of their own writes is here. Before that a disk that was
// rolled back does not know which of its numbers are taken.
func (c *Core) closed(p *partition) bool {
	for _, m := range c.members {
		if !c.awaited(m.Origin) {
			continue
		}
		if m.Origin != c.self.Origin && !p.member(m.Origin).whole {
			return false
		}
		for _, r := range p.report(m.Origin).Runs() {
			if r.Origin == m.Origin && !p.clock.HasRun(r) && (plant.Bug != plant.ClosedByMax ||
				r.Last > p.clock.Max(m.Origin)) {
				return false
			}
		}
	}
	return true
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
	if len(c.sessions) < MaxPulls {
		for _, p := range c.lagging {
			if p.pull == nil && p.stage == nil && p.missing.Before(t) && c.mayPull(p) {
				t = p.missing
			}
		}
	}
	return t
}
