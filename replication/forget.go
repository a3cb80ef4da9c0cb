package replication

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Roster is the keyspace in which the members stand. It is what a new node
// takes in first: nothing else before a peer has seen its own entry there.
const Roster = atoll.Keyspace("_roster")

// Parting is how far a member has come in forgetting an origin.
type Parting byte

// The steps of forgetting an origin X. Every member that is not itself
// forgotten takes part, lapsed ones too.
//
//	Promised  durable here: nothing of X is taken from X or from another that is
//	          forgotten, only from members, who promise the same
//	Gathered  all members have promised, as far as this one has heard: from now on
//	          what the members hold of X together does not grow
//	Closed    all members hold the same of X. What lies between is lost for ever:
//	          those dots enter the clock as removed, and ghosts of them go
//	Pruned    no member has a document that names X any more. X leaves clocks and
//	          index; every dot of X counts as seen
//
// A member says Gathered and Closed under the layout that it knows; only words
// under the same layout count together. Pruned, once true, is true for all.
const (
	Promised Parting = 1
	Gathered Parting = 2
	Closed   Parting = 3
	Pruned   Parting = 4
)

func (p Parting) String() string {
	return [...]string{"unknown", "promised", "gathered", "closed", "pruned"}[min(p, Pruned+1)%5]
}

// maxPause is how many rounds of heads lie at most between two looks for documents
// that still name a closed origin. Each look that finds one doubles the pause: a
// document that nobody writes again keeps the origin in the clocks, and all else.
const maxPause = 600

// gone is an origin that is being forgotten.
type gone struct {
	origin atoll.Origin
	phase  Parting
	clean  bool                 // closed: the last look found no document that names it
	dirty  bool                 // the look under way has found one
	heard  map[atoll.Origin]Vow // what members said last
}

// sweeper looks at all documents of the partitions that know a closed origin.
type sweeper struct {
	about  []*gone // closed when the look began
	parts  []*partition
	cursor atoll.Key // go on behind it in parts[0]
	rounds int       // of heads until the next look
	pause  int       // after the next look
}

// forgotten returns the record of an origin, nil when it is not being forgotten.
func (c *Core) forgotten(o atoll.Origin) *gone {
	i, found := slices.BinarySearchFunc(c.gone, o, func(g *gone, o atoll.Origin) int {
		return cmp.Compare(g.origin, o)
	})
	if !found {
		return nil
	}
	return c.gone[i]
}

// pruned reports whether every dot of o counts as seen.
func (c *Core) pruned(o atoll.Origin) bool {
	g := c.forgotten(o)
	return g != nil && g.phase == Pruned
}

// settled reports whether nothing more of o is taken in, from nobody.
func (c *Core) settled(o atoll.Origin) bool {
	g := c.forgotten(o)
	return g != nil && g.phase >= Closed
}

// strip returns k as p may learn it: of an origin that is closed there is no
// more than what p has.
func (c *Core) strip(p *partition, k crdt.Clock) crdt.Clock {
	for _, g := range c.gone {
		if g.phase < Closed || k.Max(g.origin) == 0 && p.clock.Max(g.origin) == 0 {
			continue
		}
		k = k.Without(g.origin)
		for _, r := range p.clock.Of(g.origin) {
			k.AddRun(r)
		}
	}
	return k
}

// theirs returns the clock by which a source's document is joined: it has seen
// all of those that are pruned.
func (c *Core) theirs(k crdt.Clock) crdt.Clock {
	for _, g := range c.gone {
		if g.phase == Pruned {
			k = k.Without(g.origin)
			k.AddRun(crdt.Run{Origin: g.origin, First: 1, Last: 1 << 62})
		}
	}
	return k
}

// forget takes the forgotten of a layout in: what is new is promised, and what
// the roster has dropped is dropped here when nothing of it is left.
func (c *Core) forget(origins []atoll.Origin) {
	for _, o := range origins {
		if o == c.self.Origin {
			c.expel()
			continue
		}
		if c.forgotten(o) == nil {
			c.gone = append(c.gone, &gone{origin: o, heard: make(map[atoll.Origin]Vow)})
			slices.SortFunc(c.gone, func(a, b *gone) int { return cmp.Compare(a.origin, b.origin) })
			c.reach(c.forgotten(o), Promised)
		}
	}
	c.gone = slices.DeleteFunc(c.gone, func(g *gone) bool {
		drop := g.phase == Pruned && !slices.Contains(origins, g.origin) && c.swept(g)
		if drop {
			c.write(goneKey(g.origin), nil)
		}
		return drop
	})
	c.shun()
	for _, g := range c.gone {
		c.advance(g)
		c.vow(g)
	}
}

