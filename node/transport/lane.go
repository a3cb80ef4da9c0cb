package transport

import (
	"sync"

	"github.com/atolledge/atoll/replication/wire"
)

// keepBuffer is the most that a lane holds on to while it is idle, in bytes.
const keepBuffer = 256 << 10

// lane is the queue in front of a kept stream: frames as they will be written,
// one behind the other, so that all that wait go out in one write.
type lane struct {
	wake chan struct{} // one pending wake is enough

	mu     sync.Mutex
	buf    []byte
	frames int // in buf
	closed bool
	bytes  int // the limits
	max    int
}

func newLane(which Lane) *lane {
	limits := laneLimits[which]
	return &lane{wake: make(chan struct{}, 1), bytes: limits.bytes, max: limits.frames}
}

// push queues a frame, or reports that the lane is full or closed. It copies
// the body.
func (q *lane) push(t wire.Type, body []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(body) > wire.MaxFrame || q.frames >= q.max ||
		len(q.buf)+len(body) > q.bytes {
		return false
	}
	q.buf = wire.AppendFrame(q.buf, t, body)
	q.frames++
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all that waits and the number of frames in it. It goes on with
// the storage of spare, which the caller has done with.
func (q *lane) take(spare []byte) ([]byte, int) {
	if cap(spare) > keepBuffer {
		spare = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	full, n := q.buf, q.frames
	q.buf, q.frames = spare[:0], 0
	return full, n
}

// size returns the bytes that wait.
func (q *lane) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.buf)
}

// close refuses further frames and returns how many were still waiting.
func (q *lane) close() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.frames
	q.buf, q.frames, q.closed = nil, 0, true
	return n
}
