package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/atolledge/atoll"
)

// gathered are the samples of a registry by "name{label="value",…}"; histograms
// give their count and sum.
func gathered(t testing.TB, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName() + labels(m)
			switch {
			case m.Histogram != nil:
				all[name+" count"] = float64(m.Histogram.GetSampleCount())
				all[name+" sum"] = m.Histogram.GetSampleSum()
			case m.Counter != nil:
				all[name] = m.Counter.GetValue()
			default:
				all[name] = m.Gauge.GetValue()
			}
		}
	}
	return all
}

func labels(m *dto.Metric) string {
	var pairs []string
	for _, l := range m.Label {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func (s *sea) metrics(i int) map[string]float64 {
	return gathered(s.t, s.node(i).cfg.Metrics.(prometheus.Gatherer))
}

// TestMetricsOfLoad: what the disk and the loop do shows.
func TestMetricsOfLoad(t *testing.T) {
	s := newSea(t, "a/1")
	s.put(0, "x", `{"v":1}`)
	before := s.metrics(0)
	for _, name := range []string{"atoll_commit_keys count", "atoll_commit_keys sum",
		"atoll_commit_duration_seconds count", "atoll_commit_duration_seconds sum",
		"atoll_disk_free_bytes", "atoll_loop_inputs_limit", "atoll_node_ready",
		`atoll_node_info{cluster="test",node="a/1",region="a"}`} {
		if before[name] <= 0 {
			t.Errorf("%s is %v", name, before[name])
		}
	}
	for _, name := range []string{"atoll_loop_inputs_waiting", "atoll_store_tables_bytes",
		"atoll_store_values_bytes", "atoll_disk_reserve_bytes", "atoll_node_fenced",
		`atoll_transport_queue_bytes{lane="eager"}`, `atoll_transport_queue_bytes{lane="control"}`,
		`atoll_transport_queue_datagrams{lane="datagram"}`} {
		if v, ok := before[name]; !ok || v != 0 && !strings.Contains(name, "store") {
			t.Errorf("%s is %v, there: %v", name, v, ok)
		}
	}
	ends := time.Unix(int64(before["atoll_certificate_expiry_timestamp_seconds"]), 0)
	if time.Until(ends) <= 0 {
		t.Errorf("the certificate ends at %v", ends)
	}
	s.put(0, "x", `{"v":2}`)
	if after := s.metrics(0); after["atoll_commit_keys count"] <= before["atoll_commit_keys count"] ||
		after["atoll_commit_keys sum"] <= before["atoll_commit_keys sum"] {
		t.Error("a write made no commit")
	}
}

// TestMetricsOfWatches: one that is open is counted, and no more when it ended.
func TestMetricsOfWatches(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.put(0, "x", `{"v":1}`)
	r := newReader("")
	r.watch(s.node(0))
	eventually(t, "one is open", func() bool { return s.metrics(0)["atoll_watches_open"] == 1 })
	r.leave()
	eventually(t, "none is open", func() bool { return s.metrics(0)["atoll_watches_open"] == 0 })
	if limit := s.metrics(0)["atoll_watches_limit"]; limit != MaxWatches {
		t.Errorf("the limit is %v", limit)
	}
}

// TestMetricsOfPeers: a peer that is gone is behind, and caught up when it is
// back.
func TestMetricsOfPeers(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	const peer = `{peer="b/1",region="b"}`
	calm := func() bool {
		m := s.metrics(0)
		return m["atoll_peer_up"+peer] == 1 && m["atoll_peer_rtt_seconds"+peer] > 0 &&
			m["atoll_replication_behind_dots"+peer] == 0 &&
			m[`atoll_region_healthy{region="b",state="up"}`] == 1
	}
	eventually(t, "calm", calm)
	s.kill(1)
	s.put(0, "x", `{"v":1}`)
	eventually(t, "b is behind", func() bool {
		m := s.metrics(0)
		_, timed := m["atoll_peer_rtt_seconds"+peer]
		return m["atoll_replication_behind_dots"+peer] > 0 &&
			m["atoll_replication_behind_seconds"+peer] > 1 &&
			m["atoll_peer_up"+peer] == 0 && !timed
	})
	eventually(t, "its region is down", func() bool {
		v, ok := s.metrics(0)[`atoll_region_healthy{region="b",state="down"}`]
		return ok && v == 0
	})
	s.start(1)
	eventually(t, "calm again", calm)
}

// TestMetricsOfTwins: a node that is in the roster twice is one series, the
// worse.
func TestMetricsOfTwins(t *testing.T) {
	view := func(id atoll.NodeID, dots uint64, lag time.Duration) atoll.NodeView {
		return atoll.NodeView{ID: id, State: atoll.StateUp,
			Behind: atoll.Behind{Dots: dots, Lag: lag}}
	}
	c := atoll.Cluster{Name: "test", Self: "a/1", Regions: []atoll.RegionView{{Name: "a",
		State: atoll.StateDrained, Nodes: []atoll.NodeView{view("a/1", 9, 0),
			view("a/2", 1, time.Second), view("a/2", 7, 0), view("a/3", 2, 0)}}}}
	x := newSeen(&Node{})
	x.cluster = func() atoll.Cluster { return c }
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(x)
	got := gathered(t, r)
	for name, want := range map[string]float64{
		`atoll_replication_behind_dots{peer="a/2",region="a"}`:    7,
		`atoll_replication_behind_seconds{peer="a/2",region="a"}`: 1,
		`atoll_replication_behind_dots{peer="a/3",region="a"}`:    2,
		`atoll_region_healthy{region="a",state="drained"}`:        0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if _, ok := got[`atoll_replication_behind_dots{peer="a/1",region="a"}`]; ok {
		t.Error("the node is behind itself")
	}
}
