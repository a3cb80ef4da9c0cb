package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// Limits of request bodies, in bytes.
const (
	MaxDocument = 1 << 20  // a request document: what one PUT or PATCH may carry
	MaxSettings = 64 << 10 // the settings of a keyspace
)

// readBody reads a whole request document of at most limit bytes. One that
// says it is longer is refused before it is read.
func (s *Server) readBody(w *response, q *request, limit int64) ([]byte, error) {
	if q.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	_ = w.control.SetReadDeadline(s.now().Add(BodyTimeout))
	// MaxBytesReader wants net/http's own writer, to close the connection.
	body, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, q.Body, limit))
	// A deadline left behind would look like a client that went away.
	_ = w.control.SetReadDeadline(time.Time{})
	if err != nil {
		w.last(q)
		return nil, bodyError(err, limit)
	}
	return body, nil
}

func tooLarge(limit int64) *atoll.Error {
	return atoll.Errorf(atoll.TooLarge, "the body has more than %d bytes", limit).
		WithHint("split it into several documents, or keep large bytes outside of documents").
		WithLimit("request document bytes", limit)
}

// bodyError says why a body did not arrive.
func bodyError(err error, limit int64) error {
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		e := atoll.Errorf(atoll.BadRequest, "the body did not arrive in time").Because(err).
			WithLimit("seconds for a body", int64(BodyTimeout/time.Second))
		return &statusError{e, http.StatusRequestTimeout}
	}
	return atoll.Errorf(atoll.BadRequest, "the body ends early").Because(err)
}

// contentType returns the media type of a request's body in lower case; "" if
// it has none. An encoding or a charset that we cannot read is refused.
func contentType(q *request) (string, error) {
	if enc := q.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return "", atoll.Errorf(atoll.UnsupportedMediaType, "Content-Encoding %q", enc).
			WithHint("send the body as it is")
	}
	header := q.Header.Get("Content-Type")
	if header == "" {
		return "", nil
	}
	media, params, err := mime.ParseMediaType(header)
	if err != nil {
		return "", atoll.Errorf(atoll.UnsupportedMediaType, "Content-Type %q", header).Because(err)
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return "", atoll.Errorf(atoll.UnsupportedMediaType, "charset %q", c).
			WithHint("JSON is UTF-8")
	}
	return media, nil
}

// wantJSON refuses a body that says it is something else than JSON.
func wantJSON(q *request) error {
	media, err := contentType(q)
	if err != nil {
		return err
	}
	structured := strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if media == "" || media == typeJSON || structured {
		return nil
	}
	return unsupported(media, typeJSON)
}

func unsupported(got string, want ...string) *atoll.Error {
	if got == "" {
		got = "none"
	}
	return atoll.Errorf(atoll.UnsupportedMediaType, "Content-Type: %s", got).
		WithHint("send Content-Type: " + strings.Join(want, " or "))
}
