package node

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/health"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// votesPerDatagram is how many votes on regions with the longest names fit one.
const votesPerDatagram = 14

// surveyEvery is how often the monitor looks at what nobody tells it of.
const surveyEvery = 250 * time.Millisecond

// monitor is the goroutine that knows the cluster: it keeps the roster, probes
// and judges regions, and publishes what the node knows as a snapshot.
type monitor struct {
	n       *Node
	tracker *health.Tracker
	metrics *metrics
	poked   chan struct{}
	heard   chan heard
	view    atomic.Pointer[atoll.Cluster]

	enrolled bool                  // in the roster, as far as this run is concerned
	retired  map[atoll.Origin]bool // earlier origins of this node, taken out by this run
	verdicts map[atoll.Region]health.Verdict
	mu       sync.Mutex
	behind   []replication.Lag // of the members, as the core last said

	farewells []replication.Farewell
	progress  replication.Progress
	refused   []replication.Refusal

	absent   map[atoll.Origin]time.Duration // since when a member is not connected
	catching bool                           // full pulls are under way
	toldAt   time.Duration                  // when the log last said so
	seen     map[atoll.Keyspace]map[atoll.Origin]uint64
}

// heard is a health datagram.
type heard struct {
	from atoll.NodeID
	t    wire.Type
	body []byte
}

func newMonitor(n *Node) *monitor {
	m := &monitor{
		n: n, tracker: health.New(health.Config{Self: n.cfg.Node}), metrics: newMetrics(n),
		poked: make(chan struct{}, 1), heard: make(chan heard, 256),
		retired:  make(map[atoll.Origin]bool),
		verdicts: make(map[atoll.Region]health.Verdict),
		absent:   make(map[atoll.Origin]time.Duration),
	}
	m.view.Store(&atoll.Cluster{Name: n.cfg.CA.Cluster, Self: n.cfg.Node})
	return m
}

// Cluster returns what this node knows of the cluster now.
func (n *Node) Cluster() atoll.Cluster { return *n.monitor.view.Load() }

// poke makes the monitor look again soon.
func (m *monitor) poke() {
	select {
	case m.poked <- struct{}{}:
	default:
	}
}

// datagram hands a health datagram over; a flood is dropped.
func (m *monitor) datagram(from atoll.NodeID, t wire.Type, body []byte) {
	switch t { // answered at once: a busy monitor is not a dead node
	case wire.TypeProbe:
		if seq, err := wire.DecodeProbe(body); err == nil {
			ready := len(m.n.Ready()) == 0
			m.n.transport.SendDatagram(from, wire.AppendReply(nil, seq, ready))
		}
		return
	case wire.TypeAsk:
		m.n.tellTime(from, body)
		return
	case wire.TypeTime:
		m.n.hearTime(from, body)
		return
	}
	select {
	case m.heard <- heard{from, t, slices.Clone(body)}:
	default:
	}
}

func (m *monitor) run(ctx context.Context) {
	select {
	case <-m.n.started:
	case <-ctx.Done():
		return
	}
	if m.enroll(ctx); !m.enrolled {
		m.n.cfg.Logger.Warn("not in the roster yet: this node's disk takes no writes")
	}
	m.relayout(ctx)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-m.heard:
			if !m.hearAll(h) {
				continue
			}
		case c := <-m.n.changes:
			m.reloadAll(ctx, c)
		case <-m.poked:
		case <-tick.C:
			m.survey(ctx)
			tick.Reset(surveyEvery)
		}
		m.judge()
		m.publish()
	}
}

// enroll enters the roster; the survey tries again until it works.
func (m *monitor) enroll(ctx context.Context) {
	m.enrolled = m.enrolled || m.n.enroll(ctx) == nil
	m.retire(ctx)
}

// retire takes earlier origins of this node out of the roster: those it had
// before its data directory was lost or fenced. Each run does so once, so that
// two nodes of one name cannot go on for ever about it.
func (m *monitor) retire(ctx context.Context) {
	for _, x := range m.n.membersNow() {
		if x.Node != m.n.cfg.Node || x.Origin == m.n.origin || m.retired[x.Origin] {
			continue
		}
		x.Left = true
		key := atoll.Key(x.Origin.String())
		m.retired[x.Origin] = m.n.putSystem(ctx, rosterSpace, key, x) == nil
	}
}

