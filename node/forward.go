package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// Limits of reads that another node answers.
const (
	maxForwards = 64 // of this node at once: pages are held in memory
	maxAsked    = 3  // nodes asked for one of them

	// forwardTimeout is how long all of them together may take: a round trip round
	// the world and a page of documents.
	forwardTimeout = 5 * time.Second

	// nextAfter is how long one of them may take before the next is asked as well.
	nextAfter = 500 * time.Millisecond

	// answerWait is how long a node that is asked waits for what the session has
	// seen. Others are asked meanwhile, and there is nobody to pass it on to.
	answerWait = time.Second
)

// forward has a node answer that covers what a session has seen. request makes a
// frame of wire that is part of a trace. If nobody can, the answer is behind, what
// kept this node from answering. Its Page names the node, also beside an error.
func (n *Node) forward(
	ctx context.Context, t token, ks atoll.Keyspace, trace atoll.Trace,
	request func(atoll.Trace) []byte, behind error,
) (atoll.Page, error) {
	if atoll.KindOf(behind) != atoll.BehindSession {
		return atoll.Page{}, behind
	}
	m := n.monitor.metrics
	select {
	case n.forwards <- struct{}{}:
		defer func() { <-n.forwards }()
	default:
		m.forwards.WithLabelValues("busy").Inc()
		return atoll.Page{}, behind
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel() // those who are late are told to stop
	page, err := n.askInTurn(ctx, n.covering(ctx, t), func(to atoll.NodeID) (atoll.Page, error) {
		own, end := n.span(trace, "read at another node", atoll.SpanClient)
		page, err := n.askRead(ctx, to, request(own))
		end(err, about(ks, to)...)
		page.Node = to
		n.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "asked another node for a read",
			slog.String("node", string(to)), slog.String("trace", trace.Hex()), slog.Any("err", err))
		return page, err
	})
	if err == errNobody {
		m.forwards.WithLabelValues("nobody").Inc()
		return atoll.Page{}, behind
	}
	m.forwards.WithLabelValues("answered").Inc()
	return page, err
}

// errNobody says that no node that was asked could answer.
var errNobody = errors.New("no other node covers the session")

// askInTurn asks one node after the other, the next one when the one before has
// failed or says nothing for nextAfter, and returns the first answer.
func (n *Node) askInTurn(
	ctx context.Context, nodes []atoll.NodeID, ask func(atoll.NodeID) (atoll.Page, error),
) (atoll.Page, error) {
	type answer struct {
		page atoll.Page
		err  error
	}
	answers := make(chan answer, len(nodes))
	next := time.NewTimer(0)
	defer next.Stop()
	for asked, failed := 0, 0; failed < len(nodes); {
		select {
		case <-ctx.Done():
			return atoll.Page{}, errNobody
		case <-next.C:
			if asked == len(nodes) {
				continue
			}
			to := nodes[asked]
			asked++
			next.Reset(nextAfter)
			n.work.Go(func() {
				page, err := ask(to)
				answers <- answer{page, err}
			})
		case a := <-answers:
			switch atoll.KindOf(a.err) {
			case atoll.BehindSession, atoll.ShuttingDown, atoll.Internal:
				failed++ // another may know more
				next.Reset(0)
				continue
			}
			return a.page, a.err
		}
	}
	return atoll.Page{}, errNobody
}

// covering returns the connected nodes that may have what a session has seen, at
// most maxAsked, the likeliest first: who is known to have all of it, then who
// wrote what is missing here, then the others, each nearest first.
func (n *Node) covering(ctx context.Context, t token) (nodes []atoll.NodeID) {
	peers := n.transport.Peers()
	slices.SortStableFunc(peers, func(a, b transport.Peer) int {
		return cmp.Compare(n.transport.RTT(a.Node), n.transport.RTT(b.Node))
	})
	add := func(origins ...atoll.Origin) {
		for _, p := range peers {
			if slices.Contains(origins, p.Origin) && !slices.Contains(nodes, p.Node) {
				nodes = append(nodes, p.Node)
			}
		}
	}
	if t.pinned != 0 {
		add(t.pinned)
		return nodes
	}
	_ = n.loop.look(ctx, func(c *replication.Core) { add(c.Holders(t.needs)...) })
	add(n.missingFrom(t)...)
	for _, p := range peers {
		add(p.Origin)
	}
	return nodes[:min(len(nodes), maxAsked)]
}

// missingFrom returns the origins whose dots a session has seen and this replica
// has not.
func (n *Node) missingFrom(t token) (origins []atoll.Origin) {
	v := n.store.Snapshot()
	defer v.Close()
	for _, need := range t.needs {
		for r := range need.Clock.Minus(replication.ClockIn(v, need.Address)) {
			origins = append(origins, r.Origin)
		}
	}
	return origins
}

