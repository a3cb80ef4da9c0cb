package transport

import (
	"context"
	"crypto/tls"
	"io"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
)

// echo answers calls with what was asked, when gate lets it.
func echo(gate chan struct{}) func(*Config, *island) {
	return func(c *Config, _ *island) {
		c.Handler.Call = func(ctx context.Context, _ atoll.NodeID, q []byte, w *PullWriter) error {
			select {
			case <-gate:
			case <-ctx.Done():
			}
			return w.Frame(50, q)
		}
	}
}

// call asks once and wants the answer.
func (i *island) call(to atoll.NodeID) {
	i.t.Helper()
	p, err := i.OpenCall(i.t.Context(), to, []byte("q"))
	if err != nil {
		i.t.Error(err)
		return
	}
	if got, err := collect(p); err != io.EOF || len(got) != 1 || got[0] != "50:q" {
		i.t.Errorf("%q %v", got, err)
	}
}

// opened is how many connections for calls i has to a node.
func (i *island) opened(to atoll.NodeID) int {
	l := i.linkTo(to)
	if l == nil {
		return 0
	}
	l.bulk.mu.Lock()
	defer l.bulk.mu.Unlock()
	return len(l.bulk.conns)
}

// Calls to another region spread over more connections while they are many, and
// never more than the limit; within a region there is one.
func TestCallsHaveConnectionsOfTheirOwn(t *testing.T) {
	for to, want := range map[atoll.NodeID]int{"frankfurt/1": bulkConns, "washington/2": 0} {
		sea := newSea(t)
		gate := make(chan struct{})
		w, f := sea.start("washington/1"), sea.start(to, echo(gate))
		w.meets(f)
		var calls sync.WaitGroup
		many := func(n int) {
			for range n {
				calls.Go(func() { w.call(to) })
			}
		}
		many(3 * bulkConns)
		for n := 1; n <= want; n++ {
			until(t, "one more", func() bool { return w.opened(to) >= n })
			many(2) // one finds it idle, the other finds all busy and lets one more be dialed
		}
		close(gate)
		calls.Wait()
		if n := w.opened(to); n != want {
			t.Errorf("%d connections to %s, want %d", n, to, want)
		}
		if n := len(w.Peers()); n != 1 {
			t.Errorf("%d peers", n)
		}
		f.Close()
		until(t, "all gone with the link", func() bool { return w.opened(to) == 0 && len(w.Peers()) == 0 })
	}
}

// A connection for calls that is lost is replaced, and nobody notices.
func TestCallsOutliveTheirConnections(t *testing.T) {
	sea := newSea(t)
	gate := make(chan struct{})
	close(gate)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1", echo(gate))
	w.meets(f)
	for range 3 {
		until(t, "a connection", func() bool { w.call("frankfurt/1"); return w.opened("frankfurt/1") > 0 })
		l := w.linkTo("frankfurt/1")
		l.bulk.mu.Lock()
		for _, c := range l.bulk.conns {
			_ = c.conn.CloseWithError(codeShutdown, "")
		}
		l.bulk.mu.Unlock()
		w.call("frankfurt/1")
	}
}

// Whoever has said no HELLO makes no calls, and a connection for calls takes
// nothing else.
func TestStrangersMakeNoCalls(t *testing.T) {
	sea := newSea(t)
	f := sea.start("frankfurt/1")
	dial := func() *quic.Conn {
		cert := sea.issue("washington/1")
		conn, err := quic.DialAddr(t.Context(), f.addr, &tls.Config{
			Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{alpnBulk},
		}, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	<-dial().Context().Done()
	if n := f.count("refused_total", string(reasonHello)); n != 1 {
		t.Errorf("%v strangers counted", n)
	}
	w := sea.start("washington/1")
	w.meets(f)
	conn := dial()
	for _, kind := range []byte{kindHello, kindPull, kindGossip, 99} {
		stream, err := conn.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write([]byte{kind}); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(stream); err == nil {
			t.Errorf("kind %d: %q", kind, b)
		}
	}
	if n := f.count("refused_total", string(reasonStream)); n != 4 {
		t.Errorf("%v streams refused, want 4", n)
	}
	for range bulkConns + 1 {
		conn = dial()
	}
	<-conn.Context().Done()
	if n := f.count("refused_total", string(reasonBusy)); n < 1 {
		t.Errorf("%v connections over the limit counted", n)
	}
}
