package api

import (
	"encoding/hex"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// declaredKinds reads the closed table of kinds from the source of package
// atoll, which Go cannot list.
func declaredKinds(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Kind" {
			s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, s)
		}
		return true
	})
	return found
}

func TestKindsAreTotal(t *testing.T) {
	want := declaredKinds(t)
	if len(want) < 20 {
		t.Fatalf("found %d kinds: the test reads the wrong file", len(want))
	}
	var got []string
	for _, k := range kinds {
		got = append(got, string(k.kind))
		if k.title == "" || k.status < 400 || k.status > 599 {
			t.Errorf("%+v", k)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStatuses(t *testing.T) {
	for kind, want := range map[atoll.Kind]int{
		atoll.TooLarge: 413, atoll.KeyTooLong: 414, atoll.UnsupportedMediaType: 415,
		atoll.Unauthenticated: 401, atoll.Forbidden: 403, atoll.UnknownRegion: 404,
		atoll.UnknownKeyspace: 404, atoll.NotFound: 404, atoll.PreconditionFailed: 412,
		atoll.KindClash: 409, atoll.AtBound: 409, atoll.NoRights: 503, atoll.DurabilityImpossible: 409, atoll.RateLimited: 429,
		atoll.BehindSession: 503, atoll.DurabilityNotReached: 503, atoll.Fenced: 503,
		atoll.ShuttingDown: 503, atoll.DiskFull: 507, atoll.Internal: 500, "novel": 500,
		atoll.BadRequest: 400, atoll.BadJSON: 400, atoll.DuplicateKey: 400, atoll.BadKey: 400,
	} {
		if got := newProblem(atoll.Errorf(kind, "x"), "").Status; got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
}

func TestParseTags(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`"a",`, MaxTags), ",")
	for _, c := range []struct {
		in   []string
		want []tag
		ok   bool
	}{
		{nil, nil, true},
		{[]string{"*"}, []tag{{any: true}}, true},
		{[]string{" * "}, []tag{{any: true}}, true},
		{[]string{`"a"`}, []tag{{opaque: "a"}}, true},
		{[]string{`""`}, []tag{{}}, true},
		{[]string{`W/"a"`}, []tag{{opaque: "a", weak: true}}, true},
		{[]string{`"a","b" ,	W/"c"`}, []tag{{opaque: "a"}, {opaque: "b"}, {opaque: "c", weak: true}}, true},
		{[]string{`"a"`, `"b"`}, []tag{{opaque: "a"}, {opaque: "b"}}, true},
		{[]string{`, "a",, "b",`}, []tag{{opaque: "a"}, {opaque: "b"}}, true},
		{[]string{`"a,b"`}, []tag{{opaque: "a,b"}}, true},
		{[]string{`"*"`}, []tag{{opaque: "*"}}, true},
		{[]string{"\"\u00e9\""}, []tag{{opaque: "\u00e9"}}, true},
		{[]string{""}, nil, false}, {[]string{","}, nil, false}, {[]string{"a"}, nil, false},
		{[]string{`"a`}, nil, false}, {[]string{`a"`}, nil, false}, {[]string{`"a"b`}, nil, false},
		{[]string{`"a" "b"`}, nil, false}, {[]string{`w/"a"`}, nil, false},
		{[]string{`W/ "a"`}, nil, false}, {[]string{`*,"a"`}, nil, false},
		{[]string{`"a",*`}, nil, false}, {[]string{`"a b"`}, nil, false},
		{[]string{"\"a\x00\""}, nil, false}, {[]string{"\"a\x7f\""}, nil, false},
		{[]string{"*", "*"}, nil, false},
		{[]string{many + `,"one too many"`}, nil, false},
	} {
		got, err := parseTags("If-Match", c.in)
		if !slices.Equal(got, c.want) || (err == nil) != c.ok || (got == nil) != (c.want == nil) {
			t.Errorf("%q: got %+v %v", c.in, got, err)
		}
		if err != nil && atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%q: %v", c.in, err)
		}
	}
	if got, err := parseTags("If-Match", []string{many}); err != nil || len(got) != MaxTags {
		t.Errorf("%d tags: %v", len(got), err)
	}
}

// listOfTags is the grammar of RFC 9110, sections 5.6.1 and 8.8.3, as one
// regular expression: the twin of parseTags.
var listOfTags = regexp.MustCompile(
	`^[ \t,]*(W/)?"[^\x00-\x20"\x7f]*"([ \t]*,[ \t,]*(W/)?"[^\x00-\x20"\x7f]*")*[ \t]*(,[ \t,]*)?$`)

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{`*`, `"a"`, `W/"a", "b"`, `,"a",,`, `"a"b`, `"`, "W/", ` "x"	,`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // the expression reads runes, the parser bytes: HTTP has bytes
		}
		tags, err := parseTags("If-Match", []string{s})
		star := strings.Trim(s, " \t") == "*"
		if want := star || listOfTags.MatchString(s); want != (err == nil) && len(tags) < MaxTags &&
			strings.Count(s, `"`) <= 2*MaxTags {
			t.Fatalf("%q: %+v %v, the grammar says %v", s, tags, err, want)
		}
		if err == nil && (len(tags) == 0 || len(conditions(tags, false)) != len(tags)) {
			t.Fatalf("%q: %d tags, conditions %q", s, len(tags), conditions(tags, false))
		}
	})
}

