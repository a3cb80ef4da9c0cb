package crdt

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
)

var rewriteGolden = flag.Bool("rewrite", false, "write the golden files anew")

// goldenClock, goldenDoc and goldenDelta have every form that their encodings
// know. They are stored on disks and sent to older nodes: a test that fails here
// says that those can no longer be read.
func goldenClock() Clock {
	return ClockOf(Run{0x0123456789abcdef, 1, 300}, Run{0x0123456789abcdef, 302, 302},
		Run{0xfedcba9876543210, 7, 7})
}

func goldenDoc() Doc {
	a := Path("").Child("a")
	return Doc{
		Entries: []Entry{
			{Kind: Existence, Dot: Dot{1, 9}, Time: 1 << 40, Value: []byte("old")},
			{Kind: Expiry, Dot: Dot{1, 10}, Time: 1 << 40, Value: make([]byte, 16)},
			{Kind: Marker, Dot: Dot{1, 14}, Time: 2 << 40, Seen: []Dot{{1, 14}}},
			{Path: a, Kind: Register, Dot: Dot{2, 1}, Time: 7, Value: []byte(`"x"`)},
			{Path: a, Kind: Register, Dot: Dot{3, 300}, Time: 8, Value: []byte("2"),
				Seen: []Dot{{1, 14}}},
			{Path: a.Child("\x00"), Kind: Element, Dot: Dot{3, 301}, Time: 8, Value: []byte("1"),
				Seen: []Dot{{1, 14}}},
			{Path: a.Child("b"), Kind: CounterOf, Dot: Dot{1, 11}, Time: 1 << 40,
				Value: encodeRow(Row{1, 2, 3, 4, 5})},
			{Path: a.Child("b"), Kind: ResetOf, Dot: Dot{1, 12}, Time: 1 << 40,
				Value: encodeTaken([]Taken{{1, 2, 3, 4}, {5, 6, 7, 8}})},
			{Path: Path("").Child("later"), Kind: 200, Dot: Dot{1, 13}, Time: 1 << 40},
		},
		Ghosts: []Dot{{1, 5}, {4, 1 << 20}},
	}
}

func goldenDelta() Delta {
	return Delta{
		Key: "sirius", Dots: Run{0x0123456789abcdef, 5, 9}, Time: 0x18cc251f400 << 16,
		Adds: []Entry{
			{Kind: Existence, Dot: Dot{0x0123456789abcdef, 5}, Time: 0x18cc251f400 << 16,
				Value: []byte{}, Seen: []Dot{{1, 14}}},
			{Path: Path("").Child("mag"), Kind: Register, Dot: Dot{0x0123456789abcdef, 9},
				Time: 0x18cc251f400 << 16, Value: []byte("-1.44"), Seen: []Dot{{1, 14}}},
		},
		Seen:  []Dot{{1, 14}},
		Drops: []Dot{{1, 1}, {1, 2}, {9, 1 << 33}},
	}
}

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", name+".hex")
	if *rewriteGolden {
		var lines []string
		for s := hex.EncodeToString(got); s != ""; s = s[min(len(s), 96):] {
			lines = append(lines, s[:min(len(s), 96)])
		}
		if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%x\nwant\n%x", name, got, want)
	}
	return want
}

func TestGolden(t *testing.T) {
	clock, doc, delta := goldenClock(), goldenDoc(), goldenDelta()
	b := golden(t, "clock", clock.Append(nil))
	if got, rest, err := DecodeClock(b); err != nil || len(rest) > 0 || !got.Equal(clock) {
		t.Errorf("clock read as %v, %v", got, err)
	}
	b = golden(t, "doc", doc.Append(nil))
	if got, rest, err := DecodeDoc(b); err != nil || len(rest) > 0 || !alike(got, doc) {
		t.Errorf("doc read as %+v, %v", got, err)
	}
	b = golden(t, "delta", delta.Append(nil))
	if got, rest, err := DecodeDelta(b); err != nil || len(rest) > 0 || !reflect.DeepEqual(got, delta) {
		t.Errorf("delta read as %+v, %v", got, err)
	}
	if len(b) > delta.Size() {
		t.Errorf("%d bytes, but Size says %d", len(b), delta.Size())
	}
}

// alike compares documents with nil and empty values taken as equal.
func alike(a, b Doc) bool {
	if len(a.Entries) != len(b.Entries) || len(a.Ghosts) != len(b.Ghosts) {
		return false
	}
	for i := range a.Entries {
		x, y := a.Entries[i], b.Entries[i]
		if x.compare(&y) != 0 || x.Time != y.Time || !bytes.Equal(x.Value, y.Value) {
			return false
		}
	}
	for i := range a.Ghosts {
		if a.Ghosts[i] != b.Ghosts[i] {
			return false
		}
	}
	return true
}

