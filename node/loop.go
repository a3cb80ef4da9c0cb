package node

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
)

// Limits of the loop.
const (
	inputQueue = 1024      // inputs that wait; more hold their senders up
	batchKeys  = 1024      // keys of one commit
	batchBytes = 256 << 10 // bytes of one commit, but for the step that passes it
)

// loop is the goroutine that owns the core. Inputs come in one at a time; what
// they write is gathered while the commit before is being synced, and what they
// say leaves when it is durable. There is no timer in the group commit.
type loop struct {
	core    *replication.Core
	store   *store.Store
	live    *store.Live
	clock   func() time.Time
	log     *slog.Logger
	inputs  chan input
	done    chan struct{} // closed when the loop has ended
	commits chan []replication.Write
	results chan error

	wake       time.Time
	lastID     uint64
	callers    map[uint64]chan<- replication.Reply
	gathered   []replication.Output // effects of the steps since the last seal
	underway   []replication.Output // effects that wait for the commit under way
	committing bool

	durable func([]replication.Write) error // the store's Commit
	release func(replication.Output)        // carries the effects out; not the replies
	dropped func([]replication.Dropped)     // hears of them before they are durable
	load    load
}

// input is one input of the core, or a look at it by the loop's goroutine.
type input struct {
	in     replication.Input
	caller chan<- replication.Reply // of Mutate and Await; has room for one
	look   func(*replication.Core)
}

func newLoop(s *store.Store, self replication.Member, clock func() time.Time,
	rng *rand.Rand, log *slog.Logger,
) *loop {
	l := &loop{
		store: s, live: s.Live(), clock: clock, log: log, durable: s.Commit,
		inputs: make(chan input, inputQueue), done: make(chan struct{}),
		commits: make(chan []replication.Write, 1), results: make(chan error, 1),
		callers: make(map[uint64]chan<- replication.Reply), load: newLoad(),
	}
	l.core = replication.New(replication.Config{
		Self: self, View: l.live, Rand: rng, Chunk: 256, Keep: keepEntries,
	}, clock())
	return l
}

// run works until ctx ends or the disk fails, and returns why. Everything that
// was gathered before is committed and answered.
func (l *loop) run(ctx context.Context) error {
	defer close(l.done)
	go l.commit()
	defer close(l.commits)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		in := l.inputs
		if keys, size := l.live.Gathered(); keys >= batchKeys || size >= batchBytes {
			in = nil // the next commit is full: those who send wait
		}
		select {
		case x := <-in:
			l.step(x)
			l.drain()
		case <-timer.C:
			l.step(input{in: replication.Wake{}})
		case err := <-l.results:
			if err != nil {
				return err
			}
			l.committed()
		case <-ctx.Done():
			return l.finish()
		}
		if err := l.live.Err(); err != nil {
			return err // what was decided on a failed read must not become durable
		}
		l.seal()
		timer.Reset(max(l.wake.Sub(l.clock()), 0))
	}
}

// drain takes what else is waiting, so that it shares a commit.
func (l *loop) drain() {
	for range inputQueue {
		if keys, size := l.live.Gathered(); keys >= batchKeys || size >= batchBytes {
			return
		}
		select {
		case x := <-l.inputs:
			l.step(x)
		default:
			return
		}
	}
}

func (l *loop) step(x input) {
	if x.look != nil {
		x.look(l.core)
		return
	}
	now := l.clock()
	if l.refuse(now, &x) {
		return
	}
	out := l.core.Step(now, x.in)
	l.wake = out.Wake
	l.dropped(out.Dropped)
	l.live.Add(out.Writes)
	if out.Fenced != "" {
		l.log.Error("this node must not write any more", "why", out.Fenced)
		l.live.Add([]replication.Write{store.Fence(l.origin())})
	}
	if out.Expelled {
		l.live.Add([]replication.Write{store.Expel(l.origin())})
	}
	l.gathered = append(l.gathered, out)
}

func (l *loop) origin() atoll.Origin { return l.core.Self().Origin }

