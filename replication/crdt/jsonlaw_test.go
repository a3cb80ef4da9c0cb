package crdt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
)

// drawName draws from few names, so that histories meet, and from odd ones.
func drawName(t *rapid.T) string {
	names := []string{"a", "b", "a", "b", "c", "", "a/b", "~", "\x00", "é"}
	return rapid.SampledFrom(names).Draw(t, "name")
}

// drawJSON draws the text of a value. Objects nest up to depth.
func drawJSON(t *rapid.T, depth int) string {
	n := rapid.IntRange(0, 7).Draw(t, "shape")
	switch {
	case n < 3 && depth > 0:
		seen := map[string]bool{}
		var members []string
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			name := drawName(t)
			if !seen[name] {
				members = append(members, string(appendName(nil, name))+":"+drawJSON(t, depth-1))
			}
			seen[name] = true
		}
		return "{" + strings.Join(members, ",") + "}"
	case n == 3:
		items := rapid.SliceOfN(rapid.Custom(drawItem), 0, 3).Draw(t, "items")
		return "[" + strings.Join(items, ",") + "]"
	}
	return drawItem(t)
}

func drawItem(t *rapid.T) string {
	items := []string{"1", "2", "2.50", "-0", "1e3", "1e999", `"x"`, `"]"`, `""`, "null", "true",
		"[1]", `{"k":[1]}`}
	return rapid.SampledFrom(items).Draw(t, "item")
}

func drawPointer(t *rapid.T) (p Path) {
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 2, 3, 0}).Draw(t, "depth") {
		p = p.Child(drawName(t))
	}
	return p
}

func drawOp(t *rapid.T) Op {
	op := Op{Path: drawPointer(t), By: 1}
	op.Kind = rapid.SampledFrom([]OpKind{Inc, Add, Remove, Set, Unset, Score, Unscore,
		Bound}).Draw(t, "op")
	switch op.Kind {
	case Inc:
		op.By = rapid.Int64Range(-3, 3).Draw(t, "by")
	case Add, Remove:
		op.Value = jsonTree(t, drawItem(t))
	case Set:
		op.Value = jsonTree(t, drawJSON(t, 2))
	case Score:
		score := rapid.SampledFrom([]string{"1", "2.50", "-0", "1e3", "1e999"}).Draw(t, "score")
		op.Member, op.Value = drawName(t), jsonTree(t, score)
	case Unscore:
		op.Member = drawName(t)
	}
	return op
}

func drawChange(t *rapid.T) func(*Edit) error {
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		return deleting
	case 1, 2:
		return putting(t, drawJSON(t, 3))
	case 3, 4:
		return merging(t, drawJSON(t, 3))
	}
	op := drawOp(t)
	return func(e *Edit) error { return ApplyOps(e, []Op{op}) }
}

// drawIslands makes three replicas of one document that write concurrently and
// hear of some of each other's writes, and returns all writes too.
func drawIslands(t *rapid.T) (all []*island, deltas []Delta) {
	for i := range 3 {
		all = append(all, &island{origin: atoll.Origin(i + 1)})
	}
	for range rapid.IntRange(1, 20).Draw(t, "steps") {
		r := all[rapid.IntRange(0, 2).Draw(t, "island")]
		if len(deltas) > 0 && rapid.Bool().Draw(t, "hear") {
			r.take(&deltas[rapid.IntRange(0, len(deltas)-1).Draw(t, "delta")])
			continue
		}
		r.now = hlc.Time(rapid.IntRange(1, 5).Draw(t, "time")) // skewed and equal clocks
		if d, ok := r.write(t, drawChange(t)); ok {
			deltas = append(deltas, d)
		}
	}
	return all, deltas
}

// drawDoc draws a document as concurrent writers leave it.
func drawDoc(t *rapid.T) Doc {
	all, _ := drawIslands(t)
	return all[rapid.IntRange(0, 2).Draw(t, "reader")].doc
}

// law checks prop on two thousand draws: the rarest of the bugs that these laws
// have caught showed once in six hundred.
func law(t *testing.T, prop func(*rapid.T)) {
	t.Helper()
	for range 20 {
		rapid.Check(t, prop)
	}
}

