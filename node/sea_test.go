package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/node/wan"
)

// No test of the package leaves a goroutine behind. A probe that memberlist has
// under way at its end waits for its timeout. Most tests wait for distances, not
// for a processor: more of them run side by side than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// patience bounds every wait for a condition; a test that runs into it fails.
const patience = 30 * time.Second

// sea is a few nodes on loopback.
type sea struct {
	t     testing.TB
	ca    *transport.CA
	net   *wan.Network // between the regions
	tune  func(i int, c *Config)
	spots []*spot
}

// spot is where one node runs, again and again on the same directory and address.
type spot struct {
	id      atoll.NodeID
	dir     string
	addr    string
	metrics *prometheus.Registry
	node    *Node // nil while it does not run
	stop    context.CancelFunc
	end     chan error
}

// newSea starts a node for each name; they join the first.
func newSea(t testing.TB, ids ...atoll.NodeID) *sea {
	t.Helper()
	return tunedSea(t, nil, ids...)
}

// tunedSea is newSea with a last word on each configuration.
func tunedSea(t testing.TB, tune func(i int, c *Config), ids ...atoll.NodeID) *sea {
	t.Helper()
	ca, err := transport.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &sea{t: t, ca: ca, tune: tune, net: wan.NewNetwork(0.1, 1)}
	root := t.TempDir() // goes after the nodes: Badger closes into its directory, or never
	t.Cleanup(s.close)
	for i, id := range ids {
		dir := filepath.Join(root, strconv.Itoa(i))
		s.spots = append(s.spots, &spot{id: id, dir: dir, addr: "127.0.0.1:0"})
		s.start(i)
	}
	return s
}

// threeRegions is the dev world's sea with a tenth of its distances.
func threeRegions(t testing.TB, tune func(i int, c *Config)) *sea {
	t.Helper()
	s := tunedSea(t, tune, "frankfurt/1", "tokyo/1", "washington/1")
	s.net.SetRTT("frankfurt", "washington", 86*time.Millisecond)
	s.net.SetRTT("tokyo", "washington", 142*time.Millisecond)
	s.net.SetRTT("frankfurt", "tokyo", 229*time.Millisecond)
	s.settle()
	return s
}

const (
	frankfurt = iota
	tokyo
	washington
)

func (s *sea) node(i int) *Node { return s.spots[i].node }

// start begins node i, on its old directory and address if it has run before.
func (s *sea) start(i int) {
	s.t.Helper()
	p := s.spots[i]
	cfg := s.config(i)
	n, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.node, p.stop, p.end = n, cancel, make(chan error, 1)
	go func() { p.end <- n.Run(ctx) }()
}

// config makes the configuration of node i with a socket of its own.
func (s *sea) config(i int) Config {
	s.t.Helper()
	p := s.spots[i]
	conn, err := net.ListenPacket("udp4", p.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p.addr, p.metrics = conn.LocalAddr().String(), prometheus.NewRegistry()
	cert, err := s.ca.Issue(transport.Spec{Node: p.id}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := Config{
		Node: p.id, Lat: float64(10 * i % 90), Lon: float64(20 * i % 180), Dir: p.dir,
		Peer: s.net.Wrap(conn, p.id.Region()), Advertise: p.addr,
		Addresses: []string{fmt.Sprintf("127.0.%d.1", i+1)},
		CA:        s.ca, Certificate: cert, Clock: time.Now, Random: rand.Reader,
		Rand:    mrand.New(mrand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))),
		Logger:  slog.New(slog.DiscardHandler),
		Metrics: p.metrics,
	}
	if i > 0 {
		cfg.Join = []string{s.spots[0].addr}
	}
	if s.tune != nil {
		s.tune(i, &cfg)
	}
	return cfg
}

// stop ends node i as SIGTERM does, kill as kill -9 does.
func (s *sea) stop(i int) { s.t.Helper(); s.finish(i, (*Node).Close, true) }
func (s *sea) kill(i int) { s.t.Helper(); s.finish(i, (*Node).Kill, false) }

func (s *sea) finish(i int, end func(*Node) error, clean bool) {
	s.t.Helper()
	p := s.spots[i]
	if p.node == nil {
		return
	}
	n := p.node
	p.node = nil
	if clean {
		p.stop()
		if err := <-p.end; err != nil {
			s.t.Errorf("%s: %v", p.id, err)
		}
	}
	if err := end(n); err != nil {
		s.t.Errorf("%s: %v", p.id, err)
	}
	p.stop()
	if !clean {
		if err := <-p.end; err != nil {
			s.t.Errorf("%s: %v", p.id, err)
		}
	}
}