// reloadAll reads the system keyspaces again that changed, once for all changes
// that wait.
func (m *monitor) reloadAll(ctx context.Context, c replication.Change) {
	changed := map[atoll.Keyspace]bool{c.Keyspace: true}
	for range cap(m.n.changes) {
		select {
		case c = <-m.n.changes:
			changed[c.Keyspace] = true
			continue
		default:
		}
		break
	}
	for _, ks := range slices.Sorted(maps.Keys(changed)) {
		m.reload(ctx, ks)
	}
}

// reload reads a system keyspace again that changed.
func (m *monitor) reload(ctx context.Context, ks atoll.Keyspace) {
	switch ks {
	case rosterSpace:
		m.n.loadRoster()
		m.retire(ctx)
		m.relayout(ctx)
	case settingsSpace:
		m.n.loadSettings()
	case drainSpace:
		m.n.drainedHere()
	}
}

// relayout tells core, health and transport who the members are.
func (m *monitor) relayout(ctx context.Context) {
	regions := map[atoll.Region]*health.Region{m.n.cfg.Node.Region(): new(m.n.region(m.n.cfg.Node))}
	var layout replication.Layout
	lapsed, forgotten := m.n.notes()
	layout.Lapsed = slices.Sorted(maps.Keys(lapsed))
	layout.Forgotten = slices.Sorted(maps.Keys(forgotten))
	layout.Writers = m.n.writers()
	for _, x := range m.n.membersNow() {
		layout.Members = append(layout.Members,
			replication.Member{Origin: x.Origin, Node: x.Node, Region: x.Region})
		r := regions[x.Region]
		if r == nil {
			r = &health.Region{Name: x.Region, Lat: x.Lat, Lon: x.Lon}
			regions[x.Region] = r
		}
		if !slices.Contains(r.Nodes, x.Node) {
			r.Nodes = append(r.Nodes, x.Node)
		}
		if x.Node != m.n.cfg.Node {
			_ = m.n.transport.Connect(x.Peer)
		}
	}
	var list []health.Region
	for _, name := range slices.Sorted(maps.Keys(regions)) {
		list = append(list, *regions[name])
	}
	m.tracker.SetRegions(list)
	m.n.loop.feed(ctx, layout)
}

// survey looks at what nobody tells: the disk, and how far the members are.
func (m *monitor) survey(ctx context.Context) {
	if m.n.missed.Swap(false) {
		m.reload(ctx, settingsSpace)
		m.reload(ctx, drainSpace)
		m.reload(ctx, rosterSpace)
	}
	m.n.judgeClock()
	if !m.enrolled {
		m.enroll(ctx)
	}
	m.age(ctx)
	m.catchUp(m.progress)
	_ = m.n.loop.look(ctx, func(c *replication.Core) {
		lags, stats, seen := c.Lags(m.n.cfg.Clock()), c.Stats(), c.Seen()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.behind, m.seen = lags, seen
		m.farewells, m.progress, m.refused = c.Farewells(), c.Progress(), c.Refusals()
		m.metrics.stats.Store(&stats)
	})
}

// hearAll takes h in and what else waits, so that a crowd is judged once.
func (m *monitor) hearAll(h heard) (changed bool) {
	changed = m.hear(h)
	for range cap(m.heard) {
		select {
		case h = <-m.heard:
			changed = m.hear(h) || changed
		default:
			return changed
		}
	}
	return changed
}

// hear takes a health datagram in; false when it changed nothing.
func (m *monitor) hear(h heard) bool {
	now := m.n.cfg.Clock()
	switch h.t {
	case wire.TypeReply:
		seq, ready, err := wire.DecodeReply(h.body)
		if err != nil {
			return false
		}
		return m.tracker.Observe(now, health.Reply{OK: true, Ready: ready,
			Probe: health.Probe{Region: h.from.Region(), Node: h.from, Seq: seq}})
	case wire.TypeVotes:
		votes, err := wire.DecodeVotes(h.body)
		if err != nil {
			return false
		}
		list := make([]health.Vote, len(votes))
		for i, v := range votes {
			list[i] = health.Vote{About: v.About, Up: v.Up}
		}
		return m.tracker.Vote(now, h.from, list)
	}
	return false
}

