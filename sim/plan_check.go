package sim

import (
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
)

// Check refuses a plan that cannot be run.
func (p *Plan) Check() error {
	switch {
	case p.Version != planVersion:
		return bad("plan version %d, this atoll knows %d", p.Version, planVersion)
	case len(p.Nodes) == 0 || len(p.Nodes) > MaxNodes:
		return bad("%d nodes, want 1 to %d", len(p.Nodes), MaxNodes)
	case len(p.Faults) > MaxFaults:
		return bad("%d faults, want at most %d", len(p.Faults), MaxFaults)
	case p.Chunk < 1:
		return bad("chunk %d, want at least 1", p.Chunk)
	}
	limit := MaxPhase.Milliseconds()
	for _, c := range p.Core {
		if p.node(c) < 0 {
			return bad("the core has %q, which is no node of the plan", c)
		}
	}
	if p.Disk < 0 || p.Disk > maxDelay {
		return bad("disk of %d ms, want 0 to %d", p.Disk, maxDelay)
	}
	if p.Chaos < 0 || p.Chaos > limit || p.Settle < 1 || p.Settle > limit {
		return bad("phases of %d and %d ms, want up to %d", p.Chaos, p.Settle, limit)
	}
	for _, check := range []func() error{p.checkNodes, p.checkOverlay, p.checkLinks, p.checkWork, p.checkFaults} {
		if err := check(); err != nil {
			return err
		}
	}
	for _, c := range p.Checks {
		if !slices.Contains(check.Properties(), c) {
			return bad("unknown check %q", c).WithHint(fmt.Sprint("checks are ", check.Properties()))
		}
	}
	return nil
}

func bad(format string, args ...any) *atoll.Error {
	return atoll.Errorf(atoll.BadRequest, format, args...)
}

func (p *Plan) checkNodes() error {
	for i, n := range p.Nodes {
		if p.region(n.ID) < 0 {
			return bad("node %q is in no region of the plan", n.ID)
		}
		if p.node(n.ID) != i {
			return bad("node %q is there twice", n.ID)
		}
		if n.Skew < -maxDelay || n.Skew > maxDelay {
			return bad("node %q: a skew of %d ms, want up to %d", n.ID, n.Skew, maxDelay)
		}
		if n.Drift < -maxDrift || n.Drift > maxDrift {
			return bad("node %q: a drift of %d ppm, want up to %d", n.ID, n.Drift, maxDrift)
		}
	}
	return nil
}

func (p *Plan) checkLinks() error {
	l := p.Links
	for _, v := range []int64{l.Loss, l.Dup, l.Late, l.Break, l.Burst, l.Replay, l.Corrupt} {
		if v < 0 || v > million {
			return bad("%d parts per million", v)
		}
	}
	if _, err := p.delay(); err != nil {
		return err
	}
	if l.Jitter < 0 || l.Jitter > maxDelay {
		return bad("jitter of %d ms, want 0 to %d", l.Jitter, maxDelay)
	}
	if l.Rate < 0 || l.Rate > maxRate || l.Rate > 0 && !p.Wire {
		return bad("a rate of %d kbit/s, want 0 to %d, and wire", l.Rate, maxRate)
	}
	if len(p.RTT) != len(p.Regions) {
		return bad("rtt_ms has %d rows for %d regions", len(p.RTT), len(p.Regions))
	}
	for i, row := range p.RTT {
		if len(row) != len(p.Regions) {
			return bad("row %d of rtt_ms has %d columns for %d regions", i, len(row), len(p.Regions))
		}
		for _, v := range row {
			if v < 0 || v > maxDelay {
				return bad("a round trip of %d ms, want 0 to %d", v, maxDelay)
			}
		}
	}
	return nil
}

func (p *Plan) checkWork() error {
	w := &p.Workload
	sum := 0
	for _, v := range w.Mix.weights() {
		if v < 0 || v > million {
			return bad("a weight of %d in the mix", v)
		}
		sum += v
	}
	switch {
	case w.Keyspace != "sim" && w.Keyspace != "_sim":
		return bad("keyspace %q, want sim (64 partitions) or _sim (one)", w.Keyspace)
	case w.Keys < 1 || w.Keys > MaxKeys:
		return bad("%d keys, want 1 to %d", w.Keys, MaxKeys)
	case len(w.Clients) > MaxClients:
		return bad("%d clients, want at most %d", len(w.Clients), MaxClients)
	case len(w.Clients) > 0 && (w.Gap < 1 || w.Gap > MaxPhase.Milliseconds() || sum == 0):
		return bad("clients need a mix, and a gap of 1 to %d ms", MaxPhase.Milliseconds())
	case w.Levels < 0 || w.Levels > million || w.Roam < 0 || w.Roam > million:
		return bad("levels of %d and roams of %d parts per million", w.Levels, w.Roam)
	}
	for _, c := range w.Clients {
		if c != "" && p.node(c) < 0 {
			return bad("a client writes to %q, which is no node of the plan", c)
		}
	}
	return nil
}

func (p *Plan) checkFaults() error {
	for i := range p.Faults {
		if err := p.checkFault(&p.Faults[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) checkFault(f *Fault) error {
	if f.At < 0 || f.For < 0 || f.At > p.Chaos || f.For > MaxPhase.Milliseconds() {
		return bad("%s at %d ms for %d ms: want it within the chaos of %d ms", f, f.At, f.For, p.Chaos)
	}
	switch {
	case f.Kind == Heal:
		return nil
	case f.onLinks():
		if len(p.among(f.A)) == 0 || f.B != "" && len(p.among(f.B)) == 0 {
			return bad("%s: there is no such region or node", f)
		}
	case slices.Contains(onNodes(), f.Kind):
		if len(p.among(f.A)) == 0 {
			return bad("%s: there is no node %q", f.Kind, f.A)
		}
	default:
		return bad("unknown fault %q", f.Kind).
			WithHint(fmt.Sprintf("faults are %v, %v and heal", onLinks(), onNodes()))
	}
	return f.checkMore()
}

// checkMore checks the fields that not all kinds have.
func (f *Fault) checkMore() error {
	least := int64(0)
	switch f.Kind {
	case Slow, Drag:
		least = 1
	case Jump:
		least = -maxDelay
	}
	if f.By < least || f.By > maxDelay {
		return bad("%s: want %d to %d ms", f, least, maxDelay)
	}
	if f.Kind != Crash && f.When != Now || !slices.Contains(moments(), f.When) {
		return bad("%s when %q: want one of %q, with crash", f, f.When, moments())
	}
	return nil
}
