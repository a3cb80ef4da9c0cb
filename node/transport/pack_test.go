package transport

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/atolledge/atoll/replication/wire"
)

// TestFarPeersGetPackedFrames sends the same to a peer in another region and to
// one in the own: both hear all of it in order, and only the first got it packed.
func TestFarPeersGetPackedFrames(t *testing.T) {
	sea := newSea(t)
	body := strings.Repeat("a sentence that says itself again. ", 60)
	pull := func(_ context.Context, _ []byte, w *PullWriter) error {
		for i := range 200 {
			if err := w.Frame(wire.Type(100+i), []byte(body)); err != nil {
				return err
			}
		}
		return w.Frame(9, nil)
	}
	w := sea.start("washington/1", answers(pull))
	far, near := sea.start("frankfurt/1"), sea.start("washington/2")
	w.meets(far)
	w.meets(near)
	for _, to := range []*island{near, far} {
		before := w.count("packed_bytes_total", "before")
		node := to.cfg.Hello.Node
		for i := range 50 {
			if !w.Send(node, Eager, wire.Type(200+i), fmt.Appendf(nil, "%d %s", i, body)) {
				t.Fatal("not queued")
			}
		}
		to.awaits("washington/1 frame 249 49 " + body)
		for i, event := range to.log()[1:] {
			if want := fmt.Sprintf("washington/1 frame %d %d %s", 200+i, i, body); event != want {
				t.Fatalf("%s: frame %d is %.60q…", node, i, event)
			}
		}
		p, err := to.OpenPull(t.Context(), "washington/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if bodies, err := collect(p); len(bodies) != 201 || bodies[199] != "299:"+body || bodies[200] != "9:" {
			t.Fatalf("%s: %d frames of a pull, %v", node, len(bodies), err)
		}
		packed := w.count("packed_bytes_total", "before") - before
		if (packed > 0) != (to == far) {
			t.Errorf("%v bytes packed for %s", packed, node)
		}
	}
	if before, after := w.count("packed_bytes_total", "before"), w.count("packed_bytes_total", "after"); after > before/10 {
		t.Errorf("%v bytes became %v", before, after)
	}
}

// TestOldPeersGetPlainFrames has a peer that never heard of packing.
func TestOldPeersGetPlainFrames(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	st := sea.admitted(w, "frankfurt/1") // its HELLO has no feature
	body := bytes.Repeat([]byte("x"), 4*packFrom)
	w.Send("frankfurt/1", Eager, 200, body)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		lane, err := st.AcceptUniStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if which, err := laneOf(lane); err != nil || which != Eager {
			continue
		}
		typ, got, err := wire.NewReader(lane, wire.MaxFrame).Next()
		if typ != 200 || !bytes.Equal(got, body) || err != nil {
			t.Errorf("got type %d, %d bytes, %v", typ, len(got), err)
		}
		return
	}
}

// TestBadPackedFrames sends what pack never makes: the connection is closed, and
// memory stays what it is.
func TestBadPackedFrames(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(b []byte) []byte { return enc.EncodeAll(b, nil) }
	frame := wire.AppendFrame(nil, 200, []byte("body"))
	for name, body := range map[string][]byte{
		"no zstd":          []byte("plain"),
		"a bomb":           pack(make([]byte, maxPacked+1)),
		"half a frame":     pack(frame[:len(frame)-1]),
		"packed twice":     pack(wire.AppendFrame(nil, wire.TypePacked, pack(frame))),
		"cut":              pack(bytes.Repeat(frame, 99))[:40],
		"4 GiB in a frame": pack(wire.AppendHeader(nil, 200, 4<<30)),
	} {
		t.Run(name, func(t *testing.T) {
			sea := newSea(t)
			w := sea.start("washington/1")
			st := sea.admitted(w, "frankfurt/1")
			lane, err := st.OpenUniStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lane.Write(wire.AppendFrame([]byte{kindEager}, wire.TypePacked, body)); err != nil {
				t.Fatal(err)
			}
			w.awaits("down frankfurt/1")
			if n := w.count("refused_total", string(reasonFrame)); n != 1 {
				t.Errorf("%v refusals counted", n)
			}
		})
	}
}

// TestPackLaw packs random runs of frames and reads them back.
func TestPackLaw(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPacker(m)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var stream, scratch []byte
	var want [][]byte
	for range 200 {
		var frames []byte
		for range rng.IntN(30) {
			body := bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(300))
			if rng.IntN(4) == 0 {
				for i := range body {
					body[i] = byte(rng.Uint32())
				}
			}
			frames = wire.AppendFrame(frames, 200, body)
			want = append(want, body)
		}
		var packed []byte
		packed, scratch = p.pack(frames, scratch)
		if len(packed) > len(frames) {
			t.Fatalf("%d bytes became %d", len(frames), len(packed))
		}
		stream = append(stream, packed...)
	}
	in := inflow{frames: wire.NewReader(bytes.NewReader(stream), wire.MaxFrame), packer: p}
	for i, body := range want {
		typ, got, err := in.Next()
		if typ != 200 || !bytes.Equal(got, body) || err != nil {
			t.Fatalf("frame %d: type %d, %d bytes, %v", i, typ, len(got), err)
		}
	}
}

// FuzzInflow reads any stream: it ends, with an error or not, and no frame is over
// its limit.
func FuzzInflow(f *testing.F) {
	m, err := newMetrics(nil)
	if err != nil {
		f.Fatal(err)
	}
	p, err := newPacker(m)
	if err != nil {
		f.Fatal(err)
	}
	frame := wire.AppendFrame(nil, 200, bytes.Repeat([]byte("body"), packFrom))
	packed, _ := p.pack(frame, nil)
	f.Add(frame)
	f.Add(packed)
	f.Add(append(packed, wire.AppendFrame(nil, 3, nil)...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := inflow{frames: wire.NewReader(bytes.NewReader(stream), wire.MaxFrame), packer: p}
		for {
			_, body, err := in.Next()
			if err != nil {
				return
			}
			if len(body) > maxPacked {
				t.Fatalf("a frame of %d bytes", len(body))
			}
		}
	})
}

// BenchmarkPack packs what a busy second of small documents looks like.
func BenchmarkPack(b *testing.B) {
	m, err := newMetrics(nil)
	if err != nil {
		b.Fatal(err)
	}
	p, err := newPacker(m)
	if err != nil {
		b.Fatal(err)
	}
	var frames, scratch, packed []byte
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		frames = wire.AppendFrame(frames, 2, fmt.Appendf(nil,
			`user/%d name Ada %x email ada%d@example.org seen %s`, i, rng.Uint64(), rng.Uint32(),
			time.Unix(rng.Int64N(1<<31), 0).UTC()))
	}
	b.SetBytes(int64(len(frames)))
	b.ReportAllocs()
	for b.Loop() {
		packed, scratch = p.pack(frames, scratch)
	}
	b.ReportMetric(float64(len(packed))/float64(len(frames)), "of-the-bytes")
}
