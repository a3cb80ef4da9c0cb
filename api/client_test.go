package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
)

// client sends requests to one server and fails the test when none is answered.
type client struct {
	t    *testing.T
	base string // http://host:port
	http *http.Client
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body []byte
}

// headers is a request's, in pairs of name and value.
type headers []string

func (c client) do(method, path string, h headers, body string) reply {
	c.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, c.base+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(h); i += 2 {
		if h[i] == "Host" {
			req.Host = h[i+1]
			continue
		}
		req.Header.Add(h[i], h[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{resp, got}
}

func (c client) get(path string, h ...string) reply { return c.do("GET", path, h, "") }

func (c client) put(path, body string, h ...string) reply {
	return c.do("PUT", path, append(h, "Content-Type", "application/json"), body)
}

// want fails unless the answer has the status and, if one is given, the body.
func (c client) want(r reply, status int, body ...string) reply {
	c.t.Helper()
	if r.StatusCode != status {
		c.t.Fatalf("%s %s: got %d %s, want %d", r.Request.Method, r.Request.URL, r.StatusCode,
			r.body, status)
	}
	if len(body) > 0 && string(r.body) != body[0] {
		c.t.Fatalf("%s %s: got %s, want %s", r.Request.Method, r.Request.URL, r.body, body[0])
	}
	return r
}

// problemBody is what a client knows of RFC 9457.
type problemBody struct {
	Type, Title, Detail, Hint, Trace string
	Status                           int
	Limit                            *struct {
		Name  string
		Value int64
	}
}

// refused fails unless the answer is a whole problem of this kind.
func (c client) refused(r reply, status int, kind atoll.Kind) problemBody {
	c.t.Helper()
	c.want(r, status)
	var p problemBody
	if err := json.Unmarshal(r.body, &p); err != nil {
		c.t.Fatalf("not a problem: %q: %v", r.body, err)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		c.t.Errorf("Content-Type %q", ct)
	}
	if p.Type != "urn:atoll:problem:"+string(kind) || p.Status != status || p.Title == "" ||
		p.Detail == "" {
		c.t.Errorf("got %s, want kind %s", r.body, kind)
	}
	if trace := strings.Split(r.Header.Get("Traceparent"), "-"); len(trace) != 4 || trace[1] != p.Trace {
		c.t.Errorf("trace %q beside traceparent %v", p.Trace, trace)
	}
	return p
}

// decodeInto fails unless the body is JSON of v's type.
func (c client) decodeInto(r reply, v any) {
	c.t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		c.t.Fatalf("%s: %v", r.body, err)
	}
}

// serve starts a Server on loopback and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := api.NewHTTPServer(h, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); err != http.ErrServerClosed {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l.Addr().String()
}

// connect returns a client of HTTP/1.1 or of HTTP/2 without TLS.
func connect(t *testing.T, addr string, http2 bool) client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetUnencryptedHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return client{t, "http://" + addr, &http.Client{Transport: tr}}
}

func openGuard(t *testing.T) *guard.Guard {
	t.Helper()
	g, err := guard.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// newServer makes a Server over n; change may set more of its Config.
func newServer(t *testing.T, n api.Node, change ...func(*api.Config)) *api.Server {
	t.Helper()
	c := api.Config{Node: n, Guard: openGuard(t)}
	for _, f := range change {
		f(&c)
	}
	s, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open returns an HTTP/1.1 client of a new Server over n.
func open(t *testing.T, n api.Node, change ...func(*api.Config)) client {
	t.Helper()
	return connect(t, serve(t, newServer(t, n, change...)), false)
}
