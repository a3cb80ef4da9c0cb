package crdt

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// TestMergePatchAppendixA has all examples of RFC 7396 Appendix A.
func TestMergePatchAppendixA(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		checkMerge(t, c[0], c[1], c[2])
	}
}

func TestMergePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":{"b":1}}`, `{"a":{"b":null}}`, `{"a":{}}`},
		{`{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":null}}}`, `{"a":{"b":{}}}`},
		{`{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`},
		{`{"a":1}`, `{"a":{}}`, `{"a":{}}`},
		{`{"a":{}}`, `{"a":{"b":{}}}`, `{"a":{"b":{}}}`},
		{`{"a":{"b":1,"c":2}}`, `{"a":3}`, `{"a":3}`},
		{`{"a":{"b":1,"c":2},"ab":3}`, `{"a":null}`, `{"ab":3}`},
		{`{"a":{}}`, `{"a":{"x":null}}`, `{"a":{}}`},
		{`{"a":1}`, `{"a":{"x":null,"y":{"z":null}}}`, `{"a":{"y":{}}}`},
		{`5`, `{}`, `{}`},
		{`{"":{"":1}}`, `{"":{"":{"":2}}}`, `{"":{"":{"":2}}}`},
		{`{"a":1,"b":2,"c":{"d":3}}`, `{"a":null,"b":null,"c":null}`, `{}`},
		{`{"a":[null]}`, `{"b":[null,{"x":null}]}`, `{"a":[null],"b":[null,{"x":null}]}`},
	} {
		checkMerge(t, c[0], c[1], c[2])
	}
}

func checkMerge(t *testing.T, doc, patch, want string) {
	t.Helper()
	got := jsonRender(jsonEdit(t, jsonPut(t, Doc{}, doc), merging(t, patch)))
	if got != want {
		t.Errorf("%s merged with %s is %s, want %s", doc, patch, got, want)
	}
	naive := marshal(naiveMerge(naiveJSON(t, []byte(doc)), naiveJSON(t, []byte(patch))))
	if naive != want {
		t.Errorf("the naive twin says %s merged with %s is %s, want %s", doc, patch, naive, want)
	}
}

func merging(t failer, patch string) func(*Edit) error {
	return func(e *Edit) error { return MergePatch(e, jsonTree(t, patch)) }
}

func putting(t failer, body string) func(*Edit) error {
	return func(e *Edit) error { return Put(e, jsonTree(t, body)) }
}

func doing(t failer, body string) func(*Edit) error {
	return func(e *Edit) error {
		ops, err := ParseOps([]byte(`{"ops":[` + body + `]}`))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return ApplyOps(e, ops)
	}
}

func deleting(e *Edit) error {
	Delete(e)
	return nil
}

// cells names the live entries as "kind pointer value", in canonical order.
func cells(d *Doc) (all []string) {
	names := map[Kind]string{Existence: "here", Register: "reg", Element: "elem", CounterOf: "row",
		ResetOf: "reset", Expiry: "expiry", Scored: "score"}
	for _, x := range d.Entries {
		s := names[x.Kind] + " " + x.Path.Pointer()
		if x.isBound() {
			s = "bound" + s
		} else if x.Share() {
			s = "share" + s
		}
		if x.single() || x.Kind == Element {
			s += " " + string(x.Value)
		}
		all = append(all, s)
	}
	return all
}

