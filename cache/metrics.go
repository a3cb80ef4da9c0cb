package cache

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
)

// metrics count the chunks of a node.
type metrics struct {
	bytes *prometheus.CounterVec // by where they came from
	bad   prometheus.Counter
	swept prometheus.Counter

	sweeps prometheus.Counter
	chunks *prometheus.GaugeVec // by what they are here for
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_media_read_bytes_total",
			Help: "Bytes of chunks read, by where from: disk, region (another node of it) or wan.",
		}, []string{"from"}),
		bad: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_media_bad_chunks_total",
			Help: "Chunks whose bytes did not match their hash. None of them was served.",
		}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_media_swept_chunks_total",
			Help: "Chunks dropped because no object names them, or too many were cached.",
		}),
	}
	m.sweeps = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "atoll_media_sweeps_total", Help: "Sweeps that went through to their end.",
	})
	m.chunks = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "atoll_media_chunks",
		Help: "Chunks on the disk after the last sweep: kept for an object, cached for readers, " +
			"or unnamed: of an upload under way or of one that broke off within the grace time.",
	}, []string{"state"})
	if r != nil {
		r.MustRegister(m.bytes, m.bad, m.swept, m.sweeps, m.chunks)
	}
	return m
}

// count tells what is on the disk after a sweep.
func (m *metrics) count(held []atoll.Held, marks, dropped map[atoll.Hash]bool) {
	var kept, cached, unnamed int
	for _, c := range held {
		keep, named := marks[c.Hash]
		switch {
		case dropped[c.Hash]:
		case keep:
			kept++
		case named || c.Cached:
			cached++
		default:
			unnamed++
		}
	}
	m.chunks.WithLabelValues("kept").Set(float64(kept))
	m.chunks.WithLabelValues("cached").Set(float64(cached))
	m.chunks.WithLabelValues("unnamed").Set(float64(unnamed))
}
