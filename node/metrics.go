package node

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll/replication"
)

// metrics are the node's own; transport, DNS and API have theirs.
type metrics struct {
	malformed prometheus.Counter
	conflicts *prometheus.CounterVec
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
	}
	m.stats.Store(new(replication.Stats))
	if n.cfg.Metrics == nil {
		return m
	}
	n.cfg.Metrics.MustRegister(m.malformed, m.conflicts)
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
	return m
}

func (m *metrics) counter(
	r prometheus.Registerer, name, help string, value func(*replication.Stats) uint64,
) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(value(m.stats.Load())) }))
}
