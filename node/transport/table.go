package transport

import (
	"maps"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// claim is what decides between two connections to the same node.
type claim struct {
	origin      atoll.Origin
	incarnation uint64
	dialer      atoll.NodeID
}

// verdict on a new connection beside one that is kept.
type verdict uint8

const (
	replace   verdict = iota // the new one takes the place
	duplicate                // both dialed, the kept one wins
	stale                    // of an earlier process than the kept one
	twin                     // another data directory under the same name
)

// contest decides between the kept connection and a new one. Both ends see the
// same two claims, so they keep the same connection: the smaller dialer's, when
// both dialed. A second one of the same dialer means that it has lost the first.
func contest(kept, next claim) verdict {
	switch {
	case next.incarnation < kept.incarnation:
		return stale
	case next.incarnation > kept.incarnation:
		return replace
	case next.origin != kept.origin:
		return twin
	case next.dialer > kept.dialer:
		return duplicate
	}
	return replace
}

// install makes l the kept connection to its node, or returns the verdict that
// keeps another. The caller closes the loser it holds; install closes a link
// that was replaced.
func (t *Transport) install(l *link) (*link, verdict, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, replace, errClosed
	}
	old := t.aliveLocked(l.peer.Node)
	if old != nil {
		if v := contest(old.claim, l.claim); v != replace {
			t.mu.Unlock()
			return old, v, nil
		}
	}
	t.links[l.peer.Node] = l
	t.names[l.peer.Addr] = l.peer.Node
	t.markLocked(l.peer.Node)
	t.spawnLocked(l.run)
	t.mu.Unlock()
	if old != nil {
		old.close(codeReplaced, "a newer connection took its place")
	}
	return l, replace, nil
}

// remove forgets a link whose connection is gone, if it is still the kept one.
func (t *Transport) remove(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := l.peer.Node
	if t.links[node] != l {
		return
	}
	delete(t.links, node)
	maps.DeleteFunc(t.names, func(_ string, n atoll.NodeID) bool { return n == node })
	t.markLocked(node)
}

// markLocked has announce look at a node again.
func (t *Transport) markLocked(node atoll.NodeID) {
	t.metrics.peers.Set(float64(len(t.links)))
	t.dirty[node] = struct{}{}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// announce tells the Handler what became of the links: the one goroutine that
// calls PeerUp and PeerDown. It compares what it has announced with what is, so
// a link that came and went unseen is never mentioned and nothing piles up.
func (t *Transport) announce() {
	announced := map[atoll.NodeID]*link{}
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.changed:
		}
		for _, node := range t.takeDirty() {
			t.announceNode(announced, node)
		}
	}
}

func (t *Transport) announceNode(announced map[atoll.NodeID]*link, node atoll.NodeID) {
	now, before := t.current(node), announced[node]
	if now == before {
		return
	}
	if before != nil {
		<-before.quiet
		delete(announced, node)
		if t.cfg.Handler.PeerDown != nil && t.ctx.Err() == nil {
			t.cfg.Handler.PeerDown(node)
		}
	}
	if now != nil && t.ctx.Err() == nil {
		announced[node] = now
		if t.cfg.Handler.PeerUp != nil {
			t.cfg.Handler.PeerUp(now.peer)
		}
		close(now.ready)
	}
}

func (t *Transport) takeDirty() []atoll.NodeID {
	t.mu.Lock()
	defer t.mu.Unlock()
	nodes := slices.Sorted(maps.Keys(t.dirty))
	clear(t.dirty)
	return nodes
}

func (t *Transport) current(node atoll.NodeID) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.links[node]
}

// aliveLocked returns the link to a node unless its connection has ended.
func (t *Transport) aliveLocked(node atoll.NodeID) *link {
	if l := t.links[node]; l != nil && l.conn.Context().Err() == nil {
		return l
	}
	return nil
}

func (t *Transport) linkTo(node atoll.NodeID) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.aliveLocked(node)
}

func (t *Transport) linksLocked() []*link { return slices.Collect(maps.Values(t.links)) }

// queued returns the bytes that wait in one lane of all links.
func (t *Transport) queued(which Lane) (bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.links {
		bytes += l.lanes[which].size()
	}
	return bytes
}

func (t *Transport) queuedDatagrams() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.links {
		n += len(l.out)
	}
	return n
}

// Peers returns the connected nodes in order of their ids.
func (t *Transport) Peers() []Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	var peers []Peer
	for _, node := range slices.Sorted(maps.Keys(t.links)) {
		peers = append(peers, t.links[node].peer)
	}
	return peers
}

// RTT returns the smoothed round trip to a node as QUIC measures it, at least
// once each keepAlive; 0 when there is no connection.
func (t *Transport) RTT(node atoll.NodeID) time.Duration {
	if l := t.linkTo(node); l != nil {
		return l.conn.ConnectionStats().SmoothedRTT
	}
	return 0
}
