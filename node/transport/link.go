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
	"github.com/atolledge/atoll/replication/wire"
)

// link is the kept connection to one node.
type link struct {
	t     *Transport
	conn  *quic.Conn
	peer  Peer
	claim claim
	lanes [lanes]*lane
	out   chan []byte // datagrams, with their pool byte
	bulk  bulk

	ready chan struct{} // closed when PeerUp has returned
	quiet chan struct{} // closed when no Frame or Datagram comes any more
}

func newLink(t *Transport, conn *quic.Conn, peer Peer, dialer atoll.NodeID) *link {
	l := &link{
		t: t, conn: conn, peer: peer,
		claim: claim{origin: peer.Origin, incarnation: peer.Incarnation, dialer: dialer},
		out:   make(chan []byte, datagramQueue),
		ready: make(chan struct{}), quiet: make(chan struct{}),
	}
	for i := range l.lanes {
		l.lanes[i] = newLane(Lane(i))
	}
	return l
}

// inflow returns a reader of frames that the peer sends.
func (l *link) inflow(r io.Reader) inflow {
	return inflow{frames: wire.NewReader(r, wire.MaxFrame), packer: l.t.packer}
}

// outflow returns what packs the frames to the peer, nil for nothing.
func (l *link) outflow() *packer {
	if l.peer.Region == l.t.cfg.Hello.Region || l.peer.Terms.Features&wire.FeaturePacked == 0 {
		return nil
	}
	return l.t.packer
}

// close ends the connection and tells the peer why. It returns when the packet
// is out; run cleans up.
func (l *link) close(code quic.ApplicationErrorCode, why string) {
	_ = l.conn.CloseWithError(code, why)
}

// run serves the connection until it ends and all its goroutines have gone.
func (l *link) run() {
	ctx := l.conn.Context()
	var readers, others sync.WaitGroup
	readers.Go(l.readDatagrams)
	readers.Go(func() { l.acceptLanes(&readers) })
	others.Go(func() { l.acceptStreams(&others) })
	others.Go(l.writeDatagrams)
	for which := range lanes {
		others.Go(func() { l.writeLane(which) })
	}
	<-ctx.Done()
	l.t.remove(l)
	readers.Wait()
	close(l.quiet)
	others.Wait()
	l.t.cfg.Logger.Debug("peer connection ended", "node", l.peer.Node, "err", context.Cause(ctx))
}

// isReady waits until PeerUp has returned; false if the connection ends first.
func (l *link) isReady() bool {
	select {
	case <-l.ready:
		return l.conn.Context().Err() == nil
	case <-l.conn.Context().Done():
		return false
	}
}

// blame closes the connection to a peer that breaks the protocol. An error of
// the connection itself is nobody's fault.
func (l *link) blame(why reason, err error) {
	if isCutOff(err) {
		return
	}
	l.t.refusals.refuse(why, l.conn.RemoteAddr(), err)
	l.close(codeProtocol, string(why)+": "+err.Error())
}

// isCutOff reports whether a read failed because the connection has ended. Its
// streams learn that a little before its context does.
func isCutOff(err error) bool {
	var (
		app   *quic.ApplicationError
		idle  *quic.IdleTimeoutError
		reset *quic.StatelessResetError
		other *quic.TransportError
	)
	return errors.As(err, &app) || errors.As(err, &idle) || errors.As(err, &reset) ||
		errors.As(err, &other) || errors.Is(err, net.ErrClosed)
}

// acceptLanes reads the peer's kept streams, each at most once.
func (l *link) acceptLanes(readers *sync.WaitGroup) {
	var seen [lanes]bool
	for {
		stream, err := l.conn.AcceptUniStream(l.conn.Context())
		if err != nil {
			return
		}
		which, err := laneOf(stream)
		if err == nil && seen[which] {
			err = fmt.Errorf("a second %s lane", which)
		}
		if err != nil {
			l.blame(reasonStream, err)
			return
		}
		seen[which] = true
		readers.Go(func() { l.readLane(stream) })
	}
}

// laneOf reads the kind byte of a uni stream.
func laneOf(stream *quic.ReceiveStream) (Lane, error) {
	var kind [1]byte
	if _, err := io.ReadFull(stream, kind[:]); err != nil {
		return 0, err
	}
	for which, k := range laneKinds {
		if k == kind[0] {
			return Lane(which), nil
		}
	}
	return 0, fmt.Errorf("a uni stream of kind %d", kind[0])
}

