package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// forgetful is a node in memory that acknowledges, and loses what it is told to.
type forgetful struct {
	mu   sync.Mutex
	docs map[string]string
	incs map[string]int
	left int // writes until it hangs up
	over chan struct{}
}

func newForgetful(t *testing.T, writes int) (*forgetful, string) {
	f := &forgetful{docs: map[string]string{}, incs: map[string]int{}, left: writes,
		over: make(chan struct{})}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL
}

func (f *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == "GET" {
		for _, k := range sortedKeys(f.docs) {
			fmt.Fprintf(w, "{\"key\":%q,\"etag\":\"x\",\"doc\":%s}\n", k, f.docs[k])
		}
		return
	}
	if f.left--; f.left < 0 {
		if f.left == -1 {
			close(f.over)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	key := strings.TrimPrefix(r.URL.Path, "/v1/docs/kill/")
	if r.Method == "PATCH" {
		f.incs[key]++
		f.docs[key] = fmt.Sprintf(`{"n":%d}`, f.incs[key])
	} else {
		b, _ := io.ReadAll(r.Body)
		f.docs[key] = string(b)
	}
	w.WriteHeader(http.StatusNoContent)
}

func sortedKeys(m map[string]string) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestVerify: the ledger is content with a node that keeps everything and finds
// each way to lose something.
func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(*forgetful)
		want string
	}{
		"honest":       {func(*forgetful) {}, ""},
		"one document": {func(f *forgetful) { delete(f.docs, "doc/c01/000002") }, "LOST: doc/c01/000002"},
		"the first":    {func(f *forgetful) { delete(f.docs, "doc/c00/000000") }, "LOST: doc/c00/000000"},
		"another body": {func(f *forgetful) { f.docs["doc/c00/000001"] = `{"i":7}` }, "WRONG"},
		"an increment": {func(f *forgetful) {
			f.docs["count/c01"] = fmt.Sprintf(`{"n":%d}`, f.incs["count/c01"]-1)
		}, "counter of c01"},
		"one too many": {func(f *forgetful) { f.docs["count/c00"] = `{"n":100000}` }, "counter of c00"},
		"all":          {func(f *forgetful) { clear(f.docs) }, "LOST"},
	} {
		f, url := newForgetful(t, 200)
		l := newLedger(2)
		if n := l.load(url, func() { <-f.over }); n != 200 || l.acknowledged() != 200 {
			t.Fatalf("%s: %d acknowledged", name, n)
		}
		c.lose(f)
		_, err := l.verify(url)
		if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", name, got, c.want)
		}
	}
}
