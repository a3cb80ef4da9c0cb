package crdt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
)

// live makes a document of lines "kind pointer time origin value". A row's
// value is what it counts.
func live(t *testing.T, lines ...string) (d Doc) {
	t.Helper()
	kinds := map[string]Kind{"here": Existence, "reg": Register, "elem": Element, "row": CounterOf,
		"reset": ResetOf, "expiry": Expiry, "score": Scored, "future": 77}
	for i, line := range lines {
		f := append(strings.SplitN(line, " ", 5), "")
		var at, origin, n uint64
		fmt.Sscan(f[2], &at)
		fmt.Sscan(f[3], &origin)
		p, ok := ParsePointer(f[1])
		kind, known := kinds[f[0]]
		if !ok || !known {
			t.Fatalf("bad line %q", line)
		}
		e := Entry{Path: p, Kind: kind, Time: hlc.Time(at), Value: []byte(f[4]),
			Dot: Dot{atoll.Origin(origin), uint64(i + 1)}}
		if kind == CounterOf {
			fmt.Sscan(f[4], &n)
			e.Value = encodeRow(Row{Birth: e.Dot.Seq, Plus: n})
		}
		insert(&d, e)
	}
	return d
}

// insert puts a live entry into d.
func insert(d *Doc, e Entry) {
	d.Entries = rewrite(d.Entries, func(*Entry) bool { return false }, []Entry{e})
}

// describe writes a conflict as "kind pointer: value@time.origin …", with * at
// the winner.
func describe(all []CellConflict) (out []string) {
	for _, c := range all {
		s := c.Kind + " " + c.Path.Pointer() + ":"
		for _, v := range c.Values {
			s += fmt.Sprintf(" %s@%d.%d", v.JSON, v.Time, v.Dot.Origin)
			if v.Winner {
				s += "*"
			}
		}
		out = append(out, s)
	}
	return out
}

