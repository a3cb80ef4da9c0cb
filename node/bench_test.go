package node

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// benchClients write at the same time; each waits for its acknowledgement.
const benchClients = 64

// BenchmarkDurableWrites compares acknowledged writes of a node with a floor in
// the same run: a bare loop that commits what is waiting in one synced Badger
// transaction, with the same bytes and no replication. Rounds interleave; the
// medians and their ratio are reported.
func BenchmarkDurableWrites(b *testing.B) {
	const rounds = 3
	s := newSea(b, "a/1")
	floor := newFloor(b)
	body := []byte(`{"text":"` + strings.Repeat("x", 244) + `"}`)
	var ours, bare []float64
	n := 0
	per := max(b.N/rounds, benchClients)
	b.ResetTimer()
	for range rounds {
		bare = append(bare, rate(per, func(i int) { floor.put(n+i, body) }))
		ours = append(ours, rate(per, func(i int) {
			_, err := s.node(0).Write(b.Context(), atoll.Write{
				Keyspace: "bench", Key: atoll.Key(fmt.Sprintf("k%09d", n+i)), Body: body})
			if err != nil {
				b.Error(err)
			}
		}))
		n += per
	}
	slices.Sort(ours)
	slices.Sort(bare)
	b.ReportMetric(ours[1], "writes/s")
	b.ReportMetric(bare[1], "floor/s")
	b.ReportMetric(ours[1]/bare[1], "of-floor")
}

// BenchmarkAckToReadable measures from the acknowledgement of a write at one node
// until another node of another region, no distance away, shows it durably. One
// write is in flight. The floor beside it, in the same run, is what one synced
// commit of the same bytes takes: the reader's node cannot do without.
func BenchmarkAckToReadable(b *testing.B) {
	s := newSea(b, "a/1", "b/1")
	s.settle()
	floor := newFloor(b)
	body := []byte(`{"text":"` + strings.Repeat("x", 244) + `"}`)
	var ours, bare []float64
	for i := 0; b.Loop(); i++ {
		key := atoll.Key(fmt.Sprintf("k%09d", i))
		w, err := s.node(0).Write(b.Context(), atoll.Write{Keyspace: "bench", Key: key, Body: body})
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		// The session makes the read wait for the write, and not a moment longer.
		read := atoll.Read{Keyspace: "bench", Key: key, Session: w.Session}
		if _, err := s.node(1).Read(b.Context(), read); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, float64(time.Since(begin).Microseconds()))
		begin = time.Now()
		floor.put(i, body)
		bare = append(bare, float64(time.Since(begin).Microseconds()))
	}
	slices.Sort(ours)
	slices.Sort(bare)
	for _, q := range []struct {
		name string
		per  int
	}{{"p50", 50}, {"p99", 99}} {
		at := func(all []float64) float64 { return all[len(all)*q.per/100] }
		b.ReportMetric(at(ours), q.name+"-us")
		b.ReportMetric(at(bare), q.name+"-sync-us")
		b.ReportMetric(at(ours)-at(bare), q.name+"-over-us")
	}
}

// BenchmarkRemoteApplies feeds a node what another one writes, as fast as it takes
// it, with a reader beside: a rate against the floor of BenchmarkDurableWrites,
// and what the reader waits.
func BenchmarkRemoteApplies(b *testing.B) {
	const rounds = 3
	s := newSea(b, "a/1")
	floor := newFloor(b)
	body := []byte(`{"text":"` + strings.Repeat("x", 244) + `"}`)
	remote := newRemote(b, body)
	per := max(b.N/rounds, benchClients)
	s.node(0).loop.feed(b.Context(), replication.PeerUp{Member: remote.self})
	s.write(0, "read", atoll.Put, string(body))
	reads := newPoller(b, s.node(0))
	var ours, bare []float64
	b.ResetTimer()
	for round := range rounds {
		bare = append(bare, rate(per, func(i int) { floor.put(round*per+i, body) }))
		news := remote.write(per)
		begin := time.Now()
		for _, d := range news {
			s.node(0).loop.feed(b.Context(), replication.Receive{From: remote.self.Node, Message: d})
		}
		eventually(b, "all is durable", func() bool { return s.node(0).holds(remote.needs) })
		ours = append(ours, float64(per)/time.Since(begin).Seconds())
	}
	b.StopTimer()
	slices.Sort(ours)
	slices.Sort(bare)
	b.ReportMetric(ours[1], "applies/s")
	b.ReportMetric(bare[1], "floor/s")
	b.ReportMetric(ours[1]/bare[1], "of-floor")
	b.ReportMetric(reads.end(), "p99-read-us")
}

