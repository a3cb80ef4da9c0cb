package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// response remembers what was answered, and gives a client WriteStall to take
// each piece of it: one that stops reading must not keep a goroutine for ever.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
	status  int // 0 until the header is written
	bytes   int64
	broken  error // of the first piece that the client did not take
}

func newResponse(w http.ResponseWriter, now func() time.Time) *response {
	return &response{ResponseWriter: w, control: http.NewResponseController(w), now: now}
}

// Unwrap lets an http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the status; a second one is net/http's to complain about.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends p as part of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.arm()
	n, err := w.ResponseWriter.Write(p)
	w.disarm()
	w.bytes += int64(n)
	w.broken = cmp.Or(w.broken, err)
	return n, err
}

// FlushError sends what is buffered.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.arm()
	err := w.control.Flush()
	w.disarm()
	w.broken = cmp.Or(w.broken, err)
	return err
}

// Flush is FlushError for those who ask for an http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// finish ends the answer of a handler that returned: what is still buffered is
// sent by net/http after us, and has its deadline too.
func (w *response) finish() {
	w.hurry()
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.arm()
}

// last makes this the last answer of an HTTP/1.1 connection: where its body
// ends is not known. HTTP/2 has other streams on it, which go on.
func (w *response) last(q *request) {
	if q.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// hurry gives the rest of a body that nobody wants BodyTimeout to arrive:
// net/http reads some of it, so that the connection can be used again.
func (w *response) hurry() { _ = w.control.SetReadDeadline(w.now().Add(BodyTimeout)) }

// The deadline stands only while there is something to send: HTTP/2 would end
// a quiet stream with it. Servers that have none (tests) are not an error.
func (w *response) arm()    { _ = w.control.SetWriteDeadline(w.now().Add(WriteStall)) }
func (w *response) disarm() { _ = w.control.SetWriteDeadline(time.Time{}) }

// stamp is a time as JSON has it: RFC 3339, UTC, milliseconds.
type stamp time.Time

// MarshalJSON implements json.Marshaler.
func (t stamp) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// encode writes v to buf as one line of JSON. Raw documents inside v keep
// their text.
func encode(buf *bytes.Buffer, v any) error {
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeJSONAs(w, status, "application/json", v)
}

func writeJSONAs(w http.ResponseWriter, status int, contentType string, v any) error {
	var buf bytes.Buffer
	if err := encode(&buf, v); err != nil {
		return err
	}
	return writeBody(w, status, contentType, buf.Bytes())
}

// writeBody answers with a body that is complete. An error means that the
// client is gone: there is nobody to tell.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}