// TestDeltas shows which cells a change writes and how many it removes.
func TestDeltas(t *testing.T) {
	const seen = `{"a":{"b":1,"e":{}},"s":"x","t":[1]}`
	for name, c := range map[string]struct {
		change func(*Edit) error
		adds   []string
		drops  int
	}{
		"put":          {putting(t, `{"s":"x"}`), []string{"here ", "reg /s \"x\""}, 5},
		"put scalar":   {putting(t, `7`), []string{"here ", "reg  7"}, 5},
		"put empty":    {putting(t, `{}`), []string{"here "}, 5},
		"delete":       {deleting, nil, 5},
		"merge":        {merging(t, `{"s":"y"}`), []string{"here ", "reg /s \"y\""}, 2},
		"merge below":  {merging(t, `{"a":{"e":{"f":0}}}`), []string{"here ", "reg /a/e/f 0"}, 2},
		"merge empty":  {merging(t, `{"a":{"e":{"f":{}}}}`), []string{"here ", "here /a/e/f"}, 2},
		"merge nested": {merging(t, `{"q":{"r":{"s":{}}}}`), []string{"here ", "here /q/r/s"}, 1},
		"merge above":  {merging(t, `{"a":0}`), []string{"here ", "reg /a 0"}, 3},
		"merge none":   {merging(t, `{"zz":null}`), []string{"here "}, 1},
		"merge last":   {merging(t, `{"a":{"b":null,"e":null}}`), []string{"here ", "here /a"}, 3},
		"merge root":   {merging(t, `[2]`), []string{"here ", "reg  [2]"}, 5},
		"inc":          {doing(t, `{"op":"inc","path":"/n"}`), []string{"here ", "row /n"}, 1},
		"inc number":   {doing(t, `{"op":"inc","path":"/a/b"}`), []string{"here ", "row /a/b"}, 1},
		"inc in empty": {doing(t, `{"op":"inc","path":"/a/e/n"}`), []string{"here ", "row /a/e/n"}, 2},
		"inc in text":  {doing(t, `{"op":"inc","path":"/s/n"}`), []string{"here ", "row /s/n"}, 2},
		"add": {
			doing(t, `{"op":"add","path":"/t","value":2}`), []string{"elem /t 2", "here "}, 1,
		},
		"add again": {
			doing(t, `{"op":"add","path":"/t","value":1}`), []string{"elem /t 1", "here "}, 1,
		},
		"remove": {
			doing(t, `{"op":"remove","path":"/t","value":1}`), []string{"here ", "reg /t []"}, 2,
		},
		"remove none":  {doing(t, `{"op":"remove","path":"/t","value":9}`), []string{"here "}, 1},
		"remove away":  {doing(t, `{"op":"remove","path":"/zz","value":9}`), []string{"here "}, 1},
		"unset":        {doing(t, `{"op":"unset","path":"/a/b"}`), []string{"here "}, 2},
		"unset object": {doing(t, `{"op":"unset","path":"/a"}`), []string{"here "}, 3},
		"unset last": {
			doing(t, `{"op":"unset","path":"/a/e"},{"op":"unset","path":"/a/b"}`),
			[]string{"here ", "here /a"}, 3,
		},
		"unset absent": {doing(t, `{"op":"unset","path":"/a/zz/y"}`), []string{"here "}, 1},
		"unset all":    {doing(t, `{"op":"unset","path":""}`), []string{"here "}, 5},
		"set and out": {
			doing(t, `{"op":"set","path":"/q","value":{"x":[]}},{"op":"unset","path":"/q"}`),
			[]string{"here "}, 1,
		},
		"set object": {
			doing(t, `{"op":"set","path":"/s","value":{"x":{},"y":null}}`),
			[]string{"here ", "here /s/x", "reg /s/y null"}, 2,
		},
		"set root": {
			doing(t, `{"op":"set","path":"","value":{"x":1}}`), []string{"here ", "reg /x 1"}, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := island{origin: 1, now: 1}
			r.write(t, putting(t, seen))
			r.origin, r.now = 2, 2
			d, _ := r.write(t, c.change)
			got := cells(&Doc{Entries: d.Adds})
			slices.Sort(got)
			if !slices.Equal(got, c.adds) || len(d.Drops) != c.drops {
				t.Errorf("wrote %q and removed %d, want %q and %d", got, len(d.Drops), c.adds, c.drops)
			}
		})
	}
}