// shun lets go of connections and pulls of those who are forgotten.
func (c *Core) shun() {
	for _, q := range slices.Clone(c.peers) {
		if c.forgotten(q.Origin) != nil {
			c.dismiss(q)
			c.peerDown(q.Node)
		}
	}
	for _, s := range slices.Clone(c.sessions) {
		if c.forgotten(s.from.Origin) != nil {
			c.breakPull(s)
		}
	}
}

// dismiss tells a peer that it is forgotten. It looks into the roster itself.
func (c *Core) dismiss(m Member) {
	c.send(m.Node, Vow{Origin: m.Origin, Phase: Promised})
}

// reach notes a step, durably, and says so to all.
func (c *Core) reach(g *gone, p Parting) {
	g.phase = p
	if p != Gathered { // that one is said anew by whoever restarts
		c.write(goneKey(g.origin), []byte{byte(p)})
		c.sweep.rounds, c.sweep.pause = 0, 1
	}
	c.vow(g)
}

// vow says to all peers how far this member is with g.
func (c *Core) vow(g *gone) {
	for _, q := range c.peers {
		c.vowTo(q, g)
	}
}

func (c *Core) vowTo(q Member, g *gone) {
	sum, whole := c.tally(g.origin)
	if g.phase == Closed && !whole {
		return // still filling
	}
	c.send(q.Node, Vow{Origin: g.origin, Layout: c.layoutSum, Phase: g.phase, Sum: sum,
		Clean: g.clean})
}

// heardVow takes in how far a peer is.
func (c *Core) heardVow(from Member, m Vow) {
	if p := c.find(Address{Roster, 0}); m.Origin == c.self.Origin && p != nil && !c.expelled {
		p.asked = true // believe the roster, not the peer
		c.lag(p, from.Node, c.now)
		c.startPulls()
		return
	}
	if g := c.forgotten(m.Origin); g != nil {
		g.heard[from.Origin] = m
		c.advance(g)
	}
}

// advance goes on with g as far as what was heard allows.
func (c *Core) advance(g *gone) {
	for {
		next := c.next(g)
		if next == g.phase {
			return
		}
		c.reach(g, next)
		if next == Closed {
			c.fill(g)
		}
	}
}

// next returns the step that g is to be at.
func (c *Core) next(g *gone) Parting {
	if c.anyone(g, func(v Vow) bool { return v.Phase == Pruned }) {
		return Pruned // the source of all that is here had all of it
	}
	sum, whole := c.tally(g.origin)
	switch g.phase {
	case Promised:
		if plant.Bug == plant.ForgottenEarly ||
			c.everyone(g, func(v Vow) bool { return v.Phase >= Promised }) {
			return Gathered
		}
	case Gathered:
		if c.everyone(g, func(v Vow) bool { return v.Phase == Gathered && v.Sum == sum }) ||
			plant.Bug == plant.ForgottenEarly && c.alike(g, sum) {
			return Closed
		}
		if whole && c.anyone(g, func(v Vow) bool { return v.Phase == Closed && v.Sum == sum }) {
			return Closed
		}
	case Closed:
		if whole && g.clean && (plant.Bug == plant.PrunedAlone || c.everyone(g, func(v Vow) bool {
			return v.Phase == Closed && v.Clean
		})) {
			return Pruned
		}
	}
	return g.phase
}

// everyone reports whether f holds for what each other member said last under
// the layout that is known here.
func (c *Core) everyone(g *gone, f func(Vow) bool) bool {
	for _, m := range c.members {
		v, ok := g.heard[m.Origin]
		if m.Origin != c.self.Origin && (!ok || v.Layout != c.layoutSum || !f(v)) {
			return false
		}
	}
	return true
}

// alike is what a wrong rule asks for: that those who happen to be heard of
// hold the same.
func (c *Core) alike(g *gone, sum uint64) bool {
	for _, v := range g.heard {
		if v.Sum != sum {
			return false
		}
	}
	return len(g.heard) > 0
}

// anyone reports whether f holds for what some other member said last.
func (c *Core) anyone(g *gone, f func(Vow) bool) bool {
	return slices.ContainsFunc(c.members, func(m Member) bool {
		v, ok := g.heard[m.Origin]
		return ok && f(v)
	})
}

