package sim

import "github.com/atolledge/atoll/sim/dist"

// checkOverlay refuses links between nodes that are not there and an overlay
// that falls into parts: its nodes could never agree.
func (p *Plan) checkOverlay() error {
	if len(p.Overlay) == 0 {
		return nil
	}
	group := p.others(nil) // the least place that a node is known to be linked with
	for _, l := range p.Overlay {
		a, b := l[0], l[1]
		if min(a, b) < 0 || max(a, b) >= len(p.Nodes) || a == b {
			return bad("overlay: a link between %d and %d, want two of %d nodes", a, b, len(p.Nodes))
		}
		from, to := max(group[a], group[b]), min(group[a], group[b])
		for i := range group {
			if group[i] == from {
				group[i] = to
			}
		}
	}
	for i, g := range group {
		if g != 0 {
			return bad("overlay: no way leads from %s to %s", p.Nodes[0].ID, p.Nodes[i].ID)
		}
	}
	return nil
}

// connectable keeps those apart between whom the overlay has no link, and makes
// the links' distribution of delays ready.
func (w *world) connectable() {
	w.net.extra, _ = w.plan.delay() // the plan has passed Check
	if w.plan.Traffic {
		w.traffic = &Traffic{}
	}
	if len(w.plan.Overlay) == 0 {
		return
	}
	for i := range w.net.pairs {
		w.net.pairs[i].apart = true
	}
	for _, l := range w.plan.Overlay {
		lower, higher := min(l[0], l[1]), max(l[0], l[1])
		w.net.pairs[lower*len(w.plan.Nodes)+higher].apart = false
	}
}

// delay returns the distribution of delays, nil without one.
func (p *Plan) delay() (*dist.Dist, error) {
	if len(p.Delay) == 0 {
		return nil, nil
	}
	return p.Delay.Compile("links.delay")
}
