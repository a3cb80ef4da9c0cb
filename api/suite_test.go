package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

// suite is what every Node looks like through the API, whatever is behind it.
// start returns a new node whose keyspaces are empty.
func suite(t *testing.T, start func(*testing.T) api.Node) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, client)
	}{
		{"write and read", suiteWriteRead},
		{"merge patch", suiteMerge},
		{"operations", suiteOps},
		{"conditions", suiteConditions},
		{"keys are paths as they are", suiteKeys},
		{"bad keys", suiteBadKeys},
		{"bad bodies", suiteBadBodies},
		{"list", suiteList},
		{"export and import", suiteExportImport},
		{"import by field", suiteImportField},
		{"keyspaces", suiteKeyspaces},
		{"sessions", suiteSessions},
		{"unknown things", suiteUnknown},
	} {
		for _, version := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s/http%d", c.name, version), func(t *testing.T) {
				srv := newServer(t, start(t))
				if version == 3 {
					c.run(t, connect3(t, serve3(t, srv).addr))
					return
				}
				c.run(t, connect(t, serve(t, srv), version == 2))
			})
		}
	}
}

func TestSuiteOnFake(t *testing.T) {
	suite(t, func(*testing.T) api.Node { return newFake() })
}

const star = "/v1/docs/stars/hip/32349"

func suiteWriteRead(t *testing.T, c client) {
	r := c.want(c.put(star, `{"name":"Sirius","mag":-1.46}`), 201, "")
	etag := r.Header.Get("ETag")
	if len(etag) < 3 || etag[0] != '"' || r.Header.Get("Atoll-Session") == "" {
		t.Errorf("headers %v", r.Header)
	}
	got := c.want(c.get(star), 200, `{"mag":-1.46,"name":"Sirius"}`)
	if got.Header.Get("ETag") != etag || got.Header.Get("Atoll-Conflicts") != "0" ||
		got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Atoll-Session") == "" {
		t.Errorf("headers %v", got.Header)
	}
	head := c.want(c.do("HEAD", star, nil, ""), 200, "")
	if head.Header.Get("ETag") != etag || head.ContentLength != int64(len(got.body)) {
		t.Errorf("HEAD %v", head.Header)
	}
	c.want(c.get(star+"?conflicts=1"), 200,
		`{"doc":{"mag":-1.46,"name":"Sirius"},"conflicts":[]}`+"\n")
	again := c.want(c.put(star, `{"name":"α CMa"}`), 204, "")
	if e := again.Header.Get("ETag"); e == etag || e == "" {
		t.Errorf("ETag %s after %s", e, etag)
	}
	c.want(c.get(star), 200, `{"name":"α CMa"}`)
	c.want(c.do("DELETE", star, nil, ""), 204, "")
	c.refused(c.get(star), 404, atoll.NotFound)
	c.want(c.do("HEAD", star, nil, ""), 404, "")
	c.want(c.do("DELETE", star, nil, ""), 204, "")
	c.want(c.put(star, `{"n":12345678901234567890.0100}`), 201, "")
	c.want(c.get(star), 200, `{"n":12345678901234567890.0100}`)
}

func suiteMerge(t *testing.T, c client) {
	merge := headers{"Content-Type", "application/merge-patch+json; charset=utf-8"}
	c.want(c.do("PATCH", star, merge, `{"a":{"b":1,"c":2}}`), 201, "")
	c.want(c.do("PATCH", star, merge, `{"a":{"b":null},"d":"x"}`), 204, "")
	c.want(c.get(star), 200, `{"a":{"c":2},"d":"x"}`)
}

func suiteOps(t *testing.T, c client) {
	ops := headers{"Content-Type", "application/vnd.atoll.ops+json"}
	c.want(c.put(star, `{"views":1,"x":true}`), 201)
	c.want(c.do("PATCH", star, ops, `{"ops":[{"op":"inc","path":"/views","by":41},`+
		`{"op":"set","path":"/name","value":"Sirius"},{"op":"unset","path":"/x"}]}`), 204, "")
	c.want(c.get(star), 200, `{"name":"Sirius","views":42}`)
	c.refused(c.do("PATCH", star, ops, `{"ops":[{"op":"sing","path":"/views"}]}`), 400, atoll.BadRequest)
	c.refused(c.do("PATCH", star, ops, `{"ops":[{"op":"inc","path":"/name","by":1}]}`),
		409, atoll.KindClash)
	c.want(c.get(star), 200, `{"name":"Sirius","views":42}`)
}

