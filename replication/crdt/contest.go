package crdt

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
