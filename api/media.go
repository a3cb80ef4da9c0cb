package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// Media is what the handlers ask of the objects of a node. All methods are safe
// for concurrent use; their errors are *atoll.Error values, or the body's own.
type Media interface {
	// Stat returns an object without its body: atoll.NotFound if there is none,
	// atoll.UnknownKeyspace if its keyspace does not exist.
	Stat(context.Context, atoll.Read) (atoll.Object, error)

	// Open returns the body of an object, to be read until ctx ends.
	Open(context.Context, atoll.Object) (io.ReadSeeker, error)

	// Put stores an object; Written.ETag is its content hash.
	Put(context.Context, atoll.Upload) (atoll.Written, error)

	// Delete removes an object. The tags of the Write are content hashes.
	Delete(context.Context, atoll.Write) (atoll.Written, error)
}

// Limits of media calls.
const (
	MaxMediaType = 255              // bytes of a Content-Type
	MaxRanges    = 64               // ranges of one request
	UploadStall  = 30 * time.Second // for the next bytes of an upload
)

// typeBytes is the media type of what has none (RFC 9110, section 8.3).
const typeBytes = "application/octet-stream"

// noMedia answers where a node has none.
func noMedia() error { return atoll.Errorf(atoll.NotFound, "this node keeps no media") }

// getMedia answers GET and HEAD. There is no Last-Modified: two versions may
// share its second, the ETag is the content's hash.
func (s *Server) getMedia(w *response, q *request) error {
	if s.media == nil {
		return noMedia()
	}
	ks, key, err := q.document()
	if err != nil {
		return err
	}
	session, err := q.session()
	if err != nil {
		return err
	}
	if err := plainRange(q); err != nil {
		return err
	}
	o, err := s.media.Stat(q.Context(), atoll.Read{Keyspace: ks, Key: key, Session: session})
	setSession(w, o.Session, session)
	if err != nil {
		return err
	}
	body := io.ReadSeeker(io.NewSectionReader(nothing{}, 0, o.Size))
	if q.Method != http.MethodHead {
		if body, err = s.media.Open(q.Context(), o); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("ETag", quote(o.Hash.String()))
	h.Set("Content-Type", o.Type)
	h.Set("Cache-Control", "no-cache") // to be kept, but asked about each time
	// What somebody stored must not run as a page of this service.
	h.Set("Content-Security-Policy", "sandbox")
	content := &content9110{response: w}
	http.ServeContent(content, q.Request, "", time.Time{}, content.watch(body))
	return content.outcome(o)
}

// nothing is the body of an answer to HEAD.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// content9110 lets http.ServeContent decide on conditions and ranges (RFC 9110,
// sections 13 and 14) and keeps its refusals back, so that they are problems
// like all others.
type content9110 struct {
	*response
	refused int // status
	body    io.ReadSeeker
	failed  error // of the body
}

// WriteHeader implements http.ResponseWriter.
func (c *content9110) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		c.refused = status
		return
	}
	c.response.WriteHeader(status)
}

// Write implements io.Writer.
func (c *content9110) Write(p []byte) (int, error) {
	if c.refused > 0 {
		return len(p), nil
	}
	return c.response.Write(p)
}

func (c *content9110) watch(body io.ReadSeeker) io.ReadSeeker {
	c.body = body
	return watched{c}
}

// watched remembers why a body could not be read, which ServeContent does not say.
type watched struct{ c *content9110 }

func (r watched) Seek(offset int64, whence int) (int64, error) {
	return r.c.body.Seek(offset, whence)
}

func (r watched) Read(p []byte) (int, error) {
	n, err := r.c.body.Read(p)
	if err != nil && err != io.EOF {
		r.c.failed = err
	}
	return n, err
}

// outcome is the error of the answer that ServeContent gave, or wanted to give.
func (c *content9110) outcome(o atoll.Object) error {
	switch c.refused {
	case 0:
		if c.failed != nil {
			return c.failed
		}
		return c.broken
	case http.StatusPreconditionFailed:
		return atoll.Errorf(atoll.PreconditionFailed, "the object's ETag is %s",
			quote(o.Hash.String()))
	case http.StatusRequestedRangeNotSatisfiable:
		c.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", o.Size))
		return &statusError{atoll.Errorf(atoll.BadRequest, "the object has %d bytes: the range is "+
			"none of it", o.Size).WithHint("bytes=0-99, bytes=100- and bytes=-100 are ranges"),
			c.refused}
	}
	return atoll.Errorf(atoll.Internal, "the object could not be sent").Because(c.failed)
}