// TestRoundTrip: what histories leave reads back as it was, with what follows
// it left over, and no shorter part of it reads at all.
func TestRoundTrip(t *testing.T) {
	law(t, func(t *rapid.T) {
		all, deltas := drawIslands(t)
		for _, r := range all {
			b := r.clock.Append(nil)
			if got, rest, err := DecodeClock(append(b, 7)); err != nil || len(rest) != 1 ||
				!got.Equal(r.clock) {
				t.Fatalf("clock %v read as %v, %v", r.clock, got, err)
			}
			b = r.doc.Append(nil)
			if got, rest, err := DecodeDoc(append(b, 7)); err != nil || len(rest) != 1 ||
				!alike(got, r.doc) {
				t.Fatalf("doc %+v read as %+v, %v", r.doc, got, err)
			}
			n := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
			if _, _, err := DecodeDoc(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d of %d bytes of a document: %v", n, len(b), err)
			}
		}
		for _, x := range deltas {
			b := x.Append(nil)
			got, rest, err := DecodeDelta(append(b, 7))
			if err != nil || len(rest) != 1 || !bytes.Equal(got.Append(nil), b) || len(b) > x.Size() {
				t.Fatalf("delta %+v read as %+v, %v", x, got, err)
			}
			n := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
			if _, _, err := DecodeDelta(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%d of %d bytes of a delta: %v", n, len(b), err)
			}
		}
	})
}

// TestManyStamps: entries of more writes than are looked through keep theirs.
func TestManyStamps(t *testing.T) {
	for _, n := range []int{1, fewStamps - 1, fewStamps, fewStamps + 1, 500} {
		d := bigSet(n)
		for i := range d.Entries { // some come again
			d.Entries[i].Time %= 97
		}
		if got, _, err := DecodeDoc(d.Append(nil)); err != nil || !alike(got, d) {
			t.Errorf("%d stamps: %v", n, err)
		}
	}
}