func suiteConditions(t *testing.T, c client) {
	first := c.want(c.put(star, `{"v":1}`, "If-None-Match", "*"), 201).Header.Get("ETag")
	c.refused(c.put(star, `{"v":2}`, "If-None-Match", "*"), 412, atoll.PreconditionFailed)
	c.refused(c.put(star, `{"v":2}`, "If-Match", `"other"`), 412, atoll.PreconditionFailed)
	c.refused(c.put(star, `{"v":2}`, "If-Match", "W/"+first), 412, atoll.PreconditionFailed)
	c.refused(c.put(star, `{"v":2}`, "If-Match", `"*"`), 412, atoll.PreconditionFailed)
	c.refused(c.put(star+"x", `{"v":2}`, "If-Match", "*"), 412, atoll.PreconditionFailed)
	second := c.want(c.put(star, `{"v":2}`, "If-Match", `"other", `+first), 204).Header.Get("ETag")
	c.refused(c.do("DELETE", star, headers{"If-Match", first}, ""), 412, atoll.PreconditionFailed)
	c.refused(c.put(star, `{"v":3}`, "If-None-Match", "W/"+second), 412, atoll.PreconditionFailed)

	r := c.want(c.get(star, "If-None-Match", second), 304, "")
	if r.Header.Get("ETag") != second || r.Header.Get("Atoll-Region") == "" {
		t.Errorf("304 with %v", r.Header)
	}
	c.want(c.get(star, "If-None-Match", first+`,W/`+second), 304, "")
	c.want(c.get(star, "If-None-Match", "*"), 304, "")
	c.want(c.get(star, "If-None-Match", first), 200, `{"v":2}`)
	c.want(c.get(star, "If-Match", second), 200)
	c.refused(c.get(star, "If-Match", first), 412, atoll.PreconditionFailed)
	for _, bad := range []string{"x", `"x`, `"a" "b"`, `*, "a"`, `w/"a"`, ","} {
		c.refused(c.put(star, `{"v":9}`, "If-Match", bad), 400, atoll.BadRequest)
		c.refused(c.get(star, "If-None-Match", bad), 400, atoll.BadRequest)
	}
	c.want(c.get(star), 200, `{"v":2}`)
	c.want(c.do("DELETE", star, headers{"If-Match", second}, ""), 204)
	c.refused(c.do("DELETE", star, headers{"If-Match", "*"}, ""), 412, atoll.PreconditionFailed)
}

// suiteKeys writes one document under each strange path and finds it under its
// key, and only there.
func suiteKeys(t *testing.T, c client) {
	paths := map[string]string{ // path -> key
		"a//b": "a//b", "a/b": "a/b", "a/../b": "a/../b", "./a": "./a", "..": "..", "a/": "a/",
		"/a": "/a", "%61%20b": "a b", "a+b": "a+b", "a%2Bb%25": "a+b%", "a%252Fb": "a%2Fb",
		"%E2%98%85": "★", "a%3Fb%23c": "a?b#c", "x/_y": "x/_y", "a;b=c": "a;b=c", "a:b": "a:b",
		strings.Repeat("k", atoll.MaxKey): strings.Repeat("k", atoll.MaxKey),
	}
	for path, key := range paths {
		c.want(c.put("/v1/docs/odd/"+path, string(jsonText(map[string]string{"is": key}))), 201, "")
	}
	for path, key := range paths {
		c.want(c.get("/v1/docs/odd/"+path), 200, string(jsonText(map[string]string{"is": key})))
	}
	c.want(c.get("/v1/docs/odd/a%2Fb"), 200, `{"is":"a/b"}`)
	c.want(c.get("/v1/docs/odd/a%2f%2Fb"), 200, `{"is":"a//b"}`)
	var want []string
	for _, key := range paths {
		want = append(want, key)
	}
	slices.Sort(want)
	if got, _ := c.keys("/v1/docs/odd?limit=1000"); !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
}

