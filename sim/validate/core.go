package validate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/atolledge/atoll/sim"
)

// The figures of a scenario, which Atoll's own core runs:
//
//	copies per replica     of each write, over links, by other replicas
//	bytes / bp+rr          what it sent by what bp+rr would, if that carried
//	                       the same changes; of a sync beside the scenario
func coreFigures() []string { return []string{"copies per replica", "bytes / bp+rr"} }

// What a frame of bp+rr would hold besides changes, in bytes.
const (
	// groupFrame is type, length (2), address (6), number (2) and count of a delta,
	// and type, length, address and number of its acknowledgement.
	groupFrame = 12 + 10
	changeSize = 1 // the length before each change
)

// coreRun is a scenario made ready, with what came of it.
type coreRun struct {
	plan   *sim.Plan
	result *sim.Result
}

func newCoreRun(s *sim.Scenario, overlay [][]int) (*coreRun, error) {
	named := *s
	if named.Topology.Overlay == nil {
		named.Topology.Overlay = overlay
	}
	named.Links.Traffic = true
	p, err := named.Plan(1)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return &coreRun{plan: p}, nil
}

func (c *coreRun) knows(figure string) bool { return slices.Contains(coreFigures(), figure) }

func (c *coreRun) measure(ctx context.Context, figure string, beside *syncStudy) (value, error) {
	if c.result == nil {
		c.result = sim.Run(c.plan, func(time.Duration) bool { return ctx.Err() == nil })
	}
	if c.result == nil {
		return value{}, ctx.Err()
	}
	r := c.result
	if !r.OK {
		return value{}, fmt.Errorf("the scenario failed: %s", r.Violations[0])
	}
	t := r.Traffic
	if figure == coreFigures()[0] {
		return ratio(t.Copies(), uint64(r.Writes*(len(c.plan.Nodes)-1))), nil
	}
	theirs := beside.run("bp+rr")
	copies := theirs.elements * uint64(r.Writes) / theirs.made // for as many writes as ours
	changes := copies * t.ChangeBytes / max(t.Deltas, 1)
	return ratio(t.Bytes(), changes+copies*changeSize+theirs.numbers/2*groupFrame), nil
}
