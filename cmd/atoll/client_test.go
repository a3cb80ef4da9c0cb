package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/atolledge/atoll"
	"pgregory.net/rapid"
)

// TestDocPath sends keys of all kinds through the http client and finds them
// again in what a server received.
func TestDocPath(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _, _ := strings.Cut(r.RequestURI, "?")
		got = raw
	}))
	defer server.Close()
	r := remote{API: server.URL}
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a./%?#\\ +;ü]{1,8}`)).Draw(t, "key")
		if _, err := atoll.ParseKey(key); err != nil {
			t.Skip("not a key")
		}
		_, _, err := r.bytes(t.Context(), call{method: http.MethodGet, path: docPath("ks", key)})
		if err != nil {
			t.Fatal(err)
		}
		text, found := strings.CutPrefix(got, "/v1/docs/ks/")
		back, err := url.PathUnescape(text)
		if !found || err != nil || back != key {
			t.Fatalf("%q went as %q and arrives as %q (%v)", key, got, back, err)
		}
	})
}

// TestProblemOf reads answers that are errors.
func TestProblemOf(t *testing.T) {
	const problem = "application/problem+json"
	tests := []struct {
		name, media, body string
		kind              atoll.Kind
		detail, hint      string
	}{
		{
			"whole", problem,
			`{"type":"urn:atoll:problem:too-large","detail":"d","hint":"h","limit":{"name":"n","value":3}}`,
			atoll.TooLarge, "d", "h",
		},
		{"with charset", problem + "; charset=utf-8", `{"type":"urn:atoll:problem:x"}`, "x", "", ""},
		{
			"token", problem, `{"type":"urn:atoll:problem:unauthenticated"}`,
			atoll.Unauthenticated, "", "ATOLL_TOKEN",
		},
		{
			"internal", problem, `{"type":"urn:atoll:problem:internal","trace":"4bf9"}`,
			atoll.Internal, "", "4bf9",
		},
		{"a proxy", "text/html", `<h1>Bad gateway</h1>`, atoll.Internal, "answers 502", "--api"},
		{"other media", "text/json", `{"type":"urn:atoll:problem:x"}`, atoll.Internal, "answers", ""},
		{"other problem", problem, `{"type":"about:blank"}`, atoll.Internal, "answers", ""},
		{"cut", problem, `{"type":"urn:atoll`, atoll.Internal, "answers", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Type", tt.media)
			rec.WriteHeader(http.StatusBadGateway)
			rec.WriteString(tt.body)
			resp := rec.Result()
			resp.Request = httptest.NewRequest(http.MethodGet, "http://example.org/", nil)
			err := problemOf(resp)
			if k := atoll.KindOf(err); k != tt.kind {
				t.Errorf("kind %q, want %q", k, tt.kind)
			}
			if !strings.Contains(detail(err), tt.detail) || !strings.Contains(hint(err), tt.hint) {
				t.Errorf("got %q, hint %q", detail(err), hint(err))
			}
		})
	}
}

// TestBrokenAnswers cuts answers in the middle: no command may take the half
// for the whole.
func TestBrokenAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		body := `{"items":[{"key":"a","doc":{}}`
		if r.Method == http.MethodPost {
			body = `{"imported":1,"failed":0}` + "\n"
		}
		_, _ = w.Write([]byte(body))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	r := remote{API: server.URL}
	dir := t.TempDir()
	in := file(t, filepath.Join(dir, "in"))
	std := &stdio{in, file(t, filepath.Join(dir, "out")), file(t, filepath.Join(dir, "err"))}
	target := filepath.Join(dir, "export.ndjson")
	asJSON := r
	asJSON.JSON = true
	doc := document{"k", "x"}
	for name, c := range map[string]interface {
		Run(context.Context, *stdio) error
	}{
		"get":         &getCmd{remote: r, document: doc},
		"conflicts":   &getCmd{remote: r, document: doc, Conflicts: true},
		"list":        &listCmd{remote: r, Keyspace: "k", Limit: 1},
		"list --json": &listCmd{remote: asJSON, Keyspace: "k", Limit: 1},
		"export":      &exportCmd{remote: r, Keyspace: "k", Output: target},
		"import":      &importCmd{remote: r, Keyspace: "k", File: "-"},
		"status":      &statusCmd{remote: r},
		"wan":         &wanShowCmd{remote: r},
	} {
		if err := c.Run(t.Context(), std); err == nil || !strings.Contains(err.Error(), "broke off") {
			t.Errorf("%s: %v, want that the answer broke off", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*export*")); len(left) != 0 {
		t.Errorf("half an export is left: %v", left)
	}
}

func file(t *testing.T, path string) *os.File {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestInterrupted stops a command while it waits for an answer.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	c := statusCmd{remote{API: server.URL}}
	if err := c.Run(ctx, &stdio{}); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
}

// TestRedirect meets a server that sends the command elsewhere, with its token:
// no node does that.
func TestRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	r := remote{API: server.URL, Token: "t"}
	if _, _, err := r.bytes(t.Context(), call{method: http.MethodGet, path: "/"}); err == nil {
		t.Error("a redirect was taken for an answer")
	}
}

