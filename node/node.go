// Package node provides one member of a cluster: it feeds the replication core
// from clients, peers and disk, and carries out what the core says.
//
// New opens the data directory and takes the UDP socket; Run works until its
// context ends; Close frees everything. A node is a value: dozens run in one
// process. Its exported methods are what the HTTP API, GeoDNS and the cache are
// handed.
package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/health"
	"github.com/atolledge/atoll/node/membership"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// Config makes a Node. All fields are required but those that say otherwise.
type Config struct {
	Node     atoll.NodeID
	Lat, Lon float64 // of the region, degrees

	Dir     string // data directory
	Reserve int64  // bytes of disk to keep free

	Peer        net.PacketConn // UDP, owned by the node from New on
	Advertise   string         // ip:port where peers reach it
	Addresses   []string       // public IP addresses for DNS answers; may be empty
	Join        []string       // host:port of peers; may be empty
	CA          *transport.CA  // its certificate; the key is not used
	Certificate tls.Certificate

	ExplicitKeyspaces bool // a first write does not make a keyspace

	Lapse      time.Duration // how long a member may be away before nothing waits for it; 0: DefaultLapse
	ScrubEvery time.Duration // between two partitions that are compared; 0: 5 s, or more when they are large

	Spans func(atoll.Span) // is told of work that is traced, and must not wait; may be nil

	Clock   func() time.Time
	Random  io.Reader // for origins: cryptographic
	Rand    *rand.Rand
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// Node is one member of a cluster. Its methods are safe for concurrent use.
type Node struct {
	cfg        Config
	origin     atoll.Origin
	store      *store.Store
	chunks     *store.Chunks
	transport  *transport.Transport
	membership *membership.Membership
	loop       *loop
	monitor    *monitor
	scrubber   *scrubber

	ctx      context.Context // ends with Run
	cancel   context.CancelFunc
	started  chan struct{} // closed when writes may begin
	greeted  chan atoll.NodeID
	forwards chan struct{}           // one for each read that another node is asked for
	changes  chan replication.Change // of system keyspaces, for the monitor
	work     sync.WaitGroup

	missed      atomic.Bool // a change of a system keyspace found changes full
	fenced      atomic.Bool
	certificate atomic.Pointer[tls.Certificate] // the one in use
	retired     atomic.Bool
	leaving     atomic.Bool
	departed    atomic.Bool
	expelled    atomic.Bool
	left        chan struct{} // closed when the process is to end
	leftOnce    sync.Once
	stopping    atomic.Bool
	chunkServer atomic.Pointer[chunkServer]

	settings settings
	roster   roster
	recent   ring
	watchers watchers
	clocks   clocks
}

// New opens the node. It does not speak to anybody before Run. The node owns
// cfg.Peer, also when New fails.
func New(cfg Config) (*Node, error) {
	cfg.Lapse = cmp.Or(cfg.Lapse, DefaultLapse)
	n := &Node{
		cfg: cfg, started: make(chan struct{}), greeted: make(chan atoll.NodeID, 64),
		forwards: make(chan struct{}, maxForwards),
		left:     make(chan struct{}),
		changes:  make(chan replication.Change, 1024),
		clocks:   clocks{begun: time.Now()},
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.certificate.Store(&cfg.Certificate)
	s, err := store.Open(store.Config{Dir: cfg.Dir, Reserve: cfg.Reserve, Logger: cfg.Logger})
	if err != nil {
		_ = cfg.Peer.Close()
		return nil, err
	}
	n.store = s
	if n.chunks, err = s.OpenChunks(cfg.Clock); err != nil {
		_ = cfg.Peer.Close()
		return nil, errors.Join(err, s.Close())
	}
	id, err := s.Begin(cfg.Random)
	if err == nil {
		n.origin = id.Origin
		err = n.connect(id)
	}
	if err != nil {
		_ = cfg.Peer.Close()
		return nil, errors.Join(err, n.chunks.Close(), s.Close())
	}
	self := replication.Member{Origin: id.Origin, Node: cfg.Node, Region: cfg.Node.Region()}
	// The loop's goroutine has a source of its own: Run draws from cfg.Rand, too.
	rng := rand.New(rand.NewPCG(cfg.Rand.Uint64(), cfg.Rand.Uint64()))
	n.loop = newLoop(s, self, cfg.Clock, rng, cfg.Logger)
	n.loop.release = n.release
	n.loop.dropped = n.watchers.remember
	n.monitor = newMonitor(n)
	n.scrubber = newScrubber(n)
	n.loadSystem()
	n.monitor.publish() // what the roster on disk says is better than nothing
	return n, nil
}

// connect makes the transport.
func (n *Node) connect(id store.Identity) (err error) {
	n.transport, err = transport.New(transport.Config{
		Conn: n.cfg.Peer, Certificate: n.cfg.Certificate, CAs: n.cfg.CA.Pool(),
		Hello: wire.Hello{
			Cluster: n.cfg.CA.ID(), Node: n.cfg.Node, Origin: id.Origin,
			Incarnation: id.Incarnation, Region: n.cfg.Node.Region(),
			WireMin: wire.MinVersion, WireMax: wire.MaxVersion,
		},
		Handler: transport.Handler{
			PeerUp: n.peerUp, PeerDown: n.peerDown, Frame: n.frame,
			Datagram: n.datagram, Pull: n.pull, Call: n.call, Read: n.answerRead,
		},
		Logger: n.cfg.Logger, Metrics: n.cfg.Metrics,
		Rand: rand.New(rand.NewPCG(n.cfg.Rand.Uint64(), n.cfg.Rand.Uint64())),
	})
	return err
}

// Run joins the cluster and works until ctx ends or the disk fails. It returns
// nil in the first case. A node runs once.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer n.cancel()
	failed := make(chan error, 2)
	n.work.Go(func() { failed <- n.loop.run(n.ctx) })
	n.work.Go(func() { failed <- n.transport.Run(n.ctx) })
	if err := n.gossip(ctx); err != nil {
		return err
	}
	n.work.Go(func() { n.monitor.run(n.ctx) })
	n.work.Go(func() { n.scrubber.run(n.ctx) })
	n.work.Go(n.collectGarbage)
	n.work.Go(n.start)
	select {
	case <-ctx.Done():
		n.stopping.Store(true)
		_ = n.membership.Leave(200 * time.Millisecond)
		return nil
	case err := <-failed:
		if err == nil || n.ctx.Err() != nil {
			return nil // closed or killed
		}
		return fmt.Errorf("node %s: %w", n.cfg.Node, err)
	}
}

// gossip starts memberlist and joins those that the configuration names.
func (n *Node) gossip(ctx context.Context) (err error) {
	n.membership, err = membership.New(membership.Config{
		Transport: n.transport, Logger: n.cfg.Logger,
		Self: membership.Member{Node: n.cfg.Node, Origin: n.origin,
			Region: n.cfg.Node.Region(), Addr: n.cfg.Advertise},
		Rand:    rand.New(rand.NewPCG(n.cfg.Rand.Uint64(), n.cfg.Rand.Uint64())),
		Changed: n.memberChanged,
	})
	if err != nil {
		return err
	}
	for _, addr := range n.cfg.Join {
		_ = n.transport.Connect(addr)
	}
	if len(n.cfg.Join) > 0 {
		n.work.Go(func() { n.join(ctx) })
	}
	return nil
}

// join tells memberlist of the seeds until one answers.
func (n *Node) join(ctx context.Context) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		if n.membership.Join(ctx, n.cfg.Join) == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// collectGarbage gives the space of overwritten values back, now and then.
func (n *Node) collectGarbage() {
	tick := time.NewTicker(5 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
			n.store.CollectGarbage(func() bool { return n.ctx.Err() != nil })
			n.chunks.CollectGarbage(func() bool { return n.ctx.Err() != nil })
		}
	}
}

