package validate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/atolledge/atoll/sim"
)

// Limits of a sync study.
const (
	MaxEvents = 10_000 // of each node
	MaxKeys   = 100_000
)

// Sync is state- and delta-based synchronization of a CRDT over an overlay: each
// node changes it once a second and tells its neighbours once a second, at times
// of its own. Deltas are told with a number and acknowledged; each number counts
// as an element. It ends when all have all. Its figures, where PROTOCOL is
// state, delta, bp (back-propagation is avoided), rr (redundant state is
// removed) or bp+rr:
//
//	elements PROTOCOL       that crossed a link
//	sent PROTOCOL           elements, numbers and acknowledgements
//	copies PROTOCOL         elements for each that was made
//	PROTOCOL / PROTOCOL     what the one sent by what the other did
type Sync struct {
	// Data is gset (each event adds an element), gcounter (each adds to its node's
	// entry) or gmap (each writes to keys of its node's own).
	Data string `yaml:"data"`
	// Events of each node.
	Events int `yaml:"events"`
	// Keys of a gmap, spread evenly over the nodes.
	Keys int `yaml:"keys"`
	// Writes of a gmap's event, to different keys.
	Writes int `yaml:"writes"`
}

// protocols in the order of the paper.
func protocols() []string { return []string{"state", "delta", "bp", "rr", "bp+rr"} }

// syncStudy is a Sync made ready, with what was found for each protocol.
type syncStudy struct {
	*Sync
	overlay [][]int
	perNode int // keys of a gmap
	core    *coreRun
	found   map[string]counts
}

// counts is what a protocol came to.
type counts struct{ elements, numbers, made uint64 }

func (c counts) sent() uint64 { return c.elements + c.numbers }

// syncModel makes a sync, a scenario or both ready.
func (s *Study) syncModel() (model, error) {
	m := &syncStudy{Sync: s.Sync, overlay: s.Overlay, found: make(map[string]counts)}
	if s.Scenario != nil {
		core, err := newCoreRun(s.Scenario, s.Overlay)
		if err != nil {
			return nil, err
		}
		m.core = core
	}
	if s.Sync == nil {
		return m, nil
	}
	n := len(s.Overlay)
	if n < 2 || n > sim.MaxNodes {
		return nil, fmt.Errorf("overlay: %d nodes, want 2 to %d", n, sim.MaxNodes)
	}
	if err := connected(s.Overlay); err != nil {
		return nil, err
	}
	if s.Sync.Events < 1 || s.Sync.Events > MaxEvents {
		return nil, fmt.Errorf("sync.events: %d, want 1 to %d", s.Sync.Events, MaxEvents)
	}
	switch s.Sync.Data {
	case "gset", "gcounter":
		if s.Sync.Keys+s.Sync.Writes != 0 {
			return nil, fmt.Errorf("sync: keys and writes belong to a gmap")
		}
	case "gmap":
		m.perNode = s.Sync.Keys / n
		if s.Sync.Keys < n || s.Sync.Keys > MaxKeys || s.Sync.Writes < 1 || s.Sync.Writes > m.perNode {
			return nil, fmt.Errorf("sync: %d keys, %d written at a time; want %d to %d keys, "+
				"as many for each node as it writes", s.Sync.Keys, s.Sync.Writes, n, MaxKeys)
		}
	default:
		return nil, fmt.Errorf("sync.data: %q, want gset, gcounter or gmap", s.Sync.Data)
	}
	return m, nil
}

// connected refuses lists of neighbours that do not agree, or fall into parts.
func connected(overlay [][]int) error {
	seen := make([]bool, len(overlay))
	seen[0] = true
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, b := range overlay[queue[0]] {
			if b < 0 || b >= len(overlay) || b == queue[0] || !slices.Contains(overlay[b], queue[0]) {
				return fmt.Errorf("overlay[%d]: %d, want nodes from 0 to %d that name it too",
					queue[0], b, len(overlay)-1)
			}
			if !seen[b] {
				seen[b] = true
				queue = append(queue, b)
			}
		}
	}
	if i := slices.Index(seen, false); i >= 0 {
		return fmt.Errorf("overlay: no way leads from 0 to %d", i)
	}
	return nil
}

func (m *syncStudy) knows(figure string) error {
	if m.core != nil && m.core.knows(figure) {
		if strings.Contains(figure, "bp+rr") && m.Sync == nil {
			return fmt.Errorf("%q needs a sync beside the scenario", figure)
		}
		return nil
	}
	known := protocols()
	what, of, _ := strings.Cut(figure, " ")
	a, b, isRatio := strings.Cut(figure, " / ")
	switch {
	case m.Sync == nil:
	case isRatio && slices.Contains(known, a) && slices.Contains(known, b):
		return nil
	case slices.Contains([]string{"elements", "sent", "copies"}, what) && slices.Contains(known, of):
		return nil
	}
	return fmt.Errorf("%q; want elements, sent or copies of one of %s, or one / another; "+
		"of a scenario %s", figure, strings.Join(known, ", "), strings.Join(coreFigures(), ", "))
}

