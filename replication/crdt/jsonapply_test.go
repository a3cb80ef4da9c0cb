package crdt

import (
	"slices"
	"testing"

	"github.com/atolledge/atoll"
)

func TestApplyOps(t *testing.T) {
	for _, c := range []struct{ doc, op, want string }{
		{`{"n":5}`, `{"op":"inc","path":"/n"}`, `{"n":6}`},
		{`{"n":1.25}`, `{"op":"inc","path":"/n","by":-3}`, `{"n":-1.75}`},
		{`{}`, `{"op":"inc","path":"/a/b/c","by":0}`, `{"a":{"b":{"c":0}}}`},
		{`{"a":null}`, `{"op":"inc","path":"/a/b"}`, `{"a":{"b":1}}`},
		{`7`, `{"op":"inc","path":""}`, `8`},
		{`7`, `{"op":"inc","path":"/n"}`, `{"n":1}`},
		{`{"t":[3,1,3]}`, `{"op":"add","path":"/t","value":2}`, `{"t":[3,1,2]}`},
		{`{"t":[3,1]}`, `{"op":"add","path":"/t","value":1}`, `{"t":[3,1]}`},
		{`{"t":[]}`, `{"op":"add","path":"/t","value":[]}`, `{"t":[[]]}`},
		{`{}`, `{"op":"add","path":"/t","value":null}`, `{"t":[null]}`},
		{`{"a":{}}`, `{"op":"add","path":"/a/t","value":1}`, `{"a":{"t":[1]}}`},
		{`{"t":[3,1,3,2]}`, `{"op":"remove","path":"/t","value":2}`, `{"t":[1,3]}`},
		{`{"t":[1,1]}`, `{"op":"remove","path":"/t","value":1}`, `{"t":[]}`},
		{`[1]`, `{"op":"remove","path":"","value":1}`, `[]`},
		{`{"t":[1,1]}`, `{"op":"remove","path":"/t","value":1.0}`, `{"t":[1,1]}`},
		{`{"t":[{"a":1,"b":2}]}`, `{"op":"remove","path":"/t","value":{"b":2,"a":1}}`, `{"t":[]}`},
		{`{"a":1}`, `{"op":"remove","path":"/t","value":1}`, `{"a":1}`},
		{`{"a":1}`, `{"op":"remove","path":"/a/b","value":1}`, `{"a":1}`},
		{`{"a":1}`, `{"op":"set","path":"/a","value":{"b":{}}}`, `{"a":{"b":{}}}`},
		{`{"a":1}`, `{"op":"set","path":"/a/b","value":2}`, `{"a":{"b":2}}`},
		{`{"a":{"b":1,"c":2}}`, `{"op":"set","path":"/a","value":[]}`, `{"a":[]}`},
		{`{"a":{"b":1}}`, `{"op":"unset","path":"/a/b"}`, `{"a":{}}`},
		{`{"a":{"b":{"c":1}}}`, `{"op":"unset","path":"/a/b/c"}`, `{"a":{"b":{}}}`},
		{`{"a":{"b":{"c":1}}}`, `{"op":"unset","path":"/a/b"}`, `{"a":{}}`},
		{`{"a":1,"ab":2}`, `{"op":"unset","path":"/a"}`, `{"ab":2}`},
		{`{"a":1}`, `{"op":"unset","path":"/a/b"}`, `{"a":1}`},
		{`[1]`, `{"op":"unset","path":""}`, `{}`},
		{`[1]`, `{"op":"set","path":"","value":{}}`, `{}`},
		{`{}`, `{"op":"add","path":"/t","value":1},{"op":"remove","path":"/t","value":1}`, `{"t":[]}`},
		{
			`{"n":1}`,
			`{"op":"inc","path":"/n"},{"op":"set","path":"/n","value":5},{"op":"inc","path":"/n"}`,
			`{"n":6}`,
		},
	} {
		got := jsonRender(jsonEdit(t, jsonPut(t, Doc{}, c.doc), doing(t, c.op)))
		if got != c.want {
			t.Errorf("%s after %s is %s, want %s", c.doc, c.op, got, c.want)
		}
	}
}