// Close frees the node after Run has returned: peers are told, what was
// gathered is committed, files and socket are closed.
func (n *Node) Close() error {
	n.stopping.Store(true)
	n.cancel()
	if n.membership != nil {
		n.membership.Close()
	}
	n.transport.Close()
	return n.end()
}

// Kill ends the node as if its process had died: nobody is told, nothing is
// handed off.
func (n *Node) Kill() error {
	n.stopping.Store(true)
	n.transport.Kill()
	n.cancel()
	if n.membership != nil {
		n.membership.Close()
	}
	return n.end()
}

func (n *Node) end() error {
	n.work.Wait()
	n.loop.live.Close()
	return errors.Join(n.chunks.Close(), n.store.Close())
}

// Self returns the node's name.
func (n *Node) Self() atoll.NodeID { return n.cfg.Node }

// Origin returns the name under which the node writes.
func (n *Node) Origin() atoll.Origin { return n.origin }

// Retire makes the node say that it is not ready, to clients and to the other
// regions. It goes on answering until it is closed.
func (n *Node) Retire() {
	n.retired.Store(true)
	n.monitor.poke()
}

// Ready returns why this node should get no traffic; nothing if it should.
func (n *Node) Ready() (reasons []string) {
	if n.retired.Load() || n.stopping.Load() {
		reasons = append(reasons, "the node is stopping")
	}
	if n.leaving.Load() || n.expelled.Load() {
		reasons = append(reasons, "the node leaves the cluster")
	}
	select {
	case <-n.started:
	default:
		reasons = append(reasons, "the node is starting: it has not heard from its peers yet")
	}
	if n.fenced.Load() {
		reasons = append(reasons, "fenced: the data directory was restored or copied; "+
			"restart the node, it takes a new origin")
	}
	if s := n.skew(); s.Off {
		reasons = append(reasons, "fenced: "+clockReason(s))
	}
	return reasons
}

