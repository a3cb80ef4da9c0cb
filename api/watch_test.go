package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"

	"github.com/prometheus/client_golang/prometheus"
)

// told returns a watch that tells batches and ends.
func told(batches ...[]atoll.Event) api.Watch {
	return func(context.Context, atoll.Watch) iter.Seq2[[]atoll.Event, error] {
		return func(yield func([]atoll.Event, error) bool) {
			for _, b := range batches {
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

// failing returns a watch that tells one batch if it has any, then an error.
func failing(err error, batch ...[]atoll.Event) api.Watch {
	return func(ctx context.Context, w atoll.Watch) iter.Seq2[[]atoll.Event, error] {
		return func(yield func([]atoll.Event, error) bool) {
			for events := range told(batch...)(ctx, w) {
				if !yield(events, nil) {
					return
				}
			}
			yield(nil, err)
		}
	}
}

func watching(w api.Watch) func(*api.Config) {
	return func(c *api.Config) { c.Watch = w }
}

// sent is one server-sent event as a client sees it.
type sent struct{ id, event, data string }

// readEvents reads a stream to its end as the HTML standard says (9.2.6).
func readEvents(t *testing.T, r io.Reader) (all []sent) {
	t.Helper()
	var e sent
	var data []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			if data != nil {
				all = append(all, sent{e.id, e.event, strings.Join(data, "\n")})
			}
			e.event, data = "", nil
		case name == "id":
			e.id = value
		case name == "event":
			e.event = value
		case name == "data":
			data = append(data, value)
		case name != "" && name != "retry":
			t.Errorf("line %q", lines.Text())
		}
	}
	return all
}

func TestWatchFrames(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	c := open(t, newFake(), watching(told(
		nil,
		[]atoll.Event{
			{Kind: atoll.EventPut, Key: "a/b", Body: []byte(`{"n":1.50,"t":"<x>"}`), ETag: "e1", Cursor: "c1"},
			{Kind: atoll.EventPut, Key: "ttl", Body: []byte(`{}`), ETag: "e2", Expires: at, Cursor: "c2"},
			{Kind: atoll.EventDelete, Key: "x\n\"★", Cursor: "c3"},
		},
		[]atoll.Event{{Kind: atoll.EventMark, Cursor: "c4"}},
		[]atoll.Event{{Kind: atoll.EventReset, Cursor: "c5"}},
	)))
	r := c.want(c.get("/v1/watch/stars"), 200, "retry: 1000\n:\n\n"+
		"id: c1\nevent: put\ndata: {\"key\":\"a/b\",\"etag\":\"e1\",\"doc\":{\"n\":1.50,\"t\":\"<x>\"}}\n\n"+
		"id: c2\nevent: put\n"+
		"data: {\"key\":\"ttl\",\"etag\":\"e2\",\"expires\":\"2026-03-01T12:00:00.005Z\",\"doc\":{}}\n\n"+
		"id: c3\nevent: delete\ndata: {\"key\":\"x\\n\\\"★\"}\n\n"+
		"id: c4\n\n"+
		"id: c5\nevent: reset\ndata: {}\n\n")
	if r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("Cache-Control") != "no-store" ||
		r.Header.Get("Atoll-Region") == "" {
		t.Errorf("headers %v", r.Header)
	}
	if got := readEvents(t, bytes.NewReader(r.body)); len(got) != 4 || got[3] != (sent{"c5", "reset", "{}"}) {
		t.Errorf("a client reads %q", got)
	}
	head := c.want(c.do("HEAD", "/v1/watch/stars", nil, ""), 200, "")
	if head.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD %v", head.Header)
	}
}

// TestWatchAsks: what the request says is what the node is asked.
func TestWatchAsks(t *testing.T) {
	var got atoll.Watch
	c := open(t, newFake(), watching(func(_ context.Context, w atoll.Watch) iter.Seq2[[]atoll.Event, error] {
		got = w
		return told(nil)(nil, w)
	}))
	long := strings.Repeat("c", atoll.MaxCursor)
	for _, x := range []struct {
		query, id string
		want      atoll.Watch
	}{
		{"", "", atoll.Watch{Keyspace: "stars"}},
		{"?prefix=hip%2F%E2%98%85", "", atoll.Watch{Keyspace: "stars", Prefix: "hip/★"}},
		{"?cursor=now", "", atoll.Watch{Keyspace: "stars", Cursor: "now"}},
		{"?cursor=old", "new", atoll.Watch{Keyspace: "stars", Cursor: "new"}},
		{"?cursor=" + long, "", atoll.Watch{Keyspace: "stars", Cursor: atoll.Cursor(long)}},
		{"", long, atoll.Watch{Keyspace: "stars", Cursor: atoll.Cursor(long)}},
	} {
		c.want(c.get("/v1/watch/stars"+x.query, "Last-Event-ID", x.id), 200)
		if got != x.want {
			t.Errorf("%.40s %.40s: %.60q", x.query, x.id, got)
		}
	}
	refused := func(kind atoll.Kind, status int, path string, h ...string) {
		t.Helper()
		c.refused(c.get(path, h...), status, kind)
	}
	refused(atoll.BadRequest, 400, "/v1/watch/stars?cursor=a&cursor=b")
	refused(atoll.BadRequest, 400, "/v1/watch/stars", "Last-Event-ID", "a", "Last-Event-ID", "b")
	refused(atoll.BadRequest, 400, "/v1/watch/_roster")
	refused(atoll.BadKey, 400, "/v1/watch/stars?prefix=%ff")
	refused(atoll.KeyTooLong, 414, "/v1/watch/stars?prefix="+strings.Repeat("x", 513))
	refused(atoll.NotFound, 404, "/v1/watch")
	for _, h := range []headers{{"Last-Event-ID", long + "c"}, nil} {
		path := "/v1/watch/stars"
		if h == nil {
			path += "?cursor=" + long + "c"
		}
		if p := c.refused(c.do("GET", path, h, ""), 400, atoll.BadRequest); p.Limit == nil ||
			p.Limit.Value != atoll.MaxCursor {
			t.Errorf("limit %v", p.Limit)
		}
	}
}

// TestWatchRefused: an error in the beginning is a problem like any other.
func TestWatchRefused(t *testing.T) {
	for kind, status := range map[atoll.Kind]int{
		atoll.UnknownKeyspace: 404, atoll.BadRequest: 400, atoll.RateLimited: 429, atoll.ShuttingDown: 503,
	} {
		c := open(t, newFake(), watching(failing(atoll.Errorf(kind, "no"))))
		c.refused(c.get("/v1/watch/stars"), status, kind)
	}
	c := open(t, newFake())
	c.refused(c.get("/v1/watch/stars"), 404, atoll.NotFound)
}

// TestWatchDropped: later the reader is told what happened, without the words
// that are not for it, and where to resume.
func TestWatchDropped(t *testing.T) {
	batch := []atoll.Event{{Kind: atoll.EventDelete, Key: "x", Cursor: "c1"}}
	for reason, err := range map[string]error{
		"this node is stopping":                       atoll.Errorf(atoll.ShuttingDown, "this node is stopping"),
		"the node could not answer; its log says why": atoll.Errorf(atoll.Internal, "secret"),
	} {
		c := open(t, newFake(), watching(failing(err, batch)))
		got := readEvents(t, bytes.NewReader(c.want(c.get("/v1/watch/stars"), 200).body))
		want := fmt.Sprintf(`{"reason":%q,"cursor":"c1"}`, reason)
		if len(got) != 2 || got[1] != (sent{"c1", "dropped", want}) {
			t.Errorf("%q, want %s", got, want)
		}
	}
}

// endless returns a watch that tells one batch and then waits for its end.
func endless(batch []atoll.Event) api.Watch {
	return func(ctx context.Context, _ atoll.Watch) iter.Seq2[[]atoll.Event, error] {
		return func(yield func([]atoll.Event, error) bool) {
			if yield(batch, nil) {
				<-ctx.Done()
			}
		}
	}
}

// TestEndStreams: a server that is to stop tells its readers, and those who come
// too late.
func TestEndStreams(t *testing.T) {
	s := newServer(t, newFake(), watching(endless([]atoll.Event{{Kind: atoll.EventMark, Cursor: "c1"}})))
	c := connect(t, serve(t, s), false)
	resp, err := c.http.Get(c.base + "/v1/watch/stars")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.EndStreams()
	got := readEvents(t, resp.Body)
	if len(got) != 1 || got[0].event != "dropped" || got[0].id != "c1" {
		t.Errorf("%q", got)
	}
	late := readEvents(t, bytes.NewReader(c.want(c.get("/v1/watch/stars?cursor=c0"), 200).body))
	if len(late) != 1 || late[0].event != "dropped" || late[0].id != "c1" {
		t.Errorf("too late: %q", late)
	}
}

// TestWatchLeft: the watch ends when the reader leaves.
func TestWatchLeft(t *testing.T) {
	ended := make(chan error, 1)
	c := open(t, newFake(), watching(func(ctx context.Context, _ atoll.Watch) iter.Seq2[[]atoll.Event, error] {
		return func(yield func([]atoll.Event, error) bool) {
			yield(nil, nil)
			<-ctx.Done()
			ended <- ctx.Err()
		}
	}))
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", c.base+"/v1/watch/stars", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	if err := <-ended; err == nil {
		t.Error("it did not end")
	}
}

