package replication

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// partition is this node's replica of one partition. Documents, ghosts and the
// index are in the store; clock and cut are there too and held in memory.
type partition struct {
	Address
	clock crdt.Clock // every dot seen
	cut   crdt.Clock // dots of clock without an index entry, or more
	known []report   // what members last said they have, sorted by origin
	hash  uint64     // of clock, valid when hashed
	stage *stage     // a full pull on its way in
	pull  *session   // the open pull session
	waits []*wait    // that hang here

	hashed  bool
	entries int          // index entries
	marked  bool         // may hold documents that are marked to be tidied
	bounded bool         // may hold bounded counters
	tidied  atoll.Key    // where the next look at them begins
	due     int64        // no document has an earlier deadline, in ms since 1970
	buried  []byte       // where the next look at deadlines begins; nil: at the first
	queued  bool         // to be tidied
	held    bool         // there is more to tidy when all have reported want
	want    report       // of no origin
	missing time.Time    // since when a peer is known to have more; zero: not
	from    atoll.NodeID // that peer
	asked   bool         // pull from it even if we know of nothing missing
}

// report is a lower bound of what a member holds durably.
type report struct {
	origin atoll.Origin
	clock  crdt.Clock
	told   crdt.Clock // of clock what was said with all that the member has, and not alone
	goal   crdt.Clock // see behind
	since  time.Time
	// at is the latest time, by the member's clock and in ms since 1970, of which
	// we know that all that it had written by then is in clock.
	at    int64
	whole bool // it has told all that it holds, in this run, and not only a part
}

// stored is one document as it is kept: what all replicas agree on and, for this
// one alone, where its index entries lie. A document that is gone stays until
// they are.
type stored struct {
	doc   crdt.Doc
	trail crdt.Clock // the dots of its index entries, and perhaps some of others
	mark  bool       // it was stored with a mark

	damaged error // the bytes cannot be read; the document is not an absent one
}

// maxTrail bounds a trail: what has more runs is remembered as one of each origin.
const maxTrail = 16

// load returns what is stored of a key, empty if there is nothing.
func (c *Core) load(p *partition, key atoll.Key) (s stored) {
	b, ok := c.view.Get(keyOf(kindDoc, p.Keyspace, p.Partition, key))
	if !ok {
		return s
	}
	d, rest, err := crdt.DecodeDoc(b)
	if err != nil {
		s.damaged = damaged(p.Address, key, err)
		return s
	}
	if s.doc = d; len(rest) > 0 {
		s.trail, _, _ = crdt.DecodeClock(rest)
	}
	if s.mark = s.marked(); len(c.gone) > 0 && len(s.doc.Ghosts) > 0 {
		c.exorcise(p, &s.doc)
	}
	return s
}

// loadDoc returns the stored document of a key, empty if there is none.
func (c *Core) loadDoc(p *partition, key atoll.Key) crdt.Doc {
	return c.load(p, key).doc
}

func (s *stored) bytes() []byte { return s.trail.Append(s.doc.Append(nil)) }

// gone reports whether nothing but index entries is left.
func (s *stored) gone() bool { return s.doc.Empty() && !s.trail.Empty() }

// marked reports whether there is something to tidy.
func (s *stored) marked() bool {
	return s.gone() || s.doc.Resets() || s.doc.Marked() || s.doc.Orphans()
}

// follow adds runs to the trail of a document of p, less what the index has lost.
func (s *stored) follow(p *partition, runs []crdt.Run) {
	var trail crdt.Clock
	for r := range s.trail.Minus(p.cut) {
		trail.AddRun(r)
	}
	for _, r := range runs {
		trail.AddRun(r)
	}
	if s.trail = trail; len(trail.Runs()) <= maxTrail {
		return
	}
	s.trail = crdt.Clock{}
	for _, r := range trail.Runs() {
		if all := s.trail.Runs(); len(all) > 0 && all[len(all)-1].Origin == r.Origin {
			r.First = all[len(all)-1].First
		}
		s.trail.AddRun(r)
	}
}

// damaged is the error of a document whose stored bytes cannot be read. It is not
// an absent one: what is in the clock and not live is dead, so to join it or to
// answer with it as if it were empty would delete it everywhere. Changes of it are
// refused, its deltas stay missing, an answer that would need it ends, and it is
// whole again with the next pull from a replica that has seen all that this one has.
func damaged(a Address, key atoll.Key, err error) error {
	return atoll.Errorf(atoll.Internal, "document %q of keyspace %q is damaged on this node's disk",
		key, a.Keyspace).Because(err).
		WithHint("ask another region; a node with a bad disk is best emptied and started anew")
}

// readDoc reads what a view has under a document's key.
func readDoc(a Address, key atoll.Key, b []byte, ok bool) (crdt.Doc, error) {
	if !ok {
		return crdt.Doc{}, nil
	}
	d, _, err := crdt.DecodeDoc(b)
	if err != nil {
		return crdt.Doc{}, damaged(a, key, err)
	}
	return d, nil
}

