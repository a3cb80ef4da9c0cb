package wire

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/atolledge/atoll"
)

// The frames of health. Each travels alone in a datagram.
const (
	TypeProbe Type = 32 // seq
	TypeReply Type = 33 // seq, flags 1 (1: ready)
	TypeVotes Type = 34 // list of (region string, flags 1 (1: up))
	TypeAsk   Type = 35 // asker's stopwatch 8
	TypeTime  Type = 36 // asker's stopwatch 8, answerer's clock 8: nanoseconds since 1970
)

// Vote is one region's state in a node's opinion.
type Vote struct {
	About atoll.Region
	Up    bool
}

const (
	flagReady = 1
	flagUp    = 1
)

// AppendProbe appends a probe's datagram.
func AppendProbe(b []byte, seq uint64) []byte {
	return AppendFrame(b, TypeProbe, binary.AppendUvarint(nil, seq))
}

// AppendReply appends the datagram that answers a probe.
func AppendReply(b []byte, seq uint64, ready bool) []byte {
	return AppendFrame(b, TypeReply, append(binary.AppendUvarint(nil, seq), flags(ready, flagReady)))
}

// AppendVotes appends a datagram of votes.
func AppendVotes(b []byte, votes []Vote) []byte {
	body := binary.AppendUvarint(nil, uint64(len(votes)))
	for _, v := range votes {
		body = append(appendString(body, v.About), flags(v.Up, flagUp))
	}
	return AppendFrame(b, TypeVotes, body)
}

// DecodeProbe reads the body of a probe or the first field of a reply.
func DecodeProbe(body []byte) (seq uint64, err error) {
	d := decoder{b: body}
	seq = d.uvarint()
	return seq, d.err("probe")
}

// DecodeReply reads the body of a reply.
func DecodeReply(body []byte) (seq uint64, ready bool, err error) {
	d := decoder{b: body}
	seq, ready = d.uvarint(), d.byte()&flagReady != 0
	return seq, ready, d.err("reply")
}

// DecodeVotes reads the body of a list of votes.
func DecodeVotes(body []byte) ([]Vote, error) {
	d := decoder{b: body}
	votes := make([]Vote, d.count(2))
	for i := range votes {
		votes[i] = Vote{About: atoll.Region(d.string()), Up: d.byte()&flagUp != 0}
		if len(votes[i].About) > atoll.MaxRegion {
			d.bad = true
		}
	}
	return votes, d.err("votes")
}

// AppendAsk appends the datagram that asks for a peer's clock. The answer brings
// the asker's stopwatch back, in nanoseconds.
func AppendAsk(b []byte, sent time.Duration) []byte {
	return AppendFrame(b, TypeAsk, binary.BigEndian.AppendUint64(nil, uint64(sent)))
}

// AppendTime appends the datagram that answers the body of a TypeAsk.
func AppendTime(b []byte, sent time.Duration, now time.Time) []byte {
	body := binary.BigEndian.AppendUint64(nil, uint64(sent))
	return AppendFrame(b, TypeTime, binary.BigEndian.AppendUint64(body, uint64(now.UnixNano())))
}

// DecodeAsk reads the body of a question for the clock.
func DecodeAsk(body []byte) (sent time.Duration, err error) {
	d := decoder{b: body}
	sent = time.Duration(d.uint64())
	return sent, d.err("clock question")
}

// DecodeTime reads the body of its answer.
func DecodeTime(body []byte) (sent time.Duration, there time.Time, err error) {
	d := decoder{b: body}
	sent, there = time.Duration(d.uint64()), time.Unix(0, int64(d.uint64()))
	return sent, there, d.err("clock answer")
}

func (d *decoder) err(what string) error {
	if d.bad {
		return fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	return nil
}

// One takes the one frame that a datagram holds. The body aliases b.
func One(b []byte) (Type, []byte, error) {
	t, body, _, err := Cut(b)
	return t, body, err
}

// Cut takes the first frame off b and returns the rest; both alias b.
func Cut(b []byte) (t Type, body, rest []byte, err error) {
	d := decoder{b: b}
	t = Type(d.uvarint())
	body = d.string()
	return t, body, d.b, d.err("frame")
}
