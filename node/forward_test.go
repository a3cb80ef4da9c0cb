package node

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// records is a log, line by line, of several nodes.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(b))
	return len(b), nil
}

// about returns how many lines have all words.
func (r *records) about(words ...string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			n++
		}
	}
	return n
}

// told are the spans that nodes told of, under who told.
type told struct {
	mu    sync.Mutex
	spans []toldSpan
}

type toldSpan struct {
	by atoll.NodeID
	atoll.Span
}

func (r *told) take(by atoll.NodeID) func(atoll.Span) {
	return func(s atoll.Span) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spans = append(r.spans, toldSpan{by, s})
	}
}

func (r *told) has(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.spans, func(s toldSpan) bool { return s.Name == name })
}

// chain reports whether of a trace the asker told a client's span below the
// request, and the answerer a server's below that.
func (r *told) chain(request atoll.Trace, asker, answerer atoll.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.by != asker || s.Trace.ID != request.ID || s.Parent != request.Span ||
			s.Kind != atoll.SpanClient {
			continue
		}
		for _, below := range r.spans {
			if below.by == answerer && below.Trace.ID == request.ID && below.Parent == s.Trace.Span &&
				below.Kind == atoll.SpanServer && !below.Begin.After(s.End) {
				return true
			}
		}
	}
	return false
}

// TestReadAcrossACut: what frankfurt writes reaches tokyo by way of washington
// only. A session is never shown anything older, however soon it asks; who
// answered is named, counted, and logs the trace of the request as the asker does.
func TestReadAcrossACut(t *testing.T) {
	t.Parallel()
	var log records
	var spans told
	s := threeRegions(t, func(_ int, c *Config) {
		c.Spans = spans.take(c.Node)
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})).
			With("self", c.Node)
	})
	s.put(frankfurt, "k", `{"v":0}`)
	s.converge()
	s.net.Cut("frankfurt", "tokyo", false)
	const rounds = 12
	forwarded := 0
	for i := 1; i <= rounds; i++ {
		body := fmt.Sprintf(`{"v":%d}`, i)
		w := s.put(frankfurt, "k", body)
		id := fmt.Sprintf("%032x", i)
		trace, _ := atoll.ParseTrace("00-" + id + "-00000000000000aa-01")
		ask := atoll.Read{Keyspace: testSpace, Key: "k", Session: w.Session, Trace: trace}
		d, err := s.node(tokyo).Read(t.Context(), ask)
		for range 5 { // where two cores carry it all, washington is late, too
			if atoll.KindOf(err) == atoll.BehindSession {
				d, err = s.node(tokyo).Read(t.Context(), ask)
			}
		}
		if err != nil || string(d.Body) != body {
			t.Fatalf("round %d: %s, %v", i, d.Body, err)
		}
		if d.Node == "" {
			continue
		}
		forwarded++
		if d.Node != "washington/1" {
			t.Errorf("%s answers across the cut", d.Node)
		}
		eventually(t, "both log the trace", func() bool {
			return log.about("self=tokyo/1", "asked another node", "trace="+id) > 0 &&
				log.about("self=washington/1", "answered a read", "trace="+id) > 0
		})
		eventually(t, "both tell of it, one below the other", func() bool {
			return spans.chain(trace, "tokyo/1", "washington/1")
		})
		// The answer's session is good here and there.
		if _, err := s.read(washington, "k", d.Session); err != nil {
			t.Errorf("where it was answered: %v", err)
		}
	}
	if !spans.has("pull") {
		t.Error("no pull is told of")
	}
	if forwarded == 0 {
		t.Fatal("washington never answered in tokyo's place")
	}
	if got := s.counted(tokyo, "atoll_session_forwards_total"); got < float64(forwarded) {
		t.Errorf("counted %v, forwarded %d", got, forwarded)
	}
	if got := s.counted(washington, "atoll_session_answers_total"); got < float64(forwarded) {
		t.Errorf("washington counted %v answers of %d", got, forwarded)
	}
	t.Logf("%d of %d reads were answered by washington", forwarded, rounds)
}

