package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

func sample() Hello {
	h := Hello{
		Cluster: ClusterID{Name: "stars"}, Node: "washington/1", Origin: 0x0123456789abcdef,
		Incarnation: 1700000000000, Region: "washington", WireMin: 1, WireMax: 3,
		Features: 0x85, LayoutEpoch: 7,
	}
	for i := range h.Cluster.CA {
		h.Cluster.CA[i] = byte(i)
	}
	return h
}

// The golden file is the frame as it travels. It changes with a wire version
// only; a test that fails here means that old nodes cannot read new ones.
func TestHelloGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/hello.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := AppendFrame(nil, TypeHello, AppendHello(nil, sample())); !bytes.Equal(got, want) {
		t.Errorf("HELLO is\n%x\nwant\n%x", got, want)
	}
	typ, body, err := NewReader(bytes.NewReader(want), MaxHello).Next()
	if err != nil || typ != TypeHello {
		t.Fatalf("type %d, %v", typ, err)
	}
	if h, err := DecodeHello(body); err != nil || h != sample() {
		t.Errorf("read back %+v, %v", h, err)
	}
}

func TestDecodeHelloIgnoresLaterFields(t *testing.T) {
	h, err := DecodeHello(append(AppendHello(nil, sample()), "a field of version 9"...))
	if err != nil || h != sample() {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestDecodeHelloRefusesEveryTruncation(t *testing.T) {
	whole := AppendHello(nil, sample())
	for n := range whole {
		if _, err := DecodeHello(whole[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestDecodeHelloRefuses(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, spoil := range map[string]func(*Hello){
		"cluster name too long": func(h *Hello) { h.Cluster.Name = long },
		"node too long":         func(h *Hello) { h.Node = "washington/" + atoll.NodeID(long) },
		"region too long":       func(h *Hello) { h.Region = atoll.Region(long) },
		"no cluster":            func(h *Hello) { h.Cluster.Name = "" },
		"no node":               func(h *Hello) { h.Node, h.Region = "", "" },
		"node of elsewhere":     func(h *Hello) { h.Region = "tokyo" },
		"no origin":             func(h *Hello) { h.Origin = 0 },
		"versions reversed":     func(h *Hello) { h.WireMin, h.WireMax = 3, 2 },
	} {
		h := sample()
		spoil(&h)
		if _, err := DecodeHello(AppendHello(nil, h)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Hello)
		want  Terms
		err   error
	}{
		{"the same", func(*Hello) {}, Terms{3, 0x85}, nil},
		{"older peer", func(h *Hello) { h.WireMin, h.WireMax = 1, 2 }, Terms{2, 0x85}, nil},
		{"newer peer", func(h *Hello) { h.WireMin, h.WireMax = 3, 9 }, Terms{3, 0x85}, nil},
		{"fewer features", func(h *Hello) { h.Features = 0x0f }, Terms{3, 0x05}, nil},
		{"another region", func(h *Hello) { h.Node, h.Region = "tokyo/1", "tokyo" }, Terms{3, 0x85}, nil},
		{"too old", func(h *Hello) { h.WireMin, h.WireMax = 0, 0 }, Terms{}, ErrVersion},
		{"too new", func(h *Hello) { h.WireMin, h.WireMax = 4, 9 }, Terms{}, ErrVersion},
		{"another cluster", func(h *Hello) { h.Cluster.Name = "sand" }, Terms{}, ErrCluster},
		{"another CA", func(h *Hello) { h.Cluster.CA[31]++ }, Terms{}, ErrCA},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := sample(), sample()
			c.spoil(&there)
			for _, pair := range [][2]Hello{{here, there}, {there, here}} {
				got, err := pair[0].Negotiate(pair[1])
				if got != c.want || !errors.Is(err, c.err) {
					t.Errorf("%+v, %v; want %+v, %v", got, err, c.want, c.err)
				}
			}
		})
	}
}

func FuzzHello(f *testing.F) {
	f.Add(AppendHello(nil, sample()))
	f.Add([]byte{})
	f.Add([]byte("\x05stars"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := DecodeHello(in)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v is not ErrMalformed", err)
			}
			return
		}
		if again := AppendHello(nil, h); !bytes.HasPrefix(in, again) {
			t.Fatalf("writes back as %x, came as %x", again, in)
		}
		if terms, err := h.Negotiate(h); err != nil || terms.Version != h.WireMax {
			t.Fatalf("does not agree with itself: %+v, %v", terms, err)
		}
	})
}