// decodeStored reads a document where one that is damaged may count as empty.
func decodeStored(b []byte, ok bool) crdt.Doc {
	if !ok {
		return crdt.Doc{}
	}
	d, _, err := crdt.DecodeDoc(b)
	if err != nil {
		return crdt.Doc{}
	}
	return d
}

func (c *Core) write(key, value []byte) {
	c.out.Writes = append(c.out.Writes, Write{key, value})
	c.room -= writeCost + len(key) + len(value)
}

// save stores what a document has become, or its absence, and by what it is to be
// found. Runs are those that get index entries in this step.
func (c *Core) save(p *partition, key atoll.Key, was *stored, d *crdt.Doc, runs ...crdt.Run) {
	is := stored{doc: *d, trail: was.trail}
	is.follow(p, runs)
	if k := keyOf(kindDoc, p.Keyspace, p.Partition, key); is.doc.Empty() && !is.gone() {
		c.write(k, nil)
	} else {
		c.write(k, is.bytes())
	}
	if is.marked() {
		p.marked = true
		if !was.mark {
			c.write(keyOf(kindMark, p.Keyspace, p.Partition, key), []byte{})
		}
	} else if was.mark {
		c.write(keyOf(kindMark, p.Keyspace, p.Partition, key), nil)
	}
	if bounded := d.Bounded(); bounded || was.doc.Bounded() {
		p.bounded = p.bounded || bounded
		c.mark(kindBounded, p, key, bounded)
	}
	c.saveDeadline(p, key, &was.doc, d)
}

// mark stores whether a document is one of its kind.
func (c *Core) mark(kind byte, p *partition, key atoll.Key, is bool) {
	k := keyOf(kind, p.Keyspace, p.Partition, key)
	if is {
		c.write(k, []byte{})
	} else {
		c.write(k, nil)
	}
}

// saveDeadline keeps the order of deadlines.
func (c *Core) saveDeadline(p *partition, key atoll.Key, was, is *crdt.Doc) {
	before, had := was.Deadline()
	now, has := is.Deadline()
	if had == has && before.At == now.At {
		return
	}
	if had {
		c.write(deadlineKey(p, before.At, key), nil)
	}
	if has {
		c.write(deadlineKey(p, now.At, key), []byte{})
		p.due = min(p.due, now.At)
	}
}

// saveRun puts a run into the clock and its index entry into the store.
func (c *Core) saveRun(p *partition, r crdt.Run, key atoll.Key) {
	if plant.Bug == plant.OneDotOfRun {
		r.Last = r.First
	}
	p.clock.AddRun(r)
	p.hashed = false
	p.entries++
	c.advanced(p)
	val := binary.AppendUvarint(make([]byte, 0, len(key)+3), r.Last-r.First)
	c.write(indexKey(p.Keyspace, p.Partition, crdt.Dot{Origin: r.Origin, Seq: r.First}),
		append(val, key...))
}

// advanced notes that p's clock grew in this step.
func (c *Core) advanced(p *partition) {
	if n := len(c.out.Advanced); n == 0 || c.out.Advanced[n-1] != p.Address {
		c.out.Advanced = append(c.out.Advanced, p.Address)
	}
}

// saveMeta stores clock, cut and the number of index entries. Each Step that
// changes them ends with it.
func (c *Core) saveMeta(p *partition) {
	b := p.cut.Append(p.clock.Append(make([]byte, 0, 64)))
	c.write(prefix(kindMeta, p.Keyspace, p.Partition), binary.AppendUvarint(b, uint64(p.entries)))
}

// recover reads every partition's clock and cut, and what full pulls left.
func (c *Core) recover() {
	for k, v := range c.view.Scan([]byte{kindMeta}, []byte{kindMeta + 1}) {
		ks, part, ok := parseMeta(k)
		if !ok {
			continue
		}
		p := c.find(Address{ks, part})
		clock, rest, err := crdt.DecodeClock(v)
		if p == nil || err != nil {
			continue
		}
		p.clock = clock
		p.cut, rest, _ = crdt.DecodeClock(rest)
		p.entries, p.marked, p.bounded = p.recoverEntries(rest), true, true
	}
	c.recoverGone()
	for k, v := range c.view.Scan([]byte{kindStage}, []byte{kindStage + 1}) {
		if ks, part, ok := parseMeta(k); ok {
			if p := c.find(Address{ks, part}); p != nil {
				p.stage = recoverStage(v)
				c.staging = append(c.staging, p)
			}
		}
	}
}

// recoverEntries reads the number of index entries. Where an earlier version did
// not write it, it is at most that of the dots that have one.
func (p *partition) recoverEntries(b []byte) int {
	if n, size := binary.Uvarint(b); size > 0 {
		return int(n)
	}
	n := uint64(0)
	for r := range p.clock.Minus(p.cut) {
		n += r.Len()
	}
	return int(n)
}

