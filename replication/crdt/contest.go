package crdt

import (
	"encoding/binary"

	"github.com/atolledge/atoll"
)

// latest returns what the next existence cell of the document says that it
// replaces: the dot of the latest one, or nothing.
func (d *Doc) latest() []byte {
	var last *Entry
	for x := range d.at("", Existence) {
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

// Replaced returns the dot of the existence cell that x, one of the document
// itself, replaced: x is then an edit of what was there. ok is false when x made
// the document.
func (x *Entry) Replaced() (d Dot, ok bool) {
	if x.Kind != Existence || x.Path != "" || len(x.Value) == 0 {
		return Dot{}, false
	}
	in := reader{b: x.Value}
	d = Dot{atoll.Origin(in.uint64()), in.uvarint()}
	return d, in.done()
}

// Visible reports whether a reader sees a document: whether anything but reset
// entries, a deadline and unknown kinds is live.
func (d *Doc) Visible() bool {
	for i := range d.Entries {
		switch d.Entries[i].Kind {
		case Existence, Register, Element, CounterOf:
			return true
		}
	}
	return false
}

// Contested counts the cells whose concurrent entries cannot all be shown:
// registers with several values, and values above other values.
func (d *Doc) Contested() (n int) {
	var value Path // the last path with a value of its own
	has := false
	for i := range d.Entries {
		x := &d.Entries[i]
		if x.Kind != Register && x.Kind != Element && x.Kind != CounterOf {
			continue
		}
		switch {
		case !has || !x.Path.Under(value):
			value, has = x.Path, true
		case x.Path != value:
			n++ // below another value
		case x.Kind == Register:
			n++ // beside another register: entries of a path are sorted by kind
		}
	}
	return n
}
