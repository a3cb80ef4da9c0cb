package console

import (
	"math"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/atolledge/atoll"
)

// rates are events a second at one node, over the time between two snapshots.
type rates struct {
	Reads   float64 `json:"reads"`   // HTTP GET and HEAD of documents
	Writes  float64 `json:"writes"`  // taken here
	Applied float64 `json:"applied"` // of other nodes, applied here
	DNS     float64 `json:"dns"`     // queries
	Failed  float64 `json:"failed"`  // HTTP answers 5xx
}

// meter turns counters into rates. The zero meter has read nothing.
type meter struct {
	at    time.Time
	total map[atoll.NodeID]rates
}

// read returns the rates of the sources since the last call. A node that was
// not there then has none yet; two sources of one node add up.
func (m *meter) read(now time.Time, sources []Source) map[atoll.NodeID]rates {
	total := make(map[atoll.NodeID]rates, len(sources))
	for _, s := range sources {
		if s.Metrics == nil {
			continue
		}
		families, _ := s.Metrics.Gather() // what could be gathered, whatever else could not
		total[s.Node] = total[s.Node].plus(totals(families))
	}
	speed := make(map[atoll.NodeID]rates, len(total))
	seconds := now.Sub(m.at).Seconds()
	for id, t := range total {
		if before, ok := m.total[id]; ok && seconds > 0 {
			speed[id] = t.since(before, seconds)
		}
	}
	m.at, m.total = now, total
	return speed
}

// totals reads counters out of what a node exposes at /metrics.
func totals(families []*dto.MetricFamily) (t rates) {
	for _, f := range families {
		for _, x := range f.GetMetric() {
			v := x.GetCounter().GetValue()
			switch f.GetName() {
			case "atoll_replication_mutations_total":
				t.Writes += v
			case "atoll_replication_applied_total", "atoll_replication_pulled_docs_total":
				t.Applied += v
			case "atoll_dns_queries_total":
				t.DNS += v
			case "atoll_http_requests_total":
				t.request(x.GetLabel(), v)
			}
		}
	}
	return t
}

// request counts requests of one route, method and status.
func (t *rates) request(labels []*dto.LabelPair, v float64) {
	var route, method, code string
	for _, l := range labels {
		switch l.GetName() {
		case "route":
			route = l.GetValue()
		case "method":
			method = l.GetValue()
		case "code":
			code = l.GetValue()
		}
	}
	if strings.HasPrefix(route, "/v1/docs/") && (method == "GET" || method == "HEAD") {
		t.Reads += v
	}
	if strings.HasPrefix(code, "5") {
		t.Failed += v
	}
}

func (t rates) plus(o rates) rates {
	return rates{
		t.Reads + o.Reads, t.Writes + o.Writes, t.Applied + o.Applied, t.DNS + o.DNS,
		t.Failed + o.Failed,
	}
}

// since divides the growth by the seconds it took. A counter that fell is one
// of a node that was started anew: all it has is new.
func (t rates) since(before rates, seconds float64) rates {
	rate := func(now, then float64) float64 {
		if now < then {
			then = 0
		}
		return math.Round((now-then)/seconds*10) / 10
	}
	return rates{
		rate(t.Reads, before.Reads), rate(t.Writes, before.Writes),
		rate(t.Applied, before.Applied), rate(t.DNS, before.DNS), rate(t.Failed, before.Failed),
	}
}
