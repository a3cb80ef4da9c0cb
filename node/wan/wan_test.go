package wan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/atolledge/atoll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// air is a network of sockets in memory that works in virtual time: what is
// written arrives at once.
type air struct {
	mu    sync.Mutex
	boxes map[string]*box
}

type box struct {
	air    *air
	addr   *net.UDPAddr
	mu     sync.Mutex
	got    []arrival
	closed bool
}

type arrival struct {
	at   time.Time
	body []byte
}

func (a *air) socket(port int) *box {
	b := &box{air: a, addr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.boxes == nil {
		a.boxes = map[string]*box{}
	}
	a.boxes[b.addr.String()] = b
	return b
}

func (b *box) WriteTo(p []byte, to net.Addr) (int, error) {
	b.air.mu.Lock()
	dst := b.air.boxes[to.String()]
	b.air.mu.Unlock()
	if dst != nil {
		dst.mu.Lock()
		defer dst.mu.Unlock()
		dst.got = append(dst.got, arrival{time.Now(), bytes.Clone(p)})
	}
	return len(p), nil
}

func (b *box) arrived() []arrival {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *box) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *box) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, os.ErrDeadlineExceeded }
func (b *box) LocalAddr() net.Addr                    { return b.addr }
func (b *box) SetDeadline(time.Time) error            { return nil }
func (b *box) SetReadDeadline(time.Time) error        { return nil }
func (b *box) SetWriteDeadline(time.Time) error       { return nil }

// world is three regions in virtual time.
type world struct {
	*Network
	w, f, t    net.PacketConn // washington, frankfurt, tokyo
	bw, bf, bt *box
}

// inWorld runs test in a bubble of virtual time and closes the sockets after it.
func inWorld(t *testing.T, scale float64, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var a air
		w := &world{Network: NewNetwork(scale, 1)}
		w.bw, w.bf, w.bt = a.socket(1), a.socket(2), a.socket(3)
		w.w, w.f, w.t = w.Wrap(w.bw, "washington"), w.Wrap(w.bf, "frankfurt"), w.Wrap(w.bt, "tokyo")
		w.SetRTT("washington", "frankfurt", 86*time.Millisecond)
		w.SetRTT("washington", "tokyo", 142*time.Millisecond)
		test(t, w)
		for _, c := range []net.PacketConn{w.w, w.f, w.t} {
			_ = c.Close()
		}
	})
}

func (w *world) status(from, to atoll.Region) LinkStatus {
	for _, s := range w.Links() {
		if s.From == from && s.To == to {
			return s
		}
	}
	return LinkStatus{}
}

func send(t *testing.T, c net.PacketConn, to *box, body string) {
	t.Helper()
	if n, err := c.WriteTo([]byte(body), to.addr); n != len(body) || err != nil {
		t.Fatalf("WriteTo: %d, %v", n, err)
	}
}

func TestDelayIsExact(t *testing.T) {
	for _, c := range []struct {
		scale float64
		want  time.Duration
	}{{1, 43 * time.Millisecond}, {0.5, 21500 * time.Microsecond}, {0, 0}, {-3, 0}} {
		inWorld(t, c.scale, func(t *testing.T, w *world) {
			start := time.Now()
			body := []byte("packet")
			_, _ = w.w.WriteTo(body, w.bf.addr)
			copy(body, "reused") // the caller's slice is its own again
			time.Sleep(time.Second)
			got := w.bf.arrived()
			if len(got) != 1 || got[0].at.Sub(start) != c.want || string(got[0].body) != "packet" {
				t.Errorf("scale %v: %+v after %v, want %v", c.scale, got, start, c.want)
			}
		})
	}
}

func TestSameRegionAndStrangersAreNotDelayed(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		neighbour, stranger := w.bw.air.socket(9), w.bw.air.socket(10)
		n := w.Wrap(neighbour, "washington")
		defer n.Close()
		send(t, w.w, neighbour, "near")
		send(t, w.w, stranger, "foreign")
		if len(neighbour.arrived()) != 1 || len(stranger.arrived()) != 1 {
			t.Error("did not arrive at once")
		}
		if len(w.Links()) != 4 {
			t.Errorf("links: %+v", w.Links())
		}
	})
}

