package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/atolledge/atoll"
)

// Limits of the headers of document calls.
const (
	MaxTTL     = 10 * 365 * 24 * time.Hour // Atoll-TTL: ten years of 365 days
	MinTimeout = time.Millisecond          // Atoll-Timeout
	MaxTimeout = time.Minute               // Atoll-Timeout
)

// The content types of documents, patches and streams.
const (
	typeJSON   = "application/json"
	typeMerge  = "application/merge-patch+json" // RFC 7396
	typeOps    = "application/vnd.atoll.ops+json"
	typeNDJSON = "application/x-ndjson"
)

// withConflicts is a document with the values that lost.
type withConflicts struct {
	Doc       json.RawMessage `json:"doc"`
	Conflicts []conflict      `json:"conflicts"`
}

// conflict is one cell whose concurrent values did not all win.
type conflict struct {
	Path   string  `json:"path" doc:"JSON Pointer (RFC 6901) of the cell"`
	Kind   string  `json:"kind" doc:"register, kind-clash or delete-edit"`
	Values []value `json:"values" doc:"the winner first"`
}

// value is one of the concurrent values of a cell.
type value struct {
	Value  json.RawMessage `json:"value"`
	Origin string          `json:"origin" doc:"16 hex digits: the data directory that wrote it"`
	Region string          `json:"region" doc:"empty if the roster does not know the origin"`
	Time   stamp           `json:"time"`
	Winner bool            `json:"winner"`
}

func newValue(v atoll.Value) value {
	out := value{v.JSON, v.Origin.String(), string(v.Region), stamp(v.Time), v.Winner}
	if len(v.JSON) == 0 {
		out.Value = json.RawMessage("null") // a deletion has no value
	}
	return out
}

func newConflict(c atoll.Conflict) conflict {
	out := conflict{c.Path, c.Kind, make([]value, 0, len(c.Values))}
	for _, v := range c.Values {
		out.Values = append(out.Values, newValue(v))
	}
	return out
}

// session returns the Atoll-Session of a request.
func (q *request) session() (atoll.Token, error) {
	tokens := q.Header.Values("Atoll-Session")
	if len(tokens) == 0 {
		return "", nil
	}
	if len(tokens) > 1 || len(tokens[0]) > atoll.MaxToken {
		return "", atoll.Errorf(atoll.BadRequest, "the Atoll-Session header is no session token").
			WithHint("send back what the last answer had, as it was").
			WithLimit("session token bytes", atoll.MaxToken)
	}
	return atoll.Token(tokens[0]), nil
}

// setSession tells the client what it has seen: what the node says, else at
// least what the client said.
func setSession(w http.ResponseWriter, seen, sent atoll.Token) {
	if seen == "" {
		seen = sent
	}
	if seen != "" {
		w.Header().Set("Atoll-Session", string(seen))
	}
}

// setNode names the node that answered, if it was another one.
func setNode(w http.ResponseWriter, node atoll.NodeID) {
	if node != "" {
		w.Header().Set("Atoll-Region", string(node.Region()))
		w.Header().Set("Atoll-Node", string(node))
	}
}