// TestWatchSlow: a reader that stops reading and comes back within WriteStall is
// told that it was dropped, behind the last event that it was sent.
func TestWatchSlow(t *testing.T) {
	for _, c := range []struct {
		pause   time.Duration
		dropped bool
	}{{api.WatchPatience - time.Second, false}, {api.WatchPatience + time.Second, true}} {
		t.Run(fmt.Sprint(c.pause), func(t *testing.T) {
			body, _ := json.Marshal(strings.Repeat("x", 1<<20))
			n := 0
			watch := func(context.Context, atoll.Watch) iter.Seq2[[]atoll.Event, error] {
				return func(yield func([]atoll.Event, error) bool) {
					for n = range 10 {
						e := atoll.Event{Kind: atoll.EventPut, Key: "k", Body: body,
							Cursor: atoll.Cursor(fmt.Sprint("c", n))}
						if !yield([]atoll.Event{e}, nil) {
							return
						}
					}
				}
			}
			reg := prometheus.NewRegistry()
			slowly(t, newFake(), func(t *testing.T, conn net.Conn) {
				io.WriteString(conn, "GET /v1/watch/stars HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				time.Sleep(c.pause) // virtual
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				got := readEvents(t, resp.Body)
				last := got[len(got)-1]
				if c.dropped != (last.event == "dropped") || !c.dropped && len(got) != 10 {
					t.Fatalf("%d events, the last is %s %s", len(got), last.event, last.id)
				}
				if c.dropped && (len(got) != 2 || last.id != got[0].id) {
					t.Errorf("%d events, resume at %s after %s", len(got), last.id, got[0].id)
				}
				if n := counterOf(t, reg, "atoll_watches_dropped_total"); (n == 1) != c.dropped {
					t.Errorf("%v watches are counted as dropped", n)
				}
			}, watching(watch), func(c *api.Config) { c.Metrics = reg })
		})
	}
}

// counterOf returns the value of a counter without labels.
func counterOf(t *testing.T, reg prometheus.Gatherer, name string) float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].Counter.GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}
