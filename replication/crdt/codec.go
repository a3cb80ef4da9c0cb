package crdt

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
)

// The encodings below are both stored and sent. Integers are unsigned varints
// unless a width is given; fixed widths are big endian. A list is its length
// and its items; a string is its length and its bytes.
//
//	clock = list of (origin 8, list of (gap, length-1))     gap: from the last run's end
//	run   = origin 8, first, length-1
//	doc   = stamps, entries, ghosts
//	  stamps  = list of (origin 8, time 8, seen dots)
//	  entries = list of (shared, rest of path string, kind 1, stamp, seq, value string)
//	            shared: bytes of path in common with the entry before
//	  ghosts  = dots
//	dots  = list of (origin 8, seq)
//	delta = key string, run, time 8, seen dots, list of (path string, kind 1, seq-first, value string), dots

// ErrMalformed says that bytes are not the encoding they are taken for.
var ErrMalformed = errors.New("crdt: malformed encoding")

// reader takes values off the front of b. After a failure it stays failed and
// returns zeroes.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bytes returns n bytes that alias the input.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() []byte { return r.bytes(r.uvarint()) }

// count returns the length of a list whose items take at least size bytes each,
// so that a lying length cannot make the caller allocate.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// run returns a run of at least one dot, numbered from 1.
func (r *reader) run() Run {
	o, first := atoll.Origin(r.uint64()), r.uvarint()
	last := first + r.uvarint()
	if first == 0 || last < first || last == ^uint64(0) || o == 0 {
		r.fail()
	}
	return Run{o, first, last}
}

func (r *reader) dots() []Dot {
	n := r.count(9)
	if n == 0 {
		return nil
	}
	dots := make([]Dot, n)
	for i := range dots {
		dots[i] = Dot{atoll.Origin(r.uint64()), r.uvarint()}
		if !dots[i].valid() || i > 0 && dots[i-1].Compare(dots[i]) >= 0 {
			r.fail()
		}
	}
	return dots
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendDots(b []byte, dots []Dot) []byte {
	b = binary.AppendUvarint(b, uint64(len(dots)))
	for _, d := range dots {
		b = binary.BigEndian.AppendUint64(b, uint64(d.Origin))
		b = binary.AppendUvarint(b, d.Seq)
	}
	return b
}

// AppendRun appends the encoding of r.
func AppendRun(b []byte, r Run) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Origin))
	b = binary.AppendUvarint(b, r.First)
	return binary.AppendUvarint(b, r.Last-r.First)
}

// DecodeRun takes a run off the front of b and returns the rest.
func DecodeRun(b []byte) (Run, []byte, error) {
	in := reader{b: b}
	r := in.run()
	if in.bad {
		return Run{}, nil, ErrMalformed
	}
	return r, in.b, nil
}

