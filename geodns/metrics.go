package geodns

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
)

// metrics are the server's counters, all looked up before the first query:
// counting is one atomic addition.
type metrics struct {
	queries   *prometheus.CounterVec
	answers   [types][rcodes]prometheus.Counter // that name no region
	dropped   [verdicts]prometheus.Counter      // nil for verdicts with an answer
	truncated prometheus.Counter
	conns     prometheus.Gauge
	refused   prometheus.Counter // TCP connections over the limit
}

// The values of the labels "type" and "rcode"; the last type is all others.
const (
	types  = 8
	rcodes = 7
)

func typeNames() [types]string {
	return [types]string{"A", "AAAA", "HTTPS", "TXT", "NS", "SOA", "ANY", "other"}
}

func typeIndex(t uint16) int {
	switch t {
	case typeA:
		return 0
	case typeAAAA:
		return 1
	case typeHTTPS:
		return 2
	case typeTXT:
		return 3
	case typeNS:
		return 4
	case typeSOA:
		return 5
	case typeANY:
		return 6
	}
	return 7
}

func rcodeNames() [rcodes]string {
	return [rcodes]string{
		"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS",
	}
}

func rcodeIndex(r int) int { return min(r, rcodes-1) }

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_dns_queries_total",
			Help: "DNS queries answered, by type, response code and region of the answer.",
		}, []string{"type", "rcode", "region"}),
		truncated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_dns_truncated_total",
			Help: "DNS answers that did not fit and said so.",
		}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_dns_tcp_connections", Help: "Open DNS connections.",
		}),
	}
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_dns_dropped_total",
		Help: "Packets and connections that got no answer, by reason.",
	}, []string{"reason"})
	m.dropped[dropShort] = drops.WithLabelValues("short")
	m.dropped[dropResponse] = drops.WithLabelValues("response")
	m.dropped[dropGarbage] = drops.WithLabelValues("garbage")
	m.refused = drops.WithLabelValues("tcp-limit")
	for t, name := range typeNames() {
		for r, code := range rcodeNames() {
			m.answers[t][r] = m.queries.WithLabelValues(name, code, "")
		}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.queries, m.truncated, m.conns, drops} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("geodns: %w", err)
		}
	}
	return m, nil
}

// region looks up the counters of one region.
func (m *metrics) region(name atoll.Region) *regionCount {
	var c regionCount
	for t, typ := range typeNames() {
		c[t] = m.queries.WithLabelValues(typ, "NOERROR", string(name))
	}
	return &c
}
