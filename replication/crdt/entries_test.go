package crdt

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
)

// plain is the obvious form of entries: one sorted list.
type plain []Entry

func (s plain) filter(in func(*Entry) bool) (out plain) {
	for i := range s {
		if in(&s[i]) {
			out = append(out, s[i])
		}
	}
	return out
}

func drawEntry(t *rapid.T, seq uint64) Entry {
	return Entry{
		Path: drawPointer(t), Kind: Kind(rapid.IntRange(1, 7).Draw(t, "kind")),
		Dot:   Dot{atoll.Origin(rapid.IntRange(1, 3).Draw(t, "origin")), seq},
		Value: []byte(rapid.SampledFrom([]string{"1", "2", `"x"`, ""}).Draw(t, "value")),
	}
}

func byPlace(a, b Entry) int { return a.compare(&b) }

// check compares a sequence of s with what the plain list says.
func (s *entries) check(t *rapid.T, what string, got func(func(int, *Entry) bool), want plain) {
	t.Helper()
	i := 0
	for place, x := range got {
		at := &Entry{}
		if place >= 0 {
			at = &s.seen[place]
		} else {
			at = &s.added[^place]
		}
		if i >= len(want) || want[i].compare(x) != 0 || at != x {
			t.Fatalf("%s: %d is %v, want one of %v", what, i, x, want)
		}
		i++
	}
	if i < len(want) {
		t.Fatalf("%s: %d entries, want %v", what, i, want)
	}
}

// TestEntriesAgreeWithAList: under any adds and drops, entries are what a
// sorted list is, and the document that they came from stays as it was.
func TestEntriesAgreeWithAList(t *testing.T) {
	law(t, func(t *rapid.T) {
		var list plain
		for i := range rapid.IntRange(0, 90).Draw(t, "seen") {
			list = append(list, drawEntry(t, uint64(i+1)))
		}
		slices.SortFunc(list, byPlace)
		from, before := slices.Clone(list), slices.Clone(list)
		s := &entries{seen: from}
		for i := range rapid.IntRange(0, 12).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				x := drawEntry(t, uint64(1000+i))
				s.add(x)
				list = append(list, x)
				slices.SortFunc(list, byPlace)
				continue
			}
			// Drop many, so that the dead are forgotten too.
			keep := rapid.IntRange(0, 3).Draw(t, "keep")
			gone := func(x *Entry) bool { return int(x.Dot.Seq)%4 != keep }
			var places []int
			for p, x := range s.all() {
				if gone(x) {
					places = append(places, p)
				}
			}
			s.drop(places)
			list = list.filter(func(x *Entry) bool { return !gone(x) })
		}
		if !slices.EqualFunc(s.flat(), list, func(a, b Entry) bool { return a.compare(&b) == 0 }) {
			t.Fatalf("flat is %v, want %v", s.flat(), list)
		}
		s.checkAll(t, list)
		if !slices.EqualFunc(from, before, func(a, b Entry) bool { return a.compare(&b) == 0 }) {
			t.Fatalf("the document became %v, was %v", from, before)
		}
	})
}

// checkAll compares every way to look at s.
func (s *entries) checkAll(t *rapid.T, list plain) {
	p, kind := drawPointer(t), Kind(rapid.IntRange(1, 7).Draw(t, "kind"))
	value := []byte("1")
	s.check(t, "all", s.all(), list)
	s.check(t, "at", s.at(p, kind), list.filter(func(x *Entry) bool {
		return x.Path == p && x.Kind == kind
	}))
	s.check(t, "elements", s.elements(p, value), list.filter(func(x *Entry) bool {
		return x.Path == p && x.Kind == Element && string(x.Value) == "1"
	}))
	s.check(t, "under", s.under(p), list.filter(func(x *Entry) bool { return x.Path.Under(p) }))
	s.check(t, "below", s.below(p), list.filter(func(x *Entry) bool {
		return x.Path.Under(p) && x.Path != p
	}))
	s.check(t, "near", s.near(p), list.filter(func(x *Entry) bool { return x.Path.Touches(p) }))
	s.check(t, "near item", s.nearItem(p, value), list.filter(func(x *Entry) bool {
		other := x.Path == p && x.Kind == Element && string(x.Value) != "1"
		return x.Path.Touches(p) && !other
	}))
	two := []Path{Path("").Child("a"), Path("").Child("b")}
	s.check(t, "near two", s.near(two...), list.filter(func(x *Entry) bool {
		return x.Path.Touches(two[0]) || x.Path.Touches(two[1])
	}))
	d := Doc{Entries: list}
	if s.size() != Size(&d) || s.visible() != d.Visible() {
		t.Fatalf("size %d, visible %v, want %d, %v", s.size(), s.visible(), Size(&d), d.Visible())
	}
}

// TestWithout: what one document has beside another, against the obvious twin.
func TestWithout(t *testing.T) {
	law(t, func(t *rapid.T) {
		all, _ := drawIslands(t)
		a, b := all[0].doc, all[1].doc
		var got []string
		for x := range a.Without(&b) {
			got = append(got, fmt.Sprint(x.Dot))
		}
		var want []string
		for i := range a.Entries {
			if x := a.Entries[i].Dot; !b.Has(x) {
				want = append(want, fmt.Sprint(x))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v without %v: %v, want %v", cells(&a), cells(&b), got, want)
		}
	})
}
