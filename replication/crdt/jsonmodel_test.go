package crdt

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
)

// The naive twins of this package's JSON: values as encoding/json reads them,
// documents as maps.

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func naiveJSON(t failer, body []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("%q: more than one value", body)
	}
	return v
}

// naiveMerge is the pseudo code of RFC 7396 section 2.
func naiveMerge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	obj, ok := target.(map[string]any)
	if !ok {
		obj = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(obj, name)
		} else {
			obj[name] = naiveMerge(obj[name], value)
		}
	}
	return obj
}

// asSets sorts the items of all arrays and writes all numbers alike, so that
// documents compare up to the order of sets and the text of sums.
func asSets(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = asSets(v[name])
		}
	case []any:
		for i := range v {
			v[i] = asSets(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(marshal(a), marshal(b)) })
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok && countable([]byte(v)) {
			return json.Number(r.RatString())
		}
	}
	return v
}

func marshal(v any) string {
	if n, ok := v.(json.Number); ok {
		return string(n) // asSets writes fractions, which are no JSON
	}
	if list, ok := v.([]any); ok {
		parts := make([]string, len(list))
		for i := range list {
			parts[i] = marshal(list[i])
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	if m, ok := v.(map[string]any); ok {
		var parts []string
		for name := range m {
			parts = append(parts, marshal(name)+":"+marshal(m[name]))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// sets returns the text of v up to the order of sets and the text of sums.
func sets(t failer, text string) string {
	t.Helper()
	return marshal(asSets(naiveJSON(t, []byte(text))))
}

// island is one replica of one document.
type island struct {
	doc    Doc
	clock  Clock
	origin atoll.Origin
	now    hlc.Time
}

// write carries out one change and applies the delta as any replica does. It
// returns false when nothing changed or the change was refused.
func (r *island) write(t failer, change func(*Edit) error) (Delta, bool) {
	t.Helper()
	e := NewEdit(r.doc, "k", r.origin, r.clock.Max(r.origin)+1, r.now)
	if change(e) != nil {
		return Delta{}, false
	}
	edited := e.Doc().Clone()
	d, ok := e.Delta()
	if !ok {
		return Delta{}, false
	}
	r.take(&d)
	if edited.ETag() != r.doc.ETag() {
		t.Fatalf("the edit and its delta differ:\n%+v\n%+v", edited, r.doc)
	}
	return d, true
}

func (r *island) take(d *Delta) {
	if r.clock.HasRun(d.Dots) {
		return
	}
	r.doc.Apply(d, r.clock.Has)
	r.clock.AddRun(d.Dots)
}

// jsonPut writes body over seen.
func jsonPut(t failer, seen Doc, body string) Doc {
	t.Helper()
	return jsonEdit(t, seen, func(e *Edit) error { return Put(e, jsonTree(t, body)) })
}

// jsonEdit returns seen after a change by an origin of its own at a late time.
func jsonEdit(t failer, seen Doc, change func(*Edit) error) Doc {
	t.Helper()
	next := uint64(1)
	for _, x := range seen.Entries {
		if x.Dot.Origin == 0xfeed {
			next = max(next, x.Dot.Seq+1)
		}
	}
	e := NewEdit(seen, "k", 0xfeed, next, 1<<60)
	if err := change(e); err != nil {
		t.Fatalf("%v", err)
	}
	return e.Doc().Clone()
}

func jsonTree(t failer, body string) Tree {
	t.Helper()
	tree, err := Parse([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return tree
}

// jsonRender returns the document as text, "absent" if there is none.
func jsonRender(d Doc) string {
	body, _, visible := Render(&d)
	if !visible {
		return "absent"
	}
	return string(body)
}