func suiteBadKeys(t *testing.T, c client) {
	c.want(c.put(star, `{}`), 201)
	for path, want := range map[string]struct {
		status int
		kind   atoll.Kind
	}{
		"stars/":                            {400, atoll.BadKey},
		"stars/%00":                         {400, atoll.BadKey},
		"stars/a%00b":                       {400, atoll.BadKey},
		"stars/%ff":                         {400, atoll.BadKey},
		"stars/%C0%AF":                      {400, atoll.BadKey},
		"stars/%ED%A0%80":                   {400, atoll.BadKey}, // half a surrogate pair
		"stars/_x":                          {400, atoll.BadKey},
		"stars/_x/y":                        {400, atoll.BadKey},
		"stars/%5Fimport":                   {400, atoll.BadKey},
		"stars/" + strings.Repeat("k", 513): {414, atoll.KeyTooLong},
		"stars/" + strings.Repeat("%E2%98%85", 171): {414, atoll.KeyTooLong},
		"Stars/x":                      {400, atoll.BadRequest},
		"_roster/x":                    {400, atoll.BadRequest},
		"/x":                           {400, atoll.BadRequest},
		"9stars/x":                     {400, atoll.BadRequest},
		"stars%2Fa/x":                  {400, atoll.BadRequest},
		strings.Repeat("s", 64) + "/x": {400, atoll.BadRequest},
	} {
		p := c.refused(c.get("/v1/docs/"+path), want.status, want.kind)
		if want.kind == atoll.KeyTooLong && (p.Limit == nil || p.Limit.Value != atoll.MaxKey) {
			t.Errorf("%s names no limit", path)
		}
		c.refused(c.put("/v1/docs/"+path, `{}`), want.status, want.kind)
		c.refused(c.do("DELETE", "/v1/docs/"+path, nil, ""), want.status, want.kind)
	}
}

func suiteBadBodies(t *testing.T, c client) {
	c.want(c.put(star, `{"v":1}`), 201)
	for body, kind := range map[string]atoll.Kind{
		"{":                   atoll.BadJSON,
		`{"a":1}}`:            atoll.BadJSON,
		`{"a":"` + "\xff\"}":  atoll.BadJSON,
		`{"a":1,"a":2}`:       atoll.DuplicateKey,
		`{"a":{"b":1,"b":2}}`: atoll.DuplicateKey,
		"{'a':1}":             atoll.BadJSON,
	} {
		c.refused(c.put(star, body), 400, kind)
		c.refused(c.do("PATCH", star, headers{"Content-Type", "application/merge-patch+json"}, body),
			400, kind)
	}
	c.refused(c.put(star, ""), 400, atoll.BadJSON)
	p := c.refused(c.put(star, `{"a":"`+strings.Repeat("x", api.MaxDocument)+`"}`), 413, atoll.TooLarge)
	if p.Limit == nil || p.Limit.Value != api.MaxDocument || p.Limit.Name == "" {
		t.Errorf("limit %+v", p.Limit)
	}
	for _, ct := range []string{"text/plain", "application/x-www-form-urlencoded", "/", "a/b; c",
		"application/json; charset=latin1"} {
		c.refused(c.do("PUT", star, headers{"Content-Type", ct}, `{}`), 415, atoll.UnsupportedMediaType)
	}
	c.refused(c.put(star, `{}`, "Content-Encoding", "gzip"), 415, atoll.UnsupportedMediaType)
	c.refused(c.do("PATCH", star, headers{"Content-Type", "application/json"}, `{}`),
		415, atoll.UnsupportedMediaType)
	c.refused(c.do("PATCH", star, nil, `{}`), 415, atoll.UnsupportedMediaType)
	c.want(c.do("PUT", star, headers{"Content-Type", "application/geo+json"}, `{"v":2}`), 204)
	c.want(c.get(star), 200, `{"v":2}`)
}

// keys returns those of one page, and its next.
func (c client) keys(path string) (keys []string, next *string) {
	c.t.Helper()
	var p struct {
		Items []struct {
			Key, ETag string
			Doc       json.RawMessage
		}
		Next *string
	}
	c.decodeInto(c.want(c.get(path), 200), &p)
	for _, i := range p.Items {
		if i.ETag == "" || len(i.Doc) == 0 {
			c.t.Errorf("item %+v", i)
		}
		keys = append(keys, i.Key)
	}
	return keys, p.Next
}

