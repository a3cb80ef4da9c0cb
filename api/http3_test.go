package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

// served3 is an HTTP/3 server on loopback.
type served3 struct {
	*api.HTTP3Server
	addr string
	done chan struct{} // closed when Serve has returned
}

// serve3 starts one over h; it ends with the test.
func serve3(t *testing.T, h http.Handler) *served3 {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.NewHTTP3Server(h, conn, selfSigned(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out := &served3{s, conn.LocalAddr().String(), make(chan struct{})}
	go func() {
		defer close(out.done)
		if err := s.Serve(); err != http.ErrServerClosed {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-out.done
	})
	return out
}

// selfSigned is a server's certificate that nobody vouches for.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{der}, PrivateKey: key,
	}}}
}

// connect3 returns a client of HTTP/3.
func connect3(t *testing.T, addr string) client {
	t.Helper()
	tr := transport3()
	t.Cleanup(func() { tr.Close() })
	return client{t, "https://" + addr, &http.Client{Transport: tr}}
}

func transport3() *http3.Transport {
	return &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true,
	}
}

// TestHTTP3Answers: what the handlers of all versions rely on holds here too.
func TestHTTP3Answers(t *testing.T) {
	s := serve3(t, newServer(t, newFake(), func(c *api.Config) { c.HTTP3Port = 8443 }))
	c := connect3(t, s.addr)
	r := c.want(c.get("/livez"), 200)
	if r.ProtoMajor != 3 || r.Header.Get("Alt-Svc") != `h3=":8443"; ma=86400` {
		t.Errorf("%s with Alt-Svc %q", r.Proto, r.Header.Get("Alt-Svc"))
	}
	c.refused(c.get("/livez", "Host", "evil.example"), 421, atoll.BadRequest)
	c.refused(c.do("POST", "/v1/regions/tokyo/drain", headers{"Sec-Fetch-Site", "cross-site"}, ""),
		403, atoll.Forbidden)
	big := c.do("PUT", star, headers{"Content-Type", "application/json"},
		`"`+strings.Repeat("x", 1<<20)+`"`)
	c.refused(big, 413, atoll.TooLarge)
	c.want(c.get("/livez", "X", strings.Repeat("y", api.MaxHeader)), 431)
	c.want(c.get("/livez"), 200) // on the same connection
	if n := s.Conns(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestHTTP3IsNeverEarly: a server without 0-RTT leaves a client that asks for it
// to wait for the handshake.
func TestHTTP3IsNeverEarly(t *testing.T) {
	s := serve3(t, newServer(t, newFake()))
	cache := tls.NewLRUClientSessionCache(1)
	for range 2 {
		tr := transport3()
		tr.TLSClientConfig.ClientSessionCache = cache
		tr.QUICConfig = &quic.Config{}
		early := false
		tr.Dial = func(ctx context.Context, addr string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			conn, err := quic.DialAddrEarly(ctx, addr, c, q)
			if err == nil {
				<-conn.HandshakeComplete()
				early = conn.ConnectionState().Used0RTT
			}
			return conn, err
		}
		c := client{t, "https://" + s.addr, &http.Client{Transport: tr}}
		c.want(c.do("GET", "/livez", nil, ""), 200)
		if early {
			t.Error("the server took early data")
		}
		tr.Close()
	}
	if _, ok := cache.Get("127.0.0.1"); !ok {
		t.Error("no session was kept: the test has shown nothing")
	}
}

// TestHTTP3Shutdown waits for the request under way and gives the port back.
func TestHTTP3Shutdown(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s := serve3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-end
		io.WriteString(w, "whole")
	}))
	tr := transport3()
	answered := make(chan string, 1)
	go func() {
		r, err := (&http.Client{Transport: tr}).Get("https://" + s.addr)
		if err != nil {
			answered <- err.Error()
			return
		}
		b, err := io.ReadAll(r.Body)
		answered <- fmt.Sprint(string(b), err)
		tr.Close() // a client leaves when it is told to
	}()
	<-begun
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	<-s.done // it accepts nobody any more
	select {
	case err := <-down:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	close(end)
	if got := <-answered; got != "whole<nil>" {
		t.Errorf("the request under way got %s", got)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	conn, err := net.ListenPacket("udp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestHTTP3ShutdownEnds does not wait for a handler longer than it may, and
// Close ends one whose context it ends.
func TestHTTP3ShutdownEnds(t *testing.T) {
	for name, stop := range map[string]func(*served3) error{
		"shutdown": func(s *served3) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("Shutdown: %w", err)
			}
			return nil
		},
		"close": func(s *served3) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			begun := make(chan struct{})
			s := serve3(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(begun)
				<-r.Context().Done()
			}))
			tr := transport3()
			defer tr.Close()
			failed := make(chan error, 1)
			go func() {
				_, err := (&http.Client{Transport: tr}).Get("https://" + s.addr)
				failed <- err
			}()
			<-begun
			if err := stop(s); err != nil {
				t.Error(err)
			}
			if err := <-failed; err == nil {
				t.Error("the request was answered")
			}
		})
	}
}

// TestEarlyData refuses what may be a replay of a change (RFC 8470).
func TestEarlyData(t *testing.T) {
	c := open(t, newFake())
	for _, tt := range []struct {
		method string
		early  []string
		status int
	}{
		{"PUT", nil, 201},
		{"GET", []string{"1"}, 200},
		{"HEAD", []string{"1"}, 200},
		{"PUT", []string{"1"}, 425},
		{"PATCH", []string{"1"}, 425},
		{"DELETE", []string{"1"}, 425},
		{"PUT", []string{"0"}, 425}, // there is no other value: it counts as 1
		{"PUT", []string{"1", "1"}, 425},
		{"BREW", []string{"1"}, 425},
		{"PUT", nil, 204},
	} {
		h := headers{"Content-Type", "application/json"}
		for _, v := range tt.early {
			h = append(h, "Early-Data", v)
		}
		r := c.want(c.do(tt.method, star, h, "{}"), tt.status)
		if tt.status == 425 {
			p := c.refused(r, 425, atoll.BadRequest)
			if p.Title != "Too Early" || p.Hint == "" {
				t.Errorf("%s", r.body)
			}
		}
	}
}

// TestAltSvc names HTTP/3 over TLS and to nobody else.
func TestAltSvc(t *testing.T) {
	for _, tt := range []struct {
		port   uint16
		secure bool
		want   string
	}{
		{8443, true, `h3=":8443"; ma=86400`},
		{443, true, `h3=":443"; ma=86400`},
		{8443, false, ""},
		{0, true, ""},
	} {
		srv := newServer(t, newFake(), func(c *api.Config) { c.HTTP3Port = tt.port })
		for _, host := range []string{"localhost", "evil.example"} { // refusals have it too
			url := "http://x/livez" // the scheme decides whether httptest makes it TLS
			if tt.secure {
				url = "https://x/livez"
			}
			w := record(srv, "GET", url, headers{"Host", host}, "")
			if got := w.Header().Get("Alt-Svc"); got != tt.want {
				t.Errorf("port %d, TLS %v: %q, want %q", tt.port, tt.secure, got, tt.want)
			}
		}
	}
}
