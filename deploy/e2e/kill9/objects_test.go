package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// vault is a node in memory that acknowledges objects.
type vault struct {
	mu      sync.Mutex
	objects map[string]stored
	orphans int
	left    int // changes until it hangs up
	over    chan struct{}
}

type stored struct {
	body []byte
	tag  string
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/v1/media/kill/")
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case name == "/metrics":
		chunks := 0
		for _, o := range v.objects {
			chunks += 1 + (len(o.body)+chunk-1)/chunk
		}
		fmt.Fprintf(w, "atoll_media_sweeps_total 1\natoll_media_swept_chunks_total 7\n")
		fmt.Fprintf(w, "atoll_media_chunks{state=\"kept\"} %d\n", chunks)
		fmt.Fprintf(w, "atoll_media_chunks{state=\"unnamed\"} %d\n", v.orphans)
	case r.Method == "GET":
		o, ok := v.objects[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", o.tag)
		w.Header().Set("Content-Length", fmt.Sprint(len(o.body)))
		_, _ = w.Write(o.body)
	case v.left <= 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		if v.left--; v.left == 0 {
			close(v.over)
		}
		delete(v.objects, name)
		if r.Method == "PUT" {
			v.objects[name] = stored{body, `"` + hashOf(body) + `"`}
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func hashOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// TestVerifyObjects: the check is content with a node that keeps everything and
// finds each way not to.
func TestVerifyObjects(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(v *vault, name string, o stored)
		want  string
	}{
		"honest":  {func(*vault, string, stored) {}, ""},
		"lost":    {func(v *vault, n string, _ stored) { delete(v.objects, n) }, "LOST or WRONG: "},
		"half":    {func(v *vault, n string, o stored) { v.objects[n] = stored{o.body[:5], o.tag} }, "HALF"},
		"flipped": {func(_ *vault, _ string, o stored) { o.body[9]++ }, "HALF"},
		"other": {func(v *vault, n string, o stored) {
			v.objects[n] = stored{o.body[:5], `"` + hashOf(o.body[:5]) + `"`}
		}, "LOST or WRONG: "},
		"orphans": {func(v *vault, _ string, _ stored) { v.orphans = 3 }, "ORPHANS"},
	} {
		v := &vault{objects: map[string]stored{}, left: 5, over: make(chan struct{})}
		s := httptest.NewServer(v)
		o := newObjects(1, 3)
		o.patience = 0
		if n := o.load(s.URL, func() { <-v.over }); n != 5 || o.tested(5) == nil {
			t.Fatalf("%s: %d acknowledged", name, n)
		}
		for n, kept := range v.objects {
			c.spoil(v, n, kept)
			break
		}
		_, err := o.verify(s.URL)
		if got := fmt.Sprint(err); c.want == "" && (err != nil || o.tested(5) != nil) ||
			!strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", name, got, c.want)
		}
		s.Close()
	}
}
