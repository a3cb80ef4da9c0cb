package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/wire"
)

// Pace and limits of scrubbing.
const (
	scrubEvery  = 5 * time.Second  // between two partitions, at least
	scrubRest   = 50               // times what a partition took, so that it is 2 % of a core
	scrubLimit  = 30 * time.Second // for one partition
	scrubRanges = 8                // that are fetched at once when they differ
	scrubBytes  = 32 << 20         // of documents that are fetched at once
)

// scrubber compares this node's replica with others', a partition at a time, with
// a peer chosen by chance: what both have seen has to be the same. A difference is
// a bug of ours or of a disk; it is counted, logged and mended by joining.
type scrubber struct {
	n    *Node
	last replication.Address // that was looked at
	rng  *rand.Rand          // of the scrubber's goroutine

	partitions  atomic.Uint64 // compared
	differences atomic.Uint64 // ranges that were not the same
	results     *prometheus.CounterVec
}

func newScrubber(n *Node) *scrubber {
	s := &scrubber{n: n, rng: rand.New(rand.NewPCG(n.cfg.Rand.Uint64(), n.cfg.Rand.Uint64())),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_scrub_partitions_total",
			Help: "Partitions compared with a peer's, by result: same, different, busy, failed."},
			[]string{"result"})}
	for _, result := range []string{"same", "different", "busy", "failed"} {
		s.results.WithLabelValues(result)
	}
	if n.cfg.Metrics != nil {
		n.cfg.Metrics.MustRegister(s.results, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "atoll_scrub_differences_total",
			Help: "Ranges of documents in which two replicas that had seen the same were not.",
		}, func() float64 { return float64(s.differences.Load()) }))
	}
	return s
}

// found returns what came of it until now.
func (s *scrubber) found() atoll.Scrub {
	if s == nil { // the node is being made
		return atoll.Scrub{}
	}
	return atoll.Scrub{Partitions: s.partitions.Load(), Differences: s.differences.Load()}
}

// run scrubs for as long as the node lives.
func (s *scrubber) run(ctx context.Context) {
	pause := func(took time.Duration) time.Duration {
		if s.n.cfg.ScrubEvery > 0 {
			return s.n.cfg.ScrubEvery
		}
		return max(scrubEvery, scrubRest*took)
	}
	timer := time.NewTimer(pause(0))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		begun := time.Now()
		if a, peer, ok := s.next(ctx); ok {
			s.results.WithLabelValues(s.partition(ctx, a, peer)).Inc()
		}
		timer.Reset(pause(time.Since(begun)))
	}
}

// next chooses a partition, in turn, and a connected peer.
func (s *scrubber) next(ctx context.Context) (a replication.Address, peer atoll.NodeID, ok bool) {
	peers := s.n.transport.Peers()
	if len(peers) == 0 || s.n.loop.look(ctx, func(c *replication.Core) { a, ok = c.NextPartition(s.last) }) != nil || !ok {
		return a, "", false
	}
	s.last = a
	return a, peers[s.rng.IntN(len(peers))].Node, true
}

// partition compares one partition and says what came of it.
func (s *scrubber) partition(ctx context.Context, a replication.Address, peer atoll.NodeID) string {
	ctx, cancel := context.WithTimeout(ctx, scrubLimit)
	defer cancel()
	v := s.n.store.Snapshot()
	defer v.Close()
	ask := wire.Scrub{Address: a, Clock: replication.ClockIn(v, a)}
	t, body, err := s.n.ask(ctx, peer, ask.Append(nil))
	if err != nil || t != wire.TypeSums {
		if err == nil && t == wire.TypeScrubBusy {
			return "busy"
		}
		return "failed"
	}
	sums, err := wire.DecodeSums(body)
	if err != nil {
		return "failed"
	}
	ranges, ok := sums.Differ(v, a)
	switch {
	case v.Err() != nil:
		return "failed"
	case !ok:
		return "busy"
	}
	s.partitions.Add(1)
	if len(ranges) == 0 {
		return "same"
	}
	s.differences.Add(uint64(len(ranges)))
	s.n.cfg.Logger.Error("two replicas that have seen the same do not hold the same; joining them",
		"keyspace", a.Keyspace, "partition", a.Partition, "peer", peer, "ranges", len(ranges))
	ask.Ranges = ranges[:min(len(ranges), scrubRanges)]
	if err := s.mend(ctx, ask, peer); err != nil {
		s.n.cfg.Logger.Warn("not mended yet", "keyspace", a.Keyspace, "partition", a.Partition, "err", err)
	}
	return "different"
}

// mend fetches the documents of the ranges that differ and has them joined. The
// peer finds the difference in its turn, and joins ours.
func (s *scrubber) mend(ctx context.Context, ask wire.Scrub, peer atoll.NodeID) error {
	stream, err := s.n.transport.OpenCall(ctx, peer, ask.Append(nil))
	if err != nil {
		return err
	}
	defer stream.Close()
	m := replication.Mend{Address: ask.Address, Ranges: ask.Ranges}
	var reader wire.PullReader
	for size := 0; ; {
		t, body, err := stream.Next()
		if err != nil {
			return err
		}
		if size += len(body); size > scrubBytes {
			return errors.New("the documents that differ are too many at once")
		}
		msg, ok, err := reader.Frame(t, append([]byte(nil), body...))
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case replication.Begin:
			m.Clock = msg.Clock
		case replication.Doc:
			m.Docs = append(m.Docs, msg)
		case replication.End:
			s.n.loop.feed(ctx, m)
			return nil
		default:
			if ok {
				return errors.New("a frame that does not belong there")
			}
		}
	}
}

// answerScrub tells a peer what this replica holds.
func (n *Node) answerScrub(body []byte, w *transport.PullWriter) error {
	ask, err := wire.DecodeScrub(body)
	if err != nil {
		n.monitor.metrics.malformed.Inc()
		return err
	}
	v := n.store.Snapshot()
	defer v.Close()
	if len(ask.Ranges) > 0 {
		emit := func(m replication.Message) error { return wire.EmitPull(m, w.Frame) }
		return errors.Join(replication.InRanges(v, ask.Address, ask.Ranges, emit), v.Err())
	}
	sums, ok := replication.SumsOf(v, ask.Address, ask.Clock)
	if err := v.Err(); err != nil {
		return err
	}
	if !ok {
		return w.Frame(wire.TypeScrubBusy, nil)
	}
	return w.Frame(wire.TypeSums, wire.AppendSums(nil, &sums))
}
