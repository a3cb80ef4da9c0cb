package wire

import (
	"encoding/binary"

	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// The frames of scrubbing, a call: a request of TypeScrub is answered by TypeSums
// when it names no ranges, else by the frames of a pull with the documents of
// those ranges. TypeScrubBusy says that it cannot be done now.
const (
	TypeScrub     Type = 65 // address, clock, list of range 1
	TypeSums      Type = 66 // clock, touched ranges 32 (a bit each), sums 2048 (8 each)
	TypeScrubBusy Type = 67 // empty
)

// Scrub asks a replica for its sums of a partition, for a replica with Clock, or
// for the documents of Ranges, which ascend.
type Scrub struct {
	replication.Address
	Clock  crdt.Clock
	Ranges []int
}

// Append appends s's frame to b.
func (s Scrub) Append(b []byte) []byte {
	body := s.Clock.Append(appendAddress(nil, s.Address))
	body = binary.AppendUvarint(body, uint64(len(s.Ranges)))
	for _, r := range s.Ranges {
		body = append(body, byte(r))
	}
	return AppendFrame(b, TypeScrub, body)
}

// DecodeScrub reads the body of a TypeScrub.
func DecodeScrub(body []byte) (Scrub, error) {
	d := decoder{b: body}
	s := Scrub{Address: d.address(), Clock: take(&d, crdt.DecodeClock)}
	for range d.count(1) {
		r := int(d.byte())
		if n := len(s.Ranges); n > 0 && r <= s.Ranges[n-1] {
			d.bad = true
		}
		s.Ranges = append(s.Ranges, r)
	}
	return s, d.err("scrub")
}

// AppendSums appends the body of s's frame to b.
func AppendSums(b []byte, s *replication.Sums) []byte {
	b = s.Clock.Append(b)
	for i := 0; i < len(s.Touched); i += 8 {
		var bits byte
		for j := range 8 {
			bits |= flags(s.Touched[i+j], 1<<j)
		}
		b = append(b, bits)
	}
	for _, sum := range s.Sums {
		b = binary.BigEndian.AppendUint64(b, sum)
	}
	return b
}

// DecodeSums reads the body of a TypeSums.
func DecodeSums(body []byte) (*replication.Sums, error) {
	d := decoder{b: body}
	s := &replication.Sums{Clock: take(&d, crdt.DecodeClock)}
	for i := 0; i < len(s.Touched); i += 8 {
		bits := d.byte()
		for j := range 8 {
			s.Touched[i+j] = bits&(1<<j) != 0
		}
	}
	for i := range s.Sums {
		s.Sums[i] = d.uint64()
	}
	return s, d.err("sums")
}
