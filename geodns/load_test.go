package geodns

import (
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// TestNeverEmptyWhileStatesFlip asks from many sides while regions come and
// go: each answer is that of one state, and none is empty.
func TestNeverEmptyWhileStatesFlip(t *testing.T) {
	w := newIslands()
	s := newServer(t, w)
	addr := start(t, s)
	stop := make(chan struct{})
	var flipper, clients sync.WaitGroup
	flipper.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			states := []string{"", "tokyo:down", "tokyo:drained", "tokyo:down frankfurt:down"}
			w.set(strings.Fields(states[i%4])...)
			s.Refresh()
		}
	})
	for i := range 6 {
		network := []string{"udp", "tcp"}[i%2]
		clients.Go(func() { askMany(t, network, addr) })
	}
	clients.Wait()
	close(stop)
	flipper.Wait()
}

func askMany(t *testing.T, network, addr string) {
	want := map[string]bool{
		"NOERROR aa 127.0.3.1 /8": true, "NOERROR aa 127.0.2.1 /8": true,
		"NOERROR /8 127.0.1.1 127.0.1.2 aa": true,
	}
	c := dns.Client{Net: network}
	for range 150 {
		r, _, err := c.Exchange(parseLine("www.atoll.test. A 1.2.3.0/24"), addr)
		if err != nil {
			t.Errorf("%s: %v", network, err)
			return
		}
		if got := brief(r); !want[got] && !want[sorted(got)] {
			t.Errorf("%s: %s", network, got)
			return
		}
	}
}

// TestGarbageIsDroppedAndCounted floods the socket with noise, then asks.
func TestGarbageIsDroppedAndCounted(t *testing.T) {
	s := newServer(t, newIslands())
	addr := start(t, s)
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(7, 7))
	const noise = 300
	for i := range noise {
		b := make([]byte, []int{0, 1, 11, 12, 40, 512, 9000}[i%7])
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if len(b) > 2 {
			b[2] |= 0x80 // an answer: the only noise that must never be answered
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		// One at a time, so that the kernel need not drop any.
		for seen := 0.0; seen < float64(i+1) && t.Context().Err() == nil; {
			seen = value(s.metrics.dropped[dropShort]) + value(s.metrics.dropped[dropResponse])
		}
	}
	if got := brief(ask(t, "udp", addr, "www.atoll.test. A 1.2.3.0/24")); got != "NOERROR aa 127.0.3.1 /8" {
		t.Errorf("after the noise: %s", got)
	}
	short := value(s.metrics.dropped[dropShort])
	if want := float64(strings.Count(strings.Repeat("xxx....", noise/7+1)[:noise], "x")); short != want {
		t.Errorf("%v short packets, want %v", short, want)
	}
}