// tally returns a hash of all dots of o that are here, and whether there is no
// hole between them.
func (c *Core) tally(o atoll.Origin) (sum uint64, whole bool) {
	whole = true
	var b []byte
	for _, s := range c.spaces {
		for _, p := range s.parts {
			runs := p.clock.Of(o)
			if len(runs) == 0 {
				continue
			}
			b = append(append(b[:0], s.name...), 0)
			b = binary.BigEndian.AppendUint16(b, uint16(p.Partition))
			for _, r := range runs {
				b = crdt.AppendRun(b, r)
			}
			sum += xxhash.Sum64(b)
			whole = whole && len(runs) == 1 && runs[0].First == 1
		}
	}
	return sum, whole
}

// fill puts the dots of a closed origin that nobody has into the clocks, as
// removed. They have no index entry, so cut grows by them.
func (c *Core) fill(g *gone) {
	for _, s := range c.spaces {
		for _, p := range s.parts {
			last := p.clock.Max(g.origin)
			if last == 0 || c.room <= 0 {
				continue // full: the next round goes on
			}
			all := crdt.ClockOf(crdt.Run{Origin: g.origin, First: 1, Last: last})
			if p.clock.Covers(all) {
				continue
			}
			for r := range all.Minus(p.clock) {
				p.cut.AddRun(r)
			}
			p.clock.Join(all)
			p.hashed = false
			c.advanced(p)
			c.saveMeta(p)
			c.touch(p)
		}
	}
	c.vow(g)
}

// partings goes on with all that are being forgotten; once in a round of heads.
func (c *Core) partings() {
	if len(c.gone) == 0 {
		return
	}
	for _, g := range c.gone {
		if c.over(g) {
			continue
		}
		if _, whole := c.tally(g.origin); g.phase == Closed && !whole {
			c.fill(g)
		}
		c.advance(g)
		c.vow(g)
	}
	if c.sweep.rounds--; c.sweep.rounds <= 0 && len(c.sweep.parts) == 0 {
		c.beginSweep()
	}
}

// over reports whether g is pruned at every member.
func (c *Core) over(g *gone) bool {
	return g.phase == Pruned && c.swept(g) && c.everyoneEver(g)
}

func (c *Core) everyoneEver(g *gone) bool {
	for _, m := range c.members {
		if m.Origin != c.self.Origin && g.heard[m.Origin].Phase != Pruned {
			return false
		}
	}
	return true
}

// swept reports whether no clock has anything of g.
func (c *Core) swept(g *gone) bool {
	for _, s := range c.spaces {
		for _, p := range s.parts {
			if p.clock.Max(g.origin) > 0 {
				return false
			}
		}
	}
	return true
}

// beginSweep starts a look at the documents, if some origin waits for one.
func (c *Core) beginSweep() {
	pause := max(c.sweep.pause, 1)
	c.sweep = sweeper{rounds: pause, pause: min(2*pause, maxPause)}
	for _, g := range c.gone {
		if g.phase == Closed && !g.clean {
			g.dirty = false
			c.sweep.about = append(c.sweep.about, g)
		}
	}
	for _, s := range c.spaces {
		for _, p := range s.parts {
			if slices.ContainsFunc(c.gone, func(g *gone) bool {
				return g.phase >= Closed && p.clock.Max(g.origin) > 0
			}) {
				c.sweep.parts = append(c.sweep.parts, p)
			}
		}
	}
	if len(c.sweep.parts) == 0 {
		c.endSweep()
	}
}

// sweepOn moves the look a chunk further. In a step of its own: it must not read
// what the step has written.
func (c *Core) sweepOn() {
	for len(c.sweep.parts) > 0 && c.room > 0 {
		p := c.sweep.parts[0]
		if c.prune(p) && c.sweepDocs(p) {
			c.sweep.parts, c.sweep.cursor = c.sweep.parts[1:], ""
		} else {
			return
		}
	}
	c.endSweep()
}

// endSweep notes which origins no document names.
func (c *Core) endSweep() {
	for _, g := range c.sweep.about {
		if g.phase == Closed && !g.dirty {
			g.clean = true
			c.advance(g)
			c.vow(g)
		}
	}
	c.sweep.about = nil
}

