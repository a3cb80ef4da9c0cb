package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// answers makes a node answer pulls with f.
func answers(f func(context.Context, []byte, *PullWriter) error) func(*Config, *island) {
	return func(c *Config, _ *island) {
		c.Handler.Pull = func(
			ctx context.Context, _ atoll.NodeID, request []byte, w *PullWriter,
		) error {
			return f(ctx, request, w)
		}
	}
}

// collect reads a whole answer.
func collect(p *PullStream) (bodies []string, err error) {
	defer p.Close()
	for {
		typ, body, err := p.Next()
		if err != nil {
			return bodies, err
		}
		bodies = append(bodies, strconv.Itoa(int(typ))+":"+string(body))
	}
}

func TestPullGetsTheWholeAnswerAndItsEnd(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	f := sea.start("frankfurt/1", answers(func(_ context.Context, q []byte, w *PullWriter) error {
		if len(q) == 0 {
			return nil
		}
		if err := w.Frame(9, q); err != nil {
			return err
		}
		return w.Frame(1<<40, make([]byte, wire.MaxFrame))
	}))
	w.meets(f)
	for _, request := range [][]byte{nil, []byte("clock"), make([]byte, MaxPullRequest)} {
		p, err := w.OpenPull(t.Context(), "frankfurt/1", request)
		if err != nil {
			t.Fatal(err)
		}
		bodies, err := collect(p)
		want := []string{"9:" + string(request), "1099511627776:" + string(make([]byte, wire.MaxFrame))}
		if len(request) == 0 {
			want = nil
		}
		if err != io.EOF || strings.Join(bodies, "|") != strings.Join(want, "|") {
			t.Errorf("%d bytes asked: %d frames, %v", len(request), len(bodies), err)
		}
	}
}

func TestPullOfAFailedAnswerIsNotWhole(t *testing.T) {
	sea := newSea(t)
	w := sea.start("washington/1")
	f := sea.start("frankfurt/1", answers(func(_ context.Context, _ []byte, w *PullWriter) error {
		_ = w.Frame(9, []byte("part"))
		_ = w.Flush()
		if err := w.Frame(9, make([]byte, wire.MaxFrame+1)); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("a frame over the limit: %v", err)
		}
		return errors.New("disk")
	}))
	w.meets(f)
	p, err := w.OpenPull(t.Context(), "frankfurt/1", []byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(p); err == nil || err == io.EOF {
		t.Errorf("a broken answer ends with %v", err)
	}
}

