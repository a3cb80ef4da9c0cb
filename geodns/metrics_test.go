package geodns

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// value reads a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		return -1
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func TestMetrics(t *testing.T) {
	s := newServer(t, newIslands())
	addr := start(t, s)
	for _, line := range []string{
		"www.atoll.test. A 1.2.3.0/24", "www.atoll.test. A 1.2.3.0/24", "www.atoll.test. HTTPS 2.1.0.0/24",
		"www.atoll.test. MX", "nothing.atoll.test. AAAA", "example.org. TXT", "tokyo.atoll.test. A",
	} {
		ask(t, "udp", addr, line)
	}
	for _, c := range []struct {
		typ, rcode, region string
		want               float64
	}{
		{"A", "NOERROR", "tokyo", 2},
		{"HTTPS", "NOERROR", "frankfurt", 1},
		{"other", "NOERROR", "", 1},
		{"AAAA", "NXDOMAIN", "", 1},
		{"TXT", "REFUSED", "", 1},
		{"A", "NOERROR", "", 1},
		{"A", "NOERROR", "washington", 0},
	} {
		got := value(s.metrics.queries.WithLabelValues(c.typ, c.rcode, c.region))
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
