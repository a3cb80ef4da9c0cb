package transport

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// stranger is a QUIC client that follows the protocol as far as the test wants.
type stranger struct {
	*quic.Conn
	t *testing.T
}

// visit dials i with a certificate and no HELLO.
func visit(t *testing.T, i *island, cert *tls.Certificate, protos ...string) (*stranger, error) {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := &quic.Transport{Conn: udp}
	t.Cleanup(func() { q.Close(); udp.Close() })
	config := &tls.Config{InsecureSkipVerify: true, NextProtos: append(protos, alpn)[:1]}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addr := net.UDPAddrFromAddrPort(i.cfg.Conn.LocalAddr().(*net.UDPAddr).AddrPort())
	conn, err := q.Dial(ctx, addr, config, quicConfig())
	if err != nil {
		return nil, err
	}
	return &stranger{conn, t}, nil
}

// say opens the first stream and writes bytes on it.
func (s *stranger) say(b []byte) *quic.Stream {
	s.t.Helper()
	stream, err := s.OpenStream()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := stream.Write(b); err != nil {
		s.t.Fatal(err)
	}
	return stream
}

func greeting(h wire.Hello) []byte {
	return wire.AppendFrame([]byte{kindHello}, wire.TypeHello, wire.AppendHello(nil, h))
}

// admitted is a stranger whose HELLO was answered: a peer that is about to
// misbehave.
func (s *sea) admitted(i *island, node atoll.NodeID) *stranger {
	s.t.Helper()
	cfg := s.config(node)
	st, err := visit(s.t, i, &cfg.Certificate)
	if err != nil {
		s.t.Fatal(err)
	}
	stream := st.say(greeting(cfg.Hello))
	typ, _, err := wire.NewReader(stream, wire.MaxHello).Next()
	if err != nil || typ != wire.TypeHello {
		s.t.Fatalf("HELLO answered with type %d, %v", typ, err)
	}
	i.awaits("up " + string(node))
	return st
}

// awaitClosed waits until the node has closed the connection.
func (s *stranger) awaitClosed() {
	s.t.Helper()
	select {
	case <-s.Context().Done():
	case <-time.After(patience):
		s.t.Fatal("the connection stays open")
	}
}

// stillServes shows that i takes a proper peer after what happened.
func (s *sea) stillServes(i *island) {
	s.t.Helper()
	guest := s.start("tokyo/9")
	guest.meets(i)
	if !guest.Send(i.cfg.Hello.Node, Control, 9, []byte("well")) {
		s.t.Error("not queued")
	}
	i.awaits("tokyo/9 frame 9 well")
}

