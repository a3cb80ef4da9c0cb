// Package otlp provides the export of spans to an OpenTelemetry collector, as
// protobuf over HTTP (OTLP 1).
//
// Whoever has done a piece of work puts its span into a bounded queue and never
// waits: what a collector does not take in time is dropped and counted. The rest
// of the program knows atoll.Span only.
package otlp

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/atolledge/atoll"
)

// Limits of an Exporter.
const (
	maxQueue = 2048 // spans that wait; more are dropped
	maxBatch = 512  // spans of one request

	batchEvery    = time.Second      // how long a span waits for others at most
	uploadTimeout = 10 * time.Second // for one request with its repetitions
	closeTimeout  = 2 * time.Second  // for what is left at the end
	complainEvery = time.Minute      // between lines about a collector that fails
)

// DefaultPath is that of a collector whose URL has none (OTLP 1, section
// "OTLP/HTTP Request").
const DefaultPath = "/v1/traces"

// Config makes an Exporter. All fields are required.
type Config struct {
	Endpoint *url.URL // http or https; what else is set, such as headers, OTEL_… variables say
	Cluster  string
	Node     atoll.NodeID
	Version  string
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Exporter sends spans to one collector. Its methods are safe for concurrent use.
type Exporter struct {
	cfg    Config
	queue  chan atoll.Span
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once
	spans  *prometheus.CounterVec
	source *resource.Resource
}

// New starts an Exporter; it asks nobody before there is a span. The error is that
// of metrics that are registered already.
func New(cfg Config) (*Exporter, error) {
	e := &Exporter{
		cfg: cfg, queue: make(chan atoll.Span, maxQueue),
		stop: make(chan struct{}), done: make(chan struct{}),
		spans: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_traces_spans_total",
			Help: "Spans of sampled traces, by what became of them: exported, dropped, failed.",
		}, []string{"result"}),
		source: &resource.Resource{Attributes: []*common.KeyValue{
			text("service.name", "atoll"), text("service.namespace", cfg.Cluster),
			text("service.instance.id", string(cfg.Node)), text("service.version", cfg.Version),
			text("cloud.region", string(cfg.Node.Region())),
		}},
	}
	for _, result := range []string{"exported", "dropped", "failed"} {
		e.spans.WithLabelValues(result)
	}
	if err := cfg.Metrics.Register(e.spans); err != nil {
		return nil, err
	}
	go e.run()
	return e, nil
}

// Put takes a span that has ended. It never waits.
func (e *Exporter) Put(s atoll.Span) {
	select {
	case e.queue <- s:
	default:
		e.spans.WithLabelValues("dropped").Inc()
	}
}

// Close sends what is left, for closeTimeout at most, and ends the Exporter. What
// is put from now on is dropped.
func (e *Exporter) Close() {
	e.once.Do(func() { close(e.stop) })
	<-e.done
}

// run sends batch after batch until Close.
func (e *Exporter) run() {
	defer close(e.done)
	// A transport of its own: the library's is shared by the whole process.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(e.cfg.Endpoint.String()),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithTimeout(uploadTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true,
			InitialInterval: time.Second, MaxInterval: uploadTimeout, MaxElapsedTime: uploadTimeout}),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: transport, Timeout: uploadTimeout}),
	)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // an upload under way at the end has closeTimeout, too
		<-e.stop
		time.AfterFunc(closeTimeout, cancel)
	}()
	var complained time.Time
	for batch := e.gather(); batch != nil; batch = e.gather() {
		err := client.UploadTraces(ctx, []*trace.ResourceSpans{{
			Resource:   e.source,
			ScopeSpans: []*trace.ScopeSpans{{Spans: batch}},
		}})
		if err == nil {
			e.spans.WithLabelValues("exported").Add(float64(len(batch)))
			continue
		}
		e.spans.WithLabelValues("failed").Add(float64(len(batch)))
		if now := time.Now(); now.Sub(complained) >= complainEvery {
			complained = now
			e.cfg.Logger.Warn("the collector of traces does not take spans",
				"endpoint", e.cfg.Endpoint.Redacted(), "err", err)
		}
	}
	_ = client.Stop(ctx)
}

// gather waits for the next batch; after Close it takes what is there, and nil
// when that is nothing.
func (e *Exporter) gather() (batch []*trace.Span) {
	timer := time.NewTimer(batchEvery)
	timer.Stop()
	defer timer.Stop()
	for len(batch) < maxBatch {
		select {
		case s := <-e.queue:
			if batch = append(batch, encode(s)); len(batch) == 1 {
				timer.Reset(batchEvery)
			}
		case <-timer.C:
			return batch
		case <-e.stop:
			for len(batch) < maxBatch {
				select {
				case s := <-e.queue:
					batch = append(batch, encode(s))
					continue
				default:
				}
				break
			}
			return batch
		}
	}
	return batch
}

// encode is a span in OTLP.
func encode(s atoll.Span) *trace.Span {
	out := &trace.Span{
		TraceId: s.Trace.ID[:], SpanId: s.Trace.Span[:], Name: s.Name,
		Flags: 1, Kind: trace.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(s.Begin.UnixNano()), EndTimeUnixNano: uint64(s.End.UnixNano()),
	}
	if s.Parent != [8]byte{} {
		out.ParentSpanId = s.Parent[:]
	}
	if s.Kind == atoll.SpanClient {
		out.Kind = trace.Span_SPAN_KIND_CLIENT
	}
	if s.Failed != "" {
		out.Status = &trace.Status{Code: trace.Status_STATUS_CODE_ERROR, Message: s.Failed}
	}
	for _, a := range s.Attributes {
		switch v := a.Value.(type) {
		case string:
			out.Attributes = append(out.Attributes, text(a.Key, v))
		case int64:
			out.Attributes = append(out.Attributes, &common.KeyValue{Key: a.Key,
				Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: v}}})
		}
	}
	return out
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key,
		Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
