package sim

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
)

// sized is a plan of n nodes in ten regions, over links that lose and hold up a
// little. Each of the given clients writes twice a second.
func sized(n, clients int, chaos time.Duration) *Plan {
	p := &Plan{Version: planVersion, Scenario: "sized", Seed: 1, Regions: cityNames()[:min(n, 10)],
		Links: Links{Jitter: 10, Loss: 1000}, Chunk: 64, Chaos: chaos.Milliseconds(), Settle: 60_000,
		Workload: Workload{Keyspace: "_sim", Keys: 1000, Gap: 500, Mix: Mix{Put: 2, Patch: 4, Inc: 4}},
		Checks:   []check.Property{check.Convergence}}
	for i := range n {
		r := p.Regions[i%len(p.Regions)]
		p.Nodes = append(p.Nodes, Node{ID: atoll.NodeID(fmt.Sprintf("%s/%d", r, 1+i/len(p.Regions)))})
	}
	for i := range clients {
		p.Workload.Clients = append(p.Workload.Clients, p.Nodes[i%n].ID)
	}
	p.distances()
	return p
}

// BenchmarkWorlds prints how much faster than the clock worlds run on one core,
// and how many events it handles in a second of its time.
func BenchmarkWorlds(b *testing.B) {
	for _, c := range []struct {
		nodes, clients int
		chaos          time.Duration
	}{
		{7, 7, 10 * time.Minute},
		{100, 20, time.Minute},
		{1000, 10, 10 * time.Minute},
	} {
		b.Run(fmt.Sprintf("nodes=%d", c.nodes), func(b *testing.B) {
			var virtual time.Duration
			var events uint64
			begin := cpu(b)
			for b.Loop() {
				r := Run(sized(c.nodes, c.clients, c.chaos), nil)
				if !r.OK {
					b.Fatal(r.Violations[0])
				}
				virtual += r.Virtual
				events += r.Events
			}
			used := (cpu(b) - begin).Seconds()
			b.ReportMetric(virtual.Seconds()/used, "virtual-s/cpu-s")
			b.ReportMetric(float64(events)/used, "events/cpu-s")
		})
	}
}

// cpu returns the processor time that this process has used: on a machine that
// others use too, the clock says little.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSwarm prints what a seed of the swarm costs, in processor time.
func BenchmarkSwarm(b *testing.B) {
	begin, seed := cpu(b), uint64(0)
	for b.Loop() {
		seed++
		if r := Run(Random(seed), nil); !r.OK {
			b.Fatal(r.Violations[0])
		}
	}
	b.ReportMetric(float64((cpu(b)-begin).Milliseconds())/float64(b.N), "cpu-ms/seed")
}
