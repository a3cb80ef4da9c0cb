package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/cache"
)

// hasty sweeps what nobody has named for a millisecond, and takes a node for
// lost that was down as long.
func hasty(c *cache.Config) { c.Grace, c.Lost = time.Millisecond, time.Millisecond }

// sweep lets the islands sweep until they hold want chunks each.
func (s *sea) sweep(want map[int]int) {
	s.t.Helper()
	for i, n := range want {
		eventually(s.t, fmt.Sprintf("%d chunks at %d", n, i), func() bool {
			if err := s.islands[i].media.Sweep(s.t.Context()); err != nil {
				s.t.Logf("sweep at %d: %v", i, err)
			}
			return len(s.held(i)) == n
		})
	}
}

// problem returns status and kind of an answer.
func problem(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, kind, _ := strings.Cut(string(b), "urn:atoll:problem:")
	kind, _, _ = strings.Cut(kind, `"`)
	return fmt.Sprint(res.StatusCode, " ", kind)
}

// failing is a body that ends with an error.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestCutUploadLeavesNothing(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	for _, cut := range []error{io.ErrUnexpectedEOF, errors.New("reset"), context.Canceled} {
		for _, size := range []int{0, 100, 3 << 20, 7<<20 + 5} {
			_, err := s.islands[0].media.Put(t.Context(), atoll.Upload{
				Keyspace: "films", Key: "x", Body: failing{bytes.NewReader(noise(size, 1)), cut}})
			if !errors.Is(err, cut) {
				t.Errorf("%d bytes, then %v: %v", size, cut, err)
			}
		}
	}
	if code, _ := s.get(0, "films/x"); code != 404 {
		t.Errorf("GET: %d", code)
	}
	if len(s.held(0)) == 0 {
		t.Error("no chunk was ever stored: the test tests nothing")
	}
	s.sweep(map[int]int{0: 0})
}

// What an upload has stored is nobody's until its end, and stays.
func TestSweepLeavesUploadsAlone(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.islands[0].media.Put(t.Context(),
			atoll.Upload{Keyspace: "films", Key: "x", Body: r})
		done <- err
	}()
	body := noise(4<<20, 2)
	if _, err := w.Write(body[:3<<20]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two chunks stored", func() bool { return len(s.held(0)) >= 2 })
	time.Sleep(3 * time.Millisecond) // older than the grace time
	if err := s.islands[0].media.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if unnamed := s.counted(0, "atoll_media_chunks", "unnamed"); unnamed < 2 {
		t.Errorf("%v unnamed chunks are counted in the middle of an upload", unnamed)
	}
	if _, err := w.Write(body[3<<20:]); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.sweep(map[int]int{0: 5})
	for state, want := range map[string]float64{"kept": 5, "cached": 0, "unnamed": 0} {
		if n := s.counted(0, "atoll_media_chunks", state); n != want {
			t.Errorf("%v chunks are counted as %s, want %v", n, state, want)
		}
	}
	if n := s.counted(0, "atoll_media_sweeps_total", ""); n < 2 {
		t.Errorf("%v sweeps counted", n)
	}
	if code, got := s.get(0, "films/x"); code != 200 || !bytes.Equal(got, body) {
		t.Errorf("%d, %d bytes", code, len(got))
	}
}

// Chunks go with the last object that names them, everywhere.
func TestDeleteAndCollect(t *testing.T) {
	s := newSea(t, hasty, "a/1", "a/2", "b/1")
	one, two := noise(3<<20, 1), noise(3<<20, 2)
	s.put(0, "films/one", one)
	s.put(1, "films/same", one)
	session := s.put(0, "films/two", two).Header.Get("Atoll-Session")
	code, got := s.get(2, "films/two", "Atoll-Session", session)
	if code != 200 || !bytes.Equal(got, two) {
		t.Fatalf("at b: %d, %d bytes", code, len(got))
	}
	s.sweep(map[int]int{0: 8, 1: 8, 2: 4})
	s.sweep(map[int]int{2: 4}) // the last copy may have come behind the back of the first
	if n := s.counted(2, "atoll_media_chunks", "cached"); n != 4 {
		t.Errorf("%v chunks are counted as cached, want 4", n)
	}
	seen := session
	for _, name := range []string{"one", "two"} {
		res := s.do(0, "DELETE", "films/"+name, nil, "Atoll-Session", seen)
		if res.StatusCode != 204 {
			t.Fatal(res.Status)
		}
		seen = res.Header.Get("Atoll-Session")
	}
	for i := range s.islands {
		if code, _ := s.get(i, "films/two", "Atoll-Session", seen); code != 404 {
			t.Errorf("at %d: %d", i, code)
		}
	}
	s.sweep(map[int]int{0: 4, 1: 4, 2: 0})
	if code, got := s.get(2, "films/same"); code != 200 || !bytes.Equal(got, one) {
		t.Errorf("the other name of the same bytes: %d, %d bytes", code, len(got))
	}
}

