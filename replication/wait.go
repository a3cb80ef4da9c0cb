package replication

import (
	"container/heap"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// AskAfter is how long an Await leaves a missing dot to come by itself before
// the core asks a peer for it.
const AskAfter = 200 * time.Millisecond

// Await asks for a Reply when this replica holds everything that Needs names,
// or an error of kind atoll.BehindSession at the deadline.
type Await struct {
	ID       uint64
	Needs    []Need
	Deadline time.Time
}

// Need is what one partition must hold.
type Need struct {
	Address
	Clock crdt.Clock
}

// wait is a caller that waits for other nodes' disks (run, level) or for this
// replica to catch up (needs). It hangs at one partition at a time.
type wait struct {
	id       uint64
	at       *partition
	deadline time.Time
	final    time.Time // of a reader: deadline is when to ask a peer until then
	index    int       // in deadlines, -1 when gone

	run   crdt.Run
	level atoll.Level
	doc   crdt.Doc

	needs []Need
}

// deadlines is a heap of waits by deadline.
type deadlines []*wait

func (h deadlines) Len() int           { return len(h) }
func (h deadlines) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }
func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *deadlines) Push(x any) { w := x.(*wait); w.index = len(*h); *h = append(*h, w) }
func (h *deadlines) Pop() any {
	old := *h
	w := old[len(old)-1]
	*h = old[:len(old)-1]
	w.index = -1
	return w
}

func (c *Core) await(in Await) {
	c.waitFor(&wait{id: in.ID, needs: slices.Clone(in.Needs), deadline: in.Deadline})
}

// Holders returns the members that have said to hold all that needs name, in
// order of their origins.
func (c *Core) Holders(needs []Need) (holders []atoll.Origin) {
	for _, m := range c.members {
		holds := func(n Need) bool {
			i, found := c.place(n.Keyspace)
			if !found || n.Partition < 0 || n.Partition >= len(c.spaces[i].parts) {
				return false
			}
			return c.spaces[i].parts[n.Partition].report(m.Origin).Covers(n.Clock)
		}
		if m.Origin != c.self.Origin && !slices.ContainsFunc(needs, func(n Need) bool { return !holds(n) }) {
			holders = append(holders, m.Origin)
		}
	}
	return holders
}

// waitFor replies at once if w is satisfied and keeps it otherwise.
func (c *Core) waitFor(w *wait) {
	if c.satisfied(w) {
		c.reply(w, nil)
		return
	}
	if w.at == nil {
		c.reply(w, c.late(w))
		return
	}
	if len(c.waits) >= MaxWaits {
		c.reply(w, atoll.Errorf(atoll.BehindSession, "too many calls wait already").
			WithLimit("waiting calls", MaxWaits))
		return
	}
	if w.needs != nil {
		// The first deadline is when to ask a peer; expired then sets the real one.
		c.askLater(w)
	}
	heap.Push(&c.waits, w)
	w.at.waits = append(w.at.waits, w)
}

// askLater lets a reader's wait come up early, once, to ask a peer.
func (c *Core) askLater(w *wait) {
	w.final = w.deadline
	if ask := c.now.Add(AskAfter); ask.Before(w.deadline) {
		w.deadline = ask
	}
}

// satisfied reports whether w can be answered, and moves it to the partition at
// which it hangs if not: nil when it names one for which there is no room.
func (c *Core) satisfied(w *wait) bool {
	if w.needs == nil {
		_, ok := c.reached(w.at, w.run, w.level)
		return ok
	}
	for len(w.needs) > 0 {
		n := &w.needs[0]
		w.at = c.find(n.Address)
		if w.at == nil || !w.at.clock.Covers(c.strip(w.at, n.Clock)) && plant.Bug != plant.SessionUnchecked {
			return false
		}
		w.needs = w.needs[1:]
	}
	return true
}

// touch marks a partition whose clock or reports changed in this step.
func (c *Core) touch(p *partition) {
	if len(p.waits) > 0 && !slices.Contains(c.touched, p) {
		c.touched = append(c.touched, p)
	}
}

