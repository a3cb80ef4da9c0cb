package main

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/transport"
)

// startHost runs the host that a configuration describes, until it is up.
func startHost(t *testing.T, c config, log *slog.Logger) *host {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	hc, err := hostOf(c, log)
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHost(hc)
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

// localConfig is the default configuration on ports that are free, with its data
// in a temporary directory.
func localConfig(t *testing.T) config {
	c := defaultConfig()
	c.Data = t.TempDir()
	c.Listen = listenConfig{HTTP: "127.0.0.1:0", DNS: freeAddr(t), Peer: freeAddr(t)}
	return c
}

// TestPublicAddresses: DNS answers with all addresses of the node that the
// configuration names, each in its usual form, else with that of advertise.
func TestPublicAddresses(t *testing.T) {
	for _, tt := range []struct {
		addresses []string
		v4, v6    []string
	}{
		{nil, []string{"127.0.0.1"}, nil},
		{
			[]string{"192.0.2.2", "::ffff:192.0.2.1", "2001:DB8::1", "2001:db8::2"},
			[]string{"192.0.2.1", "192.0.2.2"}, []string{"2001:db8::1", "2001:db8::2"},
		},
	} {
		c := localConfig(t)
		c.Region.Addresses = tt.addresses
		c.DNS.Zones = []zoneConfig{{Name: "atoll.test"}}
		h := startHost(t, c, slog.New(slog.DiscardHandler))
		h.dns.Refresh()
		for typ, want := range map[uint16][]string{dns.TypeA: tt.v4, dns.TypeAAAA: tt.v6} {
			q := new(dns.Msg)
			q.SetQuestion("www.atoll.test.", typ)
			r, err := dns.Exchange(q, h.dnsUDP.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rr := range r.Answer {
				switch rr := rr.(type) {
				case *dns.A:
					got = append(got, rr.A.String())
				case *dns.AAAA:
					got = append(got, rr.AAAA.String())
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%v, %s: got %v, want %v", tt.addresses, dns.TypeToString[typ], got, want)
			}
		}
	}
}

// secureConfig is localConfig with HTTPS and certificates in dir; the directory
// holds the CA, too.
func secureConfig(t *testing.T, dir string) (config, *transport.CA) {
	t.Helper()
	ca, err := ownCA(dir, "islands")
	if err != nil {
		t.Fatal(err)
	}
	c := localConfig(t)
	c.Listen.HTTPS = freeAddr(t)
	c.TLS = tlsConfig{
		CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "node.pem"),
		Key: filepath.Join(dir, "node-key.pem"),
	}
	return c, ca
}

// certify puts a certificate of ca where c looks for it.
func certify(t *testing.T, c config, ca *transport.CA) *x509.Certificate {
	t.Helper()
	cert, err := issue(ca, "local/1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{c.TLS.Cert, c.TLS.Key} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := transport.SaveCertificate(c.TLS.Cert, c.TLS.Key, cert); err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

// TestReload: what SIGHUP does to a node that runs. Connections that stand go on
// with the certificate that they began with; new ones of all versions get the new
// one. What is wrong changes nothing.
func TestReload(t *testing.T) {
	c, ca := secureConfig(t, t.TempDir())
	first := certify(t, c, ca)
	var log lines
	level := new(slog.LevelVar)
	logger, err := newLogger(&log, logConfig{Level: "info", Format: "text"}, level)
	if err != nil {
		t.Fatal(err)
	}
	h := startHost(t, c, logger)
	file := filepath.Join(t.TempDir(), "atoll.yaml")
	cmd := &startCmd{configured{Config: file}}
	cmd.prepare()
	running := c
	reload := func(change func(*config)) {
		t.Helper()
		var text bytes.Buffer
		if change(&c); writeSample(&text, c) != nil || os.WriteFile(file, text.Bytes(), 0o600) != nil {
			t.Fatal("the configuration cannot be written")
		}
		cmd.reload(h, &running, level, logger)
	}
	at := "https://" + h.https.Addr().String() + "/livez"
	shows := func(version int) *x509.Certificate {
		r, _ := send(t, clientOf(t, h, version), "GET", at, "")
		return r.TLS.PeerCertificates[0]
	}
	standing := clientOf(t, h, 2)
	send(t, standing, "GET", at, "")

	second := certify(t, c, ca)
	reload(func(c *config) { c.Log.Level, c.Limits.DiskReserve, c.Region.Lat = "debug", 1<<62, 7 })
	for version := 1; version <= 3; version++ {
		if !shows(version).Equal(second) {
			t.Errorf("HTTP/%d does not show the new certificate", version)
		}
	}
	if r, _ := send(t, standing, "GET", at, ""); !r.TLS.PeerCertificates[0].Equal(first) {
		t.Error("the connection that stood was not used any further")
	}
	w := atoll.Write{Keyspace: "notes", Key: "a", Body: []byte(`{}`)}
	if _, err := h.node.Write(t.Context(), w); atoll.KindOf(err) != atoll.DiskFull {
		t.Errorf("the new limit does not hold: %v", err)
	}
	if level.Level() != slog.LevelDebug {
		t.Errorf("the level is %v", level)
	}
	said := strings.Join(log.all(), "")
	if !strings.Contains(said, "region.lat") || strings.Contains(said, "tls.") {
		t.Errorf("what needs a restart is not named as it is: %s", said)
	}

	// A certificate of another CA: it is refused, and so is all that came with it.
	stranger, err := transport.NewCA("islands", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certify(t, c, stranger)
	reload(func(c *config) { c.Limits.DiskReserve = 0 })
	if !shows(1).Equal(second) {
		t.Error("a certificate that peers would refuse is shown")
	}
	if _, err := h.node.Write(t.Context(), w); atoll.KindOf(err) != atoll.DiskFull {
		t.Errorf("half of a reload was taken over: %v", err)
	}
	if said := strings.Join(log.all(), ""); !strings.Contains(said, "was not reloaded") {
		t.Errorf("nobody is told: %s", said)
	}
	certify(t, c, ca)
	reload(func(*config) {})
	if _, err := h.node.Write(t.Context(), w); err != nil {
		t.Errorf("after a right reload: %v", err)
	}
}

// TestTraces: requests that their clients trace, arrive at
// the collector that the configuration names, below the span that asked. Others
// do not.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	got := map[string]*trace.Span{} // by path
	count := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(zip)
		data := new(trace.TracesData) // as the request is on the wire
		if err != nil || proto.Unmarshal(body, data) != nil {
			t.Errorf("not OTLP: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range data.ResourceSpans[0].ScopeSpans[0].Spans {
			count++
			for _, a := range s.Attributes {
				if a.Key == "url.path" {
					got[a.Value.GetStringValue()] = s
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	c := localConfig(t)
	c.Traces.Endpoint = server.URL
	h := startHost(t, c, slog.New(slog.DiscardHandler))
	ask := func(path, traceparent string) {
		r, err := http.NewRequest("GET", "http://"+h.http.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if traceparent != "" {
			r.Header.Set("Traceparent", traceparent)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	ask("/v1/docs/none/silent", "")
	ask("/v1/docs/none/unsampled", "00-"+id+"-"+parent+"-00")
	ask("/v1/docs/none/sampled", "00-"+id+"-"+parent+"-01")
	eventually(t, "the span arrives", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return got["/v1/docs/none/sampled"] != nil
	})
	mu.Lock()
	defer mu.Unlock()
	s := got["/v1/docs/none/sampled"]
	if hex.EncodeToString(s.TraceId) != id || hex.EncodeToString(s.ParentSpanId) != parent ||
		s.Name != "GET /v1/docs/{keyspace}/{key...}" || s.Kind != trace.Span_SPAN_KIND_SERVER ||
		s.EndTimeUnixNano < s.StartTimeUnixNano {
		t.Errorf("%v", s)
	}
	if count != 1 {
		t.Errorf("%d spans of %d requests arrived, one is traced", count, 3)
	}
}