// An object that is written again gives the chunks of its old body back.
func TestOverwriteAndCollect(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	s.put(0, "films/x", noise(3<<20, 1))
	if res := s.put(0, "films/x", noise(1<<20, 2)); res.StatusCode != 204 {
		t.Errorf("the second PUT: %d", res.StatusCode)
	}
	s.sweep(map[int]int{0: 2})
	s.put(0, "films/x", nil)
	s.sweep(map[int]int{0: 0})
	if code, got := s.get(0, "films/x"); code != 200 || len(got) > 0 {
		t.Errorf("the empty object: %d, %d bytes", code, len(got))
	}
}

// spoil replaces the bytes of all chunks at an island.
func (s *sea) spoil(i int) {
	s.t.Helper()
	c := s.islands[i].Chunks()
	for _, h := range s.held(i) {
		if err := errors.Join(c.Drop(s.t.Context(), h),
			c.Put(s.t.Context(), h.Hash, []byte("spoilt"))); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A disk that lies: what it says is never served, counted, and fetched from the
// other home, by readers there and elsewhere.
func TestSpoiltDisk(t *testing.T) {
	s := newSea(t, nil, "a/1", "a/2", "b/1")
	body := noise(3<<20, 3)
	session := s.put(0, "films/x", body).Header.Get("Atoll-Session")
	s.spoil(0)
	for _, i := range []int{2, 0} {
		code, got := s.get(i, "films/x", "Atoll-Session", session)
		if code != 200 || !bytes.Equal(got, body) {
			t.Errorf("at %d: %d, %d bytes", i, code, len(got))
		}
	}
	if n := s.counted(0, "atoll_media_bad_chunks_total", ""); n != 4 {
		t.Errorf("%v bad chunks counted, want 4", n)
	}
}

// A peer that lies: the same.
func TestLyingPeer(t *testing.T) {
	s := newSea(t, nil, "a/1", "a/2", "b/1")
	body := noise(3<<20, 4)
	session := s.put(0, "films/x", body).Header.Get("Atoll-Session")
	s.islands[0].ServeChunks(
		func(context.Context, atoll.Hash, []atoll.NodeID, bool) ([]byte, error) {
			return []byte("lie"), nil
		},
		func(context.Context, atoll.Object) error { return nil },
		func(context.Context, atoll.NodeID, atoll.Hash) error { return nil })
	s.islands[1].media.Close() // so that it has to ask the liar first
	s.islands[1].ServeChunks(
		func(_ context.Context, h atoll.Hash, _ []atoll.NodeID, _ bool) ([]byte, error) {
			if b, ok := s.islands[1].Chunks().Get(h); ok {
				return b, nil
			}
			return nil, errors.New("absent")
		},
		func(context.Context, atoll.Object) error { return nil },
		func(context.Context, atoll.NodeID, atoll.Hash) error { return nil })
	code, got := s.get(2, "films/x", "Atoll-Session", session)
	if code != 200 || !bytes.Equal(got, body) {
		t.Errorf("%d, %d bytes", code, len(got))
	}
	lies := s.counted(2, "atoll_media_bad_chunks_total", "")
	if lies > 4 {
		t.Errorf("%v lies counted of 4 chunks", lies)
	}
	s.stop(1)
	eventually(t, "a/2 is down", func() bool { return s.up(2) == 2 })
	fresh := noise(1<<20, 5) // of an object that only the liar claims to have
	o := atoll.Object{Size: 1 << 20, Manifest: atoll.HashOf(fresh), Homes: []atoll.NodeID{"a/1"}}
	if _, err := s.islands[2].media.Open(t.Context(), o); atoll.KindOf(err) != atoll.BehindSession {
		t.Errorf("from the liar alone: %v", err)
	}
	if n := s.counted(2, "atoll_media_bad_chunks_total", ""); n != lies+1 {
		t.Errorf("%v lies counted, then %v", lies, n)
	}
}

func TestCopyInAnotherRegion(t *testing.T) {
	s := newSea(t, hasty, "a/1", "a/2", "b/1")
	body := noise(3<<20, 6)
	s.put(0, "films/x", body, "Atoll-Durability", "regions:2")
	for i := range s.islands {
		if n := len(s.held(i)); n != 4 {
			t.Errorf("%d chunks at %d when the answer came", n, i)
		}
	}
	o, err := s.islands[2].media.Stat(t.Context(), atoll.Read{Keyspace: "films", Key: "x"})
	if want := []atoll.NodeID{"a/1", "a/2", "b/1"}; err != nil || !slices.Equal(o.Homes, want) {
		t.Errorf("homes %v %v", o.Homes, err)
	}
	s.sweep(map[int]int{0: 4, 1: 4, 2: 4})
	s.stop(0)
	s.stop(1)
	if code, got := s.get(2, "films/x"); code != 200 || !bytes.Equal(got, body) {
		t.Errorf("without the region that took it in: %d, %d bytes", code, len(got))
	}
	res := s.do(2, "PUT", "films/y", bytes.NewReader(body), "Atoll-Durability", "regions:3")
	if got := problem(t, res); got != "409 durability-impossible" {
		t.Errorf("three regions of two: %s", got)
	}
	res = s.do(2, "PUT", "films/y", bytes.NewReader(body), "Atoll-Durability", "regions:2",
		"Atoll-Timeout", "300ms")
	if got := problem(t, res); got != "503 durability-not-reached" {
		t.Errorf("two regions of which one is down: %s", got)
	}
	if code, got := s.get(2, "films/y"); code != 200 || !bytes.Equal(got, body) {
		t.Errorf("it did not stay: %d, %d bytes", code, len(got))
	}
}

// feed uploads to an island what is written to the result; ended gives what came
// of it.
func (s *sea) feed(i int, key atoll.Key) (w *io.PipeWriter, ended func() error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	media := s.islands[i].media
	go func() {
		_, err := media.Put(context.Background(), atoll.Upload{Keyspace: "films", Key: key, Body: r})
		_ = r.CloseWithError(err)
		done <- err
	}()
	return w, func() error { _ = w.Close(); return <-done }
}

// The second copy comes into being while the upload runs, from each chunk's bytes
// once; at its end nothing is left to do.
func TestSecondCopyKeepsUp(t *testing.T) {
	s := newSea(t, nil, "a/1", "a/2", "b/1")
	w, ended := s.feed(0, "x")
	body := noise(6<<20, 20)
	if _, err := w.Write(body[:5<<20]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second has what there is", func() bool { return len(s.held(1)) == 5 })
	if n := len(s.held(2)); n > 0 {
		t.Errorf("%d chunks in a region that was not asked for", n)
	}
	if _, err := w.Write(body[5<<20:]); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err != nil {
		t.Fatal(err)
	}
	o, err := s.islands[0].media.Stat(t.Context(), atoll.Read{Keyspace: "films", Key: "x"})
	if want := []atoll.NodeID{"a/1", "a/2"}; err != nil || !slices.Equal(o.Homes, want) {
		t.Errorf("homes %v %v", o.Homes, err)
	}
	if n := s.counted(1, "atoll_media_read_bytes_total", "region"); n != 6<<20+6*32 {
		t.Errorf("the second fetched %.0f bytes", n)
	}
	s.stop(0)
	eventually(t, "all of it at the second", func() bool {
		code, got := s.get(1, "films/x")
		return code == 200 && bytes.Equal(got, body)
	})
}

// An upload whose second node goes takes another one.
func TestSecondCopyElsewhere(t *testing.T) {
	ids := []atoll.NodeID{"a/1", "a/2", "a/3"}
	s := newSea(t, nil, ids...)
	w, ended := s.feed(0, "x")
	body := noise(6<<20, 21)
	if _, err := w.Write(body[:3<<20]); err != nil {
		t.Fatal(err)
	}
	second := 1
	eventually(t, "somebody is the second", func() bool {
		second = 1
		if len(s.held(2)) > 0 {
			second = 2
		}
		return len(s.held(second)) > 0
	})
	s.stop(second)
	if _, err := w.Write(body[3<<20:]); err != nil {
		t.Fatal(err)
	}
	if err := ended(); err != nil {
		t.Fatal(err)
	}
	o, err := s.islands[0].media.Stat(t.Context(), atoll.Read{Keyspace: "films", Key: "x"})
	if want := []atoll.NodeID{"a/1", ids[3-second]}; err != nil || !slices.Equal(o.Homes, want) {
		t.Errorf("homes %v %v, want %v", o.Homes, err, want)
	}
	if n := len(s.held(3 - second)); n != 7 {
		t.Errorf("%d chunks at the third", n)
	}
}

// What a lost node held is copied to another of its region, by each on its own.
func TestRepair(t *testing.T) {
	ids := []atoll.NodeID{"a/1", "a/2", "a/3"}
	s := newSea(t, hasty, ids...)
	body := noise(3<<20, 7)
	session := s.put(0, "films/x", body).Header.Get("Atoll-Session")
	o, err := s.islands[0].media.Stat(t.Context(), atoll.Read{Keyspace: "films", Key: "x"})
	if err != nil || len(o.Homes) != 2 {
		t.Fatalf("%v %v", o.Homes, err)
	}
	second := slices.Index(ids, o.Homes[1])
	third := 3 - second
	if code, _ := s.get(third, "films/x", "Atoll-Session", session); code != 200 {
		t.Fatal(code)
	}
	s.stop(second)
	eventually(t, "the second home is down", func() bool { return s.up(third) == 2 })
	s.sweep(map[int]int{third: 4})
	s.stop(0)
	if code, got := s.get(third, "films/x"); code != 200 || !bytes.Equal(got, body) {
		t.Errorf("with both homes down: %d, %d bytes", code, len(got))
	}
}

// An object whose homes are all down is out of reach, soon and in so many words.
func TestOutOfReach(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	session := s.put(0, "films/x", noise(3<<20, 8)).Header.Get("Atoll-Session")
	res := s.do(1, "HEAD", "films/x", nil, "Atoll-Session", session)
	if res.StatusCode != 200 || res.ContentLength != 3<<20 {
		t.Fatalf("HEAD: %s", res.Status)
	}
	s.stop(0)
	if got := problem(t, s.do(1, "GET", "films/x", nil)); got != "503 behind" {
		t.Errorf("GET: %s", got)
	}
}

// small is a store that is full after so many bytes.
type small struct {
	cache.Store
	mu   sync.Mutex
	room int
}

func (s *small) Put(ctx context.Context, h atoll.Hash, b []byte) error {
	s.mu.Lock()
	s.room -= len(b)
	full := s.room < 0
	s.mu.Unlock()
	if full {
		return atoll.Errorf(atoll.DiskFull, "full")
	}
	return s.Store.Put(ctx, h, b)
}

func TestDiskFullInTheMiddle(t *testing.T) {
	s := newSea(t, func(c *cache.Config) {
		hasty(c)
		c.Store = &small{Store: c.Store, room: 5 << 20}
	}, "a/1")
	res := s.do(0, "PUT", "films/x", bytes.NewReader(noise(8<<20, 9)))
	if got := problem(t, res); got != "507 disk-full" {
		t.Errorf("PUT: %s", got)
	}
	if code, _ := s.get(0, "films/x"); code != 404 {
		t.Errorf("GET: %d", code)
	}
	if len(s.held(0)) == 0 {
		t.Error("no chunk was ever stored: the test tests nothing")
	}
	s.sweep(map[int]int{0: 0})
}

// A process that dies in the middle of uploads comes back without half an object.
func TestKilledDuringUploads(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	whole := noise(2<<20, 10)
	s.put(0, "films/whole", whole)
	for round := range 3 {
		r, w := io.Pipe()
		done := make(chan error, 1)
		media := s.islands[0].media
		go func() {
			_, err := media.Put(context.Background(), atoll.Upload{Keyspace: "films", Key: "half", Body: r})
			done <- err
		}()
		body := noise(3<<20, 11+uint64(round))
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		x := s.islands[0]
		x.http.Close()
		if err := x.Kill(); err != nil {
			t.Error(err)
		}
		_ = w.Close()
		if err := <-done; err == nil {
			t.Error("an upload to a dead node was taken")
		}
		x.media.Close()
		x.stop()
		<-x.end
		s.start(0, "a/1")
		eventually(t, "ready", func() bool { return len(s.islands[0].Ready()) == 0 })
		if code, _ := s.get(0, "films/half"); code != 404 {
			t.Errorf("half an object: %d", code)
		}
	}
	s.sweep(map[int]int{0: 3})
	if code, got := s.get(0, "films/whole"); code != 200 || !bytes.Equal(got, whole) {
		t.Errorf("%d, %d bytes", code, len(got))
	}
}
