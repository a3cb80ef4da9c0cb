package transport

import (
	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// Send queues one frame for a node and reports whether it was queued: false when
// there is no connection, when the lane is full, or when the body is over
// wire.MaxFrame. It never waits and copies the body. A refused frame is counted
// in atoll_transport_dropped_total. A queued frame still gets lost if the
// connection ends before it is delivered.
func (t *Transport) Send(to atoll.NodeID, lane Lane, typ wire.Type, body []byte) bool {
	if l := t.linkTo(to); l != nil && l.lanes[lane].push(typ, body) {
		return true
	}
	t.metrics.dropped.WithLabelValues(lane.String()).Inc()
	return false
}

// SendDatagram queues one datagram of at most MaxDatagram bytes for a node and
// reports whether it was queued. It never waits and copies b. Datagrams get
// lost.
func (t *Transport) SendDatagram(to atoll.NodeID, b []byte) bool {
	l := t.linkTo(to)
	if l == nil || len(b) > MaxDatagram {
		t.metrics.dropped.WithLabelValues("datagram").Inc()
		return false
	}
	return l.datagram(append([]byte{poolHandler}, b...))
}
