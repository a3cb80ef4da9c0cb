package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// alpnBulk is the protocol of connections that carry calls only: bidi streams of
// kind 6. There is no HELLO on them, the node has said it on its link.
const alpnBulk = "atoll-calls/1"

const (
	// bulkConns is how many such connections a node opens to another. QUIC halves
	// a connection's window when a packet is lost, whatever the link could carry:
	// with one loss in 2,000 one connection brings 0.8 MB/s over 142 ms.
	bulkConns = 8

	bulkIdle  = 15 * time.Second // without a call; then it is closed
	bulkRetry = 30 * time.Second // after a dial that failed: an older peer, perhaps
)

// bulk are the connections for calls beside a link, to the same node. Those that
// this node opened carry its calls, those of the peer the peer's. They come one
// by one while all that there are have calls under way, and end with the link.
type bulk struct {
	mu      sync.Mutex
	conns   []*bulkConn
	dialing bool
	retry   time.Time // no dial before
	taken   int       // connections of the peer
}

type bulkConn struct {
	conn  *quic.Conn
	calls int       // under way
	since time.Time // when the last of them ended
}

// forCall returns the connection for a call, and what is to be called at its end.
// A link within a region carries calls itself: there it is not the loss that
// limits it.
func (l *link) forCall() (*quic.Conn, func()) {
	if l.peer.Region == l.t.cfg.Hello.Region {
		return l.conn, func() {}
	}
	b := &l.bulk
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = slices.DeleteFunc(b.conns, func(c *bulkConn) bool { return c.conn.Context().Err() != nil })
	var best *bulkConn
	for _, c := range b.conns {
		if best == nil || c.calls < best.calls {
			best = c
		}
	}
	if (best == nil || best.calls > 0) && len(b.conns) < bulkConns && !b.dialing &&
		time.Now().After(b.retry) {
		b.dialing = l.t.spawn(l.widen)
	}
	if best == nil {
		return l.conn, func() {}
	}
	best.calls++
	return best.conn, sync.OnceFunc(func() { b.release(best) })
}

func (b *bulk) release(c *bulkConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.calls--; c.calls > 0 {
		return
	}
	c.since = time.Now()
	time.AfterFunc(bulkIdle, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if c.calls == 0 && time.Since(c.since) >= bulkIdle {
			b.conns = slices.DeleteFunc(b.conns, func(o *bulkConn) bool { return o == c })
			_ = c.conn.CloseWithError(codeUnwanted, "idle")
		}
	})
}

// widen opens one more connection.
func (l *link) widen() {
	conn, err := l.dialBulk()
	b := &l.bulk
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dialing = false; err != nil {
		b.retry = time.Now().Add(bulkRetry)
		l.t.cfg.Logger.Debug("no connection for calls", "node", l.peer.Node, "err", err)
		return
	}
	b.conns = append(b.conns, &bulkConn{conn: conn})
}

func (l *link) dialBulk() (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(l.conn.Context(), dialTimeout)
	defer cancel()
	addr := l.conn.RemoteAddr()
	trust := l.t.clientTLS(addr)
	trust.NextProtos = []string{alpnBulk}
	conn, err := l.t.quic.Dial(ctx, addr, trust, quicConfig())
	if err != nil {
		return nil, err
	}
	if id, err := identityOf(conn); err != nil || id.Node != l.peer.Node {
		_ = conn.CloseWithError(codeRefused, "")
		return nil, fmt.Errorf("%s answers as %s: %w", addr, id.Node, err)
	}
	context.AfterFunc(l.conn.Context(), func() { _ = conn.CloseWithError(codeShutdown, "") })
	return conn, nil
}

var errStranger = errors.New("a connection for calls from a node without a link")

// welcomeBulk serves the calls of a connection that a peer opened for them.
func (t *Transport) welcomeBulk(conn *quic.Conn) {
	id, err := identityOf(conn)
	if err != nil {
		t.turnAway(conn, &refusal{reasonCertificate, err})
		return
	}
	l := t.linkTo(id.Node)
	if l == nil {
		t.turnAway(conn, &refusal{reasonHello, errStranger})
		return
	}
	if !l.bulk.admit(1) {
		t.turnAway(conn, &refusal{reasonBusy, errors.New("too many connections for calls")})
		return
	}
	defer l.bulk.admit(-1)
	stop := context.AfterFunc(l.conn.Context(), func() { _ = conn.CloseWithError(codeShutdown, "") })
	defer stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		stream, err := conn.AcceptStream(conn.Context())
		if err != nil {
			return
		}
		calls.Go(func() { l.serveCall(stream) })
	}
}

// admit counts a connection of the peer that comes (1) or goes (-1).
func (b *bulk) admit(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > 0 && b.taken >= bulkConns {
		return false
	}
	b.taken += n
	return true
}

// serveCall is serve for a stream that can only be a call.
func (l *link) serveCall(stream *quic.Stream) {
	_ = stream.SetReadDeadline(time.Now().Add(kindTimeout))
	var kind [1]byte
	_, err := io.ReadFull(stream, kind[:])
	_ = stream.SetReadDeadline(time.Time{})
	switch {
	case err != nil:
		reset(stream, streamRefused)
	case !l.isReady():
	case kind[0] == kindCall:
		l.answer(stream, l.t.cfg.Handler.Call, nil)
	default:
		reset(stream, streamRefused)
		l.t.refusals.refuse(reasonStream, l.conn.RemoteAddr(),
			fmt.Errorf("a stream of kind %d among calls", kind[0]))
	}
}
