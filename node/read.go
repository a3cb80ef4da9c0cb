package node

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/wire"
)

// Read returns a document as it is durable here. Where this replica is behind
// the session, another node answers that is not.
func (n *Node) Read(ctx context.Context, r atoll.Read) (atoll.Document, error) {
	token, err := parseToken(r.Session)
	if err != nil {
		return atoll.Document{}, err
	}
	if err := n.caughtUp(ctx, token, sessionWait); err != nil {
		page, err := n.forward(ctx, token, r.Keyspace, r.Trace, func(trace atoll.Trace) []byte {
			return wire.Read{Keyspace: r.Keyspace, Key: r.Key, Session: r.Session,
				Trace: trace.String()}.Append(nil)
		}, err)
		doc := atoll.Document{Session: page.Session, Node: page.Node}
		if err == nil && len(page.Items) == 1 {
			session := doc.Session
			doc = page.Items[0]
			doc.Session, doc.Node = session, page.Node
		}
		return doc, err
	}
	return n.readHere(r, token)
}

// readHere answers a read of a session that this replica covers.
func (n *Node) readHere(r atoll.Read, token token) (atoll.Document, error) {
	if err := n.exists(r.Keyspace); err != nil {
		return atoll.Document{}, err
	}
	a := replication.Address{
		Keyspace: r.Keyspace, Partition: replication.PartitionOf(r.Keyspace, r.Key),
	}
	v := n.store.Snapshot()
	defer v.Close()
	d, err := document(v.Get(replication.DocKey(a.Keyspace, a.Partition, r.Key)))
	token.add(a, replication.ClockIn(v, a))
	if failed := v.Err(); failed != nil {
		return atoll.Document{}, n.readFailed(failed)
	}
	if err != nil {
		return atoll.Document{}, err
	}
	out, ok := n.render(r.Key, &d, n.cfg.Clock())
	if !ok {
		return atoll.Document{Session: n.seal(token)}, atoll.Errorf(atoll.NotFound,
			"there is no document %q in keyspace %q", r.Key, r.Keyspace)
	}
	out.Session = n.seal(token)
	return out, nil
}

// readFailed says why the store cannot be read: it is closing, or broken.
func (n *Node) readFailed(err error) error {
	if n.stopping.Load() {
		return errStopped()
	}
	return atoll.Errorf(atoll.Internal, "the store cannot be read").Because(err)
}

// document decodes a stored document; an absent one is empty.
func document(b []byte, ok bool) (crdt.Doc, error) {
	if !ok {
		return crdt.Doc{}, nil
	}
	d, _, err := crdt.DecodeDoc(b)
	if err != nil {
		return crdt.Doc{}, atoll.Errorf(atoll.Internal, "a stored document is damaged").Because(err)
	}
	return d, nil
}

// render turns a stored document into what readers see; false when that is
// nothing.
func (n *Node) render(key atoll.Key, d *crdt.Doc, now time.Time) (atoll.Document, bool) {
	if d.Expired(now) {
		return atoll.Document{}, false
	}
	body, conflicts, visible := crdt.Render(d)
	if !visible {
		return atoll.Document{}, false
	}
	return atoll.Document{
		Key: key, Body: body, ETag: d.ETag(), Conflicts: n.conflicts(conflicts),
	}, true
}

// conflicts puts the core's conflicts into users' words.
func (n *Node) conflicts(cells []crdt.CellConflict) []atoll.Conflict {
	var out []atoll.Conflict
	for _, c := range cells {
		conflict := atoll.Conflict{Path: c.Path.Pointer(), Kind: c.Kind}
		for _, v := range c.Values {
			conflict.Values = append(conflict.Values, atoll.Value{
				JSON: v.JSON, Origin: v.Dot.Origin, Region: n.regionOf(v.Dot.Origin),
				Time: v.Time.Wall(), Winner: v.Winner,
			})
		}
		out = append(out, conflict)
	}
	return out
}

// List returns one page of documents in byte order of their keys. It costs two
// seeks a partition and one step a document. Where this replica is behind the
// session, another node answers that is not.
func (n *Node) List(ctx context.Context, l atoll.Listing) (atoll.Page, error) {
	token, err := parseToken(l.Session)
	if err != nil {
		return atoll.Page{}, err
	}
	if err := n.caughtUp(ctx, token, sessionWait); err != nil {
		return n.forward(ctx, token, l.Keyspace, l.Trace, func(trace atoll.Trace) []byte {
			return wire.List{Keyspace: l.Keyspace, Prefix: l.Prefix, After: l.After, Limit: l.Limit,
				Session: l.Session, Trace: trace.String()}.Append(nil)
		}, err)
	}
	return n.listHere(l, token)
}

// listHere answers a listing of a session that this replica covers. What the page
// has seen is all partitions: also that there is no more in them.
func (n *Node) listHere(l atoll.Listing, token token) (atoll.Page, error) {
	if err := n.exists(l.Keyspace); err != nil {
		return atoll.Page{}, err
	}
	v := n.store.Snapshot()
	defer v.Close()
	limit := min(max(l.Limit, 1), atoll.MaxPage)
	now := n.cfg.Clock()
	var page atoll.Page
	for key, b := range merge(v, l) {
		d, err := document(b, true)
		if err != nil {
			return atoll.Page{}, err
		}
		doc, ok := n.render(key, &d, now)
		if !ok {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Key
			break
		}
		page.Items = append(page.Items, doc)
	}
	for part := range l.Keyspace.Partitions() {
		a := replication.Address{Keyspace: l.Keyspace, Partition: part}
		token.add(a, replication.ClockIn(v, a))
	}
	if err := v.Err(); err != nil {
		return atoll.Page{}, n.readFailed(err)
	}
	page.Session = n.seal(token)
	return page, nil
}

// head is the next document of one partition.
type head struct {
	key   atoll.Key
	value []byte
	next  func() ([]byte, []byte, bool)
	skip  int
}

func (h *head) advance() bool {
	k, v, ok := h.next()
	if ok {
		h.key, h.value = atoll.Key(k[h.skip:]), v
	}
	return ok
}

// merge yields the stored documents of a listing over all partitions in byte
// order of their keys.
func merge(v *store.Snapshot, l atoll.Listing) iter.Seq2[atoll.Key, []byte] {
	return func(yield func(atoll.Key, []byte) bool) {
		var heads []*head // sorted by key
		at := func(h *head) int {
			i, _ := slices.BinarySearchFunc(heads, h, func(a, b *head) int {
				return strings.Compare(string(a.key), string(b.key))
			})
			return i
		}
		for part := range l.Keyspace.Partitions() {
			from, to, skip := replication.DocRange(l.Keyspace, part, l.Prefix)
			if string(l.After) >= l.Prefix {
				from = append(from[:skip:skip], l.After+"\x00"...)
			}
			next, stop := iter.Pull2(v.Scan(from, to))
			defer stop()
			h := &head{next: next, skip: skip}
			if h.advance() {
				heads = slices.Insert(heads, at(h), h)
			}
		}
		for len(heads) > 0 {
			h := heads[0]
			if !yield(h.key, h.value) {
				return
			}
			heads = heads[1:]
			if h.advance() {
				heads = slices.Insert(heads, at(h), h)
			}
		}
	}
}
