package crdt

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// world is what a replica must hold by the definition: the entries and ghosts
// of the deltas that it has seen, as sets.
func expected(deltas []Delta, seen Clock) (live, ghosts map[Dot]bool) {
	live, ghosts = map[Dot]bool{}, map[Dot]bool{}
	for i := range deltas {
		if seen.HasRun(deltas[i].Dots) {
			for _, a := range deltas[i].Adds {
				live[a.Dot] = true
			}
		}
	}
	for i := range deltas {
		if !seen.HasRun(deltas[i].Dots) {
			continue
		}
		for _, x := range deltas[i].Drops {
			delete(live, x)
			if !seen.Has(x) {
				ghosts[x] = true
			}
		}
	}
	return live, ghosts
}

func (r *island) is(t *rapid.T, what string, deltas []Delta) {
	t.Helper()
	live, ghosts := expected(deltas, r.clock)
	got := map[Dot]bool{}
	for _, x := range r.doc.Entries {
		got[x.Dot] = true
	}
	haunts := map[Dot]bool{}
	for _, g := range r.doc.Ghosts {
		haunts[g] = true
	}
	if !maps.Equal(got, live) || !maps.Equal(haunts, ghosts) {
		t.Fatalf("%s: live %v and ghosts %v, want %v and %v", what, got, haunts, live, ghosts)
	}
	if !slices.IsSortedFunc(r.doc.Entries, byPlace) ||
		!slices.IsSortedFunc(r.doc.Ghosts, Dot.Compare) {
		t.Fatalf("%s: not in canonical order: %v %v", what, cells(&r.doc), r.doc.Ghosts)
	}
}

// join takes the whole document of o in, as the answer to a full pull.
func (r *island) join(o *island) {
	after := r.clock.Clone()
	after.Join(o.clock)
	r.doc.Join(&o.doc, &o.clock, r.clock.Has, after.Has)
	r.clock = after
}

func (r *island) clone() *island {
	return &island{doc: r.doc, clock: r.clock.Clone(), origin: r.origin}
}

// TestLawState: documents and ghosts are a function of the clock, whether
// deltas or whole documents brought it, and neither touches copies.
func TestLawState(t *testing.T) {
	law(t, func(t *rapid.T) {
		all, deltas := drawIslands(t)
		for range rapid.IntRange(0, 6).Draw(t, "meetings") {
			a := all[rapid.IntRange(0, 2).Draw(t, "asker")]
			b := all[rapid.IntRange(0, 2).Draw(t, "source")]
			before := a.doc.Clone()
			copied := a.doc
			a.join(b)
			if !bytes.Equal(copied.Append(nil), before.Append(nil)) {
				t.Fatalf("the join changed a copy: %v, was %v", cells(&copied), cells(&before))
			}
			a.is(t, "join", deltas)
			if len(deltas) > 0 {
				d := rapid.SampledFrom(deltas).Draw(t, "delta")
				before, copied = a.doc.Clone(), a.doc
				a.take(&d)
				if !bytes.Equal(copied.Append(nil), before.Append(nil)) {
					t.Fatalf("the delta changed a copy: %v, was %v", cells(&copied), cells(&before))
				}
				a.is(t, "apply", deltas)
			}
		}
	})
}

// TestLawJoin: joins are idempotent, commute and associate, and a join brings
// what the deltas would have brought.
func TestLawJoin(t *testing.T) {
	law(t, func(t *rapid.T) {
		all, deltas := drawIslands(t)
		a, b, c := all[0], all[1], all[2]
		ab, ba := a.clone(), b.clone()
		ab.join(b)
		ba.join(a)
		same := func(what string, x, y *island) {
			t.Helper()
			if !bytes.Equal(x.doc.Append(nil), y.doc.Append(nil)) || !x.clock.Equal(y.clock) {
				t.Fatalf("%s: %v and %v", what, cells(&x.doc), cells(&y.doc))
			}
		}
		same("commute", ab, ba)
		again := ab.clone()
		again.join(ab)
		again.join(b)
		again.join(a) // nothing that was known is lost
		same("idempotent", again, ab)
		abc, bc, left := ab.clone(), b.clone(), a.clone()
		abc.join(c)
		bc.join(c)
		left.join(bc)
		same("associate", abc, left)
		byDeltas := a.clone()
		for _, d := range rapid.Permutation(deltas).Draw(t, "order") {
			if b.clock.HasRun(d.Dots) {
				byDeltas.take(&d)
			}
		}
		same("deltas", byDeltas, ab)
	})
}
