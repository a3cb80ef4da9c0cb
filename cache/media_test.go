package cache_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/atolledge/atoll"
)

func TestPutHereGetThere(t *testing.T) {
	s := newSea(t, nil, "a/1", "a/2", "b/1")
	body := noise(5<<20+123, 1)
	res := s.put(0, "films/a%20b/c", body, "Content-Type", "video/mp4")
	if want := `"` + atoll.HashOf(body).String() + `"`; res.StatusCode != 201 ||
		res.Header.Get("ETag") != want {
		t.Fatalf("%d %s", res.StatusCode, res.Header)
	}
	session := res.Header.Get("Atoll-Session")
	for i := range s.islands {
		got := s.do(i, "GET", "films/a%20b/c", nil, "Atoll-Session", session)
		b, err := io.ReadAll(got.Body)
		if err != nil || got.StatusCode != 200 || !bytes.Equal(b, body) {
			t.Fatalf("at %d: %d, %d bytes, %v", i, got.StatusCode, len(b), err)
		}
		if got.Header.Get("Content-Type") != "video/mp4" {
			t.Errorf("at %d: %v", i, got.Header)
		}
	}
	for _, h := range []int{0, 1} {
		if n := len(s.held(h)); n != 7 { // six chunks and the manifest
			t.Errorf("%d chunks at %d", n, h)
		}
	}
}

func (s *sea) held(i int) (all []atoll.Held) {
	for h := range s.islands[i].Chunks().All() {
		all = append(all, h)
	}
	return all
}

// Twenty clients at two nodes of another region read one object at once: each
// chunk crosses between the regions once.
func TestOnceOverTheWAN(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1", "b/2")
	body := noise(16<<20, 2)
	session := s.put(0, "films/big", body).Header.Get("Atoll-Session")
	var clients sync.WaitGroup
	for c := range 20 {
		clients.Go(func() {
			code, got := s.get(1+c%2, "films/big", "Atoll-Session", session)
			if code != http.StatusOK || !bytes.Equal(got, body) {
				t.Errorf("client %d: %d, %d bytes", c, code, len(got))
			}
		})
	}
	clients.Wait()
	const name = "atoll_media_read_bytes_total"
	wan := s.counted(1, name, "wan") + s.counted(2, name, "wan")
	if most := 1.05 * float64(len(body)); wan < float64(len(body)) || wan > most {
		t.Errorf("%.0f bytes over the WAN for an object of %d", wan, len(body))
	}
	t.Logf("WAN bytes / object bytes = %.4f", wan/float64(len(body)))
}
