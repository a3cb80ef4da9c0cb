// Package cache provides media: objects of up to atoll.MaxMedia bytes whose
// names are replicated documents and whose bodies are immutable chunks, fetched
// through a tier of memory that all nodes of a region share.
//
// A chunk is named by its SHA-256 and compared with it each time before it is
// used. The nodes that took an object in, and those that were asked for a copy,
// keep its chunks; any other that fetches one keeps it as a cached copy on its
// disk, to be evicted when there are too many. groupcache is known here only.
package cache

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
)

// Node is what media needs of the node it is part of.
type Node interface {
	Self() atoll.NodeID
	Cluster() atoll.Cluster
	Read(context.Context, atoll.Read) (atoll.Document, error)
	Write(context.Context, atoll.Write) (atoll.Written, error)
	List(context.Context, atoll.Listing) (atoll.Page, error)
	Settings(context.Context, atoll.Keyspace) (atoll.Settings, error)

	// OpenKeyspace makes a keyspace if that is allowed; CatchUp waits for what a
	// session has seen; MediaSpaces lists the keyspaces whose documents are objects.
	OpenKeyspace(context.Context, atoll.Keyspace) (atoll.Settings, error)
	CatchUp(context.Context, atoll.Token) error
	MediaSpaces(context.Context) ([]atoll.Keyspace, error)

	// FetchChunk, KeepObject and KeepChunk ask a peer, ServeChunks names who
	// answers one.
	FetchChunk(ctx context.Context, to atoll.NodeID, h atoll.Hash, homes []atoll.NodeID,
		through bool) ([]byte, error)
	KeepObject(ctx context.Context, to atoll.NodeID, o atoll.Object) error
	KeepChunk(ctx context.Context, to atoll.NodeID, h atoll.Hash) error
	ServeChunks(
		get func(context.Context, atoll.Hash, []atoll.NodeID, bool) ([]byte, error),
		keep func(context.Context, atoll.Object) error,
		keepOne func(context.Context, atoll.NodeID, atoll.Hash) error)
}

// Store keeps chunks on the node's disk.
type Store interface {
	Has(atoll.Hash) bool
	Get(atoll.Hash) ([]byte, bool)

	// Put returns when the chunk is durable; Keep hands over a copy that may go
	// at any time. Both own the bytes from then on.
	Put(context.Context, atoll.Hash, []byte) error
	Keep(context.Context, atoll.Hash, []byte)

	// Renew is Put of a chunk that was put before: false if it was not, or went.
	Renew(context.Context, atoll.Hash) bool

	// Drop deletes what was not used since All yielded it.
	Drop(context.Context, atoll.Held) error
	All() iter.Seq[atoll.Held]

	// Full is an error of kind atoll.DiskFull while nothing may be added.
	Full() error
}

// Config makes a Media. Node, Store, Clock and Logger are required.
type Config struct {
	Node    Node
	Store   Store
	Memory  int64         // bytes of chunks to keep in memory; 0: 64 MiB
	Disk    int64         // bytes of cached copies to keep on disk; 0: 4 GiB
	Grace   time.Duration // for a chunk that no object names; 0: an hour
	Lost    time.Duration // a node that is down so long has lost its copies; 0: 2 minutes
	Every   time.Duration // between two sweeps; 0: 5 minutes
	Clock   func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: none
}

// Limits of the chunks that a node has in its hands: memory.
const (
	fetchSlots = 32 // fetched from others at once
	copySlots  = 32 // fetched, waiting for the disk
)

// Media stores and serves the objects of a node. Its methods are safe for
// concurrent use; their errors are *atoll.Error or come from the caller's reader.
type Media struct {
	cfg     Config
	tier    *Tier
	metrics *metrics
	slots   chan struct{}
	copying chan struct{}
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu     sync.Mutex
	active map[*time.Time]struct{} // when uploads and copies under way began
	down   map[atoll.NodeID]time.Time
}

