package crdt

import (
	"slices"
	"testing"

	"github.com/atolledge/atoll"
)

const ann = `{"op":"score","path":"/b","member":"ann","value":12.50}`

// TestSortedSets: what is written into a sorted set becomes a score, what is
// written beside one does not.
func TestSortedSets(t *testing.T) {
	for name, c := range map[string]struct {
		changes []func(*Edit) error
		want    []string
		shows   string
	}{
		"made": {
			[]func(*Edit) error{doing(t, ann)},
			[]string{"here ", "score /b/ann 12.50"}, `{"b":{"ann":12.50}}`,
		},
		"in an object": {
			[]func(*Edit) error{putting(t, `{"b":{"x":"y"}}`), doing(t, ann)},
			[]string{"here ", "score /b/ann 12.50", `reg /b/x "y"`}, `{"b":{"ann":12.50,"x":"y"}}`,
		},
		"a number becomes a score": {
			[]func(*Edit) error{putting(t, `{"b":{"ann":3}}`), doing(t, ann)},
			[]string{"here ", "score /b/ann 12.50"}, `{"b":{"ann":12.50}}`,
		},
		"put back": {
			[]func(*Edit) error{doing(t, ann), putting(t, `{"b":{"ann":12.50,"bob":-1e999},"n":1}`)},
			[]string{"here ", "score /b/ann 12.50", "score /b/bob -1e999", "reg /n 1"},
			`{"b":{"ann":12.50,"bob":-1e999},"n":1}`,
		},
		"put with other things": {
			[]func(*Edit) error{doing(t, ann), putting(t, `{"b":{"c":{"d":1},"s":"x","n":null}}`)},
			[]string{"here ", "reg /b/c/d 1", "reg /b/n null", `reg /b/s "x"`},
			`{"b":{"c":{"d":1},"n":null,"s":"x"}}`,
		},
		"merged": {
			[]func(*Edit) error{doing(t, ann), merging(t, `{"b":{"bob":1},"c":{"bob":1}}`)},
			[]string{"here ", "score /b/ann 12.50", "score /b/bob 1", "reg /c/bob 1"},
			`{"b":{"ann":12.50,"bob":1},"c":{"bob":1}}`,
		},
		"set": {
			[]func(*Edit) error{doing(t, ann), doing(t, `{"op":"set","path":"/b/bob","value":1}`)},
			[]string{"here ", "score /b/ann 12.50", "score /b/bob 1"}, `{"b":{"ann":12.50,"bob":1}}`,
		},
		"set beside a new one": {
			[]func(*Edit) error{doing(t, ann+`,{"op":"set","path":"/b/bob","value":1}`)},
			[]string{"here ", "score /b/ann 12.50", "score /b/bob 1"}, `{"b":{"ann":12.50,"bob":1}}`,
		},
		"counted": {
			[]func(*Edit) error{doing(t, ann), doing(t, `{"op":"inc","path":"/b/ann","by":2}`)},
			[]string{"here ", "row /b/ann", "score /b/ann 12.50"}, `{"b":{"ann":14.50}}`,
		},
		"counted and put back": {
			[]func(*Edit) error{doing(t, ann+`,{"op":"inc","path":"/b/ann","by":2}`),
				putting(t, `{"b":{"ann":14.50}}`)},
			[]string{"here ", "reset /b/ann", "score /b/ann 14.50"}, `{"b":{"ann":14.50}}`,
		},
		"taken out": {
			[]func(*Edit) error{doing(t, ann), doing(t, `{"op":"unscore","path":"/b","member":"ann"}`)},
			[]string{"here ", "here /b"}, `{"b":{}}`,
		},
		"a document after it": {
			[]func(*Edit) error{doing(t, ann), func(e *Edit) error {
				Delete(e)
				return Put(e, jsonTree(t, `{"b":{"ann":1}}`))
			}},
			[]string{"here ", "reg /b/ann 1"}, `{"b":{"ann":1}}`,
		},
	} {
		var d Doc
		for _, change := range c.changes {
			d = jsonEdit(t, d, change)
		}
		if got := cells(&d); !slices.Equal(got, c.want) {
			t.Errorf("%s: cells %q, want %q", name, got, c.want)
		}
		if got := jsonRender(d); got != c.shows {
			t.Errorf("%s: shows %s, want %s", name, got, c.shows)
		}
	}
}

// TestScoresClash: where there is no sorted set to be.
func TestScoresClash(t *testing.T) {
	for _, c := range []struct{ doc, op string }{
		{`{"b":1}`, ann},
		{`{"b":"x"}`, ann},
		{`{"b":[]}`, ann},
		{`{"b":{"ann":"x"}}`, ann},
		{`{"b":{"ann":{}}}`, ann},
		{`[]`, `{"op":"score","path":"","member":"a","value":1}`},
		{`{"b":[]}`, `{"op":"unscore","path":"/b","member":"ann"}`},
		{`{"b":{"ann":[]}}`, `{"op":"unscore","path":"/b","member":"ann"}`},
	} {
		e := NewEdit(jsonPut(t, Doc{}, c.doc), "k", 9, 1, 9)
		if err := doing(t, c.op)(e); atoll.KindOf(err) != atoll.KindClash {
			t.Errorf("%s of %s: %v", c.op, c.doc, err)
		}
	}
}

// TestScoresMerge: concurrent scores of one member leave the latest and show the
// other; a removal takes what it saw.
func TestScoresMerge(t *testing.T) {
	a, b := &island{origin: 1, now: 1}, &island{origin: 2, now: 2}
	write := func(r *island, op string) Delta {
		t.Helper()
		d, ok := r.write(t, doing(t, op))
		if !ok {
			t.Fatalf("%s does nothing", op)
		}
		return d
	}
	d := write(a, ann)
	b.take(&d)
	da := write(a, `{"op":"unscore","path":"/b","member":"ann"}`)
	db := write(b, `{"op":"score","path":"/b","member":"ann","value":3}`)
	a.take(&db)
	b.take(&da)
	for _, r := range []*island{a, b} {
		if got := jsonRender(r.doc); got != `{"b":{"ann":3}}` || r.doc.Contested() != 0 {
			t.Errorf("taken out and scored at once: %s", got)
		}
	}
	da = write(a, `{"op":"score","path":"/b","member":"ann","value":4}`)
	db = write(b, `{"op":"score","path":"/b","member":"ann","value":5}`)
	a.take(&db)
	b.take(&da)
	for _, r := range []*island{a, b} {
		_, conflicts, _ := Render(&r.doc)
		if got, want := describe(conflicts), "register /b/ann: 5@2.2* 4@1.1"; len(got) != 1 || got[0] != want {
			t.Errorf("scored twice at once: %q", got)
		}
	}
	d = write(a, `{"op":"score","path":"/b","member":"ann","value":6}`)
	b.take(&d)
	if _, conflicts, _ := Render(&b.doc); len(conflicts) > 0 || jsonRender(b.doc) != `{"b":{"ann":6}}` {
		t.Errorf("after the next write: %s with %q", jsonRender(b.doc), describe(conflicts))
	}
}
