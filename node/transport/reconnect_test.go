package transport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/wan"
	"github.com/atolledge/atoll/replication/wire"
)

// Both ends decide on the same two connections and must keep the same one,
// whichever each of them saw first.
func TestContestIsTheSameOnBothEnds(t *testing.T) {
	a, b := atoll.NodeID("frankfurt/1"), atoll.NodeID("tokyo/1")
	// What an end holds of the two connections of one pair of processes differs
	// in origin and incarnation, which are the other's, never in the dialer.
	kept := func(other claim, order [2]atoll.NodeID) atoll.NodeID {
		first, second := other, other
		first.dialer, second.dialer = order[0], order[1]
		if contest(first, second) == replace {
			return second.dialer
		}
		return first.dialer
	}
	for _, order := range [][2]atoll.NodeID{{a, b}, {b, a}} {
		for _, there := range [][2]atoll.NodeID{{a, b}, {b, a}} {
			here := kept(claim{origin: 1, incarnation: 5}, order)
			if far := kept(claim{origin: 2, incarnation: 3}, there); here != far || here != a {
				t.Errorf("order %v here, %v there: %s and %s kept", order, there, here, far)
			}
		}
	}
}

func TestContest(t *testing.T) {
	old := claim{origin: 1, incarnation: 5, dialer: "frankfurt/1"}
	for name, c := range map[string]struct {
		next claim
		want verdict
	}{
		"same dialer again":          {claim{1, 5, "frankfurt/1"}, replace},
		"larger dialer":              {claim{1, 5, "tokyo/1"}, duplicate},
		"smaller dialer":             {claim{1, 5, "berlin/1"}, replace},
		"newer process":              {claim{1, 6, "tokyo/1"}, replace},
		"newer process, new origin":  {claim{2, 6, "tokyo/1"}, replace},
		"older process":              {claim{1, 4, "berlin/1"}, stale},
		"same age, other directory":  {claim{2, 5, "berlin/1"}, twin},
		"older and other directory ": {claim{2, 4, "berlin/1"}, stale},
	} {
		if got := contest(old, c.next); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestBothDialAndOneConnectionStays(t *testing.T) {
	sea := newSea(t)
	for round := range 20 {
		w, f := sea.start("washington/1"), sea.start("frankfurt/1")
		var both sync.WaitGroup
		both.Go(func() { _ = w.Connect(f.addr) })
		both.Go(func() { _ = f.Connect(w.addr) })
		both.Wait()
		w.awaits("up frankfurt/1")
		f.awaits("up washington/1")
		// A frame that is queued may be lost with the connection that loses; the
		// one that stays carries all.
		until(t, "frames both ways on the connection that stays", func() bool {
			w.Send("frankfurt/1", Control, 9, []byte("a"))
			f.Send("washington/1", Control, 9, []byte("b"))
			return f.heard("washington/1 frame 9 a") && w.heard("frankfurt/1 frame 9 b")
		})
		until(t, "both keep the same", func() bool {
			a, b := w.linkTo("frankfurt/1"), f.linkTo("washington/1")
			return a != nil && b != nil && a.claim.dialer == b.claim.dialer
		})
		for _, i := range []*island{w, f} {
			until(t, "the one connection is announced", func() bool {
				ups, downs := tally(i.log())
				return ups-downs == 1
			})
			if ups, _ := tally(i.log()); ups > 2 {
				t.Errorf("round %d: up %d times, want the second to stay", round, ups)
			}
			for _, why := range []reason{reasonTwin, reasonStale, reasonSelf, reasonHello} {
				if i.refusals(why) != 0 {
					t.Errorf("round %d: refused for %s", round, why)
				}
			}
		}
		w.Close()
		f.Close()
	}
}

func tally(events []string) (ups, downs int) {
	for _, e := range events {
		switch {
		case strings.HasPrefix(e, "up "):
			ups++
		case strings.HasPrefix(e, "down "):
			downs++
		}
	}
	return ups, downs
}

// at puts a node on a given address, with a given incarnation.
func at(t *testing.T, addr string, incarnation uint64) func(*Config, *island) {
	return func(c *Config, _ *island) {
		_ = c.Conn.Close()
		conn, err := net.ListenPacket("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c.Conn, c.Hello.Incarnation = conn, incarnation
	}
}

func TestAKilledNodeComesBackUnderTheSameAddress(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	f.Kill()
	start := time.Now()
	again := sea.start("frankfurt/1", at(t, f.addr, 2), func(c *Config, _ *island) {
		c.Certificate = f.cfg.Certificate // it is on disk, like the data
	})
	// Any packet of more than 39 bytes is answered by a reset (RFC 9000 10.3); a
	// bare keepalive is not. Then washington dials.
	until(t, "washington has the new process", func() bool {
		w.SendDatagram("frankfurt/1", make([]byte, 64))
		p := w.Peers()
		return len(p) == 1 && p[0].Incarnation == 2
	})
	again.awaits("up washington/1")
	if took := time.Since(start); took > idleTimeout/2 {
		t.Errorf("back after %v: the reset did not tell", took)
	}
	until(t, "down, then up again", func() bool {
		ups, downs := tally(w.log())
		return ups == 2 && downs == 1
	})
}

func TestANewerProcessReplacesAndAnOlderIsRefused(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	dial := func(incarnation uint64, origin atoll.Origin) *island {
		i := sea.start("frankfurt/1", func(c *Config, _ *island) {
			c.Hello.Incarnation, c.Hello.Origin = incarnation, origin
		})
		if err := i.Connect(w.addr); err != nil {
			t.Fatal(err)
		}
		return i
	}
	dial(5, 100).awaits("up washington/1")
	dial(6, 100).awaits("up washington/1")
	until(t, "the newer is kept", func() bool {
		p := w.Peers()
		return len(p) == 1 && p[0].Incarnation == 6
	})
	older := dial(4, 100)
	w.awaitRefusal(reasonStale)
	older.Close()
	twin := dial(6, 200)
	w.awaitRefusal(reasonTwin)
	twin.Close()
}

func TestANodeThatDialsItselfGivesUp(t *testing.T) {
	w := newSea(t).start("washington/1")
	if err := w.Connect(w.addr); err != nil {
		t.Fatal(err)
	}
	until(t, "the dial ends", func() bool {
		_, err := w.reach(t.Context(), w.addr)
		return err != nil
	})
	// By another name of its own address it notices by the HELLO.
	u := newSea(t).start("washington/1", at(t, "0.0.0.0:0", 1))
	_, port, _ := net.SplitHostPort(u.addr)
	if err := u.Connect("127.0.0.1:" + port); err != nil {
		t.Fatal(err)
	}
	u.awaitRefusal(reasonSelf)
	if len(u.Peers())+len(w.Peers()) != 0 {
		t.Error("connected to itself")
	}
}

func TestDisconnectForgetsTheAddress(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	w.Disconnect("frankfurt/1")
	w.awaits("down frankfurt/1")
	f.awaits("down washington/1")
	w.mu.Lock()
	wants := len(w.wants)
	w.mu.Unlock()
	if wants != 0 {
		t.Errorf("%d addresses are still wanted", wants)
	}
	f.meets(w) // the other way round it may come back
}

func TestTwoAddressesOfOneNodeAreOneConnection(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	_, port, _ := net.SplitHostPort(f.addr)
	w.meets(f)
	if err := w.Connect("localhost:" + port); err != nil {
		t.Fatal(err)
	}
	l, err := w.reach(t.Context(), "localhost:"+port)
	if err != nil || l != w.linkTo("frankfurt/1") {
		t.Errorf("reached %v, %v", l, err)
	}
	if ups, downs := tally(w.log()); ups != 1 || downs != 0 {
		t.Errorf("%d ups, %d downs", ups, downs)
	}
}

func TestBackoff(t *testing.T) {
	for fails := range 40 {
		low, high := backoff(fails, 0), backoff(fails, 0.999999)
		if low < backoffFirst/2 || high > backoffLast || low >= high {
			t.Errorf("after %d failures: %v to %v", fails, low, high)
		}
		if fails > 0 && backoff(fails, 0.5) < backoff(fails-1, 0.5) {
			t.Errorf("shorter after %d failures", fails)
		}
	}
}

// A cut link is noticed by silence and heals by redial.
func TestACutLinkGoesDownAndHeals(t *testing.T) {
	sea, n := newSea(t), wan.NewNetwork(1, 1)
	n.SetRTT("washington", "frankfurt", 40*time.Millisecond)
	inRegion := func(c *Config, _ *island) { c.Conn = n.Wrap(c.Conn, c.Hello.Region) }
	w, f := sea.start("washington/1", inRegion), sea.start("frankfurt/1", inRegion)
	w.meets(f)
	if rtt := w.RTT("frankfurt/1"); rtt < 40*time.Millisecond {
		t.Errorf("RTT %v over a link of 40 ms", rtt)
	}
	n.Cut("washington", "frankfurt", false)
	before := n.Links()[0].Delivered
	w.awaits("down frankfurt/1")
	f.awaits("down washington/1")
	if after := n.Links()[0].Delivered; after != before {
		t.Errorf("%d packets passed the cut", after-before)
	}
	n.Heal()
	until(t, "up again", func() bool {
		ups, _ := tally(w.log())
		return ups == 2
	})
}

// narrow is a path of 1,280 bytes: what does not fit is lost.
type narrow struct {
	net.PacketConn
	largest, lost *atomic.Int64
}

func (n narrow) WriteTo(b []byte, to net.Addr) (int, error) {
	const room = 1280 - 40 - 8 // IPv6 and UDP headers
	n.largest.Store(max(n.largest.Load(), int64(len(b))))
	if len(b) > room {
		n.lost.Add(1)
		return len(b), nil
	}
	return n.PacketConn.WriteTo(b, to)
}

func TestAPathOf1280BytesCarriesEverything(t *testing.T) {
	sea := newSea(t)
	var largest, lost atomic.Int64
	squeeze := func(c *Config, _ *island) { c.Conn = narrow{c.Conn, &largest, &lost} }
	w, f := sea.start("washington/1", squeeze), sea.start("frankfurt/1", squeeze)
	w.meets(f)
	big := strings.Repeat("b", 1<<20)
	w.Send("frankfurt/1", Eager, 9, []byte(big))
	f.awaits("washington/1 frame 9 " + big)
	full := strings.Repeat("d", MaxDatagram)
	w.SendDatagram("frankfurt/1", []byte(full))
	f.awaits("washington/1 datagram " + full)
	if largest.Load() != packetSize || lost.Load() != 0 {
		t.Errorf("largest packet %d, %d lost", largest.Load(), lost.Load())
	}
}

// noisy flips a bit in some packets and loses others.
type noisy struct {
	net.PacketConn
	mu     *sync.Mutex
	chance *rand.Rand
}

func (n noisy) WriteTo(b []byte, to net.Addr) (int, error) {
	n.mu.Lock()
	flip, bit := n.chance.IntN(10) == 0, n.chance.IntN(len(b)*8)
	n.mu.Unlock()
	if flip {
		b = append([]byte(nil), b...)
		b[bit/8] ^= 1 << (bit % 8)
	}
	return n.PacketConn.WriteTo(b, to)
}

func TestFlippedBitsNeverReachTheHandler(t *testing.T) {
	sea := newSea(t)
	noise := func(c *Config, _ *island) {
		c.Conn = noisy{c.Conn, new(sync.Mutex), rand.New(rand.NewPCG(1, 2))}
	}
	w, f := sea.start("washington/1", noise), sea.start("frankfurt/1", noise)
	if err := w.Connect(f.addr); err != nil {
		t.Fatal(err)
	}
	f.awaits("up washington/1")
	for n := range 500 {
		body := fmt.Sprintf("%d %s", n, strings.Repeat("x", n%300))
		until(t, "queued", func() bool { return w.Send("frankfurt/1", Control, 9, []byte(body)) })
	}
	f.awaits("washington/1 frame 9 499 " + strings.Repeat("x", 499%300))
	next := 0
	for _, e := range f.log() {
		if !strings.Contains(e, " frame ") {
			continue
		}
		want := fmt.Sprintf("washington/1 frame 9 %d %s", next, strings.Repeat("x", next%300))
		if e != want {
			t.Fatalf("frame %d came as %q", next, e)
		}
		next++
	}
	if next != 500 {
		t.Errorf("%d frames", next)
	}
}

// A dozen nodes in one process: all pairs connected once, all gone at the end
// (TestMain looks for goroutines that are left).
func TestManyTransportsInOneProcess(t *testing.T) {
	const nodes = 12
	sea := newSea(t)
	var all []*island
	for n := range nodes {
		all = append(all, sea.start(atoll.NodeID(fmt.Sprintf("r%d/1", n))))
	}
	for _, i := range all {
		for _, o := range all {
			if err := i.Connect(o.addr); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, i := range all {
		until(t, "all pairs are connected", func() bool { return len(i.Peers()) == nodes-1 })
	}
	for n, i := range all {
		o := all[(n+1)%nodes].cfg.Hello.Node
		until(t, "a frame goes round", func() bool {
			i.Send(o, Control, wire.Type(9), []byte("round"))
			return all[(n+1)%nodes].heard(string(i.cfg.Hello.Node) + " frame 9 round")
		})
	}
}
