// Package wire provides the bytes that nodes exchange: frames, the HELLO that
// opens a connection and the messages of replication. It does no IO of its own
// and keeps no state between frames.
//
// A frame is
//
//	type uvarint, length uvarint, body (length bytes)
//
// Integers are unsigned varints in their shortest form; fixed widths are big
// endian. A reader skips a frame whose type it does not know and ignores bytes
// after the fields it knows, so both can grow without a new wire version.
//
//	dialer                              acceptor
//	HELLO  ------------------------>    checks cluster, certificate, versions
//	       <------------------------    HELLO, or the connection is closed
//	frames of replication on kept streams, in both directions
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Type says what the body of a frame is.
type Type uint64

// The types of frame. Numbers are never reused. 2..31 belong to replication.
const (
	TypeHello  Type = 1  // Hello, the first frame in each direction
	TypePacked Type = 64 // frames, compressed by zstd (RFC 8878); none of them is packed
)

// Limits of frames, in bytes.
const (
	// MaxFrame bounds a body: the largest merged document (8 MiB) and what
	// surrounds it.
	MaxFrame = 8<<20 + 64<<10

	// growStep is how much a Reader allocates ahead of what has arrived, and
	// the most that it holds on to between frames.
	growStep = 64 << 10

	// readAhead is the buffer of a Reader: many small frames in one read.
	readAhead = 4 << 10
)

// Errors of a Reader. A stream that gave one of them cannot be read further.
var (
	ErrTooLarge  = errors.New("wire: frame over its limit")
	ErrTruncated = errors.New("wire: stream ends inside a frame")
	ErrMalformed = errors.New("wire: malformed bytes")
)

// AppendFrame appends one frame to dst and returns the extended slice.
func AppendFrame(dst []byte, t Type, body []byte) []byte {
	return append(AppendHeader(dst, t, len(body)), body...)
}

// AppendHeader appends what stands in front of a body of size bytes, for
// writers that send the body from where it is.
func AppendHeader(dst []byte, t Type, size int) []byte {
	dst = binary.AppendUvarint(dst, uint64(t))
	return binary.AppendUvarint(dst, uint64(size))
}

// Reader takes frames off a byte stream. It never allocates more than growStep
// beyond what has arrived, whatever a frame claims. It is not safe for
// concurrent use.
type Reader struct {
	r     *bufio.Reader
	limit uint64
	body  []byte
}

// NewReader returns a Reader whose frames have bodies of at most limit bytes;
// a limit over MaxFrame counts as MaxFrame.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, readAhead), limit: uint64(min(limit, MaxFrame))}
}

// Next returns the next frame, of a known type or not. The body is valid until
// the next call. It returns io.EOF where the stream ends between frames, an
// error that is ErrTooLarge, ErrTruncated or ErrMalformed for a bad frame, and
// the stream's own error otherwise.
func (r *Reader) Next() (Type, []byte, error) {
	t, err := r.uvarint()
	if err != nil {
		return 0, nil, err
	}
	n, err := r.uvarint()
	if err != nil {
		return 0, nil, inside(err)
	}
	if n > r.limit {
		return 0, nil, fmt.Errorf("%w: type %d claims %d bytes, limit %d", ErrTooLarge, t, n, r.limit)
	}
	if err := r.fill(int(n)); err != nil {
		return 0, nil, inside(err)
	}
	return Type(t), r.body, nil
}

// fill reads n bytes into r.body and lets go of the room of an earlier, larger
// frame.
func (r *Reader) fill(n int) error {
	if cap(r.body) > growStep && n <= growStep {
		r.body = nil
	}
	r.body = r.body[:0]
	for len(r.body) < n {
		from := len(r.body)
		r.body = grow(r.body, min(n-from, growStep))
		if _, err := io.ReadFull(r.r, r.body[from:]); err != nil {
			return err
		}
	}
	return nil
}

// grow extends b by n bytes. It doubles so that a large body is copied a few
// times only; what is allocated stays below twice what arrived plus growStep.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		b = append(make([]byte, 0, max(need, 2*len(b))), b...)
	}
	return b[:len(b)+n]
}

// uvarint reads one varint in its shortest form. io.EOF means that the stream
// ended before its first byte.
func (r *Reader) uvarint() (uint64, error) {
	var v uint64
	for i := range binary.MaxVarintLen64 {
		c, err := r.r.ReadByte()
		switch {
		case err != nil && i > 0:
			return 0, inside(err)
		case err != nil:
			return 0, err
		case i == binary.MaxVarintLen64-1 && c > 1, i > 0 && c == 0:
			return 0, fmt.Errorf("%w: varint", ErrMalformed)
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: varint", ErrMalformed)
}

// inside turns the end of a stream inside a frame into ErrTruncated.
func inside(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}
