package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func uvarints(vs ...uint64) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func TestReaderReadsWhatAppendFrameWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 127, 128, 4095, 4096,
		growStep - 1, growStep, growStep + 1, 3 * growStep, 0, 7}
	var stream []byte
	var bodies [][]byte
	for i, n := range sizes {
		body := make([]byte, n)
		for j := range body {
			body[j] = byte(rng.Uint32())
		}
		bodies = append(bodies, body)
		stream = AppendFrame(stream, Type(i*i*1000), body)
	}
	sources := map[string]io.Reader{
		"whole":   bytes.NewReader(stream),
		"bytes":   iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":  iotest.HalfReader(bytes.NewReader(stream)),
		"eofdata": iotest.DataErrReader(bytes.NewReader(stream)),
	}
	for name, src := range sources {
		r := NewReader(src, MaxFrame)
		for i, want := range bodies {
			typ, body, err := r.Next()
			if err != nil || typ != Type(i*i*1000) || !bytes.Equal(body, want) {
				t.Fatalf("%s: frame %d: type %d, %d bytes, %v; want %d bytes",
					name, i, typ, len(body), err, len(want))
			}
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Fatalf("%s: after the last frame: %v, want io.EOF", name, err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	frame := AppendFrame(nil, 5, []byte("body"))
	for _, c := range []struct {
		name  string
		in    []byte
		limit int
		want  error
	}{
		{"nothing", nil, MaxFrame, io.EOF},
		{"type only", frame[:1], MaxFrame, ErrTruncated},
		{"no body", frame[:2], MaxFrame, ErrTruncated},
		{"half a body", frame[:4], MaxFrame, ErrTruncated},
		{"half a type", []byte{0x80}, MaxFrame, ErrTruncated},
		{"half a length", []byte{5, 0x80}, MaxFrame, ErrTruncated},
		{"at its limit", frame, 4, nil},
		{"over its limit", frame, 3, ErrTooLarge},
		{"claims 4 GiB", uvarints(5, 4<<30), MaxFrame, ErrTooLarge},
		{"claims 4 GiB of a reader that would take it", uvarints(5, 4<<30), 1 << 40, ErrTooLarge},
		{"claims all", uvarints(5, 1<<64-1), MaxFrame, ErrTooLarge},
		{"at MaxFrame but absent", uvarints(5, MaxFrame), MaxFrame, ErrTruncated},
		{"long form of a type", []byte{0x85, 0x00, 0}, MaxFrame, ErrMalformed},
		{"long form of a length", []byte{5, 0x84, 0x80, 0x00}, MaxFrame, ErrMalformed},
		{"11 byte varint", bytes.Repeat([]byte{0xff}, 11), MaxFrame, ErrMalformed},
		{"65 bit varint", append(bytes.Repeat([]byte{0xff}, 9), 2), MaxFrame, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := NewReader(bytes.NewReader(c.in), c.limit).Next()
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestReaderPassesOnTheStreamsError(t *testing.T) {
	reset := errors.New("stream reset")
	for n := range AppendFrame(nil, 300, []byte("body")) {
		src := io.MultiReader(bytes.NewReader(AppendFrame(nil, 300, []byte("body"))[:n]),
			iotest.ErrReader(reset))
		if _, _, err := NewReader(src, MaxFrame).Next(); !errors.Is(err, reset) {
			t.Errorf("after %d bytes: %v, want %v", n, err, reset)
		}
	}
}

// A frame may claim MaxFrame: only what arrives is paid for.
func TestReaderAllocatesWhatArrives(t *testing.T) {
	in := append(uvarints(5, MaxFrame), make([]byte, growStep)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, _, err := NewReader(bytes.NewReader(in), MaxFrame).Next(); !errors.Is(err, ErrTruncated) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	each := (after.TotalAlloc - before.TotalAlloc) / 100
	if limit := uint64(5 * growStep); each > limit {
		t.Errorf("%d bytes for a frame of which %d arrived, want <= %d", each, growStep, limit)
	}
}

func TestReaderLetsGoOfALargeFrame(t *testing.T) {
	stream := AppendFrame(AppendFrame(nil, 1, make([]byte, 1<<20)), 1, []byte("small"))
	r := NewReader(bytes.NewReader(stream), MaxFrame)
	for range 2 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(r.body) > growStep {
		t.Errorf("holds %d bytes after a small frame", cap(r.body))
	}
}

// naiveFrames is the obvious reader of a whole stream in memory.
func naiveFrames(b []byte, limit uint64) (types []uint64, bodies []string, err error) {
	for len(b) > 0 {
		var v [2]uint64
		for i := range v {
			x, n := binary.Uvarint(b)
			switch {
			case n == 0 && len(b) < binary.MaxVarintLen64:
				return types, bodies, ErrTruncated
			case n <= 0 || n > 1 && b[n-1] == 0:
				return types, bodies, ErrMalformed
			}
			v[i], b = x, b[n:]
		}
		if v[1] > limit {
			return types, bodies, ErrTooLarge
		}
		if v[1] > uint64(len(b)) {
			return types, bodies, ErrTruncated
		}
		types, bodies = append(types, v[0]), append(bodies, string(b[:v[1]]))
		b = b[v[1]:]
	}
	return types, bodies, io.EOF
}

// kind reduces an error to the one it is of.
func kind(err error) error {
	for _, k := range []error{ErrTooLarge, ErrTruncated, ErrMalformed, io.EOF} {
		if errors.Is(err, k) {
			return k
		}
	}
	return err
}

func checkFrames(t *testing.T, in []byte, limit int) {
	t.Helper()
	types, bodies, wantErr := naiveFrames(in, uint64(limit))
	r := NewReader(iotest.HalfReader(bytes.NewReader(in)), limit)
	var again []byte
	for i := range types {
		typ, body, err := r.Next()
		if err != nil || uint64(typ) != types[i] || string(body) != bodies[i] {
			t.Fatalf("frame %d: %d %q %v, want %d %q", i, typ, body, err, types[i], bodies[i])
		}
		again = AppendFrame(again, typ, body)
	}
	if _, _, err := r.Next(); kind(err) != wantErr {
		t.Fatalf("at the end: %v, want %v", err, wantErr)
	}
	if !bytes.HasPrefix(in, again) {
		t.Fatalf("frames write back as %x, came as %x", again, in)
	}
}

func TestReaderAgreesWithTheNaiveReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		var b []byte
		for range rng.IntN(4) {
			b = AppendFrame(b, Type(rng.Uint64N(300)), []byte(strings.Repeat("x", rng.IntN(40))))
		}
		if len(b) > 0 && rng.IntN(2) == 0 {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		if len(b) > 0 && rng.IntN(3) == 0 {
			b = b[:rng.IntN(len(b))]
		}
		checkFrames(t, b, 32)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add(AppendFrame(AppendFrame(nil, 1, []byte("hello")), 77, nil), 100)
	f.Add(uvarints(5, 4<<30), MaxFrame)
	f.Add([]byte{0x85, 0x00, 0}, 5)
	f.Fuzz(func(t *testing.T, in []byte, limit int) {
		checkFrames(t, in, max(0, min(limit, 1<<16)))
	})
}