// bounded reports whether a bounded counter refused a write, of which JSON knows
// nothing.
func bounded(err error) bool {
	return atoll.KindOf(err) == atoll.AtBound || atoll.KindOf(err) == atoll.NoRights
}

// TestLawRenderPut: what GET shows can be PUT back and means the same, and all
// conflicts are settled. The first time sets may come back in another order.
func TestLawRenderPut(t *testing.T) {
	law(t, func(t *rapid.T) {
		d := drawDoc(t)
		if !d.Visible() {
			return
		}
		shown := jsonRender(d)
		once := jsonPut(t, d, shown)
		again := jsonRender(once)
		if sets(t, again) != sets(t, shown) {
			t.Fatalf("%v shows %s; put back it is %s", cells(&d), shown, again)
		}
		if twice := jsonRender(jsonPut(t, once, again)); twice != again {
			t.Fatalf("%s put back is %s", again, twice)
		}
		if _, conflicts, _ := Render(&once); len(conflicts) > 0 {
			t.Fatalf("conflicts stay: %v", describe(conflicts))
		}
	})
}

// TestLawPutRender: what is put is shown, over whatever was there, up to the
// order of what is a set.
func TestLawPutRender(t *testing.T) {
	law(t, func(t *rapid.T) {
		d, body := drawDoc(t), drawJSON(t, 4)
		want := string(jsonTree(t, body).JSON(nil))
		if got := jsonRender(jsonPut(t, Doc{}, body)); got != want {
			t.Fatalf("put %s, got %s", body, got)
		}
		e := NewEdit(d, "k", 0xfeed, 1, 1<<60)
		if err := Put(e, jsonTree(t, body)); bounded(err) {
			return
		} else if err != nil {
			t.Fatalf("put %s: %v", body, err)
		}
		got := jsonRender(*e.Doc())
		another := slices.ContainsFunc(d.Entries, func(e Entry) bool { // order, or text
			return e.Kind == Element || e.Kind == Escrow
		})
		if !another && got != want || distinct(t, got) != distinct(t, want) {
			t.Fatalf("put %s over %v, got %s", body, cells(&d), got)
		}
	})
}

// distinct is sets without repeated items.
func distinct(t failer, text string) string {
	return marshal(dedupe(asSets(naiveJSON(t, []byte(text)))))
}

func dedupe(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = dedupe(v[name])
		}
	case []any:
		return slices.CompactFunc(v, func(a, b any) bool { return reflect.DeepEqual(a, b) })
	}
	return v
}

// TestLawMerge: on what a reader sees, a merge patch does what RFC 7396 says.
func TestLawMerge(t *testing.T) {
	law(t, func(t *rapid.T) {
		d, patch := drawDoc(t), drawJSON(t, 4)
		want := "absent"
		if d.Visible() || strings.HasPrefix(patch, "{") == false {
			var target any
			if d.Visible() {
				target = naiveJSON(t, []byte(jsonRender(d)))
			}
			want = marshal(dedupe(asSets(naiveMerge(target, naiveJSON(t, []byte(patch))))))
		} else if made := naiveMerge(nil, naiveJSON(t, []byte(patch))); len(made.(map[string]any)) > 0 {
			want = marshal(dedupe(asSets(made)))
		}
		e := NewEdit(d, "k", 0xfeed, 1, 1<<60)
		if err := merging(t, patch)(e); bounded(err) {
			return
		} else if err != nil {
			t.Fatalf("merge %s: %v", patch, err)
		}
		after := e.Doc().Clone()
		got := jsonRender(after)
		if got != "absent" {
			got = distinct(t, got)
		}
		if got != want {
			t.Fatalf("%v shows %s; merged with %s it is %s, want %s",
				cells(&d), jsonRender(d), patch, jsonRender(after), want)
		}
	})
}

