package crdt

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/atolledge/atoll"
)

func TestParseCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"{}":                            "{}",
		" [ ] ":                         "[]",
		"null":                          "null",
		"\t-0.0E+1 ":                    "-0.0E+1",
		`"\u0041\/\u000a\u001F"`:        `"A/\n\u001f"`,
		`"\ud83d\ude00"`:                `"😀"`,
		`{"b":1,"a":{"d":2,"c":3}}`:     `{"a":{"c":3,"d":2},"b":1}`,
		`[{"b":1,"a":[{"z":0,"y":1}]}]`: `[{"a":[{"y":1,"z":0}],"b":1}]`,
		`{"\ue000":1,"😀":2}`:            "{\"\ue000\":1,\"😀\":2}", // bytes, not UTF-16
		`{"":{"":{}}}`:                  `{"":{"":{}}}`,
		`{"\u0000":1,"a\u0000b":[2]}`:   `{"\u0000":1,"a\u0000b":[2]}`,
		`[{},[],{"a":{}}]`:              `[{},[],{"a":{}}]`,
		`[1.0,1,1e0]`:                   `[1.0,1,1e0]`,
	} {
		tree, err := Parse([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(tree.JSON(nil)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
		if got := jsonRender(jsonPut(t, Doc{}, in)); got != want {
			t.Errorf("%s as a document: got %s, want %s", in, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const many = MaxCells + 1
	long := strings.Repeat("n", 1<<19)
	for name, c := range map[string]struct {
		body, detail string
		kind         atoll.Kind
		limit        int64
	}{
		"nothing":         {"", "no JSON value", atoll.BadJSON, 0},
		"space":           {" \n", "no JSON value", atoll.BadJSON, 0},
		"broken off":      {`{"a":[1,`, `at byte 8, inside "/a`, atoll.BadJSON, 0},
		"bare word":       {`{"a":nul}`, "at byte", atoll.BadJSON, 0},
		"single quotes":   {`{'a':1}`, "at byte 1", atoll.BadJSON, 0},
		"trailing comma":  {`[1,]`, "at byte 2", atoll.BadJSON, 0},
		"leading zero":    {`01`, "follows", atoll.BadJSON, 0},
		"two values":      {`{} {}`, "follows", atoll.BadJSON, 0},
		"rubbish after":   {`1 x`, "at byte 2", atoll.BadJSON, 0},
		"byte order mark": {"\ufeff{}", "at byte 0", atoll.BadJSON, 0},
		"NaN":             {`{"a":NaN}`, "at byte 5", atoll.BadJSON, 0},
		"number name":     {`{1:2}`, "at byte 1", atoll.BadJSON, 0},
		"not UTF-8":       {"{\"a\":\"\xff\"}", `inside "/a"`, atoll.BadJSON, 0},
		"name not UTF-8":  {"{\"\xc0\xaf\":1}", "UTF-8", atoll.BadJSON, 0},
		"lone surrogate":  {`["\ud800"]`, "surrogate", atoll.BadJSON, 0},
		"surrogate bytes": {"[\"\xed\xa0\x80\"]", "UTF-8", atoll.BadJSON, 0},
		"bad escape":      {`"\x41"`, "escape", atoll.BadJSON, 0},
		"raw control":     {"\"\x01\"", "at byte 1", atoll.BadJSON, 0},
		"same name":       {`{"a":{"b":1,"b":2}}`, `"/a/b" occurs twice`, atoll.DuplicateKey, 0},
		"same when read":  {`{"b":1,"\u0062":2}`, `"/b" occurs twice`, atoll.DuplicateKey, 0},
		"same in array":   {`[0,{"x":1,"x":1}]`, `"/1/x" occurs twice`, atoll.DuplicateKey, 0},
		"large":           {`"` + strings.Repeat("x", MaxBody) + `"`, "bytes", atoll.TooLarge, MaxBody},
		"deep object":     {jsonNested(`{"a":`, "1", "}", MaxDepth+1), "deep", atoll.TooLarge, MaxDepth},
		"deep array":      {jsonNested(`[`, "", "]", MaxDepth+1), "deep", atoll.TooLarge, MaxDepth},
		"very deep":       {strings.Repeat("[", MaxBody), "deep", atoll.TooLarge, MaxDepth},
		"cells":           {jsonWide("1", many), "cells", atoll.TooLarge, MaxCells},
		"empty objects":   {jsonWide("{}", many), "cells", atoll.TooLarge, MaxCells},
		"long paths": {
			`{"` + long + `":` + jsonWide("1", 20) + `}`, "paths", atoll.TooLarge, MaxDocument,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.body))
			wantError(t, err, c.kind, c.detail, c.limit)
			if strings.Contains(err.Error(), `inside ""`) {
				t.Errorf("%v: at the top it is inside nothing", err)
			}
		})
	}
}

func TestParseAtTheLimits(t *testing.T) {
	for name, body := range map[string]string{
		"bytes":        `"` + strings.Repeat("x", MaxBody-2) + `"`,
		"depth":        jsonNested(`{"a":`, "1", "}", MaxDepth),
		"array depth":  jsonNested("[", "", "]", MaxDepth),
		"cells":        jsonWide("1", MaxCells),
		"array items":  "[" + strings.Repeat("1,", MaxBody/2-2) + "1]",
		"array object": "[" + jsonWide("1", 10*MaxCells) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			if got := jsonRender(jsonPut(t, Doc{}, body)); len(got) != len(body) {
				t.Errorf("came back with %d bytes, not %d", len(got), len(body))
			}
		})
	}
}

