package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
)

var rewriteGolden = flag.Bool("rewrite", false, "write the golden files anew")

// samples has one message of each kind, with every field set.
func samples() map[string]replication.Message {
	at := replication.Address{Keyspace: "stars", Partition: 63}
	clock := crdt.ClockOf(crdt.Run{Origin: 1, First: 1, Last: 300}, crdt.Run{Origin: 2, First: 7, Last: 7})
	run := crdt.Run{Origin: 0x0123456789abcdef, First: 300, Last: 302}
	entry := crdt.Entry{Path: crdt.Path("").Child("mag"), Kind: crdt.Register, Time: 1 << 40,
		Dot: crdt.Dot{Origin: run.Origin, Seq: 301}, Value: []byte("-1.44")}
	return map[string]replication.Message{
		"delta": replication.Delta{Address: at, Relay: true, Ack: true, Delta: crdt.Delta{
			Key: "sirius", Dots: run, Time: 1 << 40, Adds: []crdt.Entry{entry},
			Drops: []crdt.Dot{{Origin: 1, Seq: 9}}}},
		"ack": replication.Ack{Address: at, Run: run},
		"heads": replication.Heads{Reply: true, Report: true, At: 1 << 40, Heads: []replication.Head{
			{Keyspace: "_roster", Hash: 1}, {Keyspace: "stars", Hash: 1 << 63}}},
		"parts": replication.Parts{Keyspace: "stars", Hashes: []uint64{0, 1, 1<<64 - 1},
			At: 1 << 40},
		"clocks": replication.Clocks{Keyspace: "stars", Reply: true, At: 1 << 40,
			Clocks: []replication.PartitionClock{{Partition: 0}, {Partition: 63, Clock: clock}}},
		"claim": replication.Claim{Address: at, Key: "sirius", Path: crdt.Path("").Child("left"),
			Birth: crdt.Dot{Origin: run.Origin, Seq: 301}, Need: 1 << 20},
		"marks": replication.Marks{Origin: 0xab, Marks: []replication.Mark{{Address: at, Seq: 300}}},
		"vow": replication.Vow{Origin: run.Origin, Layout: 1 << 62, Phase: replication.Closed,
			Sum: 7, Clean: true},
		"pull":  replication.Pull{Address: at, Clock: clock},
		"begin": replication.Begin{Clock: clock, Full: true, Busy: true},
		"doc": replication.Doc{Key: "sirius", Runs: []crdt.Run{run}, Doc: crdt.Doc{
			Entries: []crdt.Entry{entry}, Ghosts: []crdt.Dot{{Origin: 1, Seq: 9}}}},
		"end": replication.End{},
	}
}

func frame(m replication.Message) []byte {
	t, body := Append(nil, m)
	return AppendFrame(nil, t, body)
}

