package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
)

// sea is a few nodes on loopback, one region each unless said otherwise.
type sea struct {
	t     testing.TB
	ca    *transport.CA
	nodes []*Node
	dirs  []string
	peers []string
	stops []context.CancelFunc
	ends  []chan error
}

func newSea(t testing.TB, ids ...atoll.NodeID) *sea {
	t.Helper()
	ca, err := transport.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &sea{t: t, ca: ca}
	for range ids {
		s.dirs = append(s.dirs, t.TempDir())
		s.nodes = append(s.nodes, nil)
		s.stops = append(s.stops, nil)
		s.ends = append(s.ends, nil)
		s.peers = append(s.peers, "127.0.0.1:0")
	}
	for i, id := range ids {
		s.start(i, id)
	}
	t.Cleanup(s.close)
	return s
}

// start begins node i, on its old directory and address if it has run before.
func (s *sea) start(i int, id atoll.NodeID) {
	s.t.Helper()
	conn, err := net.ListenPacket("udp", s.peers[i])
	if err != nil {
		s.t.Fatal(err)
	}
	s.peers[i] = conn.LocalAddr().String()
	cert, err := s.ca.Issue(transport.Spec{Node: id}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	var join []string
	if i > 0 {
		join = []string{s.peers[0]}
	}
	n, err := New(Config{
		Node: id, Lat: float64(10 * i), Lon: float64(20 * i), Dir: s.dirs[i],
		Peer: conn, Advertise: s.peers[i], Addresses: []string{fmt.Sprintf("127.0.%d.1", i+1)},
		Join: join, CA: s.ca, Certificate: cert, Clock: time.Now, Random: rand.Reader,
		Rand:    mrand.New(mrand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))),
		Logger:  slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.nodes[i], s.stops[i], s.ends[i] = n, cancel, make(chan error, 1)
	go func() { s.ends[i] <- n.Run(ctx) }()
}

// stop ends node i; kill tells nobody.
func (s *sea) stop(i int, kill bool) {
	s.t.Helper()
	if s.nodes[i] == nil {
		return
	}
	end := s.nodes[i].Close
	if kill {
		end = s.nodes[i].Kill
	} else {
		s.stops[i]()
		if err := <-s.ends[i]; err != nil {
			s.t.Errorf("node %d: %v", i, err)
		}
	}
	if err := end(); err != nil {
		s.t.Errorf("node %d: %v", i, err)
	}
	s.stops[i]()
	s.nodes[i] = nil
}

func (s *sea) close() {
	for i := range s.nodes {
		s.stop(i, false)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *sea) put(i int, key, body string) atoll.Written {
	s.t.Helper()
	w, err := s.nodes[i].Write(s.t.Context(), atoll.Write{
		Keyspace: "test", Key: atoll.Key(key), Change: atoll.Put, Body: []byte(body)})
	if err != nil {
		s.t.Fatalf("put at %d: %v", i, err)
	}
	return w
}

func (s *sea) get(i int, key string) string {
	d, err := s.nodes[i].Read(s.t.Context(), atoll.Read{Keyspace: "test", Key: atoll.Key(key)})
	if err != nil {
		return string(atoll.KindOf(err))
	}
	return string(d.Body)
}

func TestThreeRegions(t *testing.T) {
	s := newSea(t, "a/1", "b/1", "c/1")
	s.put(0, "x", `{"v":1}`)
	for i := range s.nodes {
		eventually(t, fmt.Sprintf("x at %d", i), func() bool { return s.get(i, "x") == `{"v":1}` })
		eventually(t, "all up", func() bool {
			c := s.nodes[i].Cluster()
			for _, r := range c.Regions {
				if r.State != atoll.StateUp {
					return false
				}
			}
			return len(c.Regions) == 3
		})
	}
	s.stop(2, true)
	s.put(0, "x", `{"v":2}`)
	eventually(t, "c is down", func() bool { return s.nodes[0].Cluster().Regions[2].State == atoll.StateDown })
	s.start(2, "c/1")
	eventually(t, "x at c", func() bool { return s.get(2, "x") == `{"v":2}` })
	w := s.put(2, "y", `{"w":1}`)
	d, err := s.nodes[1].Read(t.Context(), atoll.Read{Keyspace: "test", Key: "y", Session: w.Session})
	if err != nil || string(d.Body) != `{"w":1}` {
		t.Fatalf("%s %v", d.Body, err)
	}
}