// TestParseSharesNothing: the caller may use its buffer again.
func TestParseSharesNothing(t *testing.T) {
	body := []byte(`{"a":"text","b":[1,{"c":2}],"d":12345}`)
	tree, err := Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	want := string(body)
	for i := range body {
		body[i] = '#'
	}
	if got := string(tree.JSON(nil)); got != want {
		t.Errorf("got %s", got)
	}
}

// loneSurrogate is what encoding/json takes and we do not.
var loneSurrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, `-0.5e-7`, `"\ud83d\ude00\u0000"`, `{"a":{"b":[1,{"d":1,"c":[]}]},"":{}}`,
		`{"a":1,"a":2}`, `{"a~/b":"","\u0000":{"\u0000\u0001":0}}`, "\xff", `["\ud800"]`, `[1,]`,
		`{"A":1,"a":2,"é":3}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tree, err := Parse(body)
		if err != nil {
			checkRefusal(t, body, err)
			return
		}
		if !utf8.Valid(body) {
			t.Fatalf("took %q, which is not UTF-8", body)
		}
		text := tree.JSON(nil)
		again, err := Parse(text)
		if err != nil || string(again.JSON(nil)) != string(text) {
			t.Fatalf("%s is not canonical: %v", text, err)
		}
		if !reflect.DeepEqual(naiveJSON(t, body), naiveJSON(t, text)) {
			t.Fatalf("%q became %s", body, text)
		}
		if got := jsonRender(jsonPut(t, Doc{}, string(body))); got != string(text) {
			t.Fatalf("put %s, got %s", text, got)
		}
	})
}

// checkRefusal compares a refusal with what the standard library says.
func checkRefusal(t *testing.T, body []byte, err error) {
	switch atoll.KindOf(err) {
	case atoll.DuplicateKey:
	case atoll.TooLarge:
		var e *atoll.Error
		if !errors.As(err, &e) || e.Limit == nil {
			t.Fatalf("%v names no limit", err)
		}
	case atoll.BadJSON:
		if json.Valid(body) && utf8.Valid(body) && !loneSurrogate.Match(body) {
			t.Fatalf("refused %q: %v", body, err)
		}
	default:
		t.Fatalf("%q: %v", body, err)
	}
}

// wantError checks the kind, a part of the detail, and the limit (0: none).
func wantError(t *testing.T, err error, kind atoll.Kind, detail string, limit int64) {
	t.Helper()
	var e *atoll.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, kind)
	}
	if e.Kind != kind || !strings.Contains(e.Detail, detail) {
		t.Errorf("got %s: %.200q, want %s: …%s…", e.Kind, e.Detail, kind, detail)
	}
	if got := e.Limit; (got == nil) != (limit == 0) || got != nil && got.Value != limit {
		t.Errorf("%s names the limit %+v, want %d", e.Detail, got, limit)
	}
}

func jsonNested(open, inner, end string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// jsonWide returns an object of n members.
func jsonWide(value string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%06d":%s`, i, value)
	}
	return "{" + b.String()[1:] + "}"
}
