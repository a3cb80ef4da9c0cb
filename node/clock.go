package node

import (
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/health"
	"github.com/atolledge/atoll/replication/wire"
)

// clocks compares this node's clock with its peers': the monitor asks, datagrams
// answer, requests look at what came of it.
type clocks struct {
	begun time.Time // the stopwatch: its monotonic reading is what no one sets
	mu    sync.Mutex
	known health.Clocks
	skew  health.Skew
	asked time.Duration // when the peers were last asked
}

// stopwatch returns the time since the node was made. It is no clock: steps of
// the wall clock do not show in it.
func (c *clocks) stopwatch() time.Duration { return time.Since(c.begun) }

// judge asks the peers for their clocks when that is due, and looks at the own.
func (n *Node) judgeClock() {
	c := &n.clocks
	now := c.stopwatch()
	c.mu.Lock()
	was := c.skew
	c.skew = c.known.Judge(now, n.cfg.Clock())
	is, due := c.skew, now-c.asked >= health.ClockEvery
	if due {
		c.asked = now
	}
	c.mu.Unlock()
	if is.Off != was.Off {
		if is.Off {
			n.cfg.Logger.Error("this node takes no writes", "why", clockReason(is))
		} else {
			n.cfg.Logger.Info("the clock is right again: this node takes writes", "offset", is.Offset)
		}
	}
	if due {
		for _, p := range n.transport.Peers() {
			n.transport.SendDatagram(p.Node, wire.AppendAsk(nil, c.stopwatch()))
		}
	}
}

// tellTime answers a peer that asks for the clock.
func (n *Node) tellTime(peer atoll.NodeID, body []byte) {
	if sent, err := wire.DecodeAsk(body); err == nil {
		n.transport.SendDatagram(peer, wire.AppendTime(nil, sent, n.cfg.Clock()))
	}
}

// hearTime takes a peer's answer in, at once: what it waits here would count as
// its way.
func (n *Node) hearTime(peer atoll.NodeID, body []byte) {
	c := &n.clocks
	now := c.stopwatch()
	if sent, there, err := wire.DecodeTime(body); err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known.Observe(peer, sent, now, there)
	}
}

// skew returns what is known of the clock.
func (n *Node) skew() health.Skew {
	n.clocks.mu.Lock()
	defer n.clocks.mu.Unlock()
	return n.clocks.skew
}

// clockReason says in words why the node is fenced.
func clockReason(s health.Skew) string {
	side := "ahead of"
	if s.Offset < 0 {
		side = "behind"
	}
	return "this node's clock is " + s.Offset.Abs().Round(time.Millisecond).String() + " " + side +
		" the median of its cluster, " + health.MaxOffset.String() + " is the most"
}

// timely refuses changes while the clock is off.
func (n *Node) timely() error {
	s := n.skew()
	if !s.Off {
		return nil
	}
	return atoll.Errorf(atoll.Fenced, "%s", clockReason(s)).
		WithHint("set the clock of that machine (chronyc tracking shows it), or use another node").
		WithLimit("clock_offset_ms", health.MaxOffset.Milliseconds())
}
