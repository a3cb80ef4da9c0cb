package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
	"github.com/atolledge/atoll/sim/check"
	"github.com/atolledge/atoll/sim/dist"
)

// The network's times, in virtual microseconds but for maxDelay.
const (
	maxDelay    = 60_000    // ms, of anything a plan may ask for
	localRTT    = 500       // between nodes of one region
	idleTimeout = 4_000_000 // until a silent peer is called down, as QUIC does it
	pieceTime   = 50        // between two messages of an answer

	burstTime  = 250_000    // of one moment, bad or good
	burstLoss  = 900_000    // ppm, in a bad one
	replayTime = 30_000_000 // within which a replayed message comes again
	maxBacklog = 1_000_000  // what waits longer for a slow link is dropped
	maxRate    = 10_000_000 // kbit/s
)

// link is one direction between two nodes.
type link struct {
	cuts  int32 // faults that cut it
	slow  int64 // µs that faults add
	free  int64 // when all that was sent has left, where the rate has a limit
	sent  uint64
	pulls uint64
}

// pair is what two nodes are to each other.
type pair struct {
	whole bool   // both run and hear each other
	apart bool   // no link of the overlay is between them
	epoch uint64 // of whole
}

// network is all links and pairs, by from*nodes+to; pairs by the lower first.
type network struct {
	links []link
	pairs []pair
	extra *dist.Dist // of delays, nil without
}

func (w *world) link(a, b int32) *link { return &w.net.links[int(a)*len(w.nodes)+int(b)] }

func (w *world) pair(a, b int32) *pair {
	return &w.net.pairs[int(min(a, b))*len(w.nodes)+int(max(a, b))]
}

// rtt returns the round trip between two nodes without faults.
func (w *world) rtt(a, b int32) int64 {
	x, y := w.regions[a], w.regions[b]
	if x == y {
		return localRTT
	}
	return w.plan.RTT[x][y] * 1000
}

// cut reports whether nothing comes through from a to b. Links of a core that
// has been healed are whole.
func (w *world) cut(a, b int32) bool { return w.link(a, b).cuts > 0 && !w.inside(a, b) }

// inside reports whether the links between two nodes have been healed as those
// of the core.
func (w *world) inside(a, b int32) bool { return w.core != nil && w.core[a] && w.core[b] }

// delay throws for how long one message takes.
func (w *world) delay(a, b int32, d *dice) int64 {
	t := w.rtt(a, b)/2 + d.throw(w.plan.Links.Jitter*1000) + w.nodes[a].drag + w.nodes[b].drag
	if d.in(w.plan.Links.Late) {
		t += 3 * w.rtt(a, b)
	}
	if !w.inside(a, b) {
		t += w.link(a, b).slow
	}
	if w.net.extra != nil {
		t += w.net.extra.Draw(d.bits(), d.bits()) / 1000
	}
	return max(t, 1)
}

// fate is what becomes of one message on a link: it comes once, or not, or
// again. It depends on nothing but the link, the message's number on it and,
// for bursts, the moment.
type fate struct {
	lost, corrupt, twice, replayed bool
	dice                           dice
}

func (w *world) fate(a, b *node, nth uint64) (f fate) {
	l := &w.plan.Links
	d := w.chance.draw(ofLink, a.key, b.key, nth)
	f.lost, f.twice = d.in(l.Loss), d.in(l.Dup)
	f.replayed, f.corrupt = d.in(l.Replay), d.in(l.Corrupt)
	in := d.throw(million) < burstLoss
	if l.Burst > 0 {
		m := w.chance.draw(ofBurst, a.key, b.key, uint64(w.now/burstTime))
		f.lost = f.lost || in && m.in(l.Burst)
	}
	f.dice = d
	return f
}

// send puts messages on their way to connected peers.
func (w *world) send(n *node, sends []replication.Send) {
	for i := range sends {
		to := w.byID[sends[i].To]
		l := w.link(n.index, to)
		l.sent++
		w.sent++
		if n.peers[to] == 0 || w.cut(n.index, to) {
			continue
		}
		w.traffic.send(sends[i].Message)
		f := w.fate(n, w.nodes[to], l.sent)
		m, wait, ok := w.transmit(n.index, to, sends[i].Message)
		if !ok {
			continue
		}
		e := event{kind: evMessage, run: n.peers[to], node: to, peer: n.index, n: uint64(n.run), ref: m}
		w.note(f.corrupt, corruptDropped)
		if e.at = w.now + wait + w.delay(n.index, to, &f.dice); !f.lost && !f.corrupt {
			w.queue.push(e)
		}
		if e.at = w.now + wait + w.delay(n.index, to, &f.dice); f.twice {
			w.queue.push(e)
		}
		if e.at = w.now + wait + f.dice.throw(replayTime); f.replayed {
			e.replay = true
			w.queue.push(e)
		}
	}
}