func (m *syncStudy) measure(ctx context.Context, figures []string) ([]value, error) {
	values := make([]value, len(figures))
	for i, f := range figures {
		var err error
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if values[i], err = m.one(ctx, f); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (m *syncStudy) one(ctx context.Context, figure string) (value, error) {
	if m.core != nil && m.core.knows(figure) {
		return m.core.measure(ctx, figure, m)
	}
	if a, b, ok := strings.Cut(figure, " / "); ok {
		return ratio(m.run(a).sent(), m.run(b).sent()), nil
	}
	what, protocol, _ := strings.Cut(figure, " ")
	c := m.run(protocol)
	switch what {
	case "elements":
		return value{micros: int64(c.elements) * micro}, nil
	case "sent":
		return value{micros: int64(c.sent()) * micro}, nil
	}
	return ratio(c.elements, c.made), nil
}

// element is one part of the state that cannot be split: its place and how far
// it has come. Greater versions take in the lesser.
type element struct {
	id      int32
	version int32
}

// group is a delta with whom it came from; itself, what a node did on its own.
type group struct {
	from     int
	elements []element
}

// syncNode is one replica.
type syncNode struct {
	state  []int32 // version by id, 0: not there
	buffer []group
}

// syncRun is one protocol under way.
type syncRun struct {
	*syncStudy
	protocol string
	bp, rr   bool
	dice     *dice
	nodes    []syncNode
	latest   []int32 // the state that all come to
	keys     []int   // of a gmap's node, in the order of the last shuffle
	best     []int32 // scratch: version by id of the delta being put together
	room     []element
	counts
}

// run returns what a protocol comes to, running it the first time.
func (m *syncStudy) run(protocol string) counts {
	c, known := m.found[protocol]
	if !known {
		size := len(m.overlay)
		switch m.Data {
		case "gset":
			size *= m.Events
		case "gmap":
			size *= m.perNode
		}
		r := &syncRun{syncStudy: m, protocol: protocol, dice: newDice(1),
			bp: strings.Contains(protocol, "bp"), rr: strings.Contains(protocol, "rr"),
			nodes: make([]syncNode, len(m.overlay)), latest: make([]int32, size),
			best: make([]int32, size), keys: make([]int, m.perNode)}
		for i := range r.nodes {
			r.nodes[i].state = make([]int32, size)
		}
		for i := range r.keys {
			r.keys[i] = i
		}
		r.seconds()
		c = r.counts
		m.found[protocol] = c
	}
	return c
}

// seconds lets all nodes change and tell, each at its own time of every second,
// until all have all.
func (r *syncRun) seconds() {
	type turn struct {
		at    uint64
		node  int
		tells bool
	}
	var turns []turn
	for i := range r.nodes {
		turns = append(turns, turn{r.dice.bits(), i, false}, turn{r.dice.bits(), i, true})
	}
	slices.SortFunc(turns, func(a, b turn) int {
		if a.at < b.at {
			return -1
		}
		return 1
	})
	for second := 0; second < r.Events || r.lacking(); second++ {
		for _, t := range turns {
			switch {
			case t.tells:
				r.tell(t.node)
			case second < r.Events:
				r.change(t.node, second)
			}
		}
	}
}

func (r *syncRun) lacking() bool {
	return slices.ContainsFunc(r.nodes, func(n syncNode) bool { return !slices.Equal(n.state, r.latest) })
}

// change lets a node do its n-th event.
func (r *syncRun) change(node, n int) {
	var made []element
	switch r.Data {
	case "gset":
		made = []element{{int32(node*r.Events + n), 1}}
	case "gcounter":
		made = []element{{int32(node), int32(n + 1)}}
	default:
		for i := range r.Writes {
			k := i + r.dice.below(len(r.keys)-i)
			r.keys[i], r.keys[k] = r.keys[k], r.keys[i]
			made = append(made, element{int32(node*r.perNode + r.keys[i]), int32(n + 1)})
		}
	}
	for _, e := range made {
		r.latest[e.id] = e.version
		r.nodes[node].state[e.id] = e.version
	}
	r.made += uint64(len(made))
	r.store(node, group{node, made})
}

func (r *syncRun) store(node int, g group) {
	if r.protocol != "state" {
		r.nodes[node].buffer = append(r.nodes[node].buffer, g)
	}
}

// tell sends to each neighbour what the protocol has for it.
func (r *syncRun) tell(node int) {
	whole := r.whole(node)
	for _, to := range r.overlay[node] {
		d := whole
		if r.protocol != "state" {
			d = r.delta(node, to)
		}
		if len(d) == 0 {
			continue
		}
		r.elements += uint64(len(d))
		if r.protocol != "state" {
			r.numbers += 2 // its own and the acknowledgement's
		}
		r.receive(to, group{node, d})
	}
	r.nodes[node].buffer = nil
}

// whole returns all of a node's state, where that is what the protocol sends. It
// is valid until the next call.
func (r *syncRun) whole(node int) []element {
	r.room = r.room[:0]
	for id, v := range r.nodes[node].state {
		if v > 0 && r.protocol == "state" {
			r.room = append(r.room, element{int32(id), v})
		}
	}
	return r.room
}

// delta puts together what node tells to: the join of what the buffer holds.
func (r *syncRun) delta(node, to int) []element {
	n, most := &r.nodes[node], 0
	for _, g := range n.buffer {
		most = max(most, len(g.elements))
	}
	d := make([]element, 0, most)
	for _, g := range n.buffer {
		if r.bp && g.from == to {
			continue
		}
		for _, e := range g.elements {
			if r.best[e.id] == 0 {
				d = append(d, e)
			}
			r.best[e.id] = max(r.best[e.id], e.version)
		}
	}
	for i := range d {
		d[i].version, r.best[d[i].id] = r.best[d[i].id], 0
	}
	return d
}

// receive joins what came, and keeps it for the neighbours: all of it if any was
// new, or with rr what was new.
func (r *syncRun) receive(node int, g group) {
	n := &r.nodes[node]
	var fresh []element
	for _, e := range g.elements {
		if e.version > n.state[e.id] {
			n.state[e.id] = e.version
			fresh = append(fresh, e)
		}
	}
	if len(fresh) == 0 {
		return
	}
	if r.rr {
		g.elements = fresh
	}
	r.store(node, g)
}
