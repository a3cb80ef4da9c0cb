package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/cmd/atoll/sample"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/node/wan"
)

// cities are the regions of the dev world.
var cities = []struct {
	name     atoll.Region
	lat, lon float64
}{
	{"washington", 38.9, -77.04},
	{"frankfurt", 50.11, 8.68},
	{"tokyo", 35.68, 139.69},
}

// distances are the round trip times between them.
var distances = []struct {
	a, b atoll.Region
	rtt  time.Duration
}{
	{"washington", "frankfurt", 86 * time.Millisecond},
	{"washington", "tokyo", 142 * time.Millisecond},
	{"frankfurt", "tokyo", 229 * time.Millisecond},
}

const (
	jitterShare = 50     // a link's jitter is its round trip time / jitterShare
	linkLoss    = 0.0005 // of packets, each way
	zoneName    = "atoll.test."

	// The world's own addresses: they answer while any node lives.
	frontHTTP = "127.0.0.1:8080"
	frontDNS  = "127.0.0.1:8053"

	frontSecure = 8443 // of the HTTPS records that the front's DNS answers

	importers = 256 // writes of the sample that are under way at once
)

type worldConfig struct {
	dir   string
	nodes int // a region
	scale float64
	log   *slog.Logger
}

// world is the dev world: nodes, the emulated sea between them, and a front that
// passes to the first living region.
type world struct {
	cfg    worldConfig
	ca     *transport.CA
	sea    *wan.Network
	places geo.Source
	front  *front
	failed chan error

	mu    sync.Mutex // guards the hosts' run
	hosts []*devHost // by region in order of cities, then number
}

// devHost is one node of the world; run is nil while it is dead.
type devHost struct {
	id    atoll.NodeID
	city  int
	dir   string
	addrs struct{ http, https, dns, peer string }
	*host
}

