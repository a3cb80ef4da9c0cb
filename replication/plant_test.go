//go:build plant

package replication

import (
	"testing"

	"github.com/atolledge/atoll/replication/internal/plant"
)

// TestPlanted shows that the schedules notice each known wrong rule.
func TestPlanted(t *testing.T) {
	for _, bug := range plant.Variants() {
		if bug == plant.LapsedCounts {
			continue // needs a reset, an absence and an increment in this order: a script
		}
		t.Run(bug.String(), func(t *testing.T) {
			plant.Bug = bug
			defer func() { plant.Bug = plant.None }()
			bad, fail, _ := campaign(30_000)
			if fail == "" {
				t.Fatal("30,000 schedules did not notice it")
			}
			t.Logf("seed %d: %s", bad, fail)
		})
	}
}

// TestPlantedScripts shows that a script notices what schedules hardly meet.
func TestPlantedScripts(t *testing.T) {
	plant.Bug = plant.LapsedCounts
	defer func() { plant.Bug = plant.None }()
	if want, got := runScript(t, "testdata/lapse.txt"); got == want {
		t.Error("nothing else happened")
	}
}
