package cache

import "github.com/prometheus/client_golang/prometheus"

// metrics count the chunks of a node.
type metrics struct {
	bytes *prometheus.CounterVec // by where they came from
	bad   prometheus.Counter
	swept prometheus.Counter
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
	if r != nil {
		r.MustRegister(m.bytes, m.bad, m.swept)
	}
	return m
}
