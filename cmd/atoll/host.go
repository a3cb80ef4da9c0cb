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
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/console"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/cache"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/node"
	"github.com/atolledge/atoll/node/otlp"
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
	storage                mediaConfig
	mounts                 []api.Mount
	sources                func() []console.Source // for the console; nil: the node itself
	dev                    func() console.Dev      // nil outside of the dev world
	traces                 *url.URL                // of a collector; nil: nothing is traced
	sample                 float64                 // of requests without a traceparent
}

// host is a node with its listeners. Open binds everything, so that what is in
// use is known before anything starts; run serves; close ends it.
type host struct {
	cfg   hostConfig
	node  *node.Node
	media *cache.Media
	api   *api.Server
	dns   *geodns.Server

	http3 *api.HTTP3Server

	certificate atomic.Pointer[tls.Certificate] // that HTTPS shows

	traces  *otlp.Exporter // nil: none
	console *console.Console
	metrics *prometheus.Registry

	http, https net.Listener
	https3      net.PacketConn // HTTP/3, on the port of https
	dnsUDP      net.PacketConn
	dnsTCP      net.Listener
	servers     []server

	cancel context.CancelFunc
	work   sync.WaitGroup
	failed chan error // the first failure of anything that runs
}

// server answers requests: an http.Server or an api.HTTP3Server.
type server interface {
	Shutdown(context.Context) error
	Close() error
}

// openHost binds the sockets and opens the node.
func openHost(cfg hostConfig) (*host, error) {
	h := &host{cfg: cfg, failed: make(chan error, 1)}
	h.certificate.Store(&cfg.Certificate)
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
	h.cfg.Config.Peer, h.cfg.Metrics, h.metrics = conn, registry, registry
	if cfg.wrap != nil {
		h.cfg.Config.Peer = cfg.wrap(conn)
	}
	if err := h.openTraces(registry); err != nil {
		_ = conn.Close()
		return err
	}
	if h.node, err = node.New(h.cfg.Config); err != nil {
		h.closeTraces()
		return err
	}
	h.media = openMedia(h.node, h.cfg.Config, cfg.storage, registry)
	if err = h.serveWith(registry); err != nil {
		h.media.Close()
		err = errors.Join(err, h.node.Close())
		h.closeTraces()
		return err
	}
	return nil
}

// openTraces starts the exporter of spans, if there is a collector.
func (h *host) openTraces(registry *prometheus.Registry) (err error) {
	if h.cfg.traces == nil {
		return nil
	}
	h.traces, err = otlp.New(otlp.Config{
		Endpoint: h.cfg.traces, Cluster: h.cfg.CA.Cluster, Node: h.cfg.Node,
		Version: readVersion().Version, Logger: h.cfg.Logger, Metrics: registry,
	})
	if err == nil {
		h.cfg.Spans = h.traces.Put
	}
	return err
}

// closeTraces sends the last spans, those of closing included.
func (h *host) closeTraces() {
	if h.traces != nil {
		h.traces.Close()
	}
}

// serveWith makes the DNS server and the API in front of the node.
func (h *host) serveWith(registry *prometheus.Registry) (err error) {
	var securePort uint16
	if h.https != nil {
		securePort = port(h.https.Addr().String())
	}
	h.dns, err = newDNS(h.cfg, securePort, h.node.Cluster, registry)
	if err != nil {
		return err
	}
	mounts, err := h.openConsole()
	if err != nil {
		return err
	}
	h.api, err = api.New(api.Config{
		Node: h.node, Media: h.media, Guard: h.cfg.guard, Hosts: h.cfg.hosts, Explain: explainer(h.dns),
		Metrics: registry, Watch: h.node.Watch, HTTP3Port: securePort, Mounts: mounts, Logger: h.cfg.Logger,
		Spans: h.cfg.Spans, Sample: h.cfg.sample,
	})
	if err != nil || h.https3 == nil {
		return err
	}
	return h.serveHTTP3(registry)
}

// serveHTTP3 makes the server on the UDP half of the https port.
func (h *host) serveHTTP3(registry *prometheus.Registry) error {
	s, err := api.NewHTTP3Server(h.api, h.https3, h.serverTLS(), h.cfg.Logger)
	if err != nil {
		return err
	}
	h.http3 = s
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "atoll_http3_connections", Help: "Open connections of HTTP/3 clients.",
	}, func() float64 { return float64(s.Conns()) }))
}

// serverTLS is how HTTPS presents the node, over TCP and over QUIC.
func (h *host) serverTLS() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return h.certificate.Load(), nil
		},
		MinVersion: tls.VersionTLS12,
	}
}

// renew shows another certificate and believes other CAs from now on, to peers
// and to clients. An error leaves all as it was.
func (h *host) renew(ca *transport.CA, certificate tls.Certificate) error {
	if err := h.node.Renew(ca, certificate); err != nil {
		return err
	}
	h.certificate.Store(&certificate)
	return nil
}

// alpn are the protocols of the https port, best first.
func alpn() []string { return []string{"h3", "h2"} }

func newDNS(
	cfg hostConfig, securePort uint16, cluster func() atoll.Cluster, r prometheus.Registerer,
) (*geodns.Server, error) {
	return geodns.New(geodns.Config{
		Zones: cfg.zones, Cluster: cluster, Places: cfg.places, HTTPSPort: securePort,
		ALPN: alpn(), Logger: cfg.Logger, Metrics: r,
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
	if h.https != nil {
		addr := h.https.Addr().String()
		if h.https3, err = net.ListenPacket("udp", addr); err != nil {
			return busy("HTTP/3", "udp", addr, err)
		}
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
	for _, c := range []net.PacketConn{h.dnsUDP, h.https3} {
		if c != nil {
			_ = c.Close()
		}
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
		s.TLSConfig = h.serverTLS()
		h.servers = append(h.servers, s, h.http3)
		h.work.Go(func() { h.fail(s.ServeTLS(h.https, "", "")) })
		h.work.Go(func() { h.fail(h.http3.Serve()) })
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

// close stops the host: no more requests, those under way end, then the node. It
// returns within drainTime and closeTime, with an error if something hangs.
func (h *host) close() error {
	h.console.Close()
	h.api.EndStreams()
	return endInTurn(drainTime+closeTime, h.cfg.Dir,
		ending{"requests under way", func() error { h.drain(); return nil }},
		ending{"what the node has begun", func() error { h.cancel(); h.work.Wait(); return nil }},
		ending{"the store of chunks", func() error { h.media.Close(); return nil }},
		ending{"the data directory", h.node.Close},
		ending{"the last spans", func() error { h.closeTraces(); return nil }},
	)
}

// drain lets requests end, and cuts those that take too long.
func (h *host) drain() {
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
}

// kill stops the host as if its process had died: sockets first, nothing said.
func (h *host) kill() error {
	for _, s := range h.servers {
		_ = s.Close()
	}
	err := h.node.Kill()
	h.media.Close()
	h.cancel()
	h.work.Wait()
	h.closeTraces()
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
