package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// maxValue bounds a document given on the command line or in a file, in bytes.
// A node takes 1 MiB; the rest is so that it can say so itself.
const maxValue = 4 << 20

// writing is what all commands that change a document share.
type writing struct {
	Session    string        `env:"ATOLL_SESSION" placeholder:"TOKEN" help:"Write after what it saw."`
	Durability string        `placeholder:"LEVEL" help:"local, region, regions:N or all."`
	Timeout    time.Duration `placeholder:"TIME" help:"How long to wait for it."`
	IfMatch    string        `placeholder:"ETAG" help:"Only if it is still this one; *: any."`
}

// header returns the request headers that w asks for.
func (w writing) header() http.Header {
	h := sessionHeader(w.Session)
	if w.Durability != "" {
		h.Set("Atoll-Durability", w.Durability)
	}
	if w.Timeout != 0 {
		h.Set("Atoll-Timeout", w.Timeout.String())
	}
	if w.IfMatch != "" {
		h.Set("If-Match", quote(w.IfMatch))
	}
	return h
}

// quote makes an entity tag of text that has no quotes yet.
func quote(etag string) string {
	if etag == "*" || strings.HasSuffix(etag, `"`) {
		return etag
	}
	return `"` + etag + `"`
}

type putCmd struct {
	remote
	writing
	document
	Value    string        `arg:"" default:"-" help:"JSON, @FILE, or - for standard input."`
	TTL      time.Duration `name:"ttl" placeholder:"TIME" help:"Hide the document after it."`
	IfAbsent bool          `help:"Only if there is no such document here."`
}

// Run writes the whole document.
func (c *putCmd) Run(ctx context.Context, io *stdio) error {
	body, err := readValue(io.in, c.Value)
	if err != nil {
		return err
	}
	h := c.header()
	h.Set("Content-Type", "application/json")
	if c.TTL != 0 {
		h.Set("Atoll-TTL", c.TTL.String())
	}
	if c.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	return c.write(ctx, io, c.document, call{
		method: http.MethodPut, header: h, body: bytes.NewReader(body),
	})
}

// written is a change as --json prints it.
type written struct {
	Key     string `json:"key"`
	Did     string `json:"did"` // created, updated or deleted
	ETag    string `json:"etag,omitempty"`
	Session string `json:"session,omitempty"`
	Region  string `json:"region,omitempty"`
	Node    string `json:"node,omitempty"`
}

// write sends a change of one document and prints what it did.
func (r *remote) write(ctx context.Context, io *stdio, d document, c call) error {
	path, err := d.path()
	if err != nil {
		return err
	}
	c.path = path
	resp, err := r.do(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return r.wrote(io, d, c.method, resp)
}

// wrote prints what an answer says of a change by method.
func (r *remote) wrote(io *stdio, d document, method string, resp *http.Response) error {
	out := written{
		Key: d.Key, Did: "updated", ETag: unquote(resp.Header.Get("ETag")),
		Session: resp.Header.Get("Atoll-Session"),
		Region:  resp.Header.Get("Atoll-Region"), Node: resp.Header.Get("Atoll-Node"),
	}
	if resp.StatusCode == http.StatusCreated {
		out.Did = "created"
	}
	if method == http.MethodDelete {
		out.Did, out.ETag = "deleted", ""
	}
	if r.JSON {
		return json.NewEncoder(io.out).Encode(out)
	}
	io.printf("%s %s/%s", out.Did, d.Keyspace, plain(d.Key))
	if out.ETag != "" {
		io.printf(" (etag %s)", out.ETag)
	}
	io.printf("\n")
	return nil
}

// readValue reads JSON from an argument: the text itself, @FILE, or - for
// standard input. Whether it is JSON is the node's to say.
func readValue(stdin io.Reader, arg string) ([]byte, error) {
	from, name := stdin, "standard input"
	switch path, isFile := strings.CutPrefix(arg, "@"); {
	case isFile:
		f, err := os.Open(path)
		if err != nil {
			return nil, misused(err)
		}
		defer f.Close()
		from, name = f, path
	case arg != "-":
		return []byte(arg), nil
	}
	body, err := io.ReadAll(io.LimitReader(from, maxValue+1))
	if err != nil {
		return nil, misuse("read %s: %w", name, err)
	}
	if len(body) > maxValue {
		return nil, misused(atoll.Errorf(atoll.TooLarge, "%s is too long for one document", name).
			WithLimit("document bytes here", maxValue).
			WithHint("for many documents there is atoll import"))
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, misused(errors.New(name + " is empty"))
	}
	return body, nil
}
