package sim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
)

// Random returns the plan of a seed of the swarm: a topology, links, a workload
// and faults thrown for. Each kind of trouble is left out of about half of all
// plans, so that the others are seen without it (Groce and others, "Swarm
// Testing", 2012).
func Random(seed uint64) *Plan {
	d := chance(seed).draw(ofPlan, 0, 0, 0)
	p := &Plan{Version: planVersion, Scenario: "swarm", Seed: seed, Checks: check.Properties(),
		Chunk: 1 << d.throw(7), Disk: sometimes(&d, 100), Chaos: 5000 + d.throw(15000), Settle: 60_000}
	p.throwNodes(&d)
	p.throwLinks(&d)
	p.throwWork(&d)
	p.throwFaults(&d)
	p.throwMembers(&d)
	p.throwCore(&d)
	return p
}

func (p *Plan) throwNodes(d *dice) {
	nodes := 3 + d.throw(5)
	switch d.throw(20) {
	case 0:
		nodes = 2
	case 1:
		nodes = 8 + d.throw(5)
	}
	names := cityNames()
	for range min(1+d.throw(4), nodes) {
		k := d.throw(int64(len(names)))
		p.Regions = append(p.Regions, names[k])
		names = slices.Delete(names, int(k), int(k)+1)
	}
	slices.Sort(p.Regions)
	skewed := d.throw(2) == 0
	for i := range nodes {
		n := Node{ID: atoll.NodeID(fmt.Sprintf("%s/%d", p.Regions[i%int64(len(p.Regions))],
			1+i/int64(len(p.Regions))))}
		if skewed {
			n.Skew, n.Drift = d.throw(1000)-500, d.throw(2000)-1000
		}
		p.Nodes = append(p.Nodes, n)
	}
	p.distances()
}

// distances fills the round trips in; all regions are cities.
func (p *Plan) distances() {
	p.RTT = make([][]int64, len(p.Regions))
	for i, a := range p.Regions {
		for _, b := range p.Regions {
			rtt := int64(0)
			if a != b {
				rtt, _ = CityRTT(a, b) // both are cities
			}
			p.RTT[i] = append(p.RTT[i], rtt)
		}
	}
}

// sometimes throws for a number up to most, or 0 in half of all cases.
func sometimes(d *dice, most int64) int64 {
	if d.throw(2) == 0 {
		return 0
	}
	return 1 + d.throw(most)
}

func (p *Plan) throwLinks(d *dice) {
	p.Links = Links{
		Jitter: sometimes(d, 100), Loss: sometimes(d, 300_000), Dup: sometimes(d, 100_000),
		Late: sometimes(d, 100_000), Break: sometimes(d, 300_000), Burst: sometimes(d, 200_000),
		Replay: sometimes(d, 50_000), Corrupt: sometimes(d, 50_000),
	}
	if p.Wire = d.throw(2) == 0; p.Wire && d.throw(3) == 0 {
		p.Links.Rate = 16 + d.throw(1000)
	}
}

func (p *Plan) throwWork(d *dice) {
	w := &p.Workload
	w.Keyspace, w.Keys, w.Zipf = "_sim", int(1+d.throw(12)), d.throw(2) == 0
	if d.throw(3) == 0 {
		w.Keyspace, w.Keys = "sim", int(1+d.throw(200))
	}
	weight := func() int { return int(sometimes(d, 5)) }
	w.Mix = Mix{Put: 1 + weight(), Patch: weight(), Inc: weight(), Add: weight(),
		Remove: weight(), Delete: weight(), Reset: weight(), Read: weight()}
	w.Levels, w.Roam = sometimes(d, 200_000), sometimes(d, 500_000)
	clients := 1 + d.throw(8)
	for range clients {
		w.Clients = append(w.Clients, p.Nodes[d.throw(int64(len(p.Nodes)))].ID)
	}
	writes := 50 + d.throw(350) // about
	w.Gap = max(p.Chaos*clients/writes, 1)
}

func (p *Plan) throwFaults(d *dice) {
	weights := make([]int, len(kinds()))
	for i := range weights {
		weights[i] = int(sometimes(d, 4))
	}
	if slices.Max(weights) == 0 {
		return
	}
	last := 500 + d.throw(8000)
	for i := range 1 + d.throw(12) {
		at := chance(p.Seed).draw(ofFault, uint64(i), 0, 0)
		p.Faults = append(p.Faults, p.throwFault(&at, weights, last, 0, p.Chaos)...)
	}
	p.sortFaults()
}

// throwMembers lets a few nodes of some plans join late, at about the same time,
// and one of others leave for ever.
func (p *Plan) throwMembers(d *dice) {
	n := int64(len(p.Nodes))
	if d.throw(6) == 0 && n > 2 {
		at := d.throw(p.Chaos)
		for i := range 1 + d.throw(n-2) {
			p.Faults = append(p.Faults, Fault{Kind: Join, A: string(p.Nodes[n-1-i].ID),
				At: min(at+d.throw(500), p.Chaos)})
		}
	}
	if d.throw(8) == 0 && n > 2 {
		p.Faults = append(p.Faults, Fault{Kind: Gone, A: string(p.Nodes[0].ID), At: d.throw(p.Chaos)})
	}
	p.sortFaults()
}

// throwCore chooses more than half of the nodes in half of the plans.
func (p *Plan) throwCore(d *dice) {
	n := len(p.Nodes)
	if d.throw(2) == 0 || n < 3 {
		return
	}
	rest := slices.Clone(p.Nodes)
	for range n/2 + 1 {
		k := int(d.throw(int64(len(rest))))
		p.Core = append(p.Core, rest[k].ID)
		rest = slices.Delete(rest, k, k+1)
	}
	slices.Sort(p.Core)
}

// sortFaults puts faults in order of time.
func (p *Plan) sortFaults() {
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
}
