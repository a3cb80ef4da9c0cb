package crdt

import (
	"bytes"
	"iter"
	"slices"
	"sort"
)

// entries are the live entries of a document, perhaps under edit: those that
// were seen, but for those that went, and the new ones beside them. One is found,
// added or dropped without moving the others, since one request may do that
// thousands of times to a document of a hundred thousand entries.
//
// A place names an entry until the next change: its index in seen, or the
// complement of its index in added.
type entries struct {
	seen  []Entry // canonical order; shared, so never written to
	gone  []bool  // of seen; nil while none has gone
	dead  int     // how many have
	added []Entry // canonical order
}

// compactAt is how many dead entries are passed over before it pays to drop them.
const compactAt = 64

func (d *Doc) live() *entries { return &entries{seen: d.awake()} }

func position(es []Entry, x *Entry) int {
	return sort.Search(len(es), func(i int) bool { return es[i].compare(x) >= 0 })
}

// from yields the entries from x on, in canonical order, while in says so. It
// returns false when yield did.
func (s *entries) from(x Entry, in func(*Entry) bool, yield func(int, *Entry) bool) bool {
	i, j := position(s.seen, &x), position(s.added, &x)
	for {
		for i < len(s.seen) && s.gone != nil && s.gone[i] {
			i++
		}
		place, next := i, (*Entry)(nil)
		if i < len(s.seen) {
			next = &s.seen[i]
		}
		if j < len(s.added) && (next == nil || s.added[j].compare(next) < 0) {
			place, next = ^j, &s.added[j]
			j++
		} else {
			i++
		}
		if next == nil || !in(next) {
			return true
		}
		if !yield(place, next) {
			return false
		}
	}
}

// all yields every entry with its place.
func (s *entries) all() iter.Seq2[int, *Entry] { return s.under("") }

// at yields the entries of the cell (p, k): elements in order of their values,
// others in order of their dots.
func (s *entries) at(p Path, k Kind) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		s.from(Entry{Path: p, Kind: k}, func(x *Entry) bool {
			return x.Kind == k && x.Path == p
		}, yield)
	}
}

// elements yields the entries of one member of the set at p.
func (s *entries) elements(p Path, value []byte) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		s.from(Entry{Path: p, Kind: Element, Value: value}, func(x *Entry) bool {
			return x.Kind == Element && x.Path == p && bytes.Equal(x.Value, value)
		}, yield)
	}
}

// under yields the entries at p and below it.
func (s *entries) under(p Path) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		s.from(Entry{Path: p}, func(x *Entry) bool { return x.Path.Under(p) }, yield)
	}
}

// above yields the entries above p, from the root on.
func (s *entries) above(p Path) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		for n := 0; n < len(p); n = nameEnd(p, n) {
			q := p[:n]
			if !s.from(Entry{Path: q}, func(x *Entry) bool { return x.Path == q }, yield) {
				return
			}
		}
	}
}

// near yields the entries at, above and below the given paths, which are sorted
// and none below another. For one path it looks at nothing else.
func (s *entries) near(paths ...Path) iter.Seq2[int, *Entry] {
	if len(paths) == 1 {
		return chain(s.above(paths[0]), s.under(paths[0]))
	}
	return func(yield func(int, *Entry) bool) {
		for i, x := range s.all() {
			if touch(paths, x.Path) && !yield(i, x) {
				return
			}
		}
	}
}

// nearItem is near for a member of the set at p: it passes over the others.
func (s *entries) nearItem(p Path, value []byte) iter.Seq2[int, *Entry] {
	return chain(s.above(p),
		func(yield func(int, *Entry) bool) {
			s.from(Entry{Path: p}, func(x *Entry) bool {
				return x.Kind < Element && x.Path == p
			}, yield)
		},
		s.elements(p, value),
		func(yield func(int, *Entry) bool) {
			s.from(Entry{Path: p, Kind: Element + 1}, func(x *Entry) bool {
				return x.Path.Under(p)
			}, yield)
		})
}

func chain(parts ...iter.Seq2[int, *Entry]) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		for _, part := range parts {
			for i, x := range part {
				if !yield(i, x) {
					return
				}
			}
		}
	}
}

// exist reports whether there are any.
func exist(all iter.Seq2[int, *Entry]) bool {
	for range all {
		return true
	}
	return false
}

