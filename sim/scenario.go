package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
	"github.com/atolledge/atoll/sim/dist"
)

// Scenario is what a scenario file says, in YAML with strict keys. Durations are
// Go durations of whole milliseconds.
type Scenario struct {
	// Version of this format: 1.
	Version int `yaml:"version"`
	// Name of the scenario: letters, digits and hyphens.
	Name string `yaml:"name"`
	// Description is a sentence that sim list shows.
	Description string   `yaml:"description"`
	Topology    Topology `yaml:"topology"`
	Links       LinkSpec `yaml:"links"`
	Workload    WorkSpec `yaml:"workload"`
	Faults      Faults   `yaml:"faults"`
	Phases      Phases   `yaml:"phases"`
	// Checks are the properties to hold; without any, all of them.
	Checks []check.Property `yaml:"checks"`
}

// Topology says which nodes there are and how far apart.
type Topology struct {
	// Regions and how many nodes each has, such as {tokyo: 2}.
	Regions map[string]int `yaml:"regions"`
	// RTT is the round trip between two regions in ms, such as
	// {frankfurt-tokyo: 229}. Pairs that are not named have to be built-in cities.
	RTT map[string]int64 `yaml:"rtt"`
	// Overlay lists the neighbours of each node by their places, from 0, among all
	// in order of region and number: [[1], [0, 2], [1]] is a line of three. Nodes
	// speak to their neighbours only. Without it, all speak to all.
	Overlay [][]int `yaml:"overlay"`
	// Skew is how far clocks may be off at most, ahead or behind.
	Skew Span `yaml:"skew"`
	// Drift is how much faster or slower clocks may run, in parts per million.
	Drift int64 `yaml:"drift"`
	// Disk is what a synced commit takes; without it, 0.3 ms.
	Disk Span `yaml:"disk"`
}

// LinkSpec is the quality of all links. Parts are per cent, such as 0.5%.
type LinkSpec struct {
	Jitter Span   `yaml:"jitter"` // at most
	Loss   string `yaml:"loss"`   // of messages
	Dup    string `yaml:"dup"`    // of messages: these arrive twice
	Late   string `yaml:"late"`   // of messages: these are overtaken
	Break  string `yaml:"break"`  // of answers to pulls: these break off
	// Burst is the part of the time in which nearly all is lost.
	Burst string `yaml:"burst"`
	// Replay is the part of the messages that come again up to half a minute later.
	Replay string `yaml:"replay"`
	// Corrupt is the part whose bytes are damaged, and so dropped.
	Corrupt string `yaml:"corrupt"`
	// Delay is a distribution of what a message takes beyond half the round trip
	// (0.5 ms within a region) and the jitter.
	Delay dist.Spec `yaml:"delay"`
	// Traffic counts what crosses the links: copies of changes, and bytes.
	Traffic bool `yaml:"traffic"`
	// Rate is what a link between regions carries, in kilobit per second.
	Rate int64 `yaml:"rate"`
}

// WorkSpec is what clients do.
type WorkSpec struct {
	// Clients per region; they take its nodes in turn.
	Clients int `yaml:"clients"`
	// Rate is writes per second of each client, in the mean.
	Rate int64 `yaml:"rate"`
	// Mix says how often each operation is made, as weights.
	Mix Mix `yaml:"mix"`
	// Keys is how many documents there are.
	Keys int `yaml:"keys"`
	// Zipf makes the k-th key 1/k as popular as the first.
	Zipf bool `yaml:"zipf"`
	// Partitions is 64, or 1 to have all documents in one.
	Partitions int `yaml:"partitions"`
	// Levels is the part of the writes that ask for a durability beyond one disk.
	Levels string `yaml:"levels"`
	// Roam is the part of the requests that go to any node, with a session token.
	Roam string `yaml:"roam"`
}

// Faults are a list with times and a random process; either may be missing.
type Faults struct {
	Timed  []TimedFault `yaml:"timed"`
	Random Process      `yaml:"random"`
}

// TimedFault is one fault at its time.
type TimedFault struct {
	At Span `yaml:"at"`
	// Do is the kind of a Fault, or a shape: flap, bridge, swizzle, rolling.
	Do string `yaml:"do"`
	// Between are the one or two regions or nodes of a partition, oneway, slow or
	// flap; one alone is meant against all others.
	Between []string `yaml:"between"`
	// Node, or region, that the other kinds strike.
	Node string `yaml:"node"`
	// By is what slow and drag add, and how far a clock jumps.
	By Span `yaml:"by"`
	// When is the moment of a crash: now, before, torn, after or amid a commit.
	When string `yaml:"when"`
	// For is how long it lasts; without it, until the next heal or the calm.
	For Span `yaml:"for"`
}

// Process throws for a fault in each interval.
type Process struct {
	Every Span `yaml:"every"`
	// Last is how long a fault lasts in the mean.
	Last Span `yaml:"last"`
	// Kinds are weights by what TimedFault.Do names, without heal.
	Kinds map[string]int `yaml:"kinds"`
}