// settle answers those whose wait this step has ended.
func (c *Core) settle() {
	for len(c.touched) > 0 {
		p := c.touched[0]
		c.touched = c.touched[1:]
		waits := p.waits
		p.waits = nil
		for _, w := range waits {
			switch {
			case w.index < 0:
			case c.satisfied(w):
				heap.Remove(&c.waits, w.index)
				c.reply(w, nil)
			case w.at == nil:
				heap.Remove(&c.waits, w.index)
				c.reply(w, c.late(w))
			default:
				w.at.waits = append(w.at.waits, w)
			}
		}
	}
}

// expire handles the waits whose time has come.
func (c *Core) expire() {
	for len(c.waits) > 0 && !c.waits[0].deadline.After(c.now) {
		w := heap.Pop(&c.waits).(*wait)
		if w.needs != nil && w.deadline.Before(w.final) {
			w.deadline = w.final
			heap.Push(&c.waits, w)
			c.ask(w)
			continue
		}
		w.at.waits = slices.DeleteFunc(w.at.waits, func(x *wait) bool { return x == w })
		c.reply(w, c.late(w))
	}
}

// ask pulls what a reader waits for from a peer that has it, or wrote it.
func (c *Core) ask(w *wait) {
	for _, n := range w.needs {
		p := c.find(n.Address)
		if p == nil || p.clock.Covers(c.strip(p, n.Clock)) {
			continue
		}
		p.asked = true
		for _, q := range c.peers {
			wrote := n.Clock.Max(q.Origin) > p.clock.Max(q.Origin)
			if wrote || p.report(q.Origin).Covers(n.Clock) {
				c.lag(p, q.Node, c.now)
				break
			}
		}
		if p.missing.IsZero() && len(c.peers) > 0 {
			c.lag(p, c.peers[c.rand.IntN(len(c.peers))].Node, c.now)
		}
	}
	c.startPulls()
}

func (c *Core) reply(w *wait, err error) {
	r := Reply{ID: w.id, Err: err}
	if w.needs == nil {
		r.Dots, r.Doc = w.run, w.doc
		r.Reached, _ = c.reached(w.at, w.run, w.level)
	}
	c.out.Replies = append(c.out.Replies, r)
}

// reached returns the regions in which r is durable, and whether that is level.
func (c *Core) reached(p *partition, r crdt.Run, l atoll.Level) ([]atoll.Region, bool) {
	if l == (atoll.Level{}) {
		return nil, true
	}
	regions := []atoll.Region{c.self.Region}
	everywhere, region := true, true
	for _, m := range c.members {
		switch {
		case m.Origin == c.self.Origin:
		case p.report(m.Origin).HasRun(r):
			if !slices.Contains(regions, m.Region) {
				regions = append(regions, m.Region)
			}
		default:
			everywhere = false
			region = region && (m.Region != c.self.Region || c.peer(m.Node) < 0)
		}
	}
	ok := (!l.All || everywhere) && (!l.Region || region) && len(regions) >= l.Regions
	return regions, ok
}

// possible refuses a level that the roster can never meet.
func (c *Core) possible(l atoll.Level) error {
	var regions []atoll.Region
	for _, m := range c.members {
		if !slices.Contains(regions, m.Region) {
			regions = append(regions, m.Region)
		}
	}
	if l.Regions > len(regions) {
		return atoll.Errorf(atoll.DurabilityImpossible,
			"durability regions:%d, but the cluster has %d regions", l.Regions, len(regions)).
			WithLimit("regions", int64(len(regions)))
	}
	return nil
}

// late says why w was not satisfied in time.
func (c *Core) late(w *wait) error {
	if w.needs != nil {
		return atoll.Errorf(atoll.BehindSession,
			"this replica has not yet seen all that the session token names").
			WithHint("try again, or read in the region where you wrote")
	}
	regions, _ := c.reached(w.at, w.run, w.level)
	names := make([]string, len(regions))
	for i, r := range regions {
		names[i] = string(r)
	}
	return atoll.Errorf(atoll.DurabilityNotReached,
		"the write is durable in %d region(s): %s", len(names), strings.Join(names, ", ")).
		WithHint("it stays and goes on replicating; do not repeat it")
}
