package replication

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Some things go only when every member has passed them: index entries, reset
// entries, markers of deletions, documents past their deadline. A partition in which something waits for that
// is held: the members are asked for what they have until they say it, and it is
// looked at again at once, so that nothing stays for longer than a few round
// trips while all nodes are up. While one is down, nobody is asked in vain.

const (
	// AskEvery is how often members are asked for what they have, while something
	// waits for that.
	AskEvery = 500 * time.Millisecond
	// AskTo is how many of them are asked at a time.
	AskTo = 16
)

// tidy drops what all members have passed. It stops when the step is full; the
// next goes on. A core that has not heard who the members are knows nothing of
// what they have passed.
func (c *Core) tidy() {
	if !c.listed {
		for _, p := range c.untidy {
			p.queued = false
		}
		c.untidy = nil
		return
	}
	var again []*partition // in the next step: none reads what it has itself written
	for len(c.untidy) > 0 && c.room > 0 {
		p := c.untidy[0]
		c.untidy = c.untidy[1:]
		p.queued = false
		if p.stage == nil && c.tidyPart(p) {
			again = append(again, p)
		}
	}
	for _, p := range again {
		c.queue(p)
	}
	c.askMembers()
}

// queue has a partition tidied soon.
func (c *Core) queue(p *partition) {
	if !p.queued {
		p.queued = true
		c.untidy = append(c.untidy, p)
	}
}

// tidyPart tidies a partition, and reports whether there is more to do at once.
func (c *Core) tidyPart(p *partition) (more bool) {
	if p.entries > c.keep {
		c.truncate(p)
	}
	changes := c.stats.Mutations
	if p.marked {
		more = c.tidyMarked(p)
	}
	if !c.elected() && plant.Bug != plant.LocalExpiry || c.fenced || p.due > c.now.UnixMilli() {
		return more
	}
	if c.stats.Mutations > changes {
		return true // in the next step
	}
	return c.bury(p) || more
}

// tidyMarked looks at the documents of p that are marked, a chunk at a time: those
// that are gone lose their index entries, and the elected member removes reset
// entries and markers that nobody needs. It reports whether there is more to do at once.
func (c *Core) tidyMarked(p *partition) (more bool) {
	start := prefix(kindMark, p.Keyspace, p.Partition)
	var keys []atoll.Key
	for k := range c.view.Scan(append(slices.Clone(start), p.tidied...), after(start)) {
		if keys = append(keys, atoll.Key(k[len(start):])); len(keys) == c.chunk {
			break
		}
	}
	p.marked = len(keys) > 0 || p.tidied != ""
	p.tidied = ""
	if len(keys) == c.chunk {
		p.tidied = keys[len(keys)-1] + "\x00" // go on behind it the next time
	}
	if len(keys) == 0 {
		return false
	}
	stable, closed := c.stable(p), c.elected() && c.closed(p)
	before := len(c.out.Writes)
	var cut crdt.Clock
	for _, key := range keys {
		if c.room <= 0 {
			p.tidied = key
			break
		}
		s := c.load(p, key)
		switch {
		case s.doc.Empty():
			c.unlist(p, key, &s, &stable, &cut)
		case !s.marked():
			c.write(keyOf(kindMark, p.Keyspace, p.Partition, key), nil)
		case c.elected():
			c.clean(p, key, &s, &stable, closed)
		}
	}
	if !cut.Empty() {
		p.cut.Join(cut)
		c.saveMeta(p)
	}
	return p.tidied != "" && len(c.out.Writes) > before
}

