package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQueue compares the heap with a list that is sorted each time.
func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q queue
	var naive []event
	for i := range 5000 {
		if rng.IntN(5) < 3 || len(naive) == 0 {
			e := event{at: rng.Int64N(50), n: uint64(i)}
			q.push(e)
			naive = append(naive, e)
			continue
		}
		// A stable sort keeps those of one time in the order of their coming.
		slices.SortStableFunc(naive, func(a, b event) int { return int(a.at - b.at) })
		got := q.pop()
		if got.at != naive[0].at || got.n != naive[0].n {
			t.Fatalf("pop %d: event %d at %d, want %d at %d", i, got.n, got.at, naive[0].n, naive[0].at)
		}
		naive = naive[1:]
	}
	if len(q.heap) != len(naive) {
		t.Errorf("%d events left, want %d", len(q.heap), len(naive))
	}
}

func TestQueueLetsGoOfWhatItGave(t *testing.T) {
	var q queue
	q.push(event{at: 1, ref: "first"})
	q.push(event{at: 2, ref: "second"})
	q.pop()
	q.pop()
	for _, e := range q.heap[:2] {
		if e.ref != nil {
			t.Errorf("the queue still holds %v", e.ref)
		}
	}
}