func (s *Server) getDocument(w *response, q *request) error {
	ks, key, err := q.document()
	if err != nil {
		return err
	}
	withLosers, err := q.flag("conflicts")
	if err != nil {
		return err
	}
	ifMatch, ifNoneMatch, err := preconditions(q.Request)
	if err != nil {
		return err
	}
	session, err := q.session()
	if err != nil {
		return err
	}
	doc, err := s.node.Read(q.Context(),
		atoll.Read{Keyspace: ks, Key: key, Session: session, Trace: q.trace})
	setSession(w, doc.Session, session)
	setNode(w, doc.Node)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", quote(doc.ETag))
	w.Header().Set("Cache-Control", "no-cache") // to be kept, but asked about each time
	w.Header().Set("Atoll-Conflicts", strconv.Itoa(len(doc.Conflicts)))
	if ifMatch != nil && !matches(ifMatch, doc.ETag, false) {
		return atoll.Errorf(atoll.PreconditionFailed, "the document's ETag is %s", quote(doc.ETag))
	}
	if matches(ifNoneMatch, doc.ETag, true) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if !withLosers {
		return writeBody(w, http.StatusOK, typeJSON, doc.Body)
	}
	out := withConflicts{doc.Body, make([]conflict, 0, len(doc.Conflicts))}
	for _, c := range doc.Conflicts {
		out.Conflicts = append(out.Conflicts, newConflict(c))
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) putDocument(w *response, q *request) error {
	if err := wantJSON(q); err != nil {
		return err
	}
	return s.write(w, q, atoll.Put)
}

func (s *Server) patchDocument(w *response, q *request) error {
	media, err := contentType(q)
	if err != nil {
		return err
	}
	switch media {
	case typeMerge:
		return s.write(w, q, atoll.Merge)
	case typeOps:
		return s.write(w, q, atoll.Ops)
	}
	w.Header().Set("Accept-Patch", typeMerge+", "+typeOps) // RFC 5789, section 2.2
	return unsupported(media, typeMerge, typeOps)
}

func (s *Server) deleteDocument(w *response, q *request) error {
	return s.write(w, q, atoll.Delete)
}

// write carries out one change. The answer names the session also when the
// write is not as durable as asked: it is there and goes on replicating.
func (s *Server) write(w *response, q *request, change atoll.Change) error {
	req, err := writeOf(q)
	if err != nil {
		return err
	}
	req.Change = change
	if change != atoll.Delete {
		if req.Body, err = s.readBody(w, q, MaxDocument); err != nil {
			return err
		}
	}
	done, err := s.node.Write(q.Context(), req)
	setSession(w, done.Session, req.Session)
	if err != nil {
		return err
	}
	if done.ETag != "" {
		w.Header().Set("ETag", quote(done.ETag))
	}
	if done.Existed || change == atoll.Delete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// writeOf reads all of a write but its change and its body.
func writeOf(q *request) (req atoll.Write, err error) {
	if req.Keyspace, req.Key, err = q.document(); err != nil {
		return req, err
	}
	if q.Header.Get("Idempotency-Key") != "" {
		return req, atoll.Errorf(atoll.BadRequest, "Idempotency-Key is not built yet").
			WithHint("leave it out; If-Match makes a repeated write harmless")
	}
	ifMatch, ifNoneMatch, err := preconditions(q.Request)
	if err != nil {
		return req, err
	}
	req.IfMatch, req.IfNoneMatch = conditions(ifMatch, false), conditions(ifNoneMatch, true)
	if req.Session, err = q.session(); err != nil {
		return req, err
	}
	return req, durability(q, &req)
}

// durability reads how long a write lives and how safe it has to be.
func durability(q *request, req *atoll.Write) (err error) {
	if req.TTL, err = headerDuration(q, "Atoll-TTL", 1, MaxTTL); err != nil {
		return err
	}
	if req.Timeout, err = headerDuration(q, "Atoll-Timeout", MinTimeout, MaxTimeout); err != nil {
		return err
	}
	req.Level, err = atoll.ParseLevel(q.Header.Get("Atoll-Durability"))
	return err
}

// headerDuration reads a Go duration of least to most; 0 if there is no header.
func headerDuration(q *request, name string, least, most time.Duration) (time.Duration, error) {
	text := q.Header.Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, atoll.Errorf(atoll.BadRequest, "%s: %q is no duration", name, text).
			WithHint("use a Go duration: 500ms, 30m, 24h").Because(err)
	}
	if d < least || d > most {
		return 0, atoll.Errorf(atoll.BadRequest, "%s: %v is not within %v to %v", name, d, least, most).
			WithLimit(name+" ms", most.Milliseconds())
	}
	return d, nil
}