// clean removes what is stable and spent of a document, of which something waits
// for that.
func (c *Core) clean(p *partition, key atoll.Key, s *stored, stable *crdt.Clock, closed bool) {
	// A member that lacks what removed an entry would show it again for a moment if
	// its marker went first.
	told := c.told(p)
	settled := closed && (stable.Covers(s.trail) || s.doc.Markers() > crdt.MaxMarkers/2)
	c.remove(p, key, func(e *crdt.Edit) {
		if closed {
			e.DropSpentResets(told.Has, c.answers)
		}
		e.DropOrphans(c.seen(p, key))
		waits := e.CleanUp(stable.Has, told.Has, c.seen(p, key), settled)
		whole := e.Doc().Markers() > 0 || slices.ContainsFunc(e.Doc().Entries,
			func(x crdt.Entry) bool {
				return x.Kind == crdt.ResetOf && (!closed || !told.Has(x.Dot))
			})
		if waits || whole {
			c.hold(p, 0, whole)
		}
	})
}

// remove makes a change of the core's own. Those who get it say so, since it may
// be what the next one waits for.
func (c *Core) remove(p *partition, key atoll.Key, edit func(*crdt.Edit)) {
	var doc crdt.Doc
	_, delta, err := c.edit(Mutate{Keyspace: p.Keyspace, Key: key,
		Edit: func(e *crdt.Edit) error { edit(e); return nil }}, &doc)
	if err == nil && delta != nil {
		c.disseminate(p, delta, true)
	}
}

// unlist drops those index entries of a document that is gone which every member
// has passed, and adds them to cut: only those who come without their dots and
// are no members need them, and get everything anyway.
func (c *Core) unlist(p *partition, key atoll.Key, s *stored, stable, cut *crdt.Clock) {
	var left, gone crdt.Clock
	for r := range s.trail.Minus(p.cut) {
		for run, k := range scanIndex(c.view, p.Keyspace, p.Partition, r) {
			if k != key || p.cut.HasRun(run) {
				continue
			}
			if !stable.HasRun(run) {
				left.AddRun(run)
				continue
			}
			gone.AddRun(run)
			p.entries--
			c.write(indexKey(p.Keyspace, p.Partition,
				crdt.Dot{Origin: run.Origin, Seq: run.First}), nil)
			c.out.Dropped = append(c.out.Dropped, Dropped{p.Address, run, key})
		}
	}
	cut.Join(gone)
	switch {
	case left.Empty():
		c.write(keyOf(kindDoc, p.Keyspace, p.Partition, key), nil)
		c.write(keyOf(kindMark, p.Keyspace, p.Partition, key), nil)
		return
	case !gone.Empty():
		s.trail = left
		c.write(keyOf(kindDoc, p.Keyspace, p.Partition, key), s.bytes())
	}
	c.hold(p, 0, false)
}

