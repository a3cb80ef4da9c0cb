//go:build plant

package replication_test

import (
	"testing"

	"github.com/atolledge/atoll/replication/internal/plant"
	"github.com/atolledge/atoll/sim"
)

// TestSwarmNotices shows that the simulator's properties, which look at
// operations from outside, notice the wrong rules of the core within 300 seeds.
// Those whose traces heal before an outsider can see them, or that need
// coincidences too rare for a network with real distances, are left to the
// schedules; the promises that a node may break are in sim.
func TestSwarmNotices(t *testing.T) {
	for _, bug := range []plant.Variant{
		plant.SplitDocument, plant.GhostAsSeen, plant.GhostNotAdopted, plant.GhostIgnored,
		plant.NoFloor, plant.FullInPlace, plant.ResumeElsewhere, plant.ResetRemovesRows,
		plant.ResetDroppedEarly,
	} {
		t.Run(bug.String(), func(t *testing.T) {
			plant.Bug = bug
			defer func() { plant.Bug = plant.None }()
			for seed := uint64(1); seed <= 300; seed++ {
				if r := sim.Run(sim.Random(seed), nil); !r.OK {
					t.Logf("seed %d: %s", seed, r.Violations[0])
					return
				}
			}
			t.Error("300 seeds did not notice it")
		})
	}
}