// readLane hands the frames of one lane to the Handler, in order.
func (l *link) readLane(stream *quic.ReceiveStream) {
	if !l.isReady() {
		return
	}
	frames := l.inflow(stream)
	for {
		typ, body, err := frames.Next()
		if err != nil {
			l.blame(reasonFrame, fmt.Errorf("lane: %w", err))
			return
		}
		if l.t.cfg.Handler.Frame != nil {
			l.t.cfg.Handler.Frame(l.peer.Node, typ, body)
		}
	}
}

// writeLane writes what waits in a lane, all of it at once, while the stream
// takes it. The first write carries the lane's kind.
func (l *link) writeLane(which Lane) {
	q, m := l.lanes[which], l.t.metrics
	name := which.String()
	frames, writes := m.frames.WithLabelValues(name), m.writes.WithLabelValues(name)
	lost := 0
	defer func() { m.dropped.WithLabelValues(name).Add(float64(lost + q.close())) }()
	stream, err := l.conn.OpenUniStreamSync(l.conn.Context())
	if err != nil {
		return
	}
	stream.SetPriority(laneUrgencies[which], true)
	batch, n := []byte{laneKinds[which]}, 0
	packer := l.outflow()
	var packed, scratch []byte
	for {
		packed, scratch = packer.pack(batch, scratch)
		if _, err := stream.Write(packed); err != nil {
			lost = n
			return
		}
		frames.Add(float64(n))
		writes.Inc()
		for batch, n = q.take(batch); n == 0; batch, n = q.take(batch) {
			select {
			case <-q.wake:
			case <-l.conn.Context().Done():
				return
			}
		}
	}
}

// acceptStreams serves the peer's bidi streams, each in its goroutine; QUIC
// lets it open maxStreams of them.
func (l *link) acceptStreams(others *sync.WaitGroup) {
	for {
		stream, err := l.conn.AcceptStream(l.conn.Context())
		if err != nil {
			return
		}
		others.Go(func() { l.serve(stream) })
	}
}

// serve reads the kind of a bidi stream and does what it asks.
func (l *link) serve(stream *quic.Stream) {
	_ = stream.SetReadDeadline(time.Now().Add(kindTimeout))
	var kind [1]byte
	_, err := io.ReadFull(stream, kind[:])
	_ = stream.SetReadDeadline(time.Time{})
	switch {
	case err != nil:
		reset(stream, streamRefused)
	case !l.isReady():
	case kind[0] == kindPull:
		l.answer(stream, l.t.cfg.Handler.Pull, l.outflow())
	case kind[0] == kindCall:
		l.answer(stream, l.t.cfg.Handler.Call, nil) // media seldom compress
	case kind[0] == kindRead:
		l.answer(stream, l.t.cfg.Handler.Read, l.outflow())
	case kind[0] == kindGossip:
		l.gossip(stream)
	default:
		reset(stream, streamRefused)
		l.t.refusals.refuse(reasonStream, l.conn.RemoteAddr(), fmt.Errorf("a stream of kind %d", kind[0]))
	}
}

// reset ends both directions of a stream at once.
func reset(stream *quic.Stream, code quic.StreamErrorCode) {
	stream.CancelRead(code)
	stream.CancelWrite(code)
}

// datagram queues a datagram that begins with its pool byte; the link owns b.
func (l *link) datagram(b []byte) bool {
	select {
	case l.out <- b:
		return true
	default:
		l.t.metrics.dropped.WithLabelValues("datagram").Inc()
		return false
	}
}

// writeDatagrams is between the queue and QUIC, whose own queue of 32 blocks.
func (l *link) writeDatagrams() {
	for {
		select {
		case <-l.conn.Context().Done():
			return
		case b := <-l.out:
			if err := l.conn.SendDatagram(b); err != nil {
				l.t.metrics.dropped.WithLabelValues("datagram").Inc()
			}
		}
	}
}

// readDatagrams hands each datagram to its pool.
func (l *link) readDatagrams() {
	if !l.isReady() {
		return
	}
	for {
		b, err := l.conn.ReceiveDatagram(l.conn.Context())
		if err != nil {
			return
		}
		switch {
		case len(b) == 0:
			l.t.refusals.refuse(reasonDatagram, l.conn.RemoteAddr(), errors.New("an empty datagram"))
		case b[0] != poolHandler:
			l.t.packet(b[0], l.conn.RemoteAddr(), b[1:])
		case l.t.cfg.Handler.Datagram != nil:
			l.t.cfg.Handler.Datagram(l.peer.Node, b[1:])
		}
	}
}
