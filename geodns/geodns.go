// Package geodns is an authoritative DNS server that sends each client to the
// nearest healthy region, and says why.
//
// A zone has a few names (RFC 1035 types unless said otherwise):
//
//	ZONE            SOA, NS (ns1.ZONE … one a region), CAA
//	www.ZONE        A, AAAA, HTTPS (RFC 9460), TXT: the client's region
//	REGION.ZONE     A, AAAA: that region's nodes, whatever their state
//	nsN.ZONE        A, AAAA: glue
//	_explain.www.ZONE  TXT: the reasons, for clients on loopback only
//
// The way of a query: parse (strict, our own) -> zone and name -> locate the
// client (EDNS client subnet of RFC 7871, else its resolver) -> steer ->
// records -> pack. All of it runs on the goroutine that read the query.
package geodns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/geo"
	"github.com/atolledge/atoll/geodns/steer"
)

// Config says what a Server serves. It is not changed after New.
type Config struct {
	Zones []Zone

	// Cluster returns the regions as this node sees them. It is called about
	// ten times a second and by Refresh, never for each query.
	Cluster func() atoll.Cluster

	// Places says where clients are; nil: nobody knows, and every client is
	// near the region that it asks.
	Places geo.Source

	HTTPSPort uint16   // of HTTPS records; 0: 443, which they do not name
	ALPN      []string // of HTTPS records, best first; nil: h2

	Limits  Limits
	Logger  *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is registered
}

// Zone is one zone that the server is authoritative for.
type Zone struct {
	Name string        // "example.org", with or without the last dot
	Geo  []string      // names below it that are routed, "@" for itself; nil: www
	TTL  time.Duration // of what follows the regions' health; 0: MaxTTL, its limit

	Hostmaster string // mailbox of the SOA as a name; "": hostmaster.ZONE
	CAA        []CAA  // who may issue certificates, at the apex
}

// CAA is a record of RFC 8659.
type CAA struct {
	Flag       uint8
	Tag, Value string // "issue", "letsencrypt.org"
}

// Limits bound what clients can make the server do. Zero values mean the
// defaults in brackets.
type Limits struct {
	Answers  int           // addresses of a family in an answer [4]
	Readers  int           // goroutines that read one UDP socket [2]
	TCPConns int           // open TCP connections; more are closed at once [256]
	TCPIdle  time.Duration // for a whole query to come in on one [10 s]
}

func (l Limits) withDefaults() Limits {
	or := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	or(&l.Answers, 4)
	or(&l.Readers, 2)
	or(&l.TCPConns, 256)
	if l.TCPIdle <= 0 {
		l.TCPIdle = 10 * time.Second
	}
	return l
}

const (
	// MaxTTL bounds how long resolvers may keep an answer that follows health.
	MaxTTL = 30 * time.Second

	// refreshEvery is how often the server looks at the cluster on its own:
	// little beside the seconds that health takes to decide.
	refreshEvery = 100 * time.Millisecond

	maxZones = 1024 // of a Config
)

// Server answers queries. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	now     atomic.Pointer[view]
	refresh sync.Mutex // one Refresh at a time, so that the last one wins
	slots   chan struct{}
}

// New checks a Config and makes its Server, which serves once Run is called.
// Explain and Refresh work without.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Cluster == nil {
		return nil, errors.New("geodns: Config.Cluster is not set")
	}
	if len(cfg.Zones) > maxZones {
		return nil, atoll.Errorf(atoll.BadRequest, "%d DNS zones", len(cfg.Zones)).
			WithLimit("DNS zones", maxZones)
	}
	zones, err := checkZones(cfg.Zones)
	if err != nil {
		return nil, err
	}
	cfg.Zones = zones
	if cfg.ALPN == nil {
		cfg.ALPN = []string{"h2"}
	}
	if err := checkALPN(cfg.ALPN); err != nil {
		return nil, err
	}
	if cfg.Places == nil {
		var b geo.Builder
		cfg.Places = b.Table()
	}
	s := &Server{cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, cfg.Limits.TCPConns)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	s.Refresh()
	return s, nil
}

// Refresh looks at the cluster now: the next answer knows what it says. Call it
// when a region's state changes; Run calls it all the time anyway.
func (s *Server) Refresh() {
	s.refresh.Lock()
	defer s.refresh.Unlock()
	world := steer.NewWorld(s.cfg.Cluster())
	old := s.now.Load()
	if old != nil && old.world.Version == world.Version {
		return
	}
	s.now.Store(newView(&s.cfg, world, s.metrics))
	s.log.Info("dns map", "version", mapVersion(world), "regions", len(world.Regions()))
}

// Run serves on the sockets until life ends, then closes them and returns nil
// once all its goroutines have ended. It owns the sockets from the call on. An
// error of one socket that does not go away ends all. Bind sockets to single
// addresses: an answer leaves from the address its socket is bound to.
func (s *Server) Run(life context.Context, udp []net.PacketConn, tcp []net.Listener) error {
	ctx, stop := context.WithCancelCause(life)
	defer stop(nil)
	var wg sync.WaitGroup
	for _, c := range udp {
		context.AfterFunc(ctx, func() { c.Close() })
		conn := datagrams(c)
		for range s.cfg.Limits.Readers {
			wg.Go(func() { s.end(ctx, stop, s.serveUDP(ctx, conn)) })
		}
	}
	for _, l := range tcp {
		context.AfterFunc(ctx, func() { l.Close() })
		wg.Go(func() { s.end(ctx, stop, s.serveTCP(ctx, l, &wg)) })
	}
	wg.Go(func() { s.follow(ctx) })
	<-ctx.Done()
	wg.Wait()
	if life.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// end stops everything for an error that came before the end.
func (s *Server) end(ctx context.Context, stop context.CancelCauseFunc, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Error("dns socket", "err", err)
		stop(err)
	}
}

// follow keeps the view young.
func (s *Server) follow(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Refresh()
		}
	}
}

// respond answers one packet in out's space, or returns nil if it deserves no
// answer. from is the address that sent it, limit the size of an answer that
// the transport can carry, 0 for what the query says that UDP can.
func (s *Server) respond(packet []byte, from netip.Addr, limit int, out []byte) []byte {
	q, verdict := parse(packet)
	if drop := s.metrics.dropped[verdict]; drop != nil {
		drop.Inc()
		return nil
	}
	v := s.now.Load()
	r := s.answer(v, &q, verdict, from.Unmap())
	if limit == 0 {
		limit = q.udpLimit()
	}
	b, truncated := pack(&q, &r, limit, out)
	if truncated {
		s.metrics.truncated.Inc()
	}
	v.count(&q, &r)
	return b
}

// checkALPN refuses protocol ids that an HTTPS record cannot carry.
func checkALPN(ids []string) error {
	bad := func(id string) bool { return id == "" || len(id) > 255 }
	if len(ids) > 16 || slices.ContainsFunc(ids, bad) {
		return atoll.Errorf(atoll.BadRequest, "ALPN ids %q of HTTPS records", ids)
	}
	return nil
}