// add puts x at its place.
func (s *entries) add(x Entry) {
	if s.added == nil {
		s.added = make([]Entry, 0, 8)
	}
	s.added = slices.Insert(s.added, position(s.added, &x), x)
}

// drop takes out the entries at the given places, in any order.
func (s *entries) drop(places []int) {
	var own []int
	for _, i := range places {
		if i < 0 {
			own = append(own, ^i)
			continue
		}
		if s.gone == nil {
			s.gone = make([]bool, len(s.seen))
		}
		if !s.gone[i] {
			s.gone[i] = true
			s.dead++
		}
	}
	slices.Sort(own)
	s.added = without(s.added, own)
	if s.dead > compactAt && s.dead > len(s.seen)/2 {
		s.compact()
	}
}

// without takes the entries at the given indices, which ascend, out of es.
func without(es []Entry, gone []int) []Entry {
	if len(gone) == 0 {
		return es
	}
	kept := gone[0]
	for n, i := range gone {
		end := len(es)
		if n+1 < len(gone) {
			end = gone[n+1]
		}
		kept += copy(es[kept:], es[i+1:end])
	}
	clear(es[kept:])
	return es[:kept]
}

// compact forgets the dead, so that what is dropped once is not passed over for ever.
func (s *entries) compact() {
	kept := make([]Entry, 0, len(s.seen)-s.dead)
	for i := range s.seen {
		if !s.gone[i] {
			kept = append(kept, s.seen[i])
		}
	}
	s.seen, s.gone, s.dead = kept, nil, 0
}

// flat returns the entries as a document has them. The slice is shared: read only.
func (s *entries) flat() []Entry {
	if s.dead == 0 && len(s.added) == 0 {
		return s.seen
	}
	out := make([]Entry, 0, len(s.seen)-s.dead+len(s.added))
	for _, x := range s.all() {
		out = append(out, *x)
	}
	return out
}

// size is what Size counts.
func (s *entries) size() (n int) {
	for _, x := range s.all() {
		n += x.size()
	}
	return n
}

func (e *Entry) size() int { return len(e.Path) + len(e.Value) + entrySize }

// visible is what Doc.Visible reports.
func (s *entries) visible() bool {
	for _, x := range s.all() {
		if x.visible() {
			return true
		}
	}
	return false
}

// find returns the reading that shows at p; it holds nothing if nothing does.
// Where something else than an object with members shows above p, the result is
// that, under its own shorter path. Of elements and of what is below one entry
// stands for all.
func (s *entries) find(p Path) cell {
	c := s.cell("").winning()
	for len(c.path) < len(p) && len(c.below) > 0 {
		c = s.cell(p[:nameEnd(p, len(c.path))]).winning()
	}
	return c
}

// cell cuts out what shows at p, with one entry for all elements and one for
// all below: where readings clash the latest, which speaks for them.
func (s *entries) cell(p Path) cell {
	c := cell{path: p}
	for _, k := range [...]struct {
		kind Kind
		to   *[]Entry
	}{
		{Existence, &c.existence}, {Register, &c.registers}, {CounterOf, &c.counters},
		{Scored, &c.registers}, {Escrow, &c.bounds},
	} {
		for _, x := range s.at(p, k.kind) {
			if x.shows() {
				*k.to = append(*k.to, *x)
			}
		}
	}
	c.elements, c.below = s.first(s.at(p, Element)), s.first(s.below(p))
	if c.clashes() {
		c.elements, c.below = s.latest(s.at(p, Element)), s.latest(s.below(p))
	}
	return c
}

// below yields the entries below p.
func (s *entries) below(p Path) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		s.from(Entry{Path: p, Kind: CounterOf + 1}, func(x *Entry) bool { return x.Path.Under(p) },
			func(i int, x *Entry) bool { return len(x.Path) == len(p) || yield(i, x) })
	}
}

// first returns the first entry that shows, latest the last written; none if
// there is none.
func (s *entries) first(all iter.Seq2[int, *Entry]) []Entry {
	for _, x := range all {
		if x.shows() {
			return []Entry{*x}
		}
	}
	return nil
}

func (s *entries) latest(all iter.Seq2[int, *Entry]) []Entry {
	var win *Entry
	for _, x := range all {
		if x.shows() && (win == nil || x.Later(win)) {
			win = x
		}
	}
	if win == nil {
		return nil
	}
	return []Entry{*win}
}
