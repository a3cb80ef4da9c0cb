package sim

import "testing"

// TestFlaws shows that the swarm notices each promise to the core that a node
// breaks.
func TestFlaws(t *testing.T) {
	for name, f := range map[string]flaws{
		"sends before it is durable":        {early: true},
		"acknowledges before it is durable": {hasty: true},
		"a crash tears a commit":            {torn: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 300; seed++ {
				if r := run(Random(seed), f, nil); !r.OK {
					t.Logf("seed %d: %s", seed, r.Violations[0])
					return
				}
			}
			t.Error("300 seeds did not notice it")
		})
	}
}
