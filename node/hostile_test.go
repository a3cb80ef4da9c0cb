package node

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/wire"
)

// counted returns what a node's counters of this name add up to, over all labels.
func (s *sea) counted(i int, name string) (sum float64) {
	families, err := s.spots[i].metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// TestGarbageOnThePeerPort: random packets and broken QUIC ones, while the node
// goes on to serve clients and peers.
func TestGarbageOnThePeerPort(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.settle()
	out, err := net.Dial("udp4", s.spots[0].addr)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 5000 {
		b := make([]byte, 1+rng.IntN(1500))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if i%3 == 0 && len(b) > 6 { // an Initial packet of QUIC version 1, as far as it goes
			b[0] = 0xc0 | b[0]&0x0f
			binary.BigEndian.PutUint32(b[1:], 1)
		}
		if _, err := out.Write(b); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			s.put(0, "x", fmt.Sprintf(`{"v":%d}`, i))
			s.shows(1, "x", fmt.Sprintf(`{"v":%d}`, i))
		}
	}
	s.settle()
}

// guest is a peer below the core: a transport with a certificate, and no manners.
type guest struct {
	*transport.Transport
	ups chan transport.Peer
}

// guest connects a transport to node i; change spoils how it presents itself.
func (s *sea) guest(i int, ca *transport.CA, change func(*wire.Hello)) *guest {
	s.t.Helper()
	return s.guestThat(i, ca, change, nil)
}

// guestThat is a guest that answers pulls.
func (s *sea) guestThat(i int, ca *transport.CA, change func(*wire.Hello),
	pull func(context.Context, atoll.NodeID, []byte, *transport.PullWriter) error,
) *guest {
	s.t.Helper()
	const id = atoll.NodeID("guest/1")
	cert, err := ca.Issue(transport.Spec{Node: id}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	hello := wire.Hello{Cluster: ca.ID(), Node: id, Origin: 4711, Incarnation: 1,
		Region: id.Region(), WireMin: wire.MinVersion, WireMax: wire.MaxVersion}
	if change != nil {
		change(&hello)
	}
	g := &guest{ups: make(chan transport.Peer, 16)}
	g.Transport, err = transport.New(transport.Config{
		Conn: conn, Certificate: cert, CAs: s.ca.Pool(), Hello: hello,
		Handler: transport.Handler{Pull: pull, PeerUp: func(p transport.Peer) {
			select {
			case g.ups <- p:
			default:
			}
		}},
		Logger: slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(1, 1)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- g.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		g.Transport.Close()
		<-end
	})
	if err := g.Connect(s.spots[i].addr); err != nil {
		s.t.Fatal(err)
	}
	return g
}

// TestStrangersStayOut: another CA, another cluster's name, another wire version.
// Each is counted, none becomes a peer, and the node goes on.
func TestStrangersStayOut(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.settle()
	other, err := transport.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ca     *transport.CA
		change func(*wire.Hello)
	}{
		"another CA":    {other, nil},
		"later version": {s.ca, func(h *wire.Hello) { h.WireMin, h.WireMax = 90, 99 }},
	} {
		before := s.counted(0, "atoll_transport_refused_total")
		g := s.guest(0, c.ca, c.change)
		eventually(t, name+" is refused and counted", func() bool {
			return s.counted(0, "atoll_transport_refused_total") > before
		})
		if len(g.ups) > 0 || len(s.node(0).transport.Peers()) > 0 {
			t.Errorf("%s became a peer", name)
		}
	}
	for name, change := range map[string]func(*wire.Hello){
		"another cluster":   func(h *wire.Hello) { h.Cluster.Name = "other" },
		"another CA, said":  func(h *wire.Hello) { h.Cluster.CA[0] ^= 1 },
		"another node":      func(h *wire.Hello) { h.Node = "a/2" },
		"another region":    func(h *wire.Hello) { h.Region = "a" },
		"older version":     func(h *wire.Hello) { h.WireMin, h.WireMax = 0, 0 },
		"versions reversed": func(h *wire.Hello) { h.WireMin, h.WireMax = 9, 1 },
	} {
		before := s.counted(0, "atoll_transport_refused_total")
		s.closes(name, s.raw(0, change), before)
	}
	s.put(0, "x", `{"v":1}`)
	if members := s.node(0).membersNow(); len(members) != 1 {
		t.Errorf("roster %+v", members)
	}
}

// TestMalformedFrames: a peer of the cluster that sends nonsense under every
// type, whole messages with flipped bits, and cut ones. What cannot be read is
// counted; the node goes on, and what it holds is as it was.
func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.settle()
	s.put(0, "x", `{"v":1}`)
	g := s.guest(0, s.ca, nil)
	<-g.ups
	e := crdt.NewEdit(crdt.Doc{}, "y", 4711, 1, hlc.Time(1<<20))
	e.Add("", crdt.Existence, nil)
	delta, _ := e.Delta()
	at := replication.Address{Keyspace: testSpace, Partition: replication.PartitionOf(testSpace, "y")}
	typ, whole := wire.Append(nil, replication.Delta{Address: at, Delta: delta})
	rng := rand.New(rand.NewPCG(3, 3))
	send := func(t wire.Type, b []byte) {
		g.Send("a/1", transport.Control, t, b)
		if len(b) < 1000 {
			g.SendDatagram("a/1", wire.AppendFrame(nil, t, b))
		}
	}
	for i := range 2000 {
		b := make([]byte, rng.IntN(60))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		send(wire.Type(rng.IntN(40)), b)
		flipped := append([]byte(nil), whole...)
		flipped[rng.IntN(len(flipped))] ^= 1 << rng.IntN(8)
		send(typ, flipped[:1+rng.IntN(len(flipped))])
		if i%100 == 0 {
			g.SendDatagram("a/1", b)
		}
	}
	eventually(t, "they are counted", func() bool {
		return s.counted(0, "atoll_node_malformed_total") > 1000
	})
	s.put(0, "z", `{"v":2}`)
	if got := s.get(0, "x"); got != `{"v":1}` {
		t.Errorf("x is %s", got)
	}
	// Whole and right, the same message is taken.
	eventually(t, "the delta is applied", func() bool {
		g.Send("a/1", transport.Eager, typ, whole)
		return s.get(0, "y") == `{}`
	})
}

