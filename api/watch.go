package api

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// WatchPatience is how long a reader of a watch may take for what it is sent at
// once. One that takes longer is told where to resume and let go: it would read
// an ever coarser digest of what happens, and not know.
const WatchPatience = 10 * time.Second

// watchRetry is after how many milliseconds a browser resumes.
const watchRetry = "1000"

// typeEvents is the media type of server-sent events (HTML, section 9.2).
const typeEvents = "text/event-stream"

// Watch is what /v1/watch asks of the node: events in batches, an empty one when
// the watch is open and whenever it has been quiet, at most one error and that
// last. It ends with its context.
type Watch func(context.Context, atoll.Watch) iter.Seq2[[]atoll.Event, error]

// The data of the events of a watch. Their names are those of atoll.EventKind,
// and dropped.
type (
	watchPut struct {
		Key     string          `json:"key"`
		ETag    string          `json:"etag" doc:"without the quotes of the ETag header"`
		Expires *stamp          `json:"expires,omitempty" doc:"when the document is no longer there"`
		Doc     json.RawMessage `json:"doc"`
	}
	watchDelete struct {
		Key string `json:"key"`
	}
	watchReset   struct{}
	watchDropped struct {
		Reason string       `json:"reason"`
		Cursor atoll.Cursor `json:"cursor" doc:"resume with it, here or in any region"`
	}
)

func watchRoute() route {
	return route{"GET", "/v1/watch/{keyspace}", guard.Reader, (*Server).watchKeyspace, about{
		id: "watchKeyspace",
		summary: "Server-sent events: put {key, etag, doc, expires}, delete {key}, reset {} (forget " +
			"all; it follows), dropped {reason, cursor} (last). Begins with all documents unless it " +
			"resumes. At least once; the id of an event is the cursor behind it, good in any region",
		query: []param{prefixParam,
			{"cursor", "resume behind it; now: only what changes from now on", "now"}},
		headers: []param{{"Last-Event-ID", "resume behind it; wins over cursor", ""}},
		answers: []answer{{200, "A stream without an end.", nil, []content{{typeEvents, nil}}}},
		kinds: []atoll.Kind{atoll.UnknownKeyspace, atoll.KeyTooLong, atoll.BadKey, atoll.NotFound,
			atoll.RateLimited, atoll.ShuttingDown},
	}}
}

// EndStreams ends all watches, now and from now on: their readers are told where
// to resume. Call it before the servers are shut down, which wait for them.
func (s *Server) EndStreams() { s.endStreams() }

func (s *Server) watchKeyspace(w *response, q *request) error {
	ask, err := watching(q)
	if err != nil {
		return err
	}
	if s.watch == nil {
		return atoll.Errorf(atoll.NotFound, "this node has no watch")
	}
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	out := eventStream{w: w, last: ask.Cursor}
	for events, err := range s.watch(ctx, ask) {
		if err != nil {
			return out.end(err)
		}
		start := s.now()
		if err := out.send(events); err != nil || q.Method == http.MethodHead {
			return err
		}
		if s.now().Sub(start) > WatchPatience {
			s.metrics.slow.Inc()
			return out.drop("you took longer for what you were sent than a reader may")
		}
	}
	if s.streams.Err() == nil {
		return nil // the reader left
	}
	return out.end(atoll.Errorf(atoll.ShuttingDown, "this node is stopping").
		WithHint("another node of the cluster will answer"))
}

// watching reads what is asked for. The header wins: a browser resumes with the
// URL that it began with.
func watching(q *request) (ask atoll.Watch, err error) {
	if ask.Keyspace, err = q.keyspace(); err != nil {
		return ask, err
	}
	if ask.Prefix, err = q.keyPart("prefix"); err != nil {
		return ask, err
	}
	cursor, err := q.one("cursor")
	if err != nil {
		return ask, err
	}
	switch ids := q.Header.Values("Last-Event-ID"); {
	case len(ids) > 1:
		return ask, atoll.Errorf(atoll.BadRequest, "there is more than one Last-Event-ID")
	case len(ids) == 1 && ids[0] != "":
		cursor = ids[0]
	}
	if len(cursor) > atoll.MaxCursor {
		return ask, atoll.Errorf(atoll.BadRequest, "the cursor has %d bytes", len(cursor)).
			WithLimit("cursor bytes", atoll.MaxCursor)
	}
	ask.Cursor = atoll.Cursor(cursor)
	return ask, nil
}

// eventStream writes server-sent events.
type eventStream struct {
	w    *response
	buf  bytes.Buffer
	last atoll.Cursor // where a reader who is dropped now resumes
}

// send sends a batch; an empty one is a comment that keeps the connection.
func (s *eventStream) send(events []atoll.Event) error {
	s.buf.Reset()
	if s.w.status == 0 {
		h := s.w.Header()
		h.Set("Content-Type", typeEvents)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // a proxy that gathers would hold events back
		s.w.WriteHeader(http.StatusOK)
		s.buf.WriteString("retry: " + watchRetry + "\n")
	}
	if len(events) == 0 {
		s.buf.WriteString(":\n\n")
	}
	for i := range events {
		if err := s.event(&events[i]); err != nil {
			return err
		}
	}
	return s.flush()
}

func (s *eventStream) flush() error {
	if _, err := s.w.Write(s.buf.Bytes()); err != nil {
		return err
	}
	return s.w.FlushError()
}

func (s *eventStream) event(e *atoll.Event) error {
	s.last = e.Cursor
	switch e.Kind {
	case atoll.EventPut:
		data := watchPut{Key: string(e.Key), ETag: e.ETag, Doc: e.Body}
		if !e.Expires.IsZero() {
			at := stamp(e.Expires)
			data.Expires = &at
		}
		return s.append(string(e.Kind), data)
	case atoll.EventDelete:
		return s.append(string(e.Kind), watchDelete{string(e.Key)})
	case atoll.EventReset:
		return s.append(string(e.Kind), watchReset{})
	}
	// An event without data is none to a browser, but it keeps the id.
	s.buf.WriteString("id: " + string(e.Cursor) + "\n\n")
	return nil
}

// append adds an event to what is sent next.
func (s *eventStream) append(name string, v any) error {
	if s.last != "" {
		s.buf.WriteString("id: " + string(s.last) + "\n")
	}
	s.buf.WriteString("event: " + name + "\n")
	var data bytes.Buffer
	if err := encode(&data, v); err != nil {
		return err
	}
	appendData(&s.buf, data.Bytes())
	s.buf.WriteByte('\n')
	return nil
}

// appendData writes data as the lines of one event. Each kind of line break ends
// a line of the format, so each begins another.
func appendData(buf *bytes.Buffer, data []byte) {
	data = bytes.TrimSuffix(data, []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		buf.WriteString("data: ")
		buf.Write(line)
		buf.WriteByte('\n')
	}
}

// end ends a stream with err: a problem where nothing was sent yet.
func (s *eventStream) end(err error) error {
	if s.w.status == 0 {
		return err
	}
	return s.drop(newProblem(err, "").Detail)
}

// drop tells the reader why there is no more, and where to go on.
func (s *eventStream) drop(reason string) error {
	s.buf.Reset()
	if err := s.append("dropped", watchDropped{reason, s.last}); err != nil {
		return err
	}
	return s.flush()
}
