package membership

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/hashicorp/memberlist"

	"github.com/atolledge/atoll"
)

// delegate is the side of a Membership that memberlist calls, often under its
// own locks: these methods only take notes.
type delegate Membership

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(limit int) []byte {
	meta := appendMeta(nil, d.cfg.Self)
	return meta[:min(limit, len(meta))] // 512 bytes are more than a meta has
}

// NotifyMsg implements memberlist.Delegate; Atoll sends no user messages there.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive implements memberlist.AliveDelegate: a node whose meta does not
// fit its name is not let in.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	_, err := memberOf(n)
	return err
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) {
	m, err := memberOf(n)
	if err != nil || m.Node == d.cfg.Self.Node {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.alive[m.Node] = m
	d.markLocked(m.Node)
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.alive, atoll.NodeID(n.Name))
	d.markLocked(atoll.NodeID(n.Name))
}

func (d *delegate) markLocked(node atoll.NodeID) {
	d.dirty[node] = struct{}{}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// announce calls Changed with the difference between what it said last and what
// is, so nothing piles up behind a slow callback.
func (m *Membership) announce() {
	said := map[atoll.NodeID]Member{}
	for {
		select {
		case <-m.done:
			return
		case <-m.changed:
		}
		for _, node := range m.takeDirty() {
			now, there := m.lookup(node)
			before, known := said[node]
			if !there {
				delete(said, node)
			} else {
				said[node] = now
			}
			if e, ok := difference(before, known, now, there); ok && !m.closing() {
				m.tell(e)
			}
		}
	}
}

// difference is the event between two sights of a node.
func difference(before Member, known bool, now Member, there bool) (Event, bool) {
	switch {
	case there && !known:
		return Event{Up, now}, true
	case known && !there:
		return Event{Down, before}, true
	}
	return Event{Update, now}, there && now != before
}

func (m *Membership) tell(e Event) {
	m.cfg.Logger.Info("member "+e.Kind.String(), "member", e.Member.Node, "addr", e.Member.Addr)
	if m.cfg.Changed != nil {
		m.cfg.Changed(e)
	}
}

func (m *Membership) closing() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

func (m *Membership) takeDirty() []atoll.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes := slices.Sorted(maps.Keys(m.dirty))
	clear(m.dirty)
	return nodes
}

func (m *Membership) lookup(node atoll.NodeID) (Member, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.alive[node]
	return n, ok
}

// bridge makes memberlist's log lines debug records: what matters of them comes
// as events.
type bridge struct{ log *slog.Logger }

// Write implements io.Writer for one line.
func (b bridge) Write(line []byte) (int, error) {
	if b.log.Enabled(context.Background(), slog.LevelDebug) {
		b.log.Debug(string(bytes.TrimSpace(line)), "from", "memberlist")
	}
	return len(line), nil
}
