package node

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// The system's own keyspaces: replicated documents like any other.
const (
	rosterSpace   = replication.Roster          // origin -> member; see note, too
	settingsSpace = atoll.Keyspace("_settings") // keyspace -> its settings
	drainSpace    = atoll.Keyspace("_drain")    // region -> since when it is drained
)

// member is a document of the roster.
type member struct {
	Origin    atoll.Origin `json:"-"`
	Node      atoll.NodeID `json:"node"`
	Region    atoll.Region `json:"region"`
	Lat       float64      `json:"lat"`
	Lon       float64      `json:"lon"`
	Peer      string       `json:"peer"`
	Addresses []string     `json:"addresses"`
	Left      bool         `json:"left"`
	Joined    time.Time    `json:"joined"`
}

// roster is what the node knows of the members, itself included.
type roster struct {
	sync.RWMutex
	members []member // by origin; those that left too
	drained map[atoll.Region]bool

	lapsed, forgotten map[atoll.Origin]note // replaced, never changed
}

// settings are those of the keyspaces.
type settings struct {
	sync.RWMutex
	spaces map[atoll.Keyspace]atoll.Settings
}

// document of _settings.
type settingsDoc struct {
	TTL       int64  `json:"ttl_ms"`
	Conflict  string `json:"conflict"`
	Cache     string `json:"cache"`
	Placement string `json:"placement"`
}

// loadSystem reads the system's keyspaces from the store.
func (n *Node) loadSystem() {
	n.loadRoster()
	n.loadSettings()
	n.loadDrains()
}

// systemDocs reads all documents of a system keyspace.
func (n *Node) systemDocs(ks atoll.Keyspace, f func(key atoll.Key, body []byte)) {
	v := n.store.Snapshot()
	defer v.Close()
	for key, b := range merge(v, atoll.Listing{Keyspace: ks}) {
		if d, err := document(b, true); err == nil {
			if body, _, visible := crdt.Render(&d); visible {
				f(key, body)
			}
		}
	}
}

func (n *Node) loadRoster() {
	n.roster.Lock() // first: of two loads the one that sees more must not end before the other
	defer n.roster.Unlock()
	var members []member
	n.roster.lapsed = make(map[atoll.Origin]note)
	n.roster.forgotten = make(map[atoll.Origin]note)
	n.systemDocs(rosterSpace, func(key atoll.Key, body []byte) {
		o, err := atoll.ParseOrigin(string(key))
		if err != nil {
			var x note
			if json.Unmarshal(body, &x) == nil {
				n.roster.loadNote(key, x)
			}
			return
		}
		m := member{Origin: o}
		if json.Unmarshal(body, &m) == nil && m.Node != "" {
			members = append(members, m)
		}
	})
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.Origin, b.Origin) })
	n.roster.members = members
}

func (n *Node) loadSettings() {
	n.settings.Lock()
	defer n.settings.Unlock()
	spaces := make(map[atoll.Keyspace]atoll.Settings)
	n.systemDocs(settingsSpace, func(key atoll.Key, body []byte) {
		var d settingsDoc
		if json.Unmarshal(body, &d) == nil {
			spaces[atoll.Keyspace(key)] = atoll.Settings{
				TTL: time.Duration(d.TTL) * time.Millisecond, Conflict: d.Conflict,
				Cache: d.Cache, Placement: d.Placement,
				Partitions: atoll.Keyspace(key).Partitions(),
			}
		}
	})
	n.settings.spaces = spaces
}

// loadDrains reports whether this node's region is drained and was not before.
func (n *Node) loadDrains() (now bool) {
	n.roster.Lock()
	defer n.roster.Unlock()
	drained := make(map[atoll.Region]bool)
	n.systemDocs(drainSpace, func(key atoll.Key, _ []byte) { drained[atoll.Region(key)] = true })
	own := n.cfg.Node.Region()
	now = drained[own] && !n.roster.drained[own]
	n.roster.drained = drained
	return now
}

// putSystem writes a document of a system keyspace.
func (n *Node) putSystem(ctx context.Context, ks atoll.Keyspace, key atoll.Key, v any) error {
	return n.putSystemAt(ctx, ks, key, v, atoll.Level{}, 0)
}

// putSystemAt waits for a level, too, for so long.
func (n *Node) putSystemAt(ctx context.Context, ks atoll.Keyspace, key atoll.Key, v any,
	level atoll.Level, timeout time.Duration,
) error {
	body, err := json.Marshal(v)
	if err != nil {
		return atoll.Errorf(atoll.Internal, "encode a system document").Because(err)
	}
	tree, err := crdt.Parse(body)
	if err != nil {
		return err
	}
	_, err = n.loop.call(ctx, mutation{Mutate: replication.Mutate{Keyspace: ks, Key: key,
		Level: level, Deadline: n.cfg.Clock().Add(timeout),
		Edit: func(e *crdt.Edit) error { return crdt.Put(e, tree) }}})
	return err
}

// membersNow returns those that have not left and are not forgotten.
func (n *Node) membersNow() []member {
	n.roster.RLock()
	defer n.roster.RUnlock()
	return slices.DeleteFunc(slices.Clone(n.roster.members), func(m member) bool {
		_, forgotten := n.roster.forgotten[m.Origin]
		return m.Left || forgotten
	})
}

// regionOf returns the region of an origin, "" when the roster does not know it.
func (n *Node) regionOf(o atoll.Origin) atoll.Region {
	n.roster.RLock()
	defer n.roster.RUnlock()
	i, found := slices.BinarySearchFunc(n.roster.members, o, func(m member, o atoll.Origin) int {
		return cmp.Compare(m.Origin, o)
	})
	if !found {
		return ""
	}
	return n.roster.members[i].Region
}

