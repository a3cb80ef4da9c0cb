package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll/replication/wire"
)

// Limits of packing, in bytes.
const (
	// packFrom is from what on frames are compressed: below, it saves no packet.
	packFrom = 1 << 10
	// packWindow is how far back zstd looks; it bounds the memory of both ends.
	packWindow = 1 << 20
	// maxPacked bounds what a packed frame may grow to: all that a lane holds.
	maxPacked = wire.MaxFrame + 2<<20
)

// packer compresses runs of frames for peers in other regions: those links are
// long and paid for by the byte, while within a region the processor is dearer.
// It is safe for concurrent use.
type packer struct {
	enc           *zstd.Encoder
	dec           *zstd.Decoder
	before, after prometheus.Counter // bytes
}

func newPacker(m *metrics) (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(packWindow), zstd.WithEncoderConcurrency(2),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)) // QUIC checks sums
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPacked), zstd.WithDecoderMaxWindow(packWindow))
	return &packer{enc, dec, m.packed.WithLabelValues("before"), m.packed.WithLabelValues("after")}, err
}

// pack returns one frame that holds frames, built in the storage of scratch, or
// frames themselves when they are few or it would be no shorter. next is the
// scratch of the next call. A nil packer packs nothing.
func (p *packer) pack(frames, scratch []byte) (packed, next []byte) {
	if p == nil || len(frames) < packFrom {
		return frames, scratch
	}
	if cap(scratch) > keepBuffer {
		scratch = nil
	}
	const room = 2 * binary.MaxVarintLen64 // for the header, which says how long the rest is
	scratch = p.enc.EncodeAll(frames, append(scratch[:0], make([]byte, room)...))
	var header [room]byte
	head := wire.AppendHeader(header[:0], wire.TypePacked, len(scratch)-room)
	packed = scratch[room-len(head):]
	if len(packed) >= len(frames) || len(scratch)-room > wire.MaxFrame {
		return frames, scratch
	}
	copy(packed, head)
	p.before.Add(float64(len(frames)))
	p.after.Add(float64(len(packed)))
	return packed, scratch
}

// inflow reads frames off a stream, those in packed frames too. It belongs to
// one goroutine.
type inflow struct {
	frames *wire.Reader
	packer *packer
	rest   []byte // of the packed frame under way
	buf    []byte // its storage
}

// Next is wire.Reader.Next.
func (r *inflow) Next() (wire.Type, []byte, error) {
	for len(r.rest) == 0 {
		t, body, err := r.frames.Next()
		if err != nil || t != wire.TypePacked {
			return t, body, err
		}
		if cap(r.buf) > keepBuffer {
			r.buf = nil
		}
		if r.buf, err = r.packer.dec.DecodeAll(body, r.buf[:0]); err != nil {
			return 0, nil, fmt.Errorf("%w: a packed frame: %w", wire.ErrMalformed, err)
		}
		r.rest = r.buf
	}
	t, body, rest, err := wire.Cut(r.rest)
	if err == nil && t == wire.TypePacked {
		err = fmt.Errorf("%w: packed twice", wire.ErrMalformed)
	}
	r.rest = rest
	return t, body, err
}
