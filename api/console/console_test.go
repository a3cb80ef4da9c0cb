package console_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/console"
	"github.com/atolledge/atoll/api/guard"
)

// sea is a node that knows two regions; what it is not asked it has not.
type sea struct {
	api.Node
	mu      sync.Mutex
	reasons []string
	looks   int
}

func (*sea) Self() atoll.NodeID { return "tokyo/1" }

func (s *sea) Ready() []string { return s.reasons }

func (*sea) Conflicts() []atoll.Conflicted {
	return []atoll.Conflicted{{Keyspace: "notes", Key: "a", At: time.Unix(5, 0)}}
}

func (s *sea) Cluster() atoll.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return atoll.Cluster{
		Name: "lagoon", Self: "tokyo/1",
		Clocks: map[atoll.Keyspace]map[atoll.Origin]uint64{"_roster": nil, "stars": nil, "notes": {1: 3, 2: 4}},
		Regions: []atoll.RegionView{
			{Name: "frankfurt", Lat: 50, Lon: 8, State: atoll.StateUp,
				Votes:     []atoll.Vote{{Voter: "tokyo", Up: true, Age: time.Second}},
				Addresses: []string{"192.0.2.1", "2001:db8::1", "'unsafe-eval'"},
				Nodes: []atoll.NodeView{{ID: "frankfurt/1", State: atoll.StateUp,
					RTT: 229 * time.Millisecond, Behind: atoll.Behind{Dots: 3, Lag: time.Minute}}}},
			{Name: "tokyo", Lat: 35, Lon: 139, State: atoll.StateUp,
				Nodes: []atoll.NodeView{{ID: "tokyo/1", State: atoll.StateUp}}},
		},
	}
}

func digest(token string) string {
	d := sha256.Sum256([]byte(token))
	return hex.EncodeToString(d[:])
}

// serve is an api.Server with a console, behind tokens if there are any.
func serve(t *testing.T, n *sea, c console.Config, tokens ...guard.Token) (
	*api.Server, *console.Console,
) {
	t.Helper()
	g, err := guard.New(tokens)
	if err != nil {
		t.Fatal(err)
	}
	c.Node, c.Now = n, time.Now
	page, err := console.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.New(api.Config{Node: n, Guard: g, Mounts: []api.Mount{page.Mount()}})
	if err != nil {
		t.Fatal(err)
	}
	return s, page
}

func ask(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	r.RemoteAddr = "127.0.0.1:999"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestFiles(t *testing.T) {
	s, _ := serve(t, &sea{}, console.Config{}, guard.Token{Name: "a", SHA256: digest("x"), Role: "reader"})
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/console/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/console/", 200, "text/html; charset=utf-8"},
		{"GET", "/console/main.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/console/console.css", 200, "text/css; charset=utf-8"},
		{"GET", "/console/icon.svg", 200, "image/svg+xml"},
		{"GET", "/console/nothing.js", 404, "application/problem+json"},
		{"GET", "/console/../atoll.go", 404, "application/problem+json"},
		{"GET", "/console/static/main.js", 404, "application/problem+json"},
		{"GET", "/console/%2e%2e/main.js", 404, "application/problem+json"},
		{"GET", "/console/events", 401, "application/problem+json"},
		{"HEAD", "/console/events", 401, "application/problem+json"},
		{"POST", "/console/", 401, "application/problem+json"},
	} {
		r := ask(s, c.method, c.path)
		if r.StatusCode != c.status || r.Header.Get("Content-Type") != c.kind {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, r.StatusCode,
				r.Header.Get("Content-Type"), c.status, c.kind)
		}
	}
}

func TestFilesAreAskedForAgain(t *testing.T) {
	s, _ := serve(t, &sea{}, console.Config{})
	first := ask(s, "GET", "/console/main.js")
	tag := first.Header.Get("ETag")
	if again := ask(s, "GET", "/console/main.js", "If-None-Match", tag); again.StatusCode != 304 {
		t.Errorf("the same file: %d", again.StatusCode)
	}
	other := ask(s, "GET", "/console/dom.js", "If-None-Match", tag)
	if other.StatusCode != 200 || other.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("another file: %d %v", other.StatusCode, other.Header)
	}
	if r := ask(s, "POST", "/console/"); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", r.StatusCode, r.Header.Get("Allow"))
	}
}

