package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

// pipes is a listener in memory: with it a server and its slow clients live in
// virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return loopbackAddr{} }

type loopbackAddr struct{}

func (loopbackAddr) Network() string { return "pipe" }
func (loopbackAddr) String() string  { return "127.0.0.1:1" }

type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return loopbackAddr{} }

// slowly runs f in virtual time with a connection to a server over n.
func slowly(
	t *testing.T, n api.Node, f func(t *testing.T, conn net.Conn), change ...func(*api.Config),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		srv := api.NewHTTPServer(newServer(t, n, change...), slog.New(slog.DiscardHandler))
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		here, there := net.Pipe()
		l.conns <- pipeConn{there}
		f(t, here)
		here.Close()
		srv.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}

// answerAfter reads an answer and checks how long it took.
func answerAfter(t *testing.T, conn net.Conn, want time.Duration) (*http.Response, string) {
	t.Helper()
	start := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took != want {
		t.Errorf("answered after %v, want %v", took, want)
	}
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

func TestSlowHeader(t *testing.T) {
	slowly(t, newFake(), func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: loc")
		start := time.Now()
		// net/http says nothing or 408, and closes.
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < api.HeaderTimeout || took > api.HeaderTimeout+time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestSlowBody(t *testing.T) {
	f := newFake()
	f.onWrite = func(_ context.Context, w atoll.Write) error {
		t.Errorf("half a document was written: %q", w.Body)
		return nil
	}
	slowly(t, f, func(t *testing.T, conn net.Conn) {
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", star)
		resp, body := answerAfter(t, conn, api.BodyTimeout)
		if resp.StatusCode != 408 || !strings.Contains(body, `"value":30`) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

// TestSlowBodyThatIsRefused: a client that is told no before its body is there
// does not keep the connection by never sending it.
func TestSlowBodyThatIsRefused(t *testing.T) {
	slowly(t, newFake(), func(t *testing.T, conn net.Conn) {
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"+
			"Content-Length: 100\r\n\r\n{", star)
		start := time.Now()
		all, err := io.ReadAll(conn)
		if took := time.Since(start); took > api.BodyTimeout+5*time.Second {
			t.Errorf("closed after %v", took)
		}
		if !strings.HasPrefix(string(all), "HTTP/1.1 415") {
			t.Errorf("%q %v", all, err)
		}
	})
}

// TestSlowNode: a write may wait longer than its body was allowed to.
func TestSlowNode(t *testing.T) {
	f := newFake()
	f.onWrite = func(ctx context.Context, _ atoll.Write) error {
		time.Sleep(api.MaxTimeout) // virtual
		return ctx.Err()
	}
	slowly(t, f, func(t *testing.T, conn net.Conn) {
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nAtoll-Timeout: 60s\r\n"+
			"Content-Length: 2\r\n\r\n{}", star)
		if resp, body := answerAfter(t, conn, api.MaxTimeout); resp.StatusCode != 201 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

// TestSlowImport: it may take for ever while it keeps coming, and is ended with
// a line that says so when it does not. What came is in.
func TestSlowImport(t *testing.T) {
	f := newFake()
	slowly(t, f, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, "POST /v1/docs/x/_import?key=k HTTP/1.1\r\nHost: localhost\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n")
		start := time.Now()
		answered := make(chan string)
		go func() {
			all, _ := io.ReadAll(conn)
			answered <- string(all)
		}()
		for i := range 10 {
			line := fmt.Sprintf(`{"k":"%d"}`+"\n", i)
			fmt.Fprintf(conn, "%x\r\n%s\r\n", len(line), line)
			time.Sleep(api.ImportStall - time.Second) // virtual
		}
		all := <-answered
		if !strings.HasPrefix(all, "HTTP/1.1 200") ||
			!strings.Contains(all, `{"imported":10,"failed":0,"done":true`) ||
			!strings.Contains(all, `"status":408`) {
			t.Errorf("got %q", all)
		}
		want := 9*(api.ImportStall-time.Second) + api.ImportStall
		if took := time.Since(start); took < want || took > want+api.BodyTimeout+time.Second {
			t.Errorf("ended after %v, want %v", took, want)
		}
	})
}

// TestSlowReader: a client that takes nothing of an export is let go.
func TestSlowReader(t *testing.T) {
	f := newFake()
	for i := range 1000 {
		if _, err := f.Write(t.Context(), atoll.Write{Keyspace: "x", Key: atoll.Key(fmt.Sprint(i)),
			Body: []byte(`"` + strings.Repeat("x", 1000) + `"`)}); err != nil {
			t.Fatal(err)
		}
	}
	var pages atomic.Int32
	f.onList = func(atoll.Listing) error { pages.Add(1); return nil }
	slowly(t, f, func(t *testing.T, conn net.Conn) {
		io.WriteString(conn, "GET /v1/docs/x/_export HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(api.WriteStall + time.Second) // virtual
		if n := pages.Load(); n != 1 {
			t.Errorf("%d pages were read for nobody", n)
		}
		all, _ := io.ReadAll(conn) // closed: the answer ends here
		if strings.Count(string(all), "\n") > 300 {
			t.Errorf("%d lines after all", strings.Count(string(all), "\n"))
		}
	})
}
