package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
)

type exportCmd struct {
	remote
	Keyspace string `arg:"" help:"Keyspace."`
	Prefix   string `placeholder:"TEXT" help:"Only keys that begin with it."`
	Output   string `short:"o" default:"-" help:"File; it is there whole or not at all."`
}

// Run streams the keyspace: NDJSON that import takes back.
func (c *exportCmd) Run(ctx context.Context, std *stdio) error {
	ask := call{method: http.MethodGet, path: keyspacePath(c.Keyspace) + "/_export"}
	if c.Prefix != "" {
		ask.query = url.Values{"prefix": {c.Prefix}}
	}
	resp, err := c.do(ctx, ask)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.Output == "-" {
		return copyOut(std.out, resp.Body)
	}
	return writeWhole(c.Output, resp.Body)
}

// writeWhole puts body into a file beside path and renames it when all of it is
// on disk: half an export must not look like a whole one.
func writeWhole(path string, body io.Reader) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".atoll-export-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	if err := copyOut(tmp, body); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Sync(); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