// TestNothingToWrite: what only removes makes no document.
func TestNothingToWrite(t *testing.T) {
	for name, change := range map[string]func(*Edit) error{
		"delete": deleting,
		"merge":  merging(t, `{"a":null}`),
		"unset":  doing(t, `{"op":"unset","path":"/a/b"}`),
		"remove": doing(t, `{"op":"remove","path":"/a","value":1}`),
		"no ops": doing(t, ``),
		"undone": doing(t, `{"op":"set","path":"/a","value":1},{"op":"unset","path":"/a"}`),
	} {
		r := island{origin: 1}
		if d, ok := r.write(t, change); ok {
			t.Errorf("%s: wrote %+v", name, d)
		}
	}
}

func TestPatchMakesADocument(t *testing.T) {
	for want, change := range map[string]func(*Edit) error{
		`{"a":{}}`: merging(t, `{"a":{"b":null}}`),
		`{"a":1}`:  merging(t, `{"a":1}`),
		`"x"`:      merging(t, `"x"`),
		`{"n":3}`:  doing(t, `{"op":"inc","path":"/n","by":3}`),
		`{}`:       doing(t, `{"op":"set","path":"","value":{}}`),
		`["x"]`:    doing(t, `{"op":"add","path":"","value":"x"}`),
		`-4`:       doing(t, `{"op":"inc","path":"","by":-4}`),
		`{"t":[1,{"a":2}]}`: doing(t, `{"op":"add","path":"/t","value":{"a":2}},`+
			`{"op":"add","path":"/t","value":1}`),
	} {
		d := jsonEdit(t, Doc{}, change)
		if got := jsonRender(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if !slices.Contains(cells(&d), "here ") {
			t.Errorf("%s has no existence cell", want)
		}
	}
}

// TestSetsStaySets: an array written where elements are becomes elements, so
// that it merges with what others add.
func TestSetsStaySets(t *testing.T) {
	const two = `{"op":"add","path":"/t","value":"a"},{"op":"add","path":"/t","value":"b"}`
	seen := jsonEdit(t, Doc{}, doing(t, two))
	for name, c := range map[string]struct {
		change func(*Edit) error
		want   []string
	}{
		"put":   {putting(t, `{"t":["c","a","c"]}`), []string{"here ", `elem /t "a"`, `elem /t "c"`}},
		"merge": {merging(t, `{"t":["c"]}`), []string{"here ", `elem /t "c"`}},
		"set":   {doing(t, `{"op":"set","path":"/t","value":[1]}`), []string{"here ", `elem /t 1`}},
		"set above": {
			doing(t, `{"op":"set","path":"","value":{"t":[1]}}`), []string{"here ", `elem /t 1`},
		},
		"empty":     {putting(t, `{"t":[]}`), []string{"here ", `reg /t []`}},
		"text":      {putting(t, `{"t":"x"}`), []string{"here ", `reg /t "x"`}},
		"elsewhere": {putting(t, `{"u":["a"]}`), []string{"here ", `reg /u ["a"]`}},
	} {
		d := jsonEdit(t, seen, c.change)
		if got := cells(&d); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestSetsAreLimited: each element costs a dot, so that they count as cells.
func TestSetsAreLimited(t *testing.T) {
	wide := func(n int) string {
		items := make([]string, n)
		for i := range items {
			items[i] = strconv.Itoa(i)
		}
		return `{"t":[` + strings.Join(items, ",") + `]}`
	}
	set := jsonEdit(t, Doc{}, doing(t, `{"op":"add","path":"/t","value":"a"}`))
	if err := putting(t, wide(MaxCells))(NewEdit(set, "k", 9, 1, 1)); err != nil {
		t.Errorf("%d elements: %v", MaxCells, err)
	}
	wantError(t, putting(t, wide(MaxCells+1))(NewEdit(set, "k", 9, 1, 1)),
		atoll.TooLarge, "/t", MaxCells)
	array := jsonPut(t, Doc{}, wide(MaxCells+3))
	wantError(t, doing(t, `{"op":"remove","path":"/t","value":0}`)(NewEdit(array, "k", 9, 1, 1)),
		atoll.TooLarge, "/t", MaxCells)
}

// TestNumbersResetCounters: writing a number takes away what was counted.
func TestNumbersResetCounters(t *testing.T) {
	counted := jsonEdit(t, jsonPut(t, Doc{}, `{"n":5,"m":{"c":1}}`),
		doing(t, `{"op":"inc","path":"/n","by":2},{"op":"inc","path":"/m/c","by":-3}`))
	for name, c := range map[string]struct {
		change func(*Edit) error
		want   string
	}{
		"as it is": {putting(t, jsonRender(counted)), `{"m":{"c":-2},"n":7}`},
		"put":      {putting(t, `{"n":1}`), `{"n":1}`},
		"merge":    {merging(t, `{"n":1}`), `{"m":{"c":-2},"n":1}`},
		"set":      {doing(t, `{"op":"set","path":"/n","value":1}`), `{"m":{"c":-2},"n":1}`},
		"above":    {merging(t, `{"m":0}`), `{"m":0,"n":7}`},
		"null":     {merging(t, `{"m":{"c":null}}`), `{"m":{},"n":7}`},
		"again": {
			doing(t, `{"op":"unset","path":"/n"},{"op":"inc","path":"/n","by":4}`), `{"m":{"c":-2},"n":4}`,
		},
		"delete": {deleting, `absent`},
	} {
		if got := jsonRender(jsonEdit(t, counted, c.change)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// TestDeadline: PUT and DELETE take the deadline away, PATCH leaves it.
func TestDeadline(t *testing.T) {
	seen := jsonPut(t, Doc{}, `{"a":1}`)
	insert(&seen, Entry{Kind: Expiry, Dot: Dot{7, 7}, Value: []byte{1}})
	for name, c := range map[string]struct {
		change func(*Edit) error
		stays  bool
	}{
		"put":    {putting(t, `{}`), false},
		"delete": {deleting, false},
		"merge":  {merging(t, `{"a":null}`), true},
		"root":   {merging(t, `1`), true},
		"ops":    {doing(t, `{"op":"unset","path":""}`), true},
	} {
		d := jsonEdit(t, seen, c.change)
		if got := d.Has(Dot{7, 7}); got != c.stays {
			t.Errorf("%s: the deadline is here: %v", name, got)
		}
	}
}

// TestMergedDocumentLimit: over the limit only writes that shrink it.
func TestMergedDocumentLimit(t *testing.T) {
	r := island{origin: 1, now: 1}
	big := `"` + strings.Repeat("x", MaxBody-20) + `"`
	for i := range 8 {
		r.write(t, merging(t, `{"m`+string(rune('0'+i))+`":`+big+`}`))
	}
	more := strings.Repeat("y", MaxDocument-Size(&r.doc)+100)
	for name, c := range map[string]struct {
		change func(*Edit) error
		ok     bool
	}{
		"merge":  {merging(t, `{"y":"`+more+`"}`), false},
		"set":    {doing(t, `{"op":"set","path":"/y","value":"`+more+`"}`), false},
		"set 1":  {doing(t, `{"op":"set","path":"/y","value":1}`), true},
		"shrink": {merging(t, `{"m0":"`+more+`","m1":null}`), true},
		"put":    {putting(t, big), true},
	} {
		err := c.change(NewEdit(r.doc, "k", 9, 1, 9))
		if c.ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			wantError(t, err, atoll.TooLarge, "merged document", MaxDocument)
		}
	}
	over := jsonOver(t, r.doc)
	wantError(t, merging(t, `{"y":1}`)(NewEdit(over, "k", 9, 1, 9)),
		atoll.TooLarge, "merged document", MaxDocument)
	if err := merging(t, `{"m0":null}`)(NewEdit(over, "k", 9, 1, 9)); err != nil {
		t.Errorf("removing from a document over the limit: %v", err)
	}
}

// jsonOver returns d grown over the limit, as concurrent writes can.
func jsonOver(t *testing.T, d Doc) Doc {
	d = d.Clone()
	insert(&d, Entry{Path: Path("").Child("late"), Kind: Register, Dot: Dot{8, 8},
		Value: []byte(`"` + strings.Repeat("z", 2*MaxBody) + `"`)})
	if Size(&d) <= MaxDocument {
		t.Fatalf("only %d bytes", Size(&d))
	}
	return d
}
