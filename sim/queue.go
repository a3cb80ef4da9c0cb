package sim

// kind says what an event is.
type kind uint8

const (
	evWake    kind = iota + 1 // a core wants to be woken
	evSync                    // a commit is durable
	evClient                  // a client writes
	evMessage                 // a message arrives
	evAsk                     // the request of a pull arrives
	evPiece                   // the next message of an answer arrives
	evBroken                  // an asker gives a pull up
	evConnect                 // two nodes have shaken hands
	evSilence                 // two nodes have not heard each other for too long
	evFault                   // a fault begins
	evOver                    // a fault ends
	evCalm                    // faults and clients stop
	evProbe                   // do the replicas agree?
	evDown                    // a core hears that a peer is down
	evLayout                  // a core hears who the members are
	evRefit                   // a fenced node gets a new origin
	evLook                    // a look at the laws of the values
)

// event is something that will happen. Its node must still be in the same run
// of its process, if run is not 0.
type event struct {
	at         int64 // virtual microseconds since the run began
	seq        uint64
	kind       kind
	replay     bool // a message that was there before
	run        int32
	node, peer int32
	n          uint64
	ref        any
}

// stalls reports whether e waits while the process of its node stands still.
func (e *event) stalls() bool {
	switch e.kind {
	case evWake, evSync, evMessage, evPiece, evBroken, evDown, evLayout, evRefit:
		return true
	}
	return false
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.seq < f.seq
}

// queue is a binary heap of events by (at, seq).
type queue struct {
	heap []event
	seq  uint64
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// pop takes the earliest event; there is one.
func (q *queue) pop() event {
	top := q.heap[0]
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = event{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}
