package membership

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/atolledge/atoll"
)

func sample() Member {
	return Member{Region: "tokyo", Origin: 0x0102030405060708, Incarnation: 300}
}

func TestMetaKeepsItsBytes(t *testing.T) {
	got := appendMeta(nil, sample())
	want := append([]byte{1, 1, 2, 3, 4, 5, 6, 7, 8, 0xac, 0x02, 5}, "tokyo"...)
	if !bytes.Equal(got, want) {
		t.Errorf("meta is %x, want %x", got, want)
	}
	m, err := decodeMeta(append(got, "later fields"...))
	if err != nil || m != sample() {
		t.Errorf("%+v, %v", m, err)
	}
	for n := range got {
		if _, err := decodeMeta(got[:n]); !errors.Is(err, errMeta) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestMetaRefuses(t *testing.T) {
	long := sample()
	long.Region = atoll.Region(strings.Repeat("r", atoll.MaxRegion+1))
	nobody := sample()
	nobody.Origin = 0
	nowhere := sample()
	nowhere.Region = ""
	other := appendMeta(nil, sample())
	other[0] = 2
	for name, b := range map[string][]byte{
		"long region": appendMeta(nil, long), "no origin": appendMeta(nil, nobody),
		"no region": appendMeta(nil, nowhere), "version 2": other, "nothing": nil,
	} {
		if _, err := decodeMeta(b); !errors.Is(err, errMeta) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMemberOfChecksTheName(t *testing.T) {
	n := &memberlist.Node{
		Name: "tokyo/1", Addr: net.IPv4(127, 0, 3, 1), Port: 7950, Meta: appendMeta(nil, sample()),
	}
	m, err := memberOf(n)
	want := sample()
	want.Node, want.Addr = "tokyo/1", "127.0.3.1:7950"
	if err != nil || m != want {
		t.Errorf("%+v, %v", m, err)
	}
	n.Name = "frankfurt/1"
	if err := (&delegate{}).NotifyAlive(n); !errors.Is(err, errMeta) {
		t.Errorf("a node of another region: %v", err)
	}
}

func TestDifference(t *testing.T) {
	a, b := sample(), sample()
	b.Incarnation++
	for _, c := range []struct {
		name         string
		before, now  Member
		known, there bool
		want         Event
		ok           bool
	}{
		{"came", Member{}, a, false, true, Event{Up, a}, true},
		{"went", a, Member{}, true, false, Event{Down, a}, true},
		{"changed", a, b, true, true, Event{Update, b}, true},
		{"same", a, a, true, true, Event{}, false},
		{"came and went", Member{}, Member{}, false, false, Event{}, false},
	} {
		got, ok := difference(c.before, c.known, c.now, c.there)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
}

func TestBridgeLogsAtDebugOnly(t *testing.T) {
	var out bytes.Buffer
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		if n, err := (bridge{log}).Write([]byte("[WARN] a line\n")); n != 14 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	}
	if got := strings.Count(out.String(), "a line"); got != 1 ||
		!strings.Contains(out.String(), "level=DEBUG") {
		t.Errorf("logged %q", out.String())
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, sample()))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := decodeMeta(in)
		if err != nil {
			return
		}
		again, err := decodeMeta(appendMeta(nil, m))
		if err != nil || again != m {
			t.Fatalf("%+v reads back as %+v, %v", m, again, err)
		}
	})
}
