package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// maxAnswer bounds an answer that is read as a whole, in bytes: a merged
// document of 8 MiB with all its conflicts fits. Lists and exports are streamed.
const maxAnswer = 64 << 20

// defaultAPI is where atoll dev and atoll start listen.
const defaultAPI = "http://127.0.0.1:8080"

// connectTimeout is how long a node may take to accept; answers take as long as
// they take, because an import or a durable write may.
const connectTimeout = 5 * time.Second

// remote is the node that a client command talks to.
type remote struct {
	API    string `env:"ATOLL_API" default:"${api}" placeholder:"URL" help:"Node to ask."`
	Token  string `env:"ATOLL_TOKEN" placeholder:"TOKEN" help:"Bearer token."`
	CACert string `env:"ATOLL_CACERT" name:"cacert" placeholder:"FILE" help:"Trust this CA for https."`
	JSON   bool   `name:"json" help:"Print the result as JSON."`
}

// call is one request to the API.
type call struct {
	method string
	path   string // escaped, with a leading slash
	query  url.Values
	header http.Header
	body   io.Reader
	size   int64 // of body, in bytes; 0: not known
}

// do sends c. A status of 300 and more is an error: an *atoll.Error with what
// the problem says. The caller closes the body of an answer.
func (r *remote) do(ctx context.Context, c call) (*http.Response, error) {
	base, err := url.Parse(r.API)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, misuse("--api %q is not a URL such as http://127.0.0.1:8080", r.API)
	}
	target := strings.TrimSuffix(base.String(), "/") + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, c.body)
	if err != nil {
		return nil, misuse("%v", err)
	}
	if c.size > 0 {
		req.ContentLength = c.size
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "atoll/"+readVersion().Version)
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	client, err := r.client()
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreachable(r.API, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

// client follows no redirects: the API has none, so one comes from something
// that is not a node.
func (r *remote) client() (*http.Client, error) {
	dialer := &net.Dialer{Timeout: connectTimeout}
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       dialer.DialContext,
		ForceAttemptHTTP2: true,
	}
	if r.CACert != "" {
		pem, err := os.ReadFile(r.CACert)
		if err != nil {
			return nil, misuse("--cacert: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, misuse("--cacert: %s holds no PEM certificate", r.CACert)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bytes sends c and returns the whole answer with its headers.
func (r *remote) bytes(ctx context.Context, c call) ([]byte, http.Header, error) {
	resp, err := r.do(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, brokenOff(err)
	}
	if len(body) > maxAnswer {
		return nil, nil, atoll.Errorf(atoll.TooLarge, "the answer is longer than this command reads").
			WithLimit("answer bytes", maxAnswer)
	}
	return body, resp.Header, nil
}

// decode sends c and reads the answer's JSON into v. It returns the answer too,
// for --json.
func (r *remote) decode(ctx context.Context, c call, v any) ([]byte, error) {
	body, _, err := r.bytes(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, atoll.Errorf(atoll.Internal, "the answer is not what a node says").Because(err).
			WithHint("is " + r.API + " the API of an Atoll node of this version?")
	}
	return bytes.TrimSpace(body), nil
}

// post sends v as JSON and wants no answer.
func (r *remote) post(ctx context.Context, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, _, err = r.bytes(ctx, call{
		method: http.MethodPost, path: path, body: bytes.NewReader(body),
		header: http.Header{"Content-Type": {"application/json"}},
	})
	return err
}

// docPath is the path of a document: each segment escaped, slashes kept.
func docPath(keyspace, key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return keyspacePath(keyspace) + "/" + strings.Join(segments, "/")
}

func keyspacePath(keyspace string) string { return "/v1/docs/" + url.PathEscape(keyspace) }

// problemOf reads the problem (RFC 9457) of an answer that is an error.
func problemOf(resp *http.Response) error {
	if resp.Request.Method == http.MethodHead {
		return problemOfHead(resp)
	}
	var p struct {
		Type, Detail, Hint, Trace string
		Limit                     *atoll.Limit
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	kind, ours := strings.CutPrefix(p.Type, "urn:atoll:problem:")
	if json.Unmarshal(body, &p) == nil {
		kind, ours = strings.CutPrefix(p.Type, "urn:atoll:problem:")
	}
	if media != "application/problem+json" || !ours {
		return atoll.Errorf(atoll.Internal, "%s answers %s, not as a node does",
			resp.Request.URL.Redacted(), resp.Status).
			WithHint("is that the API of an Atoll node? name it with --api or ATOLL_API")
	}
	e := atoll.Errorf(atoll.Kind(kind), "%s", p.Detail).WithHint(p.Hint)
	if p.Hint == "" && e.Kind == atoll.Unauthenticated {
		e.Hint = "give a token with ATOLL_TOKEN or --token"
	}
	if e.Kind == atoll.Internal && p.Trace != "" {
		e.Hint = cmp.Or(e.Hint, "the node's log tells more under trace "+p.Trace)
	}
	e.Limit = p.Limit
	return e
}

// problemOfHead is an error of an answer that may have no body.
func problemOfHead(resp *http.Response) error {
	kind, ok := map[int]atoll.Kind{
		http.StatusNotFound: atoll.NotFound, http.StatusUnauthorized: atoll.Unauthenticated,
		http.StatusForbidden: atoll.Forbidden, http.StatusServiceUnavailable: atoll.BehindSession,
		http.StatusBadRequest: atoll.BadRequest,
	}[resp.StatusCode]
	if !ok {
		kind = atoll.Internal
	}
	return atoll.Errorf(kind, "%s answers %s", resp.Request.URL.Redacted(), resp.Status).
		WithHint("the same with atoll media get says why")
}

// unreachable says why a node did not answer at all.
func unreachable(api string, err error) error {
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return atoll.Errorf(atoll.Internal, "no node answers at %s", api).Because(err).
		WithHint("start a world with atoll dev, or name a node with --api or ATOLL_API")
}

// brokenOff is an answer that ended in the middle: what came is not the whole.
func brokenOff(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return atoll.Errorf(atoll.Internal, "the answer broke off").Because(err)
}
