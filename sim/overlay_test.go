package sim

import (
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll/replication"
)

// line is an overlay of five in a row, in two regions: news cross them one by one.
const line = `
version: 1
name: line
topology:
  regions: {a: 3, b: 2}
  rtt: {a-b: 20}
  overlay: [[1], [0, 2], [1, 3], [2, 4], [3]]
links: {traffic: true}
workload: {clients: 3, rate: 4, keys: 9, mix: {put: 1, inc: 1, grow: 3}}
phases: {chaos: 10s, settle: 20s}
`

// TestOverlayCopies: on whole links each other replica gets one copy.
func TestOverlayCopies(t *testing.T) {
	p, err := parsed(t, line).Plan(4)
	if err != nil {
		t.Fatal(err)
	}
	r := Run(p, nil)
	want := uint64(r.Writes * 4)
	if !r.OK || r.Writes < 100 || r.Traffic.Copies() != want || r.Pulls > 0 {
		t.Errorf("ok %v, %d writes, %d copies, want %d; %d pulls", r.OK, r.Writes,
			r.Traffic.Copies(), want, r.Pulls)
	}
	if x := r.Traffic; x.Bytes() < x.DeltaBytes || x.DeltaBytes <= x.ChangeBytes || x.NoticeBytes == 0 {
		t.Errorf("traffic %+v", x)
	}
}

// TestOverlayFaults: nodes that hear their neighbours only agree all the same
// when links lose and break and nodes crash, and speak to nobody else.
func TestOverlayFaults(t *testing.T) {
	text := strings.Replace(line, "links: {", "links: {loss: 20%, dup: 5%, late: 5%, break: 10%, ", 1) +
		"faults: {random: {every: 1s, last: 2s, kinds: {partition: 3, oneway: 1, crash: 2, trim: 1}}}\n"
	text = strings.Replace(text, "settle: 20s", "settle: 60s", 1) // five hops, a fifth of all lost
	pulls := uint64(0)
	for seed := range uint64(20) {
		p, err := parsed(t, text).Plan(seed)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(p, flaws{})
		for !w.over && len(w.queue.heap) > 0 {
			e := w.queue.pop()
			w.now = e.at
			w.handle(&e)
			if e.kind == evMessage && !slices.Contains(p.Overlay, [2]int{
				int(min(e.node, e.peer)), int(max(e.node, e.peer)),
			}) {
				t.Fatalf("seed %d: %d hears %d, which is no neighbour", seed, e.node, e.peer)
			}
		}
		if r := w.result(); !r.OK {
			t.Errorf("seed %d: %v", seed, r.Violations)
		} else {
			pulls += r.Pulls
		}
	}
	if pulls == 0 {
		t.Error("nothing was lost: the test shows nothing")
	}
}

// TestDelay: a distribution of delays holds messages up, and nothing else does.
func TestDelay(t *testing.T) {
	p, err := parsed(t, strings.Replace(line, "links: {",
		"links: {delay: [{share: 25%, fixed: 3}, {share: 75%, uniform: {from: 10, to: 11.5}}], ", 1)).Plan(1)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(p, flaws{})
	short, long := 0, 0
	for n := range uint64(10_000) {
		d := w.chance.draw(ofLink, 0, 1, n)
		switch t := w.delay(0, 1, &d); {
		case t == localRTT/2+3000:
			short++
		case t >= localRTT/2+10_000 && t < localRTT/2+11_500:
			long++
		}
	}
	if short+long != 10_000 || short < 2300 || short > 2700 {
		t.Errorf("%d of 3 ms, %d of 10 to 11.5 ms", short, long)
	}
}

// TestCheckOverlay: a plan may come from a file that nobody made from a scenario.
func TestCheckOverlay(t *testing.T) {
	for _, c := range []struct {
		links [][2]int
		ok    bool
	}{
		{nil, true},
		{[][2]int{{0, 1}, {2, 1}, {3, 2}, {3, 4}}, true},
		{[][2]int{{4, 0}, {4, 1}, {2, 3}, {4, 3}}, true},
		{[][2]int{{0, 1}, {1, 2}, {2, 0}, {3, 4}}, false},
		{[][2]int{{0, 5}}, false},
		{[][2]int{{-1, 0}}, false},
		{[][2]int{{1, 1}}, false},
	} {
		p, err := parsed(t, line).Plan(1)
		if err != nil {
			t.Fatal(err)
		}
		p.Overlay = c.links
		if err := p.Check(); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.links, err)
		}
	}
}

// TestTrafficCounts each sort of message where it belongs.
func TestTrafficCounts(t *testing.T) {
	var x Traffic
	x.send(replication.Delta{})
	x.send(replication.Pull{})
	x.send(replication.Begin{})
	x.send(replication.Doc{})
	x.send(replication.End{})
	x.send(replication.Heads{})
	x.send(replication.Ack{})
	if x.Deltas != 1 || x.Pulled != 1 || x.Copies() != 2 {
		t.Errorf("%+v", x)
	}
	if x.PullBytes < 8 || x.NoticeBytes < 4 || x.DeltaBytes < 3 || x.ChangeBytes >= x.DeltaBytes {
		t.Errorf("%+v", x)
	}
}
