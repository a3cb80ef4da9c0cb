//go:build plant

package replication_test

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/atolledge/atoll/replication/internal/plant"
	"github.com/atolledge/atoll/sim"
)

// swarmBudget is how many seeds of the swarm may pass before a wrong rule shows.
const swarmBudget = 400

// TestSwarmNotices shows that the simulator's properties, which look at
// operations from outside, notice the wrong rules of the core, and prints a
// table of how soon. Those of the schedules whose traces heal before an outsider
// can see them, or that need coincidences too rare for a network with real
// distances, are left to the schedules; the promises that a node may break are
// in sim.
func TestSwarmNotices(t *testing.T) {
	bugs := append([]plant.Variant{
		plant.SplitDocument, plant.GhostAsSeen, plant.GhostNotAdopted, plant.GhostIgnored,
		plant.NoFloor, plant.FullInPlace, plant.ResumeElsewhere, plant.ResetRemovesRows,
		plant.ResetDroppedEarly,
	}, plant.Outside()...)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	defer func() { plant.Bug = plant.None }()
	caught := 0
	for _, plant.Bug = range bugs {
		seed, found := notice()
		if found == "" {
			t.Errorf("%s: %d seeds did not notice it", plant.Bug, swarmBudget)
			continue
		}
		caught++
		fmt.Fprintf(table, "%s\tseed %d\t%s\n", plant.Bug, seed, found)
	}
	_ = table.Flush()
	t.Logf("%d of %d noticed within %d seeds\n%s", caught, len(bugs), swarmBudget, text.String())
}

// notice returns the first seed that fails, and the property that does not hold.
func notice() (seed uint64, property string) {
	for seed := uint64(1); seed <= swarmBudget; seed++ {
		if r := sim.Run(sim.Random(seed), nil); !r.OK {
			return seed, string(r.Violations[0].Property)
		}
	}
	return 0, ""
}