// sweepDocs looks at the next documents of p; true when it has seen all. Ghosts
// of dots that have been closed are dropped on the way.
func (c *Core) sweepDocs(p *partition) bool {
	if len(c.sweep.about) == 0 {
		return true
	}
	if p.stage != nil {
		for _, g := range c.sweep.about {
			g.dirty = true // what is staged may name anything
		}
		return true
	}
	start := prefix(kindDoc, p.Keyspace, p.Partition)
	n := 0
	for k, v := range c.view.Scan(append(slices.Clone(start), c.sweep.cursor...), after(start)) {
		if n++; n > c.chunk || c.room <= 0 {
			c.sweep.cursor = atoll.Key(k[len(start):])
			return false
		}
		c.room -= len(v) // it was read
		d := decodeStored(v, true)
		if ghosts := len(d.Ghosts); ghosts > 0 {
			if c.exorcise(p, &d); len(d.Ghosts) < ghosts {
				key := atoll.Key(k[len(start):])
				was := c.load(p, key)
				c.save(p, key, &was, &d)
			}
		}
		for _, g := range c.sweep.about {
			g.dirty = g.dirty || d.Names(g.origin)
		}
	}
	return true
}

// prune takes the pruned origins out of a partition, as far as the step has
// room; true when none is left.
func (c *Core) prune(p *partition) bool {
	for _, g := range c.gone {
		if g.phase != Pruned || p.clock.Max(g.origin) == 0 {
			continue
		}
		all := crdt.Run{Origin: g.origin, First: 1, Last: p.clock.Max(g.origin)}
		for run := range scanIndex(c.view, p.Keyspace, p.Partition, all) {
			if c.room <= 0 {
				c.saveMeta(p)
				return false
			}
			p.entries--
			p.cut.AddRun(run)
			c.write(indexKey(p.Keyspace, p.Partition, crdt.Dot{Origin: run.Origin, Seq: run.First}), nil)
		}
		p.clock, p.cut = p.clock.Without(g.origin), p.cut.Without(g.origin)
		for i := range p.known {
			p.known[i].clock = p.known[i].clock.Without(g.origin)
			p.known[i].told = p.known[i].told.Without(g.origin)
		}
		p.known = slices.DeleteFunc(p.known, func(r report) bool { return r.origin == g.origin })
		p.hashed = false
		c.saveMeta(p)
		c.touch(p)
	}
	return true
}

// exorcise drops the ghosts of d that can never come: their dots were closed.
func (c *Core) exorcise(p *partition, d *crdt.Doc) {
	d.Ghosts = slices.DeleteFunc(slices.Clone(d.Ghosts), func(x crdt.Dot) bool {
		return p.clock.Has(x) || c.pruned(x.Origin)
	})
}

// expel ends this member: the others accept no more of it. What it wrote and
// they never saw is lost, so it must not stay either.
func (c *Core) expel() {
	if !c.expelled {
		c.expelled, c.out.Expelled = true, true
	}
}

func errExpelled() error {
	return atoll.Errorf(atoll.Fenced, "this node was forgotten by the cluster").
		WithHint("restart it: it drops what it holds and joins again, empty, as a new origin")
}

func goneKey(o atoll.Origin) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindGone}, uint64(o))
}

// recoverGone reads what has been promised.
func (c *Core) recoverGone() {
	for k, v := range c.view.Scan([]byte{kindGone}, []byte{kindGone + 1}) {
		if len(k) == 9 && len(v) == 1 {
			c.gone = append(c.gone, &gone{origin: atoll.Origin(binary.BigEndian.Uint64(k[1:])),
				phase: Parting(v[0]), heard: make(map[atoll.Origin]Vow)})
		}
	}
}

// Farewell tells how far the forgetting of an origin is.
type Farewell struct {
	Origin  atoll.Origin
	Phase   Parting        // at this member
	Waiting []atoll.Origin // members that have not come as far, as far as is known
	Over    bool           // no member has anything of it
}

// Farewells returns all origins that are being forgotten, in order.
func (c *Core) Farewells() []Farewell {
	var all []Farewell
	for _, g := range c.gone {
		f := Farewell{Origin: g.origin, Phase: g.phase, Over: c.over(g)}
		for _, m := range c.members {
			v, ok := g.heard[m.Origin]
			if m.Origin != c.self.Origin && (!ok || v.Phase < g.phase ||
				v.Layout != c.layoutSum && v.Phase < Pruned || g.phase == Closed && !v.Clean) {
				f.Waiting = append(f.Waiting, m.Origin)
			}
		}
		all = append(all, f)
	}
	return all
}

// Expelled reports whether this member was forgotten.
func (c *Core) Expelled() bool { return c.expelled }