// compareGolden compares bytes with a golden file. The files change with a wire
// version only: a difference means that older nodes cannot read newer ones.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name+".hex")
	if *rewriteGolden {
		if err := os.WriteFile(name, fmt.Appendf(nil, "%x\n", got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is\n%x\nwant\n%x %v", name, got, want, err)
	}
}

func TestGoldenMessages(t *testing.T) {
	types := map[string]Type{"delta": 2, "ack": 3, "heads": 4, "parts": 5, "clocks": 6, "marks": 7, "vow": 8,
		"claim": 9,
		"pull":  16, "begin": 17, "doc": 19, "end": 20}
	for name, m := range samples() {
		b := frame(m)
		compareGolden(t, name, b)
		typ, body, err := One(b)
		if err != nil || typ != types[name] {
			t.Errorf("%s: type %d, %v", name, typ, err)
		}
		got, err := Decode(typ, body)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s read as %+v, %v", name, got, err)
		}
		if got, err := Decode(typ, append(body, "a later field"...)); err != nil || !bytes.Equal(frame(got), b) {
			t.Errorf("%s with a later field: %v", name, err)
		}
		for n := range body {
			if _, err := Decode(typ, body[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d of %d bytes of %s: %v", n, len(body), name, err)
			}
		}
	}
}

func TestGoldenHealth(t *testing.T) {
	compareGolden(t, "probe", AppendProbe(nil, 300))
	compareGolden(t, "reply", AppendReply(nil, 300, true))
	votes := []Vote{{About: "tokyo", Up: true}, {About: "frankfurt"}}
	compareGolden(t, "votes", AppendVotes(nil, votes))
	sent, now := 1500*time.Millisecond, time.Unix(1_700_000_000, 5).UTC()
	compareGolden(t, "ask", AppendAsk(nil, sent))
	compareGolden(t, "time", AppendTime(nil, sent, now))
	for _, ready := range []bool{true, false} {
		typ, body, err := One(AppendReply(nil, 7, ready))
		if seq, up, e := DecodeReply(body); err != nil || e != nil || typ != TypeReply || seq != 7 || up != ready {
			t.Errorf("reply of type %d reads as %d, %v: %v %v", typ, seq, up, err, e)
		}
	}
	_, body, _ := One(AppendProbe(nil, 1<<63))
	if seq, err := DecodeProbe(body); err != nil || seq != 1<<63 {
		t.Errorf("probe %d, %v", seq, err)
	}
	_, body, _ = One(AppendVotes(nil, votes))
	if got, err := DecodeVotes(body); err != nil || !slices.Equal(got, votes) {
		t.Errorf("votes %v, %v", got, err)
	}
	_, body, _ = One(AppendAsk(nil, sent))
	if got, err := DecodeAsk(body); err != nil || got != sent {
		t.Errorf("clock question %v, %v", got, err)
	}
	_, body, _ = One(AppendTime(nil, sent, now))
	if got, there, err := DecodeTime(body); err != nil || got != sent || !there.Equal(now) {
		t.Errorf("clock answer %v %v, %v", got, there, err)
	}
	long := []Vote{{About: atoll.Region(strings.Repeat("x", atoll.MaxRegion+1))}}
	_, body, _ = One(AppendVotes(nil, long))
	for what, err := range map[string]error{
		"a long region":    second(DecodeVotes(body)),
		"many votes":       second(DecodeVotes(uvarints(1 << 40))),
		"half a vote":      second(DecodeVotes(append(uvarints(1, 5), "tokyo"...))),
		"no seq":           second(DecodeProbe(nil)),
		"half a stopwatch": second(DecodeAsk(make([]byte, 7))),
		"no clock":         third(DecodeTime(make([]byte, 8))),
		"no flags":         third(DecodeReply(uvarints(5))),
		"no datagram":      third(One(nil)),
		"half a frame":     third(One(uvarints(32, 5))),
		"an endless one":   third(One(bytes.Repeat([]byte{0xff}, 30))),
	} {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestGoldenScrub(t *testing.T) {
	clock := crdt.ClockOf(crdt.Run{Origin: 7, First: 1, Last: 300})
	ask := Scrub{Address: replication.Address{Keyspace: "stars", Partition: 63}, Clock: clock, Ranges: []int{0, 9, 255}}
	frame := ask.Append(nil)
	compareGolden(t, "scrub", frame)
	_, body, _ := One(frame)
	if got, err := DecodeScrub(body); err != nil || !reflect.DeepEqual(got, ask) {
		t.Errorf("scrub %+v, %v", got, err)
	}
	sums := &replication.Sums{Clock: clock}
	sums.Touched[3], sums.Touched[255], sums.Sums[0], sums.Sums[255] = true, true, 1, 1<<63
	body = AppendSums(nil, sums)
	compareGolden(t, "sums", body)
	if got, err := DecodeSums(body); err != nil || !reflect.DeepEqual(got, sums) {
		t.Errorf("sums %+v, %v", got, err)
	}
	ask.Ranges = []int{9, 9}
	_, twice, _ := One(ask.Append(nil))
	for what, err := range map[string]error{
		"a range twice":  second(DecodeScrub(twice)),
		"half a request": second(DecodeScrub(twice[:9])),
		"half the sums":  second(DecodeSums(body[:len(body)-1])),
	} {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

// maxDatagram is what a connection between nodes carries at least (package
// transport, MaxDatagram).
const maxDatagram = 1150

// TestDatagramsFit: heads as the core cuts them, and the votes of as many
// regions as are voted on, with names of the greatest length.
func TestDatagramsFit(t *testing.T) {
	keyspace := atoll.Keyspace("_" + strings.Repeat("k", atoll.MaxKeyspace))
	var m replication.Heads
	for range replication.MaxHeads {
		m.Heads = append(m.Heads, replication.Head{Keyspace: keyspace, Hash: 1<<64 - 1})
	}
	if n := len(frame(m)); n > maxDatagram {
		t.Errorf("%d heads have %d bytes", len(m.Heads), n)
	}
	m.Heads = append(m.Heads, m.Heads[0])
	if n := len(frame(m)); n+80 < maxDatagram {
		t.Errorf("one head more has %d bytes: MaxHeads could be greater", n)
	}
	region := atoll.Region(strings.Repeat("r", atoll.MaxRegion))
	var votes []Vote
	for range 16 {
		votes = append(votes, Vote{About: region, Up: true})
	}
	if n := len(AppendVotes(nil, votes)); n > maxDatagram {
		t.Errorf("%d votes have %d bytes", len(votes), n)
	}
}

func drawAddress(t *rapid.T) replication.Address {
	return replication.Address{
		Keyspace:  atoll.Keyspace(rapid.SampledFrom([]string{"a", "_roster", "stars"}).Draw(t, "space")),
		Partition: rapid.IntRange(0, 1<<16-1).Draw(t, "partition"),
	}
}

func drawRun(t *rapid.T) crdt.Run {
	first := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
	return crdt.Run{Origin: atoll.Origin(rapid.Uint64Range(1, 1<<64-1).Draw(t, "origin")),
		First: first, Last: first + rapid.Uint64Range(0, 1000).Draw(t, "more")}
}

func drawClock(t *rapid.T) crdt.Clock {
	return crdt.ClockOf(rapid.SliceOfN(rapid.Custom(drawRun), 0, 5).Draw(t, "runs")...)
}

// drawDelta makes a real change of a real document.
func drawDelta(t *rapid.T) (crdt.Delta, crdt.Doc) {
	run := drawRun(t)
	e := crdt.NewEdit(crdt.Doc{}, "k", run.Origin, run.First, hlc.Time(rapid.Uint64().Draw(t, "time")))
	for range rapid.IntRange(1, 5).Draw(t, "cells") {
		p := crdt.Path("").Child(rapid.StringN(0, 5, 20).Draw(t, "name"))
		if rapid.Bool().Draw(t, "count") {
			if err := e.Inc(p, rapid.Int64Range(-9, 9).Draw(t, "by")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		e.Add(p, crdt.Register, rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
	}
	d := *e.Doc()
	delta, _ := e.Delta()
	return delta, d
}

func drawAt(t *rapid.T) int64 { return rapid.Int64Min(0).Draw(t, "at") }

func drawMessage(t *rapid.T) replication.Message {
	flag := func() bool { return rapid.Bool().Draw(t, "flag") }
	switch rapid.IntRange(0, 9).Draw(t, "message") {
	case 0:
		d, _ := drawDelta(t)
		return replication.Delta{Address: drawAddress(t), Relay: flag(), Ack: flag(), Delta: d}
	case 1:
		return replication.Ack{Address: drawAddress(t), Run: drawRun(t)}
	case 2:
		m := replication.Heads{Reply: flag(), Report: flag(), At: drawAt(t)}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			m.Heads = append(m.Heads, replication.Head{Keyspace: drawAddress(t).Keyspace,
				Hash: rapid.Uint64().Draw(t, "hash")})
		}
		return m
	case 3:
		return replication.Parts{Keyspace: drawAddress(t).Keyspace,
			Hashes: rapid.SliceOfN(rapid.Uint64(), 0, 64).Draw(t, "hashes"), At: drawAt(t)}
	case 4:
		m := replication.Clocks{Keyspace: drawAddress(t).Keyspace, Reply: flag(), At: drawAt(t)}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			m.Clocks = append(m.Clocks, replication.PartitionClock{
				Partition: drawAddress(t).Partition, Clock: drawClock(t)})
		}
		return m
	case 5:
		m := replication.Marks{Origin: atoll.Origin(rapid.Uint64().Draw(t, "origin"))}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			m.Marks = append(m.Marks, replication.Mark{Address: drawAddress(t), Seq: rapid.Uint64().Draw(t, "seq")})
		}
		return m
	case 6:
		return replication.Pull{Address: drawAddress(t), Clock: drawClock(t)}
	case 7:
		return replication.Begin{Clock: drawClock(t), Full: flag(), Busy: flag()}
	case 8:
		_, d := drawDelta(t)
		return replication.Doc{Key: "k", Doc: d,
			Runs: rapid.SliceOfN(rapid.Custom(drawRun), 0, 3).Draw(t, "runs")}
	}
	return replication.End{}
}

// TestRoundTrip: every message reads as it was written, and writes the same.
func TestRoundTrip(t *testing.T) {
	for range 20 {
		rapid.Check(t, func(t *rapid.T) {
			m := drawMessage(t)
			typ, body := Append(nil, m)
			got, err := Decode(typ, body)
			if err != nil || reflect.TypeOf(got) != reflect.TypeOf(m) {
				t.Fatalf("%+v reads as %+v, %v", m, got, err)
			}
			if again := frame(got); !bytes.Equal(again, frame(m)) {
				t.Fatalf("%+v reads as %+v", m, got)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	at := append(uvarints(1), 'a', 0)
	name := func(n int) []byte { return append(uvarints(uint64(n)), make([]byte, n)...) }
	for what, c := range map[string]struct {
		t    Type
		body []byte
	}{
		"an unknown type":       {99, nil},
		"a part of a document":  {TypeDocPart, nil},
		"a long keyspace":       {TypeAck, append(name(maxKeyspace+1), 0)},
		"a large partition":     {TypePull, append(uvarints(1), append([]byte("a"), uvarints(1<<16)...)...)},
		"many heads":            {TypeHeads, append([]byte{0}, uvarints(1<<60)...)},
		"many hashes":           {TypeParts, append(append(uvarints(1), 'a'), uvarints(1<<60)...)},
		"many clocks":           {TypeClocks, append(append(uvarints(1), 'a', 0), uvarints(1<<60)...)},
		"many marks":            {TypeMarks, append(make([]byte, 8), uvarints(1<<60)...)},
		"a document of no key":  {TypeDoc, uvarints(0, 0, 0, 0, 0)},
		"a document's long key": {TypeDoc, append(name(atoll.MaxKey+1), 0, 0, 0, 0)},
		"many runs":             {TypeDoc, append(append(uvarints(1), 'k'), uvarints(1<<60)...)},
		"no delta":              {TypeDelta, append(slices.Clone(at), 0)},
	} {
		if m, err := Decode(c.t, c.body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s reads as %+v, %v", what, m, err)
		}
	}
}

// bigDoc is a document whose frame is longer than one part.
func bigDoc(size int) replication.Doc {
	d := replication.Doc{Key: "big"}
	for i := 0; size > 0; i++ {
		n := min(size, 512<<10)
		d.Doc.Entries = append(d.Doc.Entries, crdt.Entry{Path: crdt.Path("").Child(fmt.Sprintf("%04d", i)),
			Kind: crdt.Register, Dot: crdt.Dot{Origin: 1, Seq: uint64(i + 1)}, Value: make([]byte, n)})
		size -= n
	}
	return d
}

type pulled struct {
	t    Type
	body []byte
}

func emitted(t *testing.T, m replication.Message) (frames []pulled) {
	t.Helper()
	err := EmitPull(m, func(typ Type, body []byte) error {
		if len(body) > MaxFrame {
			t.Errorf("a frame of %d bytes", len(body))
		}
		frames = append(frames, pulled{typ, slices.Clone(body)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// TestPullInParts: documents of any length come out as they went in, one after
// the other.
func TestPullInParts(t *testing.T) {
	var r PullReader
	for _, size := range []int{1, docPart - 100, docPart, docPart + 1, 3*docPart + 7, 10, 9 << 20} {
		want := bigDoc(size)
		frames := emitted(t, want)
		if one := size < docPart-99; (len(frames) == 1) != one {
			t.Errorf("%d bytes in %d frames", size, len(frames))
		}
		for i, f := range frames {
			m, ok, err := r.Frame(f.t, f.body)
			if last := i == len(frames)-1; err != nil || ok != last {
				t.Fatalf("%d bytes, frame %d of %d: %v, %v", size, i+1, len(frames), ok, err)
			}
			if ok && !bytes.Equal(frame(m), frame(want)) {
				t.Errorf("%d bytes read as another document", size)
			}
		}
	}
	broken := errors.New("broken")
	calls := 0
	if err := EmitPull(bigDoc(3*docPart), func(Type, []byte) error { calls++; return broken }); err != broken || calls != 1 {
		t.Errorf("a broken stream: %d calls, %v", calls, err)
	}
}

func TestPullReaderLimits(t *testing.T) {
	part := make([]byte, docPart)
	var r PullReader
	n := 0
	var err error
	for ; err == nil && n <= MaxDocument/docPart; n++ {
		_, _, err = r.Frame(TypeDocPart, part)
	}
	if !errors.Is(err, ErrTooLarge) || n != MaxDocument/docPart+1 {
		t.Errorf("part %d: %v", n, err)
	}
	r = PullReader{}
	for range MaxDocument / docPart {
		if _, _, err := r.Frame(TypeDocPart, part); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Frame(TypeDoc, part); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the last frame of a document over the limit: %v", err)
	}
	for _, typ := range []Type{TypeBegin, TypeEnd} {
		r = PullReader{}
		if _, _, err := r.Frame(TypeDocPart, part); err != nil {
			t.Fatal(err)
		}
		_, body := Append(nil, replication.Begin{})
		if _, ok, err := r.Frame(typ, body); ok || !errors.Is(err, ErrMalformed) {
			t.Errorf("type %d inside a document: %v, %v", typ, ok, err)
		}
	}
	r = PullReader{}
	for _, typ := range []Type{0, TypeHello, TypeDelta, TypePull, 99, 1 << 62} {
		if m, ok, err := r.Frame(typ, []byte("anything")); m != nil || ok || err != nil {
			t.Errorf("type %d was not skipped: %v, %v, %v", typ, m, ok, err)
		}
	}
	for _, f := range []pulled{{TypeDoc, nil}, {TypeBegin, nil}} {
		if _, ok, err := r.Frame(f.t, f.body); ok || !errors.Is(err, ErrMalformed) {
			t.Errorf("an empty type %d: %v, %v", f.t, ok, err)
		}
	}
}

// FuzzDecode: no bytes make a decoder panic, and what it takes is written back
// to bytes that mean the same. The first byte of the input is the type.
func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		typ, body := Append(nil, m)
		f.Add(uint8(typ), body)
	}
	f.Add(uint8(TypeVotes), AppendVotes(nil, []Vote{{About: "tokyo", Up: true}})[2:])
	f.Add(uint8(TypeMarks), append(make([]byte, 8), uvarints(1<<60)...))
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		fuzzHealth(t, body)
		m, err := Decode(Type(typ), body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		back, first := Append(nil, m)
		again, err := Decode(back, first)
		if err != nil || back != Type(typ) {
			t.Fatalf("%+v is written as type %d and reads as %v", m, back, err)
		}
		if _, second := Append(nil, again); !bytes.Equal(first, second) {
			t.Fatalf("%+v becomes %+v", m, again)
		}
	})
}

func fuzzHealth(t *testing.T, body []byte) {
	votes, err := DecodeVotes(body)
	if err == nil {
		_, again, err := One(AppendVotes(nil, votes))
		if got, e := DecodeVotes(again); err != nil || e != nil || !slices.Equal(got, votes) {
			t.Fatalf("votes %v become %v, %v %v", votes, got, err, e)
		}
	}
	if _, _, err := One(body); err != nil && !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if _, _, err := NewReader(bytes.NewReader(body), MaxFrame).Next(); err == nil {
		return
	} else if k := kind(err); k != io.EOF && k != ErrTooLarge && k != ErrTruncated && k != ErrMalformed {
		t.Fatal(err)
	}
}
