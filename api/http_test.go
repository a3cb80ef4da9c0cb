package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/prometheus/client_golang/prometheus"
)

// record calls h without a network, from a loopback peer.
func record(h http.Handler, method, path string, hs headers, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:50000"
	for i := 0; i < len(hs); i += 2 {
		switch hs[i] {
		case "Host":
			r.Host = hs[i+1]
		case "Peer":
			r.RemoteAddr = hs[i+1]
		default:
			r.Header.Add(hs[i], hs[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// logs collects what is logged, as lines of JSON.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger(level slog.Level) func(*api.Config) {
	return func(c *api.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
	}
}

func digest(token string) string {
	d := sha256.Sum256([]byte(token))
	return hex.EncodeToString(d[:])
}

func withTokens(t *testing.T) func(*api.Config) {
	g, err := guard.New([]guard.Token{
		{Name: "shop", SHA256: digest("r"), Role: "reader"},
		{Name: "desk", SHA256: digest("w"), Role: "writer"},
		{Name: "ops", SHA256: digest("o"), Role: "operator"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *api.Config) { c.Guard = g }
}

// TestRoles asks every kind of call with every role.
func TestRoles(t *testing.T) {
	srv := newServer(t, newFake(), withTokens(t))
	calls := []struct {
		method, path string
		need         guard.Role
	}{
		{"GET", "/livez", guard.Anyone}, {"GET", "/readyz", guard.Anyone},
		{"GET", "/openapi.json", guard.Anyone},
		{"GET", "/metrics", guard.Reader}, {"GET", star, guard.Reader}, {"HEAD", star, guard.Reader},
		{"GET", "/v1/docs/stars", guard.Reader}, {"GET", "/v1/docs/stars/_export", guard.Reader},
		{"GET", "/v1/cluster", guard.Reader}, {"GET", "/v1/conflicts", guard.Reader},
		{"GET", "/v1/keyspaces/stars", guard.Reader}, {"GET", "/v1/explain/dns?name=x", guard.Reader},
		{"PUT", star, guard.Writer}, {"PATCH", star, guard.Writer}, {"DELETE", star, guard.Writer},
		{"POST", "/v1/docs/stars/_import", guard.Writer},
		{"PUT", "/v1/keyspaces/stars", guard.Operator},
		{"POST", "/v1/regions/tokyo/drain", guard.Operator},
		{"POST", "/v1/regions/tokyo/undrain", guard.Operator},
	}
	roles := map[string]guard.Role{"": guard.Anyone, "r": guard.Reader, "w": guard.Writer,
		"o": guard.Operator}
	for _, c := range calls {
		for token, has := range roles {
			h := headers{"Peer", "203.0.113.9:1234"}
			if token != "" {
				h = append(h, "Authorization", "Bearer "+token)
			}
			w := record(srv, c.method, c.path, h, "")
			refused := w.Code == 401 || w.Code == 403
			switch {
			case has >= c.need && refused, has < c.need && !refused,
				has == guard.Anyone && w.Code == 403, has > guard.Anyone && w.Code == 401:
				t.Errorf("%s %s as %v: %d %s", c.method, c.path, has, w.Code, w.Body)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") != `Bearer realm="atoll"` {
				t.Errorf("401 without WWW-Authenticate")
			}
		}
	}
	for _, auth := range []string{"Bearer x", "Basic r", "r"} {
		for _, path := range []string{star, "/livez", "/metrics"} {
			if w := record(srv, "GET", path, headers{"Authorization", auth}, ""); w.Code != 401 {
				t.Errorf("%s %s: %d", auth, path, w.Code)
			}
		}
	}
	// A collector on the same machine needs no token, one elsewhere does.
	if w := record(srv, "GET", "/metrics", nil, ""); w.Code != 200 {
		t.Errorf("metrics on loopback: %d", w.Code)
	}
}

func TestLoopbackIsOperatorWithoutTokens(t *testing.T) {
	srv := newServer(t, newFake())
	for peer, want := range map[string]int{
		"127.0.0.1:1": 201, "127.9.9.9:1": 201, "[::1]:1": 201, "[::ffff:127.0.0.1]:1": 201,
		"192.0.2.1:1": 401, "[2001:db8::1]:1": 401, "10.0.0.1:1": 401, "@": 401, "": 401,
	} {
		w := record(srv, "PUT", "/v1/keyspaces/k"+fmt.Sprint(len(peer)), headers{"Peer", peer}, "{}")
		if w.Code != want && !(want == 201 && w.Code == 200) {
			t.Errorf("%q: %d, want %d", peer, w.Code, want)
		}
	}
}

func TestSetGuard(t *testing.T) {
	srv := newServer(t, newFake())
	if w := record(srv, "GET", "/v1/cluster", nil, ""); w.Code != 200 {
		t.Fatal(w.Code)
	}
	var c api.Config
	withTokens(t)(&c)
	srv.SetGuard(c.Guard)
	if w := record(srv, "GET", "/v1/cluster", nil, ""); w.Code != 401 {
		t.Errorf("no token: %d", w.Code)
	}
	if w := record(srv, "GET", "/v1/cluster", headers{"Authorization", "Bearer r"}, ""); w.Code != 200 {
		t.Errorf("token: %d", w.Code)
	}
}

func TestHostAndOrigin(t *testing.T) {
	srv := newServer(t, newFake(), func(c *api.Config) { c.Hosts = []string{"*.atoll.test"} })
	for _, c := range []struct {
		name   string
		method string
		h      headers
		status int
	}{
		{"an address", "GET", headers{"Host", "127.0.1.1:8080"}, 200},
		{"a name of ours", "GET", headers{"Host", "tokyo.atoll.test:8080"}, 200},
		{"a name of theirs", "GET", headers{"Host", "evil.example:8080"}, 421},
		{"no name", "GET", headers{"Host", ""}, 421},
		{"rebinding", "POST", headers{"Host", "evil.example", "Origin", "http://evil.example"}, 421},
		{"a program", "POST", nil, 204},
		{"our own page", "POST", headers{"Origin", "http://localhost:8080"}, 204},
		{"our own page says so", "POST", headers{"Sec-Fetch-Site", "same-origin"}, 204},
		{"typed into the address bar", "POST", headers{"Sec-Fetch-Site", "none"}, 204},
		{"another page", "POST", headers{"Origin", "https://evil.example"}, 403},
		{"another port", "POST", headers{"Origin", "http://localhost:3000"}, 403},
		{"a sandbox", "POST", headers{"Origin", "null"}, 403},
		{"another site", "POST", headers{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a sister site", "POST", headers{"Sec-Fetch-Site", "same-site"}, 403},
		{"another page reads", "GET", headers{"Origin", "https://evil.example"}, 200},
	} {
		path := "/v1/cluster"
		if c.method == "POST" {
			path = "/v1/regions/tokyo/drain?force=1"
		}
		w := record(srv, c.method, path, c.h, "")
		if w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: readable by other pages", c.name)
		}
	}
	old := httptest.NewRequest("GET", "/livez", nil)
	old.Host, old.Proto, old.ProtoMajor, old.ProtoMinor = "", "HTTP/1.0", 1, 0
	w := httptest.NewRecorder()
	if srv.ServeHTTP(w, old); w.Code != 200 {
		t.Errorf("a probe without a Host: %d", w.Code)
	}
}

// TestAnsweredElsewhere: an answer names the node that gave it, which is told the
// trace that the client hears.
func TestAnsweredElsewhere(t *testing.T) {
	f := newFake()
	srv := newServer(t, f)
	if w := record(srv, "PUT", star, nil, "{}"); w.Code != 201 {
		t.Fatal(w.Code, w.Body)
	}
	var traces []string
	f.onRead = func(r atoll.Read) error { traces = append(traces, r.Trace.String()); return nil }
	f.onList = func(l atoll.Listing) error { traces = append(traces, l.Trace.String()); return nil }
	f.other = "tokyo/2"
	for _, path := range []string{star, "/v1/docs/stars"} {
		w := record(srv, "GET", path, nil, "")
		h := w.Header()
		if w.Code != 200 || h.Get("Atoll-Node") != "tokyo/2" || h.Get("Atoll-Region") != "tokyo" {
			t.Errorf("%s: %d of %q in %q", path, w.Code, h.Get("Atoll-Node"), h.Get("Atoll-Region"))
		}
		if len(traces) != 1 || traces[0] != h.Get("Traceparent") {
			t.Errorf("%s: the node was told %q, the client %q", path, traces, h.Get("Traceparent"))
		}
		traces = nil
	}
}

// TestWriteHeaders: what the headers say reaches the node, and nothing else.
func TestWriteHeaders(t *testing.T) {
	var got atoll.Write
	f := newFake()
	f.onWrite = func(_ context.Context, w atoll.Write) error { got = w; return nil }
	srv := newServer(t, f)
	h := headers{"Atoll-TTL", "30m", "Atoll-Durability", "regions:2", "Atoll-Timeout", "1s",
		"Atoll-Session", "v0", "If-None-Match", `"a", W/"b"`}
	if w := record(srv, "PUT", star, h, "{}"); w.Code != 201 {
		t.Fatal(w.Code, w.Body)
	}
	want := atoll.Write{Keyspace: "stars", Key: "hip/32349", Body: []byte("{}"),
		IfNoneMatch: []string{"a", "b"}, TTL: 30 * time.Minute, Level: atoll.Level{Regions: 2},
		Timeout: time.Second, Session: "v0"}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	record(srv, "PUT", star, headers{"If-Match", `W/"a","*", "c"`}, "{}")
	if fmt.Sprintf("%q", got.IfMatch) != `["\"a\"" "\"*\"" "c"]` || got.IfNoneMatch != nil {
		t.Errorf("If-Match became %q", got.IfMatch)
	}
	for name, bad := range map[string][]string{
		"Atoll-TTL":        {"0", "-1s", "30", "soon", "87600h1s", "1000000000000h"},
		"Atoll-Timeout":    {"0", "999us", "60001ms", "5"},
		"Atoll-Durability": {"none", "regions:0", "regions:", "regions:-1", "All", "regions:2 "},
		"Idempotency-Key":  {"x"},
	} {
		for _, v := range bad {
			if name == "Atoll-Durability" && strings.HasSuffix(v, " ") {
				continue // net/http trims it
			}
			w := record(srv, "PUT", star, headers{name, v}, "{}")
			if w.Code != 400 || !strings.Contains(w.Body.String(), "problem:bad-request") {
				t.Errorf("%s: %s: %d %s", name, v, w.Code, w.Body)
			}
		}
	}
	for _, ok := range []headers{{"Atoll-TTL", "87600h"}, {"Atoll-TTL", "1ns"}, {"Atoll-Timeout", "1ms"},
		{"Atoll-Timeout", "60s"}, {"Atoll-Durability", "all"}, {"Atoll-Durability", "local"}} {
		if w := record(srv, "PUT", star, ok, "{}"); w.Code/100 != 2 {
			t.Errorf("%v: %d %s", ok, w.Code, w.Body)
		}
	}
}

// TestDurabilityNotReached: the write is there, so the answer names its session.
func TestDurabilityNotReached(t *testing.T) {
	srv := newServer(t, halfWritten{newFake()})
	w := record(srv, "PUT", star, headers{"Atoll-Durability", "all"}, "{}")
	if w.Code != 503 || w.Header().Get("Atoll-Session") != "v9" || w.Header().Get("Retry-After") != "1" ||
		w.Header().Get("ETag") != "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

type halfWritten struct{ *fake }

func (halfWritten) Write(context.Context, atoll.Write) (atoll.Written, error) {
	return atoll.Written{Session: "v9", ETag: "e"}, atoll.Errorf(atoll.DurabilityNotReached, "1 of 3")
}

func TestTraceparent(t *testing.T) {
	srv := newServer(t, newFake())
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	seen := map[string]bool{}
	for _, c := range []struct {
		in        []string
		continued bool
	}{
		{[]string{"00-" + id + "-" + span + "-01"}, true},
		{[]string{"00-" + id + "-" + span + "-03"}, true},
		{[]string{"cc-" + id + "-" + span + "-01-what-the-future-brings"}, true},
		{[]string{"00-" + id + "-" + span + "-01-x"}, false},
		{[]string{"ff-" + id + "-" + span + "-01"}, false},
		{[]string{"garbage"}, false}, {nil, false},
		{[]string{"00-" + id + "-" + span + "-01", "00-" + id + "-" + span + "-01"}, false},
	} {
		var h headers
		for _, v := range c.in {
			h = append(h, "traceparent", v)
		}
		got := record(srv, "GET", "/livez", h, "").Header().Get("traceparent")
		parts := strings.Split(got, "-")
		if len(parts) != 4 || len(got) != 55 || (parts[1] == id) != c.continued || parts[2] == span ||
			seen[parts[2]] || c.continued != (parts[3] == "01") {
			t.Errorf("%v: got %s", c.in, got)
		}
		seen[parts[2]] = true
	}
}

func TestAnswersNameTheNode(t *testing.T) {
	srv := newServer(t, newFake())
	for _, path := range []string{"/livez", "/nothing", star, "/v1/docs/stars/%00", "/v1/cluster"} {
		h := record(srv, "GET", path, nil, "").Header()
		if h.Get("Atoll-Region") != "tokyo" || h.Get("Atoll-Node") != "tokyo/1" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func intoNilMap(m map[string]int) error { m["secret"] = 1; return nil }

// TestInternalErrors: whatever goes wrong inside, the client learns nothing of
// it but where to look, and the process lives.
func TestInternalErrors(t *testing.T) {
	for name, fail := range map[string]func() error{
		"an error":            func() error { return errors.New("secret") },
		"an internal error":   func() error { return atoll.Errorf(atoll.Internal, "secret") },
		"of no known kind":    func() error { return atoll.Errorf("novel", "secret") },
		"a panic":             func() error { panic("secret") },
		"a nil map":           func() error { return intoNilMap(nil) },
		"an error in between": func() error { return fmt.Errorf("reading: %w", io.ErrUnexpectedEOF) },
	} {
		t.Run(name, func(t *testing.T) {
			f, l := newFake(), &logs{}
			f.onRead = func(atoll.Read) error { return fail() }
			c := open(t, f, l.logger(slog.LevelInfo))
			p := c.refused(c.get(star), 500, atoll.Internal)
			if strings.Contains(p.Detail+p.Hint, "secret") || p.Trace == "" {
				t.Errorf("the client learns %+v", p)
			}
			if !strings.Contains(l.String(), p.Trace) || !strings.Contains(l.String(), `"level":"ERROR"`) {
				t.Errorf("the log has no error of trace %s: %s", p.Trace, l)
			}
			c.want(c.get("/livez"), 200)
		})
	}
}

// TestExportBreaksOff: half an export must not look like a whole one.
func TestExportBreaksOff(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		f := newFake()
		pages := 0
		f.onList = func(atoll.Listing) error {
			if pages++; pages > 1 {
				return atoll.Errorf(atoll.ShuttingDown, "going")
			}
			return nil
		}
		c := connect(t, serve(t, newServer(t, f)), http2)
		for i := range 300 {
			c.want(c.put(fmt.Sprintf("/v1/docs/x/%03d", i), "{}"), 201)
		}
		resp, err := c.http.Get(c.base + "/v1/docs/x/_export")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || bytes.Count(body, []byte("\n")) > 250 {
			t.Errorf("http2=%v: %d lines and %v", http2, bytes.Count(body, []byte("\n")), err)
		}
	}
}

// TestTooLargeIsNotRead: a client that announces too much is refused before it
// has sent it; one that does not announce it, once it has sent too much.
func TestTooLargeIsNotRead(t *testing.T) {
	addr := serve(t, newServer(t, newFake()))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", star, api.MaxDocument+1)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("got %v %v", resp, err)
	}
	resp.Body.Close()
	for _, http2 := range []bool{false, true} {
		c := connect(t, addr, http2)
		endless := io.LimitReader(zeros{}, api.MaxDocument+1)
		req, _ := http.NewRequest("PUT", c.base+star, io.NopCloser(endless))
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.http.Do(req)
		if err != nil || resp.StatusCode != 413 {
			t.Fatalf("http2=%v: got %v %v", http2, resp, err)
		}
		resp.Body.Close()
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// TestBrokenBody: a client that goes away in the middle of its document has
// written nothing.
func TestBrokenBody(t *testing.T) {
	f := newFake()
	f.onWrite = func(_ context.Context, w atoll.Write) error {
		t.Errorf("written: %q", w.Body)
		return nil
	}
	addr := serve(t, newServer(t, f))
	for _, body := range []string{
		"Content-Length: 100\r\n\r\n{\"a\":1}",
		"Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\n%s", star, body)
		conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != 400 {
			t.Errorf("%q: %v %v", body, resp, err)
		}
		conn.Close()
	}
}

func TestReadyAndLive(t *testing.T) {
	f := newFake()
	c := open(t, f)
	c.want(c.get("/livez"), 200, `{"live":true}`+"\n")
	c.want(c.get("/readyz"), 200, `{"ready":true,"reasons":[]}`+"\n")
	f.mu.Lock()
	f.reasons = []string{"joining", "disk below its reserve"}
	f.mu.Unlock()
	r := c.want(c.get("/readyz"), 503, `{"ready":false,"reasons":["joining","disk below its reserve"]}`+"\n")
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", r.Header)
	}
	c.want(c.get("/livez"), 200)
}

func TestMetricsAndAccessLog(t *testing.T) {
	l := &logs{}
	reg := prometheus.NewRegistry()
	c := open(t, newFake(), withTokens(t), l.logger(slog.LevelDebug),
		func(c *api.Config) { c.Metrics = reg })
	auth := []string{"Authorization", "Bearer w"}
	c.want(c.put(star, "{}", auth...), 201)
	c.want(c.put(star, "{}", auth...), 204)
	r := c.get("/v1/docs/stars/none", auth...)
	c.refused(r, 404, atoll.NotFound)
	c.refused(c.get("/secret/path"), 404, atoll.NotFound)
	c.refused(c.do("BREW", star, nil, ""), 405, atoll.BadRequest)
	text := string(c.want(c.get("/metrics"), 200).body)
	const key = `route="/v1/docs/{keyspace}/{key...}"`
	for _, line := range []string{
		`atoll_http_requests_total{code="201",method="PUT",` + key + `} 1`,
		`atoll_http_requests_total{code="204",method="PUT",` + key + `} 1`,
		`atoll_http_requests_total{code="404",method="GET",` + key + `} 1`,
		`atoll_http_requests_total{code="404",method="GET",route="none"} 1`,
		`atoll_http_requests_total{code="405",method="other",` + key + `} 1`,
		`atoll_http_request_duration_seconds_count{method="PUT",` + key + `} 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("a path of a client is a label")
	}
	trace := strings.Split(r.Header.Get("Traceparent"), "-")[1]
	var entry struct {
		Level, Msg, Method, Path, Principal, Trace string
		Status                                     int
	}
	found := false
	for line := range strings.Lines(l.String()) {
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "request" && entry.Trace == trace {
			found = true
			if entry.Level != "INFO" || entry.Principal != "desk" || entry.Status != 404 ||
				entry.Path != "/v1/docs/stars/none" {
				t.Errorf("entry %+v", entry)
			}
		}
	}
	if !found || strings.Contains(l.String(), "Bearer") {
		t.Errorf("log %s", l)
	}
	if _, err := api.New(api.Config{Node: newFake(), Guard: openGuard(t), Metrics: reg}); err == nil {
		t.Error("metrics registered twice")
	}
}

func TestNewRefuses(t *testing.T) {
	f, g := newFake(), openGuard(t)
	mount := func(prefix string) []api.Mount {
		return []api.Mount{{Prefix: prefix, Handler: http.NotFoundHandler()}}
	}
	for name, c := range map[string]api.Config{
		"no node":      {Guard: g},
		"no guard":     {Node: f},
		"a bad host":   {Node: f, Guard: g, Hosts: []string{"http://x"}},
		"a bad mount":  {Node: f, Guard: g, Mounts: mount("console/")},
		"an open end":  {Node: f, Guard: g, Mounts: mount("/console")},
		"an empty one": {Node: f, Guard: g, Mounts: []api.Mount{{Prefix: "/console/"}}},
	} {
		if _, err := api.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMount(t *testing.T) {
	var who guard.Principal
	var trace string
	srv := newServer(t, newFake(), withTokens(t), func(c *api.Config) {
		c.Mounts = []api.Mount{{
			Prefix: "/v1/media/", Read: guard.Reader, Write: guard.Writer,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				who, trace = api.PrincipalOf(r.Context()), api.TraceOf(r.Context())
				if r.URL.Path == "/v1/media/panic" {
					panic("secret")
				}
				w.Write([]byte(r.URL.EscapedPath()))
				w.(http.Flusher).Flush()
			}),
		}}
	})
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/v1/media/a//b", "r", 200}, {"GET", "/v1/media/a", "", 401},
		{"PUT", "/v1/media/a", "r", 403}, {"PUT", "/v1/media/a", "w", 200},
		{"GET", "/v1/media/panic", "r", 500}, {"PUT", "/v1/media", "w", 404},
		{"GET", "/v1/media", "", 307}, {"HEAD", "/v1/media?a=b", "", 307},
	} {
		var h headers
		if c.token != "" {
			h = headers{"Authorization", "Bearer " + c.token}
		}
		w := record(srv, c.method, c.path, h, "")
		if w.Code != c.status {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
		if to := w.Header().Get("Location"); w.Code == 307 && to != strings.Replace(c.path, "media", "media/", 1) {
			t.Errorf("%+v leads to %s", c, to)
		}
		if w.Code == 200 && (w.Body.String() != c.path || trace != w.Header().Get("Traceparent")) {
			t.Errorf("%+v: %s, trace %s", c, w.Body, trace)
		}
	}
	if who.Name == "" || api.PrincipalOf(t.Context()) != (guard.Principal{}) || api.TraceOf(t.Context()) != "" {
		t.Errorf("principal %+v", who)
	}
}