// askRead sends a read to a peer and collects its answer. What the peer refuses
// is the error; beside it, the page has the session that covers the refusal.
func (n *Node) askRead(
	ctx context.Context, to atoll.NodeID, request []byte,
) (page atoll.Page, err error) {
	stream, err := n.transport.OpenRead(ctx, to, request)
	if err != nil {
		return page, err
	}
	defer stream.Close()
	for {
		t, body, err := stream.Next()
		if err != nil {
			return atoll.Page{}, unanswered(to, err)
		}
		switch t {
		case wire.TypeDocument:
			d, err := wire.DecodeDocument(bytes.Clone(body))
			if err != nil || len(page.Items) == atoll.MaxPage {
				return atoll.Page{}, unanswered(to, cmp.Or(err, io.ErrShortBuffer))
			}
			page.Items = append(page.Items, d)
		case wire.TypeAnswered:
			a, err := wire.DecodeAnswered(body)
			if err != nil {
				return atoll.Page{}, unanswered(to, err)
			}
			page.Session, page.Next = a.Session, a.Next
			return page, nil
		case wire.TypeRefused:
			r, err := wire.DecodeRefused(body)
			if err != nil {
				return atoll.Page{}, unanswered(to, err)
			}
			return atoll.Page{Session: r.Session},
				atoll.Errorf(r.Kind, "%s", r.Detail).WithHint(r.Hint)
		}
	}
}

func unanswered(to atoll.NodeID, err error) error {
	return atoll.Errorf(atoll.BehindSession, "%s did not answer a read", to).Because(err)
}

// answerRead is the transport's handler of reads: it answers a client of a peer,
// from here or not at all.
func (n *Node) answerRead(
	ctx context.Context, from atoll.NodeID, req []byte, w *transport.PullWriter,
) error {
	t, body, err := wire.NewReader(bytes.NewReader(req), transport.MaxPullRequest).Next()
	if err != nil {
		return err
	}
	var trace string
	var ks atoll.Keyspace
	var serve func() (atoll.Page, error)
	switch t {
	case wire.TypeRead:
		var r wire.Read
		r, err = wire.DecodeRead(body)
		trace, ks = r.Trace, r.Keyspace
		serve = func() (atoll.Page, error) { return n.readForPeer(ctx, r) }
	case wire.TypeList:
		var l wire.List
		l, err = wire.DecodeList(body)
		trace, ks = l.Trace, l.Keyspace
		serve = func() (atoll.Page, error) { return n.listForPeer(ctx, l) }
	default:
		return errors.New("a read of a later version")
	}
	if err != nil {
		n.monitor.metrics.malformed.Inc()
		return err
	}
	asked, _ := atoll.ParseTrace(trace)
	_, end := n.span(asked, "read for another node", atoll.SpanServer)
	page, err := serve()
	end(err, about(ks, from)...)
	n.monitor.metrics.answered.Inc()
	n.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "answered a read of another node's client",
		slog.String("node", string(from)), slog.String("trace", asked.Hex()), slog.Any("err", err))
	return writeAnswer(w, page, err)
}

func (n *Node) readForPeer(ctx context.Context, r wire.Read) (atoll.Page, error) {
	token, err := n.covered(ctx, r.Session)
	if err != nil {
		return atoll.Page{}, err
	}
	d, err := n.readHere(atoll.Read{Keyspace: r.Keyspace, Key: r.Key}, token)
	page := atoll.Page{Session: d.Session}
	if err == nil {
		page.Items = []atoll.Document{d}
	}
	return page, err
}

func (n *Node) listForPeer(ctx context.Context, l wire.List) (atoll.Page, error) {
	token, err := n.covered(ctx, l.Session)
	if err != nil {
		return atoll.Page{}, err
	}
	return n.listHere(atoll.Listing{
		Keyspace: l.Keyspace, Prefix: l.Prefix, After: l.After, Limit: l.Limit,
	}, token)
}

// covered reads a token, and waits if this replica does not cover it.
func (n *Node) covered(ctx context.Context, session atoll.Token) (token, error) {
	t, err := parseToken(session)
	if err == nil {
		err = n.caughtUp(ctx, t, answerWait)
	}
	return t, err
}

// writeAnswer sends a page, or err as a client is to see it.
func writeAnswer(w *transport.PullWriter, page atoll.Page, err error) error {
	if err != nil {
		refused := wire.Refused{Kind: atoll.KindOf(err), Session: page.Session}
		if e, ok := errors.AsType[*atoll.Error](err); ok {
			refused.Detail, refused.Hint = e.Detail, e.Hint
		}
		return w.Frame(wire.TypeRefused, wire.AppendRefused(nil, refused))
	}
	var body []byte
	for _, d := range page.Items {
		body = wire.AppendDocument(body[:0], d)
		if err := w.Frame(wire.TypeDocument, body); err != nil {
			return err
		}
	}
	return w.Frame(wire.TypeAnswered,
		wire.AppendAnswered(nil, wire.Answered{Session: page.Session, Next: page.Next}))
}
