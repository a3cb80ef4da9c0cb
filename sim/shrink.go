package sim

import (
	"slices"

	"github.com/atolledge/atoll"
)

// MaxShrinks is how many runs Shrink makes at most.
const MaxShrinks = 600

// Shrink returns a smaller plan that breaks the same property as the first that
// p breaks, and its result; p has to break one. It takes faults away by delta
// debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
// Input", 2002), then clients, nodes, operations, time and the troubles of links,
// as long as anything goes. Chance goes by names, so what is left behaves as it
// did.
func Shrink(p *Plan) (*Plan, *Result) {
	return shrink(p, func(p *Plan) *Result { return Run(p, nil) })
}

func shrink(p *Plan, run func(*Plan) *Result) (*Plan, *Result) {
	s := &shrinker{run: run, plan: *p, left: MaxShrinks}
	s.best = run(p)
	if s.best.OK {
		return p, s.best
	}
	s.property = string(s.best.Violations[0].Property)
	for again := true; again && s.left > 0; {
		before := s.left
		again = s.faults()
		again = s.clients() || again
		again = s.nodes() || again
		again = s.knobs() || again
		again = again && s.left < before
	}
	return &s.plan, s.best
}

// shrinker is a plan on its way down.
type shrinker struct {
	run      func(*Plan) *Result
	plan     Plan
	best     *Result
	property string
	left     int // runs
}

// try keeps a change if the plan still fails in the same way.
func (s *shrinker) try(change func(*Plan)) bool {
	q := s.plan
	change(&q)
	if s.left <= 0 || q.Check() != nil {
		return false
	}
	s.left--
	r := s.run(&q)
	if r.OK || string(r.Violations[0].Property) != s.property {
		return false
	}
	s.plan, s.best = q, r
	return true
}

// ddmin takes away as many of n things as it can: without reports whether the
// failure stays when those in [from, to) of the ones that are left go.
func ddmin(n int, without func(from, to int) bool) (changed bool) {
	for size := (n + 1) / 2; size >= 1 && n > 0; {
		cut := false
		for from := 0; from < n; {
			to := min(from+size, n)
			if without(from, to) {
				n -= to - from
				cut, changed = true, true
			} else {
				from = to
			}
		}
		if !cut || size > n {
			size /= 2
		}
	}
	return changed
}

func (s *shrinker) faults() bool {
	return ddmin(len(s.plan.Faults), func(from, to int) bool {
		return s.try(func(p *Plan) { p.Faults = slices.Delete(slices.Clone(p.Faults), from, to) })
	})
}

// clients are taken away from their places, so that the others keep theirs.
func (s *shrinker) clients() bool {
	var there []int
	for i, c := range s.plan.Workload.Clients {
		if c != "" {
			there = append(there, i)
		}
	}
	return ddmin(len(there), func(from, to int) bool {
		ok := s.try(func(p *Plan) {
			p.Workload.Clients = slices.Clone(p.Workload.Clients)
			for _, i := range there[from:to] {
				p.Workload.Clients[i] = ""
			}
		})
		if ok {
			there = slices.Delete(there, from, to)
		}
		return ok
	})
}

// nodes that no client and no fault names may go.
func (s *shrinker) nodes() (changed bool) {
	for i := len(s.plan.Nodes) - 1; i >= 0; i-- {
		id := s.plan.Nodes[i].ID
		if len(s.plan.Overlay) > 0 || slices.Contains(s.plan.Workload.Clients, id) {
			continue
		}
		changed = s.try(func(p *Plan) {
			p.Nodes = slices.Delete(slices.Clone(p.Nodes), i, i+1)
			p.Core = slices.DeleteFunc(slices.Clone(p.Core), func(c atoll.NodeID) bool { return c == id })
		}) || changed
	}
	return changed
}

// knobs turns everything down that has a number.
func (s *shrinker) knobs() (changed bool) {
	zero := func(at func(*Plan) *int64) {
		changed = *at(&s.plan) != 0 && s.try(func(p *Plan) { *at(p) = 0 }) || changed
	}
	for _, at := range []func(*Plan) *int64{
		func(p *Plan) *int64 { return &p.Links.Rate }, func(p *Plan) *int64 { return &p.Links.Loss },
		func(p *Plan) *int64 { return &p.Links.Dup }, func(p *Plan) *int64 { return &p.Links.Late },
		func(p *Plan) *int64 { return &p.Links.Break }, func(p *Plan) *int64 { return &p.Links.Burst },
		func(p *Plan) *int64 { return &p.Links.Replay }, func(p *Plan) *int64 { return &p.Links.Corrupt },
		func(p *Plan) *int64 { return &p.Links.Jitter }, func(p *Plan) *int64 { return &p.Disk },
		func(p *Plan) *int64 { return &p.Workload.Levels }, func(p *Plan) *int64 { return &p.Workload.Roam },
	} {
		zero(at)
	}
	for i := range s.plan.Nodes {
		if n := s.plan.Nodes[i]; n.Skew != 0 || n.Drift != 0 {
			changed = s.try(func(p *Plan) {
				p.Nodes = slices.Clone(p.Nodes)
				p.Nodes[i].Skew, p.Nodes[i].Drift = 0, 0
			}) || changed
		}
	}
	if s.plan.Core != nil {
		changed = s.try(func(p *Plan) { p.Core = nil }) || changed
	}
	for s.plan.Chaos > 1 && s.try(func(p *Plan) { p.Chaos /= 2 }) {
		changed = true
	}
	return changed
}
