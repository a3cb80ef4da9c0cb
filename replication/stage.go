package replication

import (
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// phase is where a full pull stands.
type phase byte

const (
	// collecting: documents arrive and lie beside the live state, which does not
	// change. A break throws them away.
	collecting phase = 1
	// applying: everything is here. The cursor moves through the keys; keys up
	// to it are read under clock + the source's clock. A crash resumes it.
	applying phase = 2
	// discarding: what a broken pull left is being deleted.
	discarding phase = 3
)

// stage is a full pull on its way into a partition. Its documents' dots do not
// enter the partition's clock one by one: at the end one transaction adds the
// source's whole clock and drops the stage. Until then the partition answers
// no pull, while its deltas and local writes go on.
type stage struct {
	phase  phase
	clock  crdt.Clock // the source's, of the instant of its documents
	cursor atoll.Key  // the last key applied
}

// passed reports whether key is read under the source's clock too.
func (g *stage) passed(key atoll.Key) bool {
	return g != nil && g.phase == applying && key <= g.cursor
}

// recoverStage reads what saveStage wrote. A pull that was still collecting is
// bound to a process that is gone.
func recoverStage(b []byte) *stage {
	g := &stage{phase: discarding}
	if len(b) > 0 && (phase(b[0]) == applying || plant.Bug == plant.CollectingResumed) {
		if clock, rest, err := crdt.DecodeClock(b[1:]); err == nil {
			g.phase, g.clock, g.cursor = applying, clock, atoll.Key(rest)
		}
	}
	return g
}

func (c *Core) saveStage(p *partition) {
	b := p.stage.clock.Append([]byte{byte(p.stage.phase)})
	c.write(prefix(kindStage, p.Keyspace, p.Partition), append(b, p.stage.cursor...))
}

func (c *Core) beginStage(p *partition, clock crdt.Clock) {
	p.stage = &stage{phase: collecting, clock: clock}
	c.saveStage(p)
}

func (c *Core) stageDoc(p *partition, m Doc) {
	key := keyOf(kindStaged, p.Keyspace, p.Partition, m.Key)
	if plant.Bug == plant.ResumeElsewhere {
		if _, ok := c.view.Get(key); ok {
			return
		}
	}
	c.write(key, m.Doc.Append(nil))
	c.stats.StagedDocs++
	c.stats.StagedBytes += uint64(len(key) + len(c.out.Writes[len(c.out.Writes)-1].Value))
}

func (c *Core) applyStage(p *partition) {
	p.stage.phase = applying
	c.saveStage(p)
	c.staging = append(c.staging, p)
}

func (c *Core) discardStage(p *partition) {
	if plant.Bug == plant.ResumeElsewhere {
		p.stage = nil
		return
	}
	p.stage.phase = discarding
	c.saveStage(p)
	c.staging = append(c.staging, p)
}

// applyStages moves full pulls a chunk further, as far as a step has room.
func (c *Core) applyStages() {
	c.staging = slices.DeleteFunc(c.staging, func(p *partition) bool {
		switch {
		case c.room <= 0:
		case p.stage.phase == discarding:
			c.discardChunk(p)
		default:
			c.applyChunk(p)
		}
		return p.stage == nil
	})
}

func (c *Core) discardChunk(p *partition) {
	from := prefix(kindStaged, p.Keyspace, p.Partition)
	n := 0
	for k, v := range c.view.Scan(from, after(from)) {
		c.write(slices.Clone(k), nil)
		c.room -= len(v) // it was read
		if n++; n >= c.chunk || c.room <= 0 {
			return
		}
	}
	c.dropStage(p)
}

func (c *Core) dropStage(p *partition) {
	c.write(prefix(kindStage, p.Keyspace, p.Partition), nil)
	p.stage = nil
}

// applyChunk joins the next keys, staged or live, with what the source has.
func (c *Core) applyChunk(p *partition) {
	keys, last := c.nextKeys(p)
	for _, key := range keys {
		if c.room <= 0 {
			last = false
			break
		}
		staged := keyOf(kindStaged, p.Keyspace, p.Partition, key)
		theirs := decodeStored(c.view.Get(staged))
		was := c.load(p, key)
		before, d := was.doc, was.doc
		p.stage.cursor = key // will reads the key under both clocks
		clock, had := c.theirs(p.stage.clock), c.orPruned(p.clock.Has)
		if was.damaged != nil {
			had = never // what the source has takes the place of what cannot be read
		}
		d.Join(&theirs, &clock, had, c.seen(p, key))
		if !slices.EqualFunc(d.Entries, before.Entries, sameDot) ||
			!slices.Equal(d.Ghosts, before.Ghosts) {
			c.save(p, key, &was, &d)
			c.changed(p, key, d, contest(&before, &d),
				metJoin(&before, &d, had, false))
		}
		c.write(staged, nil)
	}
	if last {
		c.finishStage(p)
	} else {
		c.saveStage(p)
	}
}

func sameDot(a, b crdt.Entry) bool { return a.Dot == b.Dot }

// nextKeys returns about a chunk of keys behind the cursor, staged or live, in
// order; last says that no more follow.
func (c *Core) nextKeys(p *partition) (keys []atoll.Key, last bool) {
	last = true
	var end atoll.Key // behind it one of the two has not been read
	for _, kind := range [...]byte{kindDoc, kindStaged} {
		start := prefix(kind, p.Keyspace, p.Partition)
		from := append(slices.Clone(start), p.stage.cursor...)
		n, size := 0, 0
		for k, v := range c.view.Scan(from, after(start)) {
			key := atoll.Key(k[len(start):])
			if key <= p.stage.cursor {
				continue
			}
			keys = append(keys, key)
			size += len(v)
			if n++; n < c.chunk && size < MaxStep {
				continue
			}
			if last || key < end {
				last, end = false, key
			}
			break
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if !last {
		n, _ := slices.BinarySearch(keys, end)
		keys = keys[:n+1]
	}
	return keys, last
}

// finishStage takes the source's clock over. Dots that come with it have no
// index entry here, so cut grows by them.
func (c *Core) finishStage(p *partition) {
	p.stage.clock = c.strip(p, p.stage.clock)
	if plant.Bug != plant.FloorOwnCutsOnly {
		for r := range p.stage.clock.Minus(p.clock) {
			p.cut.AddRun(r)
		}
	}
	p.clock.Join(p.stage.clock)
	p.hashed = false
	c.advanced(p)
	c.saveMeta(p)
	c.dropStage(p)
	c.touch(p)
	if !p.missing.IsZero() {
		p.missing = c.now
	}
}