func TestPolicy(t *testing.T) {
	dev := func() console.Dev {
		return console.Dev{Nodes: []console.DevNode{{ID: "a/1", URL: "http://127.0.1.1:8080"}}}
	}
	for _, c := range []struct {
		name string
		cfg  console.Config
		want string
	}{
		{"addresses, but words and IPv6", console.Config{}, "connect-src 'self' http://192.0.2.1:8080;"},
		{"dev world", console.Config{Dev: dev}, "connect-src 'self' http://127.0.1.1:8080;"},
	} {
		s, _ := serve(t, &sea{}, c.cfg)
		got := ask(s, "GET", "/console/").Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(got, "default-src 'self'; "+c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// The page may name nothing outside of its own folder and the API, but the
// credit that a licence asks for.
func TestNothingFromElsewhere(t *testing.T) {
	s, _ := serve(t, &sea{}, console.Config{})
	outside := regexp.MustCompile(`(https?:)?//[a-zA-Z0-9][^\s"'` + "`" + `]*`)
	used := regexp.MustCompile(`(?:from|src=|href=)\s*"([^"#]+)"`)
	todo, seen := []string{""}, map[string]bool{"": true}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if strings.HasPrefix(name, "/") {
			continue // the API's
		}
		r := ask(s, "GET", "/console/"+name)
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != 200 {
			t.Fatalf("%q is used and is not there", name)
		}
		for _, u := range outside.FindAllString(string(body), -1) {
			if u != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, u)
			}
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("} {
			if strings.Contains(string(body), bad) {
				t.Errorf("%s uses %s: text of a document could become markup", name, bad)
			}
		}
		for _, m := range used.FindAllStringSubmatch(string(body), -1) {
			if next := strings.TrimPrefix(m[1], "./"); !seen[next] {
				seen[next] = true
				todo = append(todo, next)
			}
		}
	}
	if len(seen) < 12 {
		t.Errorf("the walk over the page's files found only %v", seen)
	}
}

// reader takes a stream apart; it fails the test on anything but whole events.
type reader struct {
	t    *testing.T
	in   *bufio.Reader
	stop func() // the client leaves
}

// pipe is a ResponseWriter whose body is read while it is written.
type pipe struct {
	header http.Header
	w      *io.PipeWriter
}

func (p *pipe) Header() http.Header              { return p.header }
func (p *pipe) Write(b []byte) (int, error)      { return p.w.Write(b) }
func (p *pipe) WriteHeader(int)                  {}
func (p *pipe) Flush()                           {}
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }

// open begins a stream.
func open(t *testing.T, h http.Handler, header ...string) *reader {
	ctx, stop := context.WithCancel(t.Context())
	in, out := io.Pipe()
	r := httptest.NewRequest("GET", "http://127.0.0.1/console/events", nil).WithContext(ctx)
	r.RemoteAddr = "127.0.0.1:999"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	x := &reader{t, bufio.NewReader(in), func() { stop(); _ = in.Close() }}
	go func() {
		h.ServeHTTP(&pipe{header: http.Header{}, w: out}, r)
		_ = out.Close()
	}()
	return x
}

// next returns the name and the data of an event; "" at the end.
func (r *reader) next() (name string, data map[string]any) {
	r.t.Helper()
	first, err := r.in.ReadString('\n')
	if err != nil {
		return "", nil
	}
	second, _ := r.in.ReadString('\n')
	empty, _ := r.in.ReadString('\n')
	name, ok1 := strings.CutPrefix(first, "event: ")
	body, ok2 := strings.CutPrefix(second, "data: ")
	if !ok1 || !ok2 || empty != "\n" {
		r.t.Fatalf("no event: %q %q %q", first, second, empty)
	}
	if err := json.Unmarshal([]byte(body), &data); err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(name), data
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_http_requests_total"},
			[]string{"route", "method", "code"})
		registry := prometheus.NewRegistry()
		registry.MustRegister(reads)
		n := &sea{}
		s, page := serve(t, n, console.Config{
			Names: []string{"www.lagoon.test"}, Version: "v9",
			Sources: func() []console.Source {
				return []console.Source{{Node: "tokyo/1", View: n.Cluster, Metrics: registry}}
			},
		})
		r := open(t, s)
		name, hello := r.next()
		if name != "hello" || hello["role"] != "operator" || hello["version"] != "v9" ||
			hello["names"].([]any)[0] != "www.lagoon.test" || hello["dev"] != false {
			t.Fatalf("%s %v", name, hello)
		}
		begun := time.Now()
		if name, x := r.next(); name != "snapshot" || x["cluster"] != "lagoon" || x["node"] != "tokyo/1" {
			t.Fatalf("%s %v", name, x)
		}
		synctest.Wait()
		reads.WithLabelValues("/v1/docs/{keyspace}/{key...}", "GET", "200").Add(40)
		reads.WithLabelValues("/v1/cluster", "GET", "500").Add(10)
		_, x := r.next()
		if took := time.Since(begun); took != console.Period {
			t.Errorf("the second snapshot came after %v", took)
		}
		check(t, x)
		page.Close()
		if name, _ := r.next(); name != "" {
			t.Errorf("%s after Close", name)
		}
	})
}

