package crdt

import (
	"errors"
	"fmt"
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
		{"op":"unset","path":"/"},
		{"op":"score","path":"/b","member":"a/b","value":-1e999},
		{"op":"unscore","member":"","path":"/b"}
	]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`inc "/views" -12 {}`, `inc "/views" 1 {}`, `add "/a~1b/~0" 1 {"a":[2],"b":1}`,
		`remove "/tags" 1 null`, `set "" 1 {}`, `unset "/" 1 {}`,
		`score "/b" 1 -1e999 a/b`, `unscore "/b" 1 {} `,
	}
	for i, op := range ops {
		got := fmt.Sprintf("%s %q %d %s", op.Kind, op.Path.Pointer(), op.By, op.Value.JSON(nil))
		if op.Kind == Score || op.Kind == Unscore {
			got += " " + op.Member
		}
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
		"nothing":       {"", "no JSON value", atoll.BadJSON, 0},
		"array":         {"[]", "not an object", atoll.BadRequest, 0},
		"bad array":     {"[", "EOF", atoll.BadJSON, 0},
		"no ops":        {"{}", `"ops" is missing`, atoll.BadRequest, 0},
		"other member":  {`{"operations":[]}`, `"operations"`, atoll.BadRequest, 0},
		"one more":      {`{"ops":[],"x":1}`, `"x"`, atoll.BadRequest, 0},
		"twice":         {`{"ops":[],"ops":[]}`, "occurs twice", atoll.DuplicateKey, 0},
		"ops object":    {`{"ops":{}}`, "not an array", atoll.BadRequest, 0},
		"more after":    {`{"ops":[]}{}`, "follows", atoll.BadJSON, 0},
		"broken off":    {`{"ops":[{"op":"inc"`, "operation 0", atoll.BadJSON, 0},
		"op not object": {one(`"inc"`), "operation 1: it is not an object", atoll.BadRequest, 0},
		"no op":         {one(`{"path":"/a"}`), `operation 1: member "op"`, atoll.BadRequest, 0},
		"unknown op": {
			one(`{"op":"test","path":"/a"}`), `operation 1: op "test"`, atoll.BadRequest, 0,
		},
		"op number": {one(`{"op":1,"path":"/a"}`), `"op" is not a string`, atoll.BadRequest, 0},
		"no path":   {one(`{"op":"unset"}`), `operation 1: member "path"`, atoll.BadRequest, 0},
		"path array": {
			one(`{"op":"unset","path":["a"]}`), `"path" is not a string`, atoll.BadRequest, 0,
		},
		"path no slash":   {one(`{"op":"unset","path":"a"}`), `path "a" is not`, atoll.BadRequest, 0},
		"path bad escape": {one(`{"op":"unset","path":"/~2"}`), `path "/~2" is not`, atoll.BadRequest, 0},
		"unknown member": {
			one(`{"op":"unset","path":"/a","from":"/b"}`), `operation 1: unknown member "from"`,
			atoll.BadRequest, 0,
		},
		"member case": {
			one(`{"Op":"unset","path":"/a"}`), `unknown member "Op"`, atoll.BadRequest, 0,
		},
		"member twice": {
			one(`{"op":"unset","path":"/a","path":"/b"}`), "operation 1", atoll.DuplicateKey, 0,
		},
		"inc value": {
			one(`{"op":"inc","path":"/a","value":1}`), `inc takes no "value"`, atoll.BadRequest, 0,
		},
		"unset value": {
			one(`{"op":"unset","path":"/a","value":1}`), `unset takes no "value"`, atoll.BadRequest, 0,
		},
		"add by": {
			one(`{"op":"add","path":"/a","value":1,"by":1}`), `add takes no "by"`, atoll.BadRequest, 0,
		},
		"score no member": {
			one(`{"op":"score","path":"/a","value":1}`), `score needs a "member"`, atoll.BadRequest, 0,
		},
		"score text": {
			one(`{"op":"score","path":"/a","member":"m","value":"1"}`), "a score is a number",
			atoll.BadRequest, 0,
		},
		"score object": {
			one(`{"op":"score","path":"/a","member":"m","value":{}}`), "a score is a number",
			atoll.BadRequest, 0,
		},
		"unscore value": {
			one(`{"op":"unscore","path":"/a","member":"m","value":1}`), `unscore takes no "value"`,
			atoll.BadRequest, 0,
		},
		"member number": {
			one(`{"op":"unscore","path":"/a","member":1}`), `"member" is not a string`,
			atoll.BadRequest, 0,
		},
		"set member": {
			one(`{"op":"set","path":"/a","member":"m","value":1}`), `set takes no "member"`,
			atoll.BadRequest, 0,
		},
		"add nothing": {one(`{"op":"add","path":"/a"}`), `add needs a "value"`, atoll.BadRequest, 0},
		"set nothing": {one(`{"op":"set","path":"/a"}`), `set needs a "value"`, atoll.BadRequest, 0},
		"remove nothing": {
			one(`{"op":"remove","path":"/a"}`), `remove needs a "value"`, atoll.BadRequest, 0,
		},
		"by fraction": {
			one(`{"op":"inc","path":"/a","by":1.0}`), `"by" is not an integer`, atoll.BadRequest, 0,
		},
		"by exponent": {
			one(`{"op":"inc","path":"/a","by":1e2}`), `"by" is not an integer`, atoll.BadRequest, 0,
		},
		"by text": {
			one(`{"op":"inc","path":"/a","by":"1"}`), `"by" is not an integer`, atoll.BadRequest, 0,
		},
		"by null": {
			one(`{"op":"inc","path":"/a","by":null}`), `"by" is not an integer`, atoll.BadRequest, 0,
		},
		"by too much": {
			one(`{"op":"inc","path":"/a","by":9223372036854775808}`), `"by" is not an integer`,
			atoll.BadRequest, 0,
		},
		"bad value": {
			one(`{"op":"set","path":"/a","value":[01]}`), "operation 1", atoll.BadJSON, 0,
		},
		"value twice": {
			one(`{"op":"set","path":"/a","value":{"x":1,"x":2}}`), "/ops/1/value/x", atoll.DuplicateKey, 0,
		},
		"value not UTF-8": {
			one("{\"op\":\"set\",\"path\":\"/a\",\"value\":\"\xff\"}"), "operation 1", atoll.BadJSON, 0,
		},
		"large": {strings.Repeat(" ", MaxBody+1), "bytes", atoll.TooLarge, MaxBody},
		"many":  {jsonOps(MaxOps + 1), "operations", atoll.TooLarge, MaxOps},
		"deep value": {
			one(`{"op":"set","path":"/a","value":` + jsonNested("[", "", "]", MaxDepth) + `}`),
			"operation 1", atoll.TooLarge, MaxDepth,
		},
		"deep path": {
			one(`{"op":"inc","path":"` + strings.Repeat("/a", MaxDepth+1) + `"}`), "operation 1",
			atoll.TooLarge, MaxDepth,
		},
		"cells": {
			one(`{"op":"set","path":"/a","value":` + jsonWide("1", MaxCells+1) + `}`), "cells",
			atoll.TooLarge, MaxCells,
		},
		"long path": {
			one(`{"op":"set","path":"/` + long + `","value":` + jsonWide("1", 20) + `}`), "paths",
			atoll.TooLarge, MaxDocument,
		},
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
		"many": {jsonOps(MaxOps), fmt.Sprintf(`{"n":%d}`, MaxOps)},
		"depth": {
			`{"ops":[{"op":"set","path":"/a","value":` + jsonNested(`{"a":`, "1", "}", MaxDepth-1) + `}]}`,
			jsonNested(`{"a":`, "1", "}", MaxDepth),
		},
		"each": {
			`{"ops":[{"op":"set","path":"","value":` + jsonNested(`{"a":`, "1", "}", MaxDepth) +
				`},{"op":"unset","path":"/a"},` +
				`{"op":"set","path":"` + strings.Repeat("/a", MaxDepth) + `","value":1}]}`,
			jsonNested(`{"a":`, "1", "}", MaxDepth),
		},
		"cells": {
			`{"ops":[{"op":"set","path":"","value":` + jsonWide("1", MaxCells) + `}]}`,
			jsonWide("1", MaxCells),
		},
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

func FuzzParseOps(f *testing.F) {
	for _, s := range []string{
		`{"ops":[{"op":"inc","path":"/n","by":-1},{"op":"add","path":"/t","value":{"b":1,"a":2}}]}`,
		`{"ops":[{"op":"remove","path":"/t","value":1},{"op":"set","path":"/a~1/~0","value":{"x":{}}}]}`,
		`{"ops":[{"op":"unset","path":""},{"op":"inc","path":"/s"}]}`, `{"ops":[]}`, `[]`, `{"ops":[{}]}`,
		`{"ops":[{"op":"set","path":"/\u0000","value":[1,{"\u0000":null}]}]}`,
		`{"ops":[{"op":"unset","path":"/o/m"}]}`,
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
		case Score:
			b = appendName(append(b, `,"member":`...), op.Member)
			b = op.Value.JSON(append(b, `,"value":`...))
		case Unscore:
			b = appendName(append(b, `,"member":`...), op.Member)
		case Bound:
			b = fmt.Appendf(b, `,"min":%d`, op.Min)
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}
