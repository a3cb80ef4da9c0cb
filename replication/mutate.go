package replication

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Mutate asks for one change of one document, decided by Edit on what this
// replica holds. Edit runs inside Step; its error refuses the change and is the
// Reply's. The reply comes when Level is reached or Deadline has passed.
type Mutate struct {
	ID       uint64
	Keyspace atoll.Keyspace
	Key      atoll.Key
	Edit     func(*crdt.Edit) error
	Level    atoll.Level
	Deadline time.Time
}

func (c *Core) mutate(in Mutate) {
	if err := c.attempt(in); err != nil && !c.park(in, err) {
		c.out.Replies = append(c.out.Replies, Reply{ID: in.ID, Err: err})
	}
}

// attempt carries a change out and sees to its Reply; an error is the caller's.
func (c *Core) attempt(in Mutate) error {
	r := Reply{ID: in.ID}
	p, delta, err := c.edit(in, &r.Doc)
	if err != nil {
		return err
	}
	if delta == nil {
		c.out.Replies = append(c.out.Replies, r)
		return nil
	}
	r.Dots = delta.Dots
	c.disseminate(p, delta, in.Level != atoll.Level{})
	c.waitFor(&wait{id: in.ID, at: p, run: delta.Dots, level: in.Level, doc: r.Doc,
		deadline: in.Deadline})
	return nil
}

// edit carries a change out on this replica. It returns a nil delta when
// nothing needed to change.
func (c *Core) edit(in Mutate, doc *crdt.Doc) (*partition, *crdt.Delta, error) {
	switch {
	case c.expelled:
		return nil, nil, errExpelled()
	case c.fenced:
		return nil, nil, errFenced()
	}
	if err := c.possible(in.Level); err != nil {
		return nil, nil, err
	}
	p := c.find(Address{in.Keyspace, PartitionOf(in.Keyspace, in.Key)})
	if p == nil {
		return nil, nil, atoll.Errorf(atoll.TooLarge, "there are too many keyspaces").
			WithLimit("keyspaces", MaxKeyspaces)
	}
	was := c.load(p, in.Key)
	if was.damaged != nil {
		return nil, nil, was.damaged
	}
	e := crdt.NewEdit(was.doc, in.Key, c.self.Origin,
		p.clock.Max(c.self.Origin)+1, c.hlc.Now(c.now))
	e.Know(c.seen(p, in.Key))
	if err := in.Edit(e); err != nil {
		return nil, nil, err
	}
	*doc = *e.Doc()
	delta, ok := e.Delta()
	if !ok {
		return p, nil, nil
	}
	if size := delta.Size(); size > MaxDelta {
		return nil, nil, atoll.Errorf(atoll.TooLarge, "the change has %d bytes", size).
			WithHint("make it in several requests").WithLimit("change bytes", MaxDelta)
	}
	c.save(p, in.Key, &was, doc, delta.Dots)
	c.saveRun(p, delta.Dots, in.Key)
	c.saveMeta(p)
	c.touch(p)
	c.stir(p, in.Key)
	c.stats.Mutations++
	c.out.Changes = append(c.out.Changes, Change{Address: p.Address, Key: in.Key, Doc: *doc})
	return p, &delta, nil
}

func errFenced() error {
	return atoll.Errorf(atoll.Fenced,
		"another replica holds writes of this node that its own disk does not").
		WithHint("its data directory was restored or copied: restart it, it takes a new origin")
}

// disseminate sends a delta once to each node of this region and once to one
// relay in each other region; in an overlay, along its tree.
func (c *Core) disseminate(p *partition, d *crdt.Delta, ack bool) {
	m := Delta{Address: p.Address, Ack: ack, Delta: *d}
	c.passOn(m, "")
	if c.overlay != nil {
		return
	}
	for i := 0; i < len(c.peers); {
		// Peers are sorted by node and so by region, but for odd names: take runs.
		j, best := i, i
		for ; j < len(c.peers) && c.peers[j].Region == c.peers[i].Region; j++ {
			if c.weight(p, c.peers[j].Node) > c.weight(p, c.peers[best].Node) {
				best = j
			}
		}
		if c.peers[i].Region != c.self.Region {
			m.Relay = true
			c.eager(c.peers[best].Node, m)
		}
		i = j
	}
}

// fanOut sends m to the nodes of this region but one.
func (c *Core) fanOut(m Delta, but atoll.NodeID) {
	m.Relay = false
	for _, q := range c.peers {
		if q.Region == c.self.Region && q.Node != but && q.Origin != m.Delta.Dots.Origin {
			c.eager(q.Node, m)
		}
	}
}

func (c *Core) eager(to atoll.NodeID, m Delta) {
	if i := c.peer(to); plant.Bug == plant.SentCountsAsThere && i >= 0 {
		c.find(m.Address).report(c.peers[i].Origin).AddRun(m.Delta.Dots)
	}
	c.out.Sends = append(c.out.Sends, Send{To: to, Message: m, Eager: true})
}

