package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
)

// Pool is the packets and streams of one memberlist pool among the nodes. It
// names nodes by address, as memberlist does.
type Pool struct {
	t       *Transport
	id      byte
	packets chan Packet
	streams chan net.Conn
}

// Packet is one datagram of a pool. The receiver owns Body.
type Packet struct {
	From net.Addr
	Body []byte
	At   time.Time // when it was read
}

// Pool opens the pool with a number from 1 to 255, which is the same on all
// nodes. The error is atoll.Internal, for a number out of range or in use.
func (t *Transport) Pool(id byte) (*Pool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.pools[id]; ok || id == poolHandler {
		return nil, atoll.Errorf(atoll.Internal, "pool %d is in use", id)
	}
	p := &Pool{
		t: t, id: id,
		packets: make(chan Packet, packetQueue),
		streams: make(chan net.Conn, streamQueue),
	}
	t.pools[id] = p
	return p, nil
}

// Packets is where datagrams come in; those that find it full are dropped and
// counted. It is never closed.
func (p *Pool) Packets() <-chan Packet { return p.packets }

// Streams is where streams come in; those that find it full are reset.
func (p *Pool) Streams() <-chan net.Conn { return p.streams }

// Send queues a datagram of at most MaxDatagram bytes for the node at addr. It
// never waits: without a connection it starts a dial, and the first few packets
// go when that succeeds. Packets get lost without an error.
func (p *Pool) Send(addr string, b []byte) error {
	if len(b) > MaxDatagram {
		return fmt.Errorf("transport: a datagram of %d bytes, limit %d", len(b), MaxDatagram)
	}
	b = append([]byte{p.id}, b...)
	l, _, err := p.t.begin(addr, b)
	switch {
	case l != nil:
		l.datagram(b)
	case errors.Is(err, errBusy):
		p.t.metrics.dropped.WithLabelValues("gossip").Inc()
		return nil
	}
	return err
}

// Dial opens a stream to the node at addr, dialing the node if need be.
func (p *Pool) Dial(ctx context.Context, addr string) (net.Conn, error) {
	l, err := p.t.reach(ctx, addr)
	if err != nil {
		return nil, err
	}
	stream, err := l.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write([]byte{kindGossip, p.id}); err != nil {
		reset(stream, streamRefused)
		return nil, err
	}
	return newStreamConn(l, stream), nil
}

// Close lets go of the pool's number and resets the streams that nobody took.
func (p *Pool) Close() {
	p.t.mu.Lock()
	delete(p.t.pools, p.id)
	p.t.mu.Unlock()
	for {
		select {
		case c := <-p.streams:
			_ = c.Close()
		default:
			return
		}
	}
}

func (t *Transport) pool(id byte) *Pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pools[id]
}

// packet hands a datagram to its pool.
func (t *Transport) packet(id byte, from net.Addr, b []byte) {
	p := t.pool(id)
	if p == nil {
		t.refusals.refuse(reasonDatagram, from, fmt.Errorf("a datagram of pool %d", id))
		return
	}
	select {
	case p.packets <- Packet{From: from, Body: b, At: time.Now()}:
	default:
		t.metrics.dropped.WithLabelValues("gossip").Inc()
	}
}

// gossip hands an incoming stream to its pool.
func (l *link) gossip(stream *quic.Stream) {
	_ = stream.SetReadDeadline(time.Now().Add(kindTimeout))
	var id [1]byte
	if _, err := io.ReadFull(stream, id[:]); err != nil {
		reset(stream, streamRefused)
		return
	}
	_ = stream.SetReadDeadline(time.Time{})
	p := l.t.pool(id[0])
	if p == nil {
		reset(stream, streamRefused)
		l.t.refusals.refuse(reasonStream, l.conn.RemoteAddr(), fmt.Errorf("a stream of pool %d", id[0]))
		return
	}
	select {
	case p.streams <- newStreamConn(l, stream):
	default:
		reset(stream, streamRefused)
		l.t.metrics.dropped.WithLabelValues("gossip").Inc()
	}
}

// streamConn is a stream as a net.Conn.
type streamConn struct {
	*quic.Stream
	local, remote net.Addr

	writing sync.Mutex // a quic stream must not be closed during a Write
}

func newStreamConn(l *link, s *quic.Stream) *streamConn {
	return &streamConn{Stream: s, local: l.conn.LocalAddr(), remote: l.conn.RemoteAddr()}
}

func (c *streamConn) LocalAddr() net.Addr { return c.local }

func (c *streamConn) RemoteAddr() net.Addr { return c.remote }

func (c *streamConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Stream.Write(b)
}

// Close ends both directions: what was written still arrives, what comes in is
// refused, as with a TCP connection.
func (c *streamConn) Close() error {
	c.CancelRead(streamDone)
	_ = c.SetWriteDeadline(time.Now())
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Stream.Close()
}
