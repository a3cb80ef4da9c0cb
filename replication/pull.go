package replication

import (
	"cmp"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// retryPull is the mean time before a failed pull is tried again.
const retryPull = 500 * time.Millisecond

// SessionID names one pull of this run of the process.
type SessionID uint64

// OpenPull asks to open a stream to a peer, send Pull on it and feed what comes
// back as PullEvents, in order, then PullFailed if it breaks before End.
type OpenPull struct {
	Session SessionID
	To      atoll.NodeID
	Pull    Pull
}

// PullEvent is the next message of the answer to a pull: Begin, Doc or End.
type PullEvent struct {
	Session SessionID
	Message Message
}

// PullFailed says that no more of an answer will come.
type PullFailed struct{ Session SessionID }

// session is an open pull: an answer is bound to it and so to this process.
type session struct {
	id    SessionID
	from  Member
	p     *partition
	begun bool
	full  bool
	had   uint64     // dots here when it began
	clock crdt.Clock // the source's, of the instant of its documents
}

// startPulls opens the pulls that are due, as far as there is room.
func (c *Core) startPulls() {
	c.lagging = slices.DeleteFunc(c.lagging, func(p *partition) bool {
		if p.pull != nil || p.stage != nil || p.missing.After(c.now) || !c.mayPull(p) {
			return false
		}
		i := c.peer(p.from)
		if i < 0 || p.clock.Covers(*p.report(c.peers[i].Origin)) && !p.asked {
			p.missing = time.Time{}
			return true // came by itself, or its source is gone: heads will tell
		}
		if len(c.sessions) < MaxPulls {
			c.openPull(p, c.source(p, c.peers[i]))
		}
		return false
	})
}

// source returns the peer from whom to take p: known, who is known to have more,
// or where nothing is here yet one of those who have as much, a different one for
// each partition.
func (c *Core) source(p *partition, known Member) Member {
	if !p.clock.Empty() {
		return known
	}
	best, all := known, *p.report(known.Origin)
	for _, q := range c.peers {
		if p.report(q.Origin).Covers(all) && c.weight(p, q.Node) > c.weight(p, best.Node) {
			best = q
		}
	}
	return best
}

func (c *Core) openPull(p *partition, from Member) {
	c.lastID++
	p.pull = &session{id: c.lastID, from: from, p: p, had: p.clock.Len()}
	p.asked = false
	c.sessions = append(c.sessions, p.pull)
	c.stats.Pulls++
	c.out.Pulls = append(c.out.Pulls, OpenPull{
		Session: c.lastID, To: from.Node, Pull: Pull{p.Address, p.clock.Clone()},
	})
}

// session returns an open session and its place.
func (c *Core) session(id SessionID) (int, *session) {
	i, found := slices.BinarySearchFunc(c.sessions, id, func(s *session, id SessionID) int {
		return cmp.Compare(s.id, id)
	})
	if !found {
		return -1, nil
	}
	return i, c.sessions[i]
}

// endPull closes a session. A pull that brought us level leaves the list of
// those that lag; any other is due again after retry.
func (c *Core) endPull(s *session, retry time.Duration) {
	i, _ := c.session(s.id)
	c.sessions = slices.Delete(c.sessions, i, i+1)
	s.p.pull = nil
	s.p.missing = c.now.Add(retry)
	if retry > 0 {
		s.p.missing = s.p.missing.Add(time.Duration(c.rand.Int64N(int64(retry))))
	}
	c.startPulls()
}

func (c *Core) pullFailed(id SessionID) {
	if _, s := c.session(id); s != nil {
		c.breakPull(s)
	}
}

// breakPull ends a session whose answer cannot be used any further.
func (c *Core) breakPull(s *session) {
	if s.full && plant.Bug == plant.BrokenPullApplied {
		c.applyStage(s.p)
	} else if s.full {
		c.discardStage(s.p)
	}
	c.endPull(s, retryPull)
}

func (c *Core) pullEvent(in PullEvent) {
	_, s := c.session(in.Session)
	if s == nil {
		return
	}
	switch m := in.Message.(type) {
	case Begin:
		c.pullBegin(s, m)
	case Doc:
		if !s.begun || !s.honest(&m) {
			c.refuse(s.from.Node, Dishonest)
			c.breakPull(s)
		} else if s.full && plant.Bug == plant.FullInPlace {
			for i := range m.Doc.Entries {
				d := m.Doc.Entries[i].Dot
				m.Runs = append(m.Runs, crdt.Run{Origin: d.Origin, First: d.Seq, Last: d.Seq})
			}
			c.join(s, m)
		} else if s.full {
			c.stageDoc(s.p, m)
		} else {
			c.join(s, m)
		}
	case End:
		c.pullEnd(s)
	}
}

func (c *Core) pullBegin(s *session, m Begin) {
	if s.begun || m.Busy {
		c.breakPull(s)
		return
	}
	if why := c.suspect(s.p, s.from, c.strip(s.p, m.Clock)); why != "" {
		c.refuse(s.from.Node, why)
		c.breakPull(s)
		return
	}
	c.learn(s.from, s.p, m.Clock)
	s.begun, s.full, s.clock = true, m.Full, m.Clock
	if plant.Bug == plant.HintsAsDots && !s.full {
		s.p.clock.Join(m.Clock)
		s.p.hashed = false
	}
	if s.full {
		c.stats.FullPulls++
		c.beginStage(s.p, m.Clock)
	}
}

func (c *Core) pullEnd(s *session) {
	if !s.begun {
		c.refuse(s.from.Node, Dishonest)
		c.breakPull(s)
		return
	}
	if !s.full && !s.p.clock.Covers(c.strip(s.p, s.clock)) {
		c.refuse(s.from.Node, Unsent)
	}
	if s.full {
		c.applyStage(s.p)
	}
	if !s.full && s.p.clock.Len() == s.had {
		c.endPull(s, retryPull) // nothing new: do not ask again at once
		return
	}
	c.endPull(s, 0)
}

// honest reports whether a document claims no dot that its source's clock, as
// announced, does not have.
func (s *session) honest(m *Doc) bool {
	p := s.p
	if plant.Bug == plant.SplitDocument {
		return true
	}
	if PartitionOf(p.Keyspace, m.Key) != p.Partition || len(m.Runs) > MaxDocRuns {
		return false
	}
	own := crdt.ClockOf(m.Runs...)
	for _, r := range m.Runs {
		if !s.clock.HasRun(r) {
			return false
		}
	}
	for i := range m.Doc.Entries {
		d := m.Doc.Entries[i].Dot
		if !s.clock.Has(d) || !s.full && !p.clock.Has(d) && !own.Has(d) {
			return false
		}
	}
	return true
}

// join takes in one whole document of the answer to an indexed pull.
func (c *Core) join(s *session, m Doc) {
	p := s.p
	old := p.clock.Clone()
	after := p.clock.Clone()
	m.Runs = slices.DeleteFunc(m.Runs, func(r crdt.Run) bool {
		return c.settled(r.Origin) && !p.clock.HasRun(r)
	})
	for _, r := range m.Runs {
		after.AddRun(r)
	}
	if after.Equal(p.clock) {
		return // came by itself in the meantime
	}
	was := c.load(p, m.Key)
	if was.damaged != nil && !s.clock.Covers(old) {
		return // it stays missing: who has not seen all cannot make it whole
	}
	c.stats.PulledDocs++
	before, d := was.doc, was.doc
	had, theirs := c.orPruned(old.Has), c.theirs(s.clock)
	if was.damaged != nil {
		had = never
	}
	d.Join(&m.Doc, &theirs, had, c.orPruned(after.Has))
	news := slices.DeleteFunc(slices.Clone(m.Runs), p.clock.HasRun)
	c.save(p, m.Key, &was, &d, news...)
	for _, r := range news {
		c.saveRun(p, r, m.Key)
	}
	c.saveMeta(p)
	c.touch(p)
	c.ripen(p)
	for i := range m.Doc.Entries {
		c.hlc.Observe(m.Doc.Entries[i].Time, c.now)
	}
	c.changed(p, m.Key, d, contest(&before, &d), metJoin(&before, &d, had, true))
}

// never has seen nothing: by it, all that a source holds is new.
func never(crdt.Dot) bool { return false }

// metJoin reports whether a join brought an edit and a deletion together that
// had not seen each other. Every write but a deletion leaves an existence cell,
// which names the one that it replaced; one that only moves the deadline, that. had says what was seen before the join;
// news that dots came, be it without a trace.
func metJoin(before, after *crdt.Doc, had func(crdt.Dot) bool, news bool) bool {
	if !after.Visible() || before.Marked() || after.Marked() {
		return false
	}
	here, known := before.Visible(), true
	for i := range after.Entries {
		if replaced, ok := after.Entries[i].Replaced(); ok && !had(replaced) {
			known = false // what came without a trace may be what this one replaced
		}
	}
	for x := range after.Without(before) {
		if x.Share() {
			return false // a gift of rights, which leaves no existence cell
		}
		if x.Kind == crdt.Expiry && here {
			return false // what came was an extension
		}
		if x.Kind != crdt.Existence || x.Path != "" {
			continue
		}
		if here {
			return false // what came was an edit
		}
		if replaced, ok := x.Replaced(); ok && had(replaced) {
			return true // an edit of what had been deleted here
		}
	}
	return here && known && (news && !before.Resets() && !before.Orphans() || lost(before, after))
}

// contest reports whether a change brought concurrent values together. While a
// ghost says that something is on its way, what lies beside each other may be
// one after the other.
func contest(before, after *crdt.Doc) bool {
	settled := func(d *crdt.Doc) int {
		if len(d.Ghosts) > 0 {
			return 0
		}
		return d.Contested()
	}
	return settled(after) > settled(before)
}

// lost reports whether an entry that shows went.
func lost(before, after *crdt.Doc) bool {
	for x := range before.Without(after) {
		if x.Kind != crdt.ResetOf && x.Kind != crdt.Expiry && x.Kind != crdt.Marker && !x.Share() {
			return true
		}
	}
	return false
}
