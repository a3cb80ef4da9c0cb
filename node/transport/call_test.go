package transport

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// Calls and pulls are answered by their own handlers.
func TestCallIsNoPull(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	handler := func(name string) answerer {
		return func(_ context.Context, from atoll.NodeID, q []byte, w *PullWriter) error {
			return w.Frame(50, []byte(name+" "+string(from)+" "+string(q)))
		}
	}
	f := sea.start("frankfurt/1", func(c *Config, _ *island) {
		c.Handler.Pull, c.Handler.Call = handler("pull"), handler("call")
	})
	w.meets(f)
	for want, open := range map[string]func(
		context.Context, atoll.NodeID, []byte) (*PullStream, error){
		"50:pull washington/1 q": w.OpenPull, "50:call washington/1 q": w.OpenCall,
	} {
		p, err := open(t.Context(), "frankfurt/1", []byte("q"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := collect(p); err != io.EOF || strings.Join(got, "|") != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}

// A node that answers no calls refuses them and goes on with the rest.
func TestCallRefusals(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	if _, err := w.OpenCall(t.Context(), "frankfurt/1", nil); atoll.KindOf(err) != atoll.BehindSession {
		t.Errorf("not connected: %v", err)
	}
	f := sea.start("frankfurt/1", answers(func(_ context.Context, _ []byte, w *PullWriter) error {
		return w.Frame(9, []byte("x"))
	}))
	w.meets(f)
	p, err := w.OpenCall(t.Context(), "frankfurt/1", []byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(p); err == nil || err == io.EOF {
		t.Errorf("a node without a Call handler answers %v", err)
	}
	if _, err := w.OpenCall(t.Context(), "frankfurt/1", make([]byte, MaxPullRequest+1)); atoll.KindOf(err) != atoll.TooLarge {
		t.Errorf("a request over its limit: %v", err)
	}
	p, err = w.OpenPull(t.Context(), "frankfurt/1", []byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := collect(p); err != io.EOF || len(got) != 1 {
		t.Errorf("the pull after it: %v %v", got, err)
	}
}
