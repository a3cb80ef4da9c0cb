package cache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolledge/atoll"
)

// chunksAhead is how many chunks of one upload wait for the disk, and of one copy
// for another node: their memory.
const chunksAhead = 4

// How long a body may take to be copied where its level wants it, if the caller
// does not say.
const (
	copyTimeout = 5 * time.Second
	copyPerMiB  = time.Second
)

// Put stores an object and returns when its body and its name are as durable as
// asked; Written.ETag is its content hash. A body that ends with an error leaves
// nothing that anybody sees. Where the region has two nodes, two have the body
// before Put returns. With atoll.DurabilityNotReached the object stays.
func (m *Media) Put(ctx context.Context, u atoll.Upload) (atoll.Written, error) {
	w := atoll.Write{
		Keyspace: u.Keyspace, Key: u.Key, Change: atoll.Put, IfMatch: u.IfMatch,
		IfNoneMatch: u.IfNoneMatch, TTL: u.TTL, Level: u.Level, Timeout: u.Timeout,
		Session: u.Session,
	}
	if err := m.admit(ctx, &w); err != nil {
		return atoll.Written{}, err
	}
	defer m.busy()()
	place := placeOf(u.Keyspace, u.Key)
	o, err := m.take(ctx, u.Body, m.second(place))
	if err != nil {
		return atoll.Written{}, err
	}
	o.Key, o.Type, o.StoredAt = u.Key, u.Type, m.cfg.Clock()
	if w.Timeout == 0 {
		w.Timeout = copyTimeout + time.Duration(o.Size>>20)*copyPerMiB
	}
	began := m.cfg.Clock()
	var missed error
	if o.Homes, missed = m.spread(ctx, o, place, w); missed != nil {
		w.Level = atoll.Level{} // the name is worth no more than its body
	}
	if ctx.Err() != nil {
		return atoll.Written{}, ctx.Err()
	}
	w.Timeout = max(w.Timeout-m.cfg.Clock().Sub(began), copyTimeout)
	if w.Body, err = metaOf(o); err != nil {
		return atoll.Written{}, err
	}
	done, err := m.write(ctx, w)
	done.ETag = o.Hash.String()
	return done, cmp.Or(err, missed)
}

// admit refuses an upload before its body is read, if that is known already.
func (m *Media) admit(ctx context.Context, w *atoll.Write) error {
	if err := named(w.Keyspace); err != nil {
		return err
	}
	settings, err := m.cfg.Node.OpenKeyspace(ctx, w.Keyspace)
	if err != nil {
		return err
	}
	if w.TTL == 0 {
		w.TTL = settings.TTL
	}
	if regions := len(m.cfg.Node.Cluster().Regions); w.Level.Regions > max(regions, 1) {
		return atoll.Errorf(atoll.DurabilityImpossible,
			"durability regions:%d, but the cluster has %d regions", w.Level.Regions, regions).
			WithLimit("regions", int64(regions))
	}
	if err := m.cfg.Store.Full(); err != nil {
		return err
	}
	if w.IfMatch != nil || w.IfNoneMatch != nil {
		_, err = m.check(ctx, *w)
	}
	return err
}

// take stores a body chunk by chunk and returns what it is. Each chunk goes to
// the second node as soon as it is durable here: that node has the object when
// the upload ends, not as long again later.
func (m *Media) take(
	ctx context.Context, body io.Reader, to *second,
) (o atoll.Object, err error) {
	p := newPool(ctx)
	whole := sha256.New()
	var manifest []byte
	store := func(b []byte) atoll.Hash {
		h := atoll.HashOf(b)
		p.run(func(ctx context.Context) error {
			err := m.cfg.Store.Put(ctx, h, b)
			if err == nil {
				to.keep(ctx, h)
			}
			return err
		})
		return h
	}
	for more := true; more && p.ctx.Err() == nil; {
		var b []byte
		b, more, err = cut(body)
		if o.Size += int64(len(b)); err == nil && o.Size > atoll.MaxMedia {
			err = atoll.Errorf(atoll.TooLarge, "the object has more than %d bytes", int64(atoll.MaxMedia)).
				WithLimit("object bytes", atoll.MaxMedia)
		}
		if err != nil {
			return o, errors.Join(err, p.end(err))
		}
		if len(b) > 0 {
			_, _ = whole.Write(b)
			h := store(b)
			manifest = append(manifest, h[:]...)
		}
	}
	if len(manifest) > 0 {
		o.Manifest = store(manifest)
	}
	whole.Sum(o.Hash[:0])
	return o, p.end(nil)
}

