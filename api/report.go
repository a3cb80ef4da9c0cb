package api

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/atolledge/atoll"
)

// progress is a line that an import answers with. The last one has done.
type progress struct {
	Imported int      `json:"imported" doc:"documents that are written"`
	Failed   int      `json:"failed" doc:"records that are not"`
	Done     bool     `json:"done,omitempty" doc:"this is the last line"`
	TookMS   float64  `json:"took_ms,omitempty"`
	Problem  *problem `json:"problem,omitempty" doc:"why the rest was not read"`
}

// rejected is a line that an import answers with for a bad record.
type rejected struct {
	Line    int     `json:"line" doc:"of NDJSON, or the number of the array's element; from 1"`
	Key     string  `json:"key,omitempty"`
	Problem problem `json:"problem"`
}

// report turns the outcomes of an import into the lines of its answer. It is
// the only one that writes the answer.
type report struct {
	im    *importer
	w     *response
	halt  func() // ends reading and writing
	sum   progress
	stop  error        // why no more records are taken; nil while they are
	buf   bytes.Buffer // lines that are not sent yet
	start time.Time
	sent  time.Time // when lines were sent last
}

func newReport(im *importer, w *response, halt func()) *report {
	now := im.s.now()
	return &report{im: im, w: w, halt: halt, start: now, sent: now}
}

// run reports until the last outcome. An error means that nothing was sent
// yet, and can be a problem, or that the client is gone.
func (r *report) run() error {
	for o := range r.im.outcomes {
		if o.line == 0 {
			if r.stop == nil {
				r.stop = o.err
			}
			break
		}
		if err := r.count(o); err != nil {
			return err
		}
		if err := r.beat(); err != nil {
			return err
		}
	}
	return r.finish()
}

// count takes one outcome into account. The records that were in flight when
// the import stopped have failed too, for the same reason: no line for each.
func (r *report) count(o outcome) error {
	if o.err == nil {
		r.sum.Imported++
		return nil
	}
	r.sum.Failed++
	switch {
	case r.stop != nil:
		return nil
	case concernsAll(o.err):
		r.stop = o.err
		r.halt()
		return nil
	case kindOf(atoll.KindOf(o.err)).kind == atoll.Internal:
		r.im.s.logCause(r.im.q, o.err, false)
	}
	return encode(&r.buf, rejected{o.line, string(o.key), newProblem(o.err, r.im.q.trace.Hex())})
}

// beat sends progress from time to time, and bad records as soon as there is a
// moment: many of them go in one piece.
func (r *report) beat() error {
	due := (r.sum.Imported+r.sum.Failed)%importReport == 0 ||
		r.im.s.now().Sub(r.sent) >= importBeat
	switch {
	case due && r.stop == nil:
		if err := encode(&r.buf, r.sum); err != nil {
			return err
		}
	case r.buf.Len() == 0, len(r.im.outcomes) > 0 && r.buf.Len() < importUnit:
		return nil
	}
	return r.send()
}

// finish sends the last line. An import that stopped before it did anything is
// an ordinary problem.
func (r *report) finish() error {
	if r.stop != nil && r.sum.Imported == 0 && r.w.status == 0 && r.buf.Len() == 0 {
		return r.stop
	}
	r.sum.Done, r.sum.TookMS = true, milliseconds(r.im.s.now().Sub(r.start))
	if r.stop != nil {
		r.im.s.logCause(r.im.q, r.stop, r.w.broken != nil)
		p := newProblem(r.stop, r.im.q.trace.Hex())
		r.sum.Problem = &p
	}
	if err := encode(&r.buf, r.sum); err != nil {
		return err
	}
	return r.send()
}

// send passes lines on to the client, now.
func (r *report) send() error {
	if r.w.status == 0 {
		r.w.Header().Set("Content-Type", typeNDJSON)
	}
	r.sent = r.im.s.now()
	if _, err := r.w.Write(r.buf.Bytes()); err != nil {
		return err
	}
	r.buf.Reset()
	return r.w.FlushError()
}

// concernsAll reports whether an error would meet every other record as well.
func concernsAll(err error) bool {
	switch atoll.KindOf(err) {
	case atoll.UnknownKeyspace, atoll.DiskFull, atoll.ShuttingDown, atoll.Fenced,
		atoll.DurabilityImpossible:
		return true
	}
	return errors.Is(err, context.Canceled)
}
