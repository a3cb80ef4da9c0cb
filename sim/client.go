package sim

import (
	"fmt"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/sim/check"
)

// patience is how long a request waits for its session, or for its durability.
const patience = 2 * time.Second

// request is what a client waits for.
type request struct {
	client int
	nth    uint64
	op     check.OpID
	wrote  bool // op is there
	await  bool // the session first, then the request itself
	level  atoll.Level
}

// session is what a client's token names, by partition, and whether the client
// waits for a node that has it.
type session struct {
	clocks  []crdt.Clock
	waiting bool
}

// nextWrite plans the n-th request of a client.
func (w *world) nextWrite(client int, n uint64) {
	home := w.plan.Workload.Clients[client]
	if home == "" {
		return
	}
	d := w.chance.draw(ofClient, uint64(client), n, 0)
	gap := w.plan.Workload.Gap * 1000
	at := w.now + gap/2 + d.throw(gap) + 1
	if at >= w.plan.Chaos*1000 {
		return
	}
	w.queue.push(event{at: at, kind: evClient, n: n, peer: int32(client), node: w.byID[home]})
}

// request lets a client make its n-th request. Where its node does not serve, it
// fails; a client that roams takes its session to any node.
func (w *world) request(n *node, client int, nth uint64) {
	if w.calm {
		return
	}
	w.nextWrite(client, nth+1)
	roams := w.plan.Workload.Roam
	if d := w.chance.draw(ofClient, uint64(client), nth, 2); d.in(roams) {
		n = w.nodes[d.throw(int64(len(w.nodes)))]
	}
	s := &w.work.sessions[client]
	if !n.up || n.paused > 0 || n.suspect || s.waiting {
		return
	}
	r := &request{client: client, nth: nth}
	if roams == 0 || s.clocks == nil {
		w.serve(n, r)
		return
	}
	in := replication.Await{ID: w.requestID(n, r), Deadline: w.clock(n).Add(patience)}
	for k := range s.clocks {
		if !s.clocks[k].Empty() {
			in.Needs = append(in.Needs, replication.Need{Clock: s.clocks[k].Clone(),
				Address: replication.Address{Keyspace: w.plan.Workload.Keyspace, Partition: k}})
		}
	}
	r.await, s.waiting = true, true
	w.do(n, in)
}

// requestID keeps a request until its answer.
func (w *world) requestID(n *node, r *request) uint64 {
	w.requests++
	n.open[w.requests] = r
	return w.requests
}

// answer handles replies: to a session that is here now, to a write.
func (w *world) answer(n *node, replies []replication.Reply) {
	for i := range replies {
		r := n.open[replies[i].ID]
		if r == nil {
			continue
		}
		delete(n.open, replies[i].ID)
		w.done(r)
		switch {
		case replies[i].Err != nil:
			w.note(r.await, sessionBehind)
			w.note(!r.await && r.level != atoll.Level{}, levelMissed)
		case r.await && !w.calm:
			r.await = false
			w.serve(n, r)
		case !r.await:
			w.acknowledge(n, r)
		}
	}
}

// done lets a client go on whose session has been found, or not.
func (w *world) done(r *request) {
	if r.await {
		w.work.sessions[r.client].waiting = false
	}
}

// acknowledge tells a client that its write is as durable as it asked for.
func (w *world) acknowledge(n *node, r *request) {
	w.acked++
	if !r.wrote {
		return
	}
	w.history.Ack(r.op)
	if r.level != (atoll.Level{}) {
		w.note(true, levelReached)
		w.violate(w.reached(n, r))
	}
}

// reached checks that a level is true: the write is on the disks that count. A
// disk that has been rolled back or lost may have held it.
func (w *world) reached(n *node, r *request) *check.Violation {
	o := w.history.Op(r.op)
	k := replication.PartitionOf(w.plan.Workload.Keyspace, o.Key)
	regions := make(map[atoll.Region]bool)
	for _, m := range w.nodes {
		has := m.swapped || !m.member
		if b := m.disk.parts[k].clock; !has && b != nil {
			c, _, _ := crdt.DecodeClock(b)
			has = c.HasRun(o.Dots)
		}
		regions[m.self.Region] = regions[m.self.Region] || has
		if r.level.All && !has && m.minted == 1 {
			return &check.Violation{Property: check.Durability, At: w.elapsed(), Node: n.self.Node,
				Key: o.Key, Detail: fmt.Sprintf("acknowledged as durable everywhere; %s does not have it",
					m.self.Node)}
		}
	}
	count := 0
	for _, has := range regions {
		if has {
			count++
		}
	}
	if count < r.level.Regions {
		return &check.Violation{Property: check.Durability, At: w.elapsed(), Node: n.self.Node,
			Key: o.Key, Detail: fmt.Sprintf("acknowledged as durable in %d regions; it is in %d",
				r.level.Regions, count)}
	}
	return nil
}

