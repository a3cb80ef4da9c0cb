package crdt

import (
	"encoding/binary"

	"github.com/atolledge/atoll"
)

// replaced returns what the next existence cell of the document says that it
// replaces: the dot of the latest one, or nothing.
func (s *entries) replaced() []byte {
	var last *Entry
	for _, x := range s.at("", Existence) {
		if last == nil || x.Later(last) {
			last = x
		}
	}
	if last == nil {
		return nil
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(last.Dot.Origin))
	return binary.AppendUvarint(b, last.Dot.Seq)
}

// Replaced returns the dot of the existence cell that e, one of the document
// itself, replaced: e is then an edit of what was there. ok is false when e made
// the document.
func (e *Entry) Replaced() (d Dot, ok bool) {
	if e.Kind != Existence || e.Path != "" || len(e.Value) == 0 {
		return Dot{}, false
	}
	in := reader{b: e.Value}
	d = Dot{atoll.Origin(in.uint64()), in.uvarint()}
	return d, in.done()
}

// Visible reports whether a reader sees a document: whether anything but reset
// entries, a deadline and unknown kinds is live.
func (d *Doc) Visible() bool { return d.live().visible() }

func (e *Entry) visible() bool {
	switch e.Kind {
	case Existence, Register, Element, CounterOf, Scored:
		return true
	}
	return e.isBound()
}

// Contested counts the values that concurrent writes left and that do not show:
// the other texts of registers, and readings of a path beside its winner, with
// what is contested inside each. It is 0 exactly where Render finds no conflict.
func (d *Doc) Contested() int { return cellOf("", d.shown()).contested() }

func (c cell) contested() (n int) {
	parts := []cell{c}
	if c.clashes() {
		parts = c.readings()
	}
	for i := range parts {
		n += parts[i].inside()
	}
	return n + len(parts) - 1
}

// inside is contested for one reading.
func (c *cell) inside() (n int) {
	if len(c.registers) > 1 {
		n = len(values(c.registers)) - 1
	}
	for child := range c.children() {
		n += child.contested()
	}
	return n
}
