package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

type mediaCmd struct {
	Put    mediaPutCmd    `cmd:"" help:"Store an object."`
	Get    mediaGetCmd    `cmd:"" help:"Fetch an object, or a part of it."`
	Head   mediaHeadCmd   `cmd:"" help:"Show an object's size, type and ETag."`
	Delete mediaDeleteCmd `cmd:"" help:"Delete an object."`
}

// object names one object on the command line.
type object struct{ document }

// path is that of the object; document's own would be its namesake's.
func (o object) path() (string, error) {
	path, err := o.document.path()
	rest, _ := strings.CutPrefix(path, "/v1/docs/")
	return "/v1/media/" + rest, err
}

type mediaPutCmd struct {
	remote
	writing
	object
	File     string        `arg:"" default:"-" help:"File, or - for standard input."`
	Type     string        `placeholder:"TYPE" help:"Content-Type. Without it: what the name of the file says."`
	TTL      time.Duration `name:"ttl" placeholder:"TIME" help:"Hide the object after it."`
	IfAbsent bool          `help:"Only if there is no such object here."`
}

// Run streams the file to the node and compares what arrived with what was sent.
func (c *mediaPutCmd) Run(ctx context.Context, std *stdio) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return misused(err)
		}
		defer f.Close()
		in = f
	}
	path, err := c.object.path()
	if err != nil {
		return err
	}
	h := c.header()
	if kind := cmp.Or(c.Type, mime.TypeByExtension(filepath.Ext(c.File))); kind != "" {
		h.Set("Content-Type", kind)
	}
	if c.TTL != 0 {
		h.Set("Atoll-TTL", c.TTL.String())
	}
	if c.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	sent := newTransfer(in, std.err, size(in))
	defer sent.clear()
	resp, err := c.do(ctx, call{method: http.MethodPut, path: path, header: h, body: sent, size: size(in)})
	sent.clear()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got := unquote(resp.Header.Get("ETag")); got != sent.sum() {
		return atoll.Errorf(atoll.Internal, "the node has stored %s, and %s was sent", got, sent.sum()).
			WithHint("what was read changed on its way: put it again")
	}
	return c.wrote(std, c.document, http.MethodPut, resp)
}

type mediaGetCmd struct {
	remote
	object
	Output  string `short:"o" default:"-" help:"File; it is there whole or not at all."`
	Range   string `placeholder:"RANGE" help:"A part of it: 0-99, 100- or -100."`
	Session string `env:"ATOLL_SESSION" placeholder:"TOKEN" help:"See what this session saw."`
}

// Run streams the object; a body that is not what its ETag says is a failure.
func (c *mediaGetCmd) Run(ctx context.Context, std *stdio) error {
	if c.JSON && c.Output == "-" {
		return misuse("--json says what was fetched; the object itself needs --output FILE")
	}
	if strings.Contains(c.Range, ",") {
		return misuse("--range %q is more than one", c.Range)
	}
	path, err := c.object.path()
	if err != nil {
		return err
	}
	h := sessionHeader(c.Session)
	if c.Range != "" {
		h.Set("Range", "bytes="+c.Range)
	}
	resp, err := c.do(ctx, call{method: http.MethodGet, path: path, header: h})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body := newTransfer(resp.Body, std.err, resp.ContentLength)
	defer body.clear()
	whole := &proven{body, resp}
	if c.Output == "-" {
		return copyOut(std.out, whole)
	}
	if err := writeWhole(c.Output, whole); err != nil {
		return err
	}
	body.clear()
	return c.told(std, c.document, resp)
}

// proven is a body that ends with an error when it is not what its ETag says. Of
// a part nobody knows.
type proven struct {
	*transfer
	resp *http.Response
}

func (p *proven) Read(b []byte) (int, error) {
	n, err := p.transfer.Read(b)
	tag := unquote(p.resp.Header.Get("ETag"))
	if err == io.EOF && p.resp.StatusCode == http.StatusOK && p.sum() != tag {
		err = fmt.Errorf("its hash is %s and should be %s", p.sum(), tag)
	}
	return n, err
}

type mediaHeadCmd struct {
	remote
	object
	Session string `env:"ATOLL_SESSION" placeholder:"TOKEN" help:"See what this session saw."`
}

// Run shows what is known of the object.
func (c *mediaHeadCmd) Run(ctx context.Context, std *stdio) error {
	path, err := c.object.path()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, call{method: http.MethodHead, path: path, header: sessionHeader(c.Session)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.told(std, c.document, resp)
}

type mediaDeleteCmd struct {
	remote
	writing
	object
}

// Run deletes the object; deleting what is not there is no error.
func (c *mediaDeleteCmd) Run(ctx context.Context, std *stdio) error {
	path, err := c.object.path()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, call{method: http.MethodDelete, path: path, header: c.header()})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.wrote(std, c.document, http.MethodDelete, resp)
}

// described is an object as head --json and get --json print it.
type described struct {
	Key     string `json:"key"`
	Size    int64  `json:"size_bytes"` // of what was answered: a part, or all
	Type    string `json:"type"`
	ETag    string `json:"etag"`
	Range   string `json:"range,omitempty"`
	Session string `json:"session,omitempty"`
	Region  string `json:"region,omitempty"`
	Node    string `json:"node,omitempty"`
}

// told prints what an answer says of an object.
func (r *remote) told(std *stdio, d document, resp *http.Response) error {
	h := resp.Header
	out := described{
		Key: d.Key, Size: resp.ContentLength, Type: h.Get("Content-Type"), ETag: unquote(h.Get("ETag")),
		Range: h.Get("Content-Range"), Session: h.Get("Atoll-Session"), Region: h.Get("Atoll-Region"),
		Node: h.Get("Atoll-Node"),
	}
	if r.JSON {
		return json.NewEncoder(std.out).Encode(out)
	}
	std.printf("%s/%s %d bytes %s (etag %s)\n", d.Keyspace, plain(d.Key), out.Size, out.Type, out.ETag)
	return nil
}

// transfer counts and hashes a body as it passes, and draws how far it is.
type transfer struct {
	counted
	hash hash.Hash
	show *meter
	next time.Time // when to draw again
}

// drawEvery is how often a transfer draws.
const drawEvery = 100 * time.Millisecond

// newTransfer returns a transfer of r, of total bytes if that is more than 0.
func newTransfer(r io.Reader, terminal *os.File, total int64) *transfer {
	t := &transfer{counted: counted{r: r}, hash: sha256.New()}
	t.show = newMeter(terminal, &t.counted, total)
	return t
}

func (t *transfer) Read(p []byte) (int, error) {
	n, err := t.counted.Read(p)
	_, _ = t.hash.Write(p[:n])
	if now := time.Now(); now.After(t.next) {
		t.show.drawBytes()
		t.next = now.Add(drawEvery)
	}
	return n, err
}

func (t *transfer) sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }

func (t *transfer) clear() { t.show.clear() }