// TestContinueTrace: what carries a trace goes on with it under a span of its own;
// of what does not, the fraction that is asked for is sampled.
func TestContinueTrace(t *testing.T) {
	const sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	random := rand.NewChaCha8([32]byte{1})
	next, parent, err := continueTrace([]string{sampled}, random, 0)
	if err != nil || next.String()[:36] != sampled[:36] || !next.Sampled || next.Span == parent ||
		hex.EncodeToString(parent[:]) != "00f067aa0ba902b7" {
		t.Errorf("%s goes on as %s below %x (%v)", sampled, next, parent, err)
	}
	if next, _, _ := continueTrace([]string{sampled[:53] + "00"}, random, 1); next.Sampled {
		t.Error("what the client does not sample is sampled")
	}
	for _, headers := range [][]string{nil, {"x"}, {sampled, sampled}} {
		for _, fraction := range []float64{0, 0.25, 1} {
			const rounds = 4000
			n := 0
			for range rounds {
				next, parent, err := continueTrace(headers, random, fraction)
				if err != nil || parent != [8]byte{} || len(next.String()) != 55 {
					t.Fatalf("%q: %s below %x (%v)", headers, next, parent, err)
				}
				if next.Sampled {
					n++
				}
			}
			if got := float64(n) / rounds; math.Abs(got-fraction) > 0.05 || fraction == 0 && n > 0 ||
				fraction == 1 && n < rounds {
				t.Errorf("%q: %v sampled, want %v", headers, got, fraction)
			}
		}
	}
	if _, _, err := continueTrace(nil, strings.NewReader("short"), 0); err == nil {
		t.Error("an id without chance")
	}
}

// FuzzPath holds the router to the rule of CONTRACT.md, written down without
// patterns: the key is all that follows the keyspace, decoded once.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/v1/docs/stars/a//b", "/v1/docs/stars/a/../b", "/v1/docs/s%2Fa/b",
		"/v1/docs/stars/%00", "/v1/docs/stars/%ff", "/v1/docs/stars/a%2fb", "/v1/docs/stars/_x",
		"/v1/docs//x", "/v1/docs/stars", "/v1/docs/stars/", "/v1/docs/stars/_import/x", "//v1/docs/a/b",
		"/v1/cluster", "/v1/docs/stars/a%252fb", "/v1/docs/stars/a?x=1", "*"} {
		f.Add(s)
	}
	s := &Server{routes: routes()}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil || u.Host != "" || u.Scheme != "" {
			return
		}
		q := newTestRequest(u)
		label, serve, _, err := s.route(q)
		rest, found := strings.CutPrefix(u.EscapedPath(), "/v1/docs/")
		space, key, deep := strings.Cut(rest, "/")
		isDocument := found && deep && key != "_import" && key != "_export"
		if isDocument != (label == "/v1/docs/{keyspace}/{key...}") {
			t.Fatalf("%q is routed to %q", uri, label)
		}
		if serve == nil && err == nil {
			t.Fatalf("%q has neither handler nor error", uri)
		}
		if !isDocument || err != nil {
			return
		}
		wantSpace, err1 := url.PathUnescape(space)
		wantKey, err2 := url.PathUnescape(key)
		_, err3 := atoll.ParseKeyspace(wantSpace)
		_, err4 := atoll.ParseKey(wantKey)
		ks, k, err := q.document()
		bad := err1 != nil || err2 != nil || err3 != nil || err4 != nil
		if bad != (err != nil) || err == nil && (string(ks) != wantSpace || string(k) != wantKey) {
			t.Fatalf("%q: got %q %q %v", uri, ks, k, err)
		}
		if err == nil && "/v1/docs/"+string(ks)+"/"+string(k) != u.Path {
			t.Fatalf("%q: net/url says %q", uri, u.Path)
		}
	})
}

