package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

// totals is the last line of an import with all lines before it.
type totals struct {
	Imported, Failed int
	Done             bool
	TookMS           float64 `json:"took_ms"`
	Problem          *problemBody

	rejected []rejectedLine
	progress int // lines of progress before the last
}

type rejectedLine struct {
	Line    int
	Key     string
	Problem problemBody
}

// imported sends an import and reads its whole answer.
func (c client) imported(path string, h headers, body string) totals {
	c.t.Helper()
	r := c.want(c.do("POST", path, h, body), 200)
	if ct := r.Header.Get("Content-Type"); ct != "application/x-ndjson" {
		c.t.Errorf("Content-Type %q", ct)
	}
	var sum totals
	for line := range strings.Lines(string(r.body)) {
		if sum.Done {
			c.t.Fatalf("a line follows the last: %q", line)
		}
		var bad rejectedLine
		if err := json.Unmarshal([]byte(line), &bad); err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		if bad.Line > 0 {
			sum.rejected = append(sum.rejected, bad)
			continue
		}
		if err := json.Unmarshal([]byte(line), &sum); err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		sum.progress++
	}
	if !sum.Done {
		c.t.Fatalf("no last line: %q", r.body)
	}
	sum.progress--
	slices.SortFunc(sum.rejected, func(a, b rejectedLine) int { return a.Line - b.Line })
	return sum
}

func TestImportReportsBadLines(t *testing.T) {
	long := `{"id":"long","x":"` + strings.Repeat("x", api.MaxDocument) + `"}`
	lines := []string{
		`{"id":"a","v":1}`,
		`{"id":"b","v":}`,
		``,
		`{"v":2}`,
		`{"id":["c"]}`,
		`{"id":"_c"}`,
		`{"id":"` + strings.Repeat("k", 513) + `"}`,
		`{"id":"d","id":"e"}`,
		`{"v":1,"v":2,"id":"f"}`,
		`"id"`,
		`{"id":"g"} {"id":"h"}`,
		long,
		long + strings.Repeat(" ", 8<<10),
		`{"id":""}`,
		"{\"id\":\"\xff\"}",
		`{"id":"z"}` + "\r",
		`{"id":"last"}`, // without a newline
	}
	want := map[int]atoll.Kind{
		2: atoll.BadJSON, 4: atoll.BadRequest, 5: atoll.BadRequest, 6: atoll.BadKey,
		7: atoll.KeyTooLong, 8: atoll.DuplicateKey, 9: atoll.DuplicateKey, 10: atoll.BadJSON,
		11: atoll.BadJSON, 13: atoll.TooLarge, 14: atoll.BadKey, 15: atoll.BadJSON,
	}
	f := newFake()
	f.onWrite = func(_ context.Context, w atoll.Write) error {
		if len(w.Body) > api.MaxDocument {
			return atoll.Errorf(atoll.TooLarge, "the node's own limit")
		}
		return nil
	}
	want[12] = atoll.TooLarge // by the node: the record itself has room for a key
	c := open(t, f)
	got := c.imported("/v1/docs/x/_import?key=id", nil, strings.Join(lines, "\n"))
	if got.Imported != 3 || got.Failed != len(want) || len(got.rejected) != len(want) {
		t.Errorf("%d imported, %d failed, %d reported", got.Imported, got.Failed, len(got.rejected))
	}
	for _, r := range got.rejected {
		if kind := strings.TrimPrefix(r.Problem.Type, "urn:atoll:problem:"); kind != string(want[r.Line]) {
			t.Errorf("line %d %.40q: %+v, want %s", r.Line, lines[r.Line-1], r.Problem, want[r.Line])
		}
		delete(want, r.Line)
	}
	if keys, _ := c.keys("/v1/docs/x"); fmt.Sprint(keys) != "[a last z]" {
		t.Errorf("keys %v", keys)
	}
}

