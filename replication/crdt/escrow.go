package crdt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// A bounded counter is a number that never goes below its bound, in whatever
// partition: each origin holds rights to a part of what lies between the two, and
// takes only from its own. Its entries at one path, all of kind Escrow, are
//
//	the bound   written once; its dot is the counter's birth
//	the shares  one of each origin, under that birth: what it put in, what it took
//	            out and what rights it gave to others, all cumulative
//
// Only its origin writes a share, removing the one it sees, and all that a share
// says is under one dot: what it takes and what it gives away cannot come apart.
// Rights that were given count where the giver's share is: it was durable there
// before it was sent. The rights of all origins together are the value less the
// bound, wherever all shares are.
//
// There is no reset. What removes the bound ends the counter, also against what
// was concurrently put in or taken out, and a new bound is a new birth. A share
// goes with its bound or not at all: were it to go alone, its origin would have
// again what it had spent. One whose bound is not here counts for nothing; it came
// first, or its bound has gone and it is tidied away. A number that is written
// over a bounded counter moves it there, as far as the rights go.

// share is what one origin did to the bounded counter of a birth.
type share struct {
	birth       Dot
	plus, minus uint64
	given       []gift // sorted by origin
	dot         Dot    // of its entry
}

// gift is how many rights an origin was given, in all.
type gift struct {
	to     atoll.Origin
	amount uint64
}

// Account is what a replica knows of one bounded counter.
type Account struct {
	Path   Path
	Birth  Dot
	Min    int64   // the bound
	shares []share // of each origin the one with the highest dot, sorted by origin
}

// Accounts returns the bounded counters of d, in order of their paths and births.
func (d *Doc) Accounts() []Account { return d.live().accounts("") }

// accounts reads the counters at p and below it.
func (s *entries) accounts(p Path) (all []Account) {
	for _, x := range s.under(p) {
		if x.isBound() {
			all = append(all, s.account(x))
		}
	}
	return all
}

// account reads the counter whose bound is the entry b.
func (s *entries) account(b *Entry) Account {
	a := Account{Path: b.Path, Birth: b.Dot}
	a.Min, _ = decodeBound(b.Value)
	for _, x := range s.at(b.Path, Escrow) {
		h, ok := decodeShare(x.Value)
		if !ok || h.birth != a.Birth {
			continue
		}
		h.dot = x.Dot
		if n := len(a.shares); n > 0 && a.shares[n-1].dot.Origin == x.Dot.Origin {
			a.shares[n-1] = h // a lost write between leaves two; the later one has it all
		} else {
			a.shares = append(a.shares, h)
		}
	}
	return a
}

// total returns the value less the bound. It is negative where what was taken is
// here and what had been put in is not yet.
func (a *Account) total() (n int64) {
	for i := range a.shares {
		n += int64(a.shares[i].plus) - int64(a.shares[i].minus)
	}
	return n
}

// Value returns what readers see.
func (a *Account) Value() int64 { return a.Min + max(0, a.total()) }

// Rights returns how much o may take, by what is here: of o itself never less
// than none, of others what they had when they last wrote or were given.
func (a *Account) Rights(o atoll.Origin) (n int64) {
	for i := range a.shares {
		h := &a.shares[i]
		own := h.dot.Origin == o
		if own {
			n += int64(h.plus) - int64(h.minus)
		}
		for _, g := range h.given {
			if own {
				n -= int64(g.amount)
			}
			if g.to == o {
				n += int64(g.amount)
			}
		}
	}
	return n
}

// share returns that of o, empty if it has none.
func (a *Account) share(o atoll.Origin) share {
	for i := range a.shares {
		if a.shares[i].dot.Origin == o {
			return a.shares[i]
		}
	}
	return share{birth: a.Birth}
}

// Shortage says why a bounded counter could not be taken from: the rights to do
// so are with others. It is the cause of errors of kind atoll.NoRights.
type Shortage struct {
	Path    Path
	Birth   Dot // of the counter
	Need    uint64
	Holders []Holder // the richest first
}

