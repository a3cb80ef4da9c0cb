// Package health provides the judgement of which regions are up: probes and
// votes go in, verdicts come out. It is pure; time is an argument and all
// sending is the caller's.
//
// Each node probes one node of each other region every second. Three misses in
// a row turn its opinion on that region to down, five good replies turn it back
// up. Nodes cast their opinions as votes, and a region is down when the majority
// of the voting regions says so. A region counts itself by its own readiness.
//
// A region that dies is out of every view within 5 s: at most one interval until
// the first probe that misses, two more probes, one interval until the third is
// given up, and the votes' way. Loss is another matter. Probes over a stream that
// repairs loss are rarely missed, but if 20 % of the probes and votes vanish for an
// hour, a healthy region is called down 20 times by one voter, 3 times by two, 6 by
// three and 2 by five, for 3 minutes, 13, 29 and 6 s in all; at 5 % and two voters
// never. TestLoss measures that.
package health

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// Config says who is judging, and the rules. A zero rule is its default; all
// nodes of a cluster should have the same.
type Config struct {
	Self atoll.NodeID

	Interval time.Duration // between probes of a region, and until one is given up; 1 s
	Misses   int           // in a row to go down; 3
	Good     int           // in a row to come up; 5
	Voters   int           // regions that vote on one region, nearest first; 5
	Fresh    time.Duration // a vote counts while it is younger; 3 s
	Retry    time.Duration // until a node that missed is probed again; 10 s
}

// Region is what the roster says of one region.
type Region struct {
	Name     atoll.Region
	Lat, Lon float64 // degrees, north and east positive
	Nodes    []atoll.NodeID
}

// Probe is a question to one node, to be answered by a Reply with its Seq.
type Probe struct {
	Region atoll.Region
	Node   atoll.NodeID
	Seq    uint64 // unique in this tracker, from 1
}

// Reply is the outcome of a probe. One that never comes need not be reported:
// the tracker gives up by itself.
type Reply struct {
	Probe Probe
	OK    bool // the node answered
	Ready bool // and said that its region is ready for users
}

// Vote is one opinion, as it travels.
type Vote struct {
	About atoll.Region
	Up    bool
}

// Verdict is the judgement on one region.
type Verdict struct {
	Region atoll.Region
	State  string       // atoll.StateUp, StateDown, or StateStarting without any evidence yet
	Since  time.Time    // of State
	Votes  []atoll.Vote // that counted, nearest voter first; none on the own region
}

// Output is what a Tick asks of its caller.
type Output struct {
	Probes   []Probe   // to send now, at most one a region
	Cast     []Vote    // to send to every node now; none when not due
	Verdicts []Verdict // all regions, by name; the caller's to keep
	Changed  []Verdict // those whose State is new
	Wake     time.Time // call Tick again then, or after an Observe or Vote that says so
}

// Tracker judges for one node. It is not safe for concurrent use.
type Tracker struct {
	cfg     Config
	ready   bool
	seq     uint64
	next    time.Time // of the next round of probes
	fresh   bool      // an opinion changed that has not been cast
	regions []*region // by name
	ballots map[atoll.NodeID]ballot
}

// region is one region and what this node holds of it.
type region struct {
	Region
	opinion
	voters []*region // all others, nearest first
	state  string
	since  time.Time
}

// New returns a tracker that knows no region yet.
func New(c Config) *Tracker {
	c.Interval = cmp.Or(c.Interval, time.Second)
	c.Misses = cmp.Or(c.Misses, 3)
	c.Good = cmp.Or(c.Good, 5)
	c.Voters = cmp.Or(c.Voters, 5)
	c.Fresh = cmp.Or(c.Fresh, 3*time.Second)
	c.Retry = cmp.Or(c.Retry, 10*time.Second)
	return &Tracker{cfg: c, ballots: map[atoll.NodeID]ballot{}}
}