// TestLawOps: on what a reader sees, operations do what they do to maps, all or
// none of them.
func TestLawOps(t *testing.T) {
	law(t, func(t *rapid.T) {
		d := drawDoc(t)
		ops := []Op{drawOp(t)}
		var want any = nothing{}
		if d.Visible() {
			want = naiveJSON(t, []byte(jsonRender(d)))
			ops = append(ops, rapid.SliceOfN(rapid.Custom(drawOp), 0, 3).Draw(t, "more")...)
		}
		fits := true
		for _, op := range ops {
			ok := false
			want, ok = naiveOp(t, want, op)
			fits = fits && ok
		}
		e := NewEdit(d, "k", 9, 1, 9)
		err := ApplyOps(e, ops)
		if bounded(err) || notScores(&d, ops, err) {
			return
		}
		if (err == nil) != fits || err != nil && atoll.KindOf(err) != atoll.KindClash {
			t.Fatalf("%s of %s: %v", writeOps(ops), jsonRender(d), err)
		}
		if err != nil {
			return
		}
		got := jsonRender(*e.Doc())
		if _, gone := want.(nothing); gone && got == "absent" {
			return
		}
		if got == "absent" || distinct(t, got) != marshal(dedupe(asSets(want))) {
			t.Fatalf("%v shows %s; after %s it is %s, want %s",
				cells(&d), jsonRender(d), writeOps(ops), got, marshal(want))
		}
	})
}

// notScores reports whether err is of a score where a bounded counter is: to JSON
// both are numbers.
func notScores(d *Doc, ops []Op, err error) bool {
	of := func(kinds ...OpKind) bool {
		return slices.ContainsFunc(ops, func(op Op) bool { return slices.Contains(kinds, op.Kind) })
	}
	return atoll.KindOf(err) == atoll.KindClash && of(Score, Unscore) &&
		(of(Bound) || len(d.Accounts()) > 0)
}

// TestLawOpsSettle: what an operation writes clashes with nothing that it saw,
// and a set leaves one value.
func TestLawOpsSettle(t *testing.T) {
	law(t, func(t *rapid.T) {
		d, op := drawDoc(t), drawOp(t)
		e := NewEdit(d, "k", 9, 1, 9)
		if err := ApplyOps(e, []Op{op}); err != nil || removes(op) {
			return
		}
		_, conflicts, _ := Render(e.Doc())
		for _, c := range conflicts {
			at := op.Path
			if op.Kind == Score {
				at = at.Child(op.Member)
			}
			if c.Path.Touches(at) && (c.Kind == KindConflict || op.Kind == Set) {
				t.Fatalf("%v after %s: %v", cells(&d), writeOps([]Op{op}), describe(conflicts))
			}
		}
	})
}

func removes(op Op) bool {
	return op.Kind == Remove || op.Kind == Unset || op.Kind == Unscore
}

// nothing stands for a path or document that is not there.
type nothing struct{}

// naiveOp does op to a document as maps. One that is there stays, be it empty.
// ok is false when op must be refused.
func naiveOp(t failer, doc any, op Op) (after any, ok bool) {
	after, ok = naiveAt(t, doc, op.Path.Names(), op)
	_, absent := doc.(nothing)
	if _, gone := after.(nothing); gone && !absent {
		after = map[string]any{}
	}
	return after, ok
}

// naiveAt returns v after op at the path names below it.
func naiveAt(t failer, v any, names []string, op Op) (after any, ok bool) {
	if len(names) == 0 {
		return naiveHere(t, v, op)
	}
	if _, array := v.([]any); array {
		return v, false
	}
	obj, isObject := v.(map[string]any)
	if !isObject {
		if removes(op) {
			return v, true
		}
		obj = map[string]any{}
	}
	member, has := obj[names[0]]
	if !has {
		member = nothing{}
	}
	member, ok = naiveAt(t, member, names[1:], op)
	delete(obj, names[0])
	if _, gone := member.(nothing); !gone {
		obj[names[0]] = member
	}
	return obj, ok
}