// closed reports whether every member has told in this run what it holds, and
// all that they reported of their own writes is here. Before that a disk that was
// rolled back does not know which of its numbers are taken.
func (c *Core) closed(p *partition) bool {
	if plant.Bug == plant.OpenReports {
		return true
	}
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

// bury removes, at the elected member, documents whose deadline has passed, a
// chunk at a time: by ordinary deletions, and only when every member has said,
// after the deadline by its own clock, that it has the document, and all that
// it had itself written by then is here. Then nobody extends what is removed: a
// member for whom the deadline has passed does not, and what was extended before
// is here. It reports whether there is more to do at once.
func (c *Core) bury(p *partition) (more bool) {
	start := prefix(kindDeadline, p.Keyspace, p.Partition)
	end := binary.BigEndian.AppendUint64(slices.Clone(start), uint64(c.now.UnixMilli()+1))
	var rests [][]byte
	for k := range c.view.Scan(append(slices.Clone(start), p.buried...), end) {
		if rests = append(rests, slices.Clone(k[len(start):])); len(rests) == c.chunk {
			break
		}
	}
	begun, full := p.buried != nil, len(rests) == c.chunk
	if p.buried = nil; full {
		p.buried = append(rests[c.chunk-1], 0)
	}
	changes := c.stats.Mutations
	if !c.buryAll(p, rests) {
		return full && c.stats.Mutations > changes
	}
	if !full && !begun {
		p.due = c.earliest(p, end)
	}
	return full
}

// buryAll reports whether none of some deadlines is left.
func (c *Core) buryAll(p *partition, rests [][]byte) bool {
	told, closed, all := c.told(p), c.closed(p), true
	for _, rest := range rests {
		if c.room <= 0 {
			p.buried = rest
			return false
		}
		at, key := int64(binary.BigEndian.Uint64(rest)), atoll.Key(rest[8:])
		s := c.load(p, key)
		if t, ok := s.doc.Deadline(); !ok || max(t.At, 0) != at {
			c.write(deadlineKey(p, at, key), nil)
			continue
		}
		if plant.Bug == plant.LocalExpiry {
			c.save(p, key, &s, &crdt.Doc{Ghosts: s.doc.Ghosts})
			continue
		}
		if closed && c.timed(p, at) && !slices.ContainsFunc(s.doc.Entries, func(x crdt.Entry) bool {
			return !told.Has(x.Dot)
		}) {
			c.remove(p, key, crdt.Delete)
			continue
		}
		c.hold(p, at, true)
		all = false
	}
	return all
}

// timed reports whether every other member has said what it has at a time, by its
// own clock, that is not before at.
func (c *Core) timed(p *partition, at int64) bool {
	return plant.Bug == plant.UntimedReports || !slices.ContainsFunc(c.members, func(m Member) bool {
		return m.Origin != c.self.Origin && c.awaited(m.Origin) && p.member(m.Origin).at < at
	})
}

// earliest returns the first deadline of p's documents that is not before from.
func (c *Core) earliest(p *partition, from []byte) int64 {
	start := prefix(kindDeadline, p.Keyspace, p.Partition)
	for k := range c.view.Scan(from, after(start)) {
		return int64(binary.BigEndian.Uint64(k[len(start):]))
	}
	return math.MaxInt64
}

// hold notes that there is more to tidy when all members have reported what p has
// now, at a time, by their own clocks, that is not before at; whole: not dot by
// dot, but with all that they have.
func (c *Core) hold(p *partition, at int64, whole bool) {
	p.want.at, p.want.whole = max(p.want.at, at), p.want.whole || whole
	if !p.held {
		p.held, p.want.clock = true, p.clock.Clone()
	}
	if !slices.Contains(c.held, p) {
		c.held = append(c.held, p)
	}
}

// ripen looks at a partition that is held when all has been reported.
func (c *Core) ripen(p *partition) {
	if p.held && !slices.ContainsFunc(c.members, func(m Member) bool { return c.owes(p, m) }) {
		p.held, p.want = false, report{}
		c.queue(p)
	}
}

// owes reports whether a member has yet to report what p is held for.
func (c *Core) owes(p *partition, m Member) bool {
	r := p.member(m.Origin)
	return m.Origin != c.self.Origin && c.awaited(m.Origin) &&
		(r.at < p.want.at || !r.whole || !r.clock.Covers(p.want.clock) ||
			p.want.whole && !r.told.Covers(p.want.clock))
}

// askMembers asks those that are connected for what held partitions wait for.
func (c *Core) askMembers() {
	c.held = slices.DeleteFunc(c.held, func(p *partition) bool { return !p.held })
	if len(c.held) == 0 || c.now.Before(c.nextAsk) {
		return
	}
	c.nextAsk = c.now.Add(AskEvery)
	asked := 0
	for _, i := range c.rand.Perm(len(c.peers)) {
		q := c.peers[i]
		var heads []Head
		for _, p := range c.held {
			s := c.space(p.Keyspace)
			named := slices.ContainsFunc(heads, func(h Head) bool { return h.Keyspace == s.name })
			if !named && len(heads) < MaxHeads && c.owes(p, q) {
				heads = append(heads, Head{s.name, s.hash()})
			}
		}
		if len(heads) == 0 {
			continue
		}
		c.send(q.Node, Heads{Heads: heads, Report: true, At: c.tell()})
		if asked++; asked == AskTo {
			return
		}
	}
}

// tell returns the time of a report that is being sent. No edit here is of an
// earlier time from then on, even if the wall clock is set back.
func (c *Core) tell() int64 {
	c.hlc.Observe(hlc.At(c.now), c.now)
	return c.now.UnixMilli()
}
