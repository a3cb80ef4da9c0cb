package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

var (
	errSelf = errors.New("transport: the address is this node's own")
	errBusy = errors.New("transport: too many dials under way")
	errTie  = errors.New("transport: the peer keeps another connection")
)

// want is an address that Connect keeps connected.
type want struct {
	addr   string
	cancel context.CancelFunc
	node   atoll.NodeID // who was there; under Transport.mu
}

// dialing is one dial under way, shared by all who want its address.
type dialing struct {
	addr    string
	done    chan struct{} // closed when link and err are set
	link    *link
	err     error
	pending [][]byte // datagrams for the other end, under Transport.mu
}

// Connect keeps a connection to whoever listens at addr (host:port) until
// Disconnect or Close: it dials, and dials again with growing, jittered pauses.
// It returns at once; an address that is this node's own is given up quietly.
// The error is atoll.BadRequest, for an address that is none or over the limit.
func (t *Transport) Connect(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return atoll.Errorf(atoll.BadRequest, "peer address %q", addr).Because(err).
			WithHint("a peer address is host:port, such as 192.0.2.1:7950")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.wants[addr]; ok || t.closed {
		return nil
	}
	if len(t.wants) >= maxWants {
		return atoll.Errorf(atoll.BadRequest, "too many peer addresses").
			WithLimit("peer addresses", maxWants)
	}
	ctx, cancel := context.WithCancel(t.ctx)
	w := &want{addr: addr, cancel: cancel}
	t.wants[addr] = w
	t.spawnLocked(func() { t.keep(ctx, w) })
	return nil
}

// Disconnect forgets the addresses that led to node and closes the connection.
// The node may still dial this one.
func (t *Transport) Disconnect(node atoll.NodeID) {
	t.mu.Lock()
	for addr, w := range t.wants {
		if w.node == node || t.names[addr] == node {
			w.cancel()
			delete(t.wants, addr)
		}
	}
	l := t.links[node]
	t.mu.Unlock()
	if l != nil {
		l.close(codeUnwanted, "disconnected")
	}
}

// keep holds a connection to w's address until ctx ends.
func (t *Transport) keep(ctx context.Context, w *want) {
	defer w.cancel()
	for fails := 0; ctx.Err() == nil; fails++ {
		since := time.Now()
		l, err := t.reach(ctx, w.addr)
		if errors.Is(err, errSelf) {
			return // the want stays, so that Connect does not try again
		}
		if err == nil {
			t.setNode(w, l.peer.Node)
			select {
			case <-l.conn.Context().Done():
			case <-ctx.Done():
				return
			}
			if time.Since(since) >= steady {
				fails = 0
			}
		}
		t.pause(ctx, fails)
	}
}

func (t *Transport) setNode(w *want, node atoll.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.node = node
}

