package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// errRequest is the cause of the refusal of a pull.
var errRequest = errors.New("a pull's request is too large")

// errSilent is the cause of giving up on the answer to a pull.
var errSilent = fmt.Errorf("the answer to a pull brings nothing for %s", PullSilence)

// PullStream is the answer to a pull as it comes in. It belongs to one goroutine.
type PullStream struct {
	ctx    context.Context
	link   *link
	stream *quic.Stream
	frames inflow
	stop   func() bool
	done   func() // gives the connection back
	silent bool   // the answer stood still for PullSilence
}

// patient reads the answer to a pull and gives it up when it stands still. A
// large document on a slow link does not: its bytes come.
type patient struct{ *PullStream }

func (r patient) Read(b []byte) (int, error) {
	_ = r.stream.SetReadDeadline(time.Now().Add(PullSilence))
	n, err := r.stream.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.silent = true
	}
	return n, err
}

// OpenPull asks a node for what request describes (at most MaxPullRequest bytes)
// and returns its answer, to be read with Next and always closed. QUIC's flow
// control holds the node back when the reader is slow. When ctx ends the stream
// is reset; an answer that brings nothing for PullSilence is broken. The error is an *atoll.Error, of kind BehindSession when the node is
// not connected.
func (t *Transport) OpenPull(
	ctx context.Context, to atoll.NodeID, request []byte,
) (*PullStream, error) {
	return t.open(ctx, kindPull, to, request)
}

// OpenCall is OpenPull for what is no replication: the node's Handler.Call
// answers it, and may think as long as ctx allows.
func (t *Transport) OpenCall(
	ctx context.Context, to atoll.NodeID, request []byte,
) (*PullStream, error) {
	return t.open(ctx, kindCall, to, request)
}

// OpenRead is OpenPull for what a client asks of a replica: the node's
// Handler.Read answers it.
func (t *Transport) OpenRead(
	ctx context.Context, to atoll.NodeID, request []byte,
) (*PullStream, error) {
	return t.open(ctx, kindRead, to, request)
}

func (t *Transport) open(
	ctx context.Context, kind byte, to atoll.NodeID, request []byte,
) (*PullStream, error) {
	if len(request) > MaxPullRequest {
		return nil, atoll.Errorf(atoll.TooLarge, "a pull's request of %d bytes", len(request)).
			WithLimit("pull request bytes", MaxPullRequest)
	}
	l := t.linkTo(to)
	if l == nil {
		return nil, atoll.Errorf(atoll.BehindSession, "%s is not connected", to)
	}
	conn, done := l.conn, func() {}
	if kind == kindCall {
		conn, done = l.forCall()
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		done()
		return nil, atoll.Errorf(atoll.BehindSession, "open a pull from %s", to).Because(err)
	}
	p := &PullStream{ctx: ctx, link: l, stream: stream, done: done}
	if p.frames = l.inflow(stream); kind == kindPull {
		p.frames = l.inflow(patient{p})
	}
	p.stop = context.AfterFunc(ctx, func() { reset(stream, streamDone) })
	if err := p.ask(kind, request); err != nil {
		p.Close()
		return nil, atoll.Errorf(atoll.BehindSession, "ask %s for a pull", to).Because(err)
	}
	return p, nil
}

func (p *PullStream) ask(kind byte, request []byte) error {
	if _, err := p.stream.Write([]byte{kind}); err != nil {
		return err
	}
	if _, err := p.stream.Write(request); err != nil {
		return err
	}
	return p.stream.Close()
}

// Next returns the next frame; the body is valid until the next call. It gives
// io.EOF at the end of a whole answer and any other error for a broken one.
func (p *PullStream) Next() (wire.Type, []byte, error) {
	typ, body, err := p.frames.Next()
	switch {
	case err == nil:
	case p.ctx.Err() != nil:
		err = context.Cause(p.ctx)
	case p.silent:
		p.link.t.refusals.refuse(reasonSilent, p.link.conn.RemoteAddr(), errSilent)
	}
	return typ, body, err
}

// Close lets go of the stream and tells the node to stop if there is more.
func (p *PullStream) Close() {
	p.stop()
	p.stream.CancelRead(streamDone)
	p.done()
}

// PullWriter takes the answer to a pull. It belongs to the Pull call that it
// was given to and gathers frames into larger writes.
type PullWriter struct {
	w       io.Writer
	packer  *packer // nil: frames go as they are
	frames  []byte  // gathered
	scratch []byte
}

// Frame writes one frame of at most wire.MaxFrame bytes. It waits while the
// asker is slow. After an error the answer is lost: return it.
func (w *PullWriter) Frame(t wire.Type, body []byte) error {
	if len(body) > wire.MaxFrame {
		return fmt.Errorf("%w: %d bytes", wire.ErrTooLarge, len(body))
	}
	w.frames = wire.AppendHeader(w.frames, t, len(body))
	if len(body) < pullBuffer || w.packer != nil {
		if w.frames = append(w.frames, body...); len(w.frames) < pullBuffer {
			return nil
		}
		return w.Flush()
	}
	if err := w.Flush(); err != nil { // not copied: it goes from where it is
		return err
	}
	_, err := w.w.Write(body)
	return err
}

// Flush sends what was gathered, for an answer that comes slowly.
func (w *PullWriter) Flush() error {
	var packed []byte
	packed, w.scratch = w.packer.pack(w.frames, w.scratch)
	_, err := w.w.Write(packed)
	if w.frames = w.frames[:0]; cap(w.frames) > keepBuffer {
		w.frames = nil
	}
	return err
}

// answerer is Handler.Pull, Handler.Call or Handler.Read.
type answerer func(context.Context, atoll.NodeID, []byte, *PullWriter) error

// answer serves one pull or call of the peer. Without a packer, frames go as they
// are.
func (l *link) answer(stream *quic.Stream, handle answerer, packer *packer) {
	request, err := io.ReadAll(io.LimitReader(stream, MaxPullRequest+1))
	switch {
	case err != nil:
		reset(stream, streamRefused)
		return
	case len(request) > MaxPullRequest:
		reset(stream, streamRefused)
		l.t.refusals.refuse(reasonPull, l.conn.RemoteAddr(), errRequest)
		return
	case handle == nil:
		reset(stream, streamRefused)
		return
	}
	w := &PullWriter{w: stream, packer: packer}
	err = handle(stream.Context(), l.peer.Node, request, w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		stream.CancelWrite(streamFailed)
		l.t.cfg.Logger.Debug("pull not answered", "node", l.peer.Node, "err", err)
		return
	}
	_ = stream.Close()
}