func TestPullRefusals(t *testing.T) {
	sea := newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	_, err := w.OpenPull(t.Context(), "frankfurt/1", nil)
	if atoll.KindOf(err) != atoll.BehindSession {
		t.Errorf("not connected: %v", err)
	}
	w.meets(f)
	_, err = w.OpenPull(t.Context(), "frankfurt/1", make([]byte, MaxPullRequest+1))
	if atoll.KindOf(err) != atoll.TooLarge {
		t.Errorf("a request over its limit: %v", err)
	}
	p, err := w.OpenPull(t.Context(), "frankfurt/1", []byte("q"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(p); err == nil || err == io.EOF {
		t.Errorf("a node without a Pull handler answers %v", err)
	}
}

// A reader that stops reading stops the writer, and letting go ends it.
func TestPullHoldsTheWriterBackAndStopsIt(t *testing.T) {
	sea := newSea(t)
	var written atomic.Int64
	stopped := make(chan error, 1)
	w := sea.start("washington/1")
	f := sea.start("frankfurt/1", answers(func(ctx context.Context, _ []byte, w *PullWriter) error {
		body := noise(64 << 10)
		for {
			if err := w.Frame(9, body); err != nil {
				stopped <- err
				<-ctx.Done()
				return err
			}
			written.Add(int64(len(body)))
		}
	}))
	w.meets(f)
	p, err := w.OpenPull(t.Context(), "frankfurt/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Next(); err != nil {
		t.Fatal(err)
	}
	until(t, "the window is full", func() bool {
		before := written.Load()
		time.Sleep(100 * time.Millisecond) // it must stand still for as long
		return before > streamWindowFirst/2 && written.Load() == before
	})
	if n := written.Load(); n > streamWindow+1<<20 {
		t.Errorf("%d bytes written towards a reader that took one frame", n)
	}
	p.Close()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("the writer goes on")
	}
}

func TestPullEndsWithItsContextAndWithTheConnection(t *testing.T) {
	sea := newSea(t)
	var began, ended atomic.Int32
	w := sea.start("washington/1")
	f := sea.start("frankfurt/1", answers(func(ctx context.Context, _ []byte, _ *PullWriter) error {
		began.Add(1)
		<-ctx.Done()
		ended.Add(1)
		return ctx.Err()
	}))
	w.meets(f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for n, c := range []struct {
		ctx  context.Context
		stop func()
		want error // nil: any but io.EOF
	}{
		{ctx, cancel, context.Canceled},
		{t.Context(), func() { w.Disconnect("frankfurt/1") }, nil},
	} {
		p, err := w.OpenPull(c.ctx, "frankfurt/1", []byte("q"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the handler runs", func() bool { return int(began.Load()) == n+1 })
		c.stop()
		_, err = collect(p)
		if err == nil || err == io.EOF || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("way %d of ending: %v", n, err)
		}
		until(t, "the handler ends", func() bool { return int(ended.Load()) == n+1 })
	}
}

// A full lane refuses and counts; what it took arrives whole and in order, many
// frames to a write.
func TestAFullLaneRefusesAndLosesNothingElse(t *testing.T) {
	sea := newSea(t)
	const first = 1000 // type of frame: none that the transport reads itself
	gate := make(chan struct{})
	var got, next atomic.Int64
	w := sea.start("washington/1")
	f := sea.start("washington/2", func(c *Config, _ *island) {
		c.Handler.Frame = func(_ atoll.NodeID, typ wire.Type, b []byte) {
			<-gate
			if int64(typ) != first+next.Add(1) || len(b) != 32<<10 {
				t.Errorf("frame %d of %d bytes, want number %d", typ, len(b), next.Load())
			}
			got.Add(1)
		}
	})
	w.meets(f)
	body, sent := make([]byte, 32<<10), 0
	for w.Send("washington/2", Eager, wire.Type(first+sent+1), body) {
		sent++
	}
	if bytes := sent * len(body); bytes > laneLimits[Eager].bytes+streamWindow+1<<20 {
		t.Errorf("took %d bytes while the peer reads nothing", bytes)
	}
	if n := w.count("dropped_total", "eager"); n != 1 {
		t.Errorf("counted %v", n)
	}
	close(gate)
	until(t, "all that was taken arrives", func() bool { return got.Load() == int64(sent) })
	frames, writes := w.count("frames_total", "eager"), w.count("writes_total", "eager")
	if int(frames) != sent || writes > frames/2 {
		t.Errorf("%v frames in %v writes, want %d in fewer", frames, writes, sent)
	}
}

// The lane against a plain list of frames.
func TestLaneAgreesWithAList(t *testing.T) {
	for _, limits := range []struct{ bytes, frames int }{{1000, 1 << 20}, {1 << 20, 7}, {64, 3}} {
		q := &lane{wake: make(chan struct{}, 1), bytes: limits.bytes, max: limits.frames}
		var want, got []byte
		waiting, size := 0, 0
		var spare []byte
		for n := range 5000 {
			body := bytes.Repeat([]byte{byte(n)}, n*7%50)
			fits := waiting < limits.frames && size+len(body) <= limits.bytes
			if ok := q.push(wire.Type(n), body); ok != fits {
				t.Fatalf("frame %d: taken %v, want %v", n, ok, fits)
			}
			if fits {
				frame := wire.AppendFrame(nil, wire.Type(n), body)
				want = append(want, frame...)
				waiting, size = waiting+1, size+len(frame)
			}
			if n%11 == 0 {
				batch, frames := q.take(spare)
				if frames != waiting {
					t.Fatalf("took %d frames, want %d", frames, waiting)
				}
				got, waiting, size, spare = append(got, batch...), 0, 0, batch
			}
		}
		left := q.close()
		if left != waiting || q.push(1, nil) {
			t.Errorf("%d left, want %d; or it takes more after close", left, waiting)
		}
		if !bytes.HasPrefix(want, got) || len(want)-len(got) != size {
			t.Error("what came out is not what went in")
		}
	}
}

// An answer that stands still is given up and counted; one that is merely slow,
// longer than that in all, is not.
func TestPullThatFallsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	sea := newSea(t)
	const pieces = 4
	w := sea.start("washington/1")
	f := sea.start("frankfurt/1", answers(func(ctx context.Context, q []byte, w *PullWriter) error {
		for i := range pieces {
			if err := errors.Join(w.Frame(9, []byte("piece")), w.Flush()); err != nil {
				return err
			}
			pause := time.NewTimer(PullSilence / (pieces - 1))
			if string(q) == "silent" {
				<-ctx.Done()
				return ctx.Err()
			}
			if i < pieces-1 {
				<-pause.C
			}
		}
		return nil
	}))
	w.meets(f)
	ends := map[string]chan error{"silent": make(chan error, 1), "slow": make(chan error, 1)}
	for request, end := range ends {
		p, err := w.OpenPull(t.Context(), "frankfurt/1", []byte(request))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := collect(p)
			end <- err
		}()
	}
	if err := <-ends["slow"]; err != io.EOF {
		t.Errorf("the slow answer ends with %v", err)
	}
	if err := <-ends["silent"]; err == nil || err == io.EOF {
		t.Errorf("the silent answer ends with %v", err)
	}
	if n := w.refusals(reasonSilent); n != 1 {
		t.Errorf("counted %v", n)
	}
}