// peersKnown returns how many other nodes the roster and the configuration lead
// one to expect.
func (n *Node) peersKnown() int {
	known := len(n.cfg.Join)
	others := 0
	for _, m := range n.membersNow() {
		if m.Node != n.cfg.Node {
			others++
		}
	}
	return max(known, others)
}

// enroll writes this node into the roster, unless it stands there as it is.
func (n *Node) enroll(ctx context.Context) error {
	self := member{
		Origin: n.origin, Node: n.cfg.Node, Region: n.cfg.Node.Region(), Lat: n.cfg.Lat,
		Lon: n.cfg.Lon, Peer: n.cfg.Advertise, Addresses: n.cfg.Addresses,
	}
	if _, forgotten := n.notes(); forgotten[n.origin] != (note{}) {
		return errLeaving()
	}
	self.Joined = n.cfg.Clock().UTC().Truncate(time.Second)
	for _, m := range n.membersNow() {
		if m.Origin == n.origin {
			self.Joined = m.Joined
			a, _ := json.Marshal(m)
			b, _ := json.Marshal(self)
			if string(a) == string(b) {
				return nil
			}
		}
	}
	return n.putSystem(ctx, rosterSpace, atoll.Key(n.origin.String()), self)
}

// exists says whether there is a keyspace: it has settings, or documents came
// before them.
func (n *Node) exists(ks atoll.Keyspace) error {
	n.settings.RLock()
	_, ok := n.settings.spaces[ks]
	n.settings.RUnlock()
	if ok {
		return nil
	}
	if holds, err := n.holdsAny(ks); holds || err != nil {
		return err
	}
	return atoll.Errorf(atoll.UnknownKeyspace, "there is no keyspace %q", ks).
		WithHint("the first write makes a keyspace, or PUT /v1/keyspaces/" + string(ks))
}

// holdsAny reports whether a document of ks was ever here.
func (n *Node) holdsAny(ks atoll.Keyspace) (bool, error) {
	v := n.store.Snapshot()
	defer v.Close()
	holds := replication.Holds(v, ks) || replication.Holds(v, ks.Media())
	if err := v.Err(); err != nil {
		return false, n.readFailed(err)
	}
	return holds, nil
}

// writable returns the settings by which a keyspace is written. Its first
// document makes it, if that is allowed: nothing is written beside it, which
// could win over settings that are on their way here.
func (n *Node) writable(ks atoll.Keyspace) (atoll.Settings, error) {
	n.settings.RLock()
	s, ok := n.settings.spaces[ks]
	n.settings.RUnlock()
	if ok || !n.cfg.ExplicitKeyspaces {
		return s, nil
	}
	if holds, err := n.holdsAny(ks); holds || err != nil {
		return s, err
	}
	return s, atoll.Errorf(atoll.UnknownKeyspace, "there is no keyspace %q", ks).
		WithHint("keyspaces.create is explicit: make it with PUT /v1/keyspaces/" + string(ks))
}

// Settings returns the settings of a keyspace.
func (n *Node) Settings(_ context.Context, ks atoll.Keyspace) (atoll.Settings, error) {
	if err := n.exists(ks); err != nil {
		return atoll.Settings{}, err
	}
	n.settings.RLock()
	defer n.settings.RUnlock()
	s := n.settings.spaces[ks]
	s.Partitions = ks.Partitions()
	return s, nil
}

// Configure writes the settings of a keyspace, and makes it if need be.
func (n *Node) Configure(
	ctx context.Context, ks atoll.Keyspace, s atoll.Settings,
) (created bool, err error) {
	if err := n.begin(ctx); err != nil {
		return false, err
	}
	created = n.exists(ks) != nil
	err = n.putSystem(ctx, settingsSpace, atoll.Key(ks), settingsDoc{
		TTL: s.TTL.Milliseconds(), Conflict: s.Conflict, Cache: s.Cache, Placement: s.Placement,
	})
	if err == nil {
		n.loadSettings()
	}
	return created, err
}

// Drain takes a region out of DNS answers. It is refused when no healthy region
// would remain, unless forced.
func (n *Node) Drain(ctx context.Context, r atoll.Region, force bool) error {
	known, left := false, 0
	for _, v := range n.Cluster().Regions {
		if v.Name == r {
			known = true
		} else if v.State == atoll.StateUp {
			left++
		}
	}
	switch {
	case !known:
		return unknownRegion(r)
	case left == 0 && !force:
		return atoll.Errorf(atoll.PreconditionFailed,
			"no healthy region would remain if %q were drained", r).
			WithHint("bring another region up first, or force it with ?force=1")
	}
	since := map[string]string{"since": n.cfg.Clock().UTC().Format(time.RFC3339)}
	err := n.putSystem(ctx, drainSpace, atoll.Key(r), since)
	n.drainedHere()
	n.monitor.poke()
	return err
}

// Undrain puts a region back into DNS answers.
func (n *Node) Undrain(ctx context.Context, r atoll.Region) error {
	known := slices.ContainsFunc(n.Cluster().Regions,
		func(v atoll.RegionView) bool { return v.Name == r })
	if !known {
		return unknownRegion(r)
	}
	_, err := n.loop.call(ctx, mutation{deletes: true, Mutate: replication.Mutate{
		Keyspace: drainSpace, Key: atoll.Key(r),
		Edit: func(e *crdt.Edit) error { crdt.Delete(e); return nil },
	}})
	n.drainedHere()
	n.monitor.poke()
	return err
}

func unknownRegion(r atoll.Region) error {
	return atoll.Errorf(atoll.UnknownRegion, "there is no region %q", r).
		WithHint("atoll status lists the regions")
}