func TestImportForms(t *testing.T) {
	for _, c := range []struct {
		name, query, body string
		imported, failed  int
		problem           string // in the last line
	}{
		{"nothing", "", "", 0, 0, ""},
		{"blank lines", "", " \n\r\n\t", 0, 0, ""},
		{"an empty array", "", " [ ] \n", 0, 0, ""},
		{"export lines", "", `{"key":"a","etag":"x","doc":{}}` + "\n" + `{"doc":1,"key":"b"}`, 2, 0, ""},
		{"export lines in an array", "", `[{"key":"a","doc":{}},{"key":"b","doc":{}}]`, 2, 0, ""},
		{"no doc", "", `{"key":"a"}`, 0, 1, ""},
		{"no key", "", `{"doc":{}}`, 0, 1, ""},
		{"a member of its own", "", `{"key":"a","doc":{},"x":1}`, 0, 1, ""},
		{"documents without key=", "", `{"name":"x"}`, 0, 1, ""},
		{"an element is missing", "?key=k", `[{"k":"a"},,{"k":"b"}]`, 2, 1, ""},
		{"a comma too many", "?key=k", `[{"k":"a"},]`, 1, 1, ""},
		{"brackets that close nothing", "?key=k", `[{"k":"a"},},{"k":"b"}]`, 2, 1, ""},
		{"the array ends early", "?key=k", `[{"k":"a"},{"k":"b"}`, 2, 0, "does not end"},
		{"the array ends inside", "?key=k", `[{"k":"a"},{"k":"b`, 1, 1, "does not end"},
		{"more after the array", "?key=k", `[{"k":"a"}] x`, 1, 0, "follows the array"},
		{"a key that is a number", "?key=k", `{"k":1.50}`, 1, 0, ""},
		{"an escaped key and name", "?key=k%C3%A9", `{"k\u00e9":"\u2605"}`, 1, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := open(t, newFake()).imported("/v1/docs/x/_import"+c.query, nil, c.body)
			if got.Imported != c.imported || got.Failed != c.failed || len(got.rejected) != c.failed {
				t.Errorf("got %+v", got)
			}
			if (c.problem != "") != (got.Problem != nil) ||
				got.Problem != nil && !strings.Contains(got.Problem.Detail, c.problem) {
				t.Errorf("problem %+v, want %q", got.Problem, c.problem)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	c := open(t, newFake())
	for _, r := range []struct {
		path   string
		h      headers
		status int
		kind   atoll.Kind
	}{
		{"/v1/docs/x/_import?key=", nil, 400, atoll.BadRequest},
		{"/v1/docs/x/_import?key=a&key=b", nil, 400, atoll.BadRequest},
		{"/v1/docs/X/_import", nil, 400, atoll.BadRequest},
		{"/v1/docs/x/_import", headers{"Content-Type", "text/csv"}, 415, atoll.UnsupportedMediaType},
		{"/v1/docs/x/_import", headers{"Atoll-TTL", "soon"}, 400, atoll.BadRequest},
		{"/v1/docs/x/_import", headers{"Atoll-Durability", "moon"}, 400, atoll.BadRequest},
	} {
		c.refused(c.do("POST", r.path, r.h, `{"key":"a","doc":{}}`), r.status, r.kind)
	}
}

// TestImportStops: an error that every record would meet ends the import; it is
// the answer's status when nothing went before.
func TestImportStops(t *testing.T) {
	for _, kind := range []atoll.Kind{atoll.UnknownKeyspace, atoll.DiskFull, atoll.Fenced,
		atoll.ShuttingDown} {
		f := newFake()
		f.onWrite = func(context.Context, atoll.Write) error { return atoll.Errorf(kind, "no") }
		c := open(t, f)
		var body strings.Builder
		for i := range 5000 {
			fmt.Fprintf(&body, `{"k":"%d"}`+"\n", i)
		}
		r := c.do("POST", "/v1/docs/x/_import?key=k", nil, body.String())
		var p problemBody
		if err := json.Unmarshal(r.body, &p); err != nil || p.Type != "urn:atoll:problem:"+string(kind) ||
			r.StatusCode != p.Status {
			t.Errorf("%s: %d %s", kind, r.StatusCode, r.body)
		}

		var written sync.Map
		f.onWrite = func(_ context.Context, w atoll.Write) error {
			if written.Store(w.Key, true); w.Key == "bad" {
				return atoll.Errorf(atoll.BadRequest, "a bad document")
			}
			if w.Key == "full" {
				return atoll.Errorf(kind, "no")
			}
			return nil
		}
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", c.base+"/v1/docs/x/_import?key=k", pr)
		go fmt.Fprintln(pw, `{"k":"bad"}`)
		resp, err := c.http.Do(req) // the header comes with the first report
		if err != nil {
			t.Fatal(err)
		}
		go fmt.Fprintln(pw, `{"k":"full"}`) // and nothing more: it must not be waited for
		all, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(all), `"failed":2,"done":true`) ||
			!strings.Contains(string(all), string(kind)) {
			t.Errorf("%s: %v %s", kind, err, all)
		}
		resp.Body.Close()
		pw.Close()
	}
}

// TestImportIsFullDuplex reads the report of a bad line before the next line
// is sent, over both versions of HTTP.
func TestImportIsFullDuplex(t *testing.T) {
	addr := serve(t, newServer(t, newFake()))
	for _, http2 := range []bool{false, true} {
		c := connect(t, addr, http2)
		pr, pw := io.Pipe()
		req, err := http.NewRequest("POST", c.base+"/v1/docs/x/_import?key=k", pr)
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(pw, "nonsense 0\n")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		for i := 1; i <= 20; i++ {
			if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf(`"line":%d,`, i)) {
				t.Fatalf("http2=%v line %d: %q %v", http2, i, lines.Text(), lines.Err())
			}
			if _, err := fmt.Fprintf(pw, "nonsense %d\n", i); err != nil {
				t.Fatal(err)
			}
		}
		pw.Close()
		last := ""
		for lines.Scan() {
			last = lines.Text()
		}
		if !strings.Contains(last, `"imported":0,"failed":21,"done":true`) {
			t.Errorf("http2=%v: last line %q", http2, last)
		}
		resp.Body.Close()
	}
}

// TestImportKeepsWritesInFlight holds every write until as many run at once as
// there should be: with fewer the import would never end.
func TestImportKeepsWritesInFlight(t *testing.T) {
	const want = 48 // of 64 writers; keys fall on them by hash
	f := newFake()
	var mu sync.Mutex
	inFlight, most := 0, 0
	enough := make(chan struct{})
	add := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		inFlight += n
		if inFlight > most {
			if most = inFlight; most == want {
				close(enough)
			}
		}
	}
	f.onWrite = func(context.Context, atoll.Write) error {
		add(1)
		defer add(-1)
		<-enough
		return nil
	}
	var body strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&body, `{"k":"key-%d"}`+"\n", i)
	}
	got := open(t, f).imported("/v1/docs/x/_import?key=k", nil, body.String())
	if got.Imported != 3000 || most < want || most > 64 {
		t.Errorf("%d imported, at most %d at once", got.Imported, most)
	}
	if got.progress < 3 {
		t.Errorf("%d lines of progress", got.progress)
	}
}

