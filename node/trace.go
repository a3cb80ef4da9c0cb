package node

import (
	"io"

	"github.com/atolledge/atoll"
)

// newTrace returns a trace for work that nobody asked for. It is looked at if
// anything is: such work is rare.
func (n *Node) newTrace() (t atoll.Trace) {
	if n.cfg.Spans != nil {
		t.Sampled = true
		_, _ = io.ReadFull(n.cfg.Random, t.ID[:]) // a cryptographic source does not fail
	}
	return t
}

// span begins a piece of work below t. What it returns goes along to those who are
// asked for more; end tells of it. Nothing is told of a trace that nobody looks at.
func (n *Node) span(
	t atoll.Trace, name string, kind atoll.SpanKind,
) (own atoll.Trace, end func(error, ...atoll.Attribute)) {
	if n.cfg.Spans == nil || !t.Sampled {
		return t, func(error, ...atoll.Attribute) {}
	}
	span := atoll.Span{Trace: t, Parent: t.Span, Name: name, Kind: kind, Begin: n.cfg.Clock()}
	_, _ = io.ReadFull(n.cfg.Random, span.Trace.Span[:])
	return span.Trace, func(err error, attributes ...atoll.Attribute) {
		span.End, span.Attributes = n.cfg.Clock(), attributes
		if err != nil {
			span.Failed = string(atoll.KindOf(err))
		}
		n.cfg.Spans(span)
	}
}

// about are the attributes of work on a keyspace with another node.
func about(ks atoll.Keyspace, peer atoll.NodeID) []atoll.Attribute {
	return []atoll.Attribute{
		{Key: "db.collection.name", Value: string(ks)}, {Key: "atoll.peer", Value: string(peer)},
	}
}
