package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/node"
	"github.com/atolledge/atoll/node/transport"
)

const (
	// noticeTime is how long a node that was told to stop goes on answering and
	// says that it is not ready: load balancers and the other regions, which ask
	// each second, then send nobody here any more.
	noticeTime = 2 * time.Second

	// drainTime is how long a stopping node lets requests end.
	drainTime = 5 * time.Second
)

// hostConfig is one node with all that listens for it. Empty addresses are not
// opened.
type hostConfig struct {
	node.Config                   // but Peer, Metrics
	peer, http, https, dns string // addresses to listen on
	wrap                   func(net.PacketConn) net.PacketConn
	guard                  *guard.Guard
	hosts                  []string // names under which the API is asked
	zones                  []geodns.Zone
	places                 geo.Source
	mounts                 []api.Mount
}

// host is a node with its listeners. Open binds everything, so that what is in
// use is known before anything starts; run serves; close ends it.
type host struct {
	cfg  hostConfig
	node *node.Node
	api  *api.Server
	dns  *geodns.Server

	http, https net.Listener
	dnsUDP      net.PacketConn
	dnsTCP      net.Listener
	servers     []*http.Server

	cancel context.CancelFunc
	work   sync.WaitGroup
	failed chan error // the first failure of anything that runs
}

// openHost binds the sockets and opens the node.
func openHost(cfg hostConfig) (*host, error) {
	h := &host{cfg: cfg, failed: make(chan error, 1)}
	if err := h.open(); err != nil {
		h.unbind()
		return nil, err
	}
	return h, nil
}

func (h *host) open() error {
	cfg := h.cfg
	if err := h.bind(); err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", cfg.peer)
	if err != nil {
		return busy("peers", "udp", cfg.peer, err)
	}
	if cfg.Advertise == "" {
		h.cfg.Advertise = conn.LocalAddr().String()
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h.cfg.Config.Peer, h.cfg.Metrics = conn, registry
	if cfg.wrap != nil {
		h.cfg.Config.Peer = cfg.wrap(conn)
	}
	if h.node, err = node.New(h.cfg.Config); err != nil {
		return err
	}
	if err = h.serveWith(registry); err != nil {
		return errors.Join(err, h.node.Close())
	}
	return nil
}

// serveWith makes the DNS server and the API in front of the node.
func (h *host) serveWith(registry *prometheus.Registry) (err error) {
	h.dns, err = newDNS(h.cfg, h.node.Cluster, registry)
	if err != nil {
		return err
	}
	h.api, err = api.New(api.Config{
		Node: h.node, Guard: h.cfg.guard, Hosts: h.cfg.hosts, Explain: explainer(h.dns),
		Metrics: registry, Mounts: h.cfg.mounts, Logger: h.cfg.Logger,
	})
	return err
}

func newDNS(cfg hostConfig, cluster func() atoll.Cluster, r prometheus.Registerer) (
	*geodns.Server, error,
) {
	return geodns.New(geodns.Config{
		Zones: cfg.zones, Cluster: cluster, Places: cfg.places, HTTPSPort: port(cfg.https),
		Logger: cfg.Logger, Metrics: r,
	})
}

// explainer answers /v1/explain/dns.
func explainer(s *geodns.Server) func(name, ip string) (any, error) {
	return func(name, ip string) (any, error) {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return nil, atoll.Errorf(atoll.BadRequest, "ip %q is not an IP address", ip)
		}
		return s.Explain(name, addr)
	}
}

func port(addr string) uint16 {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(p, 10, 16)
	return uint16(n)
}

// bind opens the listeners of clients.
func (h *host) bind() (err error) {
	if h.http, err = listenTCP("HTTP", h.cfg.http); err != nil {
		return err
	}
	if h.https, err = listenTCP("HTTPS", h.cfg.https); err != nil {
		return err
	}
	if h.dnsTCP, err = listenTCP("DNS", h.cfg.dns); err != nil {
		return err
	}
	if h.cfg.dns != "" {
		if h.dnsUDP, err = net.ListenPacket("udp", h.cfg.dns); err != nil {
			return busy("DNS", "udp", h.cfg.dns, err)
		}
	}
	return nil
}

func listenTCP(what, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, busy(what, "tcp", addr, err)
	}
	return l, nil
}

// busy says which address could not be had, and what to do.
func busy(what, network, addr string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address, which is said already
	}
	return atoll.Errorf(atoll.Internal, "cannot listen on %s/%s for %s", addr, network, what).
		Because(err).
		WithHint("stop what uses that port (ss -lntup shows it), or listen elsewhere")
}

// unbind closes what bind opened, after a failure.
func (h *host) unbind() {
	for _, l := range []net.Listener{h.http, h.https, h.dnsTCP} {
		if l != nil {
			_ = l.Close()
		}
	}
	if h.dnsUDP != nil {
		_ = h.dnsUDP.Close()
	}
}

// run starts everything and returns at once. The first failure comes out of
// h.failed; close ends it all.
func (h *host) run() {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.work.Go(func() { h.fail(h.node.Run(ctx)) })
	if h.dnsUDP != nil {
		h.work.Go(func() {
			h.fail(h.dns.Run(ctx, []net.PacketConn{h.dnsUDP}, []net.Listener{h.dnsTCP}))
		})
	}
	if h.http != nil {
		s := api.NewHTTPServer(h.api, h.cfg.Logger)
		h.servers = append(h.servers, s)
		h.work.Go(func() { h.fail(s.Serve(h.http)) })
	}
	if h.https != nil {
		s := api.NewHTTPServer(h.api, h.cfg.Logger)
		s.TLSConfig = &tls.Config{
			Certificates: []tls.Certificate{h.cfg.Certificate}, MinVersion: tls.VersionTLS12,
		}
		h.servers = append(h.servers, s)
		h.work.Go(func() { h.fail(s.ServeTLS(h.https, "", "")) })
	}
}

func (h *host) fail(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		select {
		case h.failed <- err:
		default:
		}
	}
}

// retire says that the host is not ready and gives those who ask the time to
// hear it. A node that nobody else can send anybody to needs none.
func (h *host) retire() {
	h.node.Retire()
	alone := len(h.node.Cluster().Regions) == 1 && len(h.node.Cluster().Regions[0].Nodes) == 1
	if alone && loopback(h.cfg.http) && h.https == nil {
		return
	}
	select {
	case <-time.After(noticeTime):
	case <-h.failed:
	}
}

// close stops the host: no more requests, those under way end, then the node.
func (h *host) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var drains sync.WaitGroup
	for _, s := range h.servers {
		drains.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
		})
	}
	drains.Wait()
	h.cancel()
	h.work.Wait()
	return h.node.Close()
}

// kill stops the host as if its process had died: sockets first, nothing said.
func (h *host) kill() error {
	for _, s := range h.servers {
		_ = s.Close()
	}
	err := h.node.Kill()
	h.cancel()
	h.work.Wait()
	return err
}

// nodeConfig is the part of a node's configuration that is the same everywhere.
func nodeConfig(log *slog.Logger) (node.Config, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return node.Config{}, fmt.Errorf("random: %w", err)
	}
	return node.Config{
		Clock: time.Now, Random: rand.Reader, Rand: mrand.New(mrand.NewChaCha8(seed)), Logger: log,
	}, nil
}

// issue makes a node's certificate, good for peers and for HTTPS.
func issue(ca *transport.CA, id atoll.NodeID, hosts ...string) (tls.Certificate, error) {
	return ca.Issue(transport.Spec{Node: id, Hosts: hosts}, time.Now())
}