// sum returns the hash of p's clock, 0 when it is empty.
func (p *partition) sum() uint64 {
	if !p.hashed {
		p.hash, p.hashed = 0, true
		if !p.clock.Empty() {
			b := binary.BigEndian.AppendUint16(nil, uint16(p.Partition))
			p.hash = xxhash.Sum64(p.clock.Append(b))
		}
	}
	return p.hash
}

// seen reports whether d, a dot of key, is in the clock by which key is read:
// behind the cursor of a full pull that is being applied the source's counts.
func (c *Core) seen(p *partition, key atoll.Key) func(crdt.Dot) bool {
	if p.stage.passed(key) && plant.Bug != plant.CursorIgnored {
		return c.orPruned(func(d crdt.Dot) bool { return p.clock.Has(d) || p.stage.clock.Has(d) })
	}
	return c.orPruned(p.clock.Has)
}

// orPruned returns has for a replica that has seen all of the pruned origins.
func (c *Core) orPruned(has func(crdt.Dot) bool) func(crdt.Dot) bool {
	if len(c.gone) == 0 {
		return has
	}
	return func(d crdt.Dot) bool { return has(d) || c.pruned(d.Origin) }
}

// report returns what member o has said that it holds, making room for it.
func (p *partition) report(o atoll.Origin) *crdt.Clock { return &p.member(o).clock }

// member returns the report of o, an empty one if need be. It is valid until the
// next call.
func (p *partition) member(o atoll.Origin) *report {
	i, found := slices.BinarySearchFunc(p.known, o, func(r report, o atoll.Origin) int {
		return cmp.Compare(r.origin, o)
	})
	if !found {
		p.known = slices.Insert(p.known, i, report{origin: o})
	}
	return &p.known[i]
}

// stable returns the dots that every member has reported, but for those that
// have lapsed.
func (c *Core) stable(p *partition) crdt.Clock {
	s := p.clock.Clone()
	for _, m := range c.members {
		if m.Origin != c.self.Origin && c.awaited(m.Origin) {
			s = s.Intersect(*p.report(m.Origin))
		}
	}
	return s
}

// told returns the dots that every member has reported together with all that it
// had itself written by then: what it writes without knowing of them is known.
func (c *Core) told(p *partition) crdt.Clock {
	s := p.clock.Clone()
	for _, m := range c.members {
		if m.Origin != c.self.Origin && c.awaited(m.Origin) {
			s = s.Intersect(p.member(m.Origin).told)
		}
	}
	return s
}

// truncate drops index entries that every member has passed, but for the last
// c.keep, and raises cut by them in the same transaction. A replica that comes
// without those dots is answered by a full pull.
func (c *Core) truncate(p *partition) {
	most := min(c.chunk, p.entries-c.keep)
	done, n := crdt.Clock{}, 0
	for _, r := range c.passed(p) {
		if n == most || c.room <= 0 {
			break
		}
		for run := range scanIndex(c.view, p.Keyspace, p.Partition, r) {
			if n == most || c.room <= 0 {
				break
			}
			done.AddRun(run)
			c.write(indexKey(p.Keyspace, p.Partition,
				crdt.Dot{Origin: run.Origin, Seq: run.First}), nil)
			n++
		}
	}
	if n == 0 {
		return
	}
	p.entries -= n
	if plant.Bug != plant.CutNotRaised {
		p.cut.Join(done)
	}
	c.saveMeta(p)
}

// passed returns the indexed runs that every member has passed, those of the
// origins with the most dots first: one that has been silent for long does not
// push the news of the others out of what is kept.
func (c *Core) passed(p *partition) []crdt.Run {
	stable := c.stable(p)
	runs := slices.Collect(stable.Minus(p.cut))
	dots := make(map[atoll.Origin]uint64)
	for _, r := range runs {
		dots[r.Origin] += r.Len()
	}
	slices.SortStableFunc(runs, func(a, b crdt.Run) int {
		return cmp.Compare(dots[b.Origin], dots[a.Origin])
	})
	return runs
}

// Cut drops the index entries of a run, as if a cap had been reached. It is
// always safe and only costs full pulls.
type Cut struct {
	Address
	Run crdt.Run
}

func (Cut) input() {}

func (c *Core) cutRun(in Cut) {
	p := c.find(in.Address)
	if p == nil {
		return
	}
	n := len(c.out.Writes)
	for run := range scanIndex(c.view, p.Keyspace, p.Partition, in.Run) {
		p.entries--
		if plant.Bug != plant.CutNotRaised {
			p.cut.AddRun(run)
		}
		c.write(indexKey(p.Keyspace, p.Partition,
			crdt.Dot{Origin: run.Origin, Seq: run.First}), nil)
	}
	if len(c.out.Writes) > n {
		c.saveMeta(p)
	}
}