// Append appends the encoding of c.
func (c *Clock) Append(b []byte) []byte {
	n := 0
	for i, r := range c.runs {
		if i == 0 || c.runs[i-1].Origin != r.Origin {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := 0; i < len(c.runs); {
		j := i
		for j < len(c.runs) && c.runs[j].Origin == c.runs[i].Origin {
			j++
		}
		b = binary.BigEndian.AppendUint64(b, uint64(c.runs[i].Origin))
		b = binary.AppendUvarint(b, uint64(j-i))
		end := uint64(0)
		for _, r := range c.runs[i:j] {
			b = binary.AppendUvarint(b, r.First-end)
			b = binary.AppendUvarint(b, r.Last-r.First)
			end = r.Last
		}
		i = j
	}
	return b
}

// DecodeClock takes a clock off the front of b and returns the rest.
func DecodeClock(b []byte) (Clock, []byte, error) {
	in := reader{b: b}
	var c Clock
	last := atoll.Origin(0)
	for range in.count(11) {
		o := atoll.Origin(in.uint64())
		n := in.count(2)
		if o <= last || n == 0 {
			in.fail()
		}
		last = o
		end := uint64(0)
		for i := range n {
			gap, length := in.uvarint(), in.uvarint()
			r := Run{o, end + gap, end + gap + length}
			// Runs never touch, so a gap is at least 2 after the first.
			if gap == 0 || i > 0 && gap < 2 || r.First < end || r.Last < r.First ||
				r.Last == ^uint64(0) {
				in.fail()
				break
			}
			c.runs = append(c.runs, r)
			end = r.Last
		}
	}
	if in.bad {
		return Clock{}, nil, ErrMalformed
	}
	return c, in.b, nil
}

// stamp is what the entries of one write have in common.
type stamp struct {
	origin atoll.Origin
	time   hlc.Time
}

// stamps numbers stamps in order of appearance. A few are looked through; of
// many, as in a set that grew for years, an index is kept.
type stamps struct {
	list []stamp
	seen [][]Dot // of each
	at   map[stamp]int
}

const fewStamps = 16

func (s *stamps) of(e *Entry) int {
	x := stamp{e.Dot.Origin, e.Time}
	if n := len(s.list); n > 0 && s.list[n-1] == x {
		return n - 1
	}
	if i, ok := s.at[x]; ok {
		return i
	}
	if s.at == nil {
		if i := slices.Index(s.list, x); i >= 0 {
			return i
		}
	}
	s.list, s.seen = append(s.list, x), append(s.seen, e.Seen)
	if n := len(s.list); n == fewStamps {
		s.at = make(map[stamp]int, 2*n)
		for i, y := range s.list {
			s.at[y] = i
		}
	} else if n > fewStamps {
		s.at[x] = n - 1
	}
	return len(s.list) - 1
}

// Append appends the encoding of d.
func (d *Doc) Append(b []byte) []byte {
	b = slices.Grow(b, d.room())
	var all stamps
	index := make([]int, len(d.Entries))
	for i := range d.Entries {
		index[i] = all.of(&d.Entries[i])
	}
	b = binary.AppendUvarint(b, uint64(len(all.list)))
	for i, s := range all.list {
		b = binary.BigEndian.AppendUint64(b, uint64(s.origin))
		b = binary.BigEndian.AppendUint64(b, uint64(s.time))
		b = appendDots(b, all.seen[i])
	}
	b = binary.AppendUvarint(b, uint64(len(d.Entries)))
	prev := Path("")
	for i := range d.Entries {
		e := &d.Entries[i]
		n := shared(prev, e.Path)
		b = binary.AppendUvarint(b, uint64(n))
		b = appendString(b, e.Path[n:])
		b = append(b, byte(e.Kind))
		b = binary.AppendUvarint(b, uint64(index[i]))
		b = binary.AppendUvarint(b, e.Dot.Seq)
		b = appendString(b, e.Value)
		prev = e.Path
	}
	return appendDots(b, d.Ghosts)
}

// room returns about how many bytes d takes.
func (d *Doc) room() int {
	n := 32 + 12*len(d.Ghosts)
	prev := Path("")
	for i := range d.Entries {
		e := &d.Entries[i]
		n += 12 + len(e.Value) + len(e.Path) - shared(prev, e.Path)
		prev = e.Path
	}
	return n
}

func shared(a, b Path) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// maxPaths bounds the paths of one document, in bytes. They share what they
// begin with when encoded: without a limit a few bytes would ask for a megabyte
// each. It is what 32 concurrent writers of the largest document come to.
const maxPaths = 32 * MaxDocument

// DecodeDoc takes a document off the front of b and returns the rest. The
// entries' values alias b.
func DecodeDoc(b []byte) (Doc, []byte, error) {
	in := reader{b: b}
	stamps := make([]stamp, in.count(17))
	seen := make([][]Dot, len(stamps))
	for i := range stamps {
		stamps[i] = stamp{atoll.Origin(in.uint64()), hlc.Time(in.uint64())}
		seen[i] = in.dots()
	}
	var d Doc
	if n := in.count(6); n > 0 {
		d.Entries = make([]Entry, n)
	}
	prev, size := Path(""), 0
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Path = in.path(prev); e.Path != prev {
			size += len(e.Path)
		}
		e.Kind = Kind(in.byte())
		s := in.uvarint()
		if s >= uint64(len(stamps)) || size > maxPaths {
			in.fail()
			break
		}
		e.Dot, e.Time = Dot{stamps[s].origin, in.uvarint()}, stamps[s].time
		e.Seen = seen[s]
		e.Value = in.string()
		if !e.Dot.valid() || i > 0 && d.Entries[i-1].compare(e) >= 0 {
			in.fail()
			break
		}
		prev = e.Path
	}
	d.Ghosts = in.dots()
	if in.bad {
		return Doc{}, nil, ErrMalformed
	}
	return d, in.b, nil
}

// path takes a path that shares its beginning with prev. The same path again
// costs nothing.
func (r *reader) path(prev Path) Path {
	n := r.uvarint()
	rest := r.string()
	switch {
	case n > uint64(len(prev)) || n+uint64(len(rest)) > MaxPath:
		r.fail()
		return ""
	case int(n) == len(prev) && len(rest) == 0:
		return prev
	}
	var p strings.Builder
	p.Grow(int(n) + len(rest))
	p.WriteString(string(prev[:n]))
	p.Write(rest)
	if path := Path(p.String()); path.valid() {
		return path
	}
	r.fail()
	return ""
}

// Append appends the encoding of x.
func (x *Delta) Append(b []byte) []byte {
	b = appendString(b, x.Key)
	b = AppendRun(b, x.Dots)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Time))
	b = appendDots(b, x.Seen)
	b = binary.AppendUvarint(b, uint64(len(x.Adds)))
	for i := range x.Adds {
		a := &x.Adds[i]
		b = appendString(b, a.Path)
		b = append(b, byte(a.Kind))
		b = binary.AppendUvarint(b, a.Dot.Seq-x.Dots.First)
		b = appendString(b, a.Value)
	}
	return appendDots(b, x.Drops)
}

// DecodeDelta takes a delta off the front of b and returns the rest. The
// entries' values alias b.
func DecodeDelta(b []byte) (Delta, []byte, error) {
	in := reader{b: b}
	key := in.string()
	x := Delta{Key: atoll.Key(key), Dots: in.run(), Time: hlc.Time(in.uint64()), Seen: in.dots()}
	if n := in.count(4); n > 0 {
		x.Adds = make([]Entry, n)
	}
	for i := range x.Adds {
		a := &x.Adds[i]
		a.Path, a.Kind, a.Time, a.Seen = Path(in.string()), Kind(in.byte()), x.Time, x.Seen
		seq := x.Dots.First + in.uvarint()
		a.Dot = Dot{x.Dots.Origin, seq}
		a.Value = in.string()
		if seq < x.Dots.First || seq > x.Dots.Last || !a.Path.valid() ||
			i > 0 && x.Adds[i-1].Dot.Seq >= seq {
			in.fail()
			break
		}
	}
	x.Drops = in.dots()
	if in.bad || len(key) == 0 || len(key) > atoll.MaxKey {
		return Delta{}, nil, ErrMalformed
	}
	return x, in.b, nil
}
