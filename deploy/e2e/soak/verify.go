package main

import (
	"encoding/json"
	"fmt"
)

// verify compares what all nodes hold with what the clients were told.
func (x *crowd) verify(docs map[string]json.RawMessage) error {
	for _, c := range x.all {
		for i := range c.docs {
			if err := c.verifyDoc(i, docs); err != nil {
				return err
			}
		}
		if err := c.verifyCount(docs); err != nil {
			return err
		}
		if err := c.verifyVersion(docs); err != nil {
			return err
		}
	}
	return nil
}

// verifyDoc looks for one document that only c wrote, once.
func (c *client) verifyDoc(i int, docs map[string]json.RawMessage) error {
	d, key := &c.docs[i], c.docKey(i)
	got, there := docs[key]
	if want := fmt.Sprintf(`{"by":%q,"i":%d}`, c.name, i); there && string(got) != want {
		return fmt.Errorf("WRONG: %s is %s, want %s", key, got, want)
	}
	switch {
	case !d.deleted && d.put.answered && !d.put.excused() && !there:
		return fmt.Errorf("LOST: %s was acknowledged by %s (two regions: %v) and is not there",
			key, d.put.node.id, d.put.safe)
	case d.deleted && d.del.answered && !d.del.excused() && there:
		return fmt.Errorf("RESURRECTED: %s was deleted at %s (two regions: %v) and is there",
			key, d.del.node.id, d.del.safe)
	}
	return nil
}

// verifyCount compares c's own counter: what was acknowledged is in it, and not
// more than was asked for.
func (c *client) verifyCount(docs map[string]json.RawMessage) error {
	least := 0
	for _, w := range c.incs {
		if w.answered && !w.excused() {
			least++
		}
	}
	var doc struct{ N int }
	if err := number(docs["count/"+c.name], &doc); err != nil {
		return err
	}
	if doc.N < least || doc.N > len(c.incs) {
		return fmt.Errorf("COUNT: that of %s is %d; %d were acknowledged of %d", c.name, doc.N, least, len(c.incs))
	}
	return nil
}

// verifyVersion compares c's version: not below the last that must have stayed.
func (c *client) verifyVersion(docs map[string]json.RawMessage) error {
	least := 0
	for i, w := range c.versions {
		if w.answered && !w.excused() {
			least = i + 1
		}
	}
	var doc struct{ V int }
	if err := number(docs["v/"+c.name], &doc); err != nil {
		return err
	}
	if doc.V < least && !c.doubtful(doc.V) || doc.V > c.version {
		return fmt.Errorf("VERSION: that of %s is %d; %d was acknowledged of %d", c.name, doc.V, least, c.version)
	}
	return nil
}

// number reads a document that may not be there.
func number(raw json.RawMessage, v any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, v)
}

// totals are sums over all clients.
type totals struct{ acked, safe, deletes, reads, behind, unanswered, excused int }

func (x *crowd) totals() (t totals) {
	count := func(w wrote) {
		switch {
		case !w.answered:
			t.unanswered++
			return
		case w.excused():
			t.excused++
		}
		t.acked++
		if w.safe {
			t.safe++
		}
	}
	for _, c := range x.all {
		t.reads += c.reads
		t.behind += c.late
		for i := range c.docs {
			count(c.docs[i].put)
			if c.docs[i].deleted {
				count(c.docs[i].del)
				t.deletes++
			}
		}
		for _, w := range c.incs {
			count(w)
		}
		for _, w := range c.versions {
			count(w)
		}
	}
	return t
}
