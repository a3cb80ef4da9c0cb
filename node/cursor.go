package node

import (
	"encoding/base64"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// A cursor names what a watcher has been told. Its bytes, in unpadded base64url,
// are
//
//	1, topic 8, place, list of (origin 8), for each origin for each partition a cell
//
//	topic = xxh64 of keyspace, 0, prefix: a cursor is good for no other watch
//	place = 0 | partition+1, key string: where the reading of all documents stands
//	cell  = 2n: the dots 1..n | 2n+1, n times (gap, length-1): n runs
//
// Integers are unsigned varints unless a width is given. One that would grow over
// atoll.MaxCursor forgets: first the runs behind holes, then whole partitions. Who
// resumes from it is told more again, down to everything, and never less.
const cursorVersion = 1

// maxCursorBytes is what base64url of atoll.MaxCursor characters holds.
const maxCursorBytes = atoll.MaxCursor / 4 * 3

// cursor is a Cursor in memory.
type cursor struct {
	topic uint64
	// told holds, by partition, dots whose changes the watcher knows.
	told []crdt.Clock
	// scanning: all documents of the partitions before part, and those of part up
	// to key, have been told as they were at told or later; the rest has not.
	scanning bool
	part     int
	key      atoll.Key
}

// topicOf returns what tells the cursors of one watch from those of others.
func topicOf(w atoll.Watch) uint64 {
	return xxhash.Sum64String(string(w.Keyspace) + "\x00" + w.Prefix)
}

// newCursor returns that of a watcher who knows nothing.
func newCursor(w atoll.Watch) cursor {
	return cursor{topic: topicOf(w), told: make([]crdt.Clock, w.Keyspace.Partitions()),
		scanning: true}
}

// encode writes c for the watcher, forgetting what does not fit.
func (c *cursor) encode() atoll.Cursor {
	told := c.told
	b := c.append(told)
	if len(b) > maxCursorBytes {
		told = make([]crdt.Clock, len(c.told))
		for part := range told {
			told[part] = unbroken(&c.told[part])
		}
		b = c.append(told)
	}
	for part := len(told) - 1; part >= 0 && len(b) > maxCursorBytes; part-- {
		told[part] = crdt.Clock{}
		b = c.append(told)
	}
	return atoll.Cursor(base64.RawURLEncoding.EncodeToString(b))
}

// unbroken returns the dots of c in front of the first hole of their origin.
func unbroken(c *crdt.Clock) (out crdt.Clock) {
	for _, r := range c.Runs() {
		if r.First == 1 {
			out.AddRun(r)
		}
	}
	return out
}

func (c *cursor) append(told []crdt.Clock) []byte {
	b := binary.BigEndian.AppendUint64([]byte{cursorVersion}, c.topic)
	if c.scanning {
		b = binary.AppendUvarint(b, uint64(c.part)+1)
		b = append(binary.AppendUvarint(b, uint64(len(c.key))), c.key...)
	} else {
		b = append(b, 0)
	}
	origins := originsOf(told)
	b = appendOrigins(b, origins)
	rest := make([][]crdt.Run, len(told)) // what the origins so far have not taken
	for part := range told {
		rest[part] = told[part].Runs()
	}
	for _, o := range origins {
		for part, runs := range rest {
			b, rest[part] = appendCellOf(b, o, runs)
		}
	}
	return b
}

// originsOf returns the origins in clocks, sorted.
func originsOf(clocks []crdt.Clock) []atoll.Origin {
	var all []atoll.Origin
	for part := range clocks {
		for _, r := range clocks[part].Runs() {
			if n := len(all); n == 0 || all[n-1] != r.Origin {
				all = append(all, r.Origin)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func appendOrigins(b []byte, origins []atoll.Origin) []byte {
	b = binary.AppendUvarint(b, uint64(len(origins)))
	for _, o := range origins {
		b = binary.BigEndian.AppendUint64(b, uint64(o))
	}
	return b
}

// appendCellOf writes the runs of o, which come first in runs if there are any,
// and returns those of the origins behind it.
func appendCellOf(b []byte, o atoll.Origin, runs []crdt.Run) ([]byte, []crdt.Run) {
	n := 0
	for n < len(runs) && runs[n].Origin == o {
		n++
	}
	return appendCell(b, runs[:n]), runs[n:]
}

func appendCell(b []byte, runs []crdt.Run) []byte {
	if len(runs) == 0 {
		return append(b, 0)
	}
	if len(runs) == 1 && runs[0].First == 1 && runs[0].Last < 1<<62 {
		return binary.AppendUvarint(b, 2*runs[0].Last)
	}
	b = binary.AppendUvarint(b, 2*uint64(len(runs))+1)
	end := uint64(0)
	for _, r := range runs {
		b = binary.AppendUvarint(b, r.First-end)
		b = binary.AppendUvarint(b, r.Last-r.First)
		end = r.Last
	}
	return b
}

func badCursor() error {
	return atoll.Errorf(atoll.BadRequest, "the cursor is none that this watch gave out").
		WithHint("send the last id that you got, unchanged and with the same keyspace and prefix, " +
			"or none to begin with all documents")
}

// parseCursor reads a cursor that a watcher sent.
func parseCursor(w atoll.Watch) (cursor, error) {
	c := newCursor(w)
	if w.Cursor == "" {
		return c, nil
	}
	if len(w.Cursor) > atoll.MaxCursor {
		return c, atoll.Errorf(atoll.BadRequest, "the cursor has %d bytes", len(w.Cursor)).
			WithLimit("cursor bytes", atoll.MaxCursor)
	}
	b, err := base64.RawURLEncoding.DecodeString(string(w.Cursor))
	in := cursorReader{b: b, bad: err != nil || len(b) < 9}
	if in.bad || b[0] != cursorVersion || binary.BigEndian.Uint64(b[1:]) != c.topic {
		return c, badCursor()
	}
	in.b = b[9:]
	in.place(&c)
	in.clocks(c.told)
	if in.bad || len(in.b) > 0 {
		return c, badCursor()
	}
	return c, nil
}

// cursorReader takes values off the front of b. After a failure it stays failed
// and returns zeroes.
type cursorReader struct {
	b   []byte
	bad bool
}

func (r *cursorReader) fail() { r.b, r.bad = nil, true }

func (r *cursorReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *cursorReader) place(c *cursor) {
	part := r.uvarint()
	if c.scanning = part > 0; !c.scanning {
		return
	}
	c.part, c.key = int(part)-1, atoll.Key(r.bytes(r.uvarint()))
	if part > uint64(len(c.told)) || len(c.key) > atoll.MaxKey {
		r.fail()
	}
}

func (r *cursorReader) clocks(told []crdt.Clock) {
	for _, o := range r.origins(len(told)) {
		for part := range told {
			r.cell(o, &told[part])
		}
	}
}

// origins reads a sorted list of origins, each of which takes at least cells more
// bytes.
func (r *cursorReader) origins(cells int) []atoll.Origin {
	n := r.uvarint()
	if n > uint64(len(r.b))/uint64(8+cells) {
		r.fail()
		return nil
	}
	origins := make([]atoll.Origin, n)
	last := atoll.Origin(0)
	for i := range origins {
		origins[i] = atoll.Origin(binary.BigEndian.Uint64(r.b))
		r.b = r.b[8:]
		if origins[i] <= last {
			r.fail()
			return nil
		}
		last = origins[i]
	}
	return origins
}

func (r *cursorReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// cell reads the dots of one origin into c.
func (r *cursorReader) cell(o atoll.Origin, c *crdt.Clock) {
	v := r.uvarint()
	if v%2 == 0 {
		if v > 0 {
			c.AddRun(crdt.Run{Origin: o, First: 1, Last: v / 2})
		}
		return
	}
	end := uint64(0)
	for range v / 2 {
		gap, length := r.uvarint(), r.uvarint()
		run := crdt.Run{Origin: o, First: end + gap, Last: end + gap + length}
		// Runs never touch, so a gap is at least 2 after the first.
		if gap == 0 || end > 0 && gap < 2 || run.First < end || run.Last < run.First ||
			run.Last == ^uint64(0) {
			r.fail()
			return
		}
		c.AddRun(run)
		end = run.Last
	}
}
