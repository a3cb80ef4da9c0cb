package store_test

import (
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
)

// diskBytes is what the files below dir take, holes not counted.
func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err == nil { // else it went meanwhile
			n += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// putNoise stores so many chunks of random bytes.
func putNoise(t *testing.T, c *store.Chunks, chunks int, seed byte) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{seed})
	var writers sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range chunks {
		b := make([]byte, atoll.ChunkSize)
		_, _ = rng.Read(b)
		slots <- struct{}{}
		writers.Go(func() {
			defer func() { <-slots }()
			if err := c.Put(t.Context(), atoll.HashOf(b), b); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
}

// The disk space of dropped chunks comes back, while others are written, and what
// was not dropped stays: now, and when the store is opened again.
func TestDroppedChunksGiveSpaceBack(t *testing.T) {
	const chunks = 280 // MiB: two files of the value log and some
	dir := t.TempDir()
	w := new(watch).set(time.Unix(1_000_000, 0))
	c, end := openChunks(t, dir, 0, w)
	for round := range 2 {
		putNoise(t, c, chunks, byte(round))
		i := 0
		for _, h := range held(c) {
			if i++; i%8 == 0 {
				continue // one here and there stays in each file
			}
			if err := c.Drop(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		full := diskBytes(t, dir)
		var writer sync.WaitGroup
		writer.Go(func() { putNoise(t, c, 16, byte(2+round)) })
		c.CollectGarbage(func() bool { return false })
		writer.Wait()
		// The file that is being written is not collected.
		after := diskBytes(t, dir)
		if most := int64(128+len(held(c))+chunks/4) << 20; after > most {
			t.Errorf("round %d: %d MiB on the disk, %d after %d of %d chunks were dropped, want at most %d",
				round, full>>20, after>>20, chunks-len(held(c)), chunks, most>>20)
		}
	}
	want := held(c)
	end()
	c, _ = openChunks(t, dir, 0, w)
	if got := held(c); len(got) != len(want) {
		t.Errorf("%d chunks, want %d", len(got), len(want))
	}
	for h := range want {
		if b, ok := c.Get(h); !ok || atoll.HashOf(b) != h {
			t.Errorf("chunk %s is lost", h)
		}
	}
}