// SetRegions takes in the roster, the own region included. What is known of the
// regions that stay is kept, all else is forgotten.
func (t *Tracker) SetRegions(roster []Region) {
	old := t.regions
	t.regions = nil
	for _, r := range roster {
		r.Nodes = slices.Sorted(slices.Values(r.Nodes))
		n := &region{state: atoll.StateStarting, opinion: opinion{turn: t.offset(r.Name)}}
		i := slices.IndexFunc(old, func(o *region) bool { return o.Name == r.Name })
		if i >= 0 {
			n = old[i]
		}
		n.Region = r
		n.forget(r.Nodes)
		t.regions = append(t.regions, n)
	}
	slices.SortFunc(t.regions, func(a, b *region) int { return cmp.Compare(a.Name, b.Name) })
	for _, r := range t.regions {
		r.voters = t.nearest(r)
	}
	for id := range t.ballots {
		if r := t.region(id.Region()); r == nil || !slices.Contains(r.Nodes, id) {
			delete(t.ballots, id)
		}
	}
}

// SetReady says whether the own region is ready for users, as far as this node
// knows.
func (t *Tracker) SetReady(ready bool) { t.ready = ready }

// Observe takes in the outcome of a probe. It reports whether the own opinion
// changed: then Tick has votes to cast. Late and unasked replies are ignored.
func (t *Tracker) Observe(now time.Time, r Reply) bool {
	to := t.region(r.Probe.Region)
	if to == nil || to.pending.Seq != r.Probe.Seq || r.Probe.Seq == 0 {
		return false
	}
	return t.conclude(now, to, r.OK, r.OK && r.Ready)
}

// Tick gives up overdue probes, starts a round of new ones when it is time, and
// judges.
func (t *Tracker) Tick(now time.Time) Output {
	var out Output
	for _, r := range t.regions {
		if r.pending.Seq != 0 && now.Sub(r.asked) >= t.cfg.Interval {
			t.conclude(now, r, false, false)
		}
	}
	due := !now.Before(t.next)
	if due {
		out.Probes = t.round(now)
		t.next = now.Add(t.cfg.Interval)
	}
	if due || t.fresh {
		out.Cast = t.cast()
		t.fresh = false
	}
	for _, r := range t.regions {
		v, changed := t.judge(now, r)
		out.Verdicts = append(out.Verdicts, v)
		if changed {
			out.Changed = append(out.Changed, v)
		}
	}
	out.Wake = t.next
	return out
}

// round asks one node of each other region that has one.
func (t *Tracker) round(now time.Time) []Probe {
	var probes []Probe
	for _, r := range t.others() {
		if len(r.Nodes) == 0 || r.pending.Seq != 0 {
			continue
		}
		t.seq++
		r.pending = Probe{Region: r.Name, Node: r.choose(now, r.Nodes, t.cfg.Retry), Seq: t.seq}
		r.asked = now
		probes = append(probes, r.pending)
	}
	return probes
}

// conclude closes the pending probe of r. A node that answers is no suspect,
// even when its region is not ready.
func (t *Tracker) conclude(now time.Time, r *region, answered, good bool) bool {
	r.mark(now, r.pending.Node, answered)
	r.pending = Probe{}
	changed := r.count(good, t.cfg.Misses, t.cfg.Good)
	t.fresh = t.fresh || changed
	return changed
}

// others returns all regions but the own.
func (t *Tracker) others() []*region {
	return slices.DeleteFunc(slices.Clone(t.regions), func(r *region) bool {
		return r.Name == t.cfg.Self.Region()
	})
}

func (t *Tracker) region(name atoll.Region) *region {
	i, ok := slices.BinarySearchFunc(t.regions, name, func(r *region, n atoll.Region) int {
		return cmp.Compare(r.Name, n)
	})
	if !ok {
		return nil
	}
	return t.regions[i]
}

// offset is where this node begins its rotation, so that the nodes of a region
// do not all probe the same one.
func (t *Tracker) offset(name atoll.Region) int {
	h := fnv.New32a()
	h.Write([]byte(string(t.cfg.Self) + " " + string(name)))
	return int(h.Sum32() & 0xffff)
}