// Holder is an origin with rights.
type Holder struct {
	Origin atoll.Origin
	Rights uint64
}

func (s *Shortage) Error() string {
	return fmt.Sprintf("%d rights of %q are missing here", s.Need, s.Path.Pointer())
}

// take adds by to the bounded counter a, if this origin's rights allow it.
func (e *Edit) take(a Account, by int64) error {
	own := a.share(e.origin())
	switch {
	case by == 0:
		return nil
	case by > maxCount || by > 0 && own.plus+uint64(by) > maxCount:
		return tooMuch(a.Path)
	case by > 0:
		own.plus += uint64(by)
	default:
		n := -uint64(by)
		if have := uint64(max(0, a.Rights(e.origin()))); n > have {
			return e.shortage(&a, n, n-have)
		}
		if own.minus+n > maxCount {
			return tooMuch(a.Path)
		}
		own.minus += n
	}
	e.saveShare(a.Path, own)
	return nil
}

func tooMuch(p Path) error {
	return atoll.Errorf(atoll.BadRequest, "the counter at %q would overflow", p.Pointer()).
		WithLimit("sum of one node's increments", maxCount)
}

// shortage says why n cannot be taken from a: beyond the bound, or by rights
// that others have.
func (e *Edit) shortage(a *Account, n, need uint64) error {
	if total := a.total(); total < 0 || n > uint64(total) {
		return atoll.Errorf(atoll.AtBound, "%q is %d and cannot go down by %d: its bound is %d",
			a.Path.Pointer(), a.Value(), n, a.Min).WithLimit("bound", a.Min)
	}
	s := &Shortage{Path: a.Path, Birth: a.Birth, Need: need}
	for i := range a.shares { // who was given rights has none yet if it has no share: ask those too
		s.note(a, a.shares[i].dot.Origin, e.origin())
		for _, g := range a.shares[i].given {
			s.note(a, g.to, e.origin())
		}
	}
	slices.SortFunc(s.Holders, func(x, y Holder) int {
		return cmp.Or(cmp.Compare(y.Rights, x.Rights), cmp.Compare(x.Origin, y.Origin))
	})
	return atoll.Errorf(atoll.NoRights, "%q is %d, but the rights to take %d are not here",
		a.Path.Pointer(), a.Value(), n).
		WithHint("try again, or in another region: rights move when they are asked for").
		WithLimit("rights here", int64(n-need)).Because(s)
}

// note adds o to the holders, once, if it has rights and is not self.
func (s *Shortage) note(a *Account, o, self atoll.Origin) {
	n := a.Rights(o)
	if o == self || n <= 0 ||
		slices.ContainsFunc(s.Holders, func(h Holder) bool { return h.Origin == o }) {
		return
	}
	s.Holders = append(s.Holders, Holder{o, uint64(n)})
}

// saveShare writes this origin's share anew.
func (e *Edit) saveShare(p Path, own share) {
	var gone []int
	for i, x := range e.live.at(p, Escrow) {
		h, ok := decodeShare(x.Value)
		if ok && x.Dot.Origin == e.origin() && h.birth == own.birth {
			gone = append(gone, i)
		}
	}
	e.remove(gone)
	e.Add(p, Escrow, encodeShare(own))
}

func (e *Edit) origin() atoll.Origin { return e.delta.Dots.Origin }

// Give gives rights to the bounded counter of birth at p from this edit's origin
// to another: what that needs, and half of what would be left, so that it need
// not ask each time. It writes nothing where there is nothing to give.
func (e *Edit) Give(p Path, birth Dot, to atoll.Origin, need uint64) {
	for _, a := range e.live.accounts(p) {
		if a.Path == p && a.Birth == birth {
			have := uint64(max(0, a.Rights(e.origin())))
			n := min(have, need)
			e.give(&a, to, n+(have-n)/2)
		}
	}
}

