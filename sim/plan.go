// Package sim provides the simulator: the replication core that ships, driven
// for n nodes over a virtual network in virtual time by one goroutine.
//
// A run has two steps. First a scenario and a seed become a Plan: nodes, links,
// workload and every fault with its time, as data that can be read, kept and
// edited. Then Run carries the plan out. All chance is drawn by hashing the
// seed with what it is for (this link, that message on it), so that taking one
// fault out of a plan does not re-roll the rest. There is no wall clock, no
// float and no map order in a run: the same plan gives the same trace on every
// machine.
package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
	"github.com/atolledge/atoll/sim/dist"
)

// planVersion is the version of the Plan format.
const planVersion = 1

// Limits of a plan. They keep a plan of a stranger from filling the memory.
const (
	MaxNodes   = 256
	MaxClients = 4096
	MaxKeys    = 1 << 16
	MaxFaults  = 1 << 14
	MaxPhase   = 24 * time.Hour
	MaxRepro   = 16 << 20 // bytes of its file
)

// Plan is a run before it is run. Times are in virtual milliseconds.
type Plan struct {
	Version  int      `json:"version"`
	Scenario string   `json:"scenario"`
	Seed     uint64   `json:"seed"`
	Regions  []string `json:"regions"`
	Nodes    []Node   `json:"nodes"`
	// RTT is the round trip between regions, by their places in Regions. Within a
	// region it is localRTT.
	RTT [][]int64 `json:"rtt_ms"`
	// Overlay is who speaks to whom, by their places in Nodes; without it, all to
	// all.
	Overlay  [][2]int         `json:"overlay,omitempty"`
	Links    Links            `json:"links"`
	Delay    dist.Spec        `json:"delay,omitempty"`   // beyond half the round trip and the jitter
	Traffic  bool             `json:"traffic,omitempty"` // asks for Result.Traffic
	Workload Workload         `json:"workload"`
	Faults   []Fault          `json:"faults"`
	Chaos    int64            `json:"chaos_ms"`
	Settle   int64            `json:"settle_ms"`
	Chunk    int              `json:"chunk"`   // of the core's configuration
	Disk     int64            `json:"disk_ms"` // for a synced commit; 0: 0.3 ms
	Checks   []check.Property `json:"checks"`
}

// Node is one node of a plan.
type Node struct {
	ID   atoll.NodeID `json:"id"`      // its region's name, a slash and a number
	Skew int64        `json:"skew_ms"` // how far its clock is ahead
}

// Links is the quality of all links.
type Links struct {
	Jitter int64 `json:"jitter_ms"` // at most, on top of half the round trip
	// In parts per million: messages lost, sent twice and held up for three round
	// trips; answers to pulls that break off.
	Loss  int64 `json:"loss_ppm"`
	Dup   int64 `json:"dup_ppm"`
	Late  int64 `json:"late_ppm"`
	Break int64 `json:"break_ppm"`
}

// Workload is what clients do until the calm.
type Workload struct {
	Keyspace atoll.Keyspace `json:"keyspace"`
	Keys     int            `json:"keys"`
	Zipf     bool           `json:"zipf"` // the k-th key is used 1/k as often
	// Clients name the node that each of them writes to.
	Clients []atoll.NodeID `json:"clients"`
	Gap     int64          `json:"gap_ms"` // between two writes of a client, in the mean
	Mix     Mix            `json:"mix"`
}

// Mix says how often each operation is made, as weights.
type Mix struct {
	Put    int `json:"put" yaml:"put"`       // the whole document
	Patch  int `json:"patch" yaml:"patch"`   // one member, or its removal
	Inc    int `json:"inc" yaml:"inc"`       // a counter
	Add    int `json:"add" yaml:"add"`       // a member of a set
	Remove int `json:"remove" yaml:"remove"` // the same
	Delete int `json:"delete" yaml:"delete"` // the document
	Reset  int `json:"reset" yaml:"reset"`   // the counter
	// Grow adds a member to a set that nobody else adds.
	Grow int `json:"grow,omitempty" yaml:"grow"`
}

func (m Mix) weights() []int {
	return []int{m.Put, m.Patch, m.Inc, m.Add, m.Remove, m.Delete, m.Reset, m.Grow}
}

// The kinds of Fault.
const (
	Partition = "partition" // A and B do not hear each other
	OneWay    = "oneway"    // B does not hear A
	Slow      = "slow"      // messages between A and B take By longer
	Crash     = "crash"     // node A ends, and starts after For on what was durable
	Trim      = "trim"      // node A drops its index, as if a cap had been reached
	Heal      = "heal"      // all links are whole
)

// Fault is one thing that goes wrong, or right.
type Fault struct {
	At   int64  `json:"at_ms"`
	For  int64  `json:"for_ms,omitempty"` // 0: until Heal or the calm
	Kind string `json:"kind"`
	A    string `json:"a,omitempty"`     // a region or a node
	B    string `json:"b,omitempty"`     // the same, "" is everybody else
	By   int64  `json:"by_ms,omitempty"` // of Slow
}

func (f Fault) String() string {
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
	}
	return strings.TrimSpace(f.Kind + " " + f.A)
}

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
	}
	return nil
}

func (p *Plan) checkLinks() error {
	l := p.Links
	for _, v := range []int64{l.Loss, l.Dup, l.Late, l.Break} {
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
	}
	for _, c := range w.Clients {
		if p.node(c) < 0 {
			return bad("a client writes to %q, which is no node of the plan", c)
		}
	}
	return nil
}

func (p *Plan) checkFaults() error {
	for _, f := range p.Faults {
		if err := p.checkFault(f); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) checkFault(f Fault) error {
	if f.At < 0 || f.For < 0 || f.At > p.Chaos || f.For > MaxPhase.Milliseconds() {
		return bad("%s at %d ms for %d ms: want it within the chaos of %d ms", f, f.At, f.For, p.Chaos)
	}
	switch f.Kind {
	case Heal:
		return nil
	case Crash, Trim:
		if p.node(atoll.NodeID(f.A)) < 0 {
			return bad("%s: there is no node %q", f.Kind, f.A)
		}
		return nil
	case Partition, OneWay, Slow:
		if len(p.among(f.A)) == 0 || f.B != "" && len(p.among(f.B)) == 0 {
			return bad("%s: there is no such region or node", f)
		}
		if f.By < 0 || f.By > maxDelay || f.Kind == Slow && f.By == 0 {
			return bad("%s: want 1 to %d ms", f, maxDelay)
		}
		return nil
	}
	return bad("unknown fault %q", f.Kind).
		WithHint("faults are partition, oneway, slow, crash, trim and heal")
}

// region returns the place of a node's region in Regions, or -1.
func (p *Plan) region(n atoll.NodeID) int {
	return slices.Index(p.Regions, string(n.Region()))
}

// node returns the place of a node in Nodes, or -1.
func (p *Plan) node(id atoll.NodeID) int {
	return slices.IndexFunc(p.Nodes, func(n Node) bool { return n.ID == id })
}

// among returns the places of the nodes that a region or a node id names.
func (p *Plan) among(name string) (nodes []int) {
	for i, n := range p.Nodes {
		if string(n.ID) == name || string(n.ID.Region()) == name {
			nodes = append(nodes, i)
		}
	}
	return nodes
}