// Phases say how long a run takes.
type Phases struct {
	// Chaos is when clients write and faults happen.
	Chaos Span `yaml:"chaos"`
	// Core are the nodes and regions that are healed first, and have to agree while
	// all else stays broken; without any, everything is healed at once.
	Core []string `yaml:"core"`
	// Settle is within what the replicas have to agree after that, the core and then
	// all.
	Settle Span `yaml:"settle"`
}

// Plan makes the plan of a seed. Errors are *atoll.Error values.
func (s *Scenario) Plan(seed uint64) (*Plan, error) {
	p := &Plan{Version: planVersion, Scenario: s.Name, Seed: seed, Chunk: 64,
		Chaos: s.Phases.Chaos.ms(), Settle: s.Phases.Settle.ms(),
		Disk: s.Topology.Disk.ms(), Checks: s.Checks}
	if len(p.Checks) == 0 {
		p.Checks = check.Properties()
	}
	for _, step := range []func(*Plan) error{s.topology, s.links, s.workload, s.faults} {
		if err := step(p); err != nil {
			return nil, err
		}
	}
	for _, i := range p.among(strings.Join(s.Phases.Core, "+")) {
		p.Core = append(p.Core, p.Nodes[i].ID)
	}
	p.sortFaults()
	return p, p.Check()
}

func (s *Scenario) topology(p *Plan) error {
	if len(s.Topology.Regions) == 0 {
		return bad("topology.regions is empty").WithHint("such as regions: {tokyo: 2, london: 1}")
	}
	p.Regions = slices.Sorted(maps.Keys(s.Topology.Regions))
	skew, nodes := s.Topology.Skew.ms(), 0
	if skew < 0 || skew > maxDelay {
		return bad("topology.skew: %d ms, want 0 to %d", skew, maxDelay)
	}
	drift := s.Topology.Drift
	if drift < 0 || drift > maxDrift {
		return bad("topology.drift: %d ppm, want 0 to %d", drift, maxDrift)
	}
	for _, r := range p.Regions {
		n := s.Topology.Regions[r]
		if nodes += max(n, 0); n < 1 || nodes > MaxNodes {
			return bad("topology.regions.%s: %d nodes, want 1, and %d in all", r, n, MaxNodes)
		}
		for i := range n {
			d := chance(p.Seed).draw(ofPlan, uint64(len(p.Nodes)), 1, 0)
			p.Nodes = append(p.Nodes, Node{ID: atoll.NodeID(fmt.Sprintf("%s/%d", r, i+1)),
				Skew: d.throw(2*skew+1) - skew, Drift: d.throw(2*drift+1) - drift})
		}
	}
	if err := s.overlay(p); err != nil {
		return err
	}
	return s.distances(p)
}

// overlay makes links of lists of neighbours, which have to agree.
func (s *Scenario) overlay(p *Plan) error {
	lists := s.Topology.Overlay
	if len(lists) != 0 && len(lists) != len(p.Nodes) {
		return bad("topology.overlay has %d lists for %d nodes", len(lists), len(p.Nodes))
	}
	for a, list := range lists {
		for i, b := range list {
			switch {
			case b < 0 || b >= len(lists) || b == a || slices.Contains(list[:i], b):
				return bad("topology.overlay[%d]: %d, want other nodes' places, each once", a, b).
					WithHint(fmt.Sprintf("places are 0 to %d, in order of region and number", len(lists)-1))
			case !slices.Contains(lists[b], a):
				return bad("topology.overlay: %d names %d, which does not name it", a, b).
					WithHint("links are two-way: both ends list each other")
			case a < b:
				p.Overlay = append(p.Overlay, [2]int{a, b})
			}
		}
	}
	return nil
}

func (s *Scenario) distances(p *Plan) error {
	named := 0
	p.RTT = make([][]int64, len(p.Regions))
	for i := range p.RTT {
		p.RTT[i] = make([]int64, len(p.Regions))
	}
	for i, a := range p.Regions {
		for j, b := range p.Regions[:i] {
			rtt, ok := s.Topology.RTT[a+"-"+b]
			if !ok {
				rtt, ok = s.Topology.RTT[b+"-"+a]
			}
			if ok {
				named++
			} else {
				var err error
				if rtt, err = CityRTT(a, b); err != nil {
					return err
				}
			}
			p.RTT[i][j], p.RTT[j][i] = rtt, rtt
		}
	}
	if named != len(s.Topology.RTT) {
		return bad("topology.rtt names a pair of regions that are not there, or one twice").
			WithHint(fmt.Sprintf("write REGION-REGION; regions are %v", p.Regions))
	}
	return nil
}

