package crdt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

func TestParseOps(t *testing.T) {
	ops, err := ParseOps([]byte(`{"ops":[
		{"op":"inc","path":"/views","by":-12},
		{"path":"/views","op":"inc"},
		{"op":"add","value":{"b":1,"a":[ 2 ]},"path":"/a~1b/~0"},
		{"op":"remove","path":"/tags","value":null},
		{"op":"set","path":"","value":{}},
		{"op":"unset","path":"/"}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`inc "/views" -12 {}`, `inc "/views" 1 {}`, `add "/a~1b/~0" 1 {"a":[2],"b":1}`,
		`remove "/tags" 1 null`, `set "" 1 {}`, `unset "/" 1 {}`,
	}
	for i, op := range ops {
		got := fmt.Sprintf("%s %q %d %s", op.Kind, op.Path.Pointer(), op.By, op.Value.JSON(nil))
		if i >= len(want) || got != want[i] {
			t.Errorf("operation %d is %s", i, got)
		}
	}
	if len(ops) != len(want) {
		t.Errorf("got %d operations", len(ops))
	}
}

func TestParseOpsRefuses(t *testing.T) {
	one := func(op string) string { return `{"ops":[{"op":"unset","path":"/a"},` + op + `]}` }
	long := strings.Repeat("n", 1<<19)
	for name, c := range map[string]struct {
		body, detail string
		kind         atoll.Kind
		limit        int64
	}{
		"nothing":         {"", "no JSON value", atoll.BadJSON, 0},
		"array":           {"[]", "not an object", atoll.BadRequest, 0},
		"bad array":       {"[", "EOF", atoll.BadJSON, 0},
		"no ops":          {"{}", `"ops" is missing`, atoll.BadRequest, 0},
		"other member":    {`{"operations":[]}`, `"operations"`, atoll.BadRequest, 0},
		"one more":        {`{"ops":[],"x":1}`, `"x"`, atoll.BadRequest, 0},
		"twice":           {`{"ops":[],"ops":[]}`, "occurs twice", atoll.DuplicateKey, 0},
		"ops object":      {`{"ops":{}}`, "not an array", atoll.BadRequest, 0},
		"more after":      {`{"ops":[]}{}`, "follows", atoll.BadJSON, 0},
		"broken off":      {`{"ops":[{"op":"inc"`, "operation 0", atoll.BadJSON, 0},
		"op not object":   {one(`"inc"`), "operation 1: it is not an object", atoll.BadRequest, 0},
		"no op":           {one(`{"path":"/a"}`), `operation 1: member "op"`, atoll.BadRequest, 0},
		"unknown op":      {one(`{"op":"test","path":"/a"}`), `operation 1: op "test"`, atoll.BadRequest, 0},
		"op number":       {one(`{"op":1,"path":"/a"}`), `"op" is not a string`, atoll.BadRequest, 0},
		"no path":         {one(`{"op":"unset"}`), `operation 1: member "path"`, atoll.BadRequest, 0},
		"path array":      {one(`{"op":"unset","path":["a"]}`), `"path" is not a string`, atoll.BadRequest, 0},
		"path no slash":   {one(`{"op":"unset","path":"a"}`), `path "a" is not`, atoll.BadRequest, 0},
		"path bad escape": {one(`{"op":"unset","path":"/~2"}`), `path "/~2" is not`, atoll.BadRequest, 0},
		"unknown member":  {one(`{"op":"unset","path":"/a","from":"/b"}`), `operation 1: unknown member "from"`, atoll.BadRequest, 0},
		"member case":     {one(`{"Op":"unset","path":"/a"}`), `unknown member "Op"`, atoll.BadRequest, 0},
		"member twice":    {one(`{"op":"unset","path":"/a","path":"/b"}`), "operation 1", atoll.DuplicateKey, 0},
		"inc value":       {one(`{"op":"inc","path":"/a","value":1}`), `inc takes no "value"`, atoll.BadRequest, 0},
		"unset value":     {one(`{"op":"unset","path":"/a","value":1}`), `unset takes no "value"`, atoll.BadRequest, 0},
		"add by":          {one(`{"op":"add","path":"/a","value":1,"by":1}`), `add takes no "by"`, atoll.BadRequest, 0},
		"add nothing":     {one(`{"op":"add","path":"/a"}`), `add needs a "value"`, atoll.BadRequest, 0},
		"set nothing":     {one(`{"op":"set","path":"/a"}`), `set needs a "value"`, atoll.BadRequest, 0},
		"remove nothing":  {one(`{"op":"remove","path":"/a"}`), `remove needs a "value"`, atoll.BadRequest, 0},
		"by fraction":     {one(`{"op":"inc","path":"/a","by":1.0}`), `"by" is not an integer`, atoll.BadRequest, 0},
		"by exponent":     {one(`{"op":"inc","path":"/a","by":1e2}`), `"by" is not an integer`, atoll.BadRequest, 0},
		"by text":         {one(`{"op":"inc","path":"/a","by":"1"}`), `"by" is not an integer`, atoll.BadRequest, 0},
		"by null":         {one(`{"op":"inc","path":"/a","by":null}`), `"by" is not an integer`, atoll.BadRequest, 0},
		"by too much":     {one(`{"op":"inc","path":"/a","by":9223372036854775808}`), `"by" is not an integer`, atoll.BadRequest, 0},
		"bad value":       {one(`{"op":"set","path":"/a","value":[01]}`), "operation 1", atoll.BadJSON, 0},
		"value twice":     {one(`{"op":"set","path":"/a","value":{"x":1,"x":2}}`), "/ops/1/value/x", atoll.DuplicateKey, 0},
		"value not UTF-8": {one("{\"op\":\"set\",\"path\":\"/a\",\"value\":\"\xff\"}"), "operation 1", atoll.BadJSON, 0},
		"large":           {strings.Repeat(" ", MaxBody+1), "bytes", atoll.TooLarge, MaxBody},
		"many":            {jsonOps(MaxOps + 1), "operations", atoll.TooLarge, MaxOps},
		"deep value":      {one(`{"op":"set","path":"/a","value":` + jsonNested("[", "", "]", MaxDepth) + `}`), "operation 1", atoll.TooLarge, MaxDepth},
		"deep path":       {one(`{"op":"inc","path":"` + strings.Repeat("/a", MaxDepth+1) + `"}`), "operation 1", atoll.TooLarge, MaxDepth},
		"cells":           {one(`{"op":"set","path":"/a","value":` + jsonWide("1", MaxCells+1) + `}`), "cells", atoll.TooLarge, MaxCells},
		"long path":       {one(`{"op":"set","path":"/` + long + `","value":` + jsonWide("1", 20) + `}`), "paths", atoll.TooLarge, MaxDocument},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseOps([]byte(c.body))
			wantError(t, err, c.kind, c.detail, c.limit)
		})
	}
}

func jsonOps(n int) string {
	return `{"ops":[` + strings.Repeat(`,{"op":"inc","path":"/n"}`, n)[1:] + `]}`
}

func TestOpsAtTheLimits(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"many":  {jsonOps(MaxOps), fmt.Sprintf(`{"n":%d}`, MaxOps)},
		"depth": {`{"ops":[{"op":"set","path":"/a","value":` + jsonNested(`{"a":`, "1", "}", MaxDepth-1) + `}]}`, jsonNested(`{"a":`, "1", "}", MaxDepth)},
		"each":  {`{"ops":[{"op":"set","path":"","value":` + jsonNested(`{"a":`, "1", "}", MaxDepth) + `},{"op":"unset","path":"/a"},{"op":"set","path":"` + strings.Repeat("/a", MaxDepth) + `","value":1}]}`, jsonNested(`{"a":`, "1", "}", MaxDepth)},
		"cells": {`{"ops":[{"op":"set","path":"","value":` + jsonWide("1", MaxCells) + `}]}`, jsonWide("1", MaxCells)},
	} {
		ops, err := ParseOps([]byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := jsonRender(jsonEdit(t, Doc{}, func(e *Edit) error { return ApplyOps(e, ops) }))
		if got != c.want {
			t.Errorf("%s: got %.200s", name, got)
		}
	}
}

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
		{`{"n":1}`, `{"op":"inc","path":"/n"},{"op":"set","path":"/n","value":5},{"op":"inc","path":"/n"}`, `{"n":6}`},
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
			[]string{"here  1 1", "row /n 9 1 1", `reg /n 1 2 "x"`, "elem /n 1 1 1", "here /n 1 1", "row /n/m 1 1 1"},
			`{"op":"inc","path":"/n"}`, []string{"here ", "row /n", "row /n", "reset /n/m"},
		},
		"add drops what lost": {
			[]string{"here  1 1", "elem /t 9 1 1", "row /t 1 1 1", `reg /t 1 2 "x"`, "here /t 1 1", "reg /t/m 1 1 1"},
			`{"op":"add","path":"/t","value":2}`,
			[]string{"here ", "elem /t 1", "elem /t 2", "reset /t"},
		},
		"remove drops what lost": {
			[]string{"here  1 1", "elem /t 9 1 1", "row /t 1 1 1", `reg /t 1 2 "x"`, "here /t 1 1", "reg /t/m 1 1 1"},
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

func FuzzParseOps(f *testing.F) {
	for _, s := range []string{
		`{"ops":[{"op":"inc","path":"/n","by":-1},{"op":"add","path":"/t","value":{"b":1,"a":2}}]}`,
		`{"ops":[{"op":"remove","path":"/t","value":1},{"op":"set","path":"/a~1/~0","value":{"x":{}}}]}`,
		`{"ops":[{"op":"unset","path":""},{"op":"inc","path":"/s"}]}`, `{"ops":[]}`, `[]`, `{"ops":[{}]}`,
		`{"ops":[{"op":"set","path":"/\u0000","value":[1,{"\u0000":null}]},{"op":"unset","path":"/o/m"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ops, err := ParseOps(body)
		if err != nil {
			if k := atoll.KindOf(err); k != atoll.BadRequest {
				checkRefusal(t, body, err)
			}
			return
		}
		again, err := ParseOps(writeOps(ops))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(ops) {
			t.Fatalf("%+v came back as %+v: %v", ops, again, err)
		}
		r := island{origin: 1, now: 1}
		r.write(t, putting(t, `{"n":1.5,"t":[1,2],"s":"x","o":{"m":{}}}`))
		r.origin, r.now = 2, 2
		r.write(t, func(e *Edit) error {
			err := ApplyOps(e, ops)
			var known *atoll.Error
			if err != nil && !errors.As(err, &known) {
				t.Fatalf("%+v: %v", ops, err)
			}
			return err
		})
		if shown := jsonRender(r.doc); string(jsonTree(t, shown).JSON(nil)) != shown {
			t.Fatalf("%+v left %s", ops, shown)
		}
	})
}

// writeOps is the inverse of ParseOps.
func writeOps(ops []Op) []byte {
	b := []byte(`{"ops":[`)
	for i, op := range ops {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"op":%q,"path":`, string(op.Kind))
		b = appendName(b, op.Path.Pointer())
		switch op.Kind {
		case Inc:
			b = fmt.Appendf(b, `,"by":%d`, op.By)
		case Add, Remove, Set:
			b = op.Value.JSON(append(b, `,"value":`...))
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}
