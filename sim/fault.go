package sim

import (
	"fmt"
	"strings"
)

// The kinds of Fault on links.
const (
	Partition = "partition" // A and B do not hear each other
	OneWay    = "oneway"    // B does not hear A
	Slow      = "slow"      // messages between A and B take By longer
)

// The kinds of Fault on nodes, all those that A names.
const (
	Crash = "crash" // A's processes end, and start after For on what was durable
	Pause = "pause" // A's processes stand still: what comes meanwhile waits
	Drag  = "drag"  // A's processes and disks take By longer for everything
	Jump  = "jump"  // A's clocks jump by By, and back after For if that is given
	Trim  = "trim"  // A drops its index, as if a cap had been reached
	// Rollback: after For, power fails and A's disks turn out to be as they were at
	// At: an old copy, or disks that have lied about syncs since then.
	Rollback = "rollback"
	// Restore is Rollback by the command for it, which mints a new origin.
	Restore = "restore"
	Wipe    = "wipe" // A's disks are lost; after For it starts on empty ones
	Join    = "join" // A is no member until then
	Gone    = "gone" // A leaves for ever, and its disks with it
)

// Heal makes all links whole.
const Heal = "heal"

func onLinks() []string { return []string{Partition, OneWay, Slow} }

func onNodes() []string {
	return []string{Crash, Pause, Drag, Jump, Trim, Rollback, Restore, Wipe, Join, Gone}
}

// The moments at which a Crash strikes: at once, or around the end of the next
// commit.
const (
	Now    = ""
	Before = "before" // just before the commit is durable
	Torn   = "torn"   // when some of the outputs in it are durable
	After  = "after"  // when it is durable and nothing has been sent or answered
	Amid   = "amid"   // when it is durable and half has been sent
)

func moments() []string { return []string{Now, Before, Torn, After, Amid} }

// Fault is one thing that goes wrong, or right.
type Fault struct {
	At   int64  `json:"at_ms"`
	For  int64  `json:"for_ms,omitempty"` // 0: until Heal or the calm
	Kind string `json:"kind"`
	A    string `json:"a,omitempty"`     // regions or nodes, with a plus between
	B    string `json:"b,omitempty"`     // the same, "" is everybody else
	By   int64  `json:"by_ms,omitempty"` // of Slow, Drag and Jump
	When string `json:"when,omitempty"`  // of Crash
}

func (f *Fault) onLinks() bool { return f.Kind == Partition || f.Kind == OneWay || f.Kind == Slow }

func (f *Fault) String() string {
	other := f.B
	if other == "" {
		other = "all others"
	}
	switch f.Kind {
	case Partition:
		return fmt.Sprintf("cut %s - %s", f.A, other)
	case OneWay:
		return fmt.Sprintf("cut %s -> %s", f.A, other)
	case Slow:
		return fmt.Sprintf("slow %s - %s by %d ms", f.A, other, f.By)
	case Drag:
		return fmt.Sprintf("drag %s by %d ms", f.A, f.By)
	case Jump:
		return fmt.Sprintf("the clock of %s jumps by %d ms", f.A, f.By)
	}
	return strings.TrimSpace(strings.Join([]string{f.Kind, f.A, f.When}, " "))
}

// fault lets the i-th fault of the plan begin.
func (w *world) fault(i int) {
	f := &w.plan.Faults[i]
	if w.calm {
		return
	}
	if f.Kind == Heal {
		w.tell(f.Kind, "", "%s", f)
		for k := range w.plan.Faults {
			if w.plan.Faults[k].onLinks() {
				w.end(k)
			}
		}
		return
	}
	w.active[i] = true
	if f.onLinks() {
		w.tell(f.Kind, "", "%s", f)
		w.bend(f, 1)
	} else {
		w.strike(f, i)
	}
	if w.active[i] && f.For > 0 {
		w.queue.push(event{at: w.now + f.For*1000, kind: evOver, n: uint64(i)})
	}
}

// strike hits nodes. A fault that leaves nothing to take back is over at once.
func (w *world) strike(f *Fault, i int) {
	hit := 0
	for _, k := range w.plan.among(f.A) {
		n := w.nodes[k]
		if n.member != (f.Kind == Join) && (n.up || f.Kind != Trim) {
			hit++
			w.tell(f.Kind, n.self.Node, "%s", f.of(n))
			w.hit(n, f, i)
		}
	}
	lasting := f.Kind != Trim && f.Kind != Join && f.Kind != Gone && (f.Kind != Jump || f.For > 0)
	w.active[i] = hit > 0 && lasting
}

