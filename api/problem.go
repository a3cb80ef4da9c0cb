package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/atolledge/atoll"
)

// retryAfter is what Retry-After says in seconds: a region that was behind or
// shutting down is worth asking again this soon, or another region is.
const retryAfter = 1

// problemType is the prefix of the type member of a problem (RFC 9457).
const problemType = "urn:atoll:problem:"

// typeProblem is the media type of a problem (RFC 9457, section 6.1).
const typeProblem = "application/problem+json"

// kind is the HTTP side of one atoll.Kind.
type kind struct {
	kind   atoll.Kind
	status int
	title  string
}

// kinds translates every kind of error to HTTP, here and nowhere else. A test
// holds it to the closed table of package atoll.
var kinds = []kind{
	{atoll.BadRequest, http.StatusBadRequest, "The request is not understood"},
	{atoll.BadJSON, http.StatusBadRequest, "The body is not JSON"},
	{atoll.DuplicateKey, http.StatusBadRequest, "An object names a member twice"},
	{atoll.BadKey, http.StatusBadRequest, "The key cannot name a document"},
	{atoll.TooLarge, http.StatusRequestEntityTooLarge, "Too large"},
	{atoll.KeyTooLong, http.StatusRequestURITooLong, "The key is too long"},
	{atoll.UnsupportedMediaType, http.StatusUnsupportedMediaType, "The content type does not fit"},
	{atoll.Unauthenticated, http.StatusUnauthorized, "A token is needed"},
	{atoll.Forbidden, http.StatusForbidden, "Not allowed"},
	{atoll.NotFound, http.StatusNotFound, "Not found"},
	{atoll.UnknownKeyspace, http.StatusNotFound, "There is no such keyspace"},
	{atoll.UnknownRegion, http.StatusNotFound, "There is no such region"},
	{atoll.PreconditionFailed, http.StatusPreconditionFailed, "The document is another by now"},
	{atoll.KindClash, http.StatusConflict, "The value is of another kind"},
	{atoll.AtBound, http.StatusConflict, "The counter is at its bound"},
	{atoll.DurabilityImpossible, http.StatusConflict, "The cluster cannot be that durable"},
	{atoll.RateLimited, http.StatusTooManyRequests, "Too many requests"},
	{atoll.BehindSession, http.StatusServiceUnavailable, "This region is behind the session"},
	{atoll.NoRights, http.StatusServiceUnavailable, "The rights to take that are elsewhere"},
	{atoll.DurabilityNotReached, http.StatusServiceUnavailable, "Written, not as durable as asked"},
	{atoll.Fenced, http.StatusServiceUnavailable, "This node takes no writes"},
	{atoll.ShuttingDown, http.StatusServiceUnavailable, "This node is shutting down"},
	{atoll.DiskFull, http.StatusInsufficientStorage, "The disk is below its reserve"},
	{atoll.Internal, http.StatusInternalServerError, "Internal error"},
}

// kindOf returns the row of k; that of atoll.Internal for one without a row.
func kindOf(k atoll.Kind) kind {
	for _, row := range kinds {
		if row.kind == k {
			return row
		}
	}
	return kinds[len(kinds)-1]
}

// statusError gives an error a status of HTTP's own where the closed table of
// kinds has none: 405 and 421.
type statusError struct {
	err    *atoll.Error
	status int
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// problem is the body of every error (RFC 9457, section 3.1).
type problem struct {
	Type   string        `json:"type" doc:"urn:atoll:problem: and the kind of error"`
	Title  string        `json:"title" doc:"the same for every error of this kind"`
	Status int           `json:"status"`
	Detail string        `json:"detail" doc:"what was wrong this time"`
	Hint   string        `json:"hint,omitempty" doc:"what to do next"`
	Limit  *problemLimit `json:"limit,omitempty" doc:"the limit that was exceeded"`
	Trace  string        `json:"trace,omitempty" doc:"trace id, also in the node's log"`
}

type problemLimit struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// newProblem is all that a user sees of err. The cause never is in it, nor any
// word of an error that has no kind.
func newProblem(err error, trace string) problem {
	var e *atoll.Error
	if !errors.As(err, &e) || kindOf(e.Kind).kind == atoll.Internal {
		e = atoll.Errorf(atoll.Internal, "the node could not answer; its log says why").
			WithHint("look for the trace id in the node's log")
	}
	row := kindOf(e.Kind)
	p := problem{
		Type: problemType + string(row.kind), Title: row.title, Status: row.status,
		Detail: e.Detail, Hint: e.Hint, Trace: trace,
	}
	if e.Limit != nil {
		p.Limit = &problemLimit{e.Limit.Name, e.Limit.Value}
	}
	var se *statusError
	if errors.As(err, &se) {
		p.Status = se.status
		p.Title = http.StatusText(se.status)
	}
	return p
}

// fail answers with err. The headers of an answer that was not to be go.
func fail(w http.ResponseWriter, err error, trace string) error {
	p := newProblem(err, trace)
	h := w.Header()
	h.Del("ETag")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="atoll"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	return writeJSONAs(w, p.Status, typeProblem, p)
}

// Refuse answers a request of a mounted handler with err, as every other error
// of the API is answered.
func Refuse(w http.ResponseWriter, r *http.Request, err error) {
	trace := ""
	if q, ok := r.Context().Value(contextKey{}).(*request); ok {
		trace = q.trace.Hex()
	}
	_ = fail(w, err, trace)
}
