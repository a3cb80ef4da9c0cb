package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll/replication/wire"
)

// arrival is one incoming connection until its handshake has ended. QUIC tells
// of failed handshakes by the end of their context only.
type arrival struct {
	from    net.Addr
	settled atomic.Bool
}

type arrivalKey struct{}

// arrive is called for each incoming connection attempt; an error refuses it.
func (t *Transport) arrive(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if t.handshakes.Add(1) > maxHandshakes {
		t.handshakes.Add(-1)
		t.refusals.refuse(reasonBusy, info.RemoteAddr, errors.New("too many handshakes"))
		return nil, errors.New("busy")
	}
	a := &arrival{from: info.RemoteAddr}
	ctx = context.WithValue(ctx, arrivalKey{}, a)
	context.AfterFunc(ctx, func() {
		if t.settle(a) && t.ctx.Err() == nil {
			t.refusals.refuse(reasonHandshake, a.from, context.Cause(ctx))
		}
	})
	return ctx, nil
}

// settle ends the handshake of a; it reports false if it had ended before.
func (t *Transport) settle(a *arrival) bool {
	if a == nil || a.settled.Swap(true) {
		return false
	}
	t.handshakes.Add(-1)
	return true
}

func arrivalOf(ctx context.Context) *arrival {
	a, _ := ctx.Value(arrivalKey{}).(*arrival)
	return a
}

// serverTLS asks every peer for a certificate and checks it itself, so that the
// refusal can be counted and explained.
func (t *Transport) serverTLS() *tls.Config {
	outer := t.trust.Load().tls()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		a, from := arrivalOf(hello.Context()), hello.Conn.RemoteAddr()
		now := t.trust.Load()
		inner := now.tls()
		inner.ClientAuth = tls.RequireAnyClientCert
		inner.VerifyConnection = func(s tls.ConnectionState) error {
			_, err := verify(s, now.cas, x509.ExtKeyUsageClientAuth)
			if err != nil && t.settle(a) {
				t.refusals.refuse(reasonCertificate, from, err)
			}
			return err
		}
		return inner, nil
	}
	return outer
}

// clientTLS replaces the check of a host name by that of the node's URI.
func (t *Transport) clientTLS(addr net.Addr) *tls.Config {
	now := t.trust.Load()
	c := now.tls()
	c.InsecureSkipVerify = true // VerifyConnection checks the chain
	c.VerifyConnection = func(s tls.ConnectionState) error {
		_, err := verify(s, now.cas, x509.ExtKeyUsageServerAuth)
		if err != nil {
			t.refusals.refuse(reasonCertificate, addr, err)
		}
		return err
	}
	c.NextProtos = []string{alpn}
	return c
}

// accept greets incoming connections until the listener ends.
func (t *Transport) accept(listener *quic.Listener) {
	greetings := make(chan struct{}, maxGreetings)
	for {
		conn, err := listener.Accept(t.ctx)
		if err != nil {
			t.cancel(err) // no effect when Close was first
			return
		}
		t.settle(arrivalOf(conn.Context()))
		if conn.ConnectionState().TLS.NegotiatedProtocol == alpnBulk {
			t.spawn(func() { t.welcomeBulk(conn) })
			continue
		}
		select {
		case greetings <- struct{}{}:
		default:
			t.turnAway(conn, &refusal{reasonBusy, errors.New("too many greetings")})
			continue
		}
		t.spawn(func() {
			defer func() { <-greetings }()
			t.welcome(conn)
		})
	}
}

// refusal is why a connection is not kept.
type refusal struct {
	why reason
	err error
}

