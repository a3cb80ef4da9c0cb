package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atolledge/atoll"
)

// Limits of watching.
const (
	watchSilence = 40 * time.Second // a node says something every 15 s
	watchRetry   = time.Second      // before a broken watch is resumed
	watchLine    = 64 << 20         // bytes: a merged document of 8 MiB, all of it escaped
)

type watchCmd struct {
	remote
	Keyspace string `arg:"" help:"Keyspace."`
	Prefix   string `placeholder:"TEXT" help:"Only keys that begin with it."`
	From     string `placeholder:"CURSOR" help:"Go on behind it; now: only what changes from now on."`
	Limit    int    `placeholder:"N" help:"End after N events."`
}

// Run prints events until it is interrupted: kind, key and body a line, with
// --json also the cursor. A watch that breaks is resumed where it was.
func (c *watchCmd) Run(ctx context.Context, std *stdio) error {
	if c.Limit < 0 {
		return misuse("--limit %d: want 1 or more", c.Limit)
	}
	if len(c.From) > atoll.MaxCursor {
		return misuse("--from has %d bytes; a cursor has %d at most", len(c.From), atoll.MaxCursor)
	}
	count := 0
	for first := true; ; first = false {
		err := c.follow(ctx, std, &count)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil // an interrupt is how a watch ends
		case first && count == 0 || !resumable(err):
			return err
		}
		fmt.Fprintf(std.err, "atoll watch: %s; resuming\n", detail(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchRetry):
		}
	}
}

// resumable reports whether another try may go better: nothing was wrong with
// what was asked.
func resumable(err error) bool {
	switch atoll.KindOf(err) {
	case atoll.Internal, atoll.ShuttingDown, atoll.RateLimited, atoll.BehindSession:
		_, misused := errors.AsType[usageError](err)
		return !misused
	}
	return false
}

// follow prints one stream to its end and keeps its cursor in c.From. It returns
// nil when enough is printed.
func (c *watchCmd) follow(ctx context.Context, std *stdio, count *int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := call{method: http.MethodGet, path: "/v1/watch/" + url.PathEscape(c.Keyspace),
		header: http.Header{"Accept": {"text/event-stream"}}, query: url.Values{}}
	if c.Prefix != "" {
		ask.query.Set("prefix", c.Prefix)
	}
	if c.From != "" {
		ask.header.Set("Last-Event-ID", c.From)
	}
	resp, err := c.do(ctx, ask)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	quiet := time.AfterFunc(watchSilence, cancel)
	defer quiet.Stop()
	for e, err := range readEvents(resp.Body) {
		if err != nil {
			return brokenWatch(err)
		}
		quiet.Reset(watchSilence)
		c.From = cmp.Or(e.id, c.From)
		if e.name == "dropped" {
			return dropped(e.data)
		}
		if e.name == "" {
			continue
		}
		if err := c.print(std, e); err != nil {
			return err
		}
		if *count++; *count == c.Limit {
			return nil
		}
	}
	return brokenWatch(io.ErrUnexpectedEOF)
}

// brokenWatch is a stream that ended by itself, which it never should.
func brokenWatch(err error) error {
	return atoll.Errorf(atoll.Internal, "the stream broke off").Because(err)
}

func dropped(data []byte) error {
	var d struct{ Reason string }
	if json.Unmarshal(data, &d) != nil || d.Reason == "" {
		d.Reason = "the node ended the watch"
	}
	return atoll.Errorf(atoll.ShuttingDown, "%s", d.Reason)
}

// printed is the data of an event and, for --json, what stands beside it.
type printed struct {
	Event   string          `json:"event"`
	Key     *string         `json:"key,omitempty"`
	ETag    string          `json:"etag,omitempty"`
	Expires string          `json:"expires,omitempty"`
	Doc     json.RawMessage `json:"doc,omitempty"`
	Cursor  string          `json:"cursor"`
}

func (c *watchCmd) print(std *stdio, e event) error {
	d := printed{}
	if err := json.Unmarshal(e.data, &d); err != nil {
		return atoll.Errorf(atoll.Internal, "an event is not what a node says").Because(err)
	}
	d.Event, d.Cursor = e.name, e.id
	switch {
	case c.JSON:
		out := json.NewEncoder(std.out)
		out.SetEscapeHTML(false)
		return out.Encode(d)
	case d.Key == nil:
		std.printf("%s\n", e.name)
	case d.Doc == nil:
		std.printf("%s\t%s\n", e.name, plain(*d.Key))
	default:
		std.printf("%s\t%s\t%s\n", e.name, plain(*d.Key), d.Doc)
	}
	return nil
}

// event is one server-sent event; name is "" of one that only moves the cursor or
// says that the stream lives.
type event struct {
	id, name string
	data     []byte
}

// readEvents reads server-sent events (HTML, section 9.2.6) until the stream
// breaks. An event that is cut off is none.
func readEvents(r io.Reader) iter.Seq2[event, error] {
	return func(yield func(event, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, watchLine)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case lines.Text() == "":
				if !yield(e, nil) {
					return
				}
				e = event{id: e.id}
			case name == "id":
				e.id = value
			case name == "event":
				e.name = value
			case name == "data" && e.data != nil:
				e.data = append(append(e.data, '\n'), value...)
			case name == "data":
				e.data = []byte(value)
			}
		}
		if err := lines.Err(); err != nil {
			yield(event{}, err)
		}
	}
}

// Watch passes a watch to the first node that is ready. It ends with that node;
// the cursor leads on at the next.
func (p passing) Watch(ctx context.Context, w atoll.Watch) iter.Seq2[[]atoll.Event, error] {
	return func(yield func([]atoll.Event, error) bool) {
		n, err := p.node()
		if err != nil {
			yield(nil, err)
			return
		}
		n.Watch(ctx, w)(yield)
	}
}