// TestImportHoldsLittle: writers that are stuck stop the reader, however large
// the records are.
func TestImportHoldsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		release := make(chan struct{})
		f.onWrite = func(context.Context, atoll.Write) error { <-release; return nil }
		srv := newServer(t, f)
		const size = 512 << 10
		body := &counted{r: strings.NewReader(strings.Repeat(
			`{"key":"k","doc":"`+strings.Repeat("x", size)+"\"}\n", 64))}
		r := httptest.NewRequest("POST", "/v1/docs/x/_import", body)
		r.Host, r.RemoteAddr = "localhost", "127.0.0.1:1"
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() { defer close(done); srv.ServeHTTP(w, r) }()
		synctest.Wait() // until nothing moves any more
		if most := 16<<20 + 2*size; body.n > most {
			t.Errorf("%d bytes were read, want at most %d", body.n, most)
		}
		close(release)
		<-done
		if !strings.Contains(w.Body.String(), `"imported":64,"failed":0,"done":true`) {
			t.Errorf("got %s", w.Body)
		}
	})
}

// counted counts what is read from it.
type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestImportKeepsOrderOfAKey: the last record of a key wins, however many
// writers there are.
func TestImportKeepsOrderOfAKey(t *testing.T) {
	var body strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&body, `{"k":"%d","n":%d}`+"\n", i%7, i)
	}
	c := open(t, newFake())
	if got := c.imported("/v1/docs/x/_import?key=k", nil, body.String()); got.Imported != 2000 {
		t.Fatalf("got %+v", got)
	}
	for k := range 7 {
		n := 1999 - (1999-k)%7
		c.want(c.get(fmt.Sprintf("/v1/docs/x/%d", k)), 200, fmt.Sprintf(`{"k":"%d","n":%d}`, k, n))
	}
}