// of returns f as it hits one node.
func (f *Fault) of(n *node) *Fault {
	one := *f
	one.A = string(n.self.Node)
	return &one
}

func (w *world) hit(n *node, f *Fault, i int) {
	switch f.Kind {
	case Crash:
		w.hold(n, i)
		if n.armed = f.When; f.When == Now {
			w.crash(n)
		}
	case Pause:
		w.hold(n, i)
		n.paused++
		w.reconsider(n)
	case Drag:
		w.hold(n, i)
		n.drag += f.By * 1000
	case Jump:
		w.hold(n, i)
		w.jump(n, f.By)
	case Trim:
		w.trim(n)
	case Rollback, Restore:
		w.hold(n, i)
		w.held[i][len(w.held[i])-1].image = n.image()
	case Wipe:
		w.hold(n, i)
		w.crash(n)
		w.swap(n, nil)
		w.mint(n)
	case Join:
		n.member = true
		w.mint(n)
		w.start(n)
	case Gone:
		w.crash(n)
		w.swap(n, nil)
		n.member = false
		w.relayout()
	}
}

// grip is a node in the hands of a fault.
type grip struct {
	n     *node
	image *image // of Rollback and Restore
}

// hold keeps a node in the hands of the i-th fault; while it is in those of a
// Crash or a Wipe, it does not start.
func (w *world) hold(n *node, i int) {
	w.held[i] = append(w.held[i], grip{n: n})
	if k := w.plan.Faults[i].Kind; k == Crash || k == Wipe {
		n.down++
	}
}

// lift ends the i-th fault at its own time, if it is in force. In the calm what
// has not been healed stays.
func (w *world) lift(i int) {
	if w.calm {
		return
	}
	if f := &w.plan.Faults[i]; w.active[i] && (f.onLinks() || f.Kind == Pause || f.Kind == Drag) {
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
	for _, g := range w.held[i] {
		w.release(g, f)
	}
	w.held[i] = nil
}

// release ends what a fault does to one node.
func (w *world) release(g grip, f *Fault) {
	n := g.n
	switch f.Kind {
	case Crash, Wipe:
		n.down--
		if n.armed == f.When {
			n.armed = Now
		}
		w.revive(n)
	case Pause:
		if n.paused--; n.paused == 0 {
			w.resume(n)
		}
	case Drag:
		n.drag -= f.By * 1000
	case Jump:
		w.jump(n, -f.By)
	case Rollback, Restore:
		w.relapse(n, g.image, f)
	}
}

// revive starts a member that nothing holds down.
func (w *world) revive(n *node) {
	if n.member && !n.up && n.down == 0 {
		w.tell("start", n.self.Node, "start %s", n.self.Node)
		w.start(n)
	}
}

// jump sets a clock by so many ms.
func (w *world) jump(n *node, by int64) {
	n.skew += by * 1000
	n.ahead = max(n.ahead, w.offset(n))
	if n.up && n.paused == 0 {
		w.wakeNow(n)
	}
}

// relapse lets a disk be what it was. An image of a disk that is gone, or was
// itself rolled back behind the image, means nothing any more.
func (w *world) relapse(n *node, m *image, f *Fault) {
	if !n.member || m == nil || m.disk != n.disk.id {
		return
	}
	w.tell(f.Kind, n.self.Node, "%s: the disk of %s is as it was at %d ms", f.Kind, n.self.Node, f.At)
	w.crash(n)
	w.swap(n, m)
	if f.Kind == Restore {
		w.mint(n)
	} else {
		w.suspect(n)
	}
	w.revive(n)
}

// bend puts a fault of links into force (1), or out of it (-1).
func (w *world) bend(f *Fault, by int32) {
	as, bs := w.plan.among(f.A), w.plan.among(f.B)
	if f.B == "" {
		bs = w.plan.others(as)
	}
	for _, a := range as {
		for _, b := range bs {
			x, y := w.nodes[a], w.nodes[b]
			if a == b {
				continue
			}
			w.bendLink(f, x.index, y.index, by)
			if f.Kind != OneWay {
				w.bendLink(f, y.index, x.index, by)
			}
			w.reconsiderPair(x, y)
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

// others returns the places of all nodes but some.
func (p *Plan) others(but []int) []int {
	var all []int
	skip := make([]bool, len(p.Nodes))
	for _, i := range but {
		skip[i] = true
	}
	for i := range p.Nodes {
		if !skip[i] {
			all = append(all, i)
		}
	}
	return all
}
