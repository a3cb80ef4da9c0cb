package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
)

// seen shows the cluster as this node sees it: a few series for each node and
// region, made from the snapshot that the monitor publishes anyway.
type seen struct {
	cluster                           func() atoll.Cluster
	healthy, up, rtt, dots, lag, mine *prometheus.Desc
}

func newSeen(n *Node) *seen {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &seen{
		cluster: n.Cluster,
		healthy: desc("atoll_region_healthy",
			"1 when the region is up and not drained, as this node sees it.", "region", "state"),
		up: desc("atoll_peer_up", "1 when there is a connection to the node.", "peer", "region"),
		rtt: desc("atoll_peer_rtt_seconds", "Smoothed round trip to a connected node.",
			"peer", "region"),
		dots: desc("atoll_replication_behind_dots",
			"Changes known here that the node has not reported to have.", "peer", "region"),
		lag: desc("atoll_replication_behind_seconds",
			"Time since the node was last known to have all that is here.", "peer", "region"),
		mine: desc("atoll_node_info", "This node; always 1.", "node", "region", "cluster"),
	}
}

// Describe implements prometheus.Collector.
func (s *seen) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.healthy, s.up, s.rtt, s.dots, s.lag, s.mine} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *seen) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	c := s.cluster()
	gauge(s.mine, 1, string(c.Self), string(c.Self.Region()), c.Name)
	for _, r := range c.Regions {
		gauge(s.healthy, truth(r.State == atoll.StateUp), string(r.Name), r.State)
		for _, n := range merged(r.Nodes) {
			if n.ID == c.Self {
				continue
			}
			peer, region := string(n.ID), string(r.Name)
			gauge(s.up, truth(n.State == atoll.StateUp), peer, region)
			gauge(s.dots, float64(n.Behind.Dots), peer, region)
			gauge(s.lag, n.Behind.Lag.Seconds(), peer, region)
			if n.RTT > 0 {
				gauge(s.rtt, n.RTT.Seconds(), peer, region)
			}
		}
	}
}

// merged makes one of the nodes that share a name, the worst of them: one that
// came back with a new data directory is there twice until it has taken its old
// origin out of the roster. Two series of equal labels would fail all metrics.
func merged(nodes []atoll.NodeView) []atoll.NodeView {
	var list []atoll.NodeView
	for _, n := range nodes { // in order of ids
		if len(list) == 0 || list[len(list)-1].ID != n.ID {
			list = append(list, n)
			continue
		}
		last := &list[len(list)-1]
		last.Behind.Dots = max(last.Behind.Dots, n.Behind.Dots)
		last.Behind.Lag = max(last.Behind.Lag, n.Behind.Lag)
	}
	return list
}
