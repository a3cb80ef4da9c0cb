package cache

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// sweepAll sweeps now and then until Close.
func (m *Media) sweepAll() {
	tick := time.NewTicker(m.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
			if err := m.Sweep(m.ctx); err != nil && m.ctx.Err() == nil {
				m.cfg.Logger.Warn("a sweep of media is not complete", "err", err)
			}
		}
	}
}

// Sweep compares the chunks here with the objects that there are: those that
// this node is to keep and does not have are fetched, those that nothing names
// are dropped after the grace time, and of cached copies the oldest when they are
// too many. Where something could not be fetched nothing is dropped. It holds
// one hash in memory for each chunk here and for each that an object names.
func (m *Media) Sweep(ctx context.Context) error {
	cutoff := m.cutoff()
	held := slices.Collect(m.cfg.Store.All()) // before the marks: what comes later is safe
	marks := make(map[atoll.Hash]bool)
	nodes := m.notLost()
	spaces, err := m.cfg.Node.MediaSpaces(ctx)
	if err != nil {
		return err
	}
	for _, ks := range spaces {
		if err := m.mark(ctx, ks, nodes, marks); err != nil {
			return err
		}
	}
	disk := m.cfg.Disk
	if m.cfg.Store.Full() != nil {
		disk = 0
	}
	dropped := make(map[atoll.Hash]bool)
	for _, c := range Doomed(held, marks, cutoff, disk) {
		if err := m.cfg.Store.Drop(ctx, c); err != nil {
			return err
		}
		dropped[c.Hash] = true
		m.metrics.swept.Inc()
	}
	m.metrics.sweeps.Inc()
	m.metrics.count(held, marks, dropped)
	return nil
}

// cutoff is the time before which a chunk must have been used last to be
// nobody's: an upload that began earlier has not named its chunks yet.
func (m *Media) cutoff() time.Time {
	cutoff := m.cfg.Clock().Add(-m.cfg.Grace)
	m.mu.Lock()
	defer m.mu.Unlock()
	for since := range m.active {
		if since.Before(cutoff) {
			cutoff = *since
		}
	}
	return cutoff
}

// notLost returns the nodes that are up or have not been down for long.
func (m *Media) notLost() []atoll.NodeID {
	now := m.cfg.Clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	down := make(map[atoll.NodeID]time.Time)
	var nodes []atoll.NodeID
	for _, r := range m.cfg.Node.Cluster().Regions {
		for _, n := range r.Nodes {
			if n.State == atoll.StateUp {
				nodes = append(nodes, n.ID)
				continue
			}
			since, ok := m.down[n.ID]
			if !ok {
				since = now
			}
			down[n.ID] = since
			if now.Sub(since) < m.cfg.Lost {
				nodes = append(nodes, n.ID)
			}
		}
	}
	m.down = down
	return nodes
}

// mark notes the chunks that the objects of a keyspace name, and fetches those
// that are to be here and are not.
func (m *Media) mark(
	ctx context.Context, ks atoll.Keyspace, nodes []atoll.NodeID, marks map[atoll.Hash]bool,
) error {
	list := atoll.Listing{Keyspace: ks, Limit: atoll.MaxPage}
	for {
		page, err := m.cfg.Node.List(ctx, list)
		if err != nil {
			return err
		}
		for _, d := range page.Items {
			for _, o := range objectsOf(d) {
				if err := m.markObject(ctx, o, nodes, marks); err != nil {
					return err
				}
			}
		}
		if list.After = page.Next; page.Next == "" {
			return nil
		}
	}
}

func (m *Media) markObject(
	ctx context.Context, o atoll.Object, nodes []atoll.NodeID, marks map[atoll.Hash]bool,
) error {
	if o.Size == 0 {
		return nil
	}
	lost := o.Size < 0 // against another of its name: what there is of it stays
	keep := lost || slices.Contains(Keepers(o, nodes), m.cfg.Node.Self())
	if keep && !lost && !m.complete(o) {
		if err := m.keep(ctx, o); err != nil {
			return err
		}
	}
	marks[o.Manifest] = marks[o.Manifest] || keep
	for _, h := range m.chunksHere(o) {
		marks[h] = marks[h] || keep
	}
	return nil
}

// chunksHere returns what an object's manifest lists, if that is here.
func (m *Media) chunksHere(o atoll.Object) []atoll.Hash {
	b, ok := m.stored(o.Manifest)
	if !ok {
		return nil
	}
	hashes, _ := parseManifest(b, o.Size)
	return hashes
}

// complete reports whether all chunks of an object are here.
func (m *Media) complete(o atoll.Object) bool {
	hashes := m.chunksHere(o)
	return len(hashes) > 0 &&
		!slices.ContainsFunc(hashes, func(h atoll.Hash) bool { return !m.cfg.Store.Has(h) })
}

// objectsOf returns the object that a document shows and those that lost against
// it: a delete that saw the one and not the other brings that back.
func objectsOf(d atoll.Document) []atoll.Object {
	o, err := parseMeta(d)
	if err != nil {
		return nil
	}
	objects := []atoll.Object{o}
	for _, c := range d.Conflicts {
		if c.Path != "/manifest" {
			continue
		}
		for _, v := range c.Values {
			var text string
			if json.Unmarshal(v.JSON, &text) != nil {
				continue
			}
			if h, err := atoll.ParseHash(text); err == nil && h != o.Manifest {
				objects = append(objects, atoll.Object{Manifest: h, Size: -1})
			}
		}
	}
	return objects
}
