// Command media puts one large object in one region, reads it with many clients
// in another, and says what that has cost: the bytes between the regions, the
// time and the memory of the process that is both.
//
//	media -pid PID -put URL -get URL [-size MiB] [-clients 20]
//
// It exits with 1 when a body is not what was put, when more than wanLimit times
// the object came over the WAN, or when the memory grows with the object.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	mib = 1 << 20

	// wanLimit is how often an object may come over the WAN however many read
	// it: its chunks once, and the list of them.
	wanLimit = 1.02

	// peakLimit is what the process may have resident at any time: three nodes
	// with 64 MiB of chunks each, what 50 readers have under way, and what the
	// garbage collector leaves for as long again.
	peakLimit = 640 * mib

	// growthLimit is how much larger the last third of the reading may be than the
	// second in the mean.
	growthLimit = 96 * mib

	// name is where the object is kept.
	name = "/v1/media/films/large"
)

// options are the flags.
type options struct {
	pid, size, clients int
	put, get           string
}

func main() {
	var o options
	flag.IntVar(&o.pid, "pid", 0, "the process of both regions")
	flag.StringVar(&o.put, "put", "http://127.0.1.1:8080", "the API of the region that takes the object in")
	flag.StringVar(&o.get, "get", "http://127.0.3.1:8080", "the API of the region that reads it")
	flag.IntVar(&o.size, "size", 64, "MiB of the object")
	flag.IntVar(&o.clients, "clients", 20, "readers at the same time")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "media:", err)
		os.Exit(1)
	}
}

// run tells what it has measured, and returns what of it must not be.
func run(o options) error {
	size := int64(o.size) * mib
	begin := time.Now()
	tag, session, err := put(o.put, size)
	if err != nil {
		return err
	}
	stored := time.Since(begin)
	mem, err := watch(o.pid)
	if err != nil {
		return err
	}
	begin = time.Now()
	err = readAll(o.get, tag, session, size, o.clients)
	took, growth := time.Since(begin), mem.end()
	if err != nil {
		return err
	}
	wan, err := wanBytes(o.get)
	if err != nil {
		return err
	}
	peak, err := status(o.pid, "VmHWM")
	if err != nil {
		return err
	}
	rate := func(bytes int64, d time.Duration) float64 { return float64(bytes) / 1e6 / d.Seconds() }
	fmt.Printf("%d MiB put at %.1f MB/s, read by %d at once at %.1f MB/s each; %.5f of it over the WAN; "+
		"%d MiB resident at most, %+.1f in the last third\n",
		o.size, rate(size, stored), o.clients, rate(size, took), wan/float64(size), peak>>20, growth/mib)
	if err := tooLarge(o.put); err != nil {
		return err
	}
	switch {
	case wan < float64(size) || wan > wanLimit*float64(size):
		return fmt.Errorf("want 1 to %g of the object over the WAN", wanLimit)
	case peak > peakLimit:
		return fmt.Errorf("want at most %d MiB resident", peakLimit>>20)
	case growth > growthLimit:
		return fmt.Errorf("want the memory flat: %d MiB more at most", growthLimit/mib)
	}
	return nil
}

// put stores size random bytes and returns their ETag and the session token.
func put(api string, size int64) (tag, session string, err error) {
	whole := sha256.New()
	body := io.TeeReader(io.LimitReader(noise(), size), whole)
	req, err := http.NewRequest(http.MethodPut, api+name, body)
	if err != nil {
		return "", "", err
	}
	req.ContentLength = size
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer r.Body.Close()
	tag = `"` + hex.EncodeToString(whole.Sum(nil)) + `"`
	if r.StatusCode != http.StatusCreated || r.Header.Get("ETag") != tag {
		b, _ := io.ReadAll(r.Body)
		return "", "", fmt.Errorf("PUT: %s %s with ETag %s, want %s", r.Status, b, r.Header.Get("ETag"), tag)
	}
	return tag, r.Header.Get("Atoll-Session"), nil
}

// tooLarge streams a byte more than an object may have, without saying so before:
// the node is to notice, and to keep nothing.
func tooLarge(api string) error {
	const url, most = "/v1/media/films/too-large", 4 << 30
	req, err := http.NewRequest(http.MethodPut, api+url, io.LimitReader(zeros{}, most+1))
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusRequestEntityTooLarge {
		return fmt.Errorf("4 GiB and a byte: %s", r.Status)
	}
	if r, err = http.Head(api + url); err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		return fmt.Errorf("of what was too large there is something: %s", r.Status)
	}
	fmt.Println("4 GiB and a byte are refused in the middle of the stream")
	return nil
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// noise yields random bytes, other ones each time.
func noise() io.Reader {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	return rand.NewChaCha8(seed)
}

// readAll reads the object with so many clients at once; the first that does not
// get what was put ends it.
func readAll(api, tag, session string, size int64, clients int) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	var work sync.WaitGroup
	for i := range clients {
		work.Go(func() {
			if err := read(ctx, h, api, tag, session, size); err != nil {
				cancel(fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	work.Wait()
	return context.Cause(ctx)
}

func read(ctx context.Context, h *http.Client, api, tag, session string, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+name, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Atoll-Session", session)
	r, err := h.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	whole := sha256.New()
	n, err := io.CopyBuffer(whole, r.Body, make([]byte, 256<<10))
	got := `"` + hex.EncodeToString(whole.Sum(nil)) + `"`
	if err != nil || r.StatusCode != http.StatusOK || n != size || got != tag ||
		r.Header.Get("ETag") != tag {
		return fmt.Errorf("GET: %s, %d bytes of %d with hash %s, want %s: %w", r.Status, n, size, got, tag, err)
	}
	return nil
}
