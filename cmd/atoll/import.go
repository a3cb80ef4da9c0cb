package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/atolledge/atoll"
)

type importCmd struct {
	remote
	Keyspace   string `arg:"" help:"Keyspace; made when it does not exist."`
	File       string `arg:"" help:"NDJSON or a JSON array, or - for standard input."`
	Key        string `placeholder:"FIELD" help:"Field with the key; without it: lines of export."`
	Durability string `placeholder:"LEVEL" help:"local, region, regions:N or all."`
}

// imported is one line of the answer: progress, a bad record, or with Done the
// totals.
type imported struct {
	Imported int     `json:"imported"`
	Failed   int     `json:"failed"`
	Done     bool    `json:"done"`
	TookMS   float64 `json:"took_ms"`

	Line    int           `json:"line"`
	Key     string        `json:"key"`
	Problem *problemBrief `json:"problem"`
}

type problemBrief struct{ Type, Detail, Hint string }

// Run streams the file to the node and its answer back. A bad record is named
// on stderr and the rest goes in; then the exit code is 1.
func (c *importCmd) Run(ctx context.Context, std *stdio) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return misused(err)
		}
		defer f.Close()
		in = f
	}
	ask := call{
		method: http.MethodPost, path: keyspacePath(c.Keyspace) + "/_import",
		header: http.Header{"Content-Type": {"application/x-ndjson"}},
	}
	if c.Key != "" {
		ask.query = url.Values{"key": {c.Key}}
	}
	if c.Durability != "" {
		ask.header.Set("Atoll-Durability", c.Durability)
	}
	sent := &counted{r: in}
	ask.body = sent
	resp, err := c.do(ctx, ask)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	show := newMeter(std.err, sent, size(in))
	total, err := c.follow(resp.Body, std, show)
	show.clear()
	if err != nil {
		return err
	}
	return c.sum(std, total)
}

// follow reads the answer as it comes, up to the line with the totals.
func (c *importCmd) follow(body io.Reader, std *stdio, show *meter) (imported, error) {
	d := json.NewDecoder(body)
	for {
		var line imported
		if err := d.Decode(&line); err != nil {
			return line, brokenOff(fmt.Errorf("before its last line: %w", err))
		}
		switch {
		case line.Done:
			return line, nil
		case line.Line > 0 && line.Problem != nil:
			show.clear()
			fmt.Fprintf(std.err, "line %d: %s\n", line.Line, line.Problem.Detail)
		default:
			show.draw(line.Imported)
		}
	}
}

func (c *importCmd) sum(std *stdio, total imported) error {
	if c.JSON {
		if err := json.NewEncoder(std.out).Encode(map[string]any{
			"imported": total.Imported, "failed": total.Failed, "took_ms": total.TookMS,
		}); err != nil {
			return err
		}
	} else {
		took := time.Duration(total.TookMS * float64(time.Millisecond)).Round(time.Millisecond)
		std.printf("imported %d documents into %s in %s\n", total.Imported, c.Keyspace, took)
	}
	switch {
	case total.Problem != nil:
		return atoll.Errorf(atoll.Internal, "the rest was not read: %s", total.Problem.Detail).
			WithHint(total.Problem.Hint)
	case total.Failed > 0:
		return atoll.Errorf(atoll.BadRequest, "%d records were refused, see above", total.Failed).
			WithHint("mend these and import them again; a document that is there is written over")
	}
	return nil
}

// counted counts what is read through it, for another goroutine to look at.
type counted struct {
	r io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// size is a file's length in bytes, 0 when it has none.
func size(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// meter draws progress in one line of a terminal, and nothing elsewhere.
type meter struct {
	w     io.Writer // nil: not a terminal
	sent  *counted
	total int64
	drawn bool
}

func newMeter(f *os.File, sent *counted, total int64) *meter {
	m := &meter{sent: sent, total: total}
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		m.w = f
	}
	return m
}

func (m *meter) draw(documents int) {
	if m.w == nil {
		return
	}
	m.drawn = true
	fmt.Fprintf(m.w, "\r\x1b[K%d documents", documents)
	if m.total > 0 {
		fmt.Fprintf(m.w, ", %d %% of the file sent", 100*m.sent.n.Load()/m.total)
	}
}

// drawBytes draws how much of a body has passed.
func (m *meter) drawBytes() {
	if m.w == nil {
		return
	}
	m.drawn = true
	fmt.Fprintf(m.w, "\r\x1b[K%d MiB", m.sent.n.Load()>>20)
	if m.total > 0 {
		fmt.Fprintf(m.w, " of %d, %d %%", m.total>>20, 100*m.sent.n.Load()/m.total)
	}
}

// clear removes the line, so that what follows stands alone.
func (m *meter) clear() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.drawn = false
	}
}
