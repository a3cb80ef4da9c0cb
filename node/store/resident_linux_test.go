package store_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// residentFiles is how many bytes of mapped files the kernel counts as this
// process's memory.
func residentFiles(t *testing.T) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "RssFile:")
	if _, err := fmt.Sscan(line, &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}

// What was written or read does not stay in the process.
func TestChunksAreNotResident(t *testing.T) {
	const chunks = 96 // MiB
	c, _ := openChunks(t, t.TempDir(), 0, new(watch).set(time.Unix(1_000_000, 0)))
	rng := rand.NewChaCha8([32]byte{})
	var names []atoll.Hash
	before := residentFiles(t)
	for range chunks {
		b := make([]byte, atoll.ChunkSize)
		_, _ = rng.Read(b)
		names = append(names, atoll.HashOf(b))
		if err := c.Put(t.Context(), names[len(names)-1], b); err != nil {
			t.Fatal(err)
		}
	}
	written := residentFiles(t) - before
	for _, h := range names {
		if b, ok := c.Get(h); !ok || atoll.HashOf(b) != h {
			t.Fatalf("chunk %s: %v", h, ok)
		}
	}
	read := residentFiles(t) - before
	if most := int64(chunks << 20 / 4); written > most || read > most {
		t.Errorf("%d MiB resident after %d MiB were written, %d after they were read",
			written>>20, chunks, read>>20)
	}
}