// TestApplyOpsAmongLosers: what operations leave of cells that concurrent
// writers made.
func TestApplyOpsAmongLosers(t *testing.T) {
	for name, c := range map[string]struct {
		live []string
		op   string
		want []string
	}{
		"remove from a loser": {
			[]string{"here  1 1", "reg /t 2 1 [3]", "reg /t 1 2 [1,2]"},
			`{"op":"remove","path":"/t","value":1}`, []string{"here ", "reg /t [3]"},
		},
		"remove from both": {
			[]string{"here  1 1", "reg /t 2 1 [3,1]", "reg /t 1 2 [1,2]"},
			`{"op":"remove","path":"/t","value":1}`, []string{"here ", "elem /t 3"},
		},
		"remove what others keep": {
			[]string{"here  1 1", "reg /t 2 1 [3]", "reg /t 1 2 [4]", "elem /t 1 1 1", "elem /t 1 1 2"},
			`{"op":"remove","path":"/t","value":1}`,
			[]string{"here ", "reg /t [3]", "reg /t [4]", "elem /t 2"},
		},
		"elements stay the same": {
			[]string{"here  1 1", "reg /t 2 1 [1,2]", "elem /t 1 1 2"},
			`{"op":"remove","path":"/t","value":1}`, []string{"here ", "elem /t 2"},
		},
		"add keeps registers": {
			[]string{"here  1 1", "reg /t 2 1 [1]", "reg /t 1 2 [2]", "elem /t 1 3 1", "elem /t 1 4 1"},
			`{"op":"add","path":"/t","value":1}`,
			[]string{"here ", "reg /t [1]", "reg /t [2]", "elem /t 1"},
		},
		"inc keeps registers": {
			[]string{"here  1 1", "reg /n 2 1 1", "reg /n 1 2 2"},
			`{"op":"inc","path":"/n"}`, []string{"here ", "reg /n 1", "reg /n 2", "row /n"},
		},
		"inc drops what lost": {
			[]string{"here  1 1", "row /n 9 1 1", `reg /n 1 2 "x"`,
				"elem /n 1 1 1", "here /n 1 1", "row /n/m 1 1 1"},
			`{"op":"inc","path":"/n"}`, []string{"here ", "row /n", "row /n", "reset /n/m"},
		},
		"add drops what lost": {
			[]string{"here  1 1", "elem /t 9 1 1", "row /t 1 1 1",
				`reg /t 1 2 "x"`, "here /t 1 1", "reg /t/m 1 1 1"},
			`{"op":"add","path":"/t","value":2}`,
			[]string{"here ", "elem /t 1", "elem /t 2", "reset /t"},
		},
		"remove drops what lost": {
			[]string{"here  1 1", "elem /t 9 1 1", "row /t 1 1 1",
				`reg /t 1 2 "x"`, "here /t 1 1", "reg /t/m 1 1 1"},
			`{"op":"remove","path":"/t","value":1}`, []string{"here ", "reg /t []", "reset /t"},
		},
		"set brings nothing to light": {
			[]string{"here  1 1", `reg /a 9 1 "x"`, "reg /a/b 1 1 1", "row /a/c 1 1 1"},
			`{"op":"set","path":"/a/d","value":2}`, []string{"here ", "reset /a/c", "reg /a/d 2"},
		},
		"unset leaves what it does not see": {
			[]string{"here  1 1", `reg /a 9 1 "x"`, "reg /a/b 1 1 1"},
			`{"op":"unset","path":"/a/b"}`, []string{"here ", `reg /a "x"`, "reg /a/b 1"},
		},
	} {
		d := jsonEdit(t, live(t, c.live...), doing(t, c.op))
		if got := cells(&d); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	elements := live(t, "here  1 1", "reg /t 2 1 [1,2]", "elem /t 1 1 2")
	d := jsonEdit(t, elements, doing(t, `{"op":"remove","path":"/t","value":1}`))
	if !d.Has(Dot{1, 3}) {
		t.Error("an element that was not touched has a new dot")
	}
}

func TestApplyOpsClashes(t *testing.T) {
	const doc = `{"s":"x","b":true,"z":null,"o":{"m":1},"e":{},"t":[[1]],"n":1,"big":1e999}`
	for _, c := range []struct{ op, detail string }{
		{`{"op":"inc","path":"/s"}`, `operation 0: "/s" is a string`},
		{`{"op":"inc","path":"/b"}`, `"/b" is a boolean`},
		{`{"op":"inc","path":"/z"}`, `"/z" is null`},
		{`{"op":"inc","path":"/o"}`, `"/o" is an object`},
		{`{"op":"inc","path":"/e"}`, `"/e" is an object`},
		{`{"op":"inc","path":"/t"}`, `"/t" is an array`},
		{`{"op":"inc","path":"/big"}`, `"/big" is a number beyond what counts`},
		{`{"op":"inc","path":""}`, `"" is an object`},
		{`{"op":"add","path":"/s","value":1}`, `"/s" is a string`},
		{`{"op":"add","path":"/o","value":1}`, `"/o" is an object`},
		{`{"op":"add","path":"/n","value":1}`, `"/n" is a number`},
		{`{"op":"remove","path":"/n","value":1}`, `"/n" is a number`},
		{`{"op":"remove","path":"","value":1}`, `"" is an object`},
		{`{"op":"set","path":"/t/0","value":1}`, `"/t/0" leads into the array at "/t"`},
		{`{"op":"unset","path":"/t/0/0"}`, `"/t/0/0" leads into the array at "/t"`},
		{`{"op":"unset","path":"/o"},{"op":"inc","path":"/s"}`, `operation 1: "/s"`},
		{`{"op":"inc","path":"/c"},{"op":"add","path":"/c","value":1}`, `"/c" is a number`},
		{`{"op":"add","path":"/c","value":1},{"op":"inc","path":"/c"}`, `"/c" is an array`},
	} {
		e := NewEdit(jsonPut(t, Doc{}, doc), "k", 9, 1, 9)
		wantError(t, doing(t, c.op)(e), atoll.KindClash, c.detail, 0)
	}
	e := NewEdit(jsonPut(t, Doc{}, `{}`), "k", 9, 1, 9)
	wantError(t, doing(t, `{"op":"inc","path":"/c","by":9223372036854775807}`)(e),
		atoll.BadRequest, "operation 0", maxCount)
	wantError(t, ApplyOps(e, []Op{{Kind: "jump"}}), atoll.BadRequest, "operation 0", 0)
}
