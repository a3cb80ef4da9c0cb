package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// chunkFrames are requests with the bytes that they are for ever.
var chunkFrames = []struct {
	name  string
	frame interface{ Append([]byte) []byte }
	hex   string
}{
	{"get", wire.ChunkGet{Hash: atoll.HashOf([]byte("x")), Homes: []atoll.NodeID{}},
		"30222d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" + "0000"},
	{"get through", wire.ChunkGet{Hash: atoll.HashOf([]byte("x")), Through: true,
		Homes: []atoll.NodeID{"a/1", "b/2"}},
		"302a2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" +
			"010203612f3103622f32"},
	{"keep", wire.ObjectKeep{Manifest: atoll.HashOf([]byte("x")), Size: 1 << 20,
		Homes: []atoll.NodeID{"a/1"}},
		"31282d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" +
			"80804001" + "03612f31"},
	{"keep one", wire.ChunkKeep{Hash: atoll.HashOf([]byte("x"))},
		"35202d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
}

func decodeChunks(t wire.Type, body []byte) (any, error) {
	switch t {
	case wire.TypeChunkGet:
		return wire.DecodeChunkGet(body)
	case wire.TypeChunkKeep:
		return wire.DecodeChunkKeep(body)
	}
	return wire.DecodeObjectKeep(body)
}

func TestChunkFrames(t *testing.T) {
	for _, c := range chunkFrames {
		b := c.frame.Append(nil)
		if got := hex.EncodeToString(b); got != c.hex {
			t.Errorf("%s: %s, want %s", c.name, got, c.hex)
		}
		typ, body, err := wire.NewReader(bytes.NewReader(b), wire.MaxFrame).Next()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeChunks(typ, body)
		if err != nil || !reflect.DeepEqual(got, c.frame) {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
		for n := range len(body) {
			if got, err := decodeChunks(typ, body[:n]); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s cut at %d: %+v %v", c.name, n, got, err)
			}
		}
		if _, err := decodeChunks(typ, append(bytes.Clone(body), 1, 2, 3)); err != nil {
			t.Errorf("%s with fields of a later version: %v", c.name, err)
		}
	}
}

func TestChunkFrameLimits(t *testing.T) {
	huge := wire.ObjectKeep{Size: atoll.MaxMedia + 1}.Append(nil)
	_, body, _ := wire.NewReader(bytes.NewReader(huge), wire.MaxFrame).Next()
	if _, err := wire.DecodeObjectKeep(body); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("an object of 4 GiB and a byte: %v", err)
	}
	many := wire.ChunkGet{Homes: make([]atoll.NodeID, 100)}.Append(nil)
	_, body, _ = wire.NewReader(bytes.NewReader(many), wire.MaxFrame).Next()
	if g, err := wire.DecodeChunkGet(body); err != nil || len(g.Homes) != 64 {
		t.Errorf("of 100 homes %d were sent: %v", len(g.Homes), err)
	}
	lies := append(make([]byte, 33), 65)
	if _, err := wire.DecodeChunkGet(append(lies, make([]byte, 100)...)); err == nil {
		t.Error("65 homes were taken")
	}
	if _, err := wire.DecodeChunkGet(append(make([]byte, 33), strings.Repeat("\xff", 9)+"\x01"...)); err == nil {
		t.Error("a list longer than its frame was taken")
	}
}

func FuzzChunkFrames(f *testing.F) {
	for _, c := range chunkFrames {
		b := c.frame.Append(nil)
		f.Add(b[0], b[2:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		typ := wire.Type(kind)
		v, err := decodeChunks(typ, body)
		if err != nil {
			return
		}
		again := v.(interface{ Append([]byte) []byte }).Append(nil)
		_, body, err = wire.NewReader(bytes.NewReader(again), wire.MaxFrame).Next()
		if err != nil {
			t.Fatal(err)
		}
		if w, err := decodeChunks(typ, body); err != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("%+v became %+v, %v", v, w, err)
		}
	})
}