// serve does what a client asks for.
func (w *world) serve(n *node, r *request) {
	d := w.chance.draw(ofClient, uint64(r.client), r.nth, 1)
	key := w.key(&d)
	kind := d.among(w.work.mix)
	ks := w.plan.Workload.Keyspace
	a := replication.Address{Keyspace: ks, Partition: replication.PartitionOf(ks, key)}
	if w.plan.Workload.Roam > 0 {
		clock := n.core.Clock(a)
		w.violate(w.history.Serve(w.elapsed(), r.client, n.self.Node, key, clock.Has))
	}
	if kind == len(w.work.mix)-1 {
		w.read(n, r, a, key)
		return
	}
	w.write(n, r, a, key, kind, &d)
}

// read looks at a document and remembers what it has seen.
func (w *world) read(n *node, r *request, a replication.Address, key atoll.Key) {
	clock := n.core.Clock(a)
	if !replication.Staging(n.disk.state, a) {
		d := w.doc(n, key)
		w.violate(w.history.Look(w.elapsed(), n.self.Node, key, &d, clock.Has))
	}
	if w.plan.Workload.Roam > 0 {
		w.history.Read(r.client, key, clock.Has)
		w.remember(r.client, a, clock)
	}
}

// remember puts what a client has seen into its session.
func (w *world) remember(client int, a replication.Address, c crdt.Clock) {
	s := &w.work.sessions[client]
	if s.clocks == nil {
		s.clocks = make([]crdt.Clock, a.Keyspace.Partitions())
	}
	s.clocks[a.Partition].Join(c)
}

// write makes one change.
func (w *world) write(n *node, r *request, a replication.Address, key atoll.Key, kind int, d *dice) {
	op := check.Op{Node: n.self.Node, Key: key, At: w.elapsed(), Counter: counter}
	edit := operation(fmt.Sprintf("%d-%d", r.client, r.nth), kind, d, &op)
	if d.in(w.plan.Workload.Levels) {
		levels := [...]atoll.Level{{Region: true}, {Regions: min(2, len(w.plan.Regions))}, {All: true}}
		r.level = levels[d.throw(int64(len(levels)))]
	}
	var before crdt.Doc
	w.writes++
	self := n.self.Origin
	had := n.core.Max(a, self)
	p := w.step(n, replication.Mutate{
		ID: w.requestID(n, r), Keyspace: a.Keyspace, Key: key, Level: r.level,
		Deadline: w.clock(n).Add(patience),
		Edit: func(e *crdt.Edit) error {
			before = *e.Doc()
			return edit(e)
		},
	})
	if now := n.core.Max(a, self); now > had {
		op.Dots = crdt.Run{Origin: self, First: had + 1, Last: now}
		op.Before, op.After = &before, &p.out.Changes[0].Doc
		r.op, r.wrote = w.history.Record(op), true
		p.ops = append(p.ops, r.op)
		w.violate(w.punctual(n, &op))
		if w.plan.Workload.Roam > 0 {
			w.history.Wrote(r.client, r.op)
			w.remember(r.client, a, crdt.ClockOf(op.Dots))
		}
	}
	w.commit(n, p)
}

// punctual checks the time of a write: not before its node's clock, and not
// later than the most that any of its sources may show.
func (w *world) punctual(n *node, o *check.Op) *check.Violation {
	n.ahead = max(n.ahead, w.offset(n))
	clock := w.clock(n)
	most := epoch.Add(time.Duration(w.now+n.ahead)*time.Microsecond + hlc.MaxAhead + time.Millisecond)
	for i := range o.After.Entries {
		x := &o.After.Entries[i]
		if x.Dot.Origin != o.Dots.Origin || x.Dot.Seq < o.Dots.First {
			continue
		}
		if x.Time < hlc.At(clock) || x.Time > hlc.At(most) {
			return &check.Violation{Property: check.ClockBound, At: w.elapsed(), Node: n.self.Node,
				Key: o.Key, Detail: fmt.Sprintf("written at %v by a clock that shows %v and was at most %v ahead",
					x.Time.Wall(), clock, time.Duration(n.ahead)*time.Microsecond)}
		}
	}
	return nil
}