func TestCutLetsNothingThrough(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		send(t, w.w, w.bf, "on its way")
		time.Sleep(20 * time.Millisecond)
		w.Cut("washington", "frankfurt", false)
		before := w.status("washington", "frankfurt").Delivered
		for range 100 {
			send(t, w.w, w.bf, "to")
			send(t, w.f, w.bw, "fro")
			send(t, w.w, w.bt, "elsewhere")
		}
		time.Sleep(time.Minute)
		to, fro := w.status("washington", "frankfurt"), w.status("frankfurt", "washington")
		if to.Delivered != before || to.Blocked != 101 || fro.Delivered != 0 || fro.Blocked != 100 {
			t.Errorf("to %+v, fro %+v", to, fro)
		}
		if len(w.bf.arrived()) != 0 || len(w.bw.arrived()) != 0 || len(w.bt.arrived()) != 100 {
			t.Error("a packet passed the cut, or one beside it did not")
		}
		w.Heal()
		send(t, w.w, w.bf, "healed")
		time.Sleep(time.Second)
		if s := w.status("washington", "frankfurt"); s.Cut || s.Delivered != before+1 {
			t.Errorf("after Heal: %+v", s)
		}
	})
}

func TestCutOneWay(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.Cut("washington", "frankfurt", true)
		send(t, w.w, w.bf, "to")
		send(t, w.f, w.bw, "fro")
		time.Sleep(time.Second)
		if len(w.bf.arrived()) != 0 || len(w.bw.arrived()) != 1 {
			t.Errorf("to %d, fro %d", len(w.bf.arrived()), len(w.bw.arrived()))
		}
	})
}

func TestSlowIgnoresTheScaleAndEndsWithHeal(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.Slow("washington", "frankfurt", 300*time.Millisecond)
		start := time.Now()
		send(t, w.w, w.bf, "late")
		if s := w.status("washington", "frankfurt"); !s.Slow || s.OneWay != 150*time.Millisecond {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Second)
		w.Heal()
		again := time.Now()
		send(t, w.w, w.bf, "quick")
		got := w.bf.arrived()
		if len(got) != 2 || got[0].at.Sub(start) != 150*time.Millisecond || got[1].at != again {
			t.Errorf("%+v from %v", got, start)
		}
	})
}

func TestJitterKeepsOrderAndBounds(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		const jitter = 10 * time.Millisecond
		w.SetJitter("washington", "frankfurt", jitter)
		var sent []time.Time
		for i := range 2000 {
			sent = append(sent, time.Now())
			send(t, w.w, w.bf, string(binary.BigEndian.AppendUint32(nil, uint32(i))))
			time.Sleep(time.Duration(i%7) * 100 * time.Microsecond)
		}
		time.Sleep(time.Second)
		got := w.bf.arrived()
		if len(got) != len(sent) {
			t.Fatalf("%d of %d arrived", len(got), len(sent))
		}
		spread := map[time.Duration]bool{}
		for i, a := range got {
			if n := binary.BigEndian.Uint32(a.body); int(n) != i {
				t.Fatalf("packet %d came as number %d", n, i)
			}
			late := a.at.Sub(sent[i]) - 43*time.Millisecond
			spread[late.Truncate(time.Millisecond)] = true
			if late < 0 || late >= jitter {
				t.Fatalf("packet %d is %v late", i, late)
			}
		}
		// Keeping order makes close packets late together, so not all occur.
		if len(spread) < 4 {
			t.Errorf("lateness takes only %d of 10 milliseconds", len(spread))
		}
	})
}

