package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
)

// watch is a clock that a test sets.
type watch struct{ ms atomic.Int64 }

func (w *watch) now() time.Time         { return time.UnixMilli(w.ms.Load()) }
func (w *watch) pass(d time.Duration)   { w.ms.Add(d.Milliseconds()) }
func (w *watch) set(t time.Time) *watch { w.ms.Store(t.UnixMilli()); return w }

func openChunks(t *testing.T, dir string, reserve int64, w *watch) (*store.Chunks, func()) {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, Reserve: reserve, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.OpenChunks(w.now)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			if err := errors.Join(c.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(end)
	return c, end
}

func held(c *store.Chunks) map[atoll.Hash]atoll.Held {
	all := map[atoll.Hash]atoll.Held{}
	for h := range c.All() {
		all[h.Hash] = h
	}
	return all
}

func TestChunksStay(t *testing.T) {
	dir := t.TempDir()
	w := new(watch).set(time.Unix(1_000_000, 0))
	c, end := openChunks(t, dir, 0, w)
	chunks := map[atoll.Hash][]byte{}
	var writers sync.WaitGroup
	for i := range 40 {
		b := bytes.Repeat(fmt.Appendf(nil, "%4d", i), atoll.ChunkSize/4)
		h := atoll.HashOf(b)
		chunks[h] = b
		writers.Go(func() {
			if err := c.Put(context.Background(), h, b); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	end()
	c, _ = openChunks(t, dir, 0, w)
	for h, want := range chunks {
		if got, ok := c.Get(h); !ok || !bytes.Equal(got, want) || !c.Has(h) {
			t.Fatalf("chunk %s: %d bytes, %v", h, len(got), ok)
		}
	}
	all := held(c)
	if len(all) != len(chunks) {
		t.Errorf("%d listed, want %d", len(all), len(chunks))
	}
	for h, x := range all {
		if chunks[h] == nil || x.Size != atoll.ChunkSize || x.Cached ||
			x.Used.Before(w.now()) || x.Used.After(w.now().Add(time.Second)) {
			t.Errorf("%+v", x)
		}
	}
	missing := atoll.HashOf([]byte("missing"))
	if _, ok := c.Get(missing); ok || c.Has(missing) {
		t.Error("there is what was never put")
	}
}

// A chunk that was put or used since it was listed is not dropped.
func TestDropWhatWasListed(t *testing.T) {
	b := []byte("chunk")
	h := atoll.HashOf(b)
	for name, between := range map[string]func(*store.Chunks, *watch){
		"nothing": func(*store.Chunks, *watch) {},
		"put again in the same millisecond": func(c *store.Chunks, _ *watch) {
			_ = c.Put(context.Background(), h, b)
		},
		"put again later": func(c *store.Chunks, w *watch) {
			w.pass(time.Hour)
			_ = c.Put(context.Background(), h, b)
		},
		"put again after the clock was set back": func(c *store.Chunks, w *watch) {
			w.pass(-time.Hour)
			_ = c.Put(context.Background(), h, b)
		},
		"read much later": func(c *store.Chunks, w *watch) {
			w.pass(store.StampEvery + time.Second)
			c.Get(h)
		},
		"read soon": func(c *store.Chunks, w *watch) {
			w.pass(store.StampEvery / 2)
			c.Get(h)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := new(watch).set(time.Unix(1_000_000, 0))
			c, _ := openChunks(t, t.TempDir(), 0, w)
			if err := c.Put(t.Context(), h, b); err != nil {
				t.Fatal(err)
			}
			listed := held(c)[h]
			between(c, w)
			if err := c.Drop(t.Context(), listed); err != nil {
				t.Fatal(err)
			}
			want := name != "nothing" && name != "read soon"
			if c.Has(h) != want {
				t.Errorf("there: %v, want %v", !want, want)
			}
			if got, ok := c.Get(h); ok != want || want && !bytes.Equal(got, b) {
				t.Errorf("%q %v", got, ok)
			}
		})
	}
}

// A copy that is only cached becomes a kept one when it is put, and stays one
// when it comes along as a copy again.
func TestKeptBeatsCached(t *testing.T) {
	w := new(watch).set(time.Unix(1_000_000, 0))
	c, _ := openChunks(t, t.TempDir(), 0, w)
	b := []byte("chunk")
	h := atoll.HashOf(b)
	other := []byte("other")
	c.Keep(t.Context(), h, b)
	flush := func() { // one goroutine writes in order
		if err := c.Put(t.Context(), atoll.HashOf(other), other); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	if x := held(c)[h]; !x.Cached || x.Size != 5 {
		t.Errorf("kept for later: %+v", x)
	}
	if err := c.Put(t.Context(), h, b); err != nil || held(c)[h].Cached {
		t.Errorf("put: %v %+v", err, held(c)[h])
	}
	c.Keep(t.Context(), h, b)
	flush()
	if held(c)[h].Cached {
		t.Error("a copy took the place of what is kept")
	}
}

// Renew is for what was put only, and keeps it from a Drop under way.
func TestRenew(t *testing.T) {
	w := new(watch).set(time.Unix(1_000_000, 0))
	c, _ := openChunks(t, t.TempDir(), 0, w)
	b := []byte("chunk")
	h := atoll.HashOf(b)
	if c.Renew(t.Context(), h) || c.Has(h) {
		t.Error("renewed what is not here")
	}
	c.Keep(t.Context(), h, b)
	if c.Renew(t.Context(), h) || !held(c)[h].Cached {
		t.Error("renewed a copy")
	}
	if err := c.Put(t.Context(), h, b); err != nil {
		t.Fatal(err)
	}
	listed := held(c)[h]
	if !c.Renew(t.Context(), h) {
		t.Error("did not renew what was put")
	}
	if err := c.Drop(t.Context(), listed); err != nil || !c.Has(h) {
		t.Errorf("dropped what was renewed: %v", err)
	}
	if err := c.Drop(t.Context(), held(c)[h]); err != nil || c.Renew(t.Context(), h) {
		t.Errorf("renewed what was dropped: %v", err)
	}
}

// On a full disk nothing is added and everything can be dropped.
func TestChunksOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	w := new(watch).set(time.Unix(1_000_000, 0))
	b := []byte("chunk")
	h := atoll.HashOf(b)
	c, end := openChunks(t, dir, 0, w)
	if err := c.Put(t.Context(), h, b); err != nil {
		t.Fatal(err)
	}
	end()
	c, _ = openChunks(t, dir, math.MaxInt64, w)
	other := []byte("other")
	if err := c.Put(t.Context(), atoll.HashOf(other), other); atoll.KindOf(err) != atoll.DiskFull {
		t.Errorf("put: %v", err)
	}
	if atoll.KindOf(c.Full()) != atoll.DiskFull {
		t.Errorf("Full: %v", c.Full())
	}
	if got, ok := c.Get(h); !ok || !bytes.Equal(got, b) {
		t.Errorf("read: %q %v", got, ok)
	}
	if err := c.Drop(t.Context(), held(c)[h]); err != nil || c.Has(h) {
		t.Errorf("drop: %v, there %v", err, c.Has(h))
	}
	if c.Has(atoll.HashOf(other)) {
		t.Error("what was refused is there")
	}
}

// Reads and writes that meet the end of the store end too, with an error.
func TestChunksClosed(t *testing.T) {
	w := new(watch).set(time.Unix(1_000_000, 0))
	c, end := openChunks(t, t.TempDir(), 0, w)
	b := []byte("chunk")
	h := atoll.HashOf(b)
	if err := c.Put(t.Context(), h, b); err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for {
				_, ok := c.Get(h)
				if err := c.Put(context.Background(), h, b); err != nil && !ok {
					return
				}
			}
		})
	}
	end()
	users.Wait()
	if _, ok := c.Get(h); ok || c.Has(h) || len(held(c)) > 0 {
		t.Error("a closed store answers")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Put(ctx, h, b) == nil || c.Drop(ctx, atoll.Held{}) == nil {
		t.Error("a closed store takes writes")
	}
}
