package wire

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// The frames of replication. A string is its length and its bytes, a list its
// length and its items; clock, run, doc and delta are as package crdt encodes
// them; address = keyspace string, partition; at = milliseconds since 1970.
const (
	TypeDelta  Type = 2 // address, flags 1 (1: relay, 2: ack), delta
	TypeAck    Type = 3 // address, run
	TypeHeads  Type = 4 // flags 1 (1: reply, 2: report), list of (keyspace string, hash 8), at
	TypeParts  Type = 5 // keyspace string, list of hash 8, at
	TypeClocks Type = 6 // keyspace string, flags 1 (1: reply), list of (partition, clock), at
	TypeMarks  Type = 7 // origin 8, list of (address, seq)
	TypeVow    Type = 8 // origin 8, layout 8, phase 1, sum 8, flags 1 (1: clean)
	TypeClaim  Type = 9 // address, key string, path string, origin 8, seq, need

	// On the stream of a pull: Pull asks, the others answer.
	TypePull    Type = 16 // address, clock
	TypeBegin   Type = 17 // flags 1 (1: full, 2: busy), clock
	TypeDocPart Type = 18 // the next bytes of a document's frame that is too long for one
	TypeDoc     Type = 19 // key string, list of run, doc; what parts came before go in front
	TypeEnd     Type = 20 // empty
)

// Limits of replication's frames.
const (
	// MaxDocument bounds a document on its way through a pull, in bytes. Concurrent
	// writes may merge to more than one request may write.
	MaxDocument = 64 << 20
	// docPart is the length at which a document's frame is cut.
	docPart = 1 << 20
)

const (
	flagRelay  = 1
	flagAck    = 2
	flagReply  = 1
	flagReport = 2
	flagClean  = 1
	flagFull   = 1
	flagBusy   = 2
)

// Append appends the body of m to b and returns its type. A Doc may be longer
// than a frame: use EmitPull for what goes on a pull's stream.
func Append(b []byte, m replication.Message) (Type, []byte) {
	switch m := m.(type) {
	case replication.Delta:
		b = append(appendAddress(b, m.Address), flags(m.Relay, flagRelay)|flags(m.Ack, flagAck))
		return TypeDelta, m.Delta.Append(b)
	case replication.Ack:
		return TypeAck, crdt.AppendRun(appendAddress(b, m.Address), m.Run)
	case replication.Heads:
		return TypeHeads, appendHeads(b, m)
	case replication.Parts:
		b = binary.AppendUvarint(appendString(b, m.Keyspace), uint64(len(m.Hashes)))
		for _, h := range m.Hashes {
			b = binary.BigEndian.AppendUint64(b, h)
		}
		return TypeParts, appendAt(b, m.At)
	case replication.Clocks:
		return TypeClocks, appendClocks(b, m)
	case replication.Marks:
		b = binary.BigEndian.AppendUint64(b, uint64(m.Origin))
		b = binary.AppendUvarint(b, uint64(len(m.Marks)))
		for _, k := range m.Marks {
			b = binary.AppendUvarint(appendAddress(b, k.Address), k.Seq)
		}
		return TypeMarks, b
	case replication.Vow:
		b = binary.BigEndian.AppendUint64(b, uint64(m.Origin))
		b = append(binary.BigEndian.AppendUint64(b, m.Layout), byte(m.Phase))
		return TypeVow, append(binary.BigEndian.AppendUint64(b, m.Sum), flags(m.Clean, flagClean))
	case replication.Claim:
		return TypeClaim, appendClaim(b, m)
	case replication.Pull:
		return TypePull, m.Clock.Append(appendAddress(b, m.Address))
	case replication.Begin:
		b = append(b, flags(m.Full, flagFull)|flags(m.Busy, flagBusy))
		return TypeBegin, m.Clock.Append(b)
	case replication.Doc:
		return TypeDoc, appendDoc(b, m)
	}
	return TypeEnd, b
}

func appendClaim(b []byte, m replication.Claim) []byte {
	b = appendString(appendString(appendAddress(b, m.Address), m.Key), m.Path)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Birth.Origin))
	return binary.AppendUvarint(binary.AppendUvarint(b, m.Birth.Seq), m.Need)
}

