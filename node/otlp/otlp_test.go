package otlp

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/atolledge/atoll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collected is a collector that keeps what it decodes.
type collected struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*collector.ExportTraceServiceRequest
	paths    []string
}

// collect starts a collector; refuse may answer instead of it.
func collect(t *testing.T, refuse func(http.ResponseWriter) bool) *collected {
	t.Helper()
	c := &collected{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse != nil && refuse(w) {
			return
		}
		zip, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(zip)
		request := new(collector.ExportTraceServiceRequest)
		if err != nil || proto.Unmarshal(body, request) != nil ||
			r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("not OTLP: %v, %q", err, r.Header)
		}
		c.mu.Lock()
		c.requests, c.paths = append(c.requests, request), append(c.paths, r.URL.Path)
		c.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collected) spans() (all []*trace.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		for _, rs := range r.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				all = append(all, ss.Spans...)
			}
		}
	}
	return all
}

func start(t *testing.T, endpoint string) *Exporter {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(Config{Endpoint: u, Cluster: "islands", Node: "tokyo/1", Version: "v1",
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func (e *Exporter) count(result string) float64 {
	var m dto.Metric
	_ = e.spans.WithLabelValues(result).Write(&m)
	return m.GetCounter().GetValue()
}

// span is one with everything in it.
func span(n byte) atoll.Span {
	begin := time.Unix(1_700_000_000, 5)
	return atoll.Span{
		Trace:  atoll.Trace{ID: [16]byte{1, n}, Span: [8]byte{2, n}, Sampled: true},
		Parent: [8]byte{3}, Name: "work", Kind: atoll.SpanClient,
		Begin: begin, End: begin.Add(time.Millisecond), Failed: "behind",
		Attributes: []atoll.Attribute{{Key: "a", Value: "b"}, {Key: "n", Value: int64(7)}},
	}
}

// TestExport: what is put arrives, decoded by the protocol's own types.
func TestExport(t *testing.T) {
	c := collect(t, nil)
	e := start(t, c.URL+DefaultPath)
	e.Put(span(1))
	root := span(2)
	root.Parent, root.Kind, root.Failed, root.Attributes = [8]byte{}, atoll.SpanServer, "", nil
	e.Put(root)
	e.Close()
	spans := c.spans()
	if len(spans) != 2 || c.paths[0] != DefaultPath || e.count("exported") != 2 {
		t.Fatalf("%d spans at %v, %v counted", len(spans), c.paths, e.count("exported"))
	}
	got := fmt.Sprintf("%x %x %x %s %s %d %d %s %v", spans[0].TraceId, spans[0].SpanId,
		spans[0].ParentSpanId, spans[0].Name, spans[0].Kind, spans[0].StartTimeUnixNano,
		spans[0].EndTimeUnixNano-spans[0].StartTimeUnixNano, spans[0].Status.GetMessage(), len(spans[0].Attributes))
	if want := "01010000000000000000000000000000 0201000000000000 0300000000000000 work " +
		"SPAN_KIND_CLIENT 1700000000000000005 1000000 behind 2"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	a := spans[0].Attributes
	if a[0].Key != "a" || a[0].Value.GetStringValue() != "b" || a[1].Value.GetIntValue() != 7 {
		t.Errorf("attributes %v", a)
	}
	if len(spans[1].ParentSpanId) != 0 || spans[1].Kind != trace.Span_SPAN_KIND_SERVER ||
		spans[1].Status != nil {
		t.Errorf("the root is %v", spans[1])
	}
	names := map[string]string{}
	for _, kv := range c.requests[0].ResourceSpans[0].Resource.Attributes {
		names[kv.Key] = kv.Value.GetStringValue()
	}
	if names["service.name"] != "atoll" || names["service.instance.id"] != "tokyo/1" ||
		names["cloud.region"] != "tokyo" || names["service.namespace"] != "islands" {
		t.Errorf("resource %v", names)
	}
}

// TestSpansInBatches: many spans go in few requests, all of them, in order.
func TestSpansInBatches(t *testing.T) {
	c := collect(t, nil)
	e := start(t, c.URL+DefaultPath)
	for i := range maxQueue {
		e.Put(span(byte(i)))
	}
	e.Close()
	spans := c.spans()
	if len(spans) != maxQueue || len(c.requests) > 2+maxQueue/maxBatch {
		t.Fatalf("%d spans in %d requests", len(spans), len(c.requests))
	}
	for i, s := range spans {
		if s.TraceId[1] != byte(i) {
			t.Fatalf("span %d is %x", i, s.TraceId)
		}
	}
}

// TestCollectorThatFails: one that hangs, refuses or is not there costs nobody a
// wait; what does not fit is dropped, each span is counted once, and the end comes.
func TestCollectorThatFails(t *testing.T) {
	hang, release := context.WithCancel(context.Background())
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, endpoint := range map[string]string{
		"hangs": collect(t, func(http.ResponseWriter) bool { <-hang.Done(); return true }).URL,
		"refuses": collect(t, func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}).URL,
		"is busy": collect(t, func(w http.ResponseWriter) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}).URL,
		"is not there": gone.URL,
	} {
		e := start(t, endpoint+DefaultPath)
		const all = 4 * maxQueue
		begin := time.Now()
		for i := range all {
			e.Put(span(byte(i)))
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: %d spans took %s", name, all, took)
		}
		begin = time.Now()
		e.Close()
		if took := time.Since(begin); took > closeTimeout+10*time.Second {
			t.Errorf("%s: the end took %s", name, took)
		}
		dropped, failed := e.count("dropped"), e.count("failed")
		if e.count("exported") > 0 || dropped+failed != all || dropped == 0 && strings.HasPrefix(name, "h") {
			t.Errorf("%s: %v dropped, %v failed of %d", name, dropped, failed, all)
		}
	}
	release()
}