func suiteList(t *testing.T, c client) {
	var want []string
	for i := range 25 {
		key := fmt.Sprintf("%c/%02d", 'a'+i%3, i)
		want = append(want, key)
		c.want(c.put("/v1/docs/many/"+key, fmt.Sprintf(`{"i":%d}`, i)), 201)
	}
	slices.Sort(want)
	var got []string
	for after := ""; ; {
		keys, next := c.keys("/v1/docs/many?limit=4&after=" + url.QueryEscape(after))
		got = append(got, keys...)
		if next == nil {
			break
		}
		after = *next
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	if keys, next := c.keys("/v1/docs/many?prefix=b/"); len(keys) != 8 || next != nil {
		t.Errorf("prefix b/: %v %v", keys, next)
	}
	c.want(c.get("/v1/docs/many?prefix=zz"), 200, `{"items":[],"next":null}`+"\n")
	for _, q := range []string{"limit=0", "limit=-1", "limit=1001", "limit=ten", "limit=9999999999999999999",
		"limit=1&limit=2"} {
		c.refused(c.get("/v1/docs/many?"+q), 400, atoll.BadRequest)
	}
	c.refused(c.get("/v1/docs/many?after=%ff"), 400, atoll.BadKey)
	c.refused(c.get("/v1/docs/many?prefix="+strings.Repeat("x", 513)), 414, atoll.KeyTooLong)
	c.refused(c.get("/v1/docs/many?limit=%zz"), 400, atoll.BadRequest)
}

func suiteExportImport(t *testing.T, c client) {
	ndjson := headers{"Content-Type", "application/x-ndjson"}
	var lines strings.Builder
	for i := range 700 {
		fmt.Fprintf(&lines, `{"key":"k/%03d","etag":"old","doc":{"n":%d.50}}`+"\n", i, i)
	}
	last := c.imported("/v1/docs/one/_import", ndjson, lines.String())
	if last.Imported != 700 || last.Failed != 0 || last.Problem != nil {
		t.Fatalf("totals %+v", last)
	}
	r := c.want(c.get("/v1/docs/one/_export"), 200)
	if r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("headers %v", r.Header)
	}
	c.imported("/v1/docs/two/_import", ndjson, string(r.body))
	a, b := stripTags(t, r.body), stripTags(t, c.want(c.get("/v1/docs/two/_export"), 200).body)
	if a != b || strings.Count(a, "\n") != 700 || !strings.HasPrefix(a, `k/000 {"n":0.50}`) {
		t.Errorf("the copy differs: %.80q and %.80q", a, b)
	}
	if keys, _ := c.keys("/v1/docs/two?limit=1000"); len(keys) != 700 {
		t.Errorf("%d keys", len(keys))
	}
	part := stripTags(t, c.want(c.get("/v1/docs/two/_export?prefix=k/69"), 200).body)
	if strings.Count(part, "\n") != 10 {
		t.Errorf("prefix: %q", part)
	}
}

// stripTags returns "key doc" of each export line.
func stripTags(t *testing.T, export []byte) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(string(export)) {
		var i struct {
			Key, ETag string
			Doc       json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &i); err != nil || i.ETag == "" {
			t.Fatalf("%q: %v", line, err)
		}
		fmt.Fprintf(&out, "%s %s\n", i.Key, i.Doc)
	}
	return out.String()
}

func suiteImportField(t *testing.T, c client) {
	body := `[{"id":"a","v":1}, {"id":7,"v":2},{"v":3},{"id":"a","v":4},{"id":"b","v":"],[}\""}]`
	last := c.imported("/v1/docs/arr/_import?key=id", headers{"Content-Type", "application/json"}, body)
	if last.Imported != 4 || last.Failed != 1 || len(last.rejected) != 1 || last.rejected[0].Line != 3 {
		t.Errorf("totals %+v", last)
	}
	c.want(c.get("/v1/docs/arr/a"), 200, `{"id":"a","v":4}`)
	c.want(c.get("/v1/docs/arr/7"), 200, `{"id":7,"v":2}`)
	c.want(c.get("/v1/docs/arr/b"), 200, `{"id":"b","v":"],[}\""}`)
}

