package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	chunk = 1 << 20 // bytes, of every part of an object but its last

	// Sizes of the objects, in bytes: a few parts to many.
	smallest = 3 << 20
	largest  = 40 << 20

	namesEach = 4 // of a client, written over again and again

	// sweepLimit is how long a node may take to drop what nothing names.
	sweepLimit = 30 * time.Second
)

// outcome is what may be under a name: a body's hash and size, or nothing.
type outcome struct {
	tag  string // in hex; "" is no object
	size int64
}

// uploader writes objects of its own.
type uploader struct {
	name  string
	rng   *rand.Rand
	may   [namesEach][]outcome // the last acknowledged one, and what was tried since
	acked int
}

// objects is what all uploaders were told.
type objects struct {
	clients  []*uploader
	patience time.Duration // with the node's sweep
	swept    int           // chunks that nothing named any more or yet, dropped in all its lives
}

func newObjects(n int, seed uint64) *objects {
	o := &objects{patience: sweepLimit}
	for i := range n {
		u := &uploader{name: fmt.Sprintf("c%02d", i), rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		for j := range u.may {
			u.may[j] = []outcome{{}}
		}
		o.clients = append(o.clients, u)
	}
	return o
}

func (o *objects) acknowledged() (n int) {
	for _, u := range o.clients {
		n += u.acked
	}
	return n
}

// tested implements workload: uploads ended well, and some were cut off.
func (o *objects) tested(rounds int) error {
	if o.acknowledged() < rounds || o.swept == 0 {
		return fmt.Errorf("only %s in %d rounds", o, rounds)
	}
	return nil
}

func (o *objects) String() string {
	return fmt.Sprintf("acknowledged=%d swept_chunks=%d", o.acknowledged(), o.swept)
}

// load implements workload.
func (o *objects) load(url string, end func()) int {
	before := o.acknowledged()
	transport := &http.Transport{MaxIdleConnsPerHost: len(o.clients)}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport}
	var work sync.WaitGroup
	for _, u := range o.clients {
		work.Go(func() {
			for u.change(h, url) {
			}
		})
	}
	end()
	work.Wait()
	return o.acknowledged() - before
}

// change puts or deletes one of the client's objects; false without an answer.
func (u *uploader) change(h *http.Client, url string) bool {
	i := u.rng.IntN(namesEach)
	to := fmt.Sprintf("%s/v1/media/kill/%s/%d", url, u.name, i)
	if u.rng.IntN(10) == 0 {
		return u.note(i, outcome{}, request(h, "DELETE", to, nil, 0) == http.StatusNoContent)
	}
	size := smallest + u.rng.Int64N(largest-smallest)
	whole := sha256.New()
	body := io.TeeReader(u.noise(size), whole)
	code := request(h, "PUT", to, body, size)
	next := outcome{digest(whole), size}
	return u.note(i, next, code == http.StatusCreated || code == http.StatusNoContent)
}

func digest(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// note remembers what came of a change. One without an answer may have happened.
func (u *uploader) note(i int, next outcome, ok bool) bool {
	if ok {
		u.may[i], u.acked = []outcome{next}, u.acked+1
	} else {
		u.may[i] = append(u.may[i], next)
	}
	return ok
}

// noise yields size random bytes.
func (u *uploader) noise(size int64) io.Reader {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(u.rng.Uint32())
	}
	return io.LimitReader(rand.NewChaCha8(seed), size)
}

// request returns the status of an answer, 0 when none came.
func request(h *http.Client, method, url string, body io.Reader, size int64) int {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return 0
	}
	req.ContentLength = size
	r, err := h.Do(req)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return r.StatusCode
}

// verify implements workload: every object is one that may be there, and whole.
// Then it waits until the node holds their chunks and no other.
func (o *objects) verify(url string) (int, error) {
	there, chunks := 0, 0
	for _, u := range o.clients {
		for i := range u.may {
			name := fmt.Sprintf("%s/%d", u.name, i)
			found, err := fetch(url + "/v1/media/kill/" + name)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			if !found.among(u.may[i]) {
				return 0, fmt.Errorf("LOST or WRONG: %s is %v and may be %v", name, found, u.may[i])
			}
			u.may[i] = []outcome{found} // nothing is on its way any more
			if found.tag != "" {
				there++
				chunks += 1 + int((found.size+chunk-1)/chunk) // and the list of them
			}
		}
	}
	return there, o.collected(url, chunks)
}

func (f outcome) among(may []outcome) bool {
	for _, m := range may {
		if f == m {
			return true
		}
	}
	return false
}

// fetch reads an object; one whose body is not what its head says is an error.
func fetch(url string) (outcome, error) {
	r, err := http.Get(url)
	if err != nil {
		return outcome{}, err
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusNotFound {
		return outcome{}, nil
	}
	whole := sha256.New()
	n, err := io.Copy(whole, r.Body)
	f := outcome{digest(whole), n}
	if err != nil || r.StatusCode != http.StatusOK || n != r.ContentLength ||
		r.Header.Get("ETag") != `"`+f.tag+`"` {
		return f, fmt.Errorf("HALF: %s, %d of %d bytes with hash %s, ETag %s, %w",
			r.Status, n, r.ContentLength, f.tag, r.Header.Get("ETag"), err)
	}
	return f, nil
}

// collected waits until the node's sweep has left so many chunks, all kept.
func (o *objects) collected(url string, chunks int) error {
	begin := time.Now()
	for {
		m, err := metrics(url)
		if err != nil {
			return err
		}
		kept := m[`atoll_media_chunks{state="kept"}`]
		more := m[`atoll_media_chunks{state="unnamed"}`] + m[`atoll_media_chunks{state="cached"}`]
		if kept == chunks && more == 0 && m["atoll_media_sweeps_total"] > 0 {
			o.swept += m["atoll_media_swept_chunks_total"]
			return nil
		}
		if time.Since(begin) > o.patience {
			return fmt.Errorf("ORPHANS: after %d sweeps %d chunks are kept and %d are not, of %d that are named",
				m["atoll_media_sweeps_total"], kept, more, chunks)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// metrics reads the samples of a node that are whole numbers.
func metrics(url string) (map[string]int, error) {
	r, err := http.Get(url + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	m := make(map[string]int)
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			if f, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				m[lines.Text()[:i]] = int(f)
			}
		}
	}
	return m, lines.Err()
}
