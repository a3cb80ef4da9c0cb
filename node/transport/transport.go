// Package transport provides the connections between nodes: one UDP port, one
// QUIC connection per pair of nodes, mutual TLS by the cluster's CA.
//
// It carries frames on kept streams, pulls on streams of their own, datagrams,
// and the packets and streams of memberlist. It decides nothing about what it
// carries. Whatever arrives from a stranger or a broken peer is refused,
// counted by reason and logged once a minute.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// errClosed is the cause of everything that ends because of Close or Kill.
var errClosed = errors.New("transport: closed")

// Config is what a Transport needs. All fields but Metrics are required.
type Config struct {
	// Conn is the UDP socket. The Transport owns it and closes it. A plain
	// *net.UDPConn is fastest; any net.PacketConn of UDP addresses works.
	Conn net.PacketConn

	// Certificate is the node's, by the cluster's CA; CAs holds that CA. Renew
	// replaces both.
	Certificate tls.Certificate
	CAs         *x509.CertPool

	// Hello is how the node presents itself. It must name what the
	// certificate names.
	Hello wire.Hello

	Handler Handler
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: metrics are kept but not registered

	// Rand spreads redials. The Transport uses it under its own lock.
	Rand *rand.Rand
}

// Peer is a node with which there is a connection.
type Peer struct {
	Node        atoll.NodeID
	Region      atoll.Region
	Origin      atoll.Origin
	Incarnation uint64
	Addr        string // host:port as seen here
	Terms       wire.Terms
	LayoutEpoch uint64 // as of its HELLO
}

// Handler is told what arrives. Calls may come at the same time from several
// goroutines; those about one peer are ordered so that PeerUp returns before
// the first Frame, Datagram or Pull of that connection, and PeerDown comes after
// the last Frame and Datagram. Bodies are valid during the call only. A handler
// that does not return holds up its lane: that is back-pressure. Nil functions
// are not called. No function may call Close or Kill.
type Handler struct {
	PeerUp   func(Peer)
	PeerDown func(atoll.NodeID)

	// Frame is a frame of a lane; frames of one lane come in their order.
	Frame func(from atoll.NodeID, t wire.Type, body []byte)

	// Datagram is what SendDatagram sent, perhaps lost, never cut.
	Datagram func(from atoll.NodeID, b []byte)

	// Pull answers one OpenPull, in a goroutine of its own. The context ends
	// when the asker loses interest or the connection goes. An error resets the
	// stream, so that the asker cannot take a part for the whole.
	Pull func(ctx context.Context, from atoll.NodeID, request []byte, w *PullWriter) error

	// Call answers one OpenCall as Pull answers an OpenPull.
	Call func(ctx context.Context, from atoll.NodeID, request []byte, w *PullWriter) error

	// Read answers one OpenRead as Pull answers an OpenPull.
	Read func(ctx context.Context, from atoll.NodeID, request []byte, w *PullWriter) error
}

// Transport is one node's end of all its connections. Its methods are safe for
// concurrent use.
type Transport struct {
	cfg        Config
	quic       *quic.Transport
	metrics    *metrics
	packer     *packer
	refusals   refusals
	handshakes atomic.Int32 // incoming ones under way
	trust      atomic.Pointer[trust]
	changed    chan struct{} // wakes announce; one pending wake is enough

	ctx    context.Context // ends with Close and Kill
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // all goroutines

	mu     sync.Mutex
	closed bool
	links  map[atoll.NodeID]*link  // the one kept connection to each node
	names  map[string]atoll.NodeID // addresses that led to a node
	dials  map[string]*dialing
	wants  map[string]*want
	pools  map[byte]*Pool
	dirty  map[atoll.NodeID]struct{} // nodes whose link changed since announced
}

