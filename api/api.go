// Package api provides the HTTP interface of a node: it decodes requests, asks
// the Node, and encodes the answers. Its routes, their roles and their
// description for /openapi.json are one table.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Server is made of. Node and Guard are needed; the rest has
// defaults.
type Config struct {
	Node  Node
	Guard *guard.Guard

	// Hosts are the names that requests may be for, beside IP literals and
	// localhost. "*.zone" is every name one label below a zone.
	Hosts []string

	// Explain says why DNS answers name for a client at ip (never empty) as it
	// does. Its result is sent as JSON. Nil: this node serves no DNS.
	Explain func(name, ip string) (any, error)

	// Metrics is where the server registers its metrics and what /metrics
	// shows. Nil: a registry of its own.
	Metrics *prometheus.Registry

	// HTTP3Port is the UDP port that answers over TLS name for HTTP/3 (Alt-Svc,
	// RFC 7838). 0: there is none.
	HTTP3Port uint16

	// Media are the objects of /v1/media. Nil: this node keeps none.
	Media Media

	// Watch answers /v1/watch. Nil: nothing can be watched at this node.
	Watch Watch

	// Mounts are handlers of other packages that answer below a prefix.
	Mounts []Mount

	// Spans is told of each request of a sampled trace, and must not wait. Nil:
	// nobody is. Sample is the fraction of the requests without a traceparent whose
	// traces are sampled.
	Spans  func(atoll.Span)
	Sample float64

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
	Random io.Reader        // for trace and span ids; nil: crypto/rand
}

// Mount is a handler of another package. It is called behind the same checks
// of host, origin, token and role as all routes; PrincipalOf and TraceOf tell
// it who asks.
type Mount struct {
	Prefix  string     // of the escaped path; begins and ends with "/"
	Read    guard.Role // for GET and HEAD
	Write   guard.Role // for all other methods
	Handler http.Handler
}

// Server is the http.Handler of a node.
type Server struct {
	node    Node
	media   Media
	watch   Watch
	guard   atomic.Pointer[guard.Guard]
	hosts   guard.Hosts
	origins *http.CrossOriginProtection
	explain func(name, ip string) (any, error)
	metrics *metrics
	altSvc  string // of answers over TLS; "" for none
	mounts  []Mount
	spans   func(atoll.Span)
	sample  float64
	routes  []route
	spec    []byte // /openapi.json
	log     *slog.Logger
	now     func() time.Time
	random  io.Reader

	streams    context.Context // ends with EndStreams
	endStreams context.CancelFunc
}

// New makes a Server. It fails on a Config that cannot serve: no Node, no
// Guard, a bad host name or mount, metrics that are registered already.
func New(c Config) (*Server, error) {
	if c.Node == nil || c.Guard == nil {
		return nil, errors.New("api: the Config has no Node or no Guard")
	}
	for _, m := range c.Mounts {
		if m.Handler == nil || !strings.HasPrefix(m.Prefix, "/") || !strings.HasSuffix(m.Prefix, "/") {
			return nil, fmt.Errorf("api: mount %q has no handler or is not /PREFIX/", m.Prefix)
		}
	}
	hosts, err := guard.NewHosts(c.Hosts)
	if err != nil {
		return nil, err
	}
	c = c.withDefaults()
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		node: c.Node, media: c.Media, watch: c.Watch, hosts: hosts, origins: http.NewCrossOriginProtection(),
		explain: c.Explain, metrics: m, mounts: c.Mounts, routes: routes(),
		spans: c.Spans, sample: c.Sample,
		log: c.Logger, now: c.Now, random: c.Random,
	}
	s.guard.Store(c.Guard)
	s.streams, s.endStreams = context.WithCancel(context.Background())
	if c.HTTP3Port != 0 {
		s.altSvc = fmt.Sprintf(`h3=":%d"; ma=%.0f`, c.HTTP3Port, altSvcAge.Seconds())
	}
	s.spec, err = describe(s.routes)
	return s, err
}

func (c Config) withDefaults() Config {
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c
}

// SetGuard replaces the tokens for all requests that begin from now on.
func (s *Server) SetGuard(g *guard.Guard) { s.guard.Store(g) }

// Limits of a connection. Bodies and answers have limits of their own, below
// and in body.go, because some of them are streams without an end.
const (
	HeaderTimeout  = 10 * time.Second // for all headers of a request
	IdleTimeout    = 2 * time.Minute  // between requests of one connection
	MaxHeader      = 32 << 10         // bytes: a session token, 64 entity tags, and room
	MaxStreams     = 250              // concurrent requests of one HTTP/2 connection
	WriteStall     = time.Minute      // for a client to take one piece of an answer
	BodyTimeout    = 30 * time.Second // for a whole request document to arrive
	ImportStall    = time.Minute      // for the next bytes of an import
	altSvcAge      = 24 * time.Hour   // that a client may remember where HTTP/3 is
	idlePing       = 15 * time.Second // HTTP/2: ask whether a silent peer lives
	idlePingAnswer = 15 * time.Second // HTTP/2: how long it may think
)

// NewHTTPServer returns an http.Server for a Server, with limits for hostile
// and for slow clients. It speaks HTTP/1.1 and HTTP/2, also HTTP/2 without TLS
// for clients that know ("prior knowledge", RFC 9113, section 3.3). The caller
// gives it a listener and shuts it down.
func NewHTTPServer(h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: HeaderTimeout,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    MaxHeader,
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: MaxStreams,
			SendPingTimeout:      idlePing,
			PingTimeout:          idlePingAnswer,
			WriteByteTimeout:     WriteStall,
		},
	}
}