// TestSilentPulls: a peer that says it has more, and begins answers that it never
// ends, takes all sessions that pulls may have. They come back.
func TestSilentPulls(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.settle()
	var asked atomic.Int64
	more := crdt.ClockOf(crdt.Run{Origin: 4711, First: 1, Last: 5})
	g := s.guestThat(0, s.ca, nil,
		func(ctx context.Context, _ atoll.NodeID, _ []byte, w *transport.PullWriter) error {
			asked.Add(1)
			t, body := wire.Append(nil, replication.Begin{Clock: more})
			if err := errors.Join(w.Frame(t, body), w.Flush()); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
	<-g.ups
	lies := replication.Clocks{Keyspace: testSpace}
	for part := range testSpace.Partitions() {
		lies.Clocks = append(lies.Clocks, replication.PartitionClock{Partition: part, Clock: more})
	}
	var roster crdt.Clock // what a new node wants to hear of first
	if err := s.node(0).loop.look(t.Context(), func(c *replication.Core) {
		roster = c.Clock(replication.Address{Keyspace: rosterSpace})
	}); err != nil {
		t.Fatal(err)
	}
	typ, body := wire.Append(nil, replication.Clocks{Keyspace: rosterSpace,
		Clocks: []replication.PartitionClock{{Clock: roster}}})
	g.Send("a/1", transport.Control, typ, body)
	typ, body = wire.Append(nil, lies)
	g.Send("a/1", transport.Control, typ, body)
	eventually(t, "all sessions are taken", func() bool {
		return asked.Load() >= replication.MaxPulls
	})
	eventually(t, "they are given up, counted, and others begin", func() bool {
		return s.counted(0, "atoll_transport_refused_total") >= replication.MaxPulls &&
			asked.Load() > replication.MaxPulls
	})
	s.put(0, "x", `{"v":1}`)
}

// TestFramesThatLie: raw streams of a peer with a certificate: a frame that
// claims 4 GiB, one that is cut, one whose length has a flipped bit.
func TestFramesThatLie(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.settle()
	const lane = 5 // the kind of a stream of deltas, see node/transport
	frame := wire.AppendFrame([]byte{lane}, wire.TypeDelta, []byte("delta"))
	flipped := append([]byte(nil), frame...)
	flipped[2] ^= 0x80
	for name, b := range map[string][]byte{
		"4 GiB":     binary.AppendUvarint([]byte{lane, byte(wire.TypeDelta)}, 4<<30),
		"truncated": frame[:len(frame)-2],
		"flipped":   flipped,
	} {
		before := s.counted(0, "atoll_transport_refused_total")
		conn := s.raw(0, nil)
		stream, err := conn.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = stream.Close()
		s.closes(name, conn, before)
		s.put(0, "x", `{"v":1}`)
	}
}

// closes waits until node 0 has closed a connection and counted why.
func (s *sea) closes(what string, conn *quic.Conn, before float64) {
	s.t.Helper()
	select {
	case <-conn.Context().Done():
	case <-time.After(patience):
		s.t.Fatalf("%s: the connection stays open", what)
	}
	eventually(s.t, what+" is counted", func() bool {
		return s.counted(0, "atoll_transport_refused_total") > before
	})
}

// raw is a QUIC connection that has said HELLO, as change spoils it, and was
// answered or refused.
func (s *sea) raw(i int, change func(*wire.Hello)) *quic.Conn {
	s.t.Helper()
	const id = atoll.NodeID("raw/1")
	cert, err := s.ca.Issue(transport.Spec{Node: id}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	tr := &quic.Transport{Conn: udp}
	s.t.Cleanup(func() { tr.Close(); udp.Close() })
	to, err := net.ResolveUDPAddr("udp4", s.spots[i].addr)
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := tr.Dial(s.t.Context(), to, &tls.Config{InsecureSkipVerify: true,
		NextProtos: []string{"atoll/1"}, Certificates: []tls.Certificate{cert}},
		&quic.Config{EnableDatagrams: true})
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		s.t.Fatal(err)
	}
	h := wire.Hello{Cluster: s.ca.ID(), Node: id, Origin: 4712, Incarnation: 1,
		Region: id.Region(), WireMin: wire.MinVersion, WireMax: wire.MaxVersion}
	if change != nil {
		change(&h)
	}
	const hello = 1 // the kind of that stream
	if _, err := stream.Write(wire.AppendFrame([]byte{hello}, wire.TypeHello,
		wire.AppendHello(nil, h))); err != nil {
		s.t.Fatal(err)
	}
	if _, _, err := wire.NewReader(stream, wire.MaxHello).Next(); err != nil && change == nil {
		s.t.Fatal(err)
	}
	return conn
}
