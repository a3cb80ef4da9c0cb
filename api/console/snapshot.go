package console

import (
	"maps"
	"slices"
	"time"

	"github.com/atolledge/atoll"
)

// snapshot is the cluster at one moment, as far as this process knows it.
type snapshot struct {
	At      string       `json:"at"` // RFC 3339, UTC, milliseconds
	Cluster string       `json:"cluster"`
	Node    atoll.NodeID `json:"node"`  // that made it
	Ready   []string     `json:"ready"` // why Node should get no traffic
	Regions []region     `json:"regions"`
	Links   []link       `json:"links"` // each pair of regions once

	Keyspaces []keyspace `json:"keyspaces"` // of users, sorted
	Conflicts feed       `json:"conflicts"`
	Dev       *Dev       `json:"dev,omitempty"`
}

// keyspace says whether its documents are worth fetching again.
type keyspace struct {
	Name    atoll.Keyspace `json:"name"`
	Changes uint64         `json:"changes"` // of all regions, here by now; only grows
}

type region struct {
	Name      atoll.Region `json:"name"`
	Lat       float64      `json:"lat"`
	Lon       float64      `json:"lon"`
	State     string       `json:"state"`
	Votes     []vote       `json:"votes"`
	Addresses []string     `json:"addresses"`
	Nodes     []node       `json:"nodes"`
}

type vote struct {
	Voter atoll.Region `json:"voter"`
	Up    bool         `json:"up"`
	AgeMS int64        `json:"age_ms"`
}

// node is one node. Rates is null for one that this process cannot look into.
type node struct {
	ID    atoll.NodeID `json:"id"`
	State string       `json:"state"`
	Dots  uint64       `json:"dots"` // that others know and it has not reported
	LagMS int64        `json:"lag_ms"`
	Rates *rates       `json:"rates"`
}

// feed says whether the feed of conflicts is worth fetching again.
type feed struct {
	Count  int    `json:"count"`
	Newest string `json:"newest"` // "" when there is none
}

const stamp = "2006-01-02T15:04:05.000Z"

// look makes a snapshot. The caller holds c.mu.
func (c *Console) look(now time.Time) snapshot {
	own := c.cfg.Node.Cluster()
	var sources []Source
	if c.cfg.Sources != nil {
		sources = c.cfg.Sources()
	}
	views := []atoll.Cluster{own}
	for _, s := range sources {
		if s.View != nil && s.Node != own.Self {
			views = append(views, s.View())
		}
	}
	s := snapshot{
		At: now.UTC().Format(stamp), Cluster: own.Name, Node: own.Self,
		Ready: append([]string{}, c.cfg.Node.Ready()...), Regions: []region{},
		Links: links(own, views), Keyspaces: keyspaces(own), Conflicts: c.conflicts(),
	}
	speed := c.meter.read(now, sources)
	for _, r := range own.Regions {
		if r.Name == own.Self.Region() {
			r.Votes = votesOn(r.Name, views) // nobody tells a region what is voted on it
		}
		s.Regions = append(s.Regions, newRegion(r, views, speed))
	}
	if c.cfg.Dev != nil {
		s.Dev = new(c.cfg.Dev())
	}
	return s
}

func newRegion(r atoll.RegionView, views []atoll.Cluster, speed map[atoll.NodeID]rates) region {
	out := region{
		Name: r.Name, Lat: r.Lat, Lon: r.Lon, State: r.State, Votes: []vote{},
		Addresses: append([]string{}, r.Addresses...), Nodes: []node{},
	}
	for _, v := range r.Votes {
		out.Votes = append(out.Votes, vote{v.Voter, v.Up, v.Age.Milliseconds()})
	}
	for _, n := range r.Nodes {
		worst := n.Behind
		for _, v := range views {
			if seen, ok := find(v, n.ID); ok && seen.Behind.Dots > worst.Dots {
				worst = seen.Behind
			}
		}
		x := node{ID: n.ID, State: n.State, Dots: worst.Dots, LagMS: worst.Lag.Milliseconds()}
		if s, ok := speed[n.ID]; ok {
			x.Rates = &s
		}
		out.Nodes = append(out.Nodes, x)
	}
	return out
}

// votesOn returns the votes on a region by the first view that has any.
func votesOn(name atoll.Region, views []atoll.Cluster) []atoll.Vote {
	for _, v := range views {
		for _, r := range v.Regions {
			if r.Name == name && len(r.Votes) > 0 {
				return r.Votes
			}
		}
	}
	return nil
}

// find returns a node as a view has it.
func find(c atoll.Cluster, id atoll.NodeID) (atoll.NodeView, bool) {
	for _, r := range c.Regions {
		if r.Name != id.Region() {
			continue
		}
		for _, n := range r.Nodes {
			if n.ID == id {
				return n, true
			}
		}
	}
	return atoll.NodeView{}, false
}

// keyspaces are those that have documents, or had.
func keyspaces(c atoll.Cluster) []keyspace {
	out := []keyspace{}
	for _, name := range slices.Sorted(maps.Keys(c.Clocks)) {
		if name.System() {
			continue
		}
		ks := keyspace{Name: name}
		for _, dots := range c.Clocks[name] {
			ks.Changes += dots
		}
		out = append(out, ks)
	}
	return out
}

func (c *Console) conflicts() feed {
	all := c.cfg.Node.Conflicts()
	f := feed{Count: len(all)}
	if len(all) > 0 {
		f.Newest = all[0].At.UTC().Format(time.RFC3339Nano)
	}
	return f
}
