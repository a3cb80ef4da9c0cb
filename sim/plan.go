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
	MaxNodes   = 1024
	MaxClients = 4096
	MaxKeys    = 1 << 16
	MaxFaults  = 1 << 14
	MaxPhase   = 24 * time.Hour
	MaxRepro   = 16 << 20 // bytes of its file
	maxDrift   = 10_000   // ppm: the worst quartz is a hundred times better
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
	Overlay  [][2]int  `json:"overlay,omitempty"`
	Links    Links     `json:"links"`
	Delay    dist.Spec `json:"delay,omitempty"`   // beyond half the round trip and the jitter
	Traffic  bool      `json:"traffic,omitempty"` // asks for Result.Traffic
	Workload Workload  `json:"workload"`
	Faults   []Fault   `json:"faults"`
	Chaos    int64     `json:"chaos_ms"`
	// Core is healed first, and has to agree while all else stays as broken as it
	// is when the chaos ends. Without one everything is healed at once.
	Core   []atoll.NodeID `json:"core,omitempty"`
	Settle int64          `json:"settle_ms"` // to agree within, the core and then all
	Chunk  int            `json:"chunk"`     // of the core's configuration
	Disk   int64          `json:"disk_ms"`   // for a synced commit; 0: 0.3 ms
	// Wire sends all messages through their bytes.
	Wire   bool             `json:"wire,omitempty"`
	Checks []check.Property `json:"checks"`
}

// Node is one node of a plan. Its clock shows the time, plus Skew, plus Drift of
// what has passed since the run began.
type Node struct {
	ID    atoll.NodeID `json:"id"`      // its region's name, a slash and a number
	Skew  int64        `json:"skew_ms"` // how far its clock is ahead
	Drift int64        `json:"drift_ppm,omitempty"`
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
	// The same: moments of burstTime in which a link loses nearly all; messages that
	// arrive again up to replayTime later; messages whose bytes are damaged, which
	// the receiving transport notices and drops.
	Burst   int64 `json:"burst_ppm,omitempty"`
	Replay  int64 `json:"replay_ppm,omitempty"`
	Corrupt int64 `json:"corrupt_ppm,omitempty"`
	// Rate is what a link carries between regions, in kilobit per second; 0 is no
	// limit. It needs Wire.
	Rate int64 `json:"rate_kbit,omitempty"`
}

// Workload is what clients do until the calm.
type Workload struct {
	Keyspace atoll.Keyspace `json:"keyspace"`
	Keys     int            `json:"keys"`
	Zipf     bool           `json:"zipf"` // the k-th key is used 1/k as often
	// Clients name the node that each of them writes to; nobody stands where one was
	// taken away, so that the others keep their places and their chances.
	Clients []atoll.NodeID `json:"clients"`
	Gap     int64          `json:"gap_ms"` // between two writes of a client, in the mean
	Mix     Mix            `json:"mix"`
	// In parts per million: writes that ask for a durability beyond this node's
	// disk; requests that go to any node, with the client's session token.
	Levels int64 `json:"levels_ppm,omitempty"`
	Roam   int64 `json:"roam_ppm,omitempty"`
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
	// Read looks at a document, never older than what the client has seen.
	Read int `json:"read,omitempty" yaml:"read"`
}

func (m Mix) weights() []int {
	return []int{m.Put, m.Patch, m.Inc, m.Add, m.Remove, m.Delete, m.Reset, m.Grow, m.Read}
}

// region returns the place of a node's region in Regions, or -1.
func (p *Plan) region(n atoll.NodeID) int {
	return slices.Index(p.Regions, string(n.Region()))
}

// node returns the place of a node in Nodes, or -1.
func (p *Plan) node(id atoll.NodeID) int {
	return slices.IndexFunc(p.Nodes, func(n Node) bool { return n.ID == id })
}

// among returns the places of the nodes that a region or a node id names, or
// several of them with a plus between.
func (p *Plan) among(names string) (nodes []int) {
	for name := range strings.SplitSeq(names, "+") {
		for i, n := range p.Nodes {
			if (string(n.ID) == name || string(n.ID.Region()) == name) && !slices.Contains(nodes, i) {
				nodes = append(nodes, i)
			}
		}
	}
	return nodes
}
