package membership

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/atolledge/atoll/node/transport"
)

// sea is a pool of the peer transport as memberlist wants it: packets are QUIC
// datagrams, streams are QUIC streams, both on connections that are there
// already or are dialed in the background.
type sea struct {
	pool      *transport.Pool
	advertise netip.AddrPort
	packets   chan *memberlist.Packet
	ctx       context.Context // ends with Shutdown
	cancel    context.CancelFunc
	work      sync.WaitGroup
}

func newSea(pool *transport.Pool, advertise netip.AddrPort) *sea {
	s := &sea{pool: pool, advertise: advertise, packets: make(chan *memberlist.Packet)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.carry)
	return s
}

// carry puts the pool's packets into memberlist's type. Back-pressure ends in
// the pool's bounded queue, which drops.
func (s *sea) carry() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case p := <-s.pool.Packets():
			packet := &memberlist.Packet{Buf: p.Body, From: p.From, Timestamp: p.At}
			select {
			case s.packets <- packet:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// FinalAdvertiseAddr implements memberlist.Transport: the address is configured.
func (s *sea) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return s.advertise.Addr().AsSlice(), int(s.advertise.Port()), nil
}

// WriteTo implements memberlist.Transport. It never waits for a dial: a packet
// that finds no connection goes with the dial that it starts, or is lost.
func (s *sea) WriteTo(b []byte, addr string) (time.Time, error) {
	return time.Now(), s.pool.Send(addr, b)
}

// PacketCh implements memberlist.Transport.
func (s *sea) PacketCh() <-chan *memberlist.Packet { return s.packets }

// DialTimeout implements memberlist.Transport.
func (s *sea) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	return s.pool.Dial(ctx, addr)
}

// StreamCh implements memberlist.Transport.
func (s *sea) StreamCh() <-chan net.Conn { return s.pool.Streams() }

// Shutdown implements memberlist.Transport.
func (s *sea) Shutdown() error {
	s.cancel()
	s.work.Wait()
	s.pool.Close()
	return nil
}
