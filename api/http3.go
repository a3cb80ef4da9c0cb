package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Limits of HTTP/3 beside those that all versions share. HeaderTimeout is for
// the handshake here: quic-go has no clock for a header that does not end, so
// MaxStreams and MaxHTTP3Conns bound what such clients hold.
const (
	MaxHTTP3Conns = 4096 // connections at once; more are refused in their handshake

	http3Retry        = 512     // connections from which on a client has to prove its address
	http3UniStreams   = 8       // of a client: control, two of QPACK, and unknown ones
	http3StreamWindow = 1 << 20 // bytes of one body that may wait for its handler
	http3ConnWindow   = 4 << 20 // bytes of all bodies of one connection
)

// errFull refuses a connection.
var errFull = errors.New("api: too many HTTP/3 connections")

// HTTP3Server answers HTTP/3 (RFC 9114) on one UDP socket, with the limits of
// NewHTTPServer. It has no 0-RTT: nobody can replay a request by QUIC.
type HTTP3Server struct {
	server   *http3.Server
	conn     net.PacketConn
	quic     *quic.Transport
	listener *quic.Listener
	conns    atomic.Int64
}

// NewHTTP3Server listens on conn, which it owns from the call on, also when it
// fails. conf is copied; it needs certificates.
func NewHTTP3Server(
	h http.Handler, conn net.PacketConn, conf *tls.Config, log *slog.Logger,
) (s *HTTP3Server, err error) {
	s = &HTTP3Server{conn: conn, server: &http3.Server{
		Handler: h, MaxHeaderBytes: MaxHeader, IdleTimeout: IdleTimeout, Logger: log,
	}}
	s.quic = &quic.Transport{
		Conn: conn, ConnContext: s.admit,
		VerifySourceAddress: func(net.Addr) bool { return s.conns.Load() > http3Retry },
	}
	s.listener, err = s.quic.Listen(http3.ConfigureTLSConfig(conf), &quic.Config{
		HandshakeIdleTimeout:           HeaderTimeout,
		MaxIdleTimeout:                 idlePing + idlePingAnswer,
		KeepAlivePeriod:                idlePing,
		InitialStreamReceiveWindow:     http3StreamWindow / 4,
		MaxStreamReceiveWindow:         http3StreamWindow,
		InitialConnectionReceiveWindow: http3ConnWindow / 4,
		MaxConnectionReceiveWindow:     http3ConnWindow,
		MaxIncomingStreams:             MaxStreams,
		MaxIncomingUniStreams:          http3UniStreams,
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// admit counts a connection until it ends, its handshake included.
func (s *HTTP3Server) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	if s.conns.Add(1) > MaxHTTP3Conns {
		s.conns.Add(-1)
		return nil, errFull
	}
	context.AfterFunc(ctx, func() { s.conns.Add(-1) })
	return ctx, nil
}

// Conns returns the number of open connections.
func (s *HTTP3Server) Conns() int64 { return s.conns.Load() }

// Serve answers until Shutdown or Close and returns http.ErrServerClosed then.
// Another error is that of the socket.
func (s *HTTP3Server) Serve() error { return s.server.ServeListener(s.listener) }

// Shutdown takes no new requests and returns when those under way have ended
// and their clients have left. If ctx ends before, it closes what is left and
// returns the error of ctx.
func (s *HTTP3Server) Shutdown(ctx context.Context) error {
	return errors.Join(s.server.Shutdown(ctx), s.release())
}

// Close ends all connections at once and waits for their handlers, whose
// contexts have ended.
func (s *HTTP3Server) Close() error {
	return errors.Join(s.server.Close(), s.release())
}

// release gives the socket back.
func (s *HTTP3Server) release() error {
	err := s.quic.Close()
	if e := s.conn.Close(); !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}
