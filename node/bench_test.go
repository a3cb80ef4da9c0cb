package node

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
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
