package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// visit is a client and a document.
type visit struct {
	client int
	key    atoll.Key
}

// Serve checks that a node that serves a client has seen all that the client
// has: what it wrote to the document and what it found there. seen says which
// dots the node has seen.
func (h *History) Serve(at time.Duration, client int, node atoll.NodeID, key atoll.Key,
	seen func(crdt.Dot) bool) *Violation {
	for _, id := range h.sessions[visit{client, key}] {
		if o := &h.ops[id]; !o.lost && !o.perhaps && !seen(o.first()) {
			return &Violation{Sessions, at, node, key, fmt.Sprintf(
				"client %d has seen what %s wrote at %v, and is served by one that has not", client,
				o.node, o.at)}
		}
	}
	return nil
}

// Wrote notes that a client made an operation: it must find it from now on.
func (h *History) Wrote(client int, id OpID) {
	v := visit{client, h.ops[id].key}
	if h.sessions == nil {
		h.sessions = make(map[visit][]OpID)
	}
	h.sessions[v] = append(h.sessions[v], id)
}

// Read notes that a client read a document of which seen has been seen.
func (h *History) Read(client int, key atoll.Key, seen func(crdt.Dot) bool) {
	v := visit{client, key}
	for _, id := range h.record(key).ops {
		o := &h.ops[id]
		if !o.lost && seen(o.first()) && !slices.Contains(h.sessions[v], id) {
			h.Wrote(client, id)
		}
	}
}

// Look checks a whole document as a replica shows it: every operation that the
// replica has seen has had its effect, and no other.
func (h *History) Look(at time.Duration, node atoll.NodeID, key atoll.Key, d *crdt.Doc,
	seen func(crdt.Dot) bool) *Violation {
	if v := h.Changed(at, node, key, d, seen); v != nil {
		return v
	}
	for i := range d.Entries {
		if x := &d.Entries[i]; !seen(x.Dot) {
			return &Violation{Function, at, node, key, describe(x) + " shows before it was seen"}
		}
	}
	if v := h.lost(h.record(key), d, seen); v != nil {
		v.At, v.Node, v.Key = at, node, key
		return v
	}
	return nil
}