// TestImportSurvivesAPanic: it costs the record that met it.
func TestImportSurvivesAPanic(t *testing.T) {
	f := newFake()
	f.onWrite = func(_ context.Context, w atoll.Write) error {
		if w.Key == "b" {
			panic("secret")
		}
		return nil
	}
	body := `{"k":"a"}` + "\n" + `{"k":"b"}` + "\n" + `{"k":"c"}`
	got := open(t, f).imported("/v1/docs/x/_import?key=k", nil, body)
	if got.Imported != 2 || got.Failed != 1 || got.rejected[0].Line != 2 ||
		strings.Contains(got.rejected[0].Problem.Detail, "secret") {
		t.Errorf("got %+v", got)
	}
}

// TestImportOfAGoneClient: an import ends when its client has gone, whether it
// was reading or writing.
func TestImportOfAGoneClient(t *testing.T) {
	for _, whole := range []bool{true, false} {
		f := newFake()
		started := make(chan struct{})
		f.onWrite = func(ctx context.Context, _ atoll.Write) error {
			close(started)
			if whole {
				<-ctx.Done() // the body is read: only the connection can tell
			}
			return nil
		}
		srv, ended := newServer(t, f), make(chan struct{})
		c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			srv.ServeHTTP(w, r)
		})), false)
		ctx, cancel := context.WithCancel(t.Context())
		pr, pw := io.Pipe()
		req, _ := http.NewRequestWithContext(ctx, "POST", c.base+"/v1/docs/x/_import?key=k", pr)
		go func() {
			io.WriteString(pw, `{"k":"a"}`+"\n")
			if whole {
				pw.Close()
			}
			<-started
			cancel()
			pw.CloseWithError(io.ErrUnexpectedEOF)
		}()
		if resp, err := c.http.Do(req); err == nil {
			resp.Body.Close()
		}
		<-ended
	}
}

// TestImportTimes: progress is reported at least each second of work, and the
// options of the request reach every write.
func TestImportTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.onWrite = func(_ context.Context, w atoll.Write) error {
			if w.TTL != time.Hour || !w.Level.Region || w.Timeout != 2*time.Second {
				t.Errorf("write %+v", w)
			}
			time.Sleep(700 * time.Millisecond) // virtual
			return nil
		}
		srv := newServer(t, f)
		var body strings.Builder
		for range 10 {
			body.WriteString(`{"k":"same"}` + "\n")
		}
		rec := record(srv, "POST", "/v1/docs/x/_import?key=k", headers{"Atoll-TTL", "1h",
			"Atoll-Durability", "region", "Atoll-Timeout", "2s"}, body.String())
		lines := strings.Split(strings.TrimSpace(rec.Body.String()), "\n")
		want := `{"imported":10,"failed":0,"done":true,"took_ms":7000}`
		if len(lines) != 6 || lines[5] != want || lines[0] != `{"imported":2,"failed":0}` {
			t.Errorf("got %q", lines)
		}
	})
}