func (s *sea) close() {
	for i := range s.spots {
		s.stop(i)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// living returns the nodes that run.
func (s *sea) living() (nodes []*Node) {
	for _, p := range s.spots {
		if p.node != nil {
			nodes = append(nodes, p.node)
		}
	}
	return nodes
}

// settle waits until every living node sees all of them up and holds the same.
func (s *sea) settle() {
	s.t.Helper()
	nodes := s.living()
	for _, n := range nodes {
		eventually(s.t, string(n.Self())+" sees all up", func() bool { return up(n) == len(nodes) })
	}
	s.converge()
}

// up counts the nodes that n sees up in regions that are.
func up(n *Node) (count int) {
	for _, r := range n.Cluster().Regions {
		for _, v := range r.Nodes {
			if v.State == atoll.StateUp && r.State == atoll.StateUp {
				count++
			}
		}
	}
	return count
}

// converge waits until all living nodes hold the same.
func (s *sea) converge() {
	s.t.Helper()
	eventually(s.t, "all hold the same", func() bool {
		sums := make(map[uint64]bool)
		for _, n := range s.living() {
			sum, err := n.Digest(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			sums[sum] = true
		}
		return len(sums) == 1
	})
}

// cutOff cuts a region from all others.
func (s *sea) cutOff(r atoll.Region) {
	for _, p := range s.spots {
		if p.id.Region() != r {
			s.net.Cut(r, p.id.Region(), false)
		}
	}
}

// testSpace is where the tests write unless they say otherwise.
const testSpace = atoll.Keyspace("test")

func (s *sea) write(i int, key atoll.Key, c atoll.Change, body string) atoll.Written {
	s.t.Helper()
	w, err := s.tryWrite(i, atoll.Write{Key: key, Change: c, Body: []byte(body)})
	if err != nil {
		s.t.Fatalf("write %q %s at %s: %v", key, body, s.spots[i].id, err)
	}
	return w
}

func (s *sea) tryWrite(i int, w atoll.Write) (atoll.Written, error) {
	if w.Keyspace == "" {
		w.Keyspace = testSpace
	}
	return s.node(i).Write(s.t.Context(), w)
}

func (s *sea) put(i int, key atoll.Key, body string) atoll.Written {
	s.t.Helper()
	return s.write(i, key, atoll.Put, body)
}

func (s *sea) inc(i int, key atoll.Key, path string, by int) {
	s.t.Helper()
	s.write(i, key, atoll.Ops,
		fmt.Sprintf(`{"ops":[{"op":"inc","path":%q,"by":%d}]}`, path, by))
}

// get returns a document's body, or the kind of error.
func (s *sea) get(i int, key atoll.Key) string {
	d, err := s.read(i, key, "")
	if err != nil {
		return string(atoll.KindOf(err))
	}
	return string(d.Body)
}

func (s *sea) read(i int, key atoll.Key, session atoll.Token) (atoll.Document, error) {
	return s.node(i).Read(s.t.Context(),
		atoll.Read{Keyspace: testSpace, Key: key, Session: session})
}

// shows waits until node i shows a document.
func (s *sea) shows(i int, key atoll.Key, body string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s shows %q as %s", s.spots[i].id, key, body), func() bool {
		return s.get(i, key) == body
	})
}

// everywhere waits until every living node shows a document.
func (s *sea) everywhere(key atoll.Key, body string) {
	s.t.Helper()
	for i, p := range s.spots {
		if p.node != nil {
			s.shows(i, key, body)
		}
	}
}

// export returns all of a keyspace, as GET …/_export would.
func export(t testing.TB, n *Node, ks atoll.Keyspace) []byte {
	t.Helper()
	var out bytes.Buffer
	for after := atoll.Key(""); ; {
		p, err := n.List(t.Context(), atoll.Listing{Keyspace: ks, After: after, Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range p.Items {
			fmt.Fprintf(&out, "%q %s %s\n", d.Key, d.ETag, d.Body)
		}
		if after = p.Next; after == "" {
			return out.Bytes()
		}
	}
}

// sameExports fails unless all living nodes list the same bytes.
func (s *sea) sameExports(ks atoll.Keyspace) {
	s.t.Helper()
	nodes := s.living()
	want := export(s.t, nodes[0], ks)
	for _, n := range nodes[1:] {
		if got := export(s.t, n, ks); !bytes.Equal(got, want) {
			s.t.Errorf("%s exports\n%s%s\n%s", n.Self(), got, nodes[0].Self(), want)
		}
	}
}

// refused fails unless err is an *atoll.Error of this kind that tells a user
// something.
func refused(t testing.TB, err error, kind atoll.Kind) *atoll.Error {
	t.Helper()
	var e *atoll.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Detail == "" {
		t.Fatalf("got %v, want %s", err, kind)
	}
	return e
}

// delivered counts the packets that came through the links of a region.
func (s *sea) delivered(r atoll.Region) (n uint64) {
	for _, l := range s.net.Links() {
		if l.From == r || l.To == r {
			n += l.Delivered
		}
	}
	return n
}

// remembers waits until node i has a conflict of this kind about a key.
func (s *sea) remembers(i int, key atoll.Key, kind string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s tells of a %s on %q", s.spots[i].id, kind, key), func() bool {
		return slices.ContainsFunc(s.node(i).Conflicts(), func(c atoll.Conflicted) bool {
			return c.Keyspace == testSpace && c.Key == key && c.Kind == kind
		})
	})
}
