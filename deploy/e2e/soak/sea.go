package main

import (
	"net"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/wan"
)

// sea carries the packets between the nodes' processes: each node is known to
// the others under an address of the sea, which passes what comes there on from a
// socket of its own for each sender, so that answers find their way back. Every
// hop goes through the emulated network.
type sea struct {
	net  *wan.Network
	mu   sync.Mutex
	from map[string]atoll.Region // where the real sockets of nodes are
	all  []net.PacketConn
	work sync.WaitGroup
}

// maxPacket is more than any packet of a node.
const maxPacket = 2048

func newSea(seed uint64) *sea {
	s := &sea{net: wan.NewNetwork(0.25, seed), from: map[string]atoll.Region{}}
	for _, l := range []struct {
		a, b atoll.Region
		rtt  time.Duration
	}{
		{"washington", "frankfurt", 86 * time.Millisecond},
		{"washington", "tokyo", 142 * time.Millisecond},
		{"frankfurt", "tokyo", 229 * time.Millisecond},
	} {
		s.net.SetRTT(l.a, l.b, l.rtt)
		s.net.SetJitter(l.a, l.b, 8*time.Millisecond) // packets overtake each other
		s.net.SetLoss(l.a, l.b, 0.005)
	}
	return s
}

// harbour makes the address under which others reach the node that listens at
// real, in a region.
func (s *sea) harbour(public, real string, region atoll.Region) error {
	to, err := net.ResolveUDPAddr("udp4", real)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.from[to.String()] = region
	s.mu.Unlock()
	s.net.Place(to, region)
	front, err := s.socket(public, region)
	if err != nil {
		return err
	}
	s.work.Go(func() { s.pass(front, to) })
	return nil
}

func (s *sea) socket(addr string, region atoll.Region) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return nil, err
	}
	wrapped := s.net.Wrap(conn, region)
	s.mu.Lock()
	s.all = append(s.all, wrapped)
	s.mu.Unlock()
	return wrapped, nil
}

// pass hands what comes to front on to the node, and its answers back.
func (s *sea) pass(front net.PacketConn, to net.Addr) {
	senders := map[string]net.PacketConn{}
	buf := make([]byte, maxPacket)
	for {
		n, from, err := front.ReadFrom(buf)
		if err != nil {
			return
		}
		out := senders[from.String()]
		if out == nil {
			s.mu.Lock()
			region, known := s.from[from.String()]
			s.mu.Unlock()
			if !known {
				continue // a stray
			}
			if out, err = s.socket("127.0.0.1:0", region); err != nil {
				continue
			}
			senders[from.String()] = out
			s.work.Go(func() { s.answer(out, front, from) })
		}
		_, _ = out.WriteTo(buf[:n], to)
	}
}

// answer carries what a node says to one of the sea's sockets back to whom it
// stands for.
func (s *sea) answer(out, front net.PacketConn, sender net.Addr) {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := out.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = front.WriteTo(buf[:n], sender)
	}
}

// close drains the sea.
func (s *sea) close() {
	s.mu.Lock()
	for _, c := range s.all {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}
