package sim

import (
	"slices"

	"github.com/atolledge/atoll"
)

// fault lets the i-th fault of the plan begin.
func (w *world) fault(i int) {
	f := &w.plan.Faults[i]
	if w.calm {
		return
	}
	switch f.Kind {
	case Heal:
		w.tell(f.Kind, "", "%s", f)
		for k := range w.plan.Faults {
			if w.plan.Faults[k].onLinks() {
				w.end(k)
			}
		}
		return
	case Trim, Crash:
		w.strike(f, i)
	default:
		w.tell(f.Kind, "", "%s", f)
		w.active[i] = true
		w.bend(f, 1)
	}
	if w.active[i] && f.For > 0 {
		w.queue.push(event{at: w.now + f.For*1000, kind: evOver, n: uint64(i)})
	}
}

// strike hits one node, if it runs.
func (w *world) strike(f *Fault, i int) {
	n := w.nodes[w.byID[atoll.NodeID(f.A)]]
	if !n.up {
		return
	}
	w.tell(f.Kind, n.member.Node, "%s", f)
	if f.Kind == Trim {
		w.trim(n)
		return
	}
	w.active[i] = true
	w.retire(n)
	w.crash(n)
}

func (f *Fault) onLinks() bool { return f.Kind == Partition || f.Kind == OneWay || f.Kind == Slow }

// lift ends the i-th fault at its own time, if it is in force.
func (w *world) lift(i int) {
	if f := &w.plan.Faults[i]; w.active[i] && f.onLinks() {
		w.tell("over", "", "over: %s", f)
	}
	w.end(i)
}

// end takes the i-th fault back, if it is in force.
func (w *world) end(i int) {
	if !w.active[i] {
		return
	}
	w.active[i] = false
	f := &w.plan.Faults[i]
	if f.onLinks() {
		w.bend(f, -1)
		return
	}
	if n := w.nodes[w.byID[atoll.NodeID(f.A)]]; !n.up {
		w.tell("start", n.member.Node, "start %s", n.member.Node)
		w.start(n)
	}
}

// bend puts a fault of links into force (1), or out of it (-1).
func (w *world) bend(f *Fault, by int32) {
	as, bs := w.plan.among(f.A), w.plan.among(f.B)
	if f.B == "" {
		bs = w.plan.all()
	}
	for _, a := range as {
		for _, b := range bs {
			if a == b || f.B == "" && slices.Contains(as, b) {
				continue
			}
			w.bendLink(f, int32(a), int32(b), by)
			if f.Kind != OneWay {
				w.bendLink(f, int32(b), int32(a), by)
			}
			w.reconsiderPair(w.nodes[a], w.nodes[b])
		}
	}
}

func (w *world) bendLink(f *Fault, from, to, by int32) {
	l := w.link(from, to)
	if f.Kind == Slow {
		l.slow += f.By * 1000 * int64(by)
	} else {
		l.cuts += by
	}
}

func (p *Plan) all() []int {
	all := make([]int, len(p.Nodes))
	for i := range all {
		all[i] = i
	}
	return all
}
