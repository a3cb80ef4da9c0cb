package main

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/cache"
	"github.com/atolledge/atoll/node"
)

// openMedia makes the media of a node.
func openMedia(
	n *node.Node, cfg node.Config, m mediaConfig, r prometheus.Registerer,
) *cache.Media {
	return cache.New(cache.Config{
		Node: n, Store: n.Chunks(), Memory: int64(m.Memory), Disk: int64(m.Cached),
		Grace: time.Duration(m.Grace), Every: time.Duration(m.Sweep), Clock: cfg.Clock,
		Logger: cfg.Logger, Metrics: r,
	})
}

// passingMedia is an api.Media that passes each call to the first living node
// that is ready.
type passingMedia struct{ w *world }

func (p passingMedia) media() (api.Media, error) {
	alive := p.w.living()
	for _, h := range alive {
		if len(h.node.Ready()) == 0 {
			return h.media, nil
		}
	}
	if len(alive) > 0 {
		return alive[0].media, nil
	}
	return nil, atoll.Errorf(atoll.ShuttingDown, "no node of the dev world is running").
		WithHint("atoll node start washington")
}

func (p passingMedia) Stat(ctx context.Context, r atoll.Read) (atoll.Object, error) {
	m, err := p.media()
	if err != nil {
		return atoll.Object{}, err
	}
	return m.Stat(ctx, r)
}

func (p passingMedia) Open(ctx context.Context, o atoll.Object) (io.ReadSeeker, error) {
	m, err := p.media()
	if err != nil {
		return nil, err
	}
	return m.Open(ctx, o)
}

func (p passingMedia) Put(ctx context.Context, u atoll.Upload) (atoll.Written, error) {
	m, err := p.media()
	if err != nil {
		return atoll.Written{}, err
	}
	return m.Put(ctx, u)
}

func (p passingMedia) Delete(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	m, err := p.media()
	if err != nil {
		return atoll.Written{}, err
	}
	return m.Delete(ctx, w)
}
