package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
)

// TestBusyPort opens a node where one of its ports is in use. The error names
// it, and the other ports are free again.
func TestBusyPort(t *testing.T) {
	for _, tt := range []struct {
		what, network string
		set           func(*hostConfig, string)
	}{
		{"HTTP", "tcp", func(c *hostConfig, addr string) { c.http = addr }},
		{"HTTPS", "tcp", func(c *hostConfig, addr string) { c.https = addr }},
		{"DNS", "tcp", func(c *hostConfig, addr string) { c.dns = addr }},
		{"DNS", "udp", func(c *hostConfig, addr string) { c.dns = addr }},
		{"peers", "udp", func(c *hostConfig, addr string) { c.peer = addr }},
	} {
		t.Run(tt.what+" "+tt.network, func(t *testing.T) {
			taken, addr := occupy(t, tt.network)
			cfg := testHost(t)
			tt.set(&cfg, addr)
			h, err := openHost(cfg)
			if err == nil || h != nil {
				t.Fatal("opened on a port that is in use")
			}
			if !errors.Is(err, syscall.EADDRINUSE) || atoll.KindOf(err) != atoll.Internal {
				t.Errorf("%v is not about a port in use", err)
			}
			want := "cannot listen on " + addr + "/" + tt.network + " for " + tt.what
			if !strings.Contains(err.Error(), want) || !strings.Contains(hint(err), "ss -lntup") {
				t.Errorf("got %v, hint %q, want %s", err, hint(err), want)
			}
			taken()
			if h, err = openHost(cfg); err != nil {
				t.Fatalf("with the port free again: %v", err)
			}
			h.run()
			if err := h.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRetire asks a node that stops: it is not ready, and still answers.
func TestRetire(t *testing.T) {
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
	w := atoll.Write{Keyspace: "notes", Key: "a", Body: []byte(`{}`)}
	if _, err := h.node.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if reasons := h.node.Ready(); len(reasons) > 0 {
		t.Fatalf("not ready: %v", reasons)
	}
	h.node.Retire()
	if reasons := h.node.Ready(); len(reasons) != 1 || !strings.Contains(reasons[0], "stopping") {
		t.Errorf("ready although it stops: %v", reasons)
	}
	if _, err := h.node.Write(t.Context(), w); err != nil {
		t.Errorf("a node that is not ready any more refuses: %v", err)
	}
}

// occupy takes a port of loopback for one network until the function is
// called. The port is free for the other network.
func occupy(t *testing.T, network string) (release func(), addr string) {
	t.Helper()
	addr = freeAddr(t)
	var c io.Closer
	var err error
	if network == "udp" {
		c, err = net.ListenPacket("udp", addr)
	} else {
		c, err = net.Listen("tcp", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() { c.Close() }, addr
}

// freeAddr returns an address of loopback whose UDP and TCP ports are free. It
// lies below the range from which systems pick ports (RFC 6335, section 6, and
// Linux from 32768 on), so that no connection that opens meanwhile takes it.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no port is free for both")
	return ""
}

// testHost is a cluster of one on ports that the system picks.
func testHost(t *testing.T) hostConfig {
	log := slog.New(slog.DiscardHandler)
	base, err := nodeConfig(log)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca, err := ownCA(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	base.Node, base.Dir, base.CA = "here/1", dir, ca
	if base.Certificate, err = issue(ca, base.Node, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	anyone, err := guard.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	places, err := geo.Default()
	if err != nil {
		t.Fatal(err)
	}
	const any = "127.0.0.1:0"
	return hostConfig{
		Config: base, peer: any, http: any, https: freeAddr(t), guard: anyone, places: places,
		zones: []geodns.Zone{{Name: zoneName}},
	}
}

// TestObey sends signals: the first stops, the second ends at once.
func TestObey(t *testing.T) {
	signals := make(chan os.Signal)
	stopped, exited := make(chan struct{}), make(chan int)
	go obey(signals, func() { close(stopped) }, func(code int) { exited <- code })
	signals <- os.Interrupt
	<-stopped
	select {
	case code := <-exited:
		t.Fatalf("one signal ends it with %d", code)
	case signals <- syscall.SIGTERM:
	}
	if code := <-exited; code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
}