// transmit sends a message through its bytes, if the plan asks for that, and
// queues it on a link with a limit: wait is how long that takes. It is not ok if
// the queue is too long.
func (w *world) transmit(from, to int32, m replication.Message) (out replication.Message,
	wait int64, ok bool) {
	if !w.plan.Wire {
		return m, 0, true
	}
	t, b := wire.Append(w.bytes[:0], m)
	w.bytes = b
	out, err := wire.Decode(t, slices.Clone(b))
	if err != nil {
		w.violate(&check.Violation{Property: check.Laws, At: w.elapsed(), Node: w.nodes[from].self.Node,
			Detail: fmt.Sprintf("a %T cannot be read from its bytes: %v", m, err)})
		return m, 0, true
	}
	if t2, again := wire.Append(nil, out); t2 != t || !bytes.Equal(b, again) {
		w.violate(&check.Violation{Property: check.Laws, At: w.elapsed(), Node: w.nodes[from].self.Node,
			Detail: fmt.Sprintf("a %T read from its bytes has others", m)})
	}
	rate := w.plan.Links.Rate
	if rate == 0 || w.regions[from] == w.regions[to] {
		return out, 0, true
	}
	l := w.link(from, to)
	start := max(l.free, w.now)
	if start-w.now > maxBacklog {
		w.note(true, backlogDropped)
		return nil, 0, false
	}
	l.free = start + int64(len(b)+frameCost)*8*1000/rate
	return out, l.free - w.now, true
}

// frameCost is what a message costs on the way beside its bytes.
const frameCost = 60

// message delivers what arrives over a link that is whole, on the connection on
// which it was sent.
func (w *world) message(n *node, e *event) {
	if w.cut(e.peer, e.node) || n.peers[e.peer] != int32(e.n) {
		return
	}
	w.delivered++
	w.note(e.replay, replayArrived)
	from := w.nodes[e.peer].self
	w.do(n, replication.Receive{From: from.Node, Message: e.ref.(replication.Message)})
	if _, ok := e.ref.(replication.Marks); ok && n.suspect && n.up && !n.core.Fenced() {
		w.trust(n, e.peer)
	}
}

// stream is one pull: its request, then its answer in order.
type stream struct {
	asker, source *node
	run           int32 // of the asker
	sourceRun     int32
	session       replication.SessionID
	request       replication.Pull
	answer        []replication.Message
	breaks        int // place in answer before which the stream breaks, or -1
	dice          dice
}

func (w *world) openPull(n *node, o *replication.OpenPull) {
	source := w.nodes[w.byID[o.To]]
	l := w.link(n.index, source.index)
	l.pulls++
	s := &stream{asker: n, source: source, run: n.run, session: o.Session, request: o.Pull,
		dice: w.chance.draw(ofPull, n.key, source.key, l.pulls)}
	if !w.flowing(s) {
		w.giveUp(s)
		return
	}
	w.traffic.send(o.Pull)
	w.queue.push(event{at: w.now + w.delay(n.index, source.index, &s.dice), kind: evAsk,
		node: source.index, peer: n.index, ref: s})
}

// flowing reports whether a stream's ends run and hear each other.
func (w *world) flowing(s *stream) bool {
	return w.pair(s.asker.index, s.source.index).whole &&
		(s.sourceRun == 0 || s.sourceRun == s.source.run)
}

// giveUp breaks a stream: its asker hears of it after a while.
func (w *world) giveUp(s *stream) {
	w.queue.push(event{at: w.now + idleTimeout, kind: evBroken, run: s.run, node: s.asker.index,
		ref: s})
}

// asked answers a pull from what is durable at its source at this instant.
func (w *world) asked(s *stream) {
	if !w.flowing(s) {
		w.giveUp(s)
		return
	}
	s.sourceRun = s.source.run
	w.answerPull(s)
	if b, ok := s.answer[0].(replication.Begin); ok && b.Full {
		w.full++
	}
	s.breaks = -1
	if s.dice.in(w.plan.Links.Break) {
		s.breaks = int(s.dice.throw(int64(len(s.answer))))
	}
	w.nextPiece(s, w.delay(s.source.index, s.asker.index, &s.dice))
}

