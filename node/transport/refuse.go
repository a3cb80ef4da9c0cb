package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// reason says in atoll_transport_refused_total why something was turned away.
type reason string

const (
	reasonGarbage     reason = "garbage"      // packets that are no QUIC of ours
	reasonHandshake   reason = "handshake"    // no TLS 1.3, no ALPN, given up
	reasonCertificate reason = "certificate"  // none, of another CA, names no node
	reasonHello       reason = "hello"        // none in time, or malformed
	reasonIdentity    reason = "identity"     // HELLO and certificate differ
	reasonCluster     reason = "cluster"      // another cluster's name or CA
	reasonVersion     reason = "wire-version" // no common wire version
	reasonSelf        reason = "self"         // a node that dials itself
	reasonStale       reason = "stale"        // an older process of a known node
	reasonTwin        reason = "twin"         // two nodes of one name
	reasonFrame       reason = "frame"        // a frame too large, cut or malformed
	reasonStream      reason = "stream"       // a stream of no known kind, or twice
	reasonDatagram    reason = "datagram"     // a datagram of no known pool
	reasonPull        reason = "pull"         // a pull's request over its limit
	reasonSilent      reason = "silent"       // an answer that goes on no more
	reasonBusy        reason = "busy"         // over a limit of what is under way
)

// metrics are one transport's, so that several fit in one process.
type metrics struct {
	registry prometheus.Registerer
	refused  *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	frames   *prometheus.CounterVec
	writes   *prometheus.CounterVec
	packed   *prometheus.CounterVec
	dials    prometheus.Counter
	peers    prometheus.Gauge
	queues   []prometheus.Collector // of watch
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help},
			[]string{label})
	}
	m := &metrics{
		registry: registry,
		refused: vec("atoll_transport_refused_total",
			"Peers, streams, frames and packets turned away, by reason.", "reason"),
		dropped: vec("atoll_transport_dropped_total",
			"Frames and datagrams not sent: not connected, queue full, connection lost.", "lane"),
		frames: vec("atoll_transport_frames_total", "Frames handed to QUIC, by lane.", "lane"),
		writes: vec("atoll_transport_writes_total",
			"Writes to QUIC, by lane: all frames that wait go in one.", "lane"),
		packed: vec("atoll_transport_packed_bytes_total",
			"Bytes of frames to other regions that were compressed, before and after.", "when"),
		dials: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_transport_dial_failures_total", Help: "Dials that led to no connection."}),
		peers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_transport_peers", Help: "Nodes with which there is a connection."}),
	}
	m.preset()
	if registry == nil {
		return m, nil
	}
	return m, m.register(m.all())
}

// preset makes the series that alerts look at before they are counted: an
// increase from nothing is none.
func (m *metrics) preset() {
	for _, r := range []reason{reasonCertificate, reasonIdentity, reasonCluster, reasonTwin} {
		m.refused.WithLabelValues(string(r))
	}
	for lane := range lanes {
		for _, v := range []*prometheus.CounterVec{m.dropped, m.frames, m.writes} {
			v.WithLabelValues(lane.String())
		}
	}
}

// register registers all or none.
func (m *metrics) register(list []prometheus.Collector) error {
	for _, c := range list {
		if err := m.registry.Register(c); err != nil {
			m.unregister()
			return err
		}
	}
	return nil
}

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{
		m.refused, m.dropped, m.frames, m.writes, m.packed, m.dials, m.peers,
	}, m.queues...)
}

// watch adds what waits in the queues to all peers; they are looked at when
// somebody asks for the metrics.
func (m *metrics) watch(t *Transport) error {
	gauge := func(name, help, lane string, value func() int) {
		m.queues = append(m.queues, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"lane": lane},
		}, func() float64 { return float64(value()) }))
	}
	for lane := range lanes {
		gauge("atoll_transport_queue_bytes", "Bytes of frames that wait for QUIC, by lane.",
			lane.String(), func() int { return t.queued(lane) })
	}
	gauge("atoll_transport_queue_datagrams", "Datagrams that wait for QUIC.", "datagram",
		t.queuedDatagrams)
	if m.registry == nil {
		return nil
	}
	return m.register(m.queues)
}

// unregister lets a node of the same name start again in this process.
func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.all() {
		m.registry.Unregister(c)
	}
}

// Limits of the refusal log: one line per peer, reason and noticeEvery, and
// maxNotices of them remembered; beyond that, counting goes on in silence.
const (
	noticeEvery = time.Minute
	maxNotices  = 1024
)

// refusals counts what is turned away and logs it sparingly.
type refusals struct {
	metrics *metrics
	log     *slog.Logger

	mu     sync.Mutex
	notice map[string]time.Time
}

func (r *refusals) refuse(why reason, from net.Addr, err error) {
	r.metrics.refused.WithLabelValues(string(why)).Inc()
	if r.due(string(why)+" "+hostOf(from), time.Now()) {
		level := slog.LevelWarn
		if from == nil { // who it was is not known: often the packets of an ended connection
			level = slog.LevelDebug
		}
		r.log.Log(context.Background(), level, "peer refused",
			"reason", string(why), "from", from, "err", err)
	}
}

// due reports whether a line under key is to be logged now.
func (r *refusals) due(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.notice[key]; ok && now.Sub(at) < noticeEvery {
		return false
	}
	if len(r.notice) >= maxNotices {
		for k, at := range r.notice {
			if now.Sub(at) >= noticeEvery {
				delete(r.notice, k)
			}
		}
	}
	if len(r.notice) >= maxNotices {
		return false
	}
	if r.notice == nil {
		r.notice = map[string]time.Time{}
	}
	r.notice[key] = now
	return true
}

// hostOf returns the address without its port: ports of strangers change.
func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

var errGarbage = errors.New("not a packet of ours")

// garbage counts the packets that QUIC drops before they belong to a connection.
type garbage struct{ t *Transport }

// RecordEvent implements qlogwriter.Recorder.
func (g *garbage) RecordEvent(e qlogwriter.Event) {
	if _, ok := e.(qlog.PacketDropped); ok {
		g.t.refusals.refuse(reasonGarbage, nil, errGarbage)
	}
}

// Close implements qlogwriter.Recorder.
func (g *garbage) Close() error { return nil }

// readGarbage counts packets that do not even look like QUIC.
func (t *Transport) readGarbage() {
	var b [1]byte
	for {
		_, from, err := t.quic.ReadNonQUICPacket(t.ctx, b[:])
		if err != nil {
			return
		}
		t.refusals.refuse(reasonGarbage, from, errGarbage)
	}
}
