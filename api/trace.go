package api

import (
	"encoding/binary"
	"io"
	"net/http"

	"github.com/atolledge/atoll"
)

// continueTrace makes the trace of a request from its traceparent headers: the
// one that it carries with a span of our own, else a new one, of which the
// fraction sample is looked at. parent is the span that it carries.
func continueTrace(headers []string, random io.Reader, sample float64) (
	t atoll.Trace, parent [8]byte, err error,
) {
	known := false
	if len(headers) == 1 {
		t, known = atoll.ParseTrace(headers[0])
		parent = t.Span
	}
	if !known {
		if _, err := io.ReadFull(random, t.ID[:]); err != nil {
			return atoll.Trace{}, parent, err
		}
		// The last 53 bits of a random id are a number from 0 to 1.
		t.Sampled = float64(binary.BigEndian.Uint64(t.ID[8:])>>11)/(1<<53) < sample
	}
	_, err = io.ReadFull(random, t.Span[:])
	return t, parent, err
}

// traced tells of a request of a sampled trace, when it has been answered.
func (s *Server) traced(w *response, q *request, label string) {
	if s.spans == nil || !q.trace.Sampled {
		return
	}
	span := atoll.Span{
		Trace: q.trace, Parent: q.parent, Name: q.Method + " " + label, Kind: atoll.SpanServer,
		Begin: q.begin, End: s.now(),
		Attributes: []atoll.Attribute{
			{Key: "http.request.method", Value: q.Method},
			{Key: "http.route", Value: label},
			{Key: "url.path", Value: q.URL.EscapedPath()},
			{Key: "http.response.status_code", Value: int64(w.status)},
			{Key: "http.response.body.size", Value: w.bytes},
			{Key: "network.protocol.version", Value: q.Proto},
		},
	}
	if w.status >= http.StatusInternalServerError {
		span.Failed = http.StatusText(w.status)
	}
	s.spans(span)
}
