package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// Limits of a member's life.
const (
	// DefaultLapse is how long a member may be away before the others wait for it
	// no more.
	DefaultLapse = 72 * time.Hour
	// keepForgotten is how long the roster remembers a forgotten origin of which
	// nothing is left: a message of it that is older does not exist.
	keepForgotten = 30 * 24 * time.Hour
	// leaveTime is how long a leaving node waits for others to have what it wrote.
	leaveTime = 30 * time.Second
	// leaveAck is how long it waits for all others to know that it has left; one
	// is enough after that.
	leaveAck = 3 * time.Second
	// leavePoll is how often it looks.
	leavePoll = 50 * time.Millisecond
)

// Beside members the roster has documents about origins: who has lapsed, and who
// is forgotten. They are documents of their own, so that no member's writing
// about itself can take them back.
const (
	lapsedPrefix    = "lapsed/"
	forgottenPrefix = "forgotten/"
)

// note is a document about an origin.
type note struct {
	Node atoll.NodeID `json:"node"`
	At   time.Time    `json:"at"`
}

// loadNote reads a document of the roster that is no member.
func (r *roster) loadNote(key atoll.Key, x note) {
	for prefix, notes := range map[string]map[atoll.Origin]note{
		lapsedPrefix: r.lapsed, forgottenPrefix: r.forgotten,
	} {
		if hex, ok := strings.CutPrefix(string(key), prefix); ok {
			if o, err := atoll.ParseOrigin(hex); err == nil {
				notes[o] = x
			}
		}
	}
}

// notes returns who has lapsed and who is forgotten. The maps are read only.
func (n *Node) notes() (lapsed, forgotten map[atoll.Origin]note) {
	n.roster.RLock()
	defer n.roster.RUnlock()
	return n.roster.lapsed, n.roster.forgotten
}

// writers returns all origins that the roster names.
func (n *Node) writers() (all []atoll.Origin) {
	n.roster.RLock()
	defer n.roster.RUnlock()
	for _, m := range n.roster.members {
		all = append(all, m.Origin)
	}
	return all
}

func (n *Node) putNote(ctx context.Context, prefix string, o atoll.Origin, id atoll.NodeID) error {
	return n.putSystem(ctx, rosterSpace, atoll.Key(prefix+o.String()),
		note{Node: id, At: n.cfg.Clock().UTC().Truncate(time.Millisecond)})
}

func (n *Node) dropRoster(ctx context.Context, key atoll.Key) error {
	_, err := n.loop.call(ctx, mutation{deletes: true, Mutate: replication.Mutate{
		Keyspace: rosterSpace, Key: key,
		Edit: func(e *crdt.Edit) error { crdt.Delete(e); return nil },
	}})
	return err
}

// age lets members lapse that have been away for long, comes back if this node
// had, and drops what the roster need not remember. Any node may do it; the first
// of those that see each other does.
func (m *monitor) age(ctx context.Context) {
	lapsed, forgotten := m.n.notes()
	connected := make(map[atoll.Origin]bool)
	first := true
	for _, p := range m.n.transport.Peers() {
		connected[p.Origin] = true
		first = first && m.n.cfg.Node < p.Node
	}
	if _, ok := lapsed[m.n.origin]; ok && len(connected) > 0 {
		_ = m.n.dropRoster(ctx, atoll.Key(lapsedPrefix+m.n.origin.String()))
	}
	now := m.n.clocks.stopwatch()
	for _, x := range m.n.membersNow() {
		if x.Origin == m.n.origin || connected[x.Origin] {
			delete(m.absent, x.Origin)
			continue
		}
		since, known := m.absent[x.Origin]
		if !known {
			m.absent[x.Origin] = now
			continue
		}
		if _, ok := lapsed[x.Origin]; ok || !first || now-since < m.n.cfg.Lapse {
			continue
		}
		if m.n.putNote(ctx, lapsedPrefix, x.Origin, x.Node) == nil {
			m.n.cfg.Logger.Warn("a member has lapsed: nothing waits for it any more",
				"member", x.Node, "origin", x.Origin, "away", now-since)
		}
	}
	if first {
		m.adopt(ctx, forgotten)
		m.dropForgotten(ctx, forgotten)
	}
}

