package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
)

// request is one request on its way to its handler.
type request struct {
	*http.Request
	vars      map[string]string // of the route's pattern, percent-decoded once
	query     url.Values
	principal guard.Principal
	trace     atoll.Trace
	parent    [8]byte // the span that asked, zero for none
	begin     time.Time
}

// contextKey is the key of the *request in a request's context.
type contextKey struct{}

// PrincipalOf returns who sent the request of ctx; the zero Principal outside
// one.
func PrincipalOf(ctx context.Context) guard.Principal {
	if q, ok := ctx.Value(contextKey{}).(*request); ok {
		return q.principal
	}
	return guard.Principal{}
}

// TraceOf returns the traceparent header that continues the request of ctx; ""
// outside one.
func TraceOf(ctx context.Context) string {
	if q, ok := ctx.Value(contextKey{}).(*request); ok {
		return q.trace.String()
	}
	return ""
}

// ServeHTTP answers one request. Whatever a handler does, panics included, the
// client gets an answer with a trace id, and the log and the metrics have it.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := s.now()
	w := newResponse(rw, s.now)
	q := &request{Request: r, begin: start}
	label := unrouted
	defer func() {
		if cut := s.rescue(w, q, recover()); cut {
			defer panic(http.ErrAbortHandler) // net/http closes the connection on it
		} else {
			w.finish()
		}
		s.observe(w, q, label, s.now().Sub(start))
		s.traced(w, q, label)
	}()
	if err := s.prepare(w, q); err != nil {
		s.answer(w, q, err)
		return
	}
	label, serve, err := s.find(q)
	if err == nil {
		q.Request = r.WithContext(context.WithValue(r.Context(), contextKey{}, q))
		err = serve(s, w, q)
	}
	s.answer(w, q, err)
}

// prepare sets what every answer carries and refuses requests that are not for
// this service.
func (s *Server) prepare(w *response, q *request) (err error) {
	self := s.node.Self()
	w.Header().Set("Atoll-Region", string(self.Region()))
	w.Header().Set("Atoll-Node", string(self))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	q.trace, q.parent, err = continueTrace(q.Header.Values("Traceparent"), s.random, s.sample)
	if err != nil {
		return err
	}
	w.Header().Set("Traceparent", q.trace.String())
	if s.altSvc != "" && q.TLS != nil {
		w.Header().Set("Alt-Svc", s.altSvc)
	}
	// HTTP/1.0 needs no Host, and no browser speaks it: that is a load
	// balancer's probe.
	if !s.hosts.Allow(q.Host) && !(q.Host == "" && !q.ProtoAtLeast(1, 1)) {
		return &statusError{atoll.Errorf(atoll.BadRequest, "this is not %q", q.Host).
			WithHint("use an address, localhost or a configured name"), http.StatusMisdirectedRequest}
	}
	if early(q) {
		return &statusError{atoll.Errorf(atoll.BadRequest, "a change came in early data").
			WithHint("send it again when the TLS handshake is done"), http.StatusTooEarly}
	}
	if q.query, err = url.ParseQuery(q.URL.RawQuery); err != nil {
		return atoll.Errorf(atoll.BadRequest, "the query does not parse").Because(err)
	}
	return nil
}

// early reports whether a request that is not safe to repeat may be a replay: a
// TLS server in front of us got it in early data. Several fields or another
// value than "1" mean the same (RFC 8470, section 5.1).
func early(q *request) bool {
	switch q.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return len(q.Header.Values("Early-Data")) > 0
}

// find returns the handler of a request that may be made, and the label under
// which it is counted.
func (s *Server) find(q *request) (label string, serve handler, err error) {
	label, serve, need, err := s.route(q)
	if err != nil {
		return label, nil, err
	}
	if err := s.origins.Check(q.Request); err != nil {
		return label, nil, atoll.Errorf(atoll.Forbidden, "a page of another origin may not do this").
			WithHint("send the request from a program, or from a page of this service").Because(err)
	}
	local := loopback(q.RemoteAddr)
	q.principal, err = s.guard.Load().Identify(q.Header.Values("Authorization"), local)
	if err == nil && !(label == metricsPattern && local) {
		err = guard.Require(q.principal, need)
	}
	return label, serve, err
}