// pause waits between two dials: half of a doubling time, and up to as much
// again by chance, so that many nodes do not return in step.
func (t *Transport) pause(ctx context.Context, fails int) {
	t.mu.Lock()
	d := backoff(fails, t.cfg.Rand.Float64())
	t.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// backoff is the pause after so many failures in a row; chance is in [0,1).
func backoff(fails int, chance float64) time.Duration {
	d := backoffLast
	if fails < 16 {
		d = min(backoffLast, backoffFirst<<fails)
	}
	return d/2 + time.Duration(chance*float64(d/2))
}

// reach returns the link to addr, dialing if there is none. Whoever asks for an
// address that is being dialed waits for that dial.
func (t *Transport) reach(ctx context.Context, addr string) (*link, error) {
	l, d, err := t.begin(addr, nil)
	if d == nil {
		return l, err
	}
	select {
	case <-d.done:
		return d.link, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// begin returns the link to addr or the dial under way to it, which it starts
// if need be. A datagram goes with the dial until its queue is full.
func (t *Transport) begin(addr string, datagram []byte) (*link, *dialing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if node, ok := t.names[addr]; ok {
		if l := t.aliveLocked(node); l != nil {
			return l, nil, nil
		}
	}
	d := t.dials[addr]
	if d == nil {
		if len(t.dials) >= maxDials {
			return nil, nil, errBusy
		}
		d = &dialing{addr: addr, done: make(chan struct{})}
		if !t.spawnLocked(func() { t.dial(d) }) {
			return nil, nil, errClosed
		}
		t.dials[addr] = d
	}
	if datagram != nil && len(d.pending) < pendingQueue {
		d.pending = append(d.pending, datagram)
	}
	return nil, d, nil
}

// dial carries out one dialing.
func (t *Transport) dial(d *dialing) {
	ctx, cancel := context.WithTimeout(t.ctx, dialTimeout)
	defer cancel()
	d.link, d.err = t.dialAll(ctx, d.addr)
	t.mu.Lock()
	delete(t.dials, d.addr)
	if d.link != nil && d.link.conn.Context().Err() == nil {
		t.names[d.addr] = d.link.peer.Node
	}
	t.mu.Unlock()
	for _, b := range d.pending {
		if d.link != nil {
			d.link.datagram(b)
		}
	}
	close(d.done)
	if d.err == nil || errors.Is(d.err, errSelf) || errors.Is(d.err, errTie) || t.ctx.Err() != nil {
		return
	}
	t.metrics.dials.Inc()
	if t.refusals.due("dial "+d.addr, time.Now()) {
		t.cfg.Logger.Warn("peer not reached", "addr", d.addr, "err", d.err)
	}
}

// dialAll tries the addresses of a name in turn.
func (t *Transport) dialAll(ctx context.Context, addr string) (*link, error) {
	found, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, a := range found {
		if a.String() == t.cfg.Conn.LocalAddr().String() {
			return nil, errSelf
		}
		l, err := t.dialOne(ctx, net.UDPAddrFromAddrPort(a))
		if err == nil || errors.Is(err, errSelf) {
			return l, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// maxAddresses is how many addresses of one name are tried.
const maxAddresses = 8

// resolve returns the addresses of host:port.
func resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		found = append(found, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return found, nil
}

// dialOne makes one connection and says HELLO on it.
func (t *Transport) dialOne(ctx context.Context, addr *net.UDPAddr) (*link, error) {
	conn, err := t.quic.Dial(ctx, addr, t.clientTLS(addr), quicConfig())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	l, err := t.greet(ctx, conn)
	if err != nil {
		_ = conn.CloseWithError(codeRefused, "")
		return nil, fmt.Errorf("greet %s: %w", addr, err)
	}
	return l, nil
}

// greet is the dialer's half of HELLO. If the certificate shows a node to which
// this one has dialed already, that connection is returned and conn closed
// before the other end has to choose.
func (t *Transport) greet(ctx context.Context, conn *quic.Conn) (*link, error) {
	id, err := identityOf(conn)
	if err != nil {
		return nil, err
	}
	if l := t.linkTo(id.Node); l != nil && l.claim.dialer == t.cfg.Hello.Node {
		_ = conn.CloseWithError(codeDuplicate, "")
		return l, nil
	}
	peer, err := t.introduce(ctx, conn)
	switch {
	case isRival(err):
		return nil, errTie
	case err != nil:
		return nil, err
	}
	kept, v, err := t.install(newLink(t, conn, peer, t.cfg.Hello.Node))
	switch {
	case err != nil:
		return nil, err
	case v == duplicate:
		_ = conn.CloseWithError(codeDuplicate, "")
	case v != replace:
		r := lostTo(v, peer)
		t.turnAway(conn, r)
		return nil, r
	}
	return kept, nil
}

// introduce sends the own HELLO and judges the answer.
func (t *Transport) introduce(ctx context.Context, conn *quic.Conn) (Peer, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return Peer{}, err
	}
	_ = stream.SetDeadline(time.Now().Add(helloTimeout))
	hello := wire.AppendFrame([]byte{kindHello}, wire.TypeHello, wire.AppendHello(nil, t.cfg.Hello))
	if _, err := stream.Write(hello); err != nil {
		return Peer{}, err
	}
	_ = stream.Close()
	peer, r := t.meet(conn, stream)
	switch {
	case r == nil:
		return peer, nil
	case isCutOff(r.err) || ctx.Err() != nil:
		return Peer{}, r.err // the other end closed: its refusal, not ours
	}
	t.turnAway(conn, r)
	return Peer{}, r
}