func (r *refusal) Error() string { return string(r.why) + ": " + r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// turnAway counts a refusal and closes the connection with its reason.
func (t *Transport) turnAway(conn *quic.Conn, r *refusal) {
	t.refusals.refuse(r.why, conn.RemoteAddr(), r.err)
	_ = conn.CloseWithError(codeRefused, r.Error())
}

// welcome is the acceptor's half of HELLO.
func (t *Transport) welcome(conn *quic.Conn) {
	ctx, cancel := context.WithTimeout(t.ctx, helloTimeout)
	defer cancel()
	stream, peer, r := t.hear(ctx, conn)
	if r != nil {
		// A dialer that chose another connection says so: that is no refusal.
		if isRival(r.err) || t.ctx.Err() != nil {
			_ = conn.CloseWithError(codeDuplicate, "")
			return
		}
		t.turnAway(conn, r)
		return
	}
	link := newLink(t, conn, peer, peer.Node)
	_, v, err := t.install(link)
	switch {
	case err != nil:
		_ = conn.CloseWithError(codeShutdown, "the node stops")
	case v == duplicate:
		_ = conn.CloseWithError(codeDuplicate, "another connection is kept")
	case v != replace:
		t.turnAway(conn, lostTo(v, peer))
	default:
		answer := wire.AppendFrame(nil, wire.TypeHello, wire.AppendHello(nil, t.cfg.Hello))
		_, _ = stream.Write(answer) // if it fails, the connection has ended
		_ = stream.Close()
	}
}

// hear reads the dialer's HELLO from its first stream and checks it.
func (t *Transport) hear(ctx context.Context, conn *quic.Conn) (*quic.Stream, Peer, *refusal) {
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, Peer{}, &refusal{reasonHello, err}
	}
	_ = stream.SetReadDeadline(time.Now().Add(helloTimeout))
	var kind [1]byte
	if _, err := stream.Read(kind[:]); err != nil {
		return nil, Peer{}, &refusal{reasonHello, err}
	}
	if kind[0] != kindHello {
		return nil, Peer{}, &refusal{reasonHello, fmt.Errorf("first stream is of kind %d", kind[0])}
	}
	peer, r := t.meet(conn, stream)
	return stream, peer, r
}

// meet reads a HELLO and holds it against the certificate and the own HELLO.
func (t *Transport) meet(conn *quic.Conn, stream *quic.Stream) (Peer, *refusal) {
	typ, body, err := wire.NewReader(stream, wire.MaxHello).Next()
	if err != nil {
		return Peer{}, &refusal{reasonHello, err}
	}
	if typ != wire.TypeHello {
		return Peer{}, &refusal{reasonHello, fmt.Errorf("first frame is of type %d", typ)}
	}
	hello, err := wire.DecodeHello(body)
	if err != nil {
		return Peer{}, &refusal{reasonHello, err}
	}
	id, err := identityOf(conn)
	if err != nil {
		return Peer{}, &refusal{reasonCertificate, err}
	}
	return t.judge(hello, id, conn.RemoteAddr().String())
}

// judge decides on a HELLO that came over a connection with certificate id.
func (t *Transport) judge(hello wire.Hello, id Identity, addr string) (Peer, *refusal) {
	terms, err := t.cfg.Hello.Negotiate(hello)
	switch {
	case errors.Is(err, wire.ErrVersion):
		return Peer{}, &refusal{reasonVersion, err}
	case err != nil:
		return Peer{}, &refusal{reasonCluster, err}
	case hello.Node != id.Node || hello.Cluster.Name != id.Cluster:
		return Peer{}, &refusal{reasonIdentity, fmt.Errorf("HELLO of %s in %s, certificate of %s in %s",
			hello.Node, hello.Cluster.Name, id.Node, id.Cluster)}
	case hello.Node == t.cfg.Hello.Node && hello.Origin == t.cfg.Hello.Origin:
		return Peer{}, &refusal{reasonSelf, errSelf}
	case hello.Node == t.cfg.Hello.Node:
		return Peer{}, &refusal{reasonTwin, fmt.Errorf("%s is this node's own id", hello.Node)}
	}
	return Peer{
		Node: hello.Node, Region: hello.Region, Origin: hello.Origin,
		Incarnation: hello.Incarnation, Addr: addr, Terms: terms, LayoutEpoch: hello.LayoutEpoch,
	}, nil
}

// lostTo is the refusal of a connection that lost against the kept one.
func lostTo(v verdict, p Peer) *refusal {
	if v == stale {
		return &refusal{reasonStale, fmt.Errorf("incarnation %d of %s is over", p.Incarnation, p.Node)}
	}
	return &refusal{reasonTwin, fmt.Errorf("%s runs with another data directory", p.Node)}
}

func identityOf(conn *quic.Conn) (Identity, error) {
	certs := conn.ConnectionState().TLS.PeerCertificates
	if len(certs) == 0 {
		return Identity{}, fmt.Errorf("%w: none", errCertificate)
	}
	return IdentityOf(certs[0])
}

// isRival reports whether the other end closed because it keeps another
// connection between the same two nodes.
func isRival(err error) bool {
	var app *quic.ApplicationError
	return errors.As(err, &app) && app.Remote &&
		(app.ErrorCode == codeDuplicate || app.ErrorCode == codeReplaced)
}
