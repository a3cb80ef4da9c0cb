// Package membership provides who is there: the nodes of the cluster, their
// addresses and whether they are alive, found by gossip (hashicorp/memberlist)
// over the peer transport.
//
// It is about liveness and addresses only: whether a region gets traffic is for
// node/health to decide, who replicates what for the roster.
//
// There is one pool of all nodes, with the timing of a LAN and a probe timeout
// that the longest round trip fits into. A second pool per region would save
// probes across the sea from some hundred nodes on; up to there a node sends
// one probe a second and three small gossip packets when there is news, and one
// pool finds a dead node in seconds where memberlist's WAN timing takes 40-80.
package membership

import (
	"context"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
)

// pool is the number of the one pool, the same on all nodes.
const pool = 1

// Timing and limits.
const (
	probeInterval = time.Second
	probeTimeout  = 800 * time.Millisecond // over the longest round trip
	streamTimeout = 5 * time.Second        // a dial and a push/pull
	reclaim       = time.Second            // a dead node's name may come from elsewhere
	extraSyncs    = 3                      // random push/pulls after a join
	leaveGrace    = 200 * time.Millisecond // for the goodbye to leave the queues
)

// Config is what a Membership needs. All fields but Changed are required.
type Config struct {
	Transport *transport.Transport
	Self      Member // Addr is advertised: an IP address and port
	Logger    *slog.Logger

	// Rand picks the nodes for the syncs after a join. Memberlist itself has
	// its own randomness. It is used by one Join at a time.
	Rand *rand.Rand

	// Changed is called for each node but this one that came, changed or went,
	// in order for each node, from one goroutine. Changes that follow each other
	// faster than it returns are seen as one. It must not call Close.
	Changed func(Event)
}

// Kind is what happened to a member.
type Kind uint8

// The kinds of Event.
const (
	Up     Kind = iota // it is there
	Down               // it left or does not answer
	Update             // its address, origin or incarnation changed
)

// String returns "up", "down" or "update".
func (k Kind) String() string { return [...]string{"up", "down", "update"}[k] }

// Event is a change of one member; with Down it says what was last known.
type Event struct {
	Kind   Kind
	Member Member
}

// Membership is one node's view of who is there. Its methods are safe for
// concurrent use.
type Membership struct {
	cfg  Config
	list *memberlist.Memberlist
	done chan struct{} // Close has begun
	once sync.Once
	work sync.WaitGroup

	joining sync.Mutex // one Join at a time

	changed chan struct{} // wakes announce; one pending wake is enough
	mu      sync.Mutex
	alive   map[atoll.NodeID]Member // all but this node
	dirty   map[atoll.NodeID]struct{}
}

// New starts gossip. The node is alone until Join, or until another joins it.
// Errors are *atoll.Error.
func New(cfg Config) (*Membership, error) {
	addr, err := netip.ParseAddrPort(cfg.Self.Addr)
	if err != nil || addr.Addr().IsUnspecified() {
		return nil, atoll.Errorf(atoll.BadRequest, "peer address %q", cfg.Self.Addr).Because(err).
			WithHint("advertise an IP address and port that the other nodes reach")
	}
	p, err := cfg.Transport.Pool(pool)
	if err != nil {
		return nil, err
	}
	m := &Membership{
		cfg: cfg, done: make(chan struct{}), changed: make(chan struct{}, 1),
		alive: map[atoll.NodeID]Member{}, dirty: map[atoll.NodeID]struct{}{},
	}
	s := newSea(p, addr)
	if m.list, err = memberlist.Create(m.config(s, addr)); err != nil {
		_ = s.Shutdown()
		return nil, atoll.Errorf(atoll.Internal, "start memberlist").Because(err)
	}
	m.work.Go(m.announce)
	return m, nil
}

// config is memberlist's LAN timing with what a sea between nodes asks for.
func (m *Membership) config(s *sea, addr netip.AddrPort) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = string(m.cfg.Self.Node)
	c.Transport = s
	c.AdvertiseAddr, c.AdvertisePort = addr.Addr().String(), int(addr.Port())
	c.BindPort = int(addr.Port())
	c.UDPBufferSize = transport.MaxDatagram
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeTimeout
	c.TCPTimeout = streamTimeout
	c.DeadNodeReclaimTime = reclaim
	c.EnableCompression = false // packets are small and QUIC encrypts what would repeat
	c.Delegate = (*delegate)(m)
	c.Events = (*delegate)(m)
	c.Alive = (*delegate)(m)
	c.Logger = log.New(bridge{m.cfg.Logger}, "", 0)
	return c
}

// Join makes the node known through any of the given addresses (host:port), and
// then exchanges all it knows with a few random members: without that, many
// nodes that join at once find each other only in the next rounds of gossip. It
// waits for these exchanges. The error is atoll.BadRequest, when no address
// answered; the node goes on alone and Join may be called again.
func (m *Membership) Join(ctx context.Context, addrs []string) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	var seeds []string
	for _, a := range addrs {
		found, err := resolve(ctx, a)
		if err != nil {
			m.cfg.Logger.Warn("join address not found", "addr", a, "err", err)
		}
		seeds = append(seeds, found...)
	}
	seeds = slices.DeleteFunc(seeds, func(a string) bool { return a == m.cfg.Self.Addr })
	n, err := m.list.Join(seeds)
	if n == 0 && len(addrs) > 0 {
		return atoll.Errorf(atoll.BadRequest, "no node answered at %s", strings.Join(addrs, ", ")).
			Because(err).WithHint("check that one of them runs, and that its UDP port is open")
	}
	if picked := m.pick(extraSyncs, seeds); len(picked) > 0 {
		_, err = m.list.Join(picked)
		m.cfg.Logger.Debug("synced after join", "with", picked, "err", err)
	}
	return nil
}

// pick returns the addresses of up to n random members that are not in seen.
func (m *Membership) pick(n int, seen []string) []string {
	var rest []string
	for _, o := range m.Members() {
		if o.Node != m.cfg.Self.Node && !slices.Contains(seen, o.Addr) {
			rest = append(rest, o.Addr)
		}
	}
	m.cfg.Rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return rest[:min(n, len(rest))]
}

// resolve returns the addresses of host:port as memberlist writes them.
func resolve(ctx context.Context, addr string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, ip := range ips {
		found = append(found, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return found, nil
}

// Members returns the nodes that are there, this one included, in order of their
// ids.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := append(slices.Collect(maps.Values(m.alive)), m.cfg.Self)
	slices.SortFunc(all, func(a, b Member) int {
		return strings.Compare(string(a.Node), string(b.Node))
	})
	return all
}

// Leave tells the others that the node goes on purpose and waits until the word
// is out, at most for the timeout. Close is still due.
func (m *Membership) Leave(timeout time.Duration) error {
	if err := m.list.Leave(timeout); err != nil {
		return atoll.Errorf(atoll.ShuttingDown, "leave the cluster").Because(err)
	}
	// The last gossip packet waits in front of QUIC for an instant.
	grace := time.NewTimer(min(leaveGrace, timeout))
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-m.done:
	}
	return nil
}

// Close ends gossip without a word. Changed is not called after it has returned.
// Closing twice is fine.
func (m *Membership) Close() {
	m.once.Do(func() {
		close(m.done)
		_ = m.list.Shutdown()
	})
	m.work.Wait()
}
