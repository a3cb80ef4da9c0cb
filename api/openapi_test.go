package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing")

func TestOpenAPIGolden(t *testing.T) {
	c := open(t, newFake())
	got := c.want(c.get("/openapi.json"), 200).body
	path := filepath.Join("testdata", "openapi.json")
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the description has changed; look at it with: go test ./api -run Golden -rewrite")
	}
}

// spec is as much of an OpenAPI 3.1 document as the tests look at.
type spec struct {
	OpenAPI    string
	Info       struct{ Title, Version string }
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas         map[string]schema
		Headers         map[string]any
		SecuritySchemes map[string]any
	}
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Properties map[string]schema
	Required   []string
	Items      *schema
	AnyOf      []schema
	Additional *schema `json:"additionalProperties"`
}

type described struct {
	OperationID string
	Summary     string
	Parameters  []struct{ Name, In string }
	Responses   map[string]struct {
		Description string
		Content     map[string]struct{ Schema schema }
	}
	RequestBody struct {
		Content map[string]struct{ Schema schema }
	}
	Security []map[string][]string
}

func readSpec(t *testing.T) spec {
	t.Helper()
	var s spec
	if err := json.Unmarshal(record(newServer(t, newFake()), "GET", "/openapi.json", nil, "").Body.Bytes(),
		&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// operation returns one operation of s; nil if it is not described.
func (s spec) operation(t *testing.T, path, method string) *described {
	t.Helper()
	raw, ok := s.Paths[path][method]
	if !ok {
		return nil
	}
	var op described
	if err := json.Unmarshal(raw, &op); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return &op
}

// TestOpenAPIStructure holds the document to the parts of the specification
// (OpenAPI 3.1.0, section 4.8) that it uses: what is required is there, names
// are unique, references lead somewhere, path variables are declared.
func TestOpenAPIStructure(t *testing.T) {
	s := readSpec(t)
	if s.OpenAPI != "3.1.0" || s.Info.Title == "" || s.Info.Version == "" || len(s.Paths) < 12 {
		t.Errorf("%s %+v with %d paths", s.OpenAPI, s.Info, len(s.Paths))
	}
	ids := map[string]string{}
	for path, item := range s.Paths {
		var shared []struct {
			Name, In string
			Required bool
		}
		if err := json.Unmarshal(item["parameters"], &shared); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, p := range shared {
			if p.In != "path" || !p.Required || !strings.Contains(path, "{"+p.Name+"}") {
				t.Errorf("%s: parameter %+v", path, p)
			}
		}
		if strings.Count(path, "{") != len(shared) {
			t.Errorf("%s has %d parameters", path, len(shared))
		}
		for method := range item {
			if method == "parameters" {
				continue
			}
			op := s.operation(t, path, method)
			if op.OperationID == "" || ids[op.OperationID] != "" || op.Summary == "" ||
				len(op.Responses) == 0 || op.Security == nil {
				t.Errorf("%s %s: %+v, id also of %q", method, path, op, ids[op.OperationID])
			}
			ids[op.OperationID] = method + " " + path
			for status, r := range op.Responses {
				if len(status) != 3 || r.Description == "" {
					t.Errorf("%s %s: response %q %+v", method, path, status, r)
				}
			}
		}
	}
	raw := record(newServer(t, newFake()), "GET", "/openapi.json", nil, "").Body.String()
	for _, part := range strings.Split(raw, `"$ref": "`)[1:] {
		ref, _, _ := strings.Cut(part, `"`)
		kind, name, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
		_, schema := s.Components.Schemas[name]
		_, header := s.Components.Headers[name]
		if !(kind == "schemas" && schema) && !(kind == "headers" && header) {
			t.Errorf("%s leads nowhere", ref)
		}
	}
	if s.Components.SecuritySchemes["token"] == nil {
		t.Error("no security scheme")
	}
}

// conforms checks a JSON value against a schema, with no member too many.
func (s spec) conforms(v any, sc schema) error {
	if name, ok := strings.CutPrefix(sc.Ref, "#/components/schemas/"); ok {
		return s.conforms(v, s.Components.Schemas[name])
	}
	if sc.AnyOf != nil {
		var last error
		for _, alternative := range sc.AnyOf {
			if last = s.conforms(v, alternative); last == nil {
				return nil
			}
		}
		return last
	}
	got := map[string]string{"<nil>": "null", "string": "string", "bool": "boolean",
		"float64": "number", "[]interface {}": "array", "map[string]interface {}": "object",
	}[fmt.Sprintf("%T", v)]
	if sc.Type != "" && sc.Type != got && !(sc.Type == "integer" && got == "number") {
		return fmt.Errorf("%v is no %s", v, sc.Type)
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if sc.Items != nil {
				if err := s.conforms(e, *sc.Items); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		return s.conformsObject(v, sc)
	}
	return nil
}

func (s spec) conformsObject(v map[string]any, sc schema) error {
	for _, name := range sc.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%q is missing", name)
		}
	}
	for name, member := range v {
		p, ok := sc.Properties[name]
		switch {
		case sc.Additional != nil:
			p = *sc.Additional
		case !ok && sc.Properties != nil:
			return fmt.Errorf("%q is not described", name)
		case !ok:
			continue
		}
		if err := s.conforms(member, p); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// busy is a fake with something of everything.
func busy() *fake {
	f := newFake()
	at := time.Date(2026, 3, 1, 12, 30, 0, 123_999_000, time.FixedZone("", 3600))
	c := atoll.Conflict{Path: "/name", Kind: "register", Values: []atoll.Value{
		{JSON: []byte(`"a"`), Origin: 1, Region: "tokyo", Time: at, Winner: true},
		{JSON: nil, Origin: 0xabc, Time: at},
	}}
	f.losers = []atoll.Conflict{c}
	f.conflicts = []atoll.Conflicted{
		{Keyspace: "stars", Key: "x", At: at, Conflict: c},
		{Keyspace: "other", Key: "y", At: at, Conflict: atoll.Conflict{Kind: "delete-edit"}},
	}
	f.cluster.Clocks = map[atoll.Keyspace]map[atoll.Origin]uint64{"stars": {1: 42}}
	f.cluster.Regions[0] = atoll.RegionView{
		Name: "frankfurt", Lat: 50.11, Lon: 8.68, State: atoll.StateUp, Addresses: []string{"127.0.2.1"},
		Votes: []atoll.Vote{{Voter: "tokyo", Up: true, Age: 1500 * time.Microsecond}},
		Nodes: []atoll.NodeView{{ID: "frankfurt/1", Origin: 7, Addr: "127.0.2.1:7950",
			State: atoll.StateUp, RTT: 86 * time.Millisecond, Offset: -2500 * time.Microsecond,
			Behind: atoll.Behind{Dots: 3, Lag: time.Second}}},
	}
	return f
}

// TestRoutesAnswerAsDescribed calls every described operation; status, content
// type and body have to be among what is described.
func TestRoutesAnswerAsDescribed(t *testing.T) {
	s := readSpec(t)
	srv := newServer(t, busy(), func(c *api.Config) {
		c.Explain = func(name, ip string) (any, error) { return map[string]string{name: ip}, nil }
		c.Media = newFakeMedia()
		c.Watch = told([]atoll.Event{{Kind: atoll.EventPut, Key: "x", Body: []byte("{}"), Cursor: "c"}})
	})
	calls := []struct{ method, path, url, contentType, body string }{
		{"put", "/v1/keyspaces/{keyspace}", "/v1/keyspaces/stars", "application/json", "{}"},
		{"get", "/v1/keyspaces/{keyspace}", "/v1/keyspaces/stars", "", ""},
		{"put", "/v1/docs/{keyspace}/{key}", star, "application/json", `{"n":1}`},
		{"patch", "/v1/docs/{keyspace}/{key}", star, "application/merge-patch+json", `{"m":1}`},
		{"get", "/v1/docs/{keyspace}/{key}", star, "", ""},
		{"get", "/v1/docs/{keyspace}/{key}", star + "?conflicts=1", "", ""},
		{"get", "/v1/docs/{keyspace}/{key}", star + "x", "", ""},
		{"get", "/v1/docs/{keyspace}", "/v1/docs/stars", "", ""},
		{"post", "/v1/docs/{keyspace}/_import", "/v1/docs/stars/_import", "", `{"key":"k","doc":{}}`},
		{"get", "/v1/docs/{keyspace}/_export", "/v1/docs/stars/_export", "", ""},
		{"delete", "/v1/docs/{keyspace}/{key}", star, "", ""},
		{"put", "/v1/media/{keyspace}/{key}", film, "application/octet-stream", "bytes"},
		{"get", "/v1/media/{keyspace}/{key}", film, "", ""},
		{"delete", "/v1/media/{keyspace}/{key}", film, "", ""},
		{"get", "/v1/media/{keyspace}/{key}", film, "", ""},
		{"get", "/v1/watch/{keyspace}", "/v1/watch/stars", "", ""},
		{"get", "/v1/cluster", "/v1/cluster", "", ""},
		{"get", "/v1/conflicts", "/v1/conflicts", "", ""},
		{"post", "/v1/regions/{region}/drain", "/v1/regions/tokyo/drain", "", ""},
		{"post", "/v1/regions/{region}/drain", "/v1/regions/frankfurt/drain", "", ""},
		{"post", "/v1/regions/{region}/undrain", "/v1/regions/tokyo/undrain", "", ""},
		{"post", "/v1/nodes/{region}/{name}/leave", "/v1/nodes/tokyo/1/leave", "", ""},
		{"post", "/v1/nodes/{region}/{name}/forget", "/v1/nodes/tokyo/1/forget", "", ""},
		{"get", "/v1/explain/dns", "/v1/explain/dns?name=x", "", ""},
		{"get", "/openapi.json", "/openapi.json", "", ""}, {"get", "/livez", "/livez", "", ""},
		{"get", "/readyz", "/readyz", "", ""}, {"get", "/metrics", "/metrics", "", ""},
	}
	called := map[string]bool{}
	for _, c := range calls {
		called[c.method+" "+c.path] = true
		op := s.operation(t, c.path, c.method)
		if op == nil {
			t.Errorf("%s %s is not described", c.method, c.path)
			continue
		}
		var h headers
		if c.contentType != "" {
			h = headers{"Content-Type", c.contentType}
		}
		w := record(srv, strings.ToUpper(c.method), c.url, h, c.body)
		answer, ok := op.Responses[fmt.Sprint(w.Code)]
		if !ok {
			t.Errorf("%s %s: %d %s is not described", c.method, c.url, w.Code, w.Body)
			continue
		}
		media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		described, ok := answer.Content[media]
		if !ok && (w.Body.Len() > 0 || len(answer.Content) > 0) {
			t.Errorf("%s %s: %q is not among %v", c.method, c.url, media, answer.Content)
			continue
		}
		if !strings.Contains(media, "json") {
			continue
		}
		for line := range strings.Lines(oneLine(w.Body.String())) {
			var v any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Errorf("%s %s: %v", c.method, c.url, err)
			}
			if err := s.conforms(v, described.Schema); err != nil {
				t.Errorf("%s %s: %v in %s", c.method, c.url, err, line)
			}
		}
	}
	for path, item := range s.Paths {
		for method := range item {
			if method != "parameters" && method != "head" && !called[method+" "+path] {
				t.Errorf("%s %s is described and not called", method, path)
			}
		}
	}
}

// oneLine makes one line of the only answer that is indented.
func oneLine(body string) string {
	var buf bytes.Buffer
	if strings.HasPrefix(body, "{\n") && json.Compact(&buf, []byte(body)) == nil {
		return buf.String()
	}
	return body
}

// TestAnswersToTheByte: what CONTRACT.md shows, as it is sent.
func TestAnswersToTheByte(t *testing.T) {
	srv := newServer(t, busy(), func(c *api.Config) {
		c.Explain = func(name, ip string) (any, error) { return []string{name, ip}, nil }
	})
	record(srv, "PUT", star, nil, `{"name":"a"}`)
	const lost = `{"value":null,"origin":"0000000000000abc","region":"",` +
		`"time":"2026-03-01T11:30:00.123Z","winner":false}`
	const won = `{"value":"a","origin":"0000000000000001","region":"tokyo",` +
		`"time":"2026-03-01T11:30:00.123Z","winner":true}`
	for path, want := range map[string]string{
		star + "?conflicts=1": `{"doc":{"name":"a"},"conflicts":[{"path":"/name","kind":"register",` +
			`"values":[` + won + `,` + lost + `]}]}`,
		"/v1/conflicts?limit=1": `{"items":[{"keyspace":"stars","key":"x","cell":"/name","kind":"register",` +
			`"at":"2026-03-01T11:30:00.123Z","winner":` + won + `,"losers":[` + lost + `]}]}`,
		"/v1/conflicts?keyspace=other": `{"items":[{"keyspace":"other","key":"y","cell":"",` +
			`"kind":"delete-edit","at":"2026-03-01T11:30:00.123Z","winner":null,"losers":[]}]}`,
		"/v1/cluster": `{"cluster":"test","self":{"node":"tokyo/1","region":"tokyo"},"regions":[` +
			`{"name":"frankfurt","lat":50.11,"lon":8.68,"state":"up",` +
			`"votes":[{"voter":"tokyo","up":true,"age_ms":1.5}],"addresses":["127.0.2.1"],` +
			`"nodes":[{"id":"frankfurt/1","origin":"0000000000000007","addr":"127.0.2.1:7950",` +
			`"joined":"0001-01-01T00:00:00.000Z",` +
			`"state":"up","rtt_ms":86,"offset_ms":-2.5,"behind":{"dots":3,"ms":1000}}]},` +
			`{"name":"tokyo","lat":0,"lon":0,"state":"up","votes":[],"addresses":[],"nodes":[]}],` +
			`"forgetting":[],"catching_up":{"partitions":0,"sources":0,"documents":0,"bytes":0},"refused":[],` +
			`"clocks":{"stars":{"0000000000000001":42}},"scrub":{"partitions":0,"differences":0}}`,
		"/v1/explain/dns?name=x":                     `["x","127.0.0.1"]`,
		"/v1/explain/dns?name=x&ip=::ffff:192.0.2.1": `["x","192.0.2.1"]`,
	} {
		w := record(srv, "GET", path, nil, "")
		if got := strings.TrimSpace(w.Body.String()); got != want || w.Code != 200 {
			t.Errorf("%s: %d\n got %s\nwant %s", path, w.Code, got, want)
		}
	}
	if n := record(srv, "GET", star, nil, "").Header().Get("Atoll-Conflicts"); n != "1" {
		t.Errorf("Atoll-Conflicts: %s", n)
	}
	for path, status := range map[string]int{
		"/v1/explain/dns": 400, "/v1/explain/dns?name=x&ip=here": 400, "/v1/conflicts?limit=0": 400,
		star + "?conflicts=yes": 400, "/v1/conflicts?keyspace=a&keyspace=b": 400,
	} {
		if w := record(srv, "GET", path, nil, ""); w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := record(newServer(t, newFake()), "GET", "/v1/explain/dns?name=x", nil, ""); w.Code != 404 {
		t.Errorf("explain without DNS: %d", w.Code)
	}
}

func TestDrain(t *testing.T) {
	f := newFake()
	srv := newServer(t, f)
	for _, c := range []struct {
		path   string
		status int
		want   []atoll.Region
	}{
		{"tokyo/drain", 204, []atoll.Region{"tokyo"}},
		{"frankfurt/drain", 400, []atoll.Region{"tokyo"}},
		{"frankfurt/drain?force=0", 400, []atoll.Region{"tokyo"}},
		{"frankfurt/drain?force=maybe", 400, []atoll.Region{"tokyo"}},
		{"frankfurt/drain?force=1", 204, []atoll.Region{"frankfurt", "tokyo"}},
		{"tokyo/undrain", 204, []atoll.Region{"frankfurt"}},
		{"atlantis/undrain", 404, []atoll.Region{"frankfurt"}},
	} {
		w := record(srv, "POST", "/v1/regions/"+c.path, nil, "")
		var got []atoll.Region
		for r := range f.drained {
			got = append(got, r)
		}
		if slices.Sort(got); w.Code != c.status || !slices.Equal(got, c.want) {
			t.Errorf("%s: %d %s, drained %v", c.path, w.Code, w.Body, got)
		}
	}
}