// TestHTTPS trusts a node's certificate by --cacert only.
func TestHTTPS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer t" {
			t.Errorf("Authorization: %q", got)
		}
	}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	r := remote{API: server.URL, Token: "t"}
	ask := call{method: http.MethodGet, path: "/"}
	_, _, err := r.bytes(t.Context(), ask)
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v", err)
	}
	r.CACert = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(r.CACert, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.bytes(t.Context(), ask); err != nil {
		t.Errorf("with its CA: %v", err)
	}
}

// TestMeter draws on what stands for a terminal, and not elsewhere.
func TestMeter(t *testing.T) {
	var screen bytes.Buffer
	sent := &counted{r: strings.NewReader("0123456789")}
	m := &meter{w: &screen, sent: sent, total: 20}
	m.clear()
	if screen.Len() != 0 {
		t.Errorf("cleared what was not drawn: %q", screen.String())
	}
	if _, err := io.Copy(io.Discard, sent); err != nil {
		t.Fatal(err)
	}
	m.draw(7)
	m.clear()
	m.clear()
	want := "\r\x1b[K7 documents, 50 % of the file sent\r\x1b[K"
	if screen.String() != want {
		t.Errorf("drew %q, want %q", screen.String(), want)
	}
	plain := newMeter(file(t, filepath.Join(t.TempDir(), "log")), sent, 0)
	if plain.w != nil {
		t.Error("a file is no terminal")
	}
	plain.draw(1)
	plain.clear()
}

// TestReport holds the exit codes and the form of what stands on stderr.
func TestReport(t *testing.T) {
	known := atoll.Errorf(atoll.TooLarge, "too long").WithHint("less").WithLimit("bytes", 9)
	tests := []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("no"), 1, "atoll wan cut: no\n"},
		{known, 1, "atoll wan cut: too-large: too long\n  limit: bytes, 9\n  hint: less\n"},
		{fmt.Errorf("put: %w", known), 1,
			"atoll wan cut: put: too-large: too long\n  limit: bytes, 9\n  hint: less\n"},
		{atoll.Errorf(atoll.Internal, "no").Because(errors.New("why")), 1, "atoll wan cut: no: why\n"},
		{misuse("what"), 2, "atoll wan cut: what\n"},
		{misused(known), 2, "atoll wan cut: too-large: too long\n  limit: bytes, 9\n  hint: less\n"},
		{failed(misuse("not so")), 1, "atoll wan cut: not so\n"},
		{misused(nil), 0, ""},
	}
	for _, tt := range tests {
		var w bytes.Buffer
		if code := report(&w, "wan cut <a> <b>", tt.err); code != tt.code || w.String() != tt.want {
			t.Errorf("%v: exit %d, %q; want %d, %q", tt.err, code, w.String(), tt.code, tt.want)
		}
	}
}