func (s *Scenario) links(p *Plan) (err error) {
	l := &s.Links
	p.Delay, p.Traffic = l.Delay, l.Traffic
	p.Links.Jitter, p.Links.Rate, p.Wire = l.Jitter.ms(), l.Rate, l.Rate > 0
	for _, part := range []struct {
		key, text string
		to        *int64
	}{
		{"loss", l.Loss, &p.Links.Loss}, {"dup", l.Dup, &p.Links.Dup},
		{"late", l.Late, &p.Links.Late}, {"break", l.Break, &p.Links.Break},
		{"burst", l.Burst, &p.Links.Burst}, {"replay", l.Replay, &p.Links.Replay},
		{"corrupt", l.Corrupt, &p.Links.Corrupt},
	} {
		if *part.to, err = percent(part.text); err != nil {
			return bad("links.%s: %v", part.key, err)
		}
	}
	return nil
}

// percent reads "0.5%" as parts per million; "" is 0.
func percent(text string) (int64, error) {
	whole, frac, _ := strings.Cut(strings.TrimSuffix(text, "%"), ".")
	if text == "" {
		return 0, nil
	}
	if whole+frac == "" || len(frac) > 4 || !strings.HasSuffix(text, "%") {
		return 0, fmt.Errorf("%q, want per cent such as 0.5%%, with up to four decimals", text)
	}
	ppm, err := strconv.ParseUint(whole+frac+strings.Repeat("0", 4-len(frac)), 10, 32)
	if err != nil || ppm > million {
		return 0, fmt.Errorf("%q, want 0%% to 100%%", text)
	}
	return int64(ppm), nil
}

func (s *Scenario) workload(p *Plan) error {
	w := &s.Workload
	p.Workload = Workload{Keyspace: "sim", Keys: w.Keys, Zipf: w.Zipf, Mix: w.Mix}
	switch w.Partitions {
	case 1:
		p.Workload.Keyspace = "_sim"
	case 0, 64:
	default:
		return bad("workload.partitions: %d, want 64 or 1", w.Partitions)
	}
	if w.Clients < 0 || w.Clients*len(p.Regions) > MaxClients {
		return bad("workload.clients: %d in each region, want 0 to %d in all", w.Clients, MaxClients)
	}
	if w.Clients > 0 && (w.Rate < 1 || w.Rate > 1000) {
		return bad("workload.rate: %d writes per second, want 1 to 1000", w.Rate)
	}
	for _, r := range p.Regions {
		for i := range w.Clients {
			id := fmt.Sprintf("%s/%d", r, 1+i%s.Topology.Regions[r])
			p.Workload.Clients = append(p.Workload.Clients, atoll.NodeID(id))
		}
	}
	p.Workload.Gap = 1000 / cmp.Or(w.Rate, 1)
	var err error
	if p.Workload.Levels, err = percent(w.Levels); err != nil {
		return bad("workload.levels: %v", err)
	}
	if p.Workload.Roam, err = percent(w.Roam); err != nil {
		return bad("workload.roam: %v", err)
	}
	return nil
}

func (s *Scenario) faults(p *Plan) error {
	for i, t := range s.Faults.Timed {
		f := Fault{At: t.At.ms(), For: t.For.ms(), Kind: t.Do, A: t.Node, By: t.By.ms(), When: t.When}
		links := f.onLinks() || t.Do == Flap
		by := t.Do == Slow || t.Do == Drag || t.Do == Jump
		if len(t.Between) > 2 || links != (len(t.Between) > 0) || by != (t.By != 0) {
			return bad("faults.timed[%d]: %s does not go with the keys beside it", i, t.Do).WithHint(
				"partition, oneway, slow and flap take between: [A, B] or [A]; slow, drag and jump " +
					"take by:; all others but heal and swizzle take node:")
		}
		if links {
			f.A, f.B = t.Between[0], append(t.Between, "")[1]
		}
		d := chance(p.Seed).draw(ofFault, uint64(i), 1, 0)
		for _, f := range p.shape(f, &d) {
			if err := p.checkFault(&f); err != nil {
				return bad("faults.timed[%d]: %v", i, err)
			}
			p.Faults = append(p.Faults, f)
		}
	}
	return s.Faults.Random.faults(p)
}

// faults throws for one fault in each interval of the chaos.
func (r *Process) faults(p *Plan) error {
	if r.Every == 0 && len(r.Kinds) == 0 {
		return nil
	}
	every, last := r.Every.ms(), r.Last.ms()
	if every < 1 || last < 1 || p.Chaos/every > MaxFaults {
		return bad("faults.random: every and last have to be at least 1ms, with up to %d faults",
			MaxFaults)
	}
	weights, sum := make([]int, len(kinds())), 0
	for kind, weight := range r.Kinds {
		i := slices.Index(kinds(), kind)
		if i < 0 || weight < 0 || weight > million {
			return bad("faults.random.kinds: %s: %d", kind, weight).
				WithHint(fmt.Sprintf("kinds are %v, each with a weight", kinds()))
		}
		weights[i] = weight
		sum += weight
	}
	if sum == 0 {
		return bad("faults.random.kinds is empty").WithHint("such as kinds: {crash: 1}")
	}
	for n := range p.Chaos / every {
		d := chance(p.Seed).draw(ofFault, uint64(n), 0, 0)
		p.Faults = append(p.Faults, p.throwFault(&d, weights, last, n*every, (n+1)*every)...)
	}
	return nil
}
