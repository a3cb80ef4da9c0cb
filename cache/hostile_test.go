package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// TestLiesAboutLength: an upload that is not as long as it says is refused by a
// real node, and nobody ever sees a part of it.
func TestLiesAboutLength(t *testing.T) {
	s := newSea(t, hasty, "a/1")
	body := string(noise(2<<20+9, 30))
	chunked := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	for name, c := range map[string]struct{ head, body, want string }{
		"shorter":        {"Content-Length: 3000000", body, "HTTP/1.1 400 "},
		"nothing at all": {"Content-Length: 5", "", "HTTP/1.1 400 "},
		"4 GiB and 1":    {"Content-Length: 4294967297", "x", "HTTP/1.1 413 "},
		"negative":       {"Content-Length: -1", "x", "HTTP/1.1 400 "},
		"two lengths":    {"Content-Length: 1\r\nContent-Length: 2", "xy", "HTTP/1.1 400 "},
		"no last chunk":  {"Transfer-Encoding: chunked", chunked, "HTTP/1.1 400 "},
		"cut chunk":      {"Transfer-Encoding: chunked", chunked[:1<<20], "HTTP/1.1 400 "},
		"bad chunk":      {"Transfer-Encoding: chunked", chunked + "x\r\n", "HTTP/1.1 400 "},
		"chunk of 2^63":  {"Transfer-Encoding: chunked", chunked + "8000000000000000\r\nx", "HTTP/1.1 400 "},
	} {
		answer := s.raw("PUT /v1/media/films/x HTTP/1.1\r\nHost: localhost\r\n" + c.head + "\r\n\r\n" + c.body)
		if !strings.HasPrefix(answer, c.want) {
			t.Errorf("%s: %.200q, want %s", name, answer, c.want)
		}
		if code, got := s.get(0, "films/x"); code != 404 {
			t.Errorf("%s: %d, %d bytes are there", name, code, len(got))
		}
	}
	if len(s.held(0)) == 0 {
		t.Error("no chunk was ever stored: the test tests nothing")
	}
	s.sweep(map[int]int{0: 0})
}

// raw sends bytes to the first island, and no more, and returns its answer.
func (s *sea) raw(request string) string {
	s.t.Helper()
	u, err := url.Parse(s.islands[0].http.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request) // it may be refused before its end
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// TestNamesAndRangesOverTheLimit are refused by a real node.
func TestNamesAndRangesOverTheLimit(t *testing.T) {
	s := newSea(t, nil, "a/1")
	longest := strings.Repeat("k", 512)
	s.put(0, "films/"+longest, []byte("0123456789"))
	for _, c := range []struct {
		method, path string
		header       []string
		want         string
	}{
		{"GET", longest, nil, "200 "},
		{"PUT", longest + "k", nil, "414 key-too-long"},
		{"GET", longest + "k", nil, "414 key-too-long"},
		{"PUT", "_x", nil, "400 bad-key"},
		{"PUT", "%ff", nil, "400 bad-key"},
		{"PUT", "%00", nil, "400 bad-key"},
		{"GET", longest, []string{"Range", "bytes=" + strings.Repeat("0-0,", 63) + "1-1"}, "200 "},
		{"GET", longest, []string{"Range", "bytes=" + strings.Repeat("0-0,", 64) + "1-1"}, "416 bad-request"},
		{"GET", longest, []string{"Range", "bytes=" + strings.Repeat("0-0,", 2000) + "1-1"}, "416 bad-request"},
		{"GET", longest, []string{"Range", "bytes=" + strings.Repeat(",", 2000)}, "416 bad-request"},
		{"PUT", "x", []string{"Content-Type", strings.Repeat("x", 256)}, "400 bad-request"},
	} {
		res := s.do(0, c.method, "films/"+c.path, strings.NewReader("body"), c.header...)
		if got := problem(t, res); got != c.want {
			t.Errorf("%s %.20s %.40q: %s, want %s", c.method, c.path, c.header, got, c.want)
		}
	}
}

// TestUnknownHash: a peer that asks for what nobody has hears so, and one that
// names a list of chunks that is none is refused.
func TestUnknownHash(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	x := s.islands[0]
	nobodys := atoll.HashOf([]byte("nobody's"))
	for _, through := range []bool{false, true} {
		_, err := x.FetchChunk(t.Context(), "b/1", nobodys, []atoll.NodeID{"a/1", "z/9"}, through)
		if atoll.KindOf(err) != atoll.NotFound {
			t.Errorf("through %v: %v", through, err)
		}
	}
	if err := x.KeepChunk(t.Context(), "b/1", nobodys); atoll.KindOf(err) != atoll.NotFound {
		t.Errorf("one to keep: %v", err)
	}
	odd, even := []byte("not a list of hashes"), bytes.Repeat([]byte("hash"), 16)
	for _, b := range [][]byte{odd, even} {
		if err := x.Chunks().Put(t.Context(), atoll.HashOf(b), b); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range map[string]atoll.Object{
		"an unknown list":  {Manifest: nobodys, Size: 5},
		"a list that lies": {Manifest: atoll.HashOf(odd), Size: 5},
		"a list too long":  {Manifest: atoll.HashOf(even), Size: 5},
		"of unknown ones":  {Manifest: atoll.HashOf(even), Size: 2 << 20},
	} {
		o.Homes = []atoll.NodeID{"a/1"}
		if err := x.KeepObject(t.Context(), "b/1", o); atoll.KindOf(err) != atoll.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.counted(1, "atoll_media_bad_chunks_total", ""); n != 0 {
		t.Errorf("%v bad chunks counted", n)
	}
}

// TestLyingUploader: a peer that wants a chunk kept and sends other bytes.
func TestLyingUploader(t *testing.T) {
	s := newSea(t, nil, "a/1", "b/1")
	x := s.islands[0]
	x.ServeChunks(
		func(context.Context, atoll.Hash, []atoll.NodeID, bool) ([]byte, error) { return []byte("lie"), nil },
		func(context.Context, atoll.Object) error { return nil },
		func(context.Context, atoll.NodeID, atoll.Hash) error { return nil })
	if err := x.KeepChunk(t.Context(), "b/1", atoll.HashOf([]byte("truth"))); atoll.KindOf(err) != atoll.NotFound {
		t.Errorf("a lie is kept: %v", err)
	}
	if n := s.counted(1, "atoll_media_bad_chunks_total", ""); n != 1 || len(s.held(1)) > 0 {
		t.Errorf("%v lies counted, %d chunks held", n, len(s.held(1)))
	}
}