func (s *Server) putMedia(w *response, q *request) error {
	if s.media == nil {
		return noMedia()
	}
	u, err := uploadOf(q)
	if err != nil {
		return err
	}
	body := &uploading{w: w, body: q.Body}
	u.Body = body
	done, err := s.media.Put(q.Context(), u)
	_ = w.control.SetReadDeadline(time.Time{})
	setSession(w, done.Session, u.Session)
	if err != nil {
		w.last(q)
		if body.err != nil {
			return bodyError(body.err, atoll.MaxMedia)
		}
		return err
	}
	return answerWritten(w, done)
}

func answerWritten(w *response, done atoll.Written) error {
	w.Header().Set("ETag", quote(done.ETag))
	if done.Existed {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// uploadOf reads all of an upload but its body.
func uploadOf(q *request) (atoll.Upload, error) {
	req, err := writeOf(q)
	if err != nil {
		return atoll.Upload{}, err
	}
	u := atoll.Upload{
		Keyspace: req.Keyspace, Key: req.Key, Type: q.Header.Get("Content-Type"),
		IfMatch: req.IfMatch, IfNoneMatch: req.IfNoneMatch, TTL: req.TTL, Level: req.Level,
		Timeout: req.Timeout, Session: req.Session,
	}
	encoding := q.Header.Get("Content-Encoding")
	switch {
	case u.Type == "":
		u.Type = typeBytes
	case len(u.Type) > MaxMediaType:
		return u, atoll.Errorf(atoll.BadRequest, "a Content-Type of %d bytes", len(u.Type)).
			WithLimit("Content-Type bytes", MaxMediaType)
	}
	switch {
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return u, atoll.Errorf(atoll.UnsupportedMediaType, "Content-Encoding %q", encoding).
			WithHint("send the body as it is, it would be served without its encoding")
	case q.Header.Get("Content-Range") != "": // RFC 9110, section 14.5
		return u, atoll.Errorf(atoll.BadRequest, "a part of an object cannot be put").
			WithHint("send all of it, without Content-Range")
	case q.ContentLength > atoll.MaxMedia:
		return u, atoll.Errorf(atoll.TooLarge, "an object of %d bytes", q.ContentLength).
			WithLimit("object bytes", atoll.MaxMedia)
	}
	return u, nil
}

func (s *Server) deleteMedia(w *response, q *request) error {
	if s.media == nil {
		return noMedia()
	}
	req, err := writeOf(q)
	if err != nil {
		return err
	}
	done, err := s.media.Delete(q.Context(), req)
	setSession(w, done.Session, req.Session)
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// uploading gives each piece of an upload UploadStall to arrive, and remembers
// what went wrong with the client's side of it.
type uploading struct {
	w    *response
	body io.Reader
	err  error
}

func (u *uploading) Read(p []byte) (int, error) {
	_ = u.w.control.SetReadDeadline(u.w.now().Add(UploadStall))
	n, err := u.body.Read(p)
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

func mediaRoutes() []route {
	const pattern = "/v1/media/{keyspace}/{key...}"
	bytes := []content{{typeBytes, nil}}
	tagged := []string{"ETag", sessionHeader}
	named := []atoll.Kind{atoll.BadKey, atoll.KeyTooLong, atoll.NotFound, atoll.UnknownKeyspace,
		atoll.PreconditionFailed, atoll.BehindSession}
	changed := append([]atoll.Kind{atoll.DurabilityImpossible, atoll.DurabilityNotReached,
		atoll.Fenced, atoll.ShuttingDown, atoll.DiskFull}, named...)
	writes := []param{sessionParam, ifMatchParam, ifNoneMatchParam, durabilityParam, timeoutParam}
	return []route{
		{"GET", pattern, guard.Reader, (*Server).getMedia, about{
			id: "getMedia", summary: "An object's bytes, with the Content-Type they were stored with",
			headers: []param{sessionParam, ifMatchParam, ifNoneMatchParam,
				{"Range", "parts of it, at most 64 (RFC 9110, section 14)", "bytes=0-1023"},
				{"If-Range", "the ETag that the parts must be of", ""}},
			answers: []answer{
				{200, "All of it.", tagged, bytes},
				{206, "The parts asked for; several as multipart/byteranges.", tagged, bytes},
				{304, "If-None-Match names it.", tagged, nil},
			},
			kinds: named,
		}},
		{"PUT", pattern, guard.Writer, (*Server).putMedia, about{
			id: "putMedia", summary: "Store an object of up to 4 GiB, streamed",
			headers: append([]param{ttlParam}, writes...), body: bytes,
			answers: []answer{
				{201, "Stored; there was no object.", tagged, nil},
				{204, "Stored.", tagged, nil},
			},
			kinds: append([]atoll.Kind{atoll.TooLarge, atoll.UnsupportedMediaType}, changed...),
		}},
		{"DELETE", pattern, guard.Writer, (*Server).deleteMedia, about{
			id: "deleteMedia", summary: "Delete an object", headers: writes,
			answers: []answer{{204, "Gone, or was not there.", []string{sessionHeader}, nil}},
			kinds:   changed,
		}},
	}
}