func TestRender(t *testing.T) {
	for name, c := range map[string]struct {
		live      []string
		want      string
		conflicts []string
	}{
		"nothing":      {nil, "absent", nil},
		"empty":        {[]string{"here  1 1"}, "{}", nil},
		"hidden kinds": {[]string{"reset /n 1 1", "expiry  1 1", "future /x 1 1 z"}, "absent", nil},
		"unknown kind": {[]string{"here  1 1", "future /x 9 1 z", "reg /a 1 1 1"}, `{"a":1}`, nil},
		"scalar root":  {[]string{"here  9 1", "reg  1 1 5"}, `5`, nil},
		"only edited":  {[]string{"reg /a/b 1 1 5"}, `{"a":{"b":5}}`, nil},
		"key order": {[]string{"reg /b 1 1 1", "reg /a~1b 1 1 2", "reg /ab 1 1 3", "reg /a/x 1 1 4",
			"reg / 1 1 5"}, `{"":5,"a":{"x":4},"a/b":2,"ab":3,"b":1}`, nil},
		"existence above members": {[]string{"here /a 9 1", "reg /a/b 1 1 1"}, `{"a":{"b":1}}`, nil},
		"latest register": {
			[]string{"reg /a 1 3 1", "reg /a 2 1 2", "reg /a 2 2 3"},
			`{"a":3}`, []string{"register /a: 3@2.2* 2@2.1 1@1.3"},
		},
		"same value twice": {[]string{"reg /a 1 1 7", "reg /a 2 2 7"}, `{"a":7}`, nil},
		"same loser twice": {
			[]string{"reg /a 1 1 7", "reg /a 2 2 7", "reg /a 3 3 8"},
			`{"a":8}`, []string{"register /a: 8@3.3* 7@2.2"},
		},
		"counter":          {[]string{"row /n 1 1 3", "row /n 1 2 4"}, `{"n":7}`, nil},
		"number + counter": {[]string{"reg /n 9 1 1.50", "row /n 1 2 4"}, `{"n":5.50}`, nil},
		"zero counter":     {[]string{"reg /n 9 1 1e3", "row /n 1 2 0"}, `{"n":1e3}`, nil},
		"contested sum": {
			[]string{"reg /n 9 1 1", "reg /n 8 2 5", "row /n 1 2 4"},
			`{"n":5}`, []string{"register /n: 1@9.1* 5@8.2"},
		},
		"scores": {[]string{"score /b/x 1 1 2.50", "score /b/a 1 1 -1e999"}, `{"b":{"a":-1e999,"x":2.50}}`, nil},
		"latest score": {
			[]string{"score /b/x 2 1 1", "score /b/x 1 2 2", "score /b/x 1 3 1"},
			`{"b":{"x":1}}`, []string{"register /b/x: 1@2.1* 2@1.2"},
		},
		"score and counter": {[]string{"score /b/x 2 1 1.5", "row /b/x 1 2 2"}, `{"b":{"x":3.5}}`, nil},
		"score beats text": {
			[]string{"score /b/x 2 1 1", `reg /b/x 1 2 "x"`},
			`{"b":{"x":1}}`, []string{`register /b/x: 1@2.1* "x"@1.2`},
		},
		"no score": {[]string{"here  1 1", "score /b/x 2 1 x"}, "{}", nil},
		"text beats counter": {
			[]string{`reg /n 9 1 "x"`, "row /n 1 2 4"},
			`{"n":"x"}`, []string{`kind-clash /n: "x"@9.1* 4@1.2`},
		},
		"counter beats text": {
			[]string{`reg /n 1 1 "x"`, "row /n 1 2 4"},
			`{"n":4}`, []string{`kind-clash /n: 4@1.2* "x"@1.1`},
		},
		"absurd number": {
			[]string{`reg /n 9 1 1e999`, "row /n 1 2 4"},
			`{"n":1e999}`, []string{`kind-clash /n: 1e999@9.1* 4@1.2`},
		},
		"elements": {
			[]string{"elem /t 1 1 2", "elem /t 2 2 10", `elem /t 3 3 "a"`}, `{"t":["a",10,2]}`, nil,
		},
		"element twice": {[]string{"elem /t 1 1 2", "elem /t 2 2 2"}, `{"t":[2]}`, nil},
		"array as is":   {[]string{"reg /t 1 1 [2,1,2]"}, `{"t":[2,1,2]}`, nil},
		"array and set": {
			[]string{"reg /t 1 1 [2,1,2]", "elem /t 2 2 0", "elem /t 2 2 1"}, `{"t":[2,1,0]}`, nil,
		},
		"empty and set": {[]string{"reg /t 9 1 []", "elem /t 2 2 0"}, `{"t":[0]}`, nil},
		"deep items": {
			[]string{`reg /t 9 1 [[1,"],["],{"a":[1]}]`, `elem /t 2 2 {"a":[1]}`},
			`{"t":[[1,"],["],{"a":[1]}]}`, nil,
		},
		"set and scalar": {
			[]string{"reg /t 9 1 true", "elem /t 2 2 0", "elem /t 1 1 1"}, `{"t":true}`,
			[]string{"kind-clash /t: true@9.1* [0,1]@2.2"},
		},
		"set and counter": {
			[]string{"row /t 1 2 4", "elem /t 1 1 0"},
			`{"t":4}`, []string{"kind-clash /t: 4@1.2* [0]@1.1"},
		},
		"four ways": {
			[]string{`reg /t 5 1 "s"`, "row /t 4 2 4", "elem /t 3 1 0", "reg /t/a 2 1 1"},
			`{"t":"s"}`, []string{`kind-clash /t: "s"@5.1* 4@4.2 [0]@3.1 {"a":1}@2.1`},
		},
		"sum over members": {
			[]string{"reg /n 2 1 5", "row /n 1 2 3", "reg /n/x 1 1 1"},
			`{"n":8}`, []string{`kind-clash /n: 8@2.1* {"x":1}@1.1`},
		},
		"set over members": {
			[]string{"reg /t 1 1 [5]", "elem /t 3 2 3", "reg /t/x 2 1 1"},
			`{"t":[5,3]}`, []string{`kind-clash /t: [5,3]@3.2* {"x":1}@2.1`},
		},
		"members win": {
			[]string{`reg /a 1 1 "s"`, "reg /a/b 1 1 1", "reg /a/c 3 1 2", "reg /a/c 2 1 3"},
			`{"a":{"b":1,"c":2}}`,
			[]string{`kind-clash /a: {"b":1,"c":2}@3.1* "s"@1.1`, "register /a/c: 2@3.1* 3@2.1"},
		},
		"members lose": {
			[]string{`reg /a 9 1 "s"`, "reg /a/b 1 1 1", "reg /a/c 3 1 2", "reg /a/c 2 1 3"},
			`{"a":"s"}`, []string{`kind-clash /a: "s"@9.1* {"b":1,"c":2}@3.1`},
		},
		"losing values": {
			[]string{`reg /a 2 1 "s"`, `reg /a 1 2 "t"`, "reg /a/b 3 1 1"},
			`{"a":{"b":1}}`, []string{`kind-clash /a: {"b":1}@3.1* "s"@2.1 "t"@1.2`},
		},
		"empty object wins": {
			[]string{`reg /a 1 1 "s"`, "here /a 2 1"},
			`{"a":{}}`, []string{`kind-clash /a: {}@2.1* "s"@1.1`},
		},
		"root clash": {
			[]string{"here  9 9", "reg  1 1 5", "reg /a 2 1 6"},
			`{"a":6}`, []string{"kind-clash : {\"a\":6}@2.1* 5@1.1"},
		},
		"reset below is no member": {
			[]string{"here  1 1", "reg /a 1 1 5", "reset /a/b 9 1"}, `{"a":5}`, nil,
		},
		"faulty peer": {
			[]string{"here  1 1", "reg /a 1 1 ", "elem /b 1 1 ", "reg /c 1 1 [1,", "elem /c 1 1 2"},
			`{"c":[1,2]}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := live(t, c.live...)
			body, conflicts, visible := Render(&d)
			if visible != d.Visible() && name != "faulty peer" {
				t.Errorf("visible: %v, but the document says %v", visible, d.Visible())
			}
			if !visible {
				body = []byte("absent")
			}
			if string(body) != c.want {
				t.Errorf("got %s, want %s", body, c.want)
			}
			if got := describe(conflicts); !slices.Equal(got, c.conflicts) {
				t.Errorf("conflicts %q, want %q", got, c.conflicts)
			}
		})
	}
}

// TestRenderNames: member names come back as they were.
func TestRenderNames(t *testing.T) {
	names := []string{"", "\x00", "\x00\x01", "a\x00", "\x00ÿ", "/", "~1", "é😀", "\""}
	for _, name := range names {
		var d Doc
		insert(&d, Entry{Path: Path("").Child(name).Child(name), Kind: Register, Value: []byte("1")})
		quoted := string(appendName(nil, name))
		if got, want := jsonRender(d), "{"+quoted+":{"+quoted+":1}}"; got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

// TestRenderMalformedPath: a path that no rule made must not stop a reader.
func TestRenderMalformedPath(t *testing.T) {
	for _, p := range []Path{"a", "\x00", "\xff", "a\x00\x01b", "\x00\xff"} {
		var d Doc
		insert(&d, Entry{Path: p, Kind: Register, Value: []byte("1")})
		if _, err := Parse([]byte(jsonRender(d))); err != nil {
			t.Errorf("%q: %s: %v", p, jsonRender(d), err)
		}
	}
}

// TestRenderLeavesTheDocument: reading changes nothing.
func TestRenderLeavesTheDocument(t *testing.T) {
	d := live(t, "here  1 1", "reset /a 1 1", "reg /n 1 1 5", "row /n 1 1 2",
		"reg /t 1 1 [3,1]", "elem /t 1 1 2")
	want := fmt.Sprintf("%+v", d.Entries)
	first := jsonRender(d)
	if got := fmt.Sprintf("%+v", d.Entries); got != want || jsonRender(d) != first {
		t.Errorf("became\n%s\nfrom\n%s", got, want)
	}
}

// BenchmarkRender reads a document of ten scalars, the common case.
func BenchmarkRender(b *testing.B) {
	d := jsonPut(b, Doc{}, `{"name":"lamp","price":12.50,"tags":["a","b"],"stock":{"fra":1,"nrt":2,`+
		`"iad":3},"open":true,"by":"me","at":"2026-01-01T00:00:00Z","x":null}`)
	b.ReportAllocs()
	for b.Loop() {
		Render(&d)
	}
}

// BenchmarkPut parses and writes the same document over itself.
func BenchmarkPut(b *testing.B) {
	body := []byte(`{"name":"lamp","price":12.50,"tags":["a","b"],"stock":{"fra":1,"nrt":2,` +
		`"iad":3},"open":true,"by":"me","at":"2026-01-01T00:00:00Z","x":null}`)
	d := jsonPut(b, Doc{}, string(body))
	b.ReportAllocs()
	for b.Loop() {
		tree, err := Parse(body)
		if err != nil {
			b.Fatal(err)
		}
		if err := Put(NewEdit(d, "k", 1, 1, 1), tree); err != nil {
			b.Fatal(err)
		}
	}
}

// TestItems compares the scanner with the standard library's reading.
func TestItems(t *testing.T) {
	for _, array := range []string{
		`[]`, `[1]`, `[1,2.5,null]`, `["a,b","c"]`, `["]","[","{"]`, `["\"",",\\",1]`, `["\\\",[",[2]]`,
		`[[],{},[[1,","]],{"a,":[1,2],"b\"]":"}"}]`, `["",""]`,
	} {
		var want []json.RawMessage
		if err := json.Unmarshal([]byte(array), &want); err != nil {
			t.Fatal(err)
		}
		got := slices.Collect(items([]byte(array)))
		if !slices.EqualFunc(got, want, func(a []byte, b json.RawMessage) bool {
			return string(a) == string(b)
		}) {
			t.Errorf("%s: got %q, want %q", array, got, want)
		}
		for item := range items([]byte(array)) {
			if string(item) != string(want[0]) {
				t.Errorf("%s begins with %q", array, item)
			}
			break
		}
	}
	for _, broken := range []string{"", "[", `["`, `["\`, "]", "[1,", "[[1]"} {
		if n := len(slices.Collect(items([]byte(broken)))); n > 1 {
			t.Errorf("%q: got %d items", broken, n)
		}
	}
}
