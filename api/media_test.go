package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

const film = "/v1/media/films/a/b"

// fakeMedia keeps objects in memory, of one keyspace.
type fakeMedia struct {
	mu      sync.Mutex
	objects map[atoll.Key]film9
	uploads []atoll.Upload
	failed  error // of the next body that is read
	put     error // of the next Put, after its body
	tail    error // of bodies, behind their first half
}

type film9 struct {
	atoll.Object
	body []byte
}

func newFakeMedia() *fakeMedia { return &fakeMedia{objects: map[atoll.Key]film9{}} }

func (f *fakeMedia) Stat(_ context.Context, r atoll.Read) (atoll.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Keyspace != "films" {
		return atoll.Object{}, atoll.Errorf(atoll.UnknownKeyspace, "no keyspace %q", r.Keyspace)
	}
	o, ok := f.objects[r.Key]
	if !ok {
		return atoll.Object{Session: "seen"}, atoll.Errorf(atoll.NotFound, "no %q", r.Key)
	}
	o.Session = "seen"
	return o.Object, nil
}

func (f *fakeMedia) Open(_ context.Context, o atoll.Object) (io.ReadSeeker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body := bytes.NewReader(f.objects[o.Key].body)
	if f.tail != nil {
		return &broken{body, int64(body.Len() / 2), f.tail}, nil
	}
	return body, nil
}

// broken fails from an offset on.
type broken struct {
	io.ReadSeeker
	from int64
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	at, _ := b.Seek(0, io.SeekCurrent)
	if at >= b.from {
		return 0, b.err
	}
	return b.ReadSeeker.Read(p[:min(int64(len(p)), b.from-at)])
}