func naiveHere(t failer, v any, op Op) (after any, ok bool) {
	_, absent := v.(nothing)
	list, array := v.([]any)
	var value any
	if op.Kind == Add || op.Kind == Remove || op.Kind == Set {
		value = naiveJSON(t, op.Value.JSON(nil))
	}
	switch op.Kind {
	case Set:
		return value, true
	case Unset:
		return nothing{}, true
	case Inc:
		return naiveInc(v, op.By, absent)
	case Score, Unscore:
		return naiveScore(t, v, op, absent)
	case Bound:
		return naiveBound(v, absent)
	case Remove:
		if absent {
			return v, true
		}
		return slices.DeleteFunc(list, func(x any) bool { return reflect.DeepEqual(x, value) }), array
	}
	return append(list, value), absent || array
}

func naiveScore(t failer, v any, op Op, absent bool) (after any, ok bool) {
	obj, object := v.(map[string]any)
	if absent {
		obj, object = map[string]any{}, true
		if op.Kind == Unscore {
			return v, true
		}
	}
	was, has := obj[op.Member]
	if _, number := was.(json.Number); !object || has && !number {
		return v, false
	}
	delete(obj, op.Member)
	if op.Kind == Score {
		obj[op.Member] = naiveJSON(t, op.Value.JSON(nil))
	}
	return obj, true
}

// naiveBound is a bound of 0.
func naiveBound(v any, absent bool) (after any, ok bool) {
	if absent {
		return json.Number("0"), true
	}
	n, number := v.(json.Number)
	if !number || n == "1e999" {
		return v, false
	}
	r, _ := new(big.Rat).SetString(n.String())
	return v, r.IsInt() && r.Sign() >= 0
}

func naiveInc(v any, by int64, absent bool) (after any, ok bool) {
	if absent {
		return json.Number(fmt.Sprint(by)), true
	}
	n, number := v.(json.Number)
	sum, countable := new(big.Rat), false
	if number && n != "1e999" {
		sum, countable = sum.SetString(n.String())
	}
	if !countable {
		return v, false
	}
	return json.Number(sum.Add(sum, new(big.Rat).SetInt64(by)).RatString()), true
}

// TestLawConverge: replicas that have heard of all writes show the same bytes
// and the same conflicts, in whatever order they heard.
func TestLawConverge(t *testing.T) {
	law(t, func(t *rapid.T) {
		all, deltas := drawIslands(t)
		var first []byte
		var conflicts []string
		for i, r := range all {
			for _, d := range rapid.Permutation(deltas).Draw(t, "order") {
				r.take(&d)
			}
			body, c, _ := Render(&r.doc)
			if i == 0 {
				first, conflicts = body, describe(c)
			}
			if !bytes.Equal(body, first) || !slices.Equal(describe(c), conflicts) || len(r.doc.Ghosts) > 0 {
				t.Fatalf("island %d shows %s with %v and ghosts %v, island 0 %s with %v",
					i, body, describe(c), r.doc.Ghosts, first, conflicts)
			}
			if len(body) > 0 && string(jsonTree(t, string(body)).JSON(nil)) != string(body) {
				t.Fatalf("%s is not canonical", body)
			}
		}
	})
}

// TestLawFind: find says the same of a path as walking down the JSON does.
func TestLawFind(t *testing.T) {
	law(t, func(t *rapid.T) {
		d, p := drawDoc(t), drawPointer(t)
		if !d.Visible() {
			return
		}
		v, there := naiveJSON(t, []byte(jsonRender(d))), true
		for _, name := range p.Names() {
			obj, _ := v.(map[string]any)
			if v, there = obj[name]; !there {
				break
			}
		}
		c := d.live().find(p)
		if found := c.path == p && !c.empty(); found != there {
			t.Fatalf("%s: found %q: %v", jsonRender(d), p.Pointer(), found)
		}
		if !there {
			return
		}
		r := renderer{doc: &d}
		c = cellOf(p, under(d.shown(), p)).winning()
		r.reading(&c)
		if got := marshal(naiveJSON(t, r.out)); got != marshal(v) {
			t.Fatalf("%s: at %q is %s", jsonRender(d), p.Pointer(), got)
		}
	})
}
