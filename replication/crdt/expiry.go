package crdt

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/atolledge/atoll/replication/hlc"
)

// Deadline is when a document becomes invisible. Of several the greatest counts,
// by epoch, then by time: an extension keeps the epoch, so that concurrent
// extensions join to the latest; whatever sets or shortens opens a new epoch,
// and so beats all concurrent ones of the epoch before.
type Deadline struct {
	Epoch hlc.Time
	At    int64 // milliseconds since 1970
}

func (a Deadline) compare(b Deadline) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.At, b.At))
}

// Deadline returns the deadline of d; ok is false when it has none.
func (d *Doc) Deadline() (last Deadline, ok bool) { return d.live().deadline() }

func (s *entries) deadline() (last Deadline, ok bool) {
	for _, x := range s.at("", Expiry) {
		if len(x.Value) != 16 {
			continue
		}
		t := Deadline{
			Epoch: hlc.Time(binary.BigEndian.Uint64(x.Value)),
			At:    int64(binary.BigEndian.Uint64(x.Value[8:])),
		}
		if !ok || t.compare(last) > 0 {
			last, ok = t, true
		}
	}
	return last, ok
}

// Expired reports whether d's deadline has come.
func (d *Doc) Expired(now time.Time) bool {
	t, ok := d.Deadline()
	return ok && now.UnixMilli() >= t.At
}

// SetDeadline makes the document invisible from at on.
func (e *Edit) SetDeadline(at time.Time) {
	next := Deadline{Epoch: e.delta.Time, At: at.UnixMilli()}
	if old, ok := e.live.deadline(); ok && next.At >= old.At {
		next.Epoch = old.Epoch
	}
	e.removeAll(e.live.at("", Expiry))
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(next.Epoch))
	e.Add("", Expiry, binary.BigEndian.AppendUint64(b, uint64(next.At)))
}