// answerPull collects the answer. What is not durable is not there meanwhile.
func (w *world) answerPull(s *stream) {
	n := s.source
	if !w.flaws.dirty {
		takeBack(n.disk.state, n.waiting)
		takeBack(n.disk.state, n.syncing)
		defer func() {
			for _, outs := range [...][]pending{n.syncing, n.waiting} {
				for i := range outs {
					n.disk.state.Apply(outs[i].out.Writes)
				}
			}
		}()
	}
	_ = replication.Answer(n.disk.state, s.request, func(m replication.Message) error {
		m, _, _ = w.transmit(n.index, n.index, m) // streams do not queue
		s.answer = append(s.answer, m)
		return nil
	})
}

func (w *world) nextPiece(s *stream, after int64) {
	w.queue.push(event{at: w.now + after, kind: evPiece, node: s.asker.index,
		peer: s.source.index, ref: s})
}

// piece hands the next message of an answer to its asker.
func (w *world) piece(s *stream) {
	n := s.asker
	switch {
	case !n.up || n.run != s.run && !w.flaws.ghostly:
		return // the process that asked is gone
	case !w.flowing(s) || s.breaks == 0:
		w.giveUp(s)
		return
	}
	s.breaks--
	m := s.answer[0]
	s.answer = s.answer[1:]
	w.traffic.send(m)
	w.do(n, replication.PullEvent{Session: s.session, Message: m})
	if len(s.answer) > 0 {
		w.nextPiece(s, pieceTime+s.dice.throw(pieceTime))
	}
}

// reconsider looks at all pairs of a node after it, or a link of it, has changed.
func (w *world) reconsider(n *node) {
	for _, m := range w.nodes {
		if m != n {
			w.reconsiderPair(n, m)
		}
	}
}

// reconsiderPair begins a handshake where two nodes can hear each other again,
// and the wait for silence to be noticed where they no longer can.
func (w *world) reconsiderPair(a, b *node) {
	p := w.pair(a.index, b.index)
	if p.apart {
		return
	}
	cut := w.cut(a.index, b.index) || w.cut(b.index, a.index)
	whole := a.up && b.up && a.paused+b.paused == 0 && !cut
	if whole == p.whole {
		return
	}
	p.whole = whole
	p.epoch++
	e := event{at: w.now + idleTimeout, kind: evSilence, node: a.index, peer: b.index, n: p.epoch}
	if whole {
		e.at, e.kind = w.now+w.rtt(a.index, b.index), evConnect
	}
	w.queue.push(e)
}

// connect tells both ends of each other, unless the connection has survived.
func (w *world) connect(e *event) {
	a, b := w.nodes[e.node], w.nodes[e.peer]
	if e.n != w.pair(a.index, b.index).epoch {
		return
	}
	if a.peers[b.index] == b.run && b.peers[a.index] == a.run {
		return
	}
	for _, x := range [...][2]*node{{a, b}, {b, a}} {
		x[0].peers[x[1].index] = x[1].run
		w.do(x[0], replication.PeerUp{Member: x[1].self})
	}
}

// silence lets both ends notice that they have not heard each other for too long.
func (w *world) silence(e *event) {
	a, b := w.nodes[e.node], w.nodes[e.peer]
	if e.n != w.pair(a.index, b.index).epoch {
		return
	}
	for _, x := range [...][2]*node{{a, b}, {b, a}} {
		if x[0].up && x[0].peers[x[1].index] != 0 {
			w.queue.push(event{at: w.now, kind: evDown, run: x[0].run, node: x[0].index,
				peer: x[1].index, n: uint64(x[0].peers[x[1].index])})
		}
	}
}

// gone tells a core that a run of a peer is no longer heard.
func (w *world) gone(n *node, e *event) {
	if n.peers[e.peer] == int32(e.n) {
		n.peers[e.peer] = 0
		w.do(n, replication.PeerDown{Node: w.nodes[e.peer].self.Node})
	}
}

// index maps node ids to their places.
func index(nodes []Node) map[atoll.NodeID]int32 {
	m := make(map[atoll.NodeID]int32, len(nodes))
	for i, n := range nodes {
		m[n.ID] = int32(i)
	}
	return m
}
