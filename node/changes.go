package node

import (
	"slices"
	"strings"
	"sync"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// MaxConflicts is how many of the recent concurrent writes a node remembers.
const MaxConflicts = 1024

// ring holds the recent conflicts, the newest last.
type ring struct {
	sync.Mutex
	items []atoll.Conflicted
}

func (r *ring) add(c atoll.Conflicted) {
	r.Lock()
	defer r.Unlock()
	if len(r.items) >= MaxConflicts {
		r.items = slices.Delete(r.items, 0, MaxConflicts/8)
	}
	r.items = append(r.items, c)
}

// Conflicts returns the recent concurrent writes that this node has seen, the
// newest first.
func (n *Node) Conflicts() []atoll.Conflicted {
	n.recent.Lock()
	defer n.recent.Unlock()
	items := slices.Clone(n.recent.items)
	slices.Reverse(items)
	return items
}

// changed hears of every document that changed and is durable. It runs in the
// loop's goroutine.
func (n *Node) changed(c replication.Change) {
	if strings.HasPrefix(string(c.Keyspace), string(atoll.Keyspace("").Media())) {
		return // as many as there are users' objects: nothing to tell the monitor
	}
	if c.Keyspace.System() {
		select {
		case n.changes <- c:
		default:
			n.missed.Store(true) // the monitor looks at everything when it comes round
		}
		return
	}
	if c.Conflict {
		n.remember(c)
	}
}

// remember puts a conflict into the feed.
func (n *Node) remember(c replication.Change) {
	body, cells, _ := crdt.Render(&c.Doc)
	item := atoll.Conflicted{Keyspace: c.Keyspace, Key: c.Key, At: n.cfg.Clock()}
	if c.DeleteEdit {
		item.Conflict = atoll.Conflict{Kind: "delete-edit", Values: []atoll.Value{n.survivor(&c.Doc, body)}}
		n.recent.add(item)
		n.monitor.metrics.conflicts.WithLabelValues("delete-edit").Inc()
	}
	for _, cell := range n.conflicts(cells) {
		item.Conflict = cell
		n.recent.add(item)
		n.monitor.metrics.conflicts.WithLabelValues(cell.Kind).Inc()
	}
}

// survivor is what an edit left of a document that was deleted beside it.
func (n *Node) survivor(d *crdt.Doc, body []byte) atoll.Value {
	v := atoll.Value{JSON: body, Winner: true}
	var last *crdt.Entry
	for i := range d.Entries {
		if x := &d.Entries[i]; last == nil || x.Later(last) {
			last = x
		}
	}
	if last != nil {
		v.Origin, v.Region = last.Dot.Origin, n.regionOf(last.Dot.Origin)
		v.Time = last.Time.Wall()
	}
	return v
}