// Renew replaces the node's certificate and the CAs of its peers, for all
// connections that begin from now on. Errors are atoll.BadRequest and leave all
// as it was.
func (n *Node) Renew(ca *transport.CA, certificate tls.Certificate) error {
	if ca.ID() != n.cfg.CA.ID() {
		return atoll.Errorf(atoll.BadRequest, "the first CA of tls.ca is another than at the start").
			WithHint("it names the cluster: keep it first, and put new CAs behind it")
	}
	if err := n.transport.Renew(certificate, ca.Pool()); err != nil {
		return err
	}
	n.certificate.Store(&certificate)
	return nil
}

// SetReserve changes the bytes of disk that are kept free.
func (n *Node) SetReserve(bytes int64) { n.store.SetReserve(bytes) }

// begin refuses calls that the node cannot take now, and waits a starting
// node's greetings out.
func (n *Node) begin(ctx context.Context) error {
	if n.stopping.Load() {
		return errStopped()
	}
	select {
	case <-n.started:
		return nil
	case <-n.ctx.Done():
		return errStopped()
	case <-ctx.Done():
		return atoll.Errorf(atoll.ShuttingDown, "the request ended before the node was ready")
	}
}

// region returns this node's region as the roster has it.
func (n *Node) region(nodes ...atoll.NodeID) health.Region {
	return health.Region{Name: n.cfg.Node.Region(), Lat: n.cfg.Lat, Lon: n.cfg.Lon, Nodes: nodes}
}

// Digest returns a number that is equal on nodes on whose disks is the same.
func (n *Node) Digest(context.Context) (uint64, error) {
	v := n.store.Snapshot()
	defer v.Close()
	sum := replication.Digest(v)
	if err := v.Err(); err != nil {
		return 0, n.readFailed(err)
	}
	return sum, nil
}