// GiveAll gives all rights of this edit's origin to another: those of an origin
// that ends are lost otherwise.
func (e *Edit) GiveAll(to atoll.Origin) {
	for _, a := range e.live.accounts("") {
		e.give(&a, to, uint64(max(0, a.Rights(e.origin()))))
	}
}

func (e *Edit) give(a *Account, to atoll.Origin, n uint64) {
	if n == 0 || to == e.origin() {
		return
	}
	own := a.share(e.origin())
	own.given = slices.Clone(own.given)
	i, found := slices.BinarySearchFunc(own.given, to, func(g gift, o atoll.Origin) int {
		return cmp.Compare(g.to, o)
	})
	if !found {
		own.given = slices.Insert(own.given, i, gift{to: to})
	}
	own.given[i].amount += n
	if own.given[i].amount <= maxCount {
		e.saveShare(a.Path, own)
	}
}

// bound makes the number at a path, 0 where nothing shows, a bounded counter.
func (e *Edit) bound(at cell, low int64) error {
	p, from := at.path, max(0, low)
	switch {
	case len(at.bounds) > 0:
		if had, _ := decodeBound(at.bounds[0].Value); had != low {
			return at.clash(fmt.Sprintf("a counter that is bounded at %d", low))
		}
		return e.inc(at, 0) // what else is there goes
	case at.isNumber():
		r := renderer{doc: e.Doc()}
		r.reading(&at)
		n, whole := wholeNumber(r.out)
		if !whole || n < low {
			return at.clash(fmt.Sprintf("a whole number of at least %d", low))
		}
		from = n
	case !at.empty():
		return at.clash("a number that counts")
	}
	if low < -maxCount || from > maxCount {
		return tooMuch(p)
	}
	e.clear(p)
	birth := Dot{e.origin(), e.next}
	e.Add(p, Escrow, encodeBound(low))
	if from > low {
		e.saveShare(p, share{birth: birth, plus: uint64(from - low)})
	}
	return nil
}

// spare finds the bounded counters that ws, which are about to be written, move:
// those that show where ws have a whole number. drop leaves them alone.
func (e *Edit) spare(ws ...leaf) {
	for _, w := range ws {
		for _, a := range e.live.accounts(w.path) {
			at := e.live.find(a.Path)
			if at.path != a.Path || len(at.bounds) == 0 || at.bounds[0].Dot != a.Birth {
				continue
			}
			t, has := w.tree.at(a.Path[len(w.path):].Names())
			if _, whole := wholeNumber(t.text); has && whole {
				if e.spared == nil {
					e.spared = make(map[Path]Dot)
				}
				e.spared[a.Path] = a.Birth
			}
		}
	}
}

// keeps reports whether no write may remove x: it belongs to a bounded counter
// that is being moved, or is a share whose bound is not here.
func (e *Edit) keeps(x *Entry) bool {
	if x.Kind != Escrow {
		return false
	}
	birth, spared := e.spared[x.Path]
	return spared && x.born() == birth ||
		plant.Bug != plant.OrphanCleared && e.live.orphan(x)
}

// moved moves the bounded counter at p, if it was spared, to the number text.
func (e *Edit) moved(p Path, text []byte) (done bool, err error) {
	if _, done = e.spared[p]; !done {
		return false, nil
	}
	delete(e.spared, p)
	a := e.live.accounts(p)[0] // drop has left no other, and no member below
	to, _ := wholeNumber(text)
	switch {
	case to < a.Min:
		return true, atoll.Errorf(atoll.AtBound, "%q cannot be %d: its bound is %d",
			p.Pointer(), to, a.Min).WithLimit("bound", a.Min)
	case to > maxCount:
		return true, tooMuch(p)
	}
	return true, e.take(a, to-a.Value())
}

// at returns the tree at names below t.
func (t Tree) at(names []string) (Tree, bool) {
	for _, name := range names {
		i, found := slices.BinarySearchFunc(t.members, name, func(m member, name string) int {
			return cmp.Compare(m.name, name)
		})
		if !found {
			return Tree{}, false
		}
		t = t.members[i].tree
	}
	return t, true
}

