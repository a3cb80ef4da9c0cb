package replication

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Scrubbing looks for what cannot be: replicas that have seen the same and hold
// something else. Documents are a function of the clock, so two snapshots can be
// compared even while both change: all documents have to be equal but for those
// that a dot has touched which only one of the two clocks has, and the index
// names these.

// ScrubRanges is into how many ranges of hashes of keys scrubbing divides the
// documents of a partition.
const ScrubRanges = 256

// Sums are what a replica says of a partition of one snapshot: a sum over the
// documents of each range, and which ranges hold news for the one it tells.
type Sums struct {
	Clock   crdt.Clock
	Touched [ScrubRanges]bool
	Sums    [ScrubRanges]uint64
}

// ScrubRange returns the range in which a key lies.
func ScrubRange(key atoll.Key) int {
	return int(xxhash.Sum64String(string(key)) >> 56)
}

// SumsOf adds a partition of v up for a replica with the given clock. ok is false
// when that cannot be done now: in the middle of a full pull, or when the index
// does not reach back to that clock.
func SumsOf(v View, a Address, theirs crdt.Clock) (s Sums, ok bool) {
	if s.Touched, s.Clock, ok = touched(v, a, theirs); !ok {
		return Sums{}, false
	}
	start := prefix(kindDoc, a.Keyspace, a.Partition)
	var buf []byte
	for k, b := range v.Scan(start, after(start)) {
		key := atoll.Key(k[len(start):])
		d, err := readDoc(a, key, b, true)
		if err != nil {
			s.Touched[ScrubRange(key)] = true // known, and not to be compared
			continue
		}
		if d.Ghosts = nil; !d.Empty() { // ghosts of a forgotten origin go here and there
			buf = d.Append(append(append(buf[:0], key...), 0)) // no key has a zero
			s.Sums[ScrubRange(key)] += xxhash.Sum64(buf)
		}
	}
	return s, true
}

// touched says in which ranges documents lie that dots changed which are here and
// not in theirs.
func touched(v View, a Address, theirs crdt.Clock) (ranges [ScrubRanges]bool, clock crdt.Clock, ok bool) {
	if _, staged := v.Get(prefix(kindStage, a.Keyspace, a.Partition)); staged {
		return ranges, clock, false
	}
	clock, cut := ClocksIn(v, a)
	news := crdt.Clock{}
	for r := range clock.Minus(theirs) {
		news.AddRun(r)
	}
	if common := news.Intersect(cut); !common.Empty() {
		return ranges, clock, false
	}
	for _, key := range Changed(v, a, theirs) {
		ranges[ScrubRange(key)] = true
	}
	return ranges, clock, true
}

// Differ returns the ranges in which v and the replica that told its sums hold
// different documents though both have seen the same of them. ok is false when
// they cannot be compared now.
func (s *Sums) Differ(v View, a Address) (ranges []int, ok bool) {
	own, ok := SumsOf(v, a, s.Clock)
	for i := range own.Sums {
		if ok && !own.Touched[i] && !s.Touched[i] && own.Sums[i] != s.Sums[i] {
			ranges = append(ranges, i)
		}
	}
	return ranges, ok
}

// InRanges yields the documents of a partition that lie in the given ranges, which
// ascend, as Begin, Docs and End.
func InRanges(v View, a Address, ranges []int, emit func(Message) error) error {
	clock, _ := ClocksIn(v, a)
	if err := emit(Begin{Clock: clock}); err != nil {
		return err
	}
	start := prefix(kindDoc, a.Keyspace, a.Partition)
	for k, b := range v.Scan(start, after(start)) {
		key := atoll.Key(k[len(start):])
		if _, found := slices.BinarySearch(ranges, ScrubRange(key)); !found {
			continue
		}
		d, err := readDoc(a, key, b, true)
		if err != nil {
			return err
		}
		if d.Empty() {
			continue // but for its index entries
		}
		if err := emit(Doc{Key: key, Doc: d}); err != nil {
			return err
		}
	}
	return emit(End{})
}

// Mend joins documents of another replica that scrubbing found to differ. Docs
// are all that it holds in Ranges, Clock is its clock of the same instant.
type Mend struct {
	Address
	Ranges []int // ascending
	Clock  crdt.Clock
	Docs   []Doc // by key
}

func (Mend) input() {}

// mend joins each document that is there or here. Where this replica lacks some
// of that clock it does nothing: a pull brings the rest, and scrubbing comes again.
func (c *Core) mend(in Mend) {
	p := c.find(in.Address)
	if p == nil || p.stage != nil || !p.clock.Covers(in.Clock) {
		return
	}
	start := prefix(kindDoc, p.Keyspace, p.Partition)
	var keys []atoll.Key
	for k := range c.view.Scan(start, after(start)) {
		key := atoll.Key(k[len(start):])
		if _, found := slices.BinarySearch(in.Ranges, ScrubRange(key)); found {
			keys = append(keys, key)
		}
	}
	for i := range in.Docs {
		keys = append(keys, in.Docs[i].Key)
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		c.mendDoc(p, key, &in)
	}
}

func (c *Core) mendDoc(p *partition, key atoll.Key, in *Mend) {
	was := c.load(p, key)
	if was.damaged != nil {
		return // a pull makes it whole
	}
	before := was.doc
	var theirs crdt.Doc
	if i, found := slices.BinarySearchFunc(in.Docs, key, func(d Doc, key atoll.Key) int {
		return cmp.Compare(d.Key, key)
	}); found {
		theirs = in.Docs[i].Doc
	}
	d := before.Clone()
	d.Join(&theirs, &in.Clock, p.clock.Has, p.clock.Has)
	if !slices.EqualFunc(d.Entries, before.Entries, sameDot) || !slices.Equal(d.Ghosts, before.Ghosts) {
		c.stats.Mended++
		c.save(p, key, &was, &d)
		c.changed(p, key, d, false, false)
	}
}

// NextPartition returns the first partition that holds anything behind a in order
// of keyspace and number, from the beginning after the last; ok is false when
// there is none.
func (c *Core) NextPartition(a Address) (next Address, ok bool) {
	for _, s := range c.spaces {
		for _, p := range s.parts {
			if p.clock.Empty() {
				continue
			}
			if p.Keyspace > a.Keyspace || p.Keyspace == a.Keyspace && p.Partition > a.Partition {
				return p.Address, true
			}
			if !ok {
				next, ok = p.Address, true
			}
		}
	}
	return next, ok
}
