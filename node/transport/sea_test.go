package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for a condition; a test that runs into it fails.
const patience = 20 * time.Second

// until waits for a condition that something else brings about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// sea is a cluster in a test: a CA and the means to make its nodes.
type sea struct {
	t  *testing.T
	ca *CA
}

func newSea(t *testing.T) *sea {
	t.Helper()
	ca, err := NewCA("stars", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &sea{t: t, ca: ca}
}

func (s *sea) issue(node atoll.NodeID) tls.Certificate {
	s.t.Helper()
	cert, err := s.ca.Issue(Spec{Node: node, Hosts: []string{"127.0.0.1"}}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

// config is that of a proper node on a fresh loopback port.
func (s *sea) config(node atoll.NodeID) Config {
	s.t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return Config{
		Conn: conn, Certificate: s.issue(node), CAs: s.ca.Pool(),
		Hello: wire.Hello{
			Cluster: s.ca.ID(), Node: node, Region: node.Region(), Origin: originOf(node),
			Incarnation: 1, WireMin: wire.MinVersion, WireMax: wire.MaxVersion,
		},
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: prometheus.NewRegistry(),
		Rand:    rand.New(rand.NewPCG(1, uint64(originOf(node)))),
	}
}

// noise is bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func originOf(node atoll.NodeID) atoll.Origin {
	var o atoll.Origin = 7
	for _, c := range []byte(node) {
		o = o*131 + atoll.Origin(c)
	}
	return o
}

// island is a running node that remembers what it was told.
type island struct {
	*Transport
	t    *testing.T
	addr string
	done chan error

	mu     sync.Mutex
	events []string // "up X", "down X", "X frame T body", "X datagram body"
}

// start runs a node; adjust may change its configuration first.
func (s *sea) start(node atoll.NodeID, adjust ...func(*Config, *island)) *island {
	s.t.Helper()
	cfg := s.config(node)
	i := &island{t: s.t, done: make(chan error, 1)}
	cfg.Handler = Handler{
		PeerUp:   func(p Peer) { i.note("up %s", p.Node) },
		PeerDown: func(n atoll.NodeID) { i.note("down %s", n) },
		Frame: func(n atoll.NodeID, typ wire.Type, b []byte) {
			i.note("%s frame %d %s", n, typ, b)
		},
		Datagram: func(n atoll.NodeID, b []byte) { i.note("%s datagram %s", n, b) },
	}
	for _, f := range adjust {
		f(&cfg, i)
	}
	tr, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	i.Transport, i.addr = tr, cfg.Conn.LocalAddr().String()
	go func() { i.done <- tr.Run(context.Background()) }()
	s.t.Cleanup(tr.Close)
	return i
}

func (i *island) note(format string, args ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = append(i.events, fmt.Sprintf(format, args...))
}

func (i *island) log() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.events)
}

func (i *island) heard(event string) bool { return slices.Contains(i.log(), event) }

func (i *island) awaits(event string) {
	i.t.Helper()
	what := fmt.Sprintf("%s hears %q", i.cfg.Hello.Node, event)
	until(i.t, what, func() bool { return i.heard(event) })
}

// meets connects i to other and waits until both say so.
func (i *island) meets(other *island) {
	i.t.Helper()
	if err := i.Connect(other.addr); err != nil {
		i.t.Fatal(err)
	}
	i.awaits("up " + string(other.cfg.Hello.Node))
	other.awaits("up " + string(i.cfg.Hello.Node))
}

// count reads a counter: refused_total{reason} and the like.
func (i *island) count(name, label string) float64 {
	i.t.Helper()
	families, err := i.cfg.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		i.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "atoll_transport_"+name &&
				(label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func (i *island) refusals(why reason) float64 { return i.count("refused_total", string(why)) }

func (i *island) awaitRefusal(why reason) {
	i.t.Helper()
	until(i.t, "refusal for "+string(why), func() bool { return i.refusals(why) > 0 })
}
