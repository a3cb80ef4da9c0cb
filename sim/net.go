package sim

import (
	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/sim/dist"
)

// The network's times, in virtual microseconds but for maxDelay.
const (
	maxDelay    = 60_000    // ms, of anything a plan may ask for
	localRTT    = 500       // between nodes of one region
	idleTimeout = 4_000_000 // until a silent peer is called down, as QUIC does it
	pieceTime   = 50        // between two messages of an answer
)

// link is one direction between two nodes.
type link struct {
	cuts  int32 // faults that cut it
	slow  int64 // µs that faults add
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

// delay throws for how long one message takes.
func (w *world) delay(a, b int32, d *dice) int64 {
	t := w.rtt(a, b)/2 + w.link(a, b).slow + d.throw(w.plan.Links.Jitter*1000)
	if d.in(w.plan.Links.Late) {
		t += 3 * w.rtt(a, b)
	}
	if w.net.extra != nil {
		t += w.net.extra.Draw(d.bits(), d.bits()) / 1000
	}
	return max(t, 1)
}

// send puts messages on their way to connected peers.
func (w *world) send(n *node, sends []replication.Send) {
	for i := range sends {
		to := w.byID[sends[i].To]
		l := w.link(n.index, to)
		l.sent++
		if n.peers[to] == 0 || l.cuts > 0 {
			continue
		}
		w.traffic.send(sends[i].Message)
		d := w.chance.draw(ofLink, uint64(n.index), uint64(to), l.sent)
		lost, twice := d.in(w.plan.Links.Loss), d.in(w.plan.Links.Dup)
		e := event{kind: evMessage, run: n.peers[to], node: to, peer: n.index,
			ref: sends[i].Message}
		if e.at = w.now + w.delay(n.index, to, &d); !lost {
			w.queue.push(e)
		}
		if e.at = w.now + w.delay(n.index, to, &d); twice {
			w.queue.push(e)
		}
	}
}

// message delivers what arrives over a link that is whole.
func (w *world) message(n *node, e *event) {
	if w.link(e.peer, e.node).cuts > 0 {
		return
	}
	w.delivered++
	w.do(n, replication.Receive{From: w.nodes[e.peer].member.Node,
		Message: e.ref.(replication.Message)})
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
		dice: w.chance.draw(ofPull, uint64(n.index), uint64(source.index), l.pulls)}
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
	_ = replication.Answer(s.source.durable, s.request, func(m replication.Message) error {
		s.answer = append(s.answer, m)
		return nil
	})
	if b, ok := s.answer[0].(replication.Begin); ok && b.Full {
		w.full++
	}
	s.breaks = -1
	if s.dice.in(w.plan.Links.Break) {
		s.breaks = int(s.dice.throw(int64(len(s.answer))))
	}
	w.nextPiece(s, w.delay(s.source.index, s.asker.index, &s.dice))
}

func (w *world) nextPiece(s *stream, after int64) {
	w.queue.push(event{at: w.now + after, kind: evPiece, node: s.asker.index,
		peer: s.source.index, ref: s})
}

// piece hands the next message of an answer to its asker.
func (w *world) piece(s *stream) {
	n := s.asker
	switch {
	case !n.up || n.run != s.run:
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
	cut := w.link(a.index, b.index).cuts+w.link(b.index, a.index).cuts > 0
	whole := a.up && b.up && !cut
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
		w.do(x[0], replication.PeerUp{Member: x[1].member})
	}
}

// silence tells both ends that they have not heard each other for too long.
func (w *world) silence(e *event) {
	a, b := w.nodes[e.node], w.nodes[e.peer]
	if e.n != w.pair(a.index, b.index).epoch {
		return
	}
	for _, x := range [...][2]*node{{a, b}, {b, a}} {
		if x[0].up && x[0].peers[x[1].index] != 0 {
			x[0].peers[x[1].index] = 0
			w.do(x[0], replication.PeerDown{Node: x[1].member.Node})
		}
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
