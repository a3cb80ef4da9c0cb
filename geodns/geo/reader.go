package geo

import "encoding/binary"

// reader takes numbers off the front of b. After the first mistake bad is set
// and stays so; what it returns then means nothing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least a byte each.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) || v > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) || r.bad {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string { return string(r.take(r.count(maxText))) }

// degrees reads hundredths of a degree; Place.check judges the range.
func (r *reader) degrees() float64 {
	v, n := binary.Varint(r.b)
	if n <= 0 || r.bad || v > 360*hundredths || v < -360*hundredths {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return float64(v) / hundredths
}

// step reads a step of a column whose keys have the given width in bits.
func (r *reader) step(shift byte, width int) uint64 {
	v := r.uvarint()
	if int(shift) >= width || v > (1<<width-1)>>shift {
		r.bad = true
		return 0
	}
	return v << shift
}
