package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/cespare/xxhash/v2"
)

// Limits of one import. It keeps many writes in flight, so that the node can
// commit them together, but never more than a few of the largest.
const (
	importWriters = 64          // concurrent writes
	importUnit    = 64 << 10    // bytes; a record holds at least one unit
	importUnits   = 256         // in flight: 16 MiB, or 256 small records
	importReport  = 1000        // records between two lines of progress
	importBeat    = time.Second // or this long, whichever comes first
)

// job is one record on its way to the node.
type job struct {
	line  int
	key   atoll.Key
	body  []byte
	units int
}

// outcome is what became of a record. The last outcome of an import has line
// 0; its err says why reading stopped, nil at the end of the stream.
type outcome struct {
	line int
	key  atoll.Key
	err  error
}

// importer carries records from the reader to the writers and their outcomes
// back. Records of one key go to one writer: the last of them wins, as it
// would if they were written one by one.
type importer struct {
	s        *Server
	q        *request
	write    atoll.Write // all that the records have in common
	field    string      // that holds the key; "" for export lines
	queues   [importWriters]chan job
	budget   chan struct{} // holds one token for each unit in flight
	outcomes chan outcome
}

func (s *Server) importDocuments(w *response, q *request) error {
	im, err := newImporter(s, q)
	if err != nil {
		return err
	}
	// The answer begins while the body is still arriving. HTTP/2 always can. With
	// HTTP/1.1 a body that was not read to its end leaves net/http reading where
	// the next request would be: the connection has no next request.
	_ = w.control.EnableFullDuplex()
	w.last(q)
	ctx, cancel := context.WithCancel(q.Context())
	defer cancel()
	halt := func() {
		cancel()
		_ = w.control.SetReadDeadline(s.now()) // frees a reader that waits for its client
	}
	go im.run(ctx, &stalling{ctx, w, q.Body})
	if err = newReport(im, w, halt).run(); err != nil {
		halt()
	}
	for range im.outcomes { // until run has ended: it uses the request
	}
	return err
}

func newImporter(s *Server, q *request) (*importer, error) {
	media, err := contentType(q)
	if err != nil {
		return nil, err
	}
	switch media {
	case "", typeJSON, typeNDJSON, "application/ndjson", "application/jsonl":
	default:
		return nil, unsupported(media, typeNDJSON, typeJSON)
	}
	im := &importer{s: s, q: q, budget: make(chan struct{}, importUnits),
		outcomes: make(chan outcome, importUnits)}
	if im.write.Keyspace, err = q.keyspace(); err != nil {
		return nil, err
	}
	if im.field, err = q.one("key"); err != nil {
		return nil, err
	}
	if q.query.Has("key") && im.field == "" {
		return nil, atoll.Errorf(atoll.BadRequest, "key= names no field").
			WithHint("key=FIELD names the field that holds each document's key; " +
				"without key= the lines are those of _export")
	}
	for i := range im.queues {
		im.queues[i] = make(chan job, importUnits) // the budget is the limit: never full
	}
	return im, durability(q, &im.write)
}

// run reads all records and returns when all are written. It closes outcomes.
func (im *importer) run(ctx context.Context, body io.Reader) {
	var writers sync.WaitGroup
	for _, queue := range im.queues {
		writers.Go(func() { im.writeAll(ctx, queue) })
	}
	err := im.read(ctx, body)
	for _, queue := range im.queues {
		close(queue)
	}
	writers.Wait()
	im.outcomes <- outcome{err: err}
	close(im.outcomes)
}

// read hands every record of the body to a writer.
func (im *importer) read(ctx context.Context, body io.Reader) error {
	records, err := newSplitter(body)
	if err != nil {
		return streamError(err)
	}
	for {
		rec, err := records.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return streamError(err)
		}
		j := job{line: rec.number, units: 1 + len(rec.text)/importUnit}
		if err = rec.err; err == nil {
			j.key, j.body, err = parseRecord(rec.text, im.field)
		}
		if err != nil {
			im.outcomes <- outcome{j.line, j.key, err}
			continue
		}
		if err := im.reserve(ctx, j.units); err != nil {
			return err
		}
		im.queues[xxhash.Sum64String(string(j.key))%importWriters] <- j
	}
}

// reserve waits until n units more may be in flight. Only the reader reserves,
// so it never waits for another that waits.
func (im *importer) reserve(ctx context.Context, n int) error {
	for range n {
		select {
		case im.budget <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (im *importer) writeAll(ctx context.Context, queue <-chan job) {
	for j := range queue {
		err := ctx.Err()
		if err == nil {
			err = im.writeOne(ctx, j)
		}
		im.outcomes <- outcome{j.line, j.key, err}
		for range j.units {
			<-im.budget
		}
	}
}

// writeOne writes one record. A panic costs this record, not the process.
func (im *importer) writeOne(ctx context.Context, j job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			im.s.log.LogAttrs(ctx, slog.LevelError, "panic in an import",
				slog.String("trace", im.q.trace.Hex()), slog.String("panic", fmt.Sprint(p)),
				slog.String("stack", string(debug.Stack())))
			err = atoll.Errorf(atoll.Internal, "panic")
		}
	}()
	req := im.write
	req.Key, req.Body = j.key, j.body
	_, err = im.s.node.Write(ctx, req)
	return err
}

// streamError says why a stream cannot be read to its end.
func streamError(err error) error {
	var e *atoll.Error
	if errors.As(err, &e) {
		return err
	}
	return bodyError(err, MaxDocument)
}

// stalling reads a body that may take for ever, as long as it keeps coming.
type stalling struct {
	ctx  context.Context
	w    *response
	body io.Reader
}

// Read fails once ctx is done: a deadline set by then is not moved on unseen.
func (r *stalling) Read(p []byte) (int, error) {
	_ = r.w.control.SetReadDeadline(r.w.now().Add(ImportStall))
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.body.Read(p)
	if err != nil {
		_ = r.w.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