func TestLossIsAsAskedAndRepeats(t *testing.T) {
	run := func() (gone []int) {
		n := NewNetwork(1, 42)
		n.SetLoss("a", "b", 0.1)
		l := n.links[direction{"a", "b"}]
		for i := range 20_000 {
			if _, f := l.send(time.Time{}, n.chance); f == lost {
				gone = append(gone, i)
			}
		}
		if l.counts.Lost != uint64(len(gone)) || l.counts.Sent != 20_000 {
			t.Errorf("counted %+v", l.counts)
		}
		return gone
	}
	first := run()
	if share := float64(len(first)) / 20_000; math.Abs(share-0.1) > 0.01 {
		t.Errorf("lost %v of all", share)
	}
	if !slices.Equal(first, run()) {
		t.Error("the same seed lost other packets")
	}
}

func TestTooManyOnTheirWayAreDropped(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		for range maxQueued + 5 {
			send(t, w.w, w.bf, "x")
		}
		time.Sleep(time.Second)
		s := w.status("washington", "frankfurt")
		if s.Overflow != 5 || s.Delivered != maxQueued || len(w.bf.arrived()) != maxQueued {
			t.Errorf("%+v", s)
		}
		if spare := len(w.w.(*conn).spare); spare > maxSpare {
			t.Errorf("keeps %d buffers", spare)
		}
	})
}

func TestCloseLetsPacketsLeave(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		send(t, w.w, w.bf, "goodbye")
		start := time.Now()
		if err := w.w.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 43*time.Millisecond || len(w.bf.arrived()) != 1 {
			t.Errorf("took %v, %d arrived", took, len(w.bf.arrived()))
		}
		if _, err := w.w.WriteTo([]byte("x"), w.bf.addr); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo after Close: %v", err)
		}
		if _, _, err := w.w.ReadFrom(make([]byte, 9)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadFrom after Close: %v", err)
		}
		if !w.bw.closed {
			t.Error("the socket is open")
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.Slow("washington", "frankfurt", time.Hour)
		send(t, w.w, w.bf, "never")
		start := time.Now()
		_ = w.w.Close()
		if took := time.Since(start); took != drainLimit || len(w.bf.arrived()) != 0 {
			t.Errorf("took %v, %d arrived", took, len(w.bf.arrived()))
		}
		if err := w.w.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

// The queue against sorting all packets by arrival.
func TestDeliveryAgreesWithSorting(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		rng := rand.New(rand.NewPCG(5, 6))
		type expected struct {
			at time.Time
			n  uint32
		}
		var want []expected
		for n := range uint32(500) {
			rtt := time.Duration(1+rng.IntN(400)) * time.Millisecond
			w.Slow("washington", "frankfurt", rtt)
			want = append(want, expected{time.Now().Add(rtt / 2), n})
			send(t, w.w, w.bf, string(binary.BigEndian.AppendUint32(nil, n)))
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
		time.Sleep(time.Second)
		slices.SortStableFunc(want, func(a, b expected) int { return a.at.Compare(b.at) })
		for i, got := range w.bf.arrived() {
			if n := binary.BigEndian.Uint32(got.body); n != want[i].n || got.at != want[i].at {
				t.Fatalf("arrival %d: %d at %v, want %+v", i, n, got.at, want[i])
			}
		}
	})
}

// TestRealSockets measures the emulation on loopback. Never early is exact;
// how late the quickest is shows the timer, not the load of the machine.
func TestRealSockets(t *testing.T) {
	listen := func() net.PacketConn {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	n := NewNetwork(1, 1)
	n.SetRTT("washington", "frankfurt", 20*time.Millisecond)
	a, b := n.Wrap(listen(), "washington"), n.Wrap(listen(), "frankfurt")
	defer a.Close()
	defer b.Close()
	quickest, buf := time.Hour, make([]byte, 100)
	for range 50 {
		start := time.Now()
		if _, err := a.WriteTo([]byte("x"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		_ = b.SetReadDeadline(start.Add(10 * time.Second))
		if _, _, err := b.ReadFrom(buf); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		if took < 10*time.Millisecond {
			t.Fatalf("arrived after %v, early", took)
		}
		quickest = min(quickest, took)
	}
	if late := quickest - 10*time.Millisecond; late > 2*time.Millisecond {
		t.Errorf("at best %v late", late)
	}
	if _, ok := a.(interface{ SetReadBuffer(int) error }); ok {
		t.Error("the wrapper shows more than net.PacketConn")
	}
}