func uvarints(vs ...uint64) (b []byte) {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// oneEntry is a document of one entry with the given parts.
func oneEntry(shared uint64, rest string, stamp, seq uint64) []byte {
	return join(uvarints(1), be(1), be(1), uvarints(0, 1, shared, uint64(len(rest))), []byte(rest),
		[]byte{2}, uvarints(stamp, seq, 0), uvarints(0))
}

func be(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func TestDecodeRefuses(t *testing.T) {
	const huge = 1<<64 - 1
	key := join(uvarints(1), []byte("k"))
	run := join(be(1), uvarints(1, 0))
	clock := func(b []byte) error { _, _, err := DecodeClock(b); return err }
	doc := func(b []byte) error { _, _, err := DecodeDoc(b); return err }
	delta := func(b []byte) error { _, _, err := DecodeDelta(b); return err }
	for name, c := range map[string]struct {
		decode func([]byte) error
		in     []byte
	}{
		"clock: many origins":      {clock, uvarints(huge)},
		"clock: origin 0":          {clock, join(uvarints(1), be(0), uvarints(1, 1, 0))},
		"clock: no runs":           {clock, join(uvarints(1), be(1), uvarints(0), be(1))},
		"clock: seq 0":             {clock, join(uvarints(1), be(1), uvarints(1, 0, 0))},
		"clock: runs touch":        {clock, join(uvarints(1), be(1), uvarints(2, 1, 0, 1, 0))},
		"clock: wraps":             {clock, join(uvarints(1), be(1), uvarints(2, 5, 0, huge, 0))},
		"clock: length wraps":      {clock, join(uvarints(1), be(1), uvarints(1, 5, huge))},
		"clock: the last number":   {clock, join(uvarints(1), be(1), uvarints(1, 1, huge-1))},
		"clock: origins not order": {clock, join(uvarints(2), be(2), uvarints(1, 1, 0), be(1), uvarints(1, 1, 0))},
		"clock: origin twice":      {clock, join(uvarints(2), be(2), uvarints(1, 1, 0), be(2), uvarints(1, 5, 0))},
		"doc: many stamps":         {doc, uvarints(huge)},
		"doc: many entries":        {doc, uvarints(0, huge)},
		"doc: many ghosts":         {doc, uvarints(0, 0, huge)},
		"doc: no such stamp":       {doc, oneEntry(0, "a\x00\x01", 1, 1)},
		"doc: seq 0":               {doc, oneEntry(0, "a\x00\x01", 0, 0)},
		"doc: shares with nothing": {doc, oneEntry(1, "a\x00\x01", 0, 1)},
		"doc: shares all":          {doc, oneEntry(huge, "a\x00\x01", 0, 1)},
		"doc: no path":             {doc, oneEntry(0, "a", 0, 1)},
		"doc: deep path":           {doc, oneEntry(0, strings.Repeat("\x00\x01", maxNames+1), 0, 1)},
		"doc: long path":           {doc, oneEntry(0, strings.Repeat("a", MaxPath)+"\x00\x01", 0, 1)},
		"doc: same entry twice": {doc, join(uvarints(1), be(1), be(1),
			uvarints(0, 2, 0, 0, 2, 0, 1, 0, 0, 0, 2, 0, 1, 0), uvarints(0))},
		"doc: not in order": {doc, join(uvarints(1), be(1), be(1),
			uvarints(0, 2, 0, 0, 2, 0, 5, 0, 0, 0, 2, 0, 1, 0), uvarints(0))},
		"doc: ghosts not in order": {doc, join(uvarints(0, 0, 2), be(1), uvarints(2), be(1), uvarints(1))},
		"doc: ghost twice":         {doc, join(uvarints(0, 0, 2), be(1), uvarints(2), be(1), uvarints(2))},
		"doc: ghost of nobody":     {doc, join(uvarints(0, 0, 1), be(0), uvarints(2))},
		"doc: ghost 0":             {doc, join(uvarints(0, 0, 1), be(1), uvarints(0))},
		"delta: no key":            {delta, join(uvarints(0), run, be(1), uvarints(0, 0, 0))},
		"delta: long key": {delta, join(uvarints(atoll.MaxKey+1), make([]byte, atoll.MaxKey+1),
			run, be(1), uvarints(0, 0, 0))},
		"delta: run of nobody": {delta, join(key, be(0), uvarints(1, 0), be(1), uvarints(0, 0, 0))},
		"delta: run from 0":    {delta, join(key, be(1), uvarints(0, 3), be(1), uvarints(0, 0, 0))},
		"delta: run wraps":     {delta, join(key, be(1), uvarints(2, huge), be(1), uvarints(0, 0, 0))},
		"delta: seen not in order": {delta, join(key, run, be(1), uvarints(2), be(1), uvarints(2),
			be(1), uvarints(1), uvarints(0, 0))},
		"delta: many adds":  {delta, join(key, run, be(1), uvarints(0, huge, 0))},
		"delta: many drops": {delta, join(key, run, be(1), uvarints(0, 0, huge))},
		"delta: dot outside": {delta, join(key, run, be(1),
			uvarints(0, 1, 0, 2, 1, 0), uvarints(0))},
		"delta: dot wraps": {delta, join(key, run, be(1), uvarints(0, 1, 0, 2, huge, 0), uvarints(0))},
		"delta: dot twice": {delta, join(key, be(1), uvarints(1, 3), be(1),
			uvarints(0, 2, 0, 2, 0, 0, 0, 2, 0, 0), uvarints(0))},
	} {
		if err := c.decode(c.in); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if err := doc(oneEntry(0, strings.Repeat("\x00\x01", maxNames), 0, 1)); err != nil {
		t.Errorf("a path of %d names: %v", maxNames, err)
	}
}

// TestPathBomb: entries that share a long path must not ask for it once each.
func TestPathBomb(t *testing.T) {
	long := strings.Repeat("a", MaxPath/2)
	b := join(uvarints(1), be(1), be(1), uvarints(0, 4096, 0, MaxPath/2+2), []byte(long+"\x00\x01"),
		[]byte{2}, uvarints(0, 1, 0))
	for i := range uint64(4095) { // two gigabytes of paths in half a megabyte
		name := []byte{'b' + byte(i>>6), 'b' + byte(i&63), 0, 1}
		b = append(b, join(uvarints(MaxPath/2+2, 4), name, []byte{2}, uvarints(0, i+2, 0))...)
	}
	b = append(b, 0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := DecodeDoc(b)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrMalformed) ||
		took > maxPaths+16<<20 {
		t.Errorf("%d bytes took %d to read: %v", len(b), took, err)
	}
}

// FuzzDecode: no input makes a decoder panic; what one takes it writes back to
// something that it takes as the same, and reads the same beside other bytes.
func FuzzDecode(f *testing.F) {
	clock, doc, delta := goldenClock(), goldenDoc(), goldenDelta()
	f.Add(clock.Append(nil))
	f.Add(doc.Append(nil))
	f.Add(delta.Append(nil))
	f.Add(oneEntry(0, "a\x00\x01", 0, 1))
	f.Add([]byte{0x80, 0x00, 0x00, 0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, rest, err := DecodeClock(in); err == nil {
			b := c.Append(nil)
			again, left, err := DecodeClock(append(b, rest...))
			if err != nil || !again.Equal(c) || !bytes.Equal(left, rest) || len(b) > len(in)-len(rest) {
				t.Errorf("clock %v becomes %v, %v", c, again, err)
			}
		}
		if d, rest, err := DecodeDoc(in); err == nil {
			again, left, err := DecodeDoc(append(d.Append(nil), rest...))
			if err != nil || !alike(again, d) || !bytes.Equal(left, rest) {
				t.Errorf("doc %+v becomes %+v, %v", d, again, err)
			}
			_, _, _ = Render(&d) // a faulty peer's document is shown somehow
			_ = d.Contested()
		}
		if x, rest, err := DecodeDelta(in); err == nil {
			again, left, err := DecodeDelta(append(x.Append(nil), rest...))
			if err != nil || !bytes.Equal(again.Append(nil), x.Append(nil)) || !bytes.Equal(left, rest) {
				t.Errorf("delta %+v becomes %+v, %v", x, again, err)
			}
		}
	})
}