func openWorld(cfg worldConfig) (w *world, err error) {
	w = &world{cfg: cfg, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.ca, err = ownCA(cfg.dir, "dev"); err != nil {
		return w, err
	}
	base, err := geo.Default()
	if err != nil {
		return w, err
	}
	if w.places, err = geo.NewOverlay(base, nil); err != nil {
		return w, err
	}
	w.sea = wan.NewNetwork(cfg.scale, uint64(time.Now().UnixNano()))
	for _, d := range distances {
		w.sea.SetRTT(d.a, d.b, d.rtt)
		w.sea.SetJitter(d.a, d.b, d.rtt/jitterShare)
		w.sea.SetLoss(d.a, d.b, linkLoss)
	}
	if w.front, err = newFront(w); err != nil {
		return w, err
	}
	w.plan()
	for _, h := range w.hosts {
		if err := w.open(h); err != nil {
			return w, err
		}
	}
	w.front.run()
	return w, nil
}

// plan gives each node its addresses: an address of its own in 127.0.0.0/8, or
// ports of its own where there is only 127.0.0.1.
func (w *world) plan() {
	own := canBind("127.0.1.1:0")
	for i, c := range cities {
		for n := range w.cfg.nodes {
			h := &devHost{city: i, id: atoll.NodeID(fmt.Sprintf("%s/%d", c.name, n+1))}
			h.dir = filepath.Join(w.cfg.dir, fmt.Sprintf("%s-%d", c.name, n+1))
			ip, shift := fmt.Sprintf("127.0.%d.%d", i+1, n+1), 0
			if !own {
				ip, shift = "127.0.0.1", 1+i+n*len(cities)
			}
			at := func(port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }
			h.addrs.http, h.addrs.https = at(8080+shift), at(8443+shift)
			h.addrs.dns, h.addrs.peer = at(8053+shift), at(7950+shift)
			if !own {
				h.addrs.https, h.addrs.peer = at(8450+shift), at(7950+shift)
			}
			w.hosts = append(w.hosts, h)
		}
	}
}

func canBind(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// open starts a node on its directory.
func (w *world) open(h *devHost) error {
	base, err := nodeConfig(w.cfg.log.With("node", h.id))
	if err != nil {
		return err
	}
	ip := host127(h.addrs.http)
	city := cities[h.city]
	base.Node, base.Lat, base.Lon, base.Dir = h.id, city.lat, city.lon, h.dir
	base.Reserve = 64 << 20 // a demo on a laptop, not a database
	base.Advertise, base.Addresses, base.CA = h.addrs.peer, []string{ip}, w.ca
	for _, o := range w.hosts {
		if o != h {
			base.Join = append(base.Join, o.addrs.peer)
		}
	}
	if base.Certificate, err = issue(w.ca, h.id, ip, "localhost",
		string(city.name)+".atoll.test", "www.atoll.test"); err != nil {
		return err
	}
	anyone, err := guard.New(nil)
	if err != nil {
		return err
	}
	opened, err := openHost(hostConfig{
		Config: base, peer: h.addrs.peer, http: h.addrs.http, https: h.addrs.https, dns: h.addrs.dns,
		wrap:  func(c net.PacketConn) net.PacketConn { return w.sea.Wrap(c, city.name) },
		guard: anyone, hosts: []string{"*.atoll.test"}, places: w.places,
		zones: []geodns.Zone{{Name: zoneName}}, mounts: w.mounts(),
		sources: w.sources, dev: w.truth,
	})
	if err != nil {
		return err
	}
	opened.run()
	go func() {
		select {
		case <-opened.node.Left(): // it stops, as its process would
			_ = w.stop(string(h.id))
		case err := <-opened.failed:
			if err != nil {
				w.failed <- fmt.Errorf("%s: %w", h.id, err)
			}
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	h.host = opened
	return nil
}

func (w *world) mounts() []api.Mount {
	return []api.Mount{{Prefix: "/v1/dev/", Read: guard.Reader, Write: guard.Operator,
		Handler: http.HandlerFunc(w.serveDev)}}
}

// living returns the nodes that run, in order.
func (w *world) living() []*host {
	w.mu.Lock()
	defer w.mu.Unlock()
	var alive []*host
	for _, h := range w.hosts {
		if h.host != nil {
			alive = append(alive, h.host)
		}
	}
	return alive
}

// kill ends a node as if its process had died; start opens it again from disk.
func (w *world) kill(id string) error {
	h, running, err := w.find(id)
	if err != nil || running == nil {
		return err
	}
	w.mu.Lock()
	h.host = nil
	w.mu.Unlock()
	return running.kill()
}

// stop ends a node that has left.
func (w *world) stop(id string) error {
	h, running, err := w.find(id)
	if err != nil || running == nil {
		return err
	}
	w.mu.Lock()
	h.host = nil
	w.mu.Unlock()
	return running.close()
}

func (w *world) start(id string) error {
	h, running, err := w.find(id)
	if err != nil || running != nil {
		return err
	}
	return w.open(h)
}

func (w *world) find(id string) (*devHost, *host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.hosts, func(h *devHost) bool { return string(h.id) == id })
	if i < 0 {
		return nil, nil, atoll.Errorf(atoll.NotFound, "there is no node %q", id).
			WithHint("atoll node lists them")
	}
	return w.hosts[i], w.hosts[i].host, nil
}

func (w *world) close() error {
	var errs []error
	if w.front != nil {
		w.front.close()
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, h := range w.living() {
		all.Go(func() {
			err := h.close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// load imports a sample through the first node.
func (w *world) load(ctx context.Context, set *sample.Set, std *stdio) error {
	n := w.living()[0].node
	if _, err := n.Read(ctx, atoll.Read{Keyspace: atoll.Keyspace(set.Name), Key: "hip-32349"}); err == nil {
		return nil // from an earlier run with --data
	}
	bar := newMeter(std.err, nil, 0)
	defer bar.clear()
	lines := bufio.NewScanner(set.Reader())
	slots := make(chan struct{}, importers)
	var writes sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for done := 0; lines.Scan(); done++ {
		bar.draw(done)
		body := slices.Clone(lines.Bytes())
		slots <- struct{}{}
		writes.Go(func() {
			defer func() { <-slots }()
			if err := putStar(ctx, n, set, body); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	writes.Wait()
	return errors.Join(failed, lines.Err())
}

func putStar(ctx context.Context, n api.Node, set *sample.Set, body []byte) error {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		return err
	}
	key, _ := fields[set.Key].(string)
	_, err := n.Write(ctx, atoll.Write{
		Keyspace: atoll.Keyspace(set.Name), Key: atoll.Key(key), Body: body,
	})
	return err
}
