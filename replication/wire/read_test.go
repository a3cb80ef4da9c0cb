package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// readFrames are the frames of reads with the bytes that they are for ever.
var readFrames = []struct {
	name string
	typ  wire.Type
	body any
	hex  string
}{
	{"read", wire.TypeRead, wire.Read{Keyspace: "notes", Key: "a/b", Session: "Aw", Trace: "00-1"},
		"056e6f746573" + "03612f62" + "024177" + "0430302d31"},
	{"list", wire.TypeList, wire.List{Keyspace: "notes", Prefix: "a", After: "a1", Limit: 1000},
		"056e6f746573" + "0161" + "026131" + "e807" + "0000"},
	{"document", wire.TypeDocument, atoll.Document{Key: "k", ETag: "e", Body: []byte("{}"),
		Conflicts: []atoll.Conflict{{Path: "/a", Kind: "register", Values: []atoll.Value{
			{JSON: []byte("1"), Origin: 9, Region: "tokyo", Time: time.UnixMilli(1 << 40), Winner: true},
			{JSON: []byte("2"), Origin: 8, Time: time.UnixMilli(0)},
		}}}},
		"016b" + "0165" + "027b7d" + "01" + "022f61" + "087265676973746572" + "02" +
			"0131" + "0000000000000009" + "05746f6b796f" + "808080808020" + "01" +
			"0132" + "0000000000000008" + "00" + "00" + "00"},
	{"answered", wire.TypeAnswered, wire.Answered{Session: "Aw", Next: "k"}, "024177" + "016b"},
	{"refused", wire.TypeRefused, wire.Refused{Kind: "not-found", Detail: "no", Hint: "h", Session: "Aw"},
		"096e6f742d666f756e64" + "026e6f" + "0168" + "024177"},
}

func appendRead(v any) []byte {
	body := func(b []byte) []byte {
		_, body, _ := wire.One(b)
		return body
	}
	switch v := v.(type) {
	case wire.Read:
		return body(v.Append(nil))
	case wire.List:
		return body(v.Append(nil))
	case atoll.Document:
		return wire.AppendDocument(nil, v)
	case wire.Answered:
		return wire.AppendAnswered(nil, v)
	}
	return wire.AppendRefused(nil, v.(wire.Refused))
}

func decodeRead(t wire.Type, body []byte) (any, error) {
	switch t {
	case wire.TypeRead:
		return wire.DecodeRead(body)
	case wire.TypeList:
		return wire.DecodeList(body)
	case wire.TypeDocument:
		return wire.DecodeDocument(body)
	case wire.TypeAnswered:
		return wire.DecodeAnswered(body)
	}
	return wire.DecodeRefused(body)
}

func TestReadFrames(t *testing.T) {
	for _, c := range readFrames {
		b := appendRead(c.body)
		if got := hex.EncodeToString(b); got != c.hex {
			t.Errorf("%s: %s, want %s", c.name, got, c.hex)
		}
		if got, err := decodeRead(c.typ, b); err != nil || !reflect.DeepEqual(got, c.body) {
			t.Errorf("%s: %+v %v", c.name, got, err)
		}
		for n := range len(b) {
			if got, err := decodeRead(c.typ, b[:n]); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s cut at %d: %+v %v", c.name, n, got, err)
			}
		}
		if _, err := decodeRead(c.typ, append(bytes.Clone(b), 1, 2, 3)); err != nil {
			t.Errorf("%s with fields of a later version: %v", c.name, err)
		}
	}
}

func TestReadFrameLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, v := range map[string]any{
		"keyspace": wire.Read{Keyspace: atoll.Keyspace(long(65))},
		"key":      wire.Read{Key: atoll.Key(long(atoll.MaxKey + 1))},
		"session":  wire.Read{Session: atoll.Token(long(atoll.MaxToken + 1))},
		"trace":    wire.Read{Trace: long(129)},
		"prefix":   wire.List{Prefix: long(atoll.MaxKey + 1)},
		"limit":    wire.List{Limit: atoll.MaxPage + 1},
	} {
		typ := wire.TypeRead
		if _, ok := v.(wire.List); ok {
			typ = wire.TypeList
		}
		if got, err := decodeRead(typ, appendRead(v)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s over its limit: %+v %v", name, got, err)
		}
	}
}

func FuzzReadFrames(f *testing.F) {
	for _, c := range readFrames {
		f.Add(uint8(c.typ), appendRead(c.body))
	}
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		typ = uint8(wire.TypeRead) + typ%5
		v, err := decodeRead(wire.Type(typ), body)
		if err != nil {
			return
		}
		w, err := decodeRead(wire.Type(typ), appendRead(v))
		if err != nil || !reflect.DeepEqual(v, w) {
			t.Fatalf("%+v became %+v, %v", v, w, err)
		}
	})
}
