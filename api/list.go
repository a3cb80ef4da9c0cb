package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/atolledge/atoll"
)

// Sizes of pages, in documents.
const (
	defaultPage = 100
	exportPage  = 250 // of an export: what it holds in memory at a time
)

// item is one document of a listing or an export.
type item struct {
	Key  string          `json:"key"`
	ETag string          `json:"etag" doc:"without the quotes of the ETag header"`
	Doc  json.RawMessage `json:"doc"`
}

type page struct {
	Items []item  `json:"items" doc:"in byte order of keys"`
	Next  *string `json:"next" doc:"pass as after for the next page; null at the end"`
}

// listing reads the keyspace and the query of a listing.
func listing(q *request) (l atoll.Listing, err error) {
	if l.Keyspace, err = q.keyspace(); err != nil {
		return l, err
	}
	if l.Prefix, err = q.keyPart("prefix"); err != nil {
		return l, err
	}
	after, err := q.keyPart("after")
	if err != nil {
		return l, err
	}
	l.After = atoll.Key(after)
	if l.Limit, err = q.limit(defaultPage, atoll.MaxPage); err != nil {
		return l, err
	}
	l.Trace = q.trace
	l.Session, err = q.session()
	return l, err
}

// keyPart returns a query parameter that is compared with keys.
func (q *request) keyPart(name string) (string, error) {
	v, err := q.one(name)
	switch {
	case err != nil:
		return "", err
	case len(v) > atoll.MaxKey:
		return "", atoll.Errorf(atoll.KeyTooLong, "%s has %d bytes", name, len(v)).
			WithLimit("key bytes", atoll.MaxKey)
	case !utf8.ValidString(v):
		return "", atoll.Errorf(atoll.BadKey, "%s is not valid UTF-8", name)
	}
	return v, nil
}

// limit returns the query's limit, which is from 1 to most.
func (q *request) limit(otherwise, most int) (int, error) {
	text, err := q.one("limit")
	if err != nil || text == "" {
		return otherwise, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, atoll.Errorf(atoll.BadRequest, "limit=%q is not a number from 1 to %d", text, most).
			WithLimit("limit", int64(most))
	}
	return n, nil
}

func (s *Server) listDocuments(w *response, q *request) error {
	l, err := listing(q)
	if err != nil {
		return err
	}
	got, err := s.node.List(q.Context(), l)
	setSession(w, got.Session, l.Session)
	setNode(w, got.Node)
	if err != nil {
		return err
	}
	out := page{Items: make([]item, 0, len(got.Items))}
	for _, d := range got.Items {
		out.Items = append(out.Items, item{string(d.Key), d.ETag, d.Body})
	}
	if got.Next != "" {
		next := string(got.Next)
		out.Next = &next
	}
	return writeJSON(w, http.StatusOK, out)
}

// exportDocuments streams a keyspace, a page at a time. Only what comes before
// the first page can still be a problem; later the connection is cut, so that
// half an export never looks like a whole one.
func (s *Server) exportDocuments(w *response, q *request) error {
	l, err := listing(q)
	if err != nil {
		return err
	}
	l.Limit = exportPage
	var buf bytes.Buffer
	for {
		got, err := s.node.List(q.Context(), l)
		if err != nil {
			return err
		}
		if w.status == 0 {
			// Later pages see more than the first. A header cannot say so any more: it
			// says what the client knew.
			setSession(w, "", l.Session)
			w.Header().Set("Content-Type", typeNDJSON)
			w.WriteHeader(http.StatusOK)
		}
		if err := writeItems(w, &buf, got.Items); err != nil {
			return err
		}
		if l.After = got.Next; l.After == "" {
			return nil
		}
	}
}

func writeItems(w *response, buf *bytes.Buffer, docs []atoll.Document) error {
	buf.Reset()
	for _, d := range docs {
		if err := encode(buf, item{string(d.Key), d.ETag, d.Body}); err != nil {
			return err
		}
	}
	_, err := w.Write(buf.Bytes())
	return err
}
