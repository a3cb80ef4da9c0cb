package node

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// crowd is 16 in deploy/e2e/crowd.sh: 32 nodes want a machine for themselves.
var crowd = flag.Int("crowd", 8, "regions of TestCrowd, two nodes each")

// TestCrowd runs many regions of 2 nodes in one process: all start and see all,
// writes from several converge, all stop. TestMain sees that nothing is left.
func TestCrowd(t *testing.T) {
	begin := time.Now()
	lap := func(what string) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%-10s %6.2f s, heap %d MiB, %d goroutines", what, time.Since(begin).Seconds(),
			m.HeapAlloc>>20, runtime.NumGoroutine())
	}
	var ids []atoll.NodeID
	for r := range *crowd {
		for n := range 2 {
			ids = append(ids, atoll.NodeID(fmt.Sprintf("r%02d/%d", r, n+1)))
		}
	}
	s := newSea(t, ids...)
	lap("started")
	for i := range s.spots {
		within(t, 4*patience, "all see all", func() bool { return up(s.node(i)) == len(ids) })
	}
	lap("all up")
	var writers sync.WaitGroup
	const each = 25
	for i := 0; i < len(ids); i += 5 {
		writers.Go(func() {
			for k := range each {
				s.put(i, atoll.Key(fmt.Sprintf("%d/%d", i, k)), `{"v":1}`)
				s.inc(i, "count", "/n", 1)
			}
		})
	}
	writers.Wait()
	lap("written")
	s.converge()
	count := fmt.Sprintf(`{"n":%d}`, each*((len(ids)+4)/5))
	s.everywhere("count", count)
	s.sameExports(testSpace)
	lap("converged")
	var ends sync.WaitGroup
	for i := range s.spots {
		ends.Go(func() { s.stop(i) })
	}
	ends.Wait()
	lap("stopped")
}
