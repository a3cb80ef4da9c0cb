package geodns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// acceptPause is how long to wait after a failed accept, such as for want of
// file descriptors, before the next.
const acceptPause = 50 * time.Millisecond

// serveTCP accepts connections, each served by one goroutine of wg. Over the
// limit they are closed at once: an old client that still asks is worth more
// than a new one.
func (s *Server) serveTCP(ctx context.Context, l net.Listener, wg *sync.WaitGroup) error {
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.log.Warn("dns accept", "err", err)
			pause(ctx)
			continue
		}
		select {
		case s.slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-s.slots }()
				s.serveConn(ctx, c)
			})
		default:
			s.metrics.refused.Inc()
			c.Close()
		}
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(acceptPause):
	}
}

// serveConn answers the queries of one connection (RFC 7766) in their order:
// an answer costs no waiting, so none overtakes another. It ends when the
// client closes, is silent for too long, or sends what is no query.
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	s.metrics.conns.Inc()
	defer s.metrics.conns.Dec()
	from := remote(c)
	r := bufio.NewReaderSize(c, maxQuery)
	var in, out []byte
	for {
		// One deadline for the whole of a query and its answer: bytes that
		// drip in do not prolong it.
		if err := c.SetDeadline(time.Now().Add(s.cfg.Limits.TCPIdle)); err != nil {
			return
		}
		var err error
		if in, err = readMessage(r, in); err != nil {
			return
		}
		b := s.respond(in, from, maxMessage, out)
		if b == nil {
			return
		}
		out = b[:0]
		if err := writeMessage(c, b); err != nil {
			return
		}
	}
}

// remote returns the address of the other side.
func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// readMessage reads two bytes of length and the message, into buf's space.
func readMessage(r io.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// writeMessage sends length and message in one write, thus in one segment.
func writeMessage(w io.Writer, b []byte) error {
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b)))
	_, err := w.Write(append(out, b...))
	return err
}
