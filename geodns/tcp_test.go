package geodns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// The test ends by this error rather than hanging.
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func framed(t *testing.T, line string, id uint16) []byte {
	t.Helper()
	m := parseLine(line)
	m.Id = id
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
}

func TestTCPPipelining(t *testing.T) {
	c := dial(t, start(t, newServer(t, newIslands())))
	const n = 200
	var all []byte
	for i := range n {
		all = append(all, framed(t, "www.atoll.test. A 1.2.3.0/24", uint16(i))...)
	}
	// In two writes that cut a message.
	for _, part := range [][]byte{all[:len(all)/2+1], all[len(all)/2+1:]} {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		b, err := readMessage(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(b); err != nil || m.Id != uint16(i) || len(m.Answer) != 1 {
			t.Fatalf("answer %d: %v %v", i, &m, err)
		}
	}
}

func TestTCPClosesOnNoise(t *testing.T) {
	addr := start(t, newServer(t, newIslands()))
	for name, in := range map[string][]byte{
		"an empty message": {0, 0},
		"an answer":        append([]byte{0, 12}, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"a question that points at itself": append([]byte{0, 18},
			0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1),
	} {
		c := dial(t, addr)
		if _, err := c.Write(in); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); err != nil || n > 0 {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

func TestTCPIdleConnectionEnds(t *testing.T) {
	cfg := testConfig(t, newIslands())
	cfg.Limits.TCPIdle = 50 * time.Millisecond
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, start(t, s))
	if _, err := c.Write(framed(t, "www.atoll.test. A", 1)[:7]); err != nil { // and no more
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestTCPConnectionLimit(t *testing.T) {
	cfg := testConfig(t, newIslands())
	cfg.Limits.TCPConns = 1
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, s)
	first := dial(t, addr)
	roundTrip := func() {
		t.Helper()
		if _, err := first.Write(framed(t, "www.atoll.test. A", 7)); err != nil {
			t.Fatal(err)
		}
		if _, err := readMessage(first, nil); err != nil {
			t.Fatal(err)
		}
	}
	roundTrip()
	second := dial(t, addr)
	if n, err := second.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("the second connection is served: %v", err)
	}
	roundTrip()
	if got := value(s.metrics.refused); got != 1 {
		t.Errorf("%v connections counted", got)
	}
	if got := value(s.metrics.conns); got != 1 {
		t.Errorf("%v connections open", got)
	}
	first.Close()
	for t.Context().Err() == nil { // until its place is free
		c := dial(t, addr)
		if _, err := c.Write(framed(t, "www.atoll.test. A", 8)); err != nil {
			continue
		}
		if _, err := readMessage(c, nil); err == nil {
			return
		}
	}
}

// TestRunEnds checks that Run returns with open connections, and closes all.
func TestRunEnds(t *testing.T) {
	s := newServer(t, newIslands())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, []net.PacketConn{u}, []net.Listener{l}) }()
	c := dial(t, l.Addr().String())
	if _, err := c.Write(framed(t, "www.atoll.test. A", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := readMessage(c, nil); err != nil {
		t.Fatal(err)
	}
	stop(errors.New("a cause of the caller's"))
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if _, err := u.WriteTo([]byte("x"), u.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the UDP socket is still open: %v", err)
	}
}

func TestRunReportsADeadSocket(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
	s := newServer(t, newIslands())
	if err := s.Run(t.Context(), []net.PacketConn{u}, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

// opaque hides what *net.UDPConn can, as a wrapper of a socket does.
type opaque struct{ net.PacketConn }

func TestAnyPacketConnWorks(t *testing.T) {
	u, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newIslands())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, []net.PacketConn{opaque{u}}, nil) }()
	m := ask(t, "udp", u.LocalAddr().String(), "www.atoll.test. A 1.2.3.0/24")
	if got := brief(m); got != "NOERROR aa 127.0.3.1 /8" {
		t.Errorf("got %s", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
