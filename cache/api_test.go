package cache_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/cache"
)

func TestConditions(t *testing.T) {
	s := newSea(t, nil, "a/1")
	one, two := []byte("one"), []byte("two")
	tag := func(b []byte) string { return `"` + atoll.HashOf(b).String() + `"` }
	for _, c := range []struct {
		method string
		body   []byte
		header []string
		want   int
	}{
		{"PUT", one, []string{"If-Match", "*"}, 412},
		{"PUT", one, []string{"If-Match", tag(one)}, 412},
		{"DELETE", nil, []string{"If-Match", "*"}, 412},
		{"PUT", one, []string{"If-None-Match", "*"}, 201},
		{"PUT", two, []string{"If-None-Match", "*"}, 412},
		{"PUT", two, []string{"If-None-Match", tag(one)}, 412},
		{"PUT", two, []string{"If-Match", tag(two)}, 412},
		{"PUT", two, []string{"If-Match", tag(two) + ", " + tag(one)}, 204},
		{"PUT", one, []string{"If-None-Match", tag(one)}, 204},
		{"PUT", one, []string{"If-Match", "W/" + tag(one)}, 412}, // RFC 9110, 13.1.1: strong
		{"DELETE", nil, []string{"If-Match", tag(two)}, 412},
		{"DELETE", nil, []string{"If-Match", tag(one)}, 204},
		{"DELETE", nil, nil, 204},
		{"GET", nil, nil, 404},
	} {
		res := s.do(0, c.method, "films/x", bytes.NewReader(c.body), c.header...)
		if res.StatusCode != c.want {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.body, c.header, res.StatusCode, c.want)
		}
	}
}

// Of many that want to be the first one is.
func TestOneIsFirst(t *testing.T) {
	s := newSea(t, nil, "a/1")
	var won, lost atomic.Int32
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			switch s.do(0, "PUT", "films/x", strings.NewReader(fmt.Sprint(i)),
				"If-None-Match", "*").StatusCode {
			case 201:
				won.Add(1)
			case 412:
				lost.Add(1)
			}
		})
	}
	clients.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
}

// Media have a namespace of their own, and their documents are nobody's.
func TestNamespaces(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	if got := problem(t, s.do(0, "GET", "films/x", nil)); got != "404 unknown-keyspace" {
		t.Errorf("before there is a keyspace: %s", got)
	}
	put := s.put(0, "films/x", []byte("bytes"), "Atoll-Durability", "all")
	other := s.do(1, "GET", "films/y", nil, "Atoll-Session", put.Header.Get("Atoll-Session"))
	if got := problem(t, other); got != "404 not-found" {
		t.Errorf("another name: %s", got)
	}
	for path, want := range map[string]string{
		"/v1/docs/films/x":          "404 not-found",
		"/v1/docs/_media-films/x":   "400 bad-request",
		"/v1/docs/_media-films":     "400 bad-request",
		"/v1/media/_media-films/x":  "400 bad-request",
		"/v1/media/_roster/x":       "400 bad-request",
		"/v1/keyspaces/_media-film": "400 bad-request",
	} {
		res, err := http.Get(s.islands[0].http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := problem(t, res); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		_ = res.Body.Close()
	}
	longest := "k" + strings.Repeat("x", 56)
	s.put(0, longest+"/x", []byte("bytes"))
	if code, got := s.get(0, longest+"/x"); code != 200 || string(got) != "bytes" {
		t.Errorf("the longest name: %d %q", code, got)
	}
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		if got := problem(t, s.do(0, method, longest+"x/x", nil)); got != "400 bad-request" {
			t.Errorf("%s with a longer name: %s", method, got)
		}
	}
}

// An object with a time to live is gone after it, and its chunks with it.
func TestTTL(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	s.put(0, "films/x", []byte("bytes"), "Atoll-TTL", "300ms")
	if code, _ := s.get(0, "films/x"); code != 200 {
		t.Errorf("at once: %d", code)
	}
	eventually(t, "gone", func() bool { code, _ := s.get(0, "films/x"); return code == 404 })
	s.sweep(map[int]int{0: 0})
}

// Any part of an object is what it is, wherever it is read.
func TestRangesEverywhere(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	body := noise(5<<20+77, 1)
	session := s.put(0, "films/x", body).Header.Get("Atoll-Session")
	rng := mrand.New(mrand.NewPCG(5, 6))
	for n := range 60 {
		from := rng.IntN(len(body))
		to := min(from+rng.IntN(3<<20), len(body)-1)
		if n%3 == 0 { // around the ends of chunks
			from = (1 + rng.IntN(5)) << 20
			to = min(from+rng.IntN(3), len(body)-1)
			from -= rng.IntN(3)
		}
		code, got := s.get(n%2, "films/x", "Range", fmt.Sprintf("bytes=%d-%d", from, to),
			"Atoll-Session", session)
		if code != 206 || !bytes.Equal(got, body[from:to+1]) {
			t.Errorf("%d-%d: %d, %d bytes", from, to, code, len(got))
		}
	}
}

// A seek into a large object fetches what is read and a little more, not all.
func TestSeekFetchesLittle(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	body := noise(32<<20, 2)
	session := s.put(0, "films/x", body).Header.Get("Atoll-Session")
	code, got := s.get(1, "films/x", "Range", "bytes=20000000-20000099", "Atoll-Session", session)
	if code != 206 || !bytes.Equal(got, body[20000000:20000100]) {
		t.Fatalf("%d, %d bytes", code, len(got))
	}
	if wan := s.counted(1, "atoll_media_read_bytes_total", "wan"); wan > 1<<20+1<<11 {
		t.Errorf("%.0f bytes over the WAN for 100", wan)
	}
}

// stream is n bytes that are never in memory together.
type stream struct {
	rng  *mrand.ChaCha8
	left int
}

func newStream(n int) *stream { return &stream{mrand.NewChaCha8([32]byte{1}), n} }

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, _ := s.rng.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, nil
}

// The memory of a transfer does not depend on the size of the object.
func TestFlatMemory(t *testing.T) {
	s := newSea(t, func(c *cache.Config) { c.Memory = cache.MinMemory }, "a/1", "b/1")
	const size = 128 << 20
	began := time.Now()
	peak := peakHeap(t)
	res := s.do(0, "PUT", "films/x", newStream(size))
	if res.StatusCode != 201 {
		t.Fatal(res.Status)
	}
	up := peak()
	t.Logf("stored after %v", time.Since(began))
	peak = peakHeap(t)
	session := res.Header.Get("Atoll-Session")
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			sum := sha256.New()
			got := s.do(1, "GET", "films/x", nil, "Atoll-Session", session)
			if n, err := io.Copy(sum, got.Body); n != size || err != nil ||
				fmt.Sprintf(`"%x"`, sum.Sum(nil)) != got.Header.Get("ETag") {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	clients.Wait()
	down := peak()
	t.Logf("peak heap above the start: %d MiB up, %d MiB down for %d MiB", up>>20, down>>20, size>>20)
	// Chunks under way, read ahead for four clients, the tier of two nodes.
	if up > 32<<20 || down > 80<<20 {
		t.Errorf("%d bytes up and %d down", up, down)
	}
}

// peakHeap watches what of the heap is alive; the result returns how far that
// has grown at most.
func peakHeap(t *testing.T) func() int64 {
	old := debug.SetGCPercent(20)
	heap := func() int64 {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		return int64(live[0].Value.Uint64())
	}
	runtime.GC()
	start, most := heap(), int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				most = max(most, heap())
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-done
		debug.SetGCPercent(old)
		return most - start
	}
}
