package crdt

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Row is what one origin added to one counter since its birth, the sequence of
// the row's first dot. Plus and Minus only grow and are never rebased; BasePlus
// and BaseMinus are how much of them resets took. Only its origin writes a row.
type Row struct {
	Birth               uint64
	Plus, Minus         uint64
	BasePlus, BaseMinus uint64
}

// Taken is what resets took of one origin's row: all up to Plus and Minus of
// that birth, and everything of earlier births.
type Taken struct {
	Origin      atoll.Origin
	Birth       uint64
	Plus, Minus uint64
}

func (t Taken) compare(u Taken) int {
	return cmp.Or(cmp.Compare(t.Birth, u.Birth), cmp.Compare(t.Plus, u.Plus),
		cmp.Compare(t.Minus, u.Minus))
}

// from returns the parts of r that t took.
func (t Taken) from(r Row) (plus, minus uint64) {
	switch {
	case t.Birth == r.Birth:
		return t.Plus, t.Minus
	case t.Birth > r.Birth:
		return r.Plus, r.Minus
	}
	return 0, 0
}

// maxCount keeps a counter's sums far from overflow.
const maxCount = math.MaxInt64 / 4096

// counterRow is the live row of one origin with its dot.
type counterRow struct {
	Row
	dot Dot
}

// rows returns, per origin, the live row with the highest dot at p, in order of
// origin. A lost intermediate write can leave two; the later one has it all.
func (s *entries) rows(p Path) []counterRow {
	var rows []counterRow
	for _, x := range s.at(p, CounterOf) {
		r, ok := decodeRow(x.Value)
		if !ok {
			continue
		}
		if n := len(rows); n > 0 && rows[n-1].dot.Origin == x.Dot.Origin {
			rows[n-1] = counterRow{r, x.Dot}
		} else {
			rows = append(rows, counterRow{r, x.Dot})
		}
	}
	return rows
}

// taken returns, per origin, the most that the reset entries at p took, in
// order of origin.
func (s *entries) taken(p Path) []Taken {
	var all []Taken
	for _, x := range s.at(p, ResetOf) {
		for _, t := range decodeTaken(x.Value) {
			all = mergeTaken(all, t)
		}
	}
	return all
}

// mergeTaken raises the entry of t's origin in all, which is sorted by origin.
func mergeTaken(all []Taken, t Taken) []Taken {
	i, found := slices.BinarySearchFunc(all, t, func(a, b Taken) int {
		return cmp.Compare(a.Origin, b.Origin)
	})
	if !found {
		return slices.Insert(all, i, t)
	}
	if t.compare(all[i]) > 0 {
		all[i] = t
	}
	return all
}

// takenOf returns what all says about origin o.
func takenOf(all []Taken, o atoll.Origin) Taken {
	for _, t := range all {
		if t.Origin == o {
			return t
		}
	}
	return Taken{}
}

// Counter returns the value of the counter at p; ok is false when no row is
// live there.
func (d *Doc) Counter(p Path) (value int64, ok bool) {
	s := d.live()
	rows := s.rows(p)
	if len(rows) == 0 {
		return 0, false
	}
	taken := s.taken(p)
	for _, r := range rows {
		plus, minus := takenOf(taken, r.dot.Origin).from(r.Row)
		value += less(r.Plus, max(r.BasePlus, plus)) - less(r.Minus, max(r.BaseMinus, minus))
	}
	return value, true
}

func less(a, b uint64) int64 {
	if a <= b {
		return 0
	}
	return int64(a - b)
}

// Inc adds by to the counter at p in this origin's row.
func (e *Edit) Inc(p Path, by int64) error {
	origin := e.delta.Dots.Origin
	row := Row{Birth: e.next}
	if plant.Bug == plant.BirthReused {
		row.Birth = 1
	}
	var own []int
	for i, x := range e.live.at(p, CounterOf) {
		if x.Dot.Origin == origin {
			own = append(own, i)
		}
	}
	for _, r := range e.live.rows(p) {
		if r.dot.Origin == origin {
			row = r.Row
			plus, minus := takenOf(e.live.taken(p), origin).from(row)
			row.BasePlus, row.BaseMinus = max(row.BasePlus, plus), max(row.BaseMinus, minus)
		}
	}
	if by >= 0 {
		row.Plus += uint64(by)
	} else {
		row.Minus += -uint64(by)
	}
	if row.Plus > maxCount || row.Minus > maxCount {
		return atoll.Errorf(atoll.BadRequest, "the counter at %q would overflow", p.Pointer()).
			WithLimit("sum of one node's increments", maxCount)
	}
	e.remove(own)
	e.Add(p, CounterOf, encodeRow(row))
	return nil
}

