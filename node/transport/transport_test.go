package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

func TestTwoNodesExchangeFramesAndDatagrams(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	if !w.Send("frankfurt/1", Control, 9, []byte("heads")) ||
		!w.Send("frankfurt/1", Eager, 300, []byte("delta")) ||
		!f.Send("washington/1", Eager, 10, nil) ||
		!f.SendDatagram("washington/1", []byte("ping")) {
		t.Error("not queued")
	}
	f.awaits("washington/1 frame 9 heads")
	f.awaits("washington/1 frame 300 delta")
	w.awaits("frankfurt/1 frame 10 ")
	w.awaits("frankfurt/1 datagram ping")
	p := w.Peers()
	if len(p) != 1 || p[0].Node != "frankfurt/1" || p[0].Region != "frankfurt" ||
		p[0].Addr != f.addr || p[0].Origin != originOf("frankfurt/1") || p[0].Terms.Version != 1 {
		t.Errorf("peers: %+v", p)
	}
	if rtt := w.RTT("frankfurt/1"); rtt <= 0 || rtt > time.Second {
		t.Errorf("RTT on loopback: %v", rtt)
	}
	if rtt := w.RTT("tokyo/1"); rtt != 0 {
		t.Errorf("RTT to a node that is not there: %v", rtt)
	}
	if n := w.count("peers", ""); n != 1 {
		t.Errorf("gauge says %v peers", n)
	}
}

func TestSendSaysWhenItDoesNot(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	if w.Send("frankfurt/1", Control, 9, nil) || w.SendDatagram("frankfurt/1", nil) {
		t.Error("sent without a connection")
	}
	w.meets(f)
	if w.SendDatagram("frankfurt/1", make([]byte, MaxDatagram+1)) {
		t.Error("sent a datagram over its limit")
	}
	if !w.SendDatagram("frankfurt/1", []byte(strings.Repeat("d", MaxDatagram))) {
		t.Error("did not send a datagram at its limit")
	}
	f.awaits("washington/1 datagram " + strings.Repeat("d", MaxDatagram))
	if w.count("dropped_total", "control") != 1 || w.count("dropped_total", "datagram") != 2 {
		t.Errorf("counted %v control, %v datagram",
			w.count("dropped_total", "control"), w.count("dropped_total", "datagram"))
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	start := time.Now()
	f.Close()
	w.awaits("down frankfurt/1")
	if took := time.Since(start); took >= idleTimeout/2 {
		t.Errorf("noticed after %v: by silence", took)
	}
	if err := <-f.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	f.Close()
	if err := f.Connect(w.addr); err != nil {
		t.Errorf("Connect after Close: %v", err)
	}
}

func TestKillIsNoticedBySilence(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	start := time.Now()
	f.Kill()
	w.awaits("down frankfurt/1")
	if took := time.Since(start); took < idleTimeout/2 || took > 2*idleTimeout {
		t.Errorf("noticed after %v, want about %v", took, idleTimeout)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	sea := newSea(t)
	tr, err := New(sea.config("washington/1"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunReportsABrokenSocket(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	until(t, "it listens", func() bool { return w.Connect(w.addr) == nil })
	w.cfg.Conn.Close()
	if err := <-w.done; atoll.KindOf(err) != atoll.Internal {
		t.Errorf("Run: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	sea := newSea(t)
	other := sea.issue("tokyo/1")
	for name, c := range map[string]struct {
		spoil func(*Config)
		want  atoll.Kind
	}{
		"no socket":         {func(c *Config) { c.Conn = nil }, atoll.Internal},
		"no CAs":            {func(c *Config) { c.CAs = nil }, atoll.Internal},
		"other certificate": {func(c *Config) { c.Certificate = other }, atoll.BadRequest},
		"no origin":         {func(c *Config) { c.Hello.Origin = 0 }, atoll.BadRequest},
		"another cluster":   {func(c *Config) { c.Hello.Cluster.Name = "sand" }, atoll.BadRequest},
		"certificate of junk": {func(c *Config) {
			c.Certificate.Certificate[0] = []byte("junk")
		}, atoll.BadRequest},
	} {
		cfg := sea.config("washington/1")
		c.spoil(&cfg)
		if _, err := New(cfg); atoll.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestNewRefusesMetricsTwice(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	cfg := sea.config("washington/2")
	cfg.Metrics = w.cfg.Metrics
	if _, err := New(cfg); err == nil {
		t.Fatal("two transports share a registry without labels")
	}
	w.Close()
	again, err := New(cfg)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	again.Close()
}

func TestConnectRefusesWhatIsNoAddress(t *testing.T) {
	w := newSea(t).start("washington/1")
	for _, addr := range []string{"", "127.0.0.1", "[::1", "a:b:c"} {
		if err := w.Connect(addr); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%q: %v", addr, err)
		}
	}
	for i := range maxWants {
		_ = w.Connect(fmt.Sprintf("127.0.0.1:%d", 20000+i))
	}
	var limit *atoll.Error
	if err := w.Connect("127.0.0.1:1"); !errors.As(err, &limit) || limit.Limit == nil {
		t.Errorf("over the limit: %v", err)
	}
}