// second is the node that gets the chunks of one upload while they come in. What
// it misses it is asked for at the end, as any other node would be; after the
// first time that it fails it is left alone until then.
type second struct {
	m      *Media
	node   atoll.NodeID // "": there is none
	failed atomic.Bool
}

// second returns the node that is to have the second copy of what belongs to a
// place.
func (m *Media) second(place atoll.Hash) *second {
	s := &second{m: m}
	if near, _ := m.candidates(place); len(near) > 0 {
		s.node = near[0]
	}
	return s
}

func (s *second) keep(ctx context.Context, h atoll.Hash) {
	if s.node == "" || s.failed.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	if err := s.m.cfg.Node.KeepChunk(ctx, s.node, h); err != nil {
		s.failed.Store(true)
		s.m.cfg.Logger.Warn("an upload goes on without its second copy", "at", s.node, "err", err)
	}
}

// placeOf is what decides which nodes are asked for copies of an object: known
// before its body is.
func placeOf(ks atoll.Keyspace, key atoll.Key) atoll.Hash {
	return atoll.HashOf([]byte(string(ks) + "\x00" + string(key)))
}

// pool runs a few functions at once until one of them fails.
type pool struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{}
	work   sync.WaitGroup
}

func newPool(ctx context.Context) *pool {
	p := &pool{slots: make(chan struct{}, chunksAhead)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// run waits for a slot and runs f in it.
func (p *pool) run(f func(context.Context) error) {
	p.slots <- struct{}{}
	p.work.Go(func() {
		defer func() { <-p.slots }()
		if err := f(p.ctx); err != nil {
			p.cancel(err)
		}
	})
}

// end waits for all, and returns the first error, or cause.
func (p *pool) end(cause error) error {
	if cause != nil {
		p.cancel(cause)
	}
	p.work.Wait()
	err := context.Cause(p.ctx)
	p.cancel(nil)
	return err
}

// cut reads the next chunk; more is false after the last one. A reader that
// fails, also with io.ErrUnexpectedEOF, has not come to its end.
func cut(r io.Reader) (b []byte, more bool, err error) {
	b = make([]byte, atoll.ChunkSize)
	n := 0
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	switch {
	case n == len(b):
		return b, true, nil // an error comes again
	case errors.Is(err, io.EOF):
		return slices.Clone(b[:n]), false, nil
	}
	return nil, false, err
}

// spread makes the copies that an object is to have before its name is written,
// and returns the nodes that hold it, this one first. The error is of kind
// atoll.DurabilityNotReached when they are fewer than the level wants.
func (m *Media) spread(
	ctx context.Context, o atoll.Object, place atoll.Hash, w atoll.Write,
) ([]atoll.NodeID, error) {
	self := m.cfg.Node.Self()
	homes := []atoll.NodeID{self}
	if o.Size == 0 {
		return homes, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	o.Homes = homes
	near, far := m.candidates(place)
	want := copies - 1
	if w.Level.Region || w.Level.All {
		want = len(near)
	}
	homes = append(homes, m.copyTo(ctx, o, near, want)...)
	short := (w.Level.Region || w.Level.All) && len(homes) < want+1
	regions := 1
	for _, nodes := range far {
		need := 1
		if w.Level.All {
			need = len(nodes)
		} else if regions >= w.Level.Regions {
			break
		}
		got := m.copyTo(ctx, o, nodes, need)
		homes = append(homes, got...)
		short = short || w.Level.All && len(got) < need
		regions += min(len(got), 1)
	}
	if short || regions < w.Level.Regions {
		return homes, notReached(homes)
	}
	return homes, nil
}

func notReached(homes []atoll.NodeID) error {
	names := make([]string, len(homes))
	for i, n := range homes {
		names[i] = string(n)
	}
	return atoll.Errorf(atoll.DurabilityNotReached, "the body is durable at %d node(s): %s",
		len(names), strings.Join(names, ", ")).
		WithHint("the object stays; do not repeat the upload")
}

// candidates returns the live nodes that may take a copy of what belongs to a
// place: of the own region, and of each other one, the nearest region first.
func (m *Media) candidates(place atoll.Hash) (near []atoll.NodeID, far [][]atoll.NodeID) {
	self := m.cfg.Node.Self()
	type region struct {
		nodes []atoll.NodeID
		rtt   time.Duration
	}
	var others []region
	for _, r := range m.cfg.Node.Cluster().Regions {
		var alive []atoll.NodeID
		var rtt time.Duration
		for _, n := range r.Nodes {
			if n.ID != self && n.State == atoll.StateUp {
				alive, rtt = append(alive, n.ID), n.RTT
			}
		}
		alive = Ranked(place, alive)
		if r.Name == self.Region() {
			near = alive
		} else if len(alive) > 0 {
			others = append(others, region{alive, rtt})
		}
	}
	slices.SortStableFunc(others, func(a, b region) int { return int(a.rtt - b.rtt) })
	for _, r := range others {
		far = append(far, r.nodes)
	}
	return near, far
}

// copyTo asks nodes, in order, for copies until want have one.
func (m *Media) copyTo(
	ctx context.Context, o atoll.Object, nodes []atoll.NodeID, want int,
) (got []atoll.NodeID) {
	for _, n := range nodes {
		if len(got) >= want || ctx.Err() != nil {
			break
		}
		if err := m.cfg.Node.KeepObject(ctx, n, o); err != nil {
			m.cfg.Logger.Warn("no copy of an object", "at", n, "object", o.Hash, "err", err)
			continue
		}
		got = append(got, n)
	}
	return got
}

// keep makes all chunks of an object durable here, for a peer that took it in or
// for a repair.
func (m *Media) keep(ctx context.Context, o atoll.Object) error {
	defer m.busy()()
	if o.Size == 0 {
		return nil
	}
	b, err := m.hold(ctx, o.Manifest, o.Homes)
	if err != nil {
		return err
	}
	hashes, err := parseManifest(b, o.Size)
	if err != nil {
		return err
	}
	p := newPool(ctx)
	for _, h := range hashes {
		p.run(func(ctx context.Context) error {
			if m.cfg.Store.Renew(ctx, h) {
				return nil
			}
			_, err := m.hold(ctx, h, o.Homes)
			return err
		})
	}
	return p.end(nil)
}

// keepOne makes a chunk durable here that a peer has, for an upload to that peer.
func (m *Media) keepOne(ctx context.Context, from atoll.NodeID, h atoll.Hash) error {
	if m.cfg.Store.Renew(ctx, h) {
		return nil
	}
	b, err := m.fetchFrom(ctx, from, h)
	if err != nil {
		return err
	}
	return m.cfg.Store.Put(ctx, h, b)
}

// hold makes one chunk durable here and returns it.
func (m *Media) hold(ctx context.Context, h atoll.Hash, homes []atoll.NodeID) ([]byte, error) {
	b, ok := m.stored(h)
	if !ok {
		var err error
		if b, err = m.fetch(ctx, h, homes); err != nil {
			return nil, err
		}
	}
	return b, m.cfg.Store.Put(ctx, h, b)
}