func appendHeads(b []byte, m replication.Heads) []byte {
	b = append(b, flags(m.Reply, flagReply)|flags(m.Report, flagReport))
	b = binary.AppendUvarint(b, uint64(len(m.Heads)))
	for _, h := range m.Heads {
		b = binary.BigEndian.AppendUint64(appendString(b, h.Keyspace), h.Hash)
	}
	return appendAt(b, m.At)
}

// appendAt appends the time of a report; one before 1970 is none.
func appendAt(b []byte, ms int64) []byte { return binary.AppendUvarint(b, uint64(max(ms, 0))) }

func appendClocks(b []byte, m replication.Clocks) []byte {
	b = append(appendString(b, m.Keyspace), flags(m.Reply, flagReply))
	b = binary.AppendUvarint(b, uint64(len(m.Clocks)))
	for _, k := range m.Clocks {
		b = k.Clock.Append(binary.AppendUvarint(b, uint64(k.Partition)))
	}
	return appendAt(b, m.At)
}

func appendDoc(b []byte, m replication.Doc) []byte {
	b = binary.AppendUvarint(appendString(b, m.Key), uint64(len(m.Runs)))
	for _, r := range m.Runs {
		b = crdt.AppendRun(b, r)
	}
	return m.Doc.Append(b)
}

// EmitPull gives the frames of m, an answer to a pull, to emit: one, or several
// for a long document. The bodies are valid during the call only.
func EmitPull(m replication.Message, emit func(Type, []byte) error) error {
	t, b := Append(nil, m)
	for t == TypeDoc && len(b) > docPart {
		if err := emit(TypeDocPart, b[:docPart]); err != nil {
			return err
		}
		b = b[docPart:]
	}
	return emit(t, b)
}

// PullReader puts the messages of an answer to a pull together. The zero value
// is ready.
type PullReader struct{ parts []byte }

// Frame takes the next frame and returns the message it completes, if it does.
// The message keeps body unless that was a part. Frames of unknown types are
// skipped.
func (r *PullReader) Frame(t Type, body []byte) (m replication.Message, ok bool, err error) {
	switch t {
	case TypeDocPart, TypeDoc:
		if len(r.parts)+len(body) > MaxDocument {
			return nil, false, fmt.Errorf("%w: document over %d bytes", ErrTooLarge, MaxDocument)
		}
		if t == TypeDocPart {
			r.parts = append(r.parts, body...)
			return nil, false, nil
		}
		if r.parts != nil {
			body = append(r.parts, body...)
			r.parts = nil
		}
	case TypeBegin, TypeEnd:
		if r.parts != nil {
			return nil, false, fmt.Errorf("%w: type %d inside a document", ErrMalformed, t)
		}
	default:
		return nil, false, nil
	}
	m, err = Decode(t, body)
	return m, err == nil, err
}

// Decode reads the body of a frame of replication. The message keeps slices of
// body. Bytes after the known fields are ignored, so that fields can be added.
func Decode(t Type, body []byte) (replication.Message, error) {
	d := decoder{b: body}
	m := d.message(t)
	if d.bad {
		return nil, fmt.Errorf("%w: frame type %d", ErrMalformed, t)
	}
	return m, nil
}

