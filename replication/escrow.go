package replication

import (
	"errors"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Rights to bounded counters move when somebody needs them. A change that lacks
// rights is parked, and claims go to those who have them; a giver writes what it
// gives into its own share, which is durable before it leaves and travels as any
// other delta. When that is here, the parked change is decided anew.
const (
	RightsWait = time.Second            // how long a change waits for rights
	ClaimEvery = 250 * time.Millisecond // claims go out again until then
	MaxParked  = 4096                   // changes that wait; more are refused at once
)

// parked is a change that waits for rights.
type parked struct {
	in    Mutate
	at    *partition
	err   error // what it is refused with
	short *crdt.Shortage
	until time.Time
	claim time.Time // when to claim again
	again bool      // it has claimed before
	ready bool      // the document has changed since
}

// park keeps a change that err refuses, if it is rights that are missing and
// somebody who is connected may give them.
func (c *Core) park(in Mutate, err error) bool {
	k := &parked{in: in, err: err, until: c.now.Add(RightsWait)}
	if in.ID == 0 || !errors.As(err, &k.short) || len(c.parked) >= MaxParked {
		return false
	}
	if !in.Deadline.IsZero() && in.Deadline.Before(k.until) {
		k.until = in.Deadline
	}
	k.at = c.find(Address{in.Keyspace, PartitionOf(in.Keyspace, in.Key)})
	if !c.claimRights(k) {
		return false
	}
	c.parked = append(c.parked, k)
	return true
}

// claimRights sends claims for what k needs: to the richest that have it
// together, and when that has not helped to all that have any. It reports
// whether anybody could be asked.
func (c *Core) claimRights(k *parked) (asked bool) {
	need := k.short.Need
	for _, h := range k.short.Holders {
		q := slices.IndexFunc(c.peers, func(m Member) bool { return m.Origin == h.Origin })
		if q < 0 || need == 0 && !k.again {
			continue
		}
		m := Claim{Address: k.at.Address, Key: k.in.Key, Path: k.short.Path,
			Birth: k.short.Birth, Need: min(k.short.Need, h.Rights)}
		c.send(c.peers[q].Node, m)
		need -= min(need, h.Rights)
		asked = true
	}
	k.again, k.claim = true, c.now.Add(ClaimEvery)
	return asked
}

// stir notes that a document changed: what waits for it may go on.
func (c *Core) stir(p *partition, key atoll.Key) {
	for _, k := range c.parked {
		if k.at == p && k.in.Key == key {
			k.ready = true
		}
	}
}

// unpark decides one parked change anew, whose document has changed, and
// refuses those whose time has come. It reports whether it has taken the step: a
// step must not read what it has itself written.
func (c *Core) unpark() bool {
	c.parked = slices.DeleteFunc(c.parked, func(k *parked) bool {
		late := !k.ready && !k.until.After(c.now)
		if late {
			c.out.Replies = append(c.out.Replies, Reply{ID: k.in.ID, Err: k.err})
		} else if !k.ready && !k.claim.After(c.now) {
			c.claimRights(k)
		}
		return late
	})
	i := slices.IndexFunc(c.parked, func(k *parked) bool { return k.ready })
	if i < 0 {
		return false
	}
	k := c.parked[i]
	c.parked = slices.Delete(c.parked, i, i+1)
	if again := c.attempt(k.in); again != nil && errors.As(again, &k.short) {
		k.err, k.ready = again, false
		c.parked = slices.Insert(c.parked, i, k)
	} else if again != nil {
		c.out.Replies = append(c.out.Replies, Reply{ID: k.in.ID, Err: again})
	}
	return true
}

// claimed gives what a member asks for, if it is here. Of two that wait for each
// other the one with the lesser origin is served.
func (c *Core) claimed(from Member, m Claim) {
	p := c.find(m.Address)
	if p == nil || PartitionOf(m.Keyspace, m.Key) != m.Partition || !c.answers(from.Origin) {
		return
	}
	if from.Origin > c.self.Origin && slices.ContainsFunc(c.parked, func(k *parked) bool {
		return k.at == p && k.in.Key == m.Key && k.short.Birth == m.Birth
	}) {
		return
	}
	c.giveTo(from, p, m.Key, func(e *crdt.Edit) { e.Give(m.Path, m.Birth, from.Origin, m.Need) })
}

// giveTo carries out a gift of rights and sees to it that it reaches to.
func (c *Core) giveTo(to Member, p *partition, key atoll.Key, give func(*crdt.Edit)) {
	var doc crdt.Doc
	_, d, err := c.edit(Mutate{Keyspace: p.Keyspace, Key: key,
		Edit: func(e *crdt.Edit) error { give(e); return nil }}, &doc)
	if err != nil || d == nil {
		return
	}
	n := len(c.out.Sends)
	c.disseminate(p, d, false)
	if !slices.ContainsFunc(c.out.Sends[n:], func(s Send) bool { return s.To == to.Node }) {
		c.eager(to.Node, Delta{Address: p.Address, Delta: *d})
	}
}

// Yield asks this node to give away its rights to all bounded counters, since
// those of an origin that ends are lost. Its Reply comes when that is durable
// here; its error is of kind atoll.NoRights when nobody is connected who could
// take them.
type Yield struct{ ID uint64 }

func (Yield) input() {}

// yielding is a Yield on its way through the partitions.
type yielding struct {
	ids  []uint64
	left []*partition
	next atoll.Key // where to go on in the first of them
}

func (c *Core) yield(in Yield) {
	c.yields = yielding{ids: append(c.yields.ids, in.ID)}
	for _, s := range c.spaces {
		for _, p := range s.parts {
			if p.bounded {
				c.yields.left = append(c.yields.left, p)
			}
		}
	}
	c.yieldOn()
}

// yieldOn gives rights away as far as a step has room, and replies at the end.
func (c *Core) yieldOn() {
	y := &c.yields
	for len(y.left) > 0 && c.room > 0 {
		p := y.left[0]
		to, ok := c.heir(p)
		if !ok {
			c.yielded(atoll.Errorf(atoll.NoRights, "no other member is connected that could take "+
				"the rights to bounded counters").WithHint("connect the node to others first"))
			return
		}
		if y.next = c.yieldPart(p, to); y.next == "" {
			y.left = y.left[1:]
		}
	}
	if len(y.left) == 0 {
		c.yielded(nil)
	}
}

func (c *Core) yielded(err error) {
	for _, id := range c.yields.ids {
		c.out.Replies = append(c.out.Replies, Reply{ID: id, Err: err})
	}
	c.yields = yielding{}
}

// yieldPart gives away what this node has in one partition, and returns where to
// go on, "" at its end.
func (c *Core) yieldPart(p *partition, to Member) (next atoll.Key) {
	start := prefix(kindBounded, p.Keyspace, p.Partition)
	for k := range c.view.Scan(append(slices.Clone(start), c.yields.next...), after(start)) {
		key := atoll.Key(k[len(start):])
		if c.room <= 0 {
			return key
		}
		c.giveTo(to, p, key, func(e *crdt.Edit) { e.GiveAll(to.Origin) })
	}
	return ""
}

// heir returns the member that takes the rights of a partition over: of those
// that are connected one in another region, if there is any.
func (c *Core) heir(p *partition) (best Member, ok bool) {
	for _, q := range c.peers {
		away, had := q.Region != c.self.Region, best.Region != c.self.Region
		if !c.answers(q.Origin) || ok && had && !away {
			continue
		}
		if !ok || away && !had || c.weight(p, q.Node) > c.weight(p, best.Node) {
			best, ok = q, true
		}
	}
	return best, ok
}
