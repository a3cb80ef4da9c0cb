package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/atolledge/atoll"
)

// clientsOf returns a client for each version of HTTP, with the host's URL for it.
func clientsOf(t *testing.T, h *host) map[string]struct {
	url string
	*http.Client
} {
	t.Helper()
	trust := &tls.Config{InsecureSkipVerify: true} // who answers is another test's matter
	two := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}
	one := &http.Transport{DisableCompression: true}
	three := &http3.Transport{TLSClientConfig: trust.Clone(), DisableCompression: true}
	t.Cleanup(func() {
		one.CloseIdleConnections()
		two.CloseIdleConnections()
		if err := three.Close(); err != nil {
			t.Error(err)
		}
	})
	plain, secure := "http://"+h.http.Addr().String(), "https://"+h.https.Addr().String()
	return map[string]struct {
		url string
		*http.Client
	}{
		"HTTP/1.1": {plain, &http.Client{Transport: one}},
		"HTTP/2.0": {secure, &http.Client{Transport: two}},
		"HTTP/3.0": {secure, &http.Client{Transport: three}},
	}
}

// TestRanges reads testdata/ranges.txt, a request and its answer a line: ranges
// and conditions of RFC 9110, sections 13 and 14. A real node answers the same
// over every version of HTTP. TAG is the object's ETag. -rewrite writes the file.
func TestRanges(t *testing.T) {
	h, err := openHost(testHost(t))
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	body := make([]byte, 2<<20+500) // chunks end at 1048576 and 2097152
	for i := range body {
		body[i] = byte(i * i >> 5)
	}
	if _, err := h.media.Put(t.Context(), atoll.Upload{
		Keyspace: "films", Key: "x", Type: "video/mp4", Body: bytes.NewReader(body),
	}); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/ranges.txt"
	script, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for version, c := range clientsOf(t, h) {
		t.Run(version, func(t *testing.T) {
			var got strings.Builder
			for line := range strings.Lines(string(script)) {
				ask, _, found := strings.Cut(line, " => ")
				if !found {
					got.WriteString(line)
					continue
				}
				fmt.Fprintf(&got, "%s => %s\n", ask, answerTo(t, c.Client, version, c.url, ask, body))
			}
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != string(script) {
				t.Errorf("-rewrite takes it over:\n%s", got.String())
			}
		})
	}
}

// answerTo sends one request and describes the answer, whose bytes are to be
// those of body that it says they are.
func answerTo(t *testing.T, c *http.Client, version, url, ask string, body []byte) string {
	t.Helper()
	method, headers, _ := strings.Cut(ask, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, url+"/v1/media/films/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	tag := `"` + atoll.HashOf(body).String() + `"`
	for _, header := range strings.Split(headers, " | ") {
		name, value, _ := strings.Cut(header, ": ")
		if name != "" {
			req.Header.Add(name, strings.ReplaceAll(value, "TAG", tag))
		}
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Proto != version {
		t.Fatalf("%s instead of %s", res.Proto, version)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: %v", ask, err)
	}
	kind, params, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	said := fmt.Sprint(res.StatusCode)
	for _, word := range []string{kind, res.Header.Get("Content-Range")} {
		if word != "" {
			said += " " + word
		}
	}
	switch {
	case kind == "multipart/byteranges" && method != http.MethodHead:
		said += partsOf(t, got, params["boundary"], body)
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent:
		if res.Header.Get("ETag") != tag || res.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v", ask, res.Header)
		}
		said += ": " + described9110(method, res.ContentLength, got, res.Header.Get("Content-Range"), body)
	case res.StatusCode == http.StatusNotModified && res.Header.Get("ETag") != tag:
		t.Errorf("%s: ETag %s", ask, res.Header.Get("ETag"))
	}
	return said
}

// described9110 says how many bytes there are, and whether they are the right ones.
func described9110(method string, length int64, got []byte, ranged string, body []byte) string {
	from, to := 0, len(body)-1
	if ranged != "" {
		if _, err := fmt.Sscanf(ranged, "bytes %d-%d/", &from, &to); err != nil {
			return "bad Content-Range"
		}
	}
	switch {
	case int64(to-from+1) != length:
		return fmt.Sprintf("Content-Length %d", length)
	case method == http.MethodHead && len(got) == 0:
		return fmt.Sprintf("%d bytes told of", length)
	case !bytes.Equal(got, body[from:to+1]):
		return fmt.Sprintf("%d WRONG bytes", len(got))
	}
	return fmt.Sprintf("%d bytes", len(got))
}

// partsOf describes a multipart body.
func partsOf(t *testing.T, got []byte, boundary string, body []byte) (said string) {
	t.Helper()
	parts := multipart.NewReader(bytes.NewReader(got), boundary)
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			return said
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		ranged := p.Header.Get("Content-Range")
		said += fmt.Sprintf("; %s %s: %s", p.Header.Get("Content-Type"), ranged,
			described9110(http.MethodGet, int64(len(b)), b, ranged, body))
	}
}