// New returns a Media that serves its peers from now on. Close it before its
// node.
func New(cfg Config) *Media {
	cfg = cfg.withDefaults()
	m := &Media{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), slots: make(chan struct{}, fetchSlots),
		copying: make(chan struct{}, copySlots),
		active:  make(map[*time.Time]struct{}), down: make(map[atoll.NodeID]time.Time),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tier = NewTier(TierConfig{
		Self: cfg.Node.Self(), Memory: cfg.Memory, Owners: m.neighbours, Has: cfg.Store.Has,
		Load: m.load, Ask: m.askOwner,
		Spoilt: func(h atoll.Hash) { m.spoilt(h, "") },
	})
	cfg.Node.ServeChunks(m.serve, m.keep, m.keepOne)
	m.work.Go(m.sweepAll)
	return m
}

func (c Config) withDefaults() Config {
	if c.Memory == 0 {
		c.Memory = 64 << 20
	}
	if c.Disk == 0 {
		c.Disk = 4 << 30
	}
	if c.Grace == 0 {
		c.Grace = time.Hour
	}
	if c.Lost == 0 {
		c.Lost = 2 * time.Minute
	}
	if c.Every == 0 {
		c.Every = 5 * time.Minute
	}
	return c
}

// Close ends all that is under way.
func (m *Media) Close() {
	m.cancel()
	m.tier.Close()
	m.work.Wait()
}

// meta is the document of an object.
type meta struct {
	Size     int64          `json:"size"`
	Type     string         `json:"type"`
	Hash     string         `json:"hash"`
	Manifest string         `json:"manifest"`
	StoredAt int64          `json:"stored_at_ms"`
	Homes    []atoll.NodeID `json:"homes"`
}

func metaOf(o atoll.Object) ([]byte, error) {
	return json.Marshal(meta{o.Size, o.Type, o.Hash.String(), o.Manifest.String(),
		o.StoredAt.UnixMilli(), o.Homes})
}

// parseMeta reads the document of an object.
func parseMeta(d atoll.Document) (atoll.Object, error) {
	var x meta
	err := json.Unmarshal(d.Body, &x)
	o := atoll.Object{
		Key: d.Key, Size: x.Size, Type: x.Type, StoredAt: time.UnixMilli(x.StoredAt),
		Homes: x.Homes, Session: d.Session,
	}
	if err == nil {
		o.Hash, err = atoll.ParseHash(x.Hash)
	}
	if err == nil {
		o.Manifest, err = atoll.ParseHash(x.Manifest)
	}
	if err != nil || o.Size < 0 || o.Size > atoll.MaxMedia {
		return atoll.Object{}, atoll.Errorf(atoll.Internal, "the document of object %q is damaged",
			d.Key).Because(err)
	}
	return o, nil
}

// Stat returns an object without its body: atoll.NotFound if there is none,
// atoll.UnknownKeyspace if its keyspace does not exist.
func (m *Media) Stat(ctx context.Context, r atoll.Read) (atoll.Object, error) {
	o, _, err := m.stat(ctx, r)
	return o, err
}

// stat returns the ETag of the object's document too.
func (m *Media) stat(ctx context.Context, r atoll.Read) (atoll.Object, string, error) {
	if err := named(r.Keyspace); err != nil {
		return atoll.Object{}, "", err
	}
	if err := m.cfg.Node.CatchUp(ctx, r.Session); err != nil {
		return atoll.Object{}, "", err
	}
	ks := r.Keyspace
	r.Keyspace = ks.Media()
	d, err := m.cfg.Node.Read(ctx, r)
	switch atoll.KindOf(err) {
	case "":
		o, err := parseMeta(d)
		return o, d.ETag, err
	case atoll.NotFound, atoll.UnknownKeyspace:
		if _, err := m.cfg.Node.Settings(ctx, ks); err != nil {
			return atoll.Object{Session: d.Session}, "", err
		}
		err = atoll.Errorf(atoll.NotFound, "there is no object %q in keyspace %q", r.Key, ks)
	}
	return atoll.Object{Session: d.Session}, "", err
}

