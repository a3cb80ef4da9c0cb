package node

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll/replication"
)

// load is how busy the loop is: what it writes and how long the disk takes.
type load struct{ keys, took prometheus.Histogram }

func newLoad() load {
	return load{
		keys: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_commit_keys", Help: "Store keys written by one synced commit.",
			Buckets: prometheus.ExponentialBuckets(4, 4, 6),
		}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_commit_duration_seconds", Help: "Time of one synced commit.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
	}
}

func (l load) committed(keys int, took time.Duration) {
	l.keys.Observe(float64(keys))
	l.took.Observe(took.Seconds())
}

// metrics are the node's own; transport, DNS and API have theirs.
type metrics struct {
	malformed prometheus.Counter
	conflicts *prometheus.CounterVec
	forwards  *prometheus.CounterVec
	answered  prometheus.Counter
	stats     atomic.Pointer[replication.Stats]
}

func newMetrics(n *Node) *metrics {
	m := &metrics{
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_node_malformed_total",
			Help: "Frames and datagrams of peers that could not be read.",
		}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_conflicts_total", Help: "Concurrent writes seen, by kind.",
		}, []string{"kind"}),
		forwards: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_session_forwards_total",
			Help: "Reads whose session this node was behind, by what became of asking others.",
		}, []string{"result"}),
		answered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_session_answers_total", Help: "Reads answered for clients of other nodes.",
		}),
	}
	for _, result := range []string{"answered", "nobody", "busy"} {
		m.forwards.WithLabelValues(result)
	}
	for _, kind := range []string{"register", "kind-clash", "delete-edit"} {
		m.conflicts.WithLabelValues(kind) // or the first of each would not be seen to rise
	}
	m.stats.Store(new(replication.Stats))
	if n.cfg.Metrics == nil {
		return m
	}
	n.cfg.Metrics.MustRegister(m.malformed, m.conflicts, m.forwards, m.answered)
	m.counter(n.cfg.Metrics, "atoll_replication_mutations_total", "Writes accepted here.",
		func(s *replication.Stats) uint64 { return s.Mutations })
	m.counter(n.cfg.Metrics, "atoll_replication_applied_total", "Deltas of others applied.",
		func(s *replication.Stats) uint64 { return s.Applied })
	m.counter(n.cfg.Metrics, "atoll_replication_duplicates_total", "Deltas that were known.",
		func(s *replication.Stats) uint64 { return s.Duplicates })
	m.counter(n.cfg.Metrics, "atoll_replication_relayed_total", "Deltas passed on in the region.",
		func(s *replication.Stats) uint64 { return s.Relayed })
	m.counter(n.cfg.Metrics, "atoll_replication_pulls_total", "Pulls begun.",
		func(s *replication.Stats) uint64 { return s.Pulls })
	m.counter(n.cfg.Metrics, "atoll_replication_full_pulls_total", "Pulls of whole partitions.",
		func(s *replication.Stats) uint64 { return s.FullPulls })
	m.counter(n.cfg.Metrics, "atoll_replication_pulled_docs_total", "Documents joined by pulls.",
		func(s *replication.Stats) uint64 { return s.PulledDocs })
	n.cfg.Metrics.MustRegister(n.loop.load.keys, n.loop.load.took, newSeen(n))
	m.gauges(n)
	return m
}

// gauges are looked at when somebody asks for the metrics.
func (m *metrics) gauges(n *Node) {
	for _, g := range []struct {
		name, help string
		value      func() float64
	}{
		{"atoll_loop_inputs_waiting", "Inputs in front of the replication core.",
			func() float64 { return float64(len(n.loop.inputs)) }},
		{"atoll_loop_inputs_limit", "Inputs that may wait before their senders do.",
			func() float64 { return inputQueue }},
		{"atoll_watches_open", "Watches that are open.",
			func() float64 { return float64(n.watchers.count()) }},
		{"atoll_watches_limit", "Watches that may be open.",
			func() float64 { return MaxWatches }},
		{"atoll_disk_free_bytes", "Disk space left for the data directory.",
			func() float64 { return float64(n.store.Free(n.cfg.Clock())) }},
		{"atoll_disk_reserve_bytes", "Free disk space below which writes are refused.",
			func() float64 { return float64(n.store.Reserve()) }},
		{"atoll_store_tables_bytes", "Size of Badger's tables.",
			func() float64 { tables, _ := n.store.Size(); return float64(tables) }},
		{"atoll_store_values_bytes", "Size of Badger's value log.",
			func() float64 { _, values := n.store.Size(); return float64(values) }},
		{"atoll_node_ready", "1 when the node should get traffic.",
			func() float64 { return truth(len(n.Ready()) == 0) }},
		{"atoll_node_fenced", "1 when the node must not write: its data was restored or copied.",
			func() float64 { return truth(n.fenced.Load()) }},
		{"atoll_clock_offset_seconds", "How far the node's clock is ahead of its cluster's median.",
			func() float64 { return n.skew().Offset.Seconds() }},
		{"atoll_clock_peers", "Clocks of peers that the node's is compared with.",
			func() float64 { return float64(len(n.skew().Peers)) }},
		{"atoll_clock_off", "1 while the node takes no writes because its clock is off.",
			func() float64 { return truth(n.skew().Off) }},
		{"atoll_certificate_expiry_timestamp_seconds", "When the node's certificate ends, Unix time.",
			func() float64 { return expiry(*n.certificate.Load()) }},
	} {
		n.cfg.Metrics.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.value))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// expiry returns when a certificate ends, 0 for one that cannot be read.
func expiry(c tls.Certificate) float64 {
	if len(c.Certificate) == 0 {
		return 0
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return 0
	}
	return float64(leaf.NotAfter.Unix())
}

func (m *metrics) counter(
	r prometheus.Registerer, name, help string, value func(*replication.Stats) uint64,
) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(value(m.stats.Load())) }))
}