// naiveLines is the twin of the splitter for NDJSON: all in memory.
func naiveLines(in string) (texts []string, numbers []int) {
	for i, line := range strings.Split(in, "\n") {
		if line = strings.Trim(line, " \t\r"); line != "" {
			texts, numbers = append(texts, line), append(numbers, i+1)
		}
	}
	return texts, numbers
}

func FuzzSplitter(f *testing.F) {
	for _, s := range []string{"{}\n{}\n", "\n\n{\"a\":1}\r\n x", `[{"a":"]"},{"b":[1,2]}]`, "[", "[]", "[,]",
		`["\"",1]x`, "  [1 , 2 ]\n", "a\nb", `[}`, `["a`, "[\n1\n,\n2\n]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		// One byte at a time: where the stream is cut must not matter.
		s, err := newSplitter(iotestOneByte{strings.NewReader(in)})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		var numbers []int
		var end error
		for {
			rec, err := s.next()
			if err != nil {
				end = err
				break
			}
			if len(rec.text) > 0 {
				texts, numbers = append(texts, string(rec.text)), append(numbers, rec.number)
			}
			if (rec.text == nil) == (rec.err == nil) || rec.number < 1 || len(numbers) > len(in)+1 {
				t.Fatalf("%q: record %+v", in, rec)
			}
		}
		if !s.array {
			wantTexts, wantNumbers := naiveLines(in)
			if !slices.Equal(texts, wantTexts) || !slices.Equal(numbers, wantNumbers) || end != io.EOF {
				t.Fatalf("%q: got %q %v %v, want %q %v", in, texts, numbers, end, wantTexts, wantNumbers)
			}
			return
		}
		var want []json.RawMessage
		if json.Unmarshal([]byte(in), &want) != nil {
			return // a broken array is cut somehow; that it ends is all
		}
		if len(texts) != len(want) || end != io.EOF {
			t.Fatalf("%q: got %q %v, want %q", in, texts, end, want)
		}
		for i := range want {
			if texts[i] != string(want[i]) || numbers[i] != i+1 {
				t.Fatalf("%q: element %d is %q, want %q", in, i, texts[i], want[i])
			}
		}
	})
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

// TestSplitterBounds: a record over the limit costs no memory and only itself.
func TestSplitterBounds(t *testing.T) {
	long := strings.Repeat("x", maxRecord)
	for _, c := range []struct {
		name, in string
		over     int // number of the record that is too long
		last     int
	}{
		{"at the limit", long + "\nb", 0, 2},
		{"a line", "a\n" + long + "x\nb\n", 2, 3},
		{"spaces", "a\n" + long + " \nb\n", 2, 3},
		{"the last line", "a\n" + long + long, 2, 2},
		{"an element", `[1,"` + long + `",3]`, 2, 3},
	} {
		s, err := newSplitter(strings.NewReader(c.in))
		if err != nil {
			t.Fatal(err)
		}
		last, over := 0, 0
		for {
			rec, err := s.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(c.name, err)
			}
			last = rec.number
			if rec.err != nil {
				over = rec.number
				if atoll.KindOf(rec.err) != atoll.TooLarge {
					t.Errorf("%s: %v", c.name, rec.err)
				}
			}
		}
		if over != c.over || last != c.last || cap(s.text) > 2*maxRecord {
			t.Errorf("%s: too long %d, last %d, holds %d", c.name, over, last, cap(s.text))
		}
	}
}

// TestShapesAreClosed: a type that the description cannot show is found by New.
func TestShapesAreClosed(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a channel has a schema")
		}
	}()
	shapeSet{}.of(reflect.TypeFor[chan int]())
}

// TestRouteTable: every row is whole, and changes need more than a reader.
func TestRouteTable(t *testing.T) {
	ids := map[string]bool{}
	for _, rt := range routes() {
		if rt.id == "" || ids[rt.id] || rt.summary == "" || rt.handle == nil || len(rt.answers) == 0 {
			t.Errorf("%s %s is not whole", rt.method, rt.pattern)
		}
		ids[rt.id] = true
		if rt.method != "GET" && rt.role < guard.Writer {
			t.Errorf("%s %s changes things for a %v", rt.method, rt.pattern, rt.role)
		}
	}
	if _, err := os.Stat("testdata/openapi.json"); err != nil {
		t.Error(err)
	}
}

func newTestRequest(u *url.URL) *request {
	return &request{Request: &http.Request{Method: "GET", URL: u}}
}
