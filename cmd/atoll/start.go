package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"syscall"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/node/transport"
)

type startCmd struct{ configured }

// Run is one node until SIGTERM or SIGINT.
func (c *startCmd) Run(ctx context.Context, std *stdio) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log, err := newLogger(std.err, cfg.Log, level)
	if err != nil {
		return err
	}
	hc, err := hostOf(cfg, log)
	if err != nil {
		return err
	}
	h, err := openHost(hc)
	if err != nil {
		return err
	}
	h.run()
	fmt.Fprint(std.err, banner(h, cfg))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			c.reload(h, &cfg, level, log)
		case err := <-h.failed:
			return errors.Join(err, h.close())
		case <-h.node.Left():
			if h.node.Departed() {
				log.Info("left the cluster: stopping; the next start is that of a new, empty node")
				h.retire()
				return h.close()
			}
			return errors.Join(errForgotten(), h.close())
		case <-ctx.Done():
			log.Info("stopping: not ready any more, then requests under way end")
			h.retire()
			return h.close()
		}
	}
}

func errForgotten() error {
	return atoll.Errorf(atoll.Fenced, "the cluster has forgotten this node").
		WithHint("start it again: it drops what it holds and joins as a new, empty node")
}

// banner is what a person sees first.
func banner(h *host, cfg config) string {
	s := fmt.Sprintf("atoll %s: node %s of cluster %s, data in %s\n",
		readVersion().Version, h.cfg.Node, h.cfg.CA.Cluster, cfg.Data)
	if h.http != nil {
		s += fmt.Sprintf("  documents  http://%s/v1/docs/   try: atoll put notes hello '{\"text\":\"hi\"}'\n",
			h.http.Addr())
	}
	if h.https != nil {
		s += fmt.Sprintf("  documents  https://%s/v1/docs/\n", h.https.Addr())
	}
	if h.dnsUDP != nil {
		s += fmt.Sprintf("  dns        %s, %d zone(s)\n", h.dnsUDP.LocalAddr(), len(cfg.DNS.Zones))
	}
	return s + fmt.Sprintf("  peers      %s; a second node joins with --join %s\n",
		h.cfg.Advertise, h.cfg.Advertise)
}

// hostOf turns a configuration into a host's.
func hostOf(c config, log *slog.Logger) (hostConfig, error) {
	base, err := nodeConfig(log)
	if err != nil {
		return hostConfig{}, err
	}
	h := hostConfig{
		Config: base, peer: c.Listen.Peer, http: c.Listen.HTTP, https: c.Listen.HTTPS,
		dns: c.Listen.DNS, storage: c.Media,
	}
	h.Node = atoll.NodeID(c.Region.Name + "/" + c.Name)
	h.Lat, h.Lon = c.Region.Lat, c.Region.Lon
	h.Dir, h.Reserve = c.Data, int64(c.Limits.DiskReserve)
	h.Lapse = time.Duration(c.Limits.Lapse)
	h.Advertise, h.Join = c.Advertise, c.Join
	h.ExplicitKeyspaces = c.Keyspaces.Create == "explicit"
	if h.Advertise == "" {
		h.Advertise = c.Listen.Peer
	}
	h.Addresses = publicAddresses(c.Region.Addresses, h.Advertise)
	if h.guard, err = guardOf(c); err != nil {
		return h, err
	}
	for _, z := range c.DNS.Zones {
		h.zones = append(h.zones, geodns.Zone{Name: z.Name, Geo: z.Names})
		h.hosts = append(h.hosts, z.Name, "*."+z.Name)
	}
	h.hosts = append(h.hosts, c.API.Hosts...)
	if h.places, err = places(c.DNS); err != nil {
		return h, err
	}
	if c.Traces.Endpoint != "" {
		if h.traces, err = c.Traces.url(); err != nil {
			return h, err
		}
		h.sample = c.Traces.Sample
	}
	h.CA, h.Certificate, err = trust(c, h.Node)
	return h, err
}

// publicAddresses is what DNS answers for a node: the addresses that the
// configuration names, in their usual form, else the one that peers reach.
func publicAddresses(named []string, advertise string) []string {
	if len(named) > 0 {
		out := make([]string, len(named))
		for i, a := range named {
			out[i] = netip.MustParseAddr(a).Unmap().String() // checkNames has read it
		}
		return out
	}
	host, _, _ := net.SplitHostPort(advertise)
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
		return []string{ip.String()}
	}
	return nil
}