// remote is a writer elsewhere whose deltas a benchmark delivers.
type remote struct {
	b     *testing.B
	self  replication.Member
	core  *replication.Core
	store *replication.Memory
	body  []byte
	n     int
	needs []replication.Need
}

func newRemote(b *testing.B, body []byte) *remote {
	r := &remote{b: b, body: body, store: replication.NewMemory(),
		self: replication.Member{Origin: 4711, Node: "b/1", Region: "b"}}
	r.core = replication.New(replication.Config{Self: r.self, View: r.store,
		Rand: mrand.New(mrand.NewPCG(1, 1)), Chunk: 256}, time.Now())
	r.core.Step(time.Now(), replication.Wake{})
	r.core.Step(time.Now(), replication.PeerUp{Member: replication.Member{Origin: 1, Node: "a/1", Region: "a"}})
	return r
}

// write makes n changes and returns their deltas; needs says what covers them.
func (r *remote) write(n int) (news []replication.Message) {
	tree, err := crdt.Parse(r.body)
	if err != nil {
		r.b.Fatal(err)
	}
	for range n {
		r.n++
		out := r.core.Step(time.Now(), replication.Mutate{
			ID: uint64(r.n), Keyspace: "bench", Key: atoll.Key(fmt.Sprintf("k%09d", r.n)),
			Edit: func(e *crdt.Edit) error { return crdt.Put(e, tree) },
		})
		r.store.Apply(out.Writes)
		for _, s := range out.Sends {
			if d, ok := s.Message.(replication.Delta); ok {
				news = append(news, d)
			}
		}
	}
	r.needs = nil
	for p := range atoll.Keyspace("bench").Partitions() {
		a := replication.Address{Keyspace: "bench", Partition: p}
		r.needs = append(r.needs, replication.Need{Address: a, Clock: r.core.Clock(a)})
	}
	return news
}

// poller reads one document over and over.
type poller struct {
	stop func()
	took []float64
}

func newPoller(b *testing.B, n *Node) *poller {
	ctx, cancel := context.WithCancel(b.Context())
	r, done := &poller{}, make(chan struct{})
	r.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			begin := time.Now()
			if _, err := n.Read(ctx, atoll.Read{Keyspace: testSpace, Key: "read"}); err != nil && ctx.Err() == nil {
				b.Error(err)
				return
			}
			r.took = append(r.took, float64(time.Since(begin).Microseconds()))
			time.Sleep(500 * time.Microsecond) // a reader, not a flood
		}
	}()
	return r
}

// end stops it and returns the 99th percentile in microseconds.
func (r *poller) end() float64 {
	r.stop()
	slices.Sort(r.took)
	return r.took[len(r.took)*99/100]
}

// rate runs n calls on benchClients goroutines and returns calls a second.
func rate(n int, call func(i int)) float64 {
	var next atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for range benchClients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				call(i)
			}
		})
	}
	all.Wait()
	return float64(n) / time.Since(begin).Seconds()
}

// floor is the least that a durable store of this shape does.
type floor struct {
	puts chan put
}

type put struct {
	write replication.Write
	done  chan struct{}
}

func newFloor(b *testing.B) *floor {
	s, err := store.Open(store.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	f := &floor{puts: make(chan put, benchClients)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.run(b, s)
	}()
	b.Cleanup(func() {
		close(f.puts)
		<-ended
		_ = io.Closer(s).Close()
	})
	return f
}

func (f *floor) run(b *testing.B, s *store.Store) {
	for first := range f.puts {
		batch := []put{first}
		for more := true; more; {
			select {
			case p, ok := <-f.puts:
				if more = ok; ok {
					batch = append(batch, p)
				}
			default:
				more = false
			}
		}
		writes := make([]replication.Write, len(batch))
		for i, p := range batch {
			writes[i] = p.write
		}
		if err := s.Commit(writes); err != nil {
			b.Error(err)
		}
		for _, p := range batch {
			close(p.done)
		}
	}
}

func (f *floor) put(i int, body []byte) {
	p := put{done: make(chan struct{})}
	p.write = replication.Write{Key: fmt.Appendf(nil, "dbench%09d", i), Value: body}
	f.puts <- p
	<-p.done
}
