package node

import (
	"context"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// defaultTimeout is how long a write waits for its level.
const defaultTimeout = 5 * time.Second

// Write applies one change and returns when it is as durable as asked. Its
// errors are *atoll.Error; with atoll.DurabilityNotReached the write stays.
func (n *Node) Write(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	if err := n.begin(ctx); err != nil {
		return atoll.Written{}, err
	}
	if err := n.timely(); err != nil {
		return atoll.Written{}, err
	}
	if n.leaving.Load() {
		return atoll.Written{}, errLeaving()
	}
	change, err := parseChange(w)
	if err != nil {
		return atoll.Written{}, err
	}
	token, err := parseToken(w.Session)
	if err != nil {
		return atoll.Written{}, err
	}
	settings, err := n.writable(w.Keyspace)
	if err != nil {
		return atoll.Written{}, err
	}
	// A condition is on what the session has seen, and a token may be widened only
	// to a replica that holds all of it.
	if w.IfMatch != nil || w.IfNoneMatch != nil || token.pinned != 0 ||
		len(w.Session) > atoll.MaxToken/2 {
		if err := n.await(ctx, token); err != nil {
			return atoll.Written{}, err
		}
	}
	if w.TTL == 0 {
		w.TTL = settings.TTL
	}
	if w.Change == atoll.Delete && settings.Conflict == atoll.DeleteWins {
		change = func(e *crdt.Edit) error { crdt.DeleteWins(e); return nil }
	}
	if w.Timeout == 0 {
		w.Timeout = defaultTimeout
	}
	existed := false
	m := mutation{deletes: w.Change == atoll.Delete}
	m.Mutate = replication.Mutate{
		Keyspace: w.Keyspace, Key: w.Key, Level: w.Level,
		Deadline: n.cfg.Clock().Add(w.Timeout),
		Edit: func(e *crdt.Edit) (err error) {
			existed, err = edit(e, w, change)
			return err
		},
	}
	r, err := n.loop.call(ctx, m)
	written := atoll.Written{Existed: existed, ETag: r.Doc.ETag()}
	if r.Dots.First > 0 {
		token.add(replication.Address{
			Keyspace: w.Keyspace, Partition: replication.PartitionOf(w.Keyspace, w.Key),
		}, crdt.ClockOf(r.Dots))
	}
	written.Session = n.seal(token)
	return written, err
}

// parseChange reads the body of a write, once, outside the loop.
func parseChange(w atoll.Write) (func(*crdt.Edit) error, error) {
	switch w.Change {
	case atoll.Delete:
		return func(e *crdt.Edit) error { crdt.Delete(e); return nil }, nil
	case atoll.Ops:
		ops, err := crdt.ParseOps(w.Body)
		return func(e *crdt.Edit) error { return crdt.ApplyOps(e, ops) }, err
	}
	tree, err := crdt.Parse(w.Body)
	if w.Change == atoll.Merge {
		return func(e *crdt.Edit) error { return crdt.MergePatch(e, tree) }, err
	}
	return func(e *crdt.Edit) error { return crdt.Put(e, tree) }, err
}

// edit applies change to what this replica holds, if the conditions hold.
func edit(e *crdt.Edit, w atoll.Write, change func(*crdt.Edit) error) (existed bool, _ error) {
	now := e.Time().Wall()
	if e.Doc().Expired(now) {
		crdt.Delete(e) // what nobody sees any more is gone before the change
	}
	existed = e.Doc().Visible()
	if err := precondition(w, existed, e.Doc()); err != nil {
		return existed, err
	}
	if err := change(e); err != nil {
		return existed, err
	}
	if w.TTL > 0 && e.Doc().Visible() {
		e.SetDeadline(now.Add(w.TTL))
	}
	return existed, nil
}

// precondition checks If-Match and If-None-Match (RFC 9110 section 13.1).
func precondition(w atoll.Write, exists bool, d *crdt.Doc) error {
	match := func(tags []string) bool {
		return exists && (slices.Contains(tags, "*") || slices.Contains(tags, d.ETag()))
	}
	switch {
	case w.IfMatch != nil && !match(w.IfMatch):
		return atoll.Errorf(atoll.PreconditionFailed, "If-Match does not match the document here").
			WithHint("read it again and repeat the change on what you see")
	case len(w.IfNoneMatch) > 0 && match(w.IfNoneMatch):
		return atoll.Errorf(atoll.PreconditionFailed, "If-None-Match matches the document here").
			WithHint("the document exists already in this version")
	}
	return nil
}
