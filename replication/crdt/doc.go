// Package crdt provides the replicated values: dots, clocks of dot intervals,
// and documents made of cells that merge without coordination.
//
// A Doc holds the live entries of one document, each under the dot that wrote
// it, and ghosts: dots that were removed here before they were seen. What is
// neither live nor a ghost, and yet in the replica's clock, is dead for ever;
// nothing else remembers it. An Edit turns what a writer sees into a Delta; Apply
// takes a delta in, Join takes a whole document of another replica in. All
// three change documents by the same rule, which needs no order of arrival:
//
//	for each removed dot x: in the clock, drop the entry of x; else x is a ghost
//	for each added dot d:   a ghost, forget the ghost; else add the entry
//
// The caller owns the clock and adds a delta's dots to it after Apply.
package crdt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Kind says how the entries of a cell are read together. A cell's identity is
// its path and its kind. Unknown kinds are stored and forwarded untouched.
type Kind uint8

// The kinds of cells. The numbers are part of the wire and store formats.
const (
	Existence Kind = 1 // the document (path "") or an empty object is here, see Replaced
	Register  Kind = 2 // one JSON scalar or array; concurrent values are kept
	Element   Kind = 3 // one member of an add-wins set; the value is its JSON
	CounterOf Kind = 4 // one origin's counter row, see Row
	ResetOf   Kind = 5 // what a counter reset took, see Reset
	Expiry    Kind = 6 // the document's deadline, see Deadline
	Scored    Kind = 7 // one member of a sorted set; the value is its score, a JSON number
	Escrow    Kind = 8 // the bound of a bounded counter, or one origin's share of it
	Marker    Kind = 9 // a deletion that wins, or one that is cleaned up; see DeleteWins
)

// Entry is one live value of one cell under the dot that wrote it.
type Entry struct {
	Path  Path
	Kind  Kind
	Dot   Dot
	Time  hlc.Time
	Value []byte // encoding by Kind; read only
	Seen  []Dot  // the markers of deletions that its writer had seen, sorted; read only
}

// compare orders entries by path, kind, value of elements, then dot: the
// canonical order of a document.
func (e *Entry) compare(f *Entry) int {
	if n := strings.Compare(string(e.Path), string(f.Path)); n != 0 {
		return n
	}
	if n := cmp.Compare(e.Kind, f.Kind); n != 0 {
		return n
	}
	if e.Kind == Element {
		if n := bytes.Compare(e.Value, f.Value); n != 0 {
			return n
		}
	}
	return e.Dot.Compare(f.Dot)
}

// Later reports whether e wins over f: the greater (time, origin).
func (e *Entry) Later(f *Entry) bool {
	if plant.Bug == plant.EarliestWins {
		e, f = f, e
	}
	return cmp.Or(cmp.Compare(e.Time, f.Time), cmp.Compare(e.Dot.Origin, f.Dot.Origin),
		cmp.Compare(e.Dot.Seq, f.Dot.Seq)) > 0
}

// Doc is the state of one document at one replica. The zero Doc is a document
// that is not there.
type Doc struct {
	Entries []Entry // canonical order
	Ghosts  []Dot   // sorted
}

// Empty reports whether nothing needs to be stored for d.
func (d *Doc) Empty() bool { return len(d.Entries) == 0 && len(d.Ghosts) == 0 }

// Has reports whether the entry of x is live in d.
func (d *Doc) Has(x Dot) bool {
	for i := range d.Entries {
		if d.Entries[i].Dot == x {
			return true
		}
	}
	return false
}

// Names reports whether d cannot be read without knowing origin o: an entry or a
// ghost of it, or a reset entry that took from it.
func (d *Doc) Names(o atoll.Origin) bool {
	return slices.ContainsFunc(d.Ghosts, func(x Dot) bool { return x.Origin == o }) ||
		slices.ContainsFunc(d.Entries, func(x Entry) bool {
			return x.Dot.Origin == o || x.Kind == ResetOf && takenOf(decodeTaken(x.Value), o).Birth > 0
		})
}

// Clone returns a copy of d that shares only the entries' values.
func (d *Doc) Clone() Doc {
	return Doc{Entries: slices.Clone(d.Entries), Ghosts: slices.Clone(d.Ghosts)}
}

// ETag returns a digest of the dots of d's entries that no marker hides: equal documents have
// equal digests on every replica. It is 16 hex digits.
func (d *Doc) ETag() string {
	awake := d.awake()
	dots := make([]Dot, len(awake))
	for i := range awake {
		dots[i] = awake[i].Dot
	}
	slices.SortFunc(dots, Dot.Compare)
	h := xxhash.New()
	var b [16]byte
	for _, x := range dots {
		binary.BigEndian.PutUint64(b[:8], uint64(x.Origin))
		binary.BigEndian.PutUint64(b[8:], x.Seq)
		_, _ = h.Write(b[:])
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 16)
	sum := h.Sum64()
	for i := range out {
		out[i] = digits[sum>>(60-4*i)&15]
	}
	return string(out)
}

// Without yields the entries of d that o has not, in canonical order.
func (d *Doc) Without(o *Doc) iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		rest := o.Entries
		for i := range d.Entries {
			x := &d.Entries[i]
			for len(rest) > 0 && rest[0].compare(x) < 0 {
				rest = rest[1:]
			}
			if (len(rest) == 0 || rest[0].compare(x) != 0) && !yield(x) {
				return
			}
		}
	}
}