// check looks at the second snapshot of TestStream.
func check(t *testing.T, x map[string]any) {
	t.Helper()
	for _, c := range []struct{ path, want string }{
		{"keyspaces", `[{"changes":7,"name":"notes"},{"changes":0,"name":"stars"}]`},
		{"conflicts", `{"count":1,"newest":"1970-01-01T00:00:05Z"}`},
		{"links", `[{"a":"frankfurt","b":"tokyo","rtt_ms":229,"state":"up",` +
			`"to_a":{"dots":3,"known":true,"lag_ms":60000},"to_b":{"dots":0,"known":false,"lag_ms":0}}]`},
	} {
		if got, _ := json.Marshal(x[c.path]); string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	tokyo := x["regions"].([]any)[1].(map[string]any)["nodes"].([]any)[0].(map[string]any)
	if got, _ := json.Marshal(tokyo["rates"]); string(got) !=
		`{"applied":0,"dns":0,"failed":10,"reads":40,"writes":0}` {
		t.Errorf("rates of tokyo/1: %s", got)
	}
	frankfurt := x["regions"].([]any)[0].(map[string]any)["nodes"].([]any)[0].(map[string]any)
	if frankfurt["rates"] != nil || frankfurt["dots"] != 3.0 || frankfurt["lag_ms"] != 60000.0 {
		t.Errorf("frankfurt/1: %v", frankfurt)
	}
}

// Many pages cost what one does, and there is a limit to them.
func TestStreamsShareAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &sea{}
		s, _ := serve(t, n, console.Config{})
		var all []*reader
		for range console.MaxStreams {
			r := open(t, s)
			r.next()
			r.next()
			all = append(all, r)
		}
		if n.looks != 1 {
			t.Errorf("%d looks at the cluster for %d streams", n.looks, len(all))
		}
		if r := ask(s, "GET", "/console/events"); r.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one stream more than %d: %d", console.MaxStreams, r.StatusCode)
		}
		all[0].stop()
		synctest.Wait()
		r := open(t, s)
		if name, _ := r.next(); name != "hello" {
			t.Error("a place that was left is not free")
		}
		for _, x := range append(all, r) {
			x.stop()
		}
		synctest.Wait()
	})
}

// A stream does not outlive its right to be: a page asks again now and then.
func TestStreamAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serve(t, &sea{}, console.Config{})
		r, begun, last := open(t, s), time.Now(), ""
		for name, _ := r.next(); name != ""; name, _ = r.next() {
			last = name
		}
		if age := time.Since(begun); age != console.StreamAge || last != "snapshot" {
			t.Errorf("it ended after %v with %q", age, last)
		}
	})
}

func TestRoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, page := serve(t, &sea{}, console.Config{},
			guard.Token{Name: "desk", SHA256: digest("r"), Role: "reader"})
		defer page.Close()
		r := open(t, s, "Authorization", "Bearer r")
		if _, hello := r.next(); hello["principal"] != "desk" || hello["role"] != "reader" {
			t.Errorf("%v", hello)
		}
		r.stop()
		if x := ask(s, "GET", "/console/events", "Authorization", "Bearer w"); x.StatusCode != 401 {
			t.Errorf("a wrong token: %d", x.StatusCode)
		}
		synctest.Wait()
	})
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []console.Config{{}, {Node: &sea{}}, {Now: time.Now}} {
		if _, err := console.New(c); err == nil {
			t.Errorf("%+v makes a console", c)
		}
	}
}
