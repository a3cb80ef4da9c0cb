// Package wan provides an emulated wide-area network between the nodes of one
// process: each link between two regions has a delay, jitter and loss, and can
// be cut or slowed.
//
// It stands between a node and its UDP socket and acts on what is sent, so real
// packets travel between real sockets, only later or never. It is for the dev
// world and for tests.
package wan

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/atolledge/atoll"
)

// direction names a link.
type direction struct{ from, to atoll.Region }

// Network knows which address lies in which region and holds the links between
// regions. Its methods are safe for concurrent use.
type Network struct {
	scale float64

	mu     sync.Mutex
	chance *rand.Rand
	links  map[direction]*link
	places map[netip.AddrPort]atoll.Region
}

// NewNetwork returns a network without delays. Round trips given to SetRTT are
// multiplied by scale: 1 is the real world, 0 none. The same seed draws the same
// losses and jitter.
func NewNetwork(scale float64, seed uint64) *Network {
	return &Network{
		scale: max(0, scale), chance: rand.New(rand.NewPCG(seed, 0)),
		links: map[direction]*link{}, places: map[netip.AddrPort]atoll.Region{},
	}
}

// SetRTT sets the round trip between two regions: half of it each way.
func (n *Network) SetRTT(a, b atoll.Region, rtt time.Duration) {
	oneWay := time.Duration(float64(rtt) * n.scale / 2)
	n.both(a, b, func(l *link) { l.delay = oneWay })
}

// SetJitter sets by how much packets between two regions are late at random, at
// most, each way. It is multiplied by the scale like a round trip.
func (n *Network) SetJitter(a, b atoll.Region, most time.Duration) {
	most = time.Duration(float64(most) * n.scale)
	n.both(a, b, func(l *link) { l.jitter = most })
}

// SetLoss sets the share of packets, 0..1, that get lost each way.
func (n *Network) SetLoss(a, b atoll.Region, share float64) {
	n.both(a, b, func(l *link) { l.loss = share })
}

// Cut stops all packets between two regions, or only those from a to b. Packets
// on their way are lost: when Cut has returned, none is delivered any more.
func (n *Network) Cut(a, b atoll.Region, oneWay bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(a, b).cut = true
	if !oneWay {
		n.linkLocked(b, a).cut = true
	}
}

// Slow makes the round trip between two regions this long, whatever the scale,
// until Heal.
func (n *Network) Slow(a, b atoll.Region, rtt time.Duration) {
	n.both(a, b, func(l *link) { l.slow = rtt / 2 })
}

// Heal ends every cut and every slowness.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.cut, l.slow = false, 0
	}
}

// Links returns every direction that was set or used, in order of names.
func (n *Network) Links() []LinkStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []LinkStatus
	for _, d := range slices.SortedFunc(maps.Keys(n.links), direction.compare) {
		l := n.links[d]
		all = append(all, LinkStatus{
			From: d.from, To: d.to, OneWay: l.oneWay(), Jitter: l.jitter, Loss: l.loss,
			Cut: l.cut, Slow: l.slow > 0, Counts: l.counts,
		})
	}
	return all
}

func (d direction) compare(o direction) int {
	return cmp.Or(cmp.Compare(d.from, o.from), cmp.Compare(d.to, o.to))
}

func (n *Network) both(a, b atoll.Region, set func(*link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	set(n.linkLocked(a, b))
	set(n.linkLocked(b, a))
}

func (n *Network) linkLocked(from, to atoll.Region) *link {
	d := direction{from, to}
	l := n.links[d]
	if l == nil {
		l = &link{}
		n.links[d] = l
	}
	return l
}

// Place remembers in which region an address lies; Wrap does so for its own, and
// only addresses of other processes need it. Addresses stay: a node that was
// killed comes back to its place.
func (n *Network) Place(a net.Addr, r atoll.Region) {
	if ap, ok := addrPort(a); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.places[ap] = r
	}
}

// send decides on a packet from a region to an address. The link is nil for
// packets that pass at once and uncounted: inside a region, or to an address
// that is in none.
func (n *Network) send(from atoll.Region, to net.Addr, now time.Time) (*link, time.Time, fate) {
	ap, ok := addrPort(to)
	if !ok {
		return nil, now, arrives
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	region, ok := n.places[ap]
	if !ok || region == from {
		return nil, now, arrives
	}
	l := n.linkLocked(from, region)
	at, f := l.send(now, n.chance)
	return l, at, f
}

func (n *Network) deliver(l *link) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.deliver()
}

func (n *Network) overflow(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.counts.Overflow++
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}