// Bounded reports whether d holds anything of a bounded counter.
func (d *Doc) Bounded() bool {
	return slices.ContainsFunc(d.Entries, func(x Entry) bool { return x.Kind == Escrow })
}

// Orphans reports whether d holds a share whose bound is not live here: it came
// first, or has gone.
func (d *Doc) Orphans() bool {
	s := d.live()
	return slices.ContainsFunc(s.seen, func(x Entry) bool { return s.orphan(&x) })
}

func (s *entries) orphan(x *Entry) bool {
	if x.Kind != Escrow {
		return false
	}
	h, ok := decodeShare(x.Value)
	if !ok {
		return false
	}
	for _, b := range s.at(x.Path, Escrow) {
		if b.Dot == h.birth {
			return false
		}
	}
	return true
}

// DropOrphans removes the shares whose bound has gone: seen says which dots are
// in the replica's clock. It removes the bounds once more, for those who hear of
// this before they hear of what removed them.
func (e *Edit) DropOrphans(seen func(Dot) bool) {
	var gone []int
	var births []Dot
	for i, x := range e.live.all() {
		if e.live.orphan(x) && seen(x.born()) {
			gone, births = append(gone, i), append(births, x.born())
		}
	}
	e.remove(gone)
	e.delta.Drops = mergeDots(e.delta.Drops, births)
}

// Share reports whether e is a share of a bounded counter: what is neither
// written for a reader alone nor shows by itself.
func (e *Entry) Share() bool { return e.Kind == Escrow && len(e.Value) > 0 && e.Value[0] == shareForm }

func (e *Entry) isBound() bool {
	if e.Kind != Escrow {
		return false
	}
	_, ok := decodeBound(e.Value)
	return ok
}

// born returns the birth of the bounded counter that e belongs to.
func (e *Entry) born() Dot {
	if h, ok := decodeShare(e.Value); ok {
		return h.birth
	}
	return e.Dot
}

// The values of kind Escrow, by their first byte:
//
//	bound = 0, min (zigzag varint)
//	share = 1, birth (origin 8, seq), plus, minus, list of (origin 8, amount)
const (
	boundForm = 0
	shareForm = 1
)

func encodeBound(low int64) []byte { return binary.AppendVarint([]byte{boundForm}, low) }

func decodeBound(b []byte) (low int64, ok bool) {
	if len(b) == 0 || b[0] != boundForm {
		return 0, false
	}
	low, n := binary.Varint(b[1:])
	return low, n > 0 && n == len(b)-1 && -maxCount <= low && low <= maxCount
}

func encodeShare(h share) []byte {
	b := append(make([]byte, 0, 24+12*len(h.given)), shareForm)
	b = binary.BigEndian.AppendUint64(b, uint64(h.birth.Origin))
	for _, v := range [...]uint64{h.birth.Seq, h.plus, h.minus, uint64(len(h.given))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, g := range h.given {
		b = binary.BigEndian.AppendUint64(b, uint64(g.to))
		b = binary.AppendUvarint(b, g.amount)
	}
	return b
}

func decodeShare(b []byte) (h share, ok bool) {
	in := reader{b: b}
	if in.byte() != shareForm {
		return share{}, false
	}
	h.birth = Dot{atoll.Origin(in.uint64()), in.uvarint()}
	h.plus, h.minus = in.uvarint(), in.uvarint()
	if n := in.count(9); n > 0 {
		h.given = make([]gift, n)
	}
	for i := range h.given {
		h.given[i] = gift{atoll.Origin(in.uint64()), in.uvarint()}
		if h.given[i].amount > maxCount || i > 0 && h.given[i-1].to >= h.given[i].to {
			in.fail()
		}
	}
	ok = in.done() && h.birth.valid() && h.plus <= maxCount && h.minus <= maxCount
	return h, ok
}
