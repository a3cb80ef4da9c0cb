package crdt

import (
	"slices"

	"github.com/atolledge/atoll/replication/internal/plant"
)

// Where deletes win, a deletion leaves a marker beside removing what it sees. Each
// entry says which markers its writer had seen, and shows only while it has seen
// every marker that is live: what was written without knowing of a deletion stays
// hidden, whatever it edited, until the elected member removes it together with
// the marker. Only that one removes markers, or an edit that had seen one could
// bring back another that had not. In its place it leaves a spent marker, which
// hides nothing: it lets those who write next say that they had seen what others
// may still hold, and goes when all have it.
//
// Nothing but a deletion asks whether deletes win: a document without markers is
// like any other, and one with them is read alike by all.

// MaxMarkers is how many markers of a document may wait to be cleaned up before a
// deletion of what is gone already adds no more.
const MaxMarkers = 64

// spent is the value of a marker that has been cleaned up.
var spent = [...]byte{1}

func (e *Entry) marks() bool { return e.Kind == Marker && len(e.Value) == 0 }

// Marked reports whether d holds a marker, be it spent.
func (d *Doc) Marked() bool {
	i := position(d.Entries, &Entry{Kind: Marker})
	return i < len(d.Entries) && d.Entries[i].Kind == Marker && d.Entries[i].Path == ""
}

// Markers returns how many markers wait to be cleaned up.
func (d *Doc) Markers() (n int) {
	for i := range d.Entries {
		if d.Entries[i].marks() {
			n++
		}
	}
	return n
}

// awake returns the entries that no marker hides, markers aside. It is d's own
// slice where there is none.
func (d *Doc) awake() []Entry {
	if !d.Marked() {
		return d.Entries
	}
	awake, _ := split(d.Entries)
	return awake
}

// split tells the entries that no marker hides from the markers and those that
// one does, each in canonical order.
func split(es []Entry) (awake, aside []Entry) {
	var live []Dot
	for i := range es {
		if es[i].marks() {
			live = append(live, es[i].Dot)
		}
	}
	for i := range es {
		if x := &es[i]; x.Kind == Marker || x.blind(live) {
			aside = append(aside, *x)
		} else {
			awake = append(awake, *x)
		}
	}
	return awake, aside
}

// blind reports whether e was written without having seen one of some markers.
func (e *Entry) blind(markers []Dot) bool {
	return slices.ContainsFunc(markers, func(m Dot) bool { return !among(e.Seen, m) })
}

// seenOf returns the markers that the writer of the next entry has seen: those
// that are live, and those that what it sees had seen.
func seenOf(es []Entry) (seen []Dot) {
	var last []Dot
	for i := range es {
		x := &es[i]
		if len(x.Seen) > 0 && plant.Bug != plant.SeenNotInherited &&
			(len(last) != len(x.Seen) || &last[0] != &x.Seen[0]) {
			seen = append(seen, x.Seen...)
			last = x.Seen
		}
		if x.marks() {
			seen = append(seen, x.Dot)
		}
	}
	slices.SortFunc(seen, Dot.Compare)
	return slices.Compact(seen)
}

// Know tells an edit what its replica has seen, so that it forgets the markers of
// which nothing is left anywhere: those that were seen here, are not live, and are
// not in a spent marker's keeping. It is called before any change.
func (e *Edit) Know(has func(Dot) bool) {
	e.delta.Seen = slices.DeleteFunc(e.delta.Seen, func(x Dot) bool {
		return has(x) && !slices.ContainsFunc(e.aside, func(m Entry) bool {
			return m.Kind == Marker && (m.Dot == x || !m.marks() && among(m.Seen, x))
		})
	})
}

// DeleteWins removes all that is seen of the document, and all that others write
// without knowing of it. It does so also where there is no document.
func DeleteWins(e *Edit) {
	var all []int
	marked := false
	for i, x := range e.live.all() {
		if x.Kind == Marker {
			marked = true // by this edit
		} else if !e.keeps(x) {
			all = append(all, i)
		}
	}
	e.remove(all)
	markers := slices.DeleteFunc(slices.Clone(e.aside), func(x Entry) bool { return x.Kind != Marker })
	e.cast(func(x *Entry) bool { return x.Kind != Marker })
	if marked || len(markers) >= MaxMarkers && len(e.delta.Drops) == 0 {
		return
	}
	e.delta.Seen = mergeDots(e.delta.Seen, []Dot{{e.delta.Dots.Origin, e.next}})
	e.Add("", Marker, nil)
}

// cast removes the markers and hidden entries that match.
func (e *Edit) cast(match func(*Entry) bool) {
	left := make([]Entry, 0, len(e.aside))
	for i := range e.aside {
		if x := &e.aside[i]; match(x) {
			e.delta.Drops = append(e.delta.Drops, x.Dot)
		} else {
			left = append(left, *x)
		}
	}
	e.aside, e.doc = left, nil
}

// CleanUp removes, at the elected member, the markers that every member has
// reported and all that they hide, and the spent ones that every member has. Stable
// says what all have, told what all have said together with all else that they
// have, has what was seen here, closed that all that the members had themselves
// written by their reports is here: then what does not know of a marker that was
// told is here too. It reports whether something waits for further reports.
func (e *Edit) CleanUp(stable, told, has func(Dot) bool, closed bool) (waits bool) {
	known := closed && !slices.ContainsFunc(e.began, func(x Entry) bool {
		return slices.ContainsFunc(x.Seen, func(m Dot) bool { return !has(m) })
	})
	if plant.Bug == plant.MarkerCleanedEarly {
		known, told = true, has
	}
	var done []Dot
	for i := range e.aside {
		x := &e.aside[i]
		switch {
		case x.Kind != Marker:
		case x.marks() && known && told(x.Dot):
			done = append(done, x.Dot)
		case x.marks() || !stable(x.Dot):
			waits = true
		}
	}
	e.cast(func(x *Entry) bool {
		if x.Kind == Marker {
			return among(done, x.Dot) || !x.marks() && stable(x.Dot)
		}
		return x.blind(done)
	})
	if len(done) > 0 && plant.Bug != plant.NoSpentMarker {
		e.Add("", Marker, spent[:])
		return true
	}
	return waits
}
