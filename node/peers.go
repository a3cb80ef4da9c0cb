package node

import (
	"bytes"
	"context"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/membership"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// greetings is how long a starting node waits for its peers to say what they
// hold of it, before it writes.
const greetings = 1500 * time.Millisecond

// peerUp, peerDown, frame, datagram and pull are the transport's handler.
func (n *Node) peerUp(p transport.Peer) {
	n.loop.feed(n.ctx, replication.PeerUp{Member: replication.Member{
		Origin: p.Origin, Node: p.Node, Region: p.Region,
	}})
	n.monitor.poke()
}

func (n *Node) peerDown(id atoll.NodeID) {
	n.loop.feed(n.ctx, replication.PeerDown{Node: id})
	n.monitor.poke()
}

func (n *Node) frame(from atoll.NodeID, t wire.Type, body []byte) {
	switch t {
	case wire.TypeDelta, wire.TypeAck, wire.TypeHeads, wire.TypeParts, wire.TypeClocks,
		wire.TypeMarks, wire.TypeVow, wire.TypeClaim:
	default:
		return // of a later version
	}
	m, err := wire.Decode(t, bytes.Clone(body))
	if err != nil {
		n.monitor.metrics.malformed.Inc()
		n.cfg.Logger.Warn("dropped a malformed frame", "from", from, "err", err)
		return
	}
	n.loop.feed(n.ctx, replication.Receive{From: from, Message: m})
	if t == wire.TypeMarks {
		select {
		case n.greeted <- from:
		default:
		}
	}
}

// datagram takes one frame: heads, or what health says.
func (n *Node) datagram(from atoll.NodeID, b []byte) {
	t, body, err := wire.One(b)
	if err != nil {
		n.monitor.metrics.malformed.Inc()
		return
	}
	if t == wire.TypeHeads {
		n.frame(from, t, body)
		return
	}
	n.monitor.datagram(from, t, body)
}

// pull answers a peer from one snapshot.
func (n *Node) pull(_ context.Context, _ atoll.NodeID, req []byte, w *transport.PullWriter) error {
	m, err := wire.Decode(wire.TypePull, bytes.Clone(req))
	if err != nil {
		return err
	}
	v := n.store.Snapshot()
	defer v.Close()
	err = replication.Answer(v, m.(replication.Pull), func(m replication.Message) error {
		if err := v.Err(); err != nil {
			return err // what was read is worthless
		}
		return wire.EmitPull(m, w.Frame)
	})
	return err
}

// release carries out what a durable step asked for, but its replies.
func (n *Node) release(out replication.Output) {
	for _, s := range out.Sends {
		n.send(s)
	}
	for _, p := range out.Pulls {
		ctx, cancel := context.WithCancel(n.ctx)
		n.work.Go(func() {
			defer cancel()
			n.openPull(ctx, p)
		})
	}
	for _, c := range out.Changes {
		n.changed(c)
	}
	n.watchers.advanced(out.Advanced)
	if out.Fenced != "" {
		n.fenced.Store(true)
	}
	if out.Expelled {
		n.expel()
	}
}

func (n *Node) send(s replication.Send) {
	t, body := wire.Append(nil, s.Message)
	if h, ok := s.Message.(replication.Heads); ok && !h.Reply {
		n.transport.SendDatagram(s.To, wire.AppendFrame(nil, t, body))
		return
	}
	lane := transport.Control
	if s.Eager {
		lane = transport.Eager
	}
	n.transport.Send(s.To, lane, t, body)
}

// openPull asks a peer and feeds its answer to the core as it comes: a slow
// core holds the peer back.
func (n *Node) openPull(ctx context.Context, p replication.OpenPull) {
	_, end := n.span(n.newTrace(), "pull", atoll.SpanClient)
	docs, err := n.feedPull(ctx, p)
	if err != nil {
		n.loop.feed(ctx, replication.PullFailed{Session: p.Session})
	}
	end(err, append(about(p.Pull.Keyspace, p.To),
		atoll.Attribute{Key: "atoll.partition", Value: int64(p.Pull.Partition)},
		atoll.Attribute{Key: "atoll.documents", Value: docs})...)
}

// feedPull returns how many documents came.
func (n *Node) feedPull(ctx context.Context, p replication.OpenPull) (docs int64, err error) {
	_, req := wire.Append(nil, p.Pull)
	stream, err := n.transport.OpenPull(ctx, p.To, req)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	var reader wire.PullReader
	for {
		t, body, err := stream.Next()
		var m replication.Message
		ok := false
		if err == nil {
			m, ok, err = reader.Frame(t, bytes.Clone(body))
		}
		if err != nil {
			return docs, err
		}
		if !ok {
			continue
		}
		n.loop.feed(ctx, replication.PullEvent{Session: p.Session, Message: m})
		switch m := m.(type) {
		case replication.Doc:
			docs++
		case replication.End:
			return docs, nil
		case replication.Begin:
			if m.Busy {
				return docs, nil
			}
		}
	}
}

// memberChanged hears from memberlist where nodes are.
func (n *Node) memberChanged(e membership.Event) {
	if e.Kind != membership.Down {
		_ = n.transport.Connect(e.Member.Addr)
	}
	n.monitor.poke()
}

// start lets writes begin when every peer that can be reached has said what it
// holds of this node: a directory that was copied or rolled back is noticed
// before it does harm.
func (n *Node) start() {
	defer close(n.started)
	want := n.peersKnown()
	timeout := time.NewTimer(greetings)
	defer timeout.Stop()
	heard := make(map[atoll.NodeID]bool)
	for len(heard) < want {
		select {
		case from := <-n.greeted:
			heard[from] = true
		case <-timeout.C:
			return
		case <-n.ctx.Done():
			return
		}
	}
	// The greetings are behind their frames in the loop's queue: pass it once.
	_ = n.loop.look(n.ctx, func(*replication.Core) {})
}
