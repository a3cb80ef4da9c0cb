//go:build plant

package replication

import (
	"testing"

	"github.com/atolledge/atoll/replication/internal/plant"
)

// TestPlanted shows that the schedules notice each known wrong rule.
func TestPlanted(t *testing.T) {
	for _, bug := range plant.Variants() {
		t.Run(bug.String(), func(t *testing.T) {
			plant.Bug = bug
			defer func() { plant.Bug = plant.None }()
			bad, fail, _ := campaign(20_000)
			if fail == "" {
				t.Fatal("20,000 schedules did not notice it")
			}
			t.Logf("seed %d: %s", bad, fail)
		})
	}
}