// New checks the configuration and takes over the socket. Until Run, nothing is
// accepted or announced. Errors are *atoll.Error.
func New(cfg Config) (*Transport, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	key, err := resetKey(cfg.Certificate)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "register the transport's metrics").Because(err)
	}
	pack, err := newPacker(m)
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "set up compression").Because(err)
	}
	cfg.Hello.Features |= wire.FeaturePacked
	t := &Transport{
		cfg: cfg, metrics: m, packer: pack,
		refusals: refusals{metrics: m, log: cfg.Logger},
		changed:  make(chan struct{}, 1),
		links:    map[atoll.NodeID]*link{}, names: map[string]atoll.NodeID{},
		dials: map[string]*dialing{}, wants: map[string]*want{},
		pools: map[byte]*Pool{}, dirty: map[atoll.NodeID]struct{}{},
	}
	t.trust.Store(&trust{cfg.Certificate, cfg.CAs})
	if err := m.watch(t); err != nil {
		return nil, atoll.Errorf(atoll.Internal, "register the transport's metrics").Because(err)
	}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.quic = &quic.Transport{
		Conn:                buffered(cfg.Conn),
		StatelessResetKey:   key,
		ConnContext:         t.arrive,
		VerifySourceAddress: func(net.Addr) bool { return t.handshakes.Load() > retryFrom },
		Tracer:              &garbage{t},
	}
	return t, nil
}

// Run accepts connections and calls the Handler until ctx ends, Close or Kill is
// called, or the socket fails; only the last is an error. It closes the
// Transport when it returns. It is called once.
func (t *Transport) Run(ctx context.Context) error {
	listener, err := t.quic.Listen(t.serverTLS(), quicConfig())
	if err != nil {
		t.Close()
		return atoll.Errorf(atoll.Internal, "listen on %s", t.cfg.Conn.LocalAddr()).Because(err)
	}
	for _, f := range []func(){
		func() { t.accept(listener) }, t.announce, t.readGarbage,
	} {
		t.spawn(f)
	}
	select {
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	t.Close()
	if err := context.Cause(t.ctx); !errors.Is(err, errClosed) {
		return atoll.Errorf(atoll.Internal, "the peer socket %s failed",
			t.cfg.Conn.LocalAddr()).Because(err)
	}
	return nil
}

// Close tells the peers, closes all connections and the socket, and waits for
// all goroutines. No Handler function runs after it has returned. Closing twice
// is fine.
func (t *Transport) Close() { t.stop(true) }

// Kill is Close without a word to the peers, as if the process had died: they
// find out by silence.
func (t *Transport) Kill() { t.stop(false) }

func (t *Transport) stop(polite bool) {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	links := t.linksLocked()
	t.mu.Unlock()
	if first {
		t.cancel(errClosed)
		if polite {
			closeAll(links)
		}
		_ = t.quic.Close()
		_ = t.cfg.Conn.Close()
		t.metrics.unregister()
	}
	t.work.Wait()
}

// closeAll says goodbye on all links at once.
func closeAll(links []*link) {
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() { l.close(codeShutdown, "the node stops") })
	}
	wg.Wait()
}

// spawn runs f in a goroutine that Close waits for. It reports false, and does
// nothing, when the transport is closed.
func (t *Transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spawnLocked(f)
}

func (t *Transport) spawnLocked(f func()) bool {
	if !t.closed {
		t.work.Go(f)
	}
	return !t.closed
}

// check finds what is wrong with a configuration before anything starts.
func (c *Config) check() error {
	if c.Conn == nil || c.CAs == nil || c.Logger == nil || c.Rand == nil ||
		len(c.Certificate.Certificate) == 0 {
		return atoll.Errorf(atoll.Internal, "transport: a required field of Config is missing")
	}
	if _, err := c.checkCertificate(c.Certificate); err != nil {
		return err
	}
	// What a peer would say of this HELLO is said here, before it is sent.
	if _, err := wire.DecodeHello(wire.AppendHello(nil, c.Hello)); err != nil {
		return atoll.Errorf(atoll.BadRequest, "the node's HELLO").Because(err)
	}
	return nil
}
