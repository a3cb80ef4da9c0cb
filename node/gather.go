package node

import (
	"iter"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// gathering is a batch that is being read from a snapshot.
type gathering struct {
	s      *watcher
	v      *store.Snapshot
	now    time.Time
	events []atoll.Event
	seen   map[atoll.Key]bool // whose changes are among events
	limit  int                // of events
	looked int                // index entries and documents
	bytes  int
	err    error
}

func (b *gathering) full() bool {
	return len(b.events) >= b.limit || b.looked >= watchEntries || b.bytes >= watchBytes ||
		b.err != nil
}

// changes takes in what the watcher lacks of a partition, as far as there is
// room. It returns false when the index cannot tell what that is.
func (b *gathering) changes(part int) bool {
	s, a := b.s, b.s.address(part)
	told := &s.at.told[part]
	clock, cut := replication.ClocksIn(b.v, a)
	var gone []replication.Dropped
	if !told.Covers(cut) {
		var all bool
		if gone, all = s.n.watchers.recall(a, *told, cut); !all {
			return false
		}
	}
	for run, key := range lacking(b.v, a, gone, told.Clone()) {
		if b.full() {
			s.mark(part)
			return true
		}
		b.looked++
		told.AddRun(run)
		if !b.seen[key] && strings.HasPrefix(string(key), s.ask.Prefix) {
			b.seen[key] = true
			d, err := document(b.v.Get(replication.DocKey(a.Keyspace, part, key)))
			b.add(key, &d, err, true)
		}
	}
	*told = clock
	return true
}

// lacking yields the runs of a partition that are not in told, with the key of
// the document that each changed: those that the index has lost, then the others.
func lacking(
	v *store.Snapshot, a replication.Address, gone []replication.Dropped, told crdt.Clock,
) iter.Seq2[crdt.Run, atoll.Key] {
	return func(yield func(crdt.Run, atoll.Key) bool) {
		for _, d := range gone {
			if !yield(d.Run, d.Key) {
				return
			}
		}
		for run, key := range replication.Changed(v, a, told) {
			if !yield(run, key) {
				return
			}
		}
	}
}

// scan goes on with the reading of all documents.
func (b *gathering) scan() {
	for b.s.at.scanning && b.scanPart() {
		at := &b.s.at
		b.s.mark(at.part) // what has changed since its scan began
		at.part, at.key = at.part+1, ""
		if at.part == len(at.told) {
			at.part, at.scanning = 0, false
		}
	}
}

// scanPart reads the documents of one partition, from where the last batch
// ended; false when there is no more room. The clock that it is told at is that
// of its first document: what came to those before the cursor is told after it.
// Each event has a cursor of its own. A reader who knows more than its cursor says
// would never hear that a document of these is gone: a scan does not tell.
func (b *gathering) scanPart() bool {
	at, ask := &b.s.at, &b.s.ask
	from, to, skip := replication.DocRange(ask.Keyspace, at.part, ask.Prefix)
	if at.key == "" {
		at.told[at.part] = replication.ClockIn(b.v, b.s.address(at.part))
	} else {
		from = append(from[:skip:skip], at.key+"\x00"...)
	}
	for k, value := range b.v.Scan(from, to) {
		if b.full() {
			b.s.poke()
			return false
		}
		b.looked++
		at.key = atoll.Key(k[skip:])
		d, err := document(value, true)
		if b.add(at.key, &d, err, false) {
			b.events[len(b.events)-1].Cursor = at.encode()
		}
	}
	return b.err == nil
}

// reset drops what was gathered: the reader has to begin again.
func (b *gathering) reset() {
	s := b.s
	s.at = newCursor(s.ask)
	s.last = s.at.encode()
	b.bytes = 0
	b.events = []atoll.Event{{Kind: atoll.EventReset, Cursor: s.last}}
}

// add takes in what readers see of a document; false when that is nothing.
func (b *gathering) add(key atoll.Key, d *crdt.Doc, err error, deletes bool) bool {
	if err != nil {
		b.err = err
		return false
	}
	e := atoll.Event{Kind: atoll.EventDelete, Key: key, Cursor: b.s.last}
	if doc, visible := b.s.n.render(key, d, b.now); visible {
		e.Kind, e.Body, e.ETag = atoll.EventPut, doc.Body, doc.ETag
		if t, ok := d.Deadline(); ok {
			e.Expires = time.UnixMilli(t.At)
		}
	} else if !deletes {
		return false
	}
	b.bytes += len(e.Body)
	b.events = append(b.events, e)
	return true
}
