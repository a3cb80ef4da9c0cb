package cache_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/cache"
	"github.com/atolledge/atoll/node"
	"github.com/atolledge/atoll/node/transport"
)

var (
	_ cache.Node = (*node.Node)(nil)
	_ api.Media  = (*cache.Media)(nil)
)

// island is one node with its media and its API.
type island struct {
	*node.Node
	media   *cache.Media
	metrics *prometheus.Registry
	http    *httptest.Server
	stop    context.CancelFunc
	end     chan error
	dir     string
	peer    string
}

// sea is a few islands on loopback that know each other.
type sea struct {
	t       testing.TB
	ca      *transport.CA
	islands []*island
	tune    func(*cache.Config)
}

func newSea(t testing.TB, tune func(*cache.Config), ids ...atoll.NodeID) *sea {
	t.Helper()
	ca, err := transport.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &sea{t: t, ca: ca, tune: tune}
	for i, id := range ids {
		s.islands = append(s.islands, &island{dir: t.TempDir(), peer: "127.0.0.1:0"})
		s.start(i, id)
	}
	t.Cleanup(func() {
		for i := range s.islands {
			s.stop(i)
		}
	})
	for i := range s.islands {
		eventually(t, "all know each other", func() bool { return s.up(i) == len(ids) })
	}
	return s
}

func (s *sea) up(i int) (up int) {
	for _, r := range s.islands[i].Cluster().Regions {
		for _, n := range r.Nodes {
			if n.State == atoll.StateUp {
				up++
			}
		}
	}
	return up
}

func (s *sea) start(i int, id atoll.NodeID) {
	s.t.Helper()
	x := s.islands[i]
	conn, err := net.ListenPacket("udp", x.peer)
	if err != nil {
		s.t.Fatal(err)
	}
	x.peer = conn.LocalAddr().String()
	cert, err := s.ca.Issue(transport.Spec{Node: id}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	var join []string
	if i > 0 {
		join = []string{s.islands[0].peer}
	}
	x.metrics = prometheus.NewRegistry()
	x.Node, err = node.New(node.Config{
		Node: id, Lat: float64(i), Lon: float64(i), Dir: x.dir, Peer: conn, Advertise: x.peer,
		Join: join, CA: s.ca, Certificate: cert, Clock: time.Now, Random: rand.Reader,
		Rand:   mrand.New(mrand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))),
		Logger: slog.New(slog.DiscardHandler), Metrics: x.metrics,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	c := cache.Config{Node: x.Node, Store: x.Chunks(), Every: time.Hour, Clock: time.Now,
		Logger: slog.New(slog.DiscardHandler), Metrics: x.metrics}
	if s.tune != nil {
		s.tune(&c)
	}
	x.media = cache.New(c)
	x.http = httptest.NewServer(s.api(x))
	var ctx context.Context
	ctx, x.stop = context.WithCancel(context.Background())
	x.end = make(chan error, 1)
	go func() { x.end <- x.Run(ctx) }()
}

func (s *sea) api(x *island) http.Handler {
	anyone, err := guard.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := api.New(api.Config{Node: x.Node, Media: x.media, Guard: anyone, Metrics: x.metrics})
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// stop ends an island; one that is down stays so.
func (s *sea) stop(i int) {
	s.t.Helper()
	x := s.islands[i]
	if x.Node == nil {
		return
	}
	x.http.Close()
	x.media.Close()
	x.stop()
	if err := <-x.end; err != nil {
		s.t.Errorf("node %d: %v", i, err)
	}
	if err := x.Close(); err != nil {
		s.t.Errorf("node %d: %v", i, err)
	}
	x.Node = nil
}

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

// counted returns a counter or gauge of an island, of the label value where it has one.
func (s *sea) counted(i int, name, label string) float64 {
	s.t.Helper()
	families, err := s.islands[i].metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if label == "" || m.Label[0].GetValue() == label {
				return m.Counter.GetValue() + m.Gauge.GetValue()
			}
		}
	}
	return 0
}

// do sends a request to an island; header is pairs of name and value.
func (s *sea) do(i int, method, path string, body io.Reader, header ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method,
		s.islands[i].http.URL+"/v1/media/"+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for j := 0; j < len(header); j += 2 {
		req.Header.Set(header[j], header[j+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (s *sea) put(i int, path string, body []byte, header ...string) *http.Response {
	s.t.Helper()
	res := s.do(i, "PUT", path, bytes.NewReader(body), header...)
	if res.StatusCode/100 != 2 {
		b, _ := io.ReadAll(res.Body)
		s.t.Fatalf("PUT %s at %d: %d %s", path, i, res.StatusCode, b)
	}
	return res
}

// get returns the status and the body of a GET.
func (s *sea) get(i int, path string, header ...string) (int, []byte) {
	s.t.Helper()
	res := s.do(i, "GET", path, nil, header...)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Errorf("GET %s at %d: %v", path, i, err)
	}
	return res.StatusCode, b
}

// noise returns n bytes that are the same each time and differ by seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = mrand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}
