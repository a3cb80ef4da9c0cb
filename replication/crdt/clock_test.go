package crdt

import (
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
)

// naive is the obvious set of dots.
type naive map[Dot]bool

func (n naive) addRun(r Run) {
	for seq := r.First; seq <= r.Last; seq++ {
		n[Dot{r.Origin, seq}] = true
	}
}

func (n naive) minus(o naive) naive {
	out := maps.Clone(n)
	maps.DeleteFunc(out, func(d Dot, _ bool) bool { return o[d] })
	return out
}

func (n naive) max(o atoll.Origin) (last uint64) {
	for d := range n {
		if d.Origin == o {
			last = max(last, d.Seq)
		}
	}
	return last
}

// origins has both ends of the space, so that neighbours of an origin exist.
var origins = []atoll.Origin{1, 2, 3, math.MaxUint64 - 1, math.MaxUint64}

func drawRun(t *rapid.T) Run {
	first := rapid.Uint64Range(1, 12).Draw(t, "first")
	return Run{rapid.SampledFrom(origins).Draw(t, "origin"), first,
		first + rapid.Uint64Range(0, 4).Draw(t, "more")}
}

func drawClock(t *rapid.T) (Clock, naive) {
	var c Clock
	n := naive{}
	for _, r := range rapid.SliceOfN(rapid.Custom(drawRun), 0, 8).Draw(t, "runs") {
		if r.First == r.Last {
			c.Add(Dot{r.Origin, r.First})
		} else {
			c.AddRun(r)
		}
		n.addRun(r)
	}
	return c, n
}

// same fails unless c is the canonical form of n: sorted runs that neither
// touch nor are empty.
func same(t *rapid.T, what string, c Clock, n naive) {
	t.Helper()
	got := naive{}
	for i, r := range c.Runs() {
		if r.First == 0 || r.Last < r.First {
			t.Fatalf("%s: run %v is empty", what, r)
		}
		if i > 0 {
			p := c.Runs()[i-1]
			if p.Origin > r.Origin || p.Origin == r.Origin && p.Last+1 >= r.First {
				t.Fatalf("%s: runs %v and %v touch or are not in order", what, p, r)
			}
		}
		got.addRun(r)
	}
	if !maps.Equal(got, n) {
		t.Fatalf("%s: %v, want %v", what, c.Runs(), slices.SortedFunc(maps.Keys(n), Dot.Compare))
	}
}

// TestClockAgreesWithASet: every method of Clock is that of a set of dots.
func TestClockAgreesWithASet(t *testing.T) {
	law(t, func(t *rapid.T) {
		a, na := drawClock(t)
		b, nb := drawClock(t)
		same(t, "add", a, na)
		if a.Len() != uint64(len(na)) || a.Empty() != (len(na) == 0) {
			t.Fatalf("%v: Len %d, Empty %v", a, a.Len(), a.Empty())
		}
		r := drawRun(t)
		missing := naive{}
		missing.addRun(r)
		if missing = missing.minus(na); a.HasRun(r) != (len(missing) == 0) {
			t.Fatalf("%v HasRun %v: %v", a, r, a.HasRun(r))
		}
		for _, o := range origins {
			if a.Max(o) != na.max(o) {
				t.Fatalf("%v Max %v: %d", a, o, a.Max(o))
			}
			for seq := range uint64(20) {
				if d := (Dot{o, seq}); a.Has(d) != na[d] {
					t.Fatalf("%v Has %v: %v", a, d, a.Has(d))
				}
			}
		}
		same(t, "minus", ClockOf(slices.Collect(a.Minus(b))...), na.minus(nb))
		same(t, "intersect", a.Intersect(b), na.minus(na.minus(nb)))
		if a.Covers(b) != (len(nb.minus(na)) == 0) || a.Equal(b) != maps.Equal(na, nb) {
			t.Fatalf("%v and %v: covers %v, equal %v", a, b, a.Covers(b), a.Equal(b))
		}
		before := a.Clone()
		a.Join(b)
		maps.Copy(na, nb)
		same(t, "join", a, na)
		if !a.Covers(before) || !a.Covers(b) {
			t.Fatalf("the join of %v and %v does not cover them", before, b)
		}
	})
}