func suiteKeyspaces(t *testing.T, c client) {
	const path = "/v1/keyspaces/stars"
	const defaults = `{"name":"stars","ttl_ms":0,"conflict":"add-wins","cache":"",` +
		`"placement":"everywhere","partitions":64}` + "\n"
	c.refused(c.get(path), 404, atoll.UnknownKeyspace)
	c.want(c.put(path, `{}`), 201, defaults)
	c.want(c.get(path), 200, defaults)
	hour := strings.Replace(defaults, `"ttl_ms":0`, `"ttl_ms":3600000`, 1)
	c.want(c.put(path, `{"ttl_ms":3600000}`), 200, hour)
	got := c.want(c.get(path), 200, hour)
	c.want(c.put(path, string(got.body)), 200, hour)
	for body, kind := range map[string]atoll.Kind{
		`{"ttl":1}`: atoll.BadRequest, `{"TTL_MS":1}`: atoll.BadRequest,
		`{"ttl_ms":-1}`: atoll.BadRequest, `{"ttl_ms":1.5}`: atoll.BadRequest,
		`{"ttl_ms":"1"}`: atoll.BadRequest, `{"ttl_ms":999999999999999}`: atoll.BadRequest,
		`{"conflict":"mine"}`: atoll.BadRequest,
		`{"cache":"1h"}`:      atoll.BadRequest, `{"placement":"tokyo"}`: atoll.BadRequest,
		`{"partitions":128}`: atoll.BadRequest, `{"name":"other"}`: atoll.BadRequest,
		`[]`: atoll.BadRequest, `{`: atoll.BadJSON, ``: atoll.BadJSON, `{} {}`: atoll.BadJSON,
		`{"ttl_ms":1,"ttl_ms":2}`: atoll.DuplicateKey,
	} {
		c.refused(c.put(path, body), 400, kind)
	}
	c.refused(c.put(path, `{"name":"`+strings.Repeat("x", api.MaxSettings)+`"}`), 413, atoll.TooLarge)
	c.refused(c.put("/v1/keyspaces/_roster", `{}`), 400, atoll.BadRequest)
	wins := strings.Replace(defaults, "add-wins", "delete-wins", 1)
	c.want(c.put(path, `{"conflict":"delete-wins"}`), 200, wins)
	c.want(c.get(path), 200, wins)
	c.want(c.put(path, `{"ttl_ms":3600000}`), 200, hour)
	c.want(c.get(path), 200, hour)
}

func suiteSessions(t *testing.T, c client) {
	token := c.want(c.put(star, `{"v":1}`), 201).Header.Get("Atoll-Session")
	seen := c.want(c.get(star, "Atoll-Session", token), 200).Header.Get("Atoll-Session")
	if seen == "" || len(seen) > atoll.MaxToken {
		t.Errorf("session %q", seen)
	}
	page := c.want(c.get("/v1/docs/stars", "Atoll-Session", seen), 200).Header.Get("Atoll-Session")
	if page == "" || len(page) > atoll.MaxToken {
		t.Errorf("session of a page: %q", page)
	}
	c.want(c.get(star, "Atoll-Session", page), 200)
	c.want(c.put(star, `{"v":2}`, "Atoll-Session", seen), 204)
	c.refused(c.get(star, "Atoll-Session", strings.Repeat("x", atoll.MaxToken+1)), 400, atoll.BadRequest)
	c.refused(c.get(star, "Atoll-Session", token, "Atoll-Session", token), 400, atoll.BadRequest)
}

func suiteUnknown(t *testing.T, c client) {
	c.refused(c.get("/v1/docs/nowhere/x"), 404, atoll.UnknownKeyspace)
	c.refused(c.get("/v1/docs/nowhere"), 404, atoll.UnknownKeyspace)
	c.refused(c.get("/v1/docs/nowhere/_export"), 404, atoll.UnknownKeyspace)
	c.refused(c.do("POST", "/v1/regions/atlantis/drain", nil, ""), 404, atoll.UnknownRegion)
	c.refused(c.do("POST", "/v1/regions/atlantis/undrain", nil, ""), 404, atoll.UnknownRegion)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/docs", "//v1/cluster", "/v1/cluster/",
		"/v2/docs/stars/x", "/v1/./cluster", "/V1/cluster"} {
		c.refused(c.get(path), 404, atoll.NotFound)
	}
	r := c.do("POST", "/v1/docs/stars/x", nil, "{}")
	c.refused(r, 405, atoll.BadRequest)
	if allow := r.Header.Get("Allow"); allow != "GET, HEAD, PUT, PATCH, DELETE" {
		t.Errorf("Allow %q", allow)
	}
	c.refused(c.get("/v1/docs/stars/_import"), 405, atoll.BadRequest)
}

func jsonText(v any) []byte { return text(v) }