// judge lets the tracker decide, and sends what it wants said.
func (m *monitor) judge() {
	m.tracker.SetReady(len(m.n.Ready()) == 0)
	out := m.tracker.Tick(m.n.cfg.Clock())
	for _, p := range out.Probes {
		m.n.transport.SendDatagram(p.Node, wire.AppendProbe(nil, p.Seq))
	}
	for votes := range slices.Chunk(out.Cast, votesPerDatagram) {
		list := make([]wire.Vote, len(votes))
		for i, v := range votes {
			list[i] = wire.Vote{About: v.About, Up: v.Up}
		}
		b := wire.AppendVotes(nil, list)
		for _, p := range m.n.transport.Peers() {
			m.n.transport.SendDatagram(p.Node, b)
		}
	}
	clear(m.verdicts)
	for _, v := range out.Verdicts {
		m.verdicts[v.Region] = v
	}
	for _, v := range out.Changed {
		m.n.cfg.Logger.Info("region changed", "region", v.Region, "state", v.State)
	}
}

// publish makes a new snapshot of the cluster.
func (m *monitor) publish() {
	m.mu.Lock()
	c := &atoll.Cluster{Name: m.n.cfg.CA.Cluster, Self: m.n.cfg.Node, Clocks: m.seen,
		Scrub: m.n.scrubber.found()}
	m.publishLife(c)
	m.mu.Unlock()
	lapsed, _ := m.n.notes()
	views := make(map[atoll.Region]*atoll.RegionView)
	m.n.roster.RLock()
	drained := m.n.roster.drained
	m.n.roster.RUnlock()
	connected := make(map[atoll.NodeID]bool)
	for _, p := range m.n.transport.Peers() {
		connected[p.Node] = true
	}
	for _, x := range m.n.membersNow() {
		v := views[x.Region]
		if v == nil {
			v = &atoll.RegionView{Name: x.Region, Lat: x.Lat, Lon: x.Lon,
				State: m.state(x.Region, drained), Votes: m.verdicts[x.Region].Votes}
			views[x.Region] = v
		}
		node := m.node(x, connected[x.Node])
		if _, ok := lapsed[x.Origin]; ok && node.State == atoll.StateDown {
			node.State = atoll.StateLapsed
		}
		v.Nodes = append(v.Nodes, node)
		if node.State == atoll.StateUp || v.State != atoll.StateUp {
			v.Addresses = append(v.Addresses, x.Addresses...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(views)) {
		v := views[name]
		slices.Sort(v.Addresses)
		v.Addresses = slices.Compact(v.Addresses)
		slices.SortFunc(v.Nodes, func(a, b atoll.NodeView) int { return cmp.Compare(a.ID, b.ID) })
		c.Regions = append(c.Regions, *v)
	}
	m.view.Store(c)
}

// state returns what users call the state of a region.
func (m *monitor) state(r atoll.Region, drained map[atoll.Region]bool) string {
	s := cmp.Or(m.verdicts[r].State, atoll.StateStarting)
	if drained[r] && s == atoll.StateUp {
		return atoll.StateDrained
	}
	return s
}

// node returns the view of one member.
func (m *monitor) node(x member, connected bool) atoll.NodeView {
	v := atoll.NodeView{ID: x.Node, Origin: x.Origin, Addr: x.Peer, Joined: x.Joined, State: atoll.StateDown}
	if x.Node == m.n.cfg.Node {
		v.State = atoll.StateUp
		return v
	}
	if connected {
		v.State, v.RTT = atoll.StateUp, m.n.transport.RTT(x.Node)
		v.Offset = m.n.skew().Peers[x.Node]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.behind {
		if l.Origin == x.Origin {
			v.Behind = atoll.Behind{Dots: l.Dots, Lag: l.Age}
		}
	}
	return v
}
