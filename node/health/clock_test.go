package health

import (
	"fmt"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"pgregory.net/rapid"
)

// TestClocks has a node compare its clock with peers that are ahead by so much.
func TestClocks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		peers []time.Duration // what their clocks are ahead of the own one
		want  time.Duration
		off   bool
	}{
		{"alone", nil, 0, false},
		{"one other that differs proves nothing", []time.Duration{-3 * time.Second}, 0, false},
		{"two others agree against it", []time.Duration{-800e6, -900e6}, 800e6, true},
		{"two others disagree on both sides", []time.Duration{-900e6, 900e6}, 0, false},
		{"exactly the limit", []time.Duration{-500e6, -500e6}, 500e6, false},
		{"behind", []time.Duration{600e6, 600e6, 700e6}, -600e6, true},
		{"one wrong clock among four", []time.Duration{5e6, -2e6, 9e9}, 0, false},
		{"one far and three near", []time.Duration{-9e9, 4e6, 5e6, 6e6}, -4e6, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newClockWorld(tt.peers)
			s := w.round()
			if s.Offset != tt.want || s.Off != tt.off || len(s.Peers) != len(tt.peers) {
				t.Errorf("got %v, off %v, of %d peers; want %v, %v", s.Offset, s.Off, len(s.Peers), tt.want, tt.off)
			}
		})
	}
}

// TestClockSteps sets the own clock while the node runs: it shows at the next
// look, without a new sample, and goes when the clock is set right, later than
// it came.
func TestClockSteps(t *testing.T) {
	w := newClockWorld([]time.Duration{0, 0})
	w.round()
	for _, step := range []struct {
		own time.Duration
		off bool
	}{{0, false}, {499e6, false}, {501e6, true}, {450e6, true}, {400e6, false}, {450e6, false}, {-time.Hour, true}, {0, false}} {
		w.own = step.own
		s := w.known.Judge(w.now, w.wall())
		if s.Offset != step.own || s.Off != step.off {
			t.Errorf("own clock ahead by %v: judged %v, off %v, want %v", step.own, s.Offset, s.Off, step.off)
		}
	}
}

// TestClockNoise delays questions and answers at random: the judgement is off by
// at most half of the shortest round trip, and old peers are forgotten.
func TestClockNoise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ahead := time.Duration(rapid.IntRange(-2000, 2000).Draw(t, "ahead")) * time.Millisecond
		w := newClockWorld([]time.Duration{ahead, ahead})
		shortest := map[int]time.Duration{}
		for range rapid.IntRange(1, clockSamples).Draw(t, "rounds") {
			for i := range w.peers {
				there := time.Duration(rapid.IntRange(0, 400).Draw(t, "there")) * time.Millisecond
				back := time.Duration(rapid.IntRange(0, 400).Draw(t, "back")) * time.Millisecond
				w.ask(i, there, back)
				if s, ok := shortest[i]; !ok || there+back < s {
					shortest[i] = there + back
				}
			}
		}
		s := w.known.Judge(w.now, w.wall())
		if wrong := (s.Offset + ahead).Abs(); wrong > max(shortest[0], shortest[1])/2 {
			t.Fatalf("judged %v, is %v, round trips %v", s.Offset, -ahead, shortest)
		}
		w.now += clockFresh + 1
		if s := w.known.Judge(w.now, w.wall()); len(s.Peers) != 0 || s.Offset != 0 || len(w.known.peers) != 0 {
			t.Fatalf("peers that answer no more still count: %+v", s)
		}
	})
}

// TestClockNonsense feeds answers that nobody asked for.
func TestClockNonsense(t *testing.T) {
	var c Clocks
	for _, sent := range []time.Duration{-1, -1 << 63, 2 * time.Hour, 1<<63 - 1, 0} {
		c.Observe("tokyo/1", sent, time.Hour, time.Unix(1<<40, 0))
	}
	if s := c.Judge(time.Hour, time.Unix(0, 0)); len(s.Peers) != 0 {
		t.Errorf("believes %v", s)
	}
}

// clockWorld is one node's stopwatch and clock, and the clocks of its peers.
type clockWorld struct {
	known Clocks
	now   time.Duration
	own   time.Duration   // what the own clock is ahead of the true time
	peers []time.Duration // theirs
}

func newClockWorld(peers []time.Duration) *clockWorld {
	return &clockWorld{now: time.Minute, peers: peers}
}

func (w *clockWorld) wall() time.Time { return time.Unix(1_700_000_000, 0).Add(w.now + w.own) }

// ask sends a question to a peer that takes there and its answer back.
func (w *clockWorld) ask(i int, there, back time.Duration) {
	sent := w.now
	w.now += there
	shown := time.Unix(1_700_000_000, 0).Add(w.now + w.peers[i])
	w.now += back
	w.known.Observe(atoll.NodeID(fmt.Sprintf("r%d/1", i)), sent, w.now, shown)
}

// round asks each peer once, over ways of the same length.
func (w *clockWorld) round() Skew {
	for i := range w.peers {
		w.ask(i, 40*time.Millisecond, 40*time.Millisecond)
	}
	return w.known.Judge(w.now, w.wall())
}