func TestGarbagePacketsAreCountedAndDropped(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	sea.stillServes(w) // it listens now
	out, err := net.Dial("udp4", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for n := range 3000 {
		b := make([]byte, 1+rng.IntN(1400))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if n%3 == 0 { // an Initial packet of version 1, as far as its head goes
			copy(b, "\xc3\x00\x00\x00\x01\x08")
		}
		if _, err := out.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	w.awaitRefusal(reasonGarbage)
	if len(w.Peers()) != 1 || w.RTT("tokyo/9") == 0 {
		t.Errorf("peers after garbage: %+v", w.Peers())
	}
}

func TestStrangersAreRefused(t *testing.T) {
	sea, sand := newSea(t), newSea(t)
	relabelled := *sea.ca
	relabelled.Cluster = "sand"
	ownCert := func(c *Config) tls.Certificate { return c.Certificate }
	for name, c := range map[string]struct {
		cert  func(*Config) tls.Certificate
		spoil func(*wire.Hello)
		want  reason
	}{
		"another CA": {
			func(*Config) tls.Certificate { return sand.issue("tokyo/1") }, nil, reasonCertificate},
		"another cluster": {func(*Config) tls.Certificate {
			cert, _ := relabelled.Issue(Spec{Node: "tokyo/1"}, time.Now())
			return cert
		}, func(h *wire.Hello) { h.Cluster.Name = "sand" }, reasonCluster},
		"another cluster of our name": {
			ownCert, func(h *wire.Hello) { h.Cluster.CA[0]++ }, reasonCluster},
		"cluster name that is not the certificate's": {func(*Config) tls.Certificate {
			cert, _ := relabelled.Issue(Spec{Node: "tokyo/1"}, time.Now())
			return cert
		}, nil, reasonIdentity},
		"later wire version": {
			ownCert, func(h *wire.Hello) { h.WireMin, h.WireMax = 7, 9 }, reasonVersion},
		"another name than the certificate's": {
			ownCert, func(h *wire.Hello) { h.Node = "tokyo/2" }, reasonIdentity},
		"the node's own name": {func(*Config) tls.Certificate {
			return sea.issue("washington/1")
		}, func(h *wire.Hello) { h.Node, h.Region = "washington/1", "washington" }, reasonTwin},
		"malformed HELLO": {
			ownCert, func(h *wire.Hello) { h.Origin = 0 }, reasonHello},
		"expired": {func(*Config) tls.Certificate {
			cert, _ := sea.ca.Issue(Spec{Node: "tokyo/1", For: time.Minute},
				time.Now().Add(-10*time.Minute))
			return cert
		}, nil, reasonCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			here := &island{}
			*here = *sea.start("washington/1")
			here.t = t
			cfg := sea.config("tokyo/1")
			cert, hello := c.cert(&cfg), cfg.Hello
			if c.spoil != nil {
				c.spoil(&hello)
			}
			st, err := visit(t, here, &cert)
			if err == nil && c.want != reasonCertificate {
				stream := st.say(greeting(hello))
				_, err = io.ReadAll(stream)
				var app *quic.ApplicationError
				if !errors.As(err, &app) || app.ErrorCode != codeRefused || app.ErrorMessage == "" {
					t.Errorf("the stranger reads %v, want a refusal with a reason", err)
				}
			}
			here.awaitRefusal(c.want)
			if len(here.Peers()) != 0 {
				t.Errorf("peers: %+v", here.Peers())
			}
		})
	}
}

// The dialer checks as the acceptor does.
func TestDialerRefusesAnotherCA(t *testing.T) {
	w, f := newSea(t).start("washington/1"), newSea(t).start("frankfurt/1")
	if err := w.Connect(f.addr); err != nil {
		t.Fatal(err)
	}
	w.awaitRefusal(reasonCertificate)
	until(t, "a dial failure is counted", func() bool {
		return w.count("dial_failures_total", "") > 0
	})
	if len(w.Peers())+len(f.Peers()) != 0 {
		t.Error("connected")
	}
}

func TestBadHandshakesAreRefused(t *testing.T) {
	sea := newSea(t)
	cert := sea.issue("tokyo/1")
	for name, c := range map[string]struct {
		cert  *tls.Certificate
		proto string
	}{"no certificate": {nil, alpn}, "another protocol": {&cert, "h3"}} {
		w := sea.start("washington/1")
		if st, err := visit(t, w, c.cert, c.proto); err == nil {
			st.awaitClosed()
		}
		until(t, name, func() bool { return w.refusals(reasonHandshake) > 0 })
		sea.stillServes(w)
	}
}

func TestBadGreetingsAreRefused(t *testing.T) {
	sea := newSea(t)
	cert := sea.issue("tokyo/1")
	huge := binary.AppendUvarint([]byte{kindHello, byte(wire.TypeHello)}, 4<<30)
	for name, b := range map[string][]byte{
		"another kind":   {kindPull, 1, 2, 3},
		"another frame":  wire.AppendFrame([]byte{kindHello}, 9, []byte("x")),
		"claims 4 GiB":   huge,
		"an empty HELLO": wire.AppendFrame([]byte{kindHello}, wire.TypeHello, nil),
	} {
		w := sea.start("washington/1")
		st, err := visit(t, w, &cert)
		if err != nil {
			t.Fatal(err)
		}
		st.say(b)
		st.awaitClosed()
		if w.refusals(reasonHello) != 1 {
			t.Errorf("%s: not counted", name)
		}
	}
}

func TestSilentStrangersAreTurnedAway(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	cert := sea.issue("tokyo/1")
	st, err := visit(t, w, &cert)
	if err != nil {
		t.Fatal(err)
	}
	st.awaitClosed()
	w.awaitRefusal(reasonHello)
}

// What an admitted peer does wrong costs it the connection, and us nothing.
func TestBadLanesAreRefused(t *testing.T) {
	sea := newSea(t)
	frame := wire.AppendFrame([]byte{kindEager}, 9, []byte("delta"))
	claims := func(n uint64) []byte { return binary.AppendUvarint([]byte{kindEager, 9}, n) }
	flipped := append([]byte(nil), frame...)
	flipped[2] ^= 0x80 // the length now goes on into the body
	for name, c := range map[string]struct {
		bytes []byte
		fin   bool
		want  reason
	}{
		"claims 4 GiB":    {claims(4 << 30), false, reasonFrame},
		"claims one more": {claims(wire.MaxFrame + 1), false, reasonFrame},
		"truncated":       {frame[:len(frame)-1], true, reasonFrame},
		"bit-flipped":     {flipped, true, reasonFrame},
		"long varint":     {[]byte{kindEager, 0x80, 0x80, 0x00}, false, reasonFrame},
		"ends":            {frame, true, reasonFrame},
		"unknown kind":    {[]byte{99, 1, 2}, false, reasonStream},
		"kind of a pull":  {[]byte{kindPull, 1, 2}, false, reasonStream},
	} {
		w := sea.start("washington/1")
		st := sea.admitted(w, "tokyo/1")
		lane, err := st.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Write(c.bytes); err != nil {
			t.Fatal(err)
		}
		if c.fin {
			_ = lane.Close()
		}
		st.awaitClosed()
		w.awaits("down tokyo/1")
		if w.refusals(c.want) != 1 {
			t.Errorf("%s: counted %v", name, w.refusals(c.want))
		}
		if got := w.heard("tokyo/1 frame 9 delta"); got != (name == "ends") {
			t.Errorf("%s: frame handed on: %v", name, got)
		}
	}
}

func TestALaneOpenedTwiceIsRefused(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	st := sea.admitted(w, "tokyo/1")
	for range 2 {
		lane, err := st.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = lane.Write([]byte{kindControl})
	}
	st.awaitClosed()
	w.awaitRefusal(reasonStream)
}

func TestBadStreamsAndDatagramsAreRefusedOneByOne(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1", func(c *Config, i *island) {
		c.Handler.Pull = func(context.Context, atoll.NodeID, []byte, *PullWriter) error { return nil }
	})
	st := sea.admitted(w, "tokyo/1")
	for _, c := range []struct {
		bytes []byte
		want  reason
	}{
		{[]byte{77}, reasonStream},
		{[]byte{kindHello, 1}, reasonStream},
		{[]byte{kindGossip, 200}, reasonStream},
		{append([]byte{kindPull}, make([]byte, MaxPullRequest+1)...), reasonPull},
	} {
		before := w.refusals(c.want)
		stream := st.say(c.bytes)
		if c.want == reasonPull {
			_ = stream.Close()
		}
		_ = stream.SetReadDeadline(time.Now().Add(patience))
		var reset *quic.StreamError
		_, err := io.ReadAll(stream)
		if !errors.As(err, &reset) || reset.ErrorCode != streamRefused {
			t.Errorf("kind %d: %v, want a reset", c.bytes[0], err)
		}
		until(t, "counted", func() bool { return w.refusals(c.want) == before+1 })
	}
	for _, b := range [][]byte{{}, {42, 1, 2, 3}} {
		if err := st.SendDatagram(b); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "datagrams counted", func() bool { return w.refusals(reasonDatagram) == 2 })
	if st.Context().Err() != nil {
		t.Error("lost the connection over single streams")
	}
}

func TestUnknownFrameTypesAreHandedOn(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	st := sea.admitted(w, "tokyo/1")
	lane, err := st.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = lane.Write(wire.AppendFrame([]byte{kindControl}, 1<<40, []byte("later")))
	w.awaits("tokyo/1 frame 1099511627776 later")
}
