package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go/http3"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/geodns"
)

// openTestHost runs a cluster of one with all its listeners on loopback.
func openTestHost(t *testing.T, log *slog.Logger) *host {
	t.Helper()
	ca, err := ownCA(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := nodeConfig(log)
	if err != nil {
		t.Fatal(err)
	}
	c.Node, c.Dir, c.CA, c.Addresses = "here/1", t.TempDir(), ca, []string{"127.0.0.1", "::1"}
	if c.Certificate, err = issue(ca, c.Node, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	anyone, err := guard.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	const any = "127.0.0.1:0"
	h, err := openHost(hostConfig{
		Config: c, peer: any, http: any, https: freeAddr(t), dns: freeAddr(t), guard: anyone,
		zones: []geodns.Zone{{Name: "atoll.test"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "its region is up", func() bool {
		regions := h.node.Cluster().Regions
		return len(h.node.Ready()) == 0 && len(regions) == 1 && regions[0].State == atoll.StateUp
	})
	return h
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}

// clientOf returns an HTTP client of one version that trusts the host's CA.
func clientOf(t *testing.T, h *host, version int) *http.Client {
	conf := &tls.Config{RootCAs: h.cfg.CA.Pool()}
	if version == 3 {
		tr := &http3.Transport{TLSClientConfig: conf}
		t.Cleanup(func() { tr.Close() })
		return &http.Client{Transport: tr}
	}
	tr := &http.Transport{TLSClientConfig: conf, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(version == 1)
	tr.Protocols.SetHTTP2(version == 2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// send makes one request and returns its answer with the body read.
func send(t *testing.T, c *http.Client, method, url, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestSecureVersions: one port, three versions of HTTP; the older name the
// newest, and so does DNS.
func TestSecureVersions(t *testing.T) {
	h := openTestHost(t, slog.New(slog.DiscardHandler))
	at := h.https.Addr().String()
	for version := 1; version <= 3; version++ {
		c := clientOf(t, h, version)
		key := fmt.Sprintf("https://%s/v1/docs/notes/k%d", at, version)
		r, _ := send(t, c, "PUT", key, `{"a":1}`)
		if r.StatusCode != 201 || r.ProtoMajor != version {
			t.Errorf("HTTP/%d: %s %d", version, r.Proto, r.StatusCode)
		}
		if got, want := r.Header.Get("Alt-Svc"), fmt.Sprintf(`h3=":%d"; ma=86400`,
			port(at)); got != want {
			t.Errorf("HTTP/%d: Alt-Svc %q, want %q", version, got, want)
		}
		if _, body := send(t, c, "GET", key, ""); body != `{"a":1}` {
			t.Errorf("HTTP/%d: %s", version, body)
		}
	}
	plain, _ := send(t, http.DefaultClient, "GET", "http://"+h.http.Addr().String()+"/livez", "")
	if got := plain.Header.Get("Alt-Svc"); got != "" {
		t.Errorf("plain HTTP has Alt-Svc %q", got)
	}
	if n := h.http3.Conns(); n != 1 {
		t.Errorf("%d connections of HTTP/3", n)
	}
}

func TestHTTPSRecord(t *testing.T) {
	h := openTestHost(t, slog.New(slog.DiscardHandler))
	h.dns.Refresh()
	q := new(dns.Msg)
	q.SetQuestion("www.atoll.test.", dns.TypeHTTPS)
	r, err := dns.Exchange(q, h.dnsUDP.LocalAddr().String())
	if err != nil || len(r.Answer) != 1 {
		t.Fatalf("%v %v", r, err)
	}
	record, ok := r.Answer[0].(*dns.HTTPS)
	if !ok || record.Priority != 1 || record.Target != "." {
		t.Fatalf("%v", r.Answer[0])
	}
	got := map[string]string{}
	for _, v := range record.Value {
		got[v.Key().String()] = v.String()
	}
	want := map[string]string{
		"alpn": "h3,h2", "port": portOf(h.https.Addr().String()),
		"ipv4hint": "127.0.0.1", "ipv6hint": "::1",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s=%q, want %q", k, got[k], v)
		}
	}
}

// TestHTTP3PortIsBusy says so, and leaves nothing bound.
func TestHTTP3PortIsBusy(t *testing.T) {
	_, at := occupy(t, "udp")
	_, err := openHost(hostConfig{https: at})
	if err == nil || !strings.Contains(err.Error(), "udp for HTTP/3") || hint(err) == "" {
		t.Fatalf("got %v", err)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatalf("the TCP half is still taken: %v", err)
	}
	l.Close()
}

// lines is a log that many write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(strings.Lines(l.b.String()))
}

// TestLogFormats: every line is whole in both formats, and a request is found
// by the id that its client got, whatever carried it.
func TestLogFormats(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			var out lines
			log, err := newLogger(&out, logConfig{Level: "debug", Format: format}, new(slog.LevelVar))
			if err != nil {
				t.Fatal(err)
			}
			h := openTestHost(t, log)
			for version := 1; version <= 3; version++ {
				r, _ := send(t, clientOf(t, h, version), "GET",
					"https://"+h.https.Addr().String()+"/v1/docs/none/k", "")
				trace := strings.Split(r.Header.Get("Traceparent"), "-")[1]
				entry := await(t, &out, trace, `"request"`, "msg=request ")
				for _, want := range []string{"404", r.Proto, "GET"} {
					if !strings.Contains(entry, want) {
						t.Errorf("no %s in %s", want, entry)
					}
				}
			}
			for _, line := range out.all() {
				if format == "json" && !json.Valid([]byte(line)) {
					t.Errorf("not JSON: %s", line)
				}
			}
		})
	}
}

// await returns the line that has a trace id and one of the words: the answer
// leaves before its line is written.
func await(t *testing.T, out *lines, trace string, words ...string) (found string) {
	t.Helper()
	eventually(t, "a line with the trace "+trace, func() bool {
		for _, line := range out.all() {
			has := func(w string) bool { return strings.Contains(line, w) }
			if strings.Contains(line, trace) && slices.ContainsFunc(words, has) {
				found = line
			}
		}
		return found != ""
	})
	return found
}