// route looks for the first mount or pattern that matches the path; the method
// decides among the routes of that pattern.
func (s *Server) route(q *request) (label string, serve handler, need guard.Role, err error) {
	path := q.URL.EscapedPath()
	for _, m := range s.mounts {
		if strings.HasPrefix(path, m.Prefix) {
			return m.Prefix, m.serve, m.need(q.Method), nil
		}
		if path+"/" == m.Prefix && (q.Method == http.MethodGet || q.Method == http.MethodHead) {
			return m.Prefix, m.lead, guard.Anyone, nil
		}
	}
	var allow []string
	for _, rt := range s.routes {
		vars, ok := match(rt.pattern, path)
		if !ok || len(allow) > 0 && rt.pattern != label {
			continue
		}
		label = rt.pattern
		allow = append(allow, rt.method)
		if rt.method == "GET" {
			allow = append(allow, "HEAD")
		}
		if rt.serves(q.Method) {
			q.vars, err = decode(vars)
			return label, rt.handle, rt.role, err
		}
	}
	if len(allow) == 0 {
		return unrouted, nil, 0, atoll.Errorf(atoll.NotFound, "there is nothing at this path").
			WithHint("GET /openapi.json describes all that there is; /console/ is for people")
	}
	methods := strings.Join(allow, ", ")
	return label, allowed(methods), 0, nil
}

// allowed answers a method that a path does not have.
func allowed(methods string) handler {
	return func(_ *Server, w *response, q *request) error {
		w.Header().Set("Allow", methods)
		e := atoll.Errorf(atoll.BadRequest, "this path has no %s", q.Method).
			WithHint("it has " + methods)
		return &statusError{e, http.StatusMethodNotAllowed}
	}
}

func (m Mount) serve(_ *Server, w *response, q *request) error {
	m.Handler.ServeHTTP(w, q.Request)
	return nil
}

// lead leads a person who left out the last slash on. It is not for ever: what is
// mounted where may change, and a browser would not ask again.
func (m Mount) lead(_ *Server, w *response, q *request) error {
	to := m.Prefix
	if q.URL.RawQuery != "" {
		to += "?" + q.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
	return nil
}

func (m Mount) need(method string) guard.Role {
	if method == http.MethodGet || method == http.MethodHead {
		return m.Read
	}
	return m.Write
}

// loopback reports whether the peer at addr is on this machine.
func loopback(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// answer sends err as a problem, unless the answer has begun.
func (s *Server) answer(w *response, q *request, err error) {
	if err == nil {
		return
	}
	s.logCause(q, err, w.broken != nil)
	w.hurry()
	if w.status == 0 {
		err = fail(w, err, q.trace.Hex())
	}
	if err != nil {
		// The status is sent; only a broken connection can still say "failed".
		panic(http.ErrAbortHandler)
	}
}

// logCause logs what the client is not told. That it went away is no fault of
// ours.
func (s *Server) logCause(q *request, err error, gone bool) {
	var e *atoll.Error
	level := slog.LevelDebug
	switch {
	case gone || q.Context().Err() != nil:
	case kindOf(atoll.KindOf(err)).status == http.StatusInternalServerError:
		level = slog.LevelError
	case errors.As(err, &e) && e.Err == nil:
		return
	}
	s.log.LogAttrs(q.Context(), level, "request failed", slog.String("method", q.Method),
		slog.String("path", q.URL.EscapedPath()), slog.String("trace", q.trace.Hex()),
		slog.Any("error", err))
}

// rescue deals with a panic value of a handler. It answers if nothing was sent
// yet; else it reports that the connection has to be cut.
func (s *Server) rescue(w *response, q *request, panicked any) (cut bool) {
	if panicked == nil {
		return false
	}
	if panicked != http.ErrAbortHandler {
		s.log.LogAttrs(q.Context(), slog.LevelError, "panic in a handler",
			slog.String("trace", q.trace.Hex()), slog.String("path", q.URL.EscapedPath()),
			slog.String("panic", fmt.Sprint(panicked)), slog.String("stack", string(debug.Stack())))
	}
	if panicked == http.ErrAbortHandler || w.status != 0 {
		return true
	}
	err := fail(w, atoll.Errorf(atoll.Internal, "panic"), q.trace.Hex())
	return err != nil
}

// observe counts and logs a request that was answered.
func (s *Server) observe(w *response, q *request, label string, took time.Duration) {
	s.metrics.observe(label, q.Method, w.status, took)
	level := slog.LevelDebug
	if w.status >= http.StatusBadRequest {
		level = slog.LevelInfo
	}
	if !s.log.Enabled(q.Context(), level) {
		return
	}
	s.log.LogAttrs(q.Context(), level, "request", slog.String("method", q.Method),
		slog.String("path", q.URL.EscapedPath()), slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes), slog.Float64("took_ms", milliseconds(took)),
		slog.String("principal", q.principal.Name), slog.String("remote", q.RemoteAddr),
		slog.String("proto", q.Proto), slog.String("trace", q.trace.Hex()))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