// weight is the rendezvous weight of a node as this node's relay for p.
func (c *Core) weight(p *partition, n atoll.NodeID) uint64 {
	h := xxhash.NewWithSeed(uint64(c.self.Origin) + uint64(p.Partition))
	_, _ = h.WriteString(string(p.Keyspace))
	_, _ = h.WriteString(string(n))
	return h.Sum64()
}

// apply takes a delta in that a peer passed on.
func (c *Core) apply(from Member, m Delta) {
	p, d := c.find(m.Address), &m.Delta
	switch {
	case p == nil:
		return
	case PartitionOf(p.Keyspace, d.Key) != p.Partition:
		c.refuse(from.Node, Misplaced)
		return
	case d.Size() > MaxDelta:
		c.refuse(from.Node, Oversized)
		return
	}
	if d.Dots.Origin == c.self.Origin && !p.clock.HasRun(d.Dots) {
		c.fence()
		return
	}
	if why := c.suspicious(p, from, d.Dots); why != "" {
		c.refuse(from.Node, why)
		return
	}
	claimed := crdt.ClockOf(d.Dots)
	if part := claimed.Intersect(p.clock); !part.Empty() && !part.HasRun(d.Dots) {
		c.refuse(from.Node, Torn)
		return // a delta is a unit: nobody has made one of which we hold a part
	}
	p.report(d.Dots.Origin).AddRun(d.Dots)
	p.report(from.Origin).AddRun(d.Dots)
	seen := c.seen(p, d.Key)
	first := crdt.Dot{Origin: d.Dots.Origin, Seq: d.Dots.First}
	known := seen(first) && plant.Bug != plant.DuplicateApplied
	var was stored
	if !known {
		if was = c.load(p, d.Key); was.damaged != nil {
			return // it stays missing, and comes with what makes the document whole
		}
	}
	if m.Ack {
		c.acknowledge(p, d.Dots)
	}
	if m.Relay {
		c.stats.Relayed++
		c.passOn(m, from.Node)
	}
	if known {
		c.stats.Duplicates++
		return
	}
	c.stats.Applied++
	c.hlc.Observe(d.Time, c.now)
	before, after := was.doc, was.doc
	after.Apply(d, seen)
	if plant.Bug == plant.GhostAsSeen {
		for _, g := range after.Ghosts {
			p.clock.Add(g)
		}
		after.Ghosts = nil
	}
	c.save(p, d.Key, &was, &after, d.Dots)
	c.saveRun(p, d.Dots, d.Key)
	c.saveMeta(p)
	c.touch(p)
	c.ripen(p)
	met, del := metDelta(&before, &after, d, seen)
	c.changed(p, d.Key, after, met || contest(&before, &after), del)
}

// acknowledge tells the writer of r that it is durable here.
func (c *Core) acknowledge(p *partition, r crdt.Run) {
	for _, q := range c.peers {
		if q.Origin == r.Origin {
			c.send(q.Node, Ack{p.Address, r})
		}
	}
}

func (c *Core) changed(p *partition, key atoll.Key, d crdt.Doc, conflict, del bool) {
	c.stir(p, key)
	c.out.Changes = append(c.out.Changes, Change{Address: p.Address, Key: key, Doc: d,
		Remote: true, Conflict: conflict || del, DeleteEdit: del})
}

// metDelta reports whether d met a concurrent change of the other sort: an edit
// that survives a deletion; where deletes win, none does. A deletion adds no existence cell, every other
// write does; an edit that brings a document back names what it replaced.
func metDelta(before, after *crdt.Doc, d *crdt.Delta, seen func(crdt.Dot) bool) (_, del bool) {
	if len(d.Drops) == 0 || !after.Visible() || before.Marked() || after.Marked() {
		return false, false
	}
	if len(d.Adds) == 0 {
		del = before.Visible() && !onlyTidied(before, d)
		return del, del
	}
	for _, x := range d.Drops {
		if !before.Visible() && seen(x) {
			return true, true
		}
	}
	return false, false
}

// onlyTidied reports whether d is the tidying of reset entries or of shares.
func onlyTidied(before *crdt.Doc, d *crdt.Delta) bool {
	tidied := false
	for i := range before.Entries {
		if _, found := slices.BinarySearchFunc(d.Drops, before.Entries[i].Dot,
			crdt.Dot.Compare); found {
			if k := before.Entries[i].Kind; k != crdt.ResetOf && k != crdt.Escrow {
				return false
			}
			tidied = true
		}
	}
	return tidied
}

// fence stops this origin's writes: others hold dots that it never wrote.
func (c *Core) fence() {
	if plant.Bug == plant.FenceIgnored {
		return
	}
	if !c.fenced {
		c.fenced = true
		c.out.Fenced = errFenced().Error()
	}
}