// ResetCounters takes away what the counters at matching paths hold as seen
// here. Increments that this replica has not seen survive.
func (e *Edit) ResetCounters(match func(Path) bool) {
	var paths []Path
	for _, x := range e.live.all() {
		if n := len(paths); x.Kind == CounterOf && (n == 0 || paths[n-1] != x.Path) && match(x.Path) {
			paths = append(paths, x.Path)
		}
	}
	e.resetCounters(paths)
}

// resetCounters is ResetCounters for paths that have rows. Where there is none
// nothing is new to take, and reset entries stay as they are.
func (e *Edit) resetCounters(paths []Path) {
	for _, p := range paths {
		all := e.live.taken(p)
		for _, r := range e.live.rows(p) {
			all = mergeTaken(all, Taken{r.dot.Origin, r.Birth, r.Plus, r.Minus})
		}
		var gone []int
		for i := range chain(e.live.at(p, CounterOf), e.live.at(p, ResetOf)) {
			gone = append(gone, i)
		}
		e.remove(gone)
		if plant.Bug != plant.ResetRemovesRows {
			e.Add(p, ResetOf, encodeTaken(all))
		}
	}
}

// DropSpentResets removes the reset entries that no live row needs any more:
// those of stable dots whose every named origin is a member without a live row
// of that birth or an earlier one that has not absorbed what was taken.
func (e *Edit) DropSpentResets(stable func(Dot) bool, member func(atoll.Origin) bool) {
	var spent []int
	for i, x := range e.live.all() {
		if x.Kind == ResetOf && stable(x.Dot) && e.live.spent(x, member) {
			spent = append(spent, i)
		}
	}
	e.remove(spent)
}

// spent reports whether no row needs the reset entry x.
func (s *entries) spent(x *Entry, member func(atoll.Origin) bool) bool {
	rows := s.rows(x.Path)
	for _, t := range decodeTaken(x.Value) {
		if !member(t.Origin) {
			return false
		}
		for _, r := range rows {
			if r.dot.Origin != t.Origin || r.Birth > t.Birth {
				continue
			}
			plus, minus := t.from(r.Row)
			if r.BasePlus < plus || r.BaseMinus < minus {
				return plant.Bug == plant.ResetDroppedEarly
			}
		}
	}
	return true
}

// Resets reports whether d holds a reset entry.
func (d *Doc) Resets() bool {
	return slices.ContainsFunc(d.Entries, func(x Entry) bool { return x.Kind == ResetOf })
}

func encodeRow(r Row) []byte {
	b := make([]byte, 0, 12)
	for _, v := range [...]uint64{r.Birth, r.Plus, r.Minus, r.BasePlus, r.BaseMinus} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeRow(b []byte) (r Row, ok bool) {
	in := reader{b: b}
	r = Row{in.uvarint(), in.uvarint(), in.uvarint(), in.uvarint(), in.uvarint()}
	return r, in.done() && r.Plus <= maxCount && r.Minus <= maxCount
}

func encodeTaken(all []Taken) []byte {
	b := binary.AppendUvarint(nil, uint64(len(all)))
	for _, t := range all {
		b = binary.BigEndian.AppendUint64(b, uint64(t.Origin))
		for _, v := range [...]uint64{t.Birth, t.Plus, t.Minus} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

func decodeTaken(b []byte) []Taken {
	in := reader{b: b}
	all := make([]Taken, 0, in.count(11))
	for range cap(all) {
		all = append(all, Taken{atoll.Origin(in.uint64()), in.uvarint(), in.uvarint(), in.uvarint()})
	}
	if !in.done() {
		return nil
	}
	return all
}
