package geodns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// maxReadErrors is how many reads in a row may fail: a socket reports errors
// of earlier writes in reads, and those pass.
const maxReadErrors = 100

// packetConn is the part of *net.UDPConn that makes no garbage.
type packetConn interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
}

// datagrams returns c itself if it can, else a wrapper.
func datagrams(c net.PacketConn) packetConn {
	if u, ok := c.(packetConn); ok {
		return u
	}
	return wrapped{c}
}

// wrapped makes a packetConn of any net.PacketConn with UDP addresses.
type wrapped struct{ net.PacketConn }

func (w wrapped) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := w.ReadFrom(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return n, netip.AddrPort{}, fmt.Errorf("dns: a packet from %T %v", from, from)
	}
	return n, u.AddrPort(), nil
}

func (w wrapped) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return w.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// serveUDP answers packets, each before it reads the next: the kernel's buffer
// is the queue, and what does not fit there is the client's to repeat.
func (s *Server) serveUDP(ctx context.Context, c packetConn) error {
	in, out := make([]byte, maxQuery), make([]byte, 0, maxQuery)
	for failed := 0; ; {
		n, from, err := c.ReadFromUDPAddrPort(in)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (errors.Is(err, net.ErrClosed) || failed == maxReadErrors):
			return err
		case err != nil:
			failed++
			continue
		}
		failed = 0
		if b := s.respond(in[:n], from.Addr(), 0, out); b != nil {
			// A client that cannot be reached asks again or goes.
			_, _ = c.WriteToUDPAddrPort(b, from)
		}
	}
}