func (f *fakeMedia) Put(_ context.Context, u atoll.Upload) (atoll.Written, error) {
	b, err := io.ReadAll(u.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uploads = append(f.uploads, u)
	if f.failed = err; err != nil {
		return atoll.Written{}, err
	}
	if f.put != nil {
		return atoll.Written{Session: "put"}, f.put
	}
	_, existed := f.objects[u.Key]
	o := atoll.Object{Key: u.Key, Size: int64(len(b)), Type: u.Type, Hash: atoll.HashOf(b)}
	f.objects[u.Key] = film9{o, b}
	return atoll.Written{Existed: existed, ETag: o.Hash.String(), Session: "put"}, nil
}

func (f *fakeMedia) Delete(_ context.Context, w atoll.Write) (atoll.Written, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, existed := f.objects[w.Key]
	delete(f.objects, w.Key)
	return atoll.Written{Existed: existed, Session: "put"}, nil
}

func withMedia(f *fakeMedia) func(*api.Config) {
	return func(c *api.Config) { c.Media = f }
}

func TestMediaRanges(t *testing.T) {
	f := newFakeMedia()
	srv := newServer(t, newFake(), withMedia(f))
	body := strings.Repeat("0123456789", 100)
	etag := record(srv, "PUT", film, headers{"Content-Type", "video/mp4"}, body).Header().Get("ETag")
	if want := `"` + atoll.HashOf([]byte(body)).String() + `"`; etag != want {
		t.Fatalf("ETag %s, want %s", etag, want)
	}
	many := "bytes=" + strings.Repeat("0-0,", api.MaxRanges) + "1-1"
	for name, c := range map[string]struct {
		header headers
		code   int
		body   string // "*": any
		ranged string
	}{
		"all":            {nil, 200, body, ""},
		"first":          {headers{"Range", "bytes=0-9"}, 206, body[:10], "bytes 0-9/1000"},
		"from":           {headers{"Range", "bytes=995-"}, 206, body[995:], "bytes 995-999/1000"},
		"last":           {headers{"Range", "bytes=-5"}, 206, body[995:], "bytes 995-999/1000"},
		"beyond":         {headers{"Range", "bytes=990-2000"}, 206, body[990:], "bytes 990-999/1000"},
		"behind the end": {headers{"Range", "bytes=1000-"}, 416, "*", "bytes */1000"},
		"absurd":         {headers{"Range", "bytes=x"}, 416, "*", "bytes */1000"},
		"backwards":      {headers{"Range", "bytes=9-1"}, 416, "*", "bytes */1000"},
		"too many":       {headers{"Range", many}, 416, "*", ""},
		"huge number":    {headers{"Range", "bytes=99999999999999999999-"}, 416, "*", "bytes */1000"},
		"If-Range":       {headers{"Range", "bytes=0-9", "If-Range", etag}, 206, body[:10], "bytes 0-9/1000"},
		"If-Range other": {headers{"Range", "bytes=0-9", "If-Range", `"x"`}, 200, body, ""},
		"If-Range weak":  {headers{"Range", "bytes=0-9", "If-Range", "W/" + etag}, 200, body, ""},
		"If-Range date": {headers{"Range", "bytes=0-9", "If-Range", "Sun, 22 Nov 2026 08:00:00 GMT"},
			200, body, ""},
		"not modified":   {headers{"If-None-Match", etag}, 304, "", ""},
		"any there":      {headers{"If-None-Match", "*"}, 304, "", ""},
		"modified":       {headers{"If-None-Match", `"x"`}, 200, body, ""},
		"match":          {headers{"If-Match", etag}, 200, body, ""},
		"no match":       {headers{"If-Match", `"x"`}, 412, "*", ""},
		"no match range": {headers{"If-Match", `"x"`, "Range", "bytes=0-9"}, 412, "*", ""},
	} {
		w := record(srv, "GET", film, c.header, "")
		if w.Code != c.code || c.body != "*" && w.Body.String() != c.body {
			t.Errorf("%s: %d %.80q, want %d", name, w.Code, w.Body, c.code)
		}
		if got := w.Header().Get("Content-Range"); got != c.ranged {
			t.Errorf("%s: Content-Range %q, want %q", name, got, c.ranged)
		}
		problem := strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json")
		if problem != (c.code >= 400) {
			t.Errorf("%s: %d as %q", name, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

func TestMediaManyParts(t *testing.T) {
	srv := newServer(t, newFake(), withMedia(newFakeMedia()))
	record(srv, "PUT", film, headers{"Content-Type", "text/plain"}, "0123456789abcdef")
	w := record(srv, "GET", film, headers{"Range", "bytes=0-1,10-11,-1"}, "")
	media, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if w.Code != 206 || media != "multipart/byteranges" || err != nil {
		t.Fatalf("%d %q %v", w.Code, media, err)
	}
	parts := multipart.NewReader(w.Body, params["boundary"])
	for _, want := range []string{"01", "ab", "f"} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(p); string(b) != want || p.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("part %q %v, want %q", b, p.Header, want)
		}
	}
}

func TestMediaHead(t *testing.T) {
	srv := newServer(t, newFake(), withMedia(newFakeMedia()))
	record(srv, "PUT", film, headers{"Content-Type", "video/mp4"}, "bytes")
	w := record(srv, "HEAD", film, nil, "")
	h := w.Header()
	if w.Code != 200 || w.Body.Len() > 0 || h.Get("Content-Length") != "5" ||
		h.Get("Content-Type") != "video/mp4" || h.Get("Accept-Ranges") != "bytes" ||
		h.Get("Atoll-Session") != "seen" || h.Get("Content-Security-Policy") != "sandbox" {
		t.Errorf("%d %q %v", w.Code, w.Body, h)
	}
	// RFC 9110, section 14.2: a Range is for GET, and for GET only.
	if w := record(srv, "HEAD", film, headers{"Range", "bytes=1-2"}, ""); w.Code != 200 ||
		w.Header().Get("Content-Length") != "5" {
		t.Errorf("of a range: %d %v", w.Code, w.Header())
	}
}

func TestMediaUpload(t *testing.T) {
	for name, c := range map[string]struct {
		header headers
		code   int
		see    func(atoll.Upload) bool
	}{
		"plain": {nil, 201, func(u atoll.Upload) bool {
			return u.Keyspace == "films" && u.Key == "a/b" && u.Type == "application/octet-stream" &&
				u.IfMatch == nil && u.IfNoneMatch == nil
		}},
		"type": {headers{"Content-Type", "Text/HTML; charset=x"}, 201,
			func(u atoll.Upload) bool { return u.Type == "Text/HTML; charset=x" }},
		"only new": {headers{"If-None-Match", "*"}, 201,
			func(u atoll.Upload) bool { return len(u.IfNoneMatch) == 1 && u.IfNoneMatch[0] == "*" }},
		"conditions": {headers{"If-Match", `"abc"`}, 201,
			func(u atoll.Upload) bool { return len(u.IfMatch) == 1 && u.IfMatch[0] == "abc" }},
		"level": {headers{"Atoll-Durability", "regions:2", "Atoll-TTL", "30m", "Atoll-Session", "abc"}, 201,
			func(u atoll.Upload) bool {
				return u.Level.Regions == 2 && u.TTL.Minutes() == 30 && u.Session == "abc"
			}},
		"bad level":   {headers{"Atoll-Durability", "some"}, 400, nil},
		"bad tags":    {headers{"If-Match", "abc"}, 400, nil},
		"part":        {headers{"Content-Range", "bytes 0-4/10"}, 400, nil},
		"encoded":     {headers{"Content-Encoding", "gzip"}, 415, nil},
		"long type":   {headers{"Content-Type", strings.Repeat("x", 256)}, 400, nil},
		"idempotency": {headers{"Idempotency-Key", "1"}, 400, nil},
	} {
		f := newFakeMedia()
		w := record(newServer(t, newFake(), withMedia(f)), "PUT", film, c.header, "bytes")
		if w.Code != c.code {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, c.code)
		}
		if c.see == nil {
			if len(f.uploads) > 0 {
				t.Errorf("%s: was asked for %+v", name, f.uploads)
			}
		} else if len(f.uploads) != 1 || !c.see(f.uploads[0]) {
			t.Errorf("%s: asked for %+v", name, f.uploads)
		}
	}
}

func TestMediaNames(t *testing.T) {
	f := newFakeMedia()
	srv := newServer(t, newFake(), withMedia(f))
	for path, want := range map[string]int{
		"films/a//b":                          201,
		"films/a/../b":                        201,
		"films/a%2Fb%20c":                     201,
		"films/" + strings.Repeat("x", 512):   201,
		"films/" + strings.Repeat("x", 513):   414,
		"films/_x":                            400,
		"films/":                              400,
		"Films/a":                             400,
		"_media-films/a":                      400,
		"films/%ff":                           400,
		"films/a%00":                          400,
		"films/" + strings.Repeat("%41", 600): 414,
	} {
		if w := record(srv, "PUT", "/v1/media/"+path, nil, "x"); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	for _, key := range []atoll.Key{"a//b", "a/../b", "a/b c"} {
		if _, ok := f.objects[key]; !ok {
			t.Errorf("no object %q", key)
		}
	}
}

func TestMediaAnswers(t *testing.T) {
	f := newFakeMedia()
	srv := newServer(t, newFake(), withMedia(f))
	for _, c := range []struct {
		method, url string
		code        int
		before      func()
	}{
		{"GET", film, 404, nil},
		{"GET", "/v1/media/other/a", 404, nil},
		{"HEAD", film, 404, nil},
		{"PUT", film, 201, nil},
		{"PUT", film, 204, nil},
		{"DELETE", film, 204, nil},
		{"DELETE", film, 204, nil},
		{"GET", film, 404, nil},
		{"PATCH", film, 405, nil},
		{"POST", film, 405, nil},
		{"PUT", film, 507, func() { f.put = atoll.Errorf(atoll.DiskFull, "full") }},
		{"PUT", film, 503, func() { f.put = atoll.Errorf(atoll.DurabilityNotReached, "not") }},
		{"PUT", film, 500, func() { f.put = errors.New("secret") }},
	} {
		if c.before != nil {
			c.before()
		}
		w := record(srv, c.method, c.url, nil, "")
		if w.Code != c.code || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.url, w.Code, w.Body, c.code)
		}
	}
	w := record(newServer(t, newFake()), "GET", film, nil, "")
	if w.Code != 404 {
		t.Errorf("without media: %d %s", w.Code, w.Body)
	}
}

// A body that turns out to be out of reach cuts the connection: the client must
// not take a part for the whole.
func TestMediaBrokenBody(t *testing.T) {
	f := newFakeMedia()
	addr := serve(t, newServer(t, newFake(), withMedia(f)))
	c := connect(t, addr, false)
	c.want(c.put(film, strings.Repeat("x", 1<<20)), 201, "")
	f.tail = atoll.Errorf(atoll.BehindSession, "out of reach")
	res, err := http.Get("http://" + addr + film)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%d bytes and no error", len(b))
	}
}

// A client that says more than it sends leaves nothing.
func TestMediaCutUpload(t *testing.T) {
	f := newFakeMedia()
	addr := serve(t, newServer(t, newFake(), withMedia(f)))
	for _, c := range []struct {
		length int64
		want   string
	}{{100, "HTTP/1.1 400 "}, {atoll.MaxMedia + 1, "HTTP/1.1 413 "}} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nonly this",
			film, c.length)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), c.want) {
			t.Errorf("%d: %q %v", c.length, answer, err)
		}
	}
	if f.failed == nil || len(f.objects) > 0 || len(f.uploads) != 1 {
		t.Errorf("%v, %d objects, %d uploads", f.failed, len(f.objects), len(f.uploads))
	}
}
