package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// document names one document on the command line.
type document struct {
	Keyspace string `arg:"" help:"Keyspace."`
	Key      string `arg:"" help:"Key; slashes are part of it."`
}

// path checks the key here, where a wrong one would name another call.
func (d document) path() (string, error) {
	if d.Keyspace == "" {
		return "", misuse("the keyspace is empty")
	}
	if _, err := atoll.ParseKey(d.Key); err != nil {
		return "", misused(err)
	}
	return docPath(d.Keyspace, d.Key), nil
}

type getCmd struct {
	remote
	document
	Conflicts bool   `help:"Show the values that lost against concurrent ones."`
	Session   string `env:"ATOLL_SESSION" placeholder:"TOKEN" help:"See what this session saw."`
}

// fetched is a document as get --json prints it.
type fetched struct {
	Key       string          `json:"key"`
	ETag      string          `json:"etag"`
	Conflicts int             `json:"conflicts"`
	Session   string          `json:"session,omitempty"`
	Region    string          `json:"region,omitempty"`
	Node      string          `json:"node,omitempty"`
	Doc       json.RawMessage `json:"doc"`
}

// conflict is one cell whose concurrent values did not all win.
type conflict struct {
	Path, Kind string
	Values     []struct {
		Value          json.RawMessage
		Origin, Region string
		Time           time.Time
		Winner         bool
	}
}

// Run prints the document, exactly as the node has it.
func (c *getCmd) Run(ctx context.Context, io *stdio) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	ask := call{method: http.MethodGet, path: path, header: sessionHeader(c.Session)}
	if c.Conflicts {
		ask.query = url.Values{"conflicts": {"1"}}
		return c.conflicts(ctx, io, ask)
	}
	body, header, err := c.bytes(ctx, ask)
	if err != nil {
		return err
	}
	if !c.JSON {
		io.printf("%s\n", body)
		return nil
	}
	n, _ := strconv.Atoi(header.Get("Atoll-Conflicts"))
	return json.NewEncoder(io.out).Encode(fetched{
		Key: c.Key, ETag: unquote(header.Get("ETag")), Conflicts: n,
		Session: header.Get("Atoll-Session"), Region: header.Get("Atoll-Region"),
		Node: header.Get("Atoll-Node"), Doc: body,
	})
}

// conflicts prints the document, then for each contested cell who wrote what.
func (c *getCmd) conflicts(ctx context.Context, io *stdio, ask call) error {
	var answer struct {
		Doc       json.RawMessage
		Conflicts []conflict
	}
	body, err := c.decode(ctx, ask, &answer)
	if err != nil {
		return err
	}
	if c.JSON {
		io.printf("%s\n", body)
		return nil
	}
	io.printf("%s\n", answer.Doc)
	for _, c := range answer.Conflicts {
		c.print(io)
	}
	return nil
}

func (c *conflict) print(io *stdio) {
	io.printf("%s %s\n", cmp.Or(c.Path, "(document)"), c.Kind)
	for _, v := range c.Values {
		mark := "lost"
		if v.Winner {
			mark = "won"
		}
		from := cmp.Or(v.Region, v.Origin)
		io.printf("  %-4s %s  %s %s\n", mark, v.Value, from, v.Time.Format(time.RFC3339Nano))
	}
}

func sessionHeader(token string) http.Header {
	if token == "" {
		return http.Header{}
	}
	return http.Header{"Atoll-Session": {token}}
}

// unquote returns an entity tag without its quotes.
func unquote(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }
