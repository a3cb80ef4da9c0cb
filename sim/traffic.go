package sim

import (
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// Traffic is what crossed the links, each crossing counted, lost on the way or
// not. Bytes are those of frames; what carries frames adds its own.
type Traffic struct {
	Deltas      uint64 // copies of changes that were sent on eagerly
	Pulled      uint64 // documents in answers to pulls
	DeltaBytes  uint64
	ChangeBytes uint64 // of DeltaBytes, the changes themselves without their frames
	PullBytes   uint64 // of pulls and their answers
	NoticeBytes uint64 // of heads, clocks, greetings and acknowledgements

	buf []byte
}

// Copies returns how many copies of changes crossed a link.
func (t *Traffic) Copies() uint64 { return t.Deltas + t.Pulled }

// Bytes returns how many bytes crossed a link.
func (t *Traffic) Bytes() uint64 { return t.DeltaBytes + t.PullBytes + t.NoticeBytes }

// send counts a message; a nil Traffic does not.
func (t *Traffic) send(m replication.Message) {
	if t == nil {
		return
	}
	kind, body := wire.Append(t.buf[:0], m)
	t.buf = body
	size := uint64(len(wire.AppendHeader(nil, kind, len(body))) + len(body))
	switch m := m.(type) {
	case replication.Delta:
		t.Deltas++
		t.DeltaBytes += size
		t.buf = m.Delta.Append(t.buf[:0])
		t.ChangeBytes += uint64(len(t.buf))
	case replication.Doc:
		t.Pulled++
		t.PullBytes += size
	case replication.Pull, replication.Begin, replication.End:
		t.PullBytes += size
	default:
		t.NoticeBytes += size
	}
}