// TestPinnedSessionRoams: a pinned session is answered by the node that knows all
// it has seen, with what that node says, while it can be reached.
func TestPinnedSessionRoams(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	for i := range 5 {
		s.put(frankfurt, atoll.Key(fmt.Sprintf("k%d", i)), fmt.Sprintf(`{"v":%d}`, i))
	}
	s.converge()
	pinned := s.node(frankfurt).seal(token{pinned: s.node(frankfurt).origin})
	here, there := s.node(frankfurt), s.node(tokyo)
	d, err := there.Read(t.Context(), atoll.Read{Keyspace: testSpace, Key: "k3", Session: pinned})
	if err != nil || string(d.Body) != `{"v":3}` || d.Node != here.Self() || d.Session != pinned {
		t.Errorf("%s of %q, %v", d.Body, d.Node, err)
	}
	d, err = there.Read(t.Context(), atoll.Read{Keyspace: testSpace, Key: "none", Session: pinned})
	if refused(t, err, atoll.NotFound); d.Node != here.Self() || d.Session != pinned {
		t.Errorf("nothing, says %q", d.Node)
	}
	_, err = there.Read(t.Context(), atoll.Read{Keyspace: "nowhere", Key: "none", Session: pinned})
	refused(t, err, atoll.UnknownKeyspace)
	ask := atoll.Listing{Keyspace: testSpace, Prefix: "k", After: "k0", Limit: 2, Session: pinned}
	got, err := there.List(t.Context(), ask)
	if err != nil || got.Node != here.Self() {
		t.Fatalf("a page of %q, %v", got.Node, err)
	}
	want, err := here.List(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	want.Node = got.Node
	if g, w := mustJSON(t, got), mustJSON(t, want); g != w {
		t.Errorf("got page %s\nwant %s", g, w)
	}
	s.net.Cut("frankfurt", "tokyo", false)
	_, err = there.Read(t.Context(), atoll.Read{Keyspace: testSpace, Key: "k3", Session: pinned})
	if e := refused(t, err, atoll.BehindSession); e.Hint == "" {
		t.Error("says not what to do")
	}
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConflictsOfAnotherNode: the losers of a document come with it, from the
// node that answers as from here.
func TestConflictsOfAnotherNode(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(frankfurt, "c", `{"v":0}`)
	s.converge()
	s.cutOff("tokyo")
	s.put(frankfurt, "c", `{"v":1}`)
	s.put(tokyo, "c", `{"v":2}`)
	s.net.Heal()
	s.converge()
	pinned := s.node(frankfurt).seal(token{pinned: s.node(frankfurt).origin})
	want, err := s.read(frankfurt, "c", pinned)
	if err != nil || len(want.Conflicts) == 0 {
		t.Fatalf("%+v, %v", want, err)
	}
	got, err := s.read(tokyo, "c", pinned)
	if err != nil {
		t.Fatal(err)
	}
	want.Node = "frankfurt/1"
	for _, d := range []*atoll.Document{&want, &got} {
		for _, c := range d.Conflicts {
			for i := range c.Values {
				c.Values[i].Time = c.Values[i].Time.UTC()
			}
		}
	}
	if g, w := mustJSON(t, got), mustJSON(t, want); g != w {
		t.Errorf("got %s\nwant %s", g, w)
	}
}

// TestPageSession: what a page showed is not forgotten by the session, wherever
// it asks next, and its token keeps its limit.
func TestPageSession(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	for i := range 40 {
		s.put(i%3, atoll.Key(fmt.Sprintf("k%02d", i)), `{"v":0}`)
	}
	s.converge()
	s.net.Cut("frankfurt", "tokyo", false)
	told := 0
	for i := range 6 {
		key := atoll.Key(fmt.Sprintf("k%02d", i))
		s.put(frankfurt, key, `{"v":1}`)
		page, err := s.node(frankfurt).List(t.Context(), atoll.Listing{Keyspace: testSpace, Limit: 40})
		if err != nil || len(page.Items) != 40 || page.Session == "" || len(page.Session) > atoll.MaxToken {
			t.Fatalf("%d items, session of %d bytes, %v", len(page.Items), len(page.Session), err)
		}
		if tok, _ := parseToken(page.Session); tok.pinned != 0 {
			t.Errorf("a page of three origins is pinned: it would need %d needs", len(tok.needs))
		}
		d, err := s.read(tokyo, key, page.Session)
		if atoll.KindOf(err) == atoll.BehindSession {
			continue // never older, but perhaps nothing
		}
		if told++; err != nil || string(d.Body) != `{"v":1}` {
			t.Errorf("%s after the page: %s, %v", key, d.Body, err)
		}
	}
	if told == 0 {
		t.Error("no read was answered")
	}
	// So many origins that the token cannot name them all: it is widened.
	var wide token
	for o := range 30 {
		for part := range testSpace.Partitions() {
			wide.add(replication.Address{Keyspace: testSpace, Partition: part},
				crdt.ClockOf(crdt.Run{Origin: atoll.Origin(o + 1), First: 1, Last: 300}))
		}
	}
	n := s.node(frankfurt)
	if tok, err := parseToken(n.seal(wide)); err != nil || tok.pinned != n.origin {
		t.Errorf("30 origins in 64 partitions: %+v, %v", tok, err)
	}
}
