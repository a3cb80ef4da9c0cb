package crdt

import (
	"iter"
	"slices"
	"sort"
	"strings"
)

// cell is all that readers see of one path: the live entries at it, by kind,
// and those below it. Scores are among the registers: they read as numbers.
// Parts may be left out to stand for one reading of many.
type cell struct {
	path                                     Path
	existence, registers, elements, counters []Entry
	bounds                                   []Entry // of bounded counters; shares never show
	below                                    []Entry
}

// shown returns the entries of d that make it visible, in canonical order. It
// is d's own slice where that has nothing else.
func (d *Doc) shown() []Entry {
	es := d.awake()
	for i := range es {
		if !es[i].shows() {
			hidden := func(e Entry) bool { return !e.shows() }
			return slices.DeleteFunc(slices.Clone(es), hidden)
		}
	}
	return es
}

// shows reports whether readers see anything of e. Reset entries, deadlines, shares
// and unknown kinds never show, nor does what a faulty peer wrote without a value.
func (e *Entry) shows() bool {
	switch e.Kind {
	case Existence:
		return true
	case Register, Element:
		return len(e.Value) > 0
	case Scored:
		return isNumber(e.Value)
	case Escrow:
		return e.isBound()
	case CounterOf:
		_, ok := decodeRow(e.Value)
		return ok
	}
	return false
}

// cellOf cuts es, which are the shown entries at p and below it, into a cell.
func cellOf(p Path, es []Entry) cell {
	c := cell{path: p}
	c.existence, es = cut(es, p, Existence)
	c.registers, es = cut(es, p, Register)
	c.elements, es = cut(es, p, Element)
	c.counters, es = cut(es, p, CounterOf)
	scores, es := cut(es, p, Scored)
	if len(scores) > 0 {
		c.registers = slices.Concat(c.registers, scores)
	}
	c.bounds, c.below = cut(es, p, Escrow)
	return c
}

func cut(es []Entry, p Path, k Kind) (head, rest []Entry) {
	n := 0
	for n < len(es) && es[n].Kind == k && len(es[n].Path) == len(p) {
		n++
	}
	return es[:n], es[n:]
}

// under returns the part of es, in canonical order, that is at p or below it.
func under(es []Entry, p Path) []Entry {
	from := sort.Search(len(es), func(i int) bool { return es[i].Path >= p })
	es = es[from:]
	return es[:sort.Search(len(es), func(i int) bool { return !es[i].Path.Under(p) })]
}

// nameEnd returns where the name that begins at byte n of p ends in p.
func nameEnd(p Path, n int) int {
	if i := strings.Index(string(p[n:]), "\x00\x01"); i >= 0 {
		return n + i + 2
	}
	return len(p) // malformed: all of it is the name
}

// latest returns the winner among es, nil if there is none.
func latest(es []Entry) (win *Entry) {
	for i := range es {
		if win == nil || es[i].Later(win) {
			win = &es[i]
		}
	}
	return win
}

// isObject reports whether c says that there is an object. The existence cell
// of the document says only that there is a document, which may have a value.
func (c *cell) isObject() bool {
	return len(c.below) > 0 || len(c.existence) > 0 && (c.path != "" || !c.holdsValue())
}

// empty reports whether nothing shows at the path of c.
func (c *cell) empty() bool { return !c.holdsValue() && !c.isObject() }

// holdsValue reports whether c has a value of its own: not an object or nothing.
func (c *cell) holdsValue() bool {
	return len(c.registers)+len(c.elements)+len(c.counters)+len(c.bounds) > 0
}

// isArray reports whether c, which is one reading, shows as an array.
func (c *cell) isArray() bool {
	return len(c.elements) > 0 || len(c.registers) > 0 && isArray(latest(c.registers).Value)
}

func isArray(text []byte) bool { return text[0] == '[' }

// isNumber reports whether c, which is one reading, shows as a number that
// counts.
func (c *cell) isNumber() bool {
	return len(c.counters) > 0 ||
		len(c.registers) > 0 && countable(latest(c.registers).Value)
}

// holdsNumber reports whether c, which is one reading, shows as any number.
func (c *cell) holdsNumber() bool {
	return len(c.counters) > 0 || len(c.registers) > 0 && isNumber(latest(c.registers).Value)
}

// clashes reports whether c cannot be read as one value.
func (c *cell) clashes() bool {
	if c.isObject() {
		return c.holdsValue()
	}
	if len(c.bounds) > 0 {
		return len(c.registers)+len(c.elements)+len(c.counters)+len(c.bounds) > 1
	}
	if len(c.registers) == 0 {
		return len(c.elements) > 0 && len(c.counters) > 0
	}
	return len(c.elements) > 0 && !isArray(latest(c.registers).Value) ||
		len(c.counters) > 0 && !countable(latest(c.registers).Value)
}

// readings cuts c into parts of which each reads as one value, the winner
// first. A register takes the elements or the counter that it can be joined
// with to itself.
func (c *cell) readings() []cell {
	parts := make([]cell, 0, 4)
	if c.isObject() {
		parts = append(parts, cell{path: c.path, existence: c.existence, below: c.below})
	}
	elements, counters := c.elements, c.counters
	if len(c.registers) > 0 {
		part := cell{path: c.path, registers: c.registers}
		switch text := latest(c.registers).Value; {
		case isArray(text):
			part.elements, elements = elements, nil
		case countable(text):
			part.counters, counters = counters, nil
		}
		parts = append(parts, part)
	}
	if len(elements) > 0 {
		parts = append(parts, cell{path: c.path, elements: elements})
	}
	if len(counters) > 0 {
		parts = append(parts, cell{path: c.path, counters: counters})
	}
	for i := range c.bounds { // each is a birth of its own
		parts = append(parts, cell{path: c.path, bounds: c.bounds[i : i+1]})
	}
	slices.SortFunc(parts, func(a, b cell) int {
		if a.lead().Later(b.lead()) {
			return -1
		}
		return 1
	})
	return parts
}

// lead returns the entry that speaks for c against other readings: its latest.
// The document's own existence cell is on no side.
func (c *cell) lead() (win *Entry) {
	all := [...][]Entry{c.existence, c.registers, c.elements, c.counters, c.bounds, c.below}
	for i, es := range all {
		if i == 0 && c.path == "" {
			continue
		}
		if e := latest(es); e != nil && (win == nil || e.Later(win)) {
			win = e
		}
	}
	return win
}

// winning returns the reading of c that shows.
func (c cell) winning() cell {
	if c.clashes() {
		return c.readings()[0]
	}
	return c
}

// children yields what is one name below c.
func (c *cell) children() iter.Seq[cell] {
	return func(yield func(cell) bool) {
		for below := c.below; len(below) > 0; {
			at := below[0].Path[:nameEnd(below[0].Path, len(c.path))]
			n := 1
			for n < len(below) && below[n].Path.Under(at) {
				n++
			}
			if !yield(cellOf(at, below[:n])) {
				return
			}
			below = below[n:]
		}
	}
}