func guardOf(c config) (*guard.Guard, error) {
	tokens := make([]guard.Token, len(c.API.Tokens))
	for i, t := range c.API.Tokens {
		tokens[i] = guard.Token{Name: t.Name, SHA256: t.SHA256, Role: t.Role}
	}
	return guard.New(tokens)
}

// places opens the operator's database, or the built-in table of countries. A
// node that serves no zone needs neither.
func places(c dnsConfig) (geo.Source, error) {
	if len(c.Zones) == 0 {
		return nil, nil
	}
	base, err := openPlaces(c.Database)
	if err != nil {
		return nil, err
	}
	return geo.NewOverlay(base, nil)
}

func openPlaces(database string) (geo.Source, error) {
	if database != "" {
		return geo.OpenMMDB(database)
	}
	return geo.Default()
}

// trust loads the node's certificate, or makes a cluster of one: its CA then
// lies in the data directory.
func trust(c config, id atoll.NodeID) (*transport.CA, tls.Certificate, error) {
	if c.secure() {
		ca, err := transport.LoadTrust(c.TLS.CA)
		if err != nil {
			return nil, tls.Certificate{}, err
		}
		cert, err := transport.LoadCertificate(c.TLS.Cert, c.TLS.Key)
		return ca, cert, err
	}
	ca, err := ownCA(filepath.Join(c.Data, "ca"), "local")
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	cert, err := issue(ca, id, "127.0.0.1", "::1", "localhost")
	return ca, cert, err
}

// ownCA loads the CA that lies in dir, or makes one there.
func ownCA(dir, cluster string) (*transport.CA, error) {
	if _, err := os.Stat(filepath.Join(dir, "ca.pem")); err == nil {
		return transport.LoadCA(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := transport.NewCA(cluster, time.Now())
	if err != nil {
		return nil, err
	}
	return ca, ca.Save(dir)
}

// newLogger writes to w as the configuration says.
func newLogger(w io.Writer, c logConfig, level *slog.LevelVar) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, misuse("log.level %q: use debug, info, warn or error", c.Level)
	}
	level.Set(l)
	options := &slog.HandlerOptions{Level: level}
	log := slog.New(slog.NewTextHandler(w, options))
	if c.Format == "json" {
		log = slog.New(slog.NewJSONHandler(w, options))
	}
	adoptLog(log)
	return log, nil
}

// adoptLog leads what libraries print through package log into ours, as details:
// quic-go tells there of socket buffers that the system keeps small.
func adoptLog(to *slog.Logger) {
	slog.SetDefault(to)
	slog.SetLogLoggerLevel(slog.LevelDebug)
}

// reload takes over what can change without a restart, and names what cannot. A
// configuration or a file that is wrong changes nothing.
func (c *startCmd) reload(h *host, old *config, level *slog.LevelVar, log *slog.Logger) {
	next, err := c.load()
	if err == nil {
		err = adopt(h, *old, next, level)
	}
	if err != nil {
		log.Error("the configuration was not reloaded", "err", err, "hint", hint(err))
		return
	}
	log.Info("reloaded TLS files, tokens, limits and log level",
		"restart for", needRestart(*old, next))
	*old = next
}

func adopt(h *host, old, next config, level *slog.LevelVar) error {
	g, err := guardOf(next)
	if err != nil {
		return err
	}
	if old.secure() && next.secure() {
		ca, certificate, err := trust(next, h.cfg.Node)
		if err == nil {
			err = h.renew(ca, certificate)
		}
		if err != nil {
			return err
		}
	}
	h.api.SetGuard(g)
	h.node.SetReserve(int64(next.Limits.DiskReserve))
	return level.UnmarshalText([]byte(next.Log.Level))
}

// needRestart names the keys that differ and are only read at start.
func needRestart(a, b config) []string {
	a.API.Tokens, b.API.Tokens = nil, nil
	a.Log.Level, b.Log.Level = "", ""
	a.Limits.DiskReserve, b.Limits.DiskReserve = 0, 0
	if a.secure() && b.secure() {
		a.TLS, b.TLS = tlsConfig{}, tlsConfig{}
	}
	var keys []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	walk(va.Type(), "", nil, func(key string, _ reflect.Type, index []int) {
		x, y := va.FieldByIndex(index), vb.FieldByIndex(index)
		if x.Kind() != reflect.Struct && !reflect.DeepEqual(x.Interface(), y.Interface()) {
			keys = append(keys, key)
		}
	})
	return keys
}