// adopt writes what a forgotten member wrote about itself anew, under this node's
// name: or the roster would name it for ever.
func (m *monitor) adopt(ctx context.Context, forgotten map[atoll.Origin]note) {
	m.n.roster.RLock()
	members := slices.Clone(m.n.roster.members)
	m.n.roster.RUnlock()
	for _, x := range members {
		if _, ok := forgotten[x.Origin]; ok && !x.Left && x.Origin != m.n.origin {
			x.Left = true
			_ = m.n.putSystem(ctx, rosterSpace, atoll.Key(x.Origin.String()), x)
		}
	}
}

// dropForgotten takes origins out of the roster that are forgotten since long and
// of which no member has anything.
func (m *monitor) dropForgotten(ctx context.Context, forgotten map[atoll.Origin]note) {
	m.mu.Lock()
	farewells := m.farewells
	m.mu.Unlock()
	for _, f := range farewells {
		x, ok := forgotten[f.Origin]
		if !ok || !f.Over || m.n.cfg.Clock().Sub(x.At) < keepForgotten {
			continue
		}
		_ = m.n.dropRoster(ctx, atoll.Key(f.Origin.String()))
		_ = m.n.dropRoster(ctx, atoll.Key(lapsedPrefix+f.Origin.String()))
		_ = m.n.dropRoster(ctx, atoll.Key(forgottenPrefix+f.Origin.String()))
	}
}

// Forget takes the origins of a node that is gone out of the cluster for good:
// those it had before it lost its disk, and that of a node that is not connected.
// Every member has to promise it before it is done; Cluster tells how far it is.
// The error is of kind atoll.NotFound or atoll.PreconditionFailed.
func (n *Node) Forget(ctx context.Context, id atoll.NodeID) ([]atoll.Origin, error) {
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	connected := make(map[atoll.Origin]bool)
	for _, p := range n.transport.Peers() {
		connected[p.Origin] = true
	}
	connected[n.origin] = true
	_, forgotten := n.notes()
	n.roster.RLock()
	members := slices.Clone(n.roster.members)
	n.roster.RUnlock()
	var gone []atoll.Origin
	known := false
	for _, x := range members {
		if x.Node != id {
			continue
		}
		known = true
		if _, done := forgotten[x.Origin]; !connected[x.Origin] && !done {
			gone = append(gone, x.Origin)
		}
	}
	switch {
	case !known:
		return nil, atoll.Errorf(atoll.NotFound, "there is no node %q in the roster", id).
			WithHint("atoll status lists the nodes")
	case len(gone) == 0:
		return nil, atoll.Errorf(atoll.PreconditionFailed,
			"%s is connected, or already forgotten", id).
			WithHint("a node that lives leaves by itself: atoll node leave " + string(id))
	}
	for _, o := range gone {
		if err := n.putNote(ctx, forgottenPrefix, o, id); err != nil {
			return nil, err
		}
	}
	n.loadRoster()
	n.monitor.poke()
	return gone, nil
}

// Leave takes this node out of the cluster: it takes no more writes and is not
// ready, waits until every member that is connected has all that it wrote, and
// lets the cluster forget its origin. Left then says that the process is to end.
// Where nobody else has it all in time it is refused, and the node goes on. The
// next start on the directory is that of a new, empty node.
func (n *Node) Leave(ctx context.Context, id atoll.NodeID) error {
	if id != n.cfg.Node {
		return atoll.Errorf(atoll.BadRequest, "this is %s, not %s", n.cfg.Node, id).
			WithHint("ask that node itself: --api http://ITS-ADDRESS:8080")
	}
	if err := n.begin(ctx); err != nil {
		return err
	}
	if !n.leaving.CompareAndSwap(false, true) {
		return atoll.Errorf(atoll.PreconditionFailed, "%s is leaving already", id)
	}
	n.monitor.poke()
	err := n.depart(ctx)
	if err != nil {
		n.leaving.Store(false)
		n.monitor.poke()
	}
	return err
}

func (n *Node) depart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if _, err := n.loop.call(ctx, replication.Yield{}); err != nil {
		return err // rights to bounded counters would be lost with the origin
	}
	if err := n.inherited(ctx, ""); err != nil {
		return err
	}
	if err := n.bequeath(ctx); err != nil {
		return err
	}
	n.loadRoster()
	n.monitor.relayout(ctx)
	n.departed.Store(true)
	n.goAway()
	return nil
}

// bequeath writes into the roster that this origin is forgotten, and waits until
// another disk has that.
func (n *Node) bequeath(ctx context.Context) error {
	err := n.putSystemAt(ctx, rosterSpace, atoll.Key(forgottenPrefix+n.origin.String()),
		note{Node: n.cfg.Node, At: n.cfg.Clock().UTC()}, atoll.Level{All: true}, leaveAck)
	if err != nil && atoll.KindOf(err) != atoll.DurabilityNotReached {
		return err
	}
	return n.inherited(ctx, rosterSpace)
}

