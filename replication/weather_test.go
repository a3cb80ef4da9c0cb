package replication

import (
	"bytes"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// weather is how a schedule treats its world: the first five are weights out of
// a hundred events, the rest of which are packets.
type weather struct {
	write, wake, commit, crash, cut int

	events  int  // at most, beside the first 20
	nodes   int  // at least
	tick    int  // at most this many milliseconds pass with each event
	lost    int  // packets out of ten
	doubled int  // packets out of ten
	broken  int  // one answer in so many breaks off
	ambush  int  // askers out of ten that crash when their answer begins
	slow    int  // messages of answers out of ten that have to wait
	dawdle  int  // wakes out of ten that a full pull does not get once it is being applied
	deletes int  // operations out of ten that only remove
	trades  int  // writes out of ten that are on the bounded counter
	counts  int  // of the others, out of ten: those on the counter
	keep    int  // index entries that stay when all have passed them
	expires int  // writes out of ten that set a deadline
	skew    int  // at most this many milliseconds is a clock wrong
	wins    bool // deletes win, and nodes disagree on who is elected
	whole   bool // a cut takes the whole index
	source  bool // cuts are made at node 0 only
	lapse   int  // weight: a node hears that nobody waits for one any more, or again
	part    int  // weight: a node is forgotten, and one after the other hears of it
}

// weathers are taken in turn by seed. Each makes other coincidences likely.
var weathers = []weather{
	{
		write: 22, wake: 18, commit: 20, crash: 2, cut: 2, events: 120, nodes: 2, tick: 60,
		lost: 1, doubled: 1, broken: 4, deletes: 1, trades: 2, counts: 4,
	},
	// Deltas are lost and indexes are gone: much comes by full pulls.
	{
		write: 20, wake: 16, commit: 18, crash: 1, cut: 6, events: 120, nodes: 3, tick: 60,
		lost: 6, broken: 4, deletes: 3, trades: 2, counts: 2, whole: true,
	},
	// Processes end while answers are under way.
	{
		write: 8, wake: 14, commit: 18, events: 300, nodes: 2, tick: 120,
		lost: 3, broken: 20, ambush: 5, slow: 7, deletes: 1, counts: 1,
	},
	// Full pulls take long to apply, and others pull from there meanwhile.
	{
		write: 8, wake: 16, commit: 16, cut: 3, events: 300, nodes: 3, tick: 120,
		lost: 4, broken: 20, dawdle: 9, deletes: 3, counts: 1, whole: true, source: true,
	},
	// Counters and their resets, with time for tidying up.
	{
		write: 20, wake: 18, commit: 20, crash: 1, cut: 1, events: 120, nodes: 3, tick: 250,
		lost: 4, broken: 5, deletes: 1, counts: 9, keep: 3, lapse: 5,
	},
	// A node is forgotten, dead or alive, while deltas are lost.
	{
		write: 20, wake: 18, commit: 20, crash: 1, cut: 1, events: 200, nodes: 3, tick: 200,
		lost: 5, doubled: 2, broken: 6, deletes: 5, counts: 3, part: 4,
	},
	// Stock is sold out, while rights move and processes end.
	{
		write: 22, wake: 16, commit: 20, crash: 3, events: 160, nodes: 2, tick: 60,
		lost: 2, doubled: 1, broken: 5, deletes: 1, counts: 2, trades: 9,
	},
	// Documents expire and are extended, and no two clocks show the same.
	{
		write: 20, wake: 26, commit: 20, crash: 1, events: 160, nodes: 2, tick: 120,
		lost: 2, broken: 10, slow: 3, deletes: 1, counts: 2, expires: 7, skew: 900,
	},
	// Deletes win, with time for cleaning up.
	{
		write: 18, wake: 26, commit: 20, crash: 1, cut: 1, events: 200, nodes: 2, tick: 120,
		lost: 3, doubled: 1, broken: 10, slow: 3, deletes: 3, expires: 1, wins: true,
	},
}

// event does one random thing.
func (w *world) event() {
	i := w.rng.IntN(len(w.nodes))
	r := w.nodes[i]
	w.now = w.now.Add(time.Duration(w.rng.IntN(w.odds.tick)) * time.Millisecond)
	x := w.rng.IntN(100)
	of := func(weight int) bool { x -= weight; return x < 0 }
	if w.parted.dead(i) {
		return
	}
	switch {
	case of(w.odds.write):
		if !w.parted.lost(i) {
			w.write(i)
		}
	case of(w.odds.part):
		w.partOrHear(i)
	case of(w.odds.lapse):
		w.lapsed = nil
		if w.rng.IntN(3) > 0 {
			w.lapsed = append(w.lapsed, w.nodes[w.rng.IntN(len(w.nodes))].member.Origin)
		}
		w.step(i, w.layout(i))
	case of(w.odds.wake):
		g := r.core.find(testAddress).stage
		if g == nil || g.cursor == "" || w.rng.IntN(10) >= w.odds.dawdle {
			w.step(i, Wake{})
		}
	case of(w.odds.commit):
		w.commit(i, w.rng.IntN(len(r.pending)+1))
	case of(w.odds.crash):
		w.crash(i)
	case of(w.odds.cut):
		w.cut(i)
	case len(w.net) > 0:
		w.pass(w.rng.IntN(len(w.net)))
	}
}

// pass delivers the k-th packet, or it is lost or doubled.
func (w *world) pass(k int) {
	y := w.rng.IntN(10)
	switch {
	case w.away(w.net[k].from) || w.away(w.net[k].to):
		w.sink(k)
	case w.net[k].session != 0:
		if !w.net[k].answered || w.rng.IntN(10) >= w.odds.slow {
			w.deliver(k)
		}
	case y < w.odds.lost:
		w.lose(k)
	case y < w.odds.lost+w.odds.doubled:
		w.net = append(w.net, w.net[k])
	default:
		w.deliver(k)
	}
}

// cut drops a part of node i's index, or all of it.
func (w *world) cut(i int) {
	if w.odds.source {
		i = 0
	}
	c := w.nodes[i].core.Clock(testAddress)
	runs := c.Runs()
	if w.odds.whole {
		for _, r := range runs {
			w.step(i, Cut{testAddress, r})
		}
	} else if len(runs) > 0 {
		r := runs[w.rng.IntN(len(runs))]
		r.Last = r.First + w.rng.Uint64N(r.Len())
		w.step(i, Cut{testAddress, r})
	}
}

// change is what one write does to its document.
type change struct {
	inc     *increment
	removes bool       // what was counted: a reset or a deletion
	alive   []crdt.Dot // what it saw of a document that was not past its deadline
}

// write makes one random change of one document at node i.
func (w *world) write(i int) {
	if w.rng.IntN(10) < w.odds.trades {
		w.trade(i)
		return
	}
	key := keyAt(w.rng.IntN(testKeys))
	var ch change
	w.change(i, key, &ch, func(e *crdt.Edit) error {
		w.begin(e, &ch)
		for range 1 + w.rng.IntN(2) {
			if err := w.operate(e, key, &ch); err != nil {
				return err
			}
		}
		w.extend(e)
		return nil
	})
}

// delete removes all of a document that node i sees.
func (w *world) delete(i int, key atoll.Key) {
	w.change(i, key, &change{removes: true}, func(e *crdt.Edit) error {
		e.Drop(func(*crdt.Entry) bool { return true })
		e.ResetCounters(func(crdt.Path) bool { return true })
		return nil
	})
}

// change carries one change out and tells the oracle.
func (w *world) change(i int, key atoll.Key, ch *change, make func(*crdt.Edit) error) {
	out := w.step(i, Mutate{ID: 1, Keyspace: testSpace, Key: key, Edit: make})
	for _, reply := range out.Replies {
		if reply.ID != 1 {
			continue
		}
		dot := first(reply.Dots)
		w.edited(i, edit{key: key, dot: dot, alive: ch.alive})
		if ch.removes && dot.Seq > 0 {
			w.oracle.reset(key, dot, w.nodes[i].core.seen(w.nodes[i].core.find(testAddress), key))
		}
		if ch.inc != nil {
			ch.inc.dot = dot
			w.oracle.incs = append(w.oracle.incs, ch.inc)
		}
	}
}

// begin does what a node does before each change: what is past its deadline goes.
func (w *world) begin(e *crdt.Edit, ch *change) {
	if e.Doc().Expired(e.Time().Wall()) {
		crdt.Delete(e)
		ch.removes = true
		return
	}
	ch.alive = dots(*e.Doc())
}

// extend sets a deadline, sooner or later than the one that is there.
func (w *world) extend(e *crdt.Edit) {
	if w.rng.IntN(10) < w.odds.expires && e.Doc().Visible() {
		e.SetDeadline(e.Time().Wall().Add(time.Duration(w.rng.IntN(2500)) * time.Millisecond))
	}
}

// operate makes one random operation. A counter changes once in a write.
func (w *world) operate(e *crdt.Edit, key atoll.Key, ch *change) error {
	if w.odds.wins && w.rng.IntN(10) < w.odds.deletes {
		crdt.DeleteWins(e)
		return nil
	}
	if ch.inc == nil && w.rng.IntN(10) < w.odds.deletes {
		e.Drop(func(*crdt.Entry) bool { return true })
		e.ResetCounters(func(crdt.Path) bool { return true })
		ch.removes = true
		return nil
	}
	count := w.rng.IntN(10) < w.odds.counts
	switch x := w.rng.IntN(4); {
	case count && x > 0 && ch.inc == nil && !ch.removes:
		ch.inc = &increment{key: key, by: int64(w.rng.IntN(9) - 3)}
		return e.Inc(counterPath, ch.inc.by)
	case count && x == 0 && ch.inc == nil:
		e.ResetCounters(func(p crdt.Path) bool { return p == counterPath })
		ch.removes = true
	case x == 0:
		w.element(e)
	default:
		w.assign(e)
	}
	return nil
}

// assign writes a register and an existence cell, removing what it sees there.
func (w *world) assign(e *crdt.Edit) {
	p := crdt.Path("").Child("ab"[w.rng.IntN(2):][:1])
	e.Drop(func(x *crdt.Entry) bool { return x.Path == p || x.Path == "" })
	e.Add("", crdt.Existence, nil)
	e.Add(p, crdt.Register, []byte{byte('0' + w.rng.IntN(10))})
}

// element adds a member to a set, or removes what it sees of it.
func (w *world) element(e *crdt.Edit) {
	p, v := crdt.Path("").Child("s"), []byte{"123"[w.rng.IntN(3)]}
	e.Drop(func(x *crdt.Entry) bool { return x.Path == p && bytes.Equal(x.Value, v) })
	if w.rng.IntN(3) > 0 {
		e.Add(p, crdt.Element, v)
	}
}