// TestClockMinusStops: a range over Minus can be left early at each of its runs.
func TestClockMinusStops(t *testing.T) {
	a, b := ClockOf(Run{1, 1, 9}, Run{2, 1, 3}), ClockOf(Run{1, 3, 4}, Run{1, 7, 7})
	want := []Run{{1, 1, 2}, {1, 5, 6}, {1, 8, 9}, {2, 1, 3}}
	for n := 1; n <= len(want); n++ {
		var got []Run
		for r := range a.Minus(b) {
			if got = append(got, r); len(got) == n {
				break
			}
		}
		if !slices.Equal(got, want[:n]) {
			t.Errorf("the first %d: %v", n, got)
		}
	}
}

// TestClockClones: what changes a clock does not change its clones.
func TestClockClones(t *testing.T) {
	a := ClockOf(Run{1, 1, 3}, Run{1, 6, 7})
	b := a.Clone()
	a.AddRun(Run{1, 4, 5})
	a.Add(Dot{2, 1})
	if !b.Equal(ClockOf(Run{1, 1, 3}, Run{1, 6, 7})) {
		t.Errorf("the clone became %v", b.Runs())
	}
}

func TestDotOrder(t *testing.T) {
	dots := []Dot{{1, 1}, {1, 2}, {2, 1}, {math.MaxUint64, 0}}
	for i, a := range dots {
		for j, b := range dots {
			if got, want := a.Compare(b), i-j; (got < 0) != (want < 0) || (got == 0) != (want == 0) {
				t.Errorf("%v compared with %v: %d", a, b, got)
			}
		}
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		pointer string
		names   []string
	}{
		{"", nil}, {"/", []string{""}}, {"//", []string{"", ""}}, {"/a/b", []string{"a", "b"}},
		{"/a~1b/~0", []string{"a/b", "~"}}, {"/~01", []string{"~1"}},
		{"/\x00", []string{"\x00"}}, {"/\x00\x01/\x00\xff", []string{"\x00\x01", "\x00\xff"}},
		{"/é", []string{"é"}},
	} {
		p, ok := ParsePointer(c.pointer)
		if !ok || !slices.Equal(p.Names(), c.names) || p.Pointer() != c.pointer || !p.valid() {
			t.Errorf("%q is %q, back %q, %v", c.pointer, p.Names(), p.Pointer(), ok)
		}
		for n := len(c.names); n > 0; n-- {
			parent, name, ok := p.Parent()
			if !ok || name != c.names[n-1] || !slices.Equal(parent.Names(), c.names[:n-1]) {
				t.Errorf("the parent of %q is %q and %q", p, parent, name)
			}
			if !p.Under(parent) || parent.Under(p) || !p.Touches(parent) || !parent.Touches(p) {
				t.Errorf("%q and its parent %q do not lie so", p, parent)
			}
			p = parent
		}
		if _, _, ok := p.Parent(); ok || p != "" {
			t.Errorf("%q has a parent above the root", c.pointer)
		}
	}
	for _, bad := range []string{"a", "~", "/~", "/~2", "/a/~", " /a"} {
		if p, ok := ParsePointer(bad); ok {
			t.Errorf("%q is %q", bad, p)
		}
	}
}

// TestPathOrder: paths compare as the lists of their names do, and a path is a
// byte prefix of exactly those below it.
func TestPathOrder(t *testing.T) {
	name := rapid.SampledFrom([]string{"", "a", "ab", "\x00", "\x00\x01", "\x01", "\x00\xff", "b"})
	names := rapid.SliceOfN(name, 0, 3)
	build := func(names []string) (p Path) {
		for _, n := range names {
			p = p.Child(n)
		}
		return p
	}
	law(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		p, q := build(a), build(b)
		if got, want := slices.Compare([]byte(p), []byte(q)), slices.Compare(a, b); got != want {
			t.Fatalf("%q compared with %q: %d, want %d", a, b, got, want)
		}
		below := len(a) >= len(b) && slices.Equal(a[:len(b)], b)
		if p.Under(q) != below {
			t.Fatalf("%q under %q: %v", a, b, p.Under(q))
		}
	})
}