// inherited waits until some other member has all dots of this node, in a keyspace
// or in all, and every connected one too; of the roster's one member is enough.
func (n *Node) inherited(ctx context.Context, ks atoll.Keyspace) error {
	for {
		var have []atoll.Origin
		if err := n.loop.look(ctx, func(c *replication.Core) { have = c.Heirs(ks) }); err != nil {
			return err
		}
		lacking := n.lacking(have)
		if len(have) > 0 && (len(lacking) == 0 || ks != "") {
			return nil
		}
		select {
		case <-time.After(leavePoll):
		case <-ctx.Done():
			who := "no other node is connected"
			if len(lacking) > 0 {
				who = "these do not have all of it: " + strings.Join(lacking, ", ")
			}
			return atoll.Errorf(atoll.DurabilityNotReached,
				"%s cannot leave: what it wrote would go with it; %s", n.cfg.Node, who).
				WithHint("bring other nodes up and try again; this one goes on")
		}
	}
}

// lacking returns the connected members that are not among have.
func (n *Node) lacking(have []atoll.Origin) (names []string) {
	for _, p := range n.transport.Peers() {
		member := slices.ContainsFunc(n.membersNow(), func(m member) bool { return m.Origin == p.Origin })
		if member && !slices.Contains(have, p.Origin) {
			names = append(names, string(p.Node))
		}
	}
	return names
}

// expel is what the core says when the cluster has forgotten this origin.
func (n *Node) expel() {
	n.expelled.Store(true)
	if !n.leaving.Load() {
		n.cfg.Logger.Error("the cluster has forgotten this node: it stops, and the next start " +
			"drops what is here and joins again, empty")
		n.goAway()
	}
}

func errLeaving() error {
	return atoll.Errorf(atoll.ShuttingDown, "this node leaves the cluster").
		WithHint("another node of the cluster takes the write")
}

func (n *Node) goAway() { n.leftOnce.Do(func() { close(n.left) }) }

// Left is closed when this node is no member any more and the process is to end.
// Departed says whether it left by itself.
func (n *Node) Left() <-chan struct{} { return n.left }

// Departed reports whether the node has left because it was told to.
func (n *Node) Departed() bool { return n.departed.Load() }

// publishLife adds to a snapshot what the core said of members' lives. The
// caller holds m.mu.
func (m *monitor) publishLife(c *atoll.Cluster) {
	p := m.progress
	c.CatchingUp = atoll.CatchingUp{Partitions: p.Partitions, Sources: p.Sources,
		Documents: p.Documents, Bytes: p.Bytes}
	for _, r := range m.refused {
		c.Refused = append(c.Refused, atoll.Refused{Node: r.Node, Reason: string(r.Reason),
			Count: r.Count})
	}
	m.n.roster.RLock()
	defer m.n.roster.RUnlock()
	for _, f := range m.farewells {
		x := atoll.Forgetting{Origin: f.Origin, Node: m.n.roster.forgotten[f.Origin].Node,
			Phase: f.Phase.String(), Done: f.Over}
		for _, o := range f.Waiting {
			x.Waiting = append(x.Waiting, m.n.roster.nodeOf(o))
		}
		c.Forgetting = append(c.Forgetting, x)
	}
}

// nodeOf returns the node of an origin. The caller holds the lock.
func (r *roster) nodeOf(o atoll.Origin) atoll.NodeID {
	for _, m := range r.members {
		if m.Origin == o {
			return m.Node
		}
	}
	return atoll.NodeID(o.String())
}

// catchUp tells, each two seconds while there are full pulls, how far they are.
func (m *monitor) catchUp(p replication.Progress) {
	now := m.n.clocks.stopwatch()
	if p.Partitions == 0 {
		if m.catching {
			m.n.cfg.Logger.Info("caught up", "documents", p.Documents, "bytes", p.Bytes)
		}
		m.catching = false
		return
	}
	if !m.catching {
		m.catching, m.toldAt = true, now
	} else if now-m.toldAt >= tellEvery {
		m.toldAt = now
		m.n.cfg.Logger.Info("catching up", "partitions_left", p.Partitions,
			"documents", p.Documents, "bytes", p.Bytes, "sources", p.Sources)
	}
}

// tellEvery is how often the log says how far a full pull is.
const tellEvery = 2 * time.Second