func TestParseOperation(t *testing.T) {
	tests := []struct{ name, arg, want string }{
		{"inc", "/n=1", `{"op":"inc","path":"/n","by":1}`},
		{"inc", "/n=-2.5", `{"op":"inc","path":"/n","by":-2.5}`},
		{"add", "/t=red", `{"op":"add","path":"/t","value":"red"}`},
		{"add", `/t="red"`, `{"op":"add","path":"/t","value":"red"}`},
		{"add", "/t=", `{"op":"add","path":"/t","value":""}`},
		{"remove", "/t=7", `{"op":"remove","path":"/t","value":7}`},
		{"set", "/a/b=null", `{"op":"set","path":"/a/b","value":null}`},
		{"set", "/a=b=c", `{"op":"set","path":"/a","value":"b=c"}`},
		{"unset", "/a=b", `{"op":"unset","path":"/a=b"}`},
		{"unset", "a", ""},
		{"score", "/b/a~1b=2.5", `{"op":"score","path":"/b","member":"a/b","value":2.5}`},
		{"score", "/b/a=x", ""},
		{"unscore", "/a", `{"op":"unscore","path":"","member":"a"}`},
		{"bound", "/stock=-5", `{"op":"bound","path":"/stock","min":-5}`},
		{"bound", "/stock=x", ""},
		{"set", "a=1", ""},
		{"set", "/a", ""},
		{"inc", "/a=x", ""},
		{"inc", "", ""},
	}
	for _, tt := range tests {
		op, err := parseOperation(tt.name, tt.arg)
		if (err != nil) != (tt.want == "") {
			t.Errorf("--%s %s: error %v", tt.name, tt.arg, err)
			continue
		}
		if got, _ := json.Marshal(op); err == nil && string(got) != tt.want {
			t.Errorf("--%s %s: got %s, want %s", tt.name, tt.arg, got, tt.want)
		}
	}
}

// TestShellQuote lets a shell read what was quoted for it.
func TestShellQuote(t *testing.T) {
	for _, s := range []string{
		"", "a", "a/b:c", "a b", "it's", "$HOME", "`x`", `\`, "*", "ü", "-n", "a\nb",
	} {
		out, err := exec.Command("/bin/sh", "-c", "printf '%s' "+shellQuote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q: the shell reads %q (%v)", s, out, err)
		}
	}
}

func TestPlain(t *testing.T) {
	for key, want := range map[string]string{
		"a/b": "a/b", "ü x": "ü x", "a\tb": `"a\tb"`, "\x1b[31m": `"\x1b[31m"`,
		`"q"`: `"\"q\""`, "\u202e": `"\u202e"`, "\u009b": `"\u009b"`,
	} {
		if got := plain(key); got != want {
			t.Errorf("%q: got %s, want %s", key, got, want)
		}
	}
}

// FuzzReadPage compares the streaming reader with one that reads all at once.
func FuzzReadPage(f *testing.F) {
	for _, s := range []string{
		`{"items":[{"key":"a","etag":"e","doc":{"x":1}},{"key":"b","doc":null}],"next":"b"}`,
		`{"items":[],"next":null}`, `{"next":"a","items":[{"key":"a"}],"more":[1,{}]}`,
		`{}`, `[]`, ``, `{"items":[`, `{"items":{}}`, `{"items":[1]}`, `{"next":1}`, `{"items":[]`,
		`{"iTems":[{}],"neXt":"0"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var keys []string
		next, err := readPage(bytes.NewReader(text), func(key string, _ json.RawMessage) {
			keys = append(keys, key)
		})
		var members map[string]json.RawMessage
		d := json.NewDecoder(bytes.NewReader(text))
		if err != nil || d.Decode(&members) != nil || !utf8.Valid(text) {
			return
		}
		if bytes.Count(text, []byte(`items"`)) > 1 || bytes.Count(text, []byte(`next"`)) > 1 ||
			bytes.Contains(text, []byte(`\`)) {
			return // of a member that is given twice a map shows the last
		}
		var twin struct {
			Items []struct{ Key string }
			Next  string
		}
		for name, into := range map[string]any{"items": &twin.Items, "next": &twin.Next} {
			if value, there := members[name]; there && json.Unmarshal(value, into) != nil {
				t.Fatalf("%s: %s is read although it is none", text, name)
			}
		}
		if next != twin.Next || len(keys) != len(twin.Items) {
			t.Fatalf("%s: got %v %q, want %+v", text, keys, next, twin)
		}
	})
}
