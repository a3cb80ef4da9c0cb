package wan

import (
	"container/heap"
	"net"
	"sync"
	"time"

	"github.com/atolledge/atoll"
)

// Limits of one socket.
const (
	// maxQueued is how many packets may be on their way from one socket: 20 MB
	// of full packets, 270 MB/s at 71 ms.
	maxQueued = 16_384

	// maxSpare is how many packet buffers are kept for reuse.
	maxSpare = 1024

	// drainLimit is how long Close waits for packets on their way to leave.
	drainLimit = 500 * time.Millisecond
)

// conn is a socket whose packets take their time. It has the methods of
// net.PacketConn and no other: QUIC goes round a wrapper that shows the socket
// beneath.
type conn struct {
	inner   net.PacketConn
	network *Network
	region  atoll.Region
	wake    chan struct{} // the queue has a new head, or is closing
	done    chan struct{} // closed when carry has returned

	mu     sync.Mutex
	queue  queue
	order  uint64
	spare  [][]byte
	closed bool
}

// Wrap puts a node's socket, bound to its own address, into a region. The result
// owns the socket. Close lets packets that are on their way leave first, for at
// most half a second: a wire does not forget what is on it.
func (n *Network) Wrap(inner net.PacketConn, region atoll.Region) net.PacketConn {
	grow(inner)
	n.Place(inner.LocalAddr(), region)
	c := &conn{
		inner: inner, network: n, region: region,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go c.carry()
	return c
}

// socketBuffer is what QUIC would ask for if it saw the socket.
const socketBuffer = 7 << 20

// grow enlarges a socket's buffers as far as the system lets it.
func grow(inner net.PacketConn) {
	if s, ok := inner.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}); ok {
		_ = s.SetReadBuffer(socketBuffer)
		_ = s.SetWriteBuffer(socketBuffer)
	}
}

// packet is on its way.
type packet struct {
	at    time.Time
	order uint64 // keeps packets of one instant in order
	link  *link
	to    net.Addr
	body  []byte
}

// queue is a heap of packets, the next to arrive first.
type queue []packet

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(x any) { *q = append(*q, x.(packet)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = packet{}
	*q = (*q)[:last]
	return p
}

// WriteTo hands a packet to the network. It never fails for what the network
// does to the packet.
func (c *conn) WriteTo(b []byte, to net.Addr) (int, error) {
	now := time.Now()
	l, at, f := c.network.send(c.region, to, now)
	switch {
	case f != arrives:
		return len(b), nil
	case l == nil:
		return c.inner.WriteTo(b, to)
	case at.After(now):
		return c.enqueue(packet{at: at, link: l, to: to}, b)
	case !c.network.deliver(l):
		return len(b), nil
	}
	return c.inner.WriteTo(b, to)
}

// enqueue copies b and wakes carry if the packet is the next to arrive.
func (c *conn) enqueue(p packet, b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if len(c.queue) >= maxQueued {
		c.network.overflow(p.link)
		return len(b), nil
	}
	p.body = append(c.takeSpare(), b...)
	p.order = c.order
	c.order++
	heap.Push(&c.queue, p)
	if c.queue[0].order == p.order {
		c.kick()
	}
	return len(b), nil
}

func (c *conn) takeSpare() []byte {
	if len(c.spare) == 0 {
		return nil
	}
	b := c.spare[len(c.spare)-1]
	c.spare = c.spare[:len(c.spare)-1]
	return b[:0]
}

func (c *conn) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// carry delivers packets when their time has come, until the conn is closed and
// nothing is on its way.
func (c *conn) carry() {
	defer close(c.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, ok := c.deliverDue(time.Now())
		if !ok {
			return
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		}
	}
}

// idle is how long carry sleeps when nothing is on its way; it is woken sooner.
const idle = time.Hour

// deliverDue delivers all that is due and returns how long it is until the next
// packet; false when the conn is closed and empty.
func (c *conn) deliverDue(now time.Time) (time.Duration, bool) {
	for {
		p, wait, state := c.next(now)
		switch state {
		case over:
			return 0, false
		case waiting:
			return wait, true
		}
		if c.network.deliver(p.link) {
			_, _ = c.inner.WriteTo(p.body, p.to) // as lost as on any network
		}
		c.release(p.body)
	}
}

// state is what next found.
type state uint8

const (
	due state = iota
	waiting
	over
)

func (c *conn) next(now time.Time) (packet, time.Duration, state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.queue) == 0 && c.closed:
		return packet{}, 0, over
	case len(c.queue) == 0:
		return packet{}, idle, waiting
	case c.queue[0].at.After(now):
		return packet{}, c.queue[0].at.Sub(now), waiting
	}
	return heap.Pop(&c.queue).(packet), 0, due
}

func (c *conn) release(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spare) < maxSpare {
		c.spare = append(c.spare, b)
	}
}

// Close refuses further packets, lets those on their way leave and closes the
// socket.
func (c *conn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.mu.Unlock()
	if !first {
		return net.ErrClosed
	}
	_ = c.inner.SetReadDeadline(time.Now()) // readers go at once
	c.kick()
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	select {
	case <-c.done:
	case <-limit.C:
		c.discard()
		<-c.done
	}
	return c.inner.Close()
}

// discard forgets all that is on its way.
func (c *conn) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = nil
	c.kick()
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// ReadFrom returns what other sockets have sent; their side has delayed it.
func (c *conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.inner.ReadFrom(b)
	if err != nil && c.isClosed() {
		err = net.ErrClosed
	}
	return n, from, err
}

// LocalAddr, SetDeadline, SetReadDeadline and SetWriteDeadline are the socket's.
func (c *conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

func (c *conn) SetDeadline(t time.Time) error { return c.inner.SetDeadline(t) }

func (c *conn) SetReadDeadline(t time.Time) error { return c.inner.SetReadDeadline(t) }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.inner.SetWriteDeadline(t) }