// refuse turns away what would add to a disk that is below its reserve, and
// gives calls their ids. What peers sent comes again with a pull.
func (l *loop) refuse(now time.Time, x *input) bool {
	switch in := x.in.(type) {
	case mutation:
		l.lastID++
		in.Mutate.ID = l.lastID
		if err := l.store.Full(now); err != nil && !in.deletes {
			x.caller <- replication.Reply{Err: err}
			return true
		}
		l.callers[l.lastID] = x.caller
		x.in = in.Mutate
	case replication.Await:
		l.lastID++
		in.ID = l.lastID
		l.callers[l.lastID] = x.caller
		x.in = in
	case replication.Yield:
		l.lastID++
		in.ID = l.lastID
		l.callers[l.lastID] = x.caller
		x.in = in
	case replication.Receive:
		if _, ok := in.Message.(replication.Delta); ok {
			return l.store.Full(now) != nil
		}
	case replication.PullEvent:
		if l.store.Full(now) != nil {
			x.in = replication.PullFailed{Session: in.Session}
		}
	}
	return false
}

// mutation is a Mutate; deletes says that it needs no space.
type mutation struct {
	replication.Mutate
	deletes bool
}

// seal hands the gathered batch to the committer if that is idle. What needs no
// commit leaves at once.
func (l *loop) seal() {
	if l.committing || len(l.gathered) == 0 {
		return
	}
	l.underway, l.gathered = l.gathered, l.underway[:0]
	if keys, _ := l.live.Gathered(); keys == 0 {
		l.carryOut()
		return
	}
	l.committing = true
	l.commits <- l.live.Seal()
}

// commit is the committer's goroutine.
func (l *loop) commit() {
	for writes := range l.commits {
		begun := l.clock()
		err := l.durable(writes)
		l.load.committed(len(writes), l.clock().Sub(begun))
		l.results <- err
	}
}

func (l *loop) committed() {
	l.committing = false
	l.live.Committed()
	l.carryOut()
}

// carryOut does what the durable steps asked for.
func (l *loop) carryOut() {
	for i := range l.underway {
		out := &l.underway[i]
		l.release(*out)
		for _, r := range out.Replies {
			if caller, ok := l.callers[r.ID]; ok {
				delete(l.callers, r.ID)
				caller <- r
			}
		}
		*out = replication.Output{}
	}
	l.underway = l.underway[:0]
}

// finish commits what was gathered before the end.
func (l *loop) finish() error {
	for l.committing || len(l.gathered) > 0 {
		l.seal()
		if l.committing {
			if err := <-l.results; err != nil {
				return err
			}
			l.committed()
		}
	}
	return nil
}

// feed gives the core an input; false when the loop has ended.
func (l *loop) feed(ctx context.Context, in replication.Input) bool {
	return l.enqueue(ctx, input{in: in}) == nil
}

// call feeds an input and waits for its Reply.
func (l *loop) call(ctx context.Context, in replication.Input) (replication.Reply, error) {
	caller := make(chan replication.Reply, 1)
	if err := l.enqueue(ctx, input{in: in, caller: caller}); err != nil {
		return replication.Reply{}, err
	}
	select {
	case r := <-caller:
		return r, r.Err
	case <-ctx.Done():
		return replication.Reply{}, atoll.Errorf(atoll.ShuttingDown,
			"the request ended before its answer").Because(ctx.Err())
	case <-l.done:
	}
	select {
	case r := <-caller: // the last commit answered before the loop ended
		return r, r.Err
	default:
		return replication.Reply{}, errStopped()
	}
}

// look runs f on the core between two steps and waits for it.
func (l *loop) look(ctx context.Context, f func(*replication.Core)) error {
	looked := make(chan struct{})
	err := l.enqueue(ctx, input{look: func(c *replication.Core) { f(c); close(looked) }})
	if err != nil {
		return err
	}
	select {
	case <-looked:
		return nil
	case <-l.done:
		return errStopped()
	}
}

func (l *loop) enqueue(ctx context.Context, x input) error {
	select {
	case l.inputs <- x:
		return nil
	case <-l.done:
		return errStopped()
	case <-ctx.Done():
		return atoll.Errorf(atoll.ShuttingDown, "the request ended before it was taken").
			Because(ctx.Err())
	}
}

func errStopped() error {
	return atoll.Errorf(atoll.ShuttingDown, "this node is stopping").
		WithHint("another node of the cluster will answer")
}