// named refuses keyspaces whose media would have no name.
func named(ks atoll.Keyspace) error {
	if most := atoll.MaxKeyspace - len(atoll.Keyspace("").Media()) + 1; len(ks) > most {
		return atoll.Errorf(atoll.BadRequest, "the keyspace name %q is too long for media", ks).
			WithLimit("keyspace name bytes with media", int64(most))
	}
	return nil
}

// Delete removes an object's name; its chunks go when nothing names them. The
// change and the body of w are ignored, its tags are content hashes.
func (m *Media) Delete(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	if err := named(w.Keyspace); err != nil {
		return atoll.Written{}, err
	}
	if _, err := m.cfg.Node.OpenKeyspace(ctx, w.Keyspace); err != nil {
		return atoll.Written{}, err
	}
	w.Change, w.Body = atoll.Delete, nil
	return m.write(ctx, w)
}

// writeTries is how often a write begins again because another came between its
// check and itself.
const writeTries = 8

// write changes the document of an object if the conditions on its content hold.
func (m *Media) write(ctx context.Context, w atoll.Write) (atoll.Written, error) {
	match, none := w.IfMatch, w.IfNoneMatch
	if match == nil && none == nil {
		w.Keyspace = w.Keyspace.Media()
		return m.cfg.Node.Write(ctx, w)
	}
	for range writeTries {
		tag, err := m.check(ctx, w)
		if err != nil {
			return atoll.Written{}, err
		}
		attempt := w
		attempt.Keyspace = w.Keyspace.Media()
		if attempt.IfMatch, attempt.IfNoneMatch = []string{tag}, nil; tag == "" {
			attempt.IfMatch, attempt.IfNoneMatch = nil, []string{"*"}
		}
		done, err := m.cfg.Node.Write(ctx, attempt)
		if atoll.KindOf(err) != atoll.PreconditionFailed {
			return done, err
		}
	}
	return atoll.Written{}, atoll.Errorf(atoll.PreconditionFailed,
		"others write the object %q all the time", w.Key)
}

// check holds a write's conditions against the object that is there, and returns
// the ETag of its document, "" if there is none.
func (m *Media) check(ctx context.Context, w atoll.Write) (string, error) {
	o, tag, err := m.stat(ctx, atoll.Read{Keyspace: w.Keyspace, Key: w.Key, Session: w.Session})
	if kind := atoll.KindOf(err); err != nil && kind != atoll.NotFound && kind != atoll.UnknownKeyspace {
		return "", err
	}
	matches := func(tags []string) bool {
		for _, t := range tags {
			if tag != "" && (t == "*" || t == o.Hash.String()) {
				return true
			}
		}
		return false
	}
	switch {
	case w.IfMatch != nil && !matches(w.IfMatch):
		return "", atoll.Errorf(atoll.PreconditionFailed, "If-Match does not match the object here").
			WithHint("read its headers again and repeat the change on what you see")
	case matches(w.IfNoneMatch):
		return "", atoll.Errorf(atoll.PreconditionFailed, "If-None-Match matches the object here").
			WithHint("the object exists already in this version")
	}
	return tag, nil
}

// busy notes that chunks are being stored which no document names yet; the
// result says that they are named, or never will be.
func (m *Media) busy() (done func()) {
	since := m.cfg.Clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active[&since] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.active, &since)
	}
}

// neighbours returns the live nodes of the own region, this one included.
func (m *Media) neighbours() []atoll.NodeID {
	self := m.cfg.Node.Self()
	nodes := []atoll.NodeID{self}
	for _, r := range m.cfg.Node.Cluster().Regions {
		if r.Name != self.Region() {
			continue
		}
		for _, n := range r.Nodes {
			if n.ID != self && n.State == atoll.StateUp {
				nodes = append(nodes, n.ID)
			}
		}
	}
	return nodes
}

var errUnreachable = errors.New("cache: no node that has it can be reached")
