package node

import "github.com/atolledge/atoll/replication"

// drainedHere reads which regions are drained. Where this one has just become so,
// its rights to bounded counters go to others: users are led to those now, and
// rights of a node that never comes back would be lost.
func (n *Node) drainedHere() {
	if n.loadDrains() {
		n.work.Go(n.yieldRights)
	}
}

func (n *Node) yieldRights() {
	if _, err := n.loop.call(n.ctx, replication.Yield{}); err != nil {
		n.cfg.Logger.Warn("rights to bounded counters stay here", "err", err)
	}
}
