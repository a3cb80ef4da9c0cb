package cache

import (
	"context"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// sourceTimeout is how long one node may take to send a chunk before the next
// is asked: a link of 0.8 MB/s carries fetchSlots of them in it. One that is gone
// is noticed sooner, by the end of its connection.
const sourceTimeout = 45 * time.Second

// load is the tier's way to a chunk: the own disk, then other nodes.
func (m *Media) load(ctx context.Context, h atoll.Hash, homes []atoll.NodeID) ([]byte, error) {
	if b, ok := m.stored(h); ok {
		return b, nil
	}
	b, err := m.fetch(ctx, h, homes)
	if err == nil {
		m.keepCopy(h, b)
	}
	return b, err
}

// keepCopy stores a chunk behind the back of those who wait for it: a disk that
// is slow for a while must not hold readers up. When too many wait already the
// copy is in memory only.
func (m *Media) keepCopy(h atoll.Hash, b []byte) {
	select {
	case m.copying <- struct{}{}:
	default:
		return
	}
	m.work.Go(func() {
		defer func() { <-m.copying }()
		m.cfg.Store.Keep(m.ctx, h, b)
	})
}

// stored returns a chunk from the own disk, if it is what its name says. One
// that is damaged goes, so that a good one can take its place.
func (m *Media) stored(h atoll.Hash) ([]byte, bool) {
	b, ok := m.cfg.Store.Get(h)
	if !ok {
		return nil, false
	}
	if atoll.HashOf(b) == h {
		m.metrics.bytes.WithLabelValues("disk").Add(float64(len(b)))
		return b, true
	}
	m.spoilt(h, m.cfg.Node.Self())
	for held := range m.cfg.Store.All() {
		if held.Hash == h {
			_ = m.cfg.Store.Drop(m.ctx, held)
		}
	}
	return nil, false
}

func (m *Media) spoilt(h atoll.Hash, from atoll.NodeID) {
	m.metrics.bad.Inc()
	m.cfg.Logger.Error("a chunk is not what its hash says", "chunk", h, "from", from)
}

// fetch gets a chunk from the first node that has it. It keeps nothing.
func (m *Media) fetch(ctx context.Context, h atoll.Hash, homes []atoll.NodeID) ([]byte, error) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, from := range m.sources(h, homes) {
		b, err := m.fetchFrom(ctx, from, h)
		if err == nil {
			return b, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, atoll.Errorf(atoll.BehindSession, "a part of the object is out of reach").
		WithHint("the nodes that hold it cannot be reached from here now; try again").
		Because(errUnreachable)
}

func (m *Media) fetchFrom(ctx context.Context, from atoll.NodeID, h atoll.Hash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	b, err := m.cfg.Node.FetchChunk(ctx, from, h, nil, false)
	if err != nil {
		return nil, err
	}
	way := "wan"
	if from.Region() == m.cfg.Node.Self().Region() {
		way = "region"
	}
	m.metrics.bytes.WithLabelValues(way).Add(float64(len(b)))
	if atoll.HashOf(b) != h {
		m.spoilt(h, from)
		return nil, errBad
	}
	return b, nil
}

// neighboursAsked is how many nodes of the own region are asked for a chunk
// before it is fetched over the WAN: those that were its owner before.
const neighboursAsked = 2

// sources returns whom to ask for a chunk, in order: likely holders in the own
// region, its homes by distance, then everybody.
func (m *Media) sources(h atoll.Hash, homes []atoll.NodeID) []atoll.NodeID {
	self := m.cfg.Node.Self()
	var near, far, rest []atoll.NodeID
	rtt := make(map[atoll.NodeID]time.Duration)
	for _, r := range m.cfg.Node.Cluster().Regions {
		for _, n := range r.Nodes {
			rtt[n.ID] = n.RTT
			switch {
			case n.ID == self || n.State != atoll.StateUp:
			case r.Name == self.Region():
				near = append(near, n.ID)
			case slices.Contains(homes, n.ID):
				far = append(far, n.ID)
			default:
				rest = append(rest, n.ID)
			}
		}
	}
	near = Ranked(h, near)
	asked := min(len(near), neighboursAsked)
	late := near[asked:]
	near = slices.Clone(near[:asked])
	for _, n := range late {
		if slices.Contains(homes, n) {
			near = append(near, n)
		}
	}
	byRTT := func(a, b atoll.NodeID) int { return int(rtt[a] - rtt[b]) }
	slices.SortStableFunc(far, byRTT)
	slices.SortStableFunc(rest, byRTT)
	return slices.Concat(near, far, late, rest)
}

// askOwner is the tier's way to the node of this region that owns a chunk.
func (m *Media) askOwner(
	ctx context.Context, to atoll.NodeID, h atoll.Hash, homes []atoll.NodeID,
) ([]byte, error) {
	b, err := m.cfg.Node.FetchChunk(ctx, to, h, homes, true)
	if err == nil {
		m.metrics.bytes.WithLabelValues("region").Add(float64(len(b)))
	}
	return b, err
}

// serve answers a peer that asks for a chunk.
func (m *Media) serve(
	ctx context.Context, h atoll.Hash, homes []atoll.NodeID, through bool,
) ([]byte, error) {
	if !through {
		if b, ok := m.stored(h); ok {
			return b, nil
		}
		return nil, atoll.Errorf(atoll.NotFound, "chunk %s is not here", h)
	}
	view, err := m.tier.GetOwn(ctx, h, homes)
	if err != nil {
		return nil, err
	}
	return view.ByteSlice(), nil
}
