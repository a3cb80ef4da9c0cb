package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestGarbageOnEveryPort throws random bytes at all that a node listens on: DNS
// and peers over UDP, DNS, HTTP and HTTPS over TCP. It goes on to serve.
func TestGarbageOnEveryPort(t *testing.T) {
	cfg := testHost(t)
	cfg.dns = dnsPort(t)
	h, err := openHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + h.http.Addr().String() + "/v1/docs/notes/a"
	serves := func(v int) {
		t.Helper()
		body := fmt.Sprintf(`{"v":%d}`, v)
		req, _ := http.NewRequest("PUT", url, bytes.NewBufferString(body))
		req.Header.Set("Content-Type", "application/json")
		r, err := http.DefaultClient.Do(req)
		if err != nil || r.StatusCode >= 300 {
			t.Fatalf("put: %v %v", r, err)
		}
		r.Body.Close()
		if r, err = http.Get(url); err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if got, _ := io.ReadAll(r.Body); string(got) != body {
			t.Fatalf("got %s, want %s", got, body)
		}
	}
	serves(0)
	rng := rand.New(rand.NewPCG(5, 5))
	for round := range 5 {
		for _, addr := range []string{h.dnsUDP.LocalAddr().String(), h.cfg.Advertise} {
			throw(t, "udp", addr, rng, 300)
		}
		for _, l := range []net.Listener{h.http, h.https, h.dnsTCP} {
			throw(t, "tcp", l.Addr().String(), rng, 10)
		}
		serves(round + 1)
		answers(t, h.dnsUDP.LocalAddr().String())
	}
	if c := h.node.Cluster(); len(c.Regions) != 1 || len(c.Regions[0].Nodes) != 1 {
		t.Errorf("strangers are in the cluster: %+v", c.Regions)
	}
	http.DefaultClient.CloseIdleConnections()
}

// throw sends n packets or connections of random bytes.
func throw(t *testing.T, network, addr string, rng *rand.Rand, n int) {
	t.Helper()
	for range n {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+rng.IntN(600))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		_, _ = c.Write(b) // the node may have closed it already
		_ = c.Close()
	}
}

// answers asks for the zone's SOA record over UDP.
func answers(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	query := []byte("\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00" +
		"\x05atoll\x04test\x00\x00\x06\x00\x01")
	buf := make([]byte, 1500)
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) { // a datagram may be lost among the garbage
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(buf)
		if err == nil && n > 12 && buf[0] == 0x12 && buf[1] == 0x34 && buf[7] > 0 {
			return
		}
	}
	t.Fatal("DNS does not answer any more")
}

// dnsPort finds a port that is free over UDP and TCP.
func dnsPort(t *testing.T) string {
	t.Helper()
	for range 20 {
		free, addr := occupy(t, "udp")
		l, err := net.Listen("tcp", addr)
		free()
		if err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port is free over UDP and TCP")
	return ""
}