// decoder takes values off the front of b; after a failure it stays failed.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) message(t Type) replication.Message {
	switch t {
	case TypeDelta:
		m := replication.Delta{Address: d.address()}
		f := d.byte()
		m.Relay, m.Ack = f&flagRelay != 0, f&flagAck != 0
		m.Delta = take(d, crdt.DecodeDelta)
		return m
	case TypeAck:
		return replication.Ack{Address: d.address(), Run: take(d, crdt.DecodeRun)}
	case TypeHeads:
		return d.heads()
	case TypeParts:
		m := replication.Parts{Keyspace: d.keyspace(), Hashes: make([]uint64, d.count(8))}
		for i := range m.Hashes {
			m.Hashes[i] = d.uint64()
		}
		m.At = d.at()
		return m
	case TypeClocks:
		return d.clocks()
	case TypeMarks:
		m := replication.Marks{Origin: atoll.Origin(d.uint64())}
		m.Marks = make([]replication.Mark, d.count(3))
		for i := range m.Marks {
			m.Marks[i] = replication.Mark{Address: d.address(), Seq: d.uvarint()}
		}
		return m
	case TypeVow:
		return replication.Vow{Origin: atoll.Origin(d.uint64()), Layout: d.uint64(),
			Phase: replication.Parting(d.byte()), Sum: d.uint64(), Clean: d.byte()&flagClean != 0}
	case TypeClaim:
		return d.claim()
	case TypePull:
		return replication.Pull{Address: d.address(), Clock: take(d, crdt.DecodeClock)}
	case TypeBegin:
		f := d.byte()
		return replication.Begin{Full: f&flagFull != 0, Busy: f&flagBusy != 0,
			Clock: take(d, crdt.DecodeClock)}
	case TypeDoc:
		return d.doc()
	case TypeEnd:
		return replication.End{}
	}
	d.bad = true
	return nil
}

func (d *decoder) heads() replication.Message {
	f := d.byte()
	m := replication.Heads{Reply: f&flagReply != 0, Report: f&flagReport != 0}
	m.Heads = make([]replication.Head, d.count(9))
	for i := range m.Heads {
		m.Heads[i] = replication.Head{Keyspace: d.keyspace(), Hash: d.uint64()}
	}
	m.At = d.at()
	return m
}

func (d *decoder) claim() replication.Message {
	m := replication.Claim{Address: d.address(), Key: atoll.Key(d.string()),
		Path: crdt.Path(d.string())}
	m.Birth = crdt.Dot{Origin: atoll.Origin(d.uint64()), Seq: d.uvarint()}
	m.Need = d.uvarint()
	if len(m.Key) == 0 || len(m.Key) > atoll.MaxKey || len(m.Path) > crdt.MaxPath {
		d.bad = true
	}
	return m
}

func (d *decoder) clocks() replication.Message {
	m := replication.Clocks{Keyspace: d.keyspace(), Reply: d.byte()&flagReply != 0}
	m.Clocks = make([]replication.PartitionClock, d.count(2))
	for i := range m.Clocks {
		m.Clocks[i] = replication.PartitionClock{Partition: d.partition(),
			Clock: take(d, crdt.DecodeClock)}
	}
	m.At = d.at()
	return m
}

// at takes the time of a report.
func (d *decoder) at() int64 { return int64(d.uvarint() & math.MaxInt64) }

func (d *decoder) doc() replication.Message {
	m := replication.Doc{Key: atoll.Key(d.string())}
	if len(m.Key) == 0 || len(m.Key) > atoll.MaxKey {
		d.bad = true
	}
	m.Runs = make([]crdt.Run, d.count(10))
	for i := range m.Runs {
		m.Runs[i] = take(d, crdt.DecodeRun)
	}
	m.Doc = take(d, crdt.DecodeDoc)
	return m
}

// take decodes one value with decode, which returns what is left.
func take[T any](d *decoder, decode func([]byte) (T, []byte, error)) T {
	v, rest, err := decode(d.b)
	d.b = rest
	d.bad = d.bad || err != nil
	return v
}

func (d *decoder) address() replication.Address {
	return replication.Address{Keyspace: d.keyspace(), Partition: d.partition()}
}

// maxKeyspace is a name's limit with the underscore of the system's own.
const maxKeyspace = atoll.MaxKeyspace + 1

func (d *decoder) keyspace() atoll.Keyspace {
	s := d.string()
	if len(s) > maxKeyspace {
		d.bad = true
	}
	return atoll.Keyspace(s)
}

func (d *decoder) partition() int {
	n := d.uvarint()
	if n > 1<<16-1 {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() []byte { return d.bytes(d.uvarint()) }

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count returns the length of a list whose items take at least size bytes, so
// that a lying length cannot make the caller allocate.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.b, d.bad = nil, true
		return 0
	}
	return int(n)
}

func appendAddress(b []byte, a replication.Address) []byte {
	return binary.AppendUvarint(appendString(b, a.Keyspace), uint64(a.Partition))
}

func flags(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}
