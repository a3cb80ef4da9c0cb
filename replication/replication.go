// Package replication provides the core that keeps replicas alike: a pure state
// machine that is fed inputs and answers with effects.
//
// A Core is one node's replica of every partition. Its owner calls Step with
// what happened and the time, and carries out the Output in this order: Writes
// first, all of one Output in one durable transaction, and only then Sends,
// Replies and Pulls. Several outputs may share a transaction. Nothing else is
// promised to the core: messages may be lost, doubled, late and out of order.
// After a crash a new Core is made on what was durable.
//
// One invariant holds in each partition at every step: documents and ghosts are
// a function of the clock.
package replication

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Limits and intervals of a Core.
const (
	MaxKeyspaces = 1024    // more are refused, so a peer cannot fill the memory
	MaxDelta     = 6 << 20 // bytes of one mutation: it travels in one frame
	MaxPulls     = 32      // pull sessions that a node has open at once
	MaxDocRuns   = 4096    // of missing dots of one document: more are answered by a full pull
	MaxPullDots  = 1 << 20 // more missing dots are answered by a full pull
	MaxWaits     = 1 << 16 // calls that wait for peers or for a clock

	// MaxStep is how many bytes of writes, with writeCost for each, a Wake fills
	// at most, but for the document that passes it. The writes of a step are
	// durable together, and a store's transaction has limits in bytes and writes.
	MaxStep   = 1 << 20
	writeCost = 64

	HeadsEvery = time.Second
	HeadsTo    = 3 // peers per round
	// PullGrace is how long a missing dot may still be on its way to us by
	// itself before we ask for it.
	PullGrace = 200 * time.Millisecond
)

// Member is a writer: a node under the origin it writes as.
type Member struct {
	Origin atoll.Origin
	Node   atoll.NodeID
	Region atoll.Region
}

// Config makes a Core.
type Config struct {
	Self Member
	View View
	Rand *rand.Rand // for choices that need no secrecy; the core owns it
	// Chunk is how many documents or index entries one Step moves at most.
	Chunk int
	// Keep is how many index entries of a partition stay, at least, when every
	// member has passed them: a watcher that was away finds in them what it missed.
	Keep int
}

// Core is one node's replicas. It is not safe for concurrent use.
type Core struct {
	self      Member
	view      View
	rand      *rand.Rand
	hlc       hlc.Clock
	chunk     int
	keep      int
	now       time.Time
	out       Output
	spaces    []*space       // sorted by name
	peers     []Member       // connected, sorted by node
	members   []Member       // of the layout, self included, sorted by origin
	lapsed    []atoll.Origin // those of members for whom nobody waits, sorted
	writers   []atoll.Origin // of the layout, sorted; nil: any
	layoutSum uint64         // of members and of the forgotten
	listed    bool           // the layout has this node
	enrolled  bool           // and a peer has seen what this node wrote about itself
	gone      []*gone        // sorted by origin
	sweep     sweeper
	sweeping  bool       // the last Wake did
	overlay   *overlay   // of the layout, nil without links
	sessions  []*session // open pulls, in order of id
	lastID    SessionID
	lagging   []*partition // known to miss something, each once
	touched   []*partition // changed in this step, for those who wait
	staging   []*partition // in the middle of a full pull
	staged    bool         // the last Wake moved them
	untidy    []*partition // that this round has not looked at yet
	held      []*partition // in which something waits for reports, and others no more
	room      int          // of MaxStep, in this step
	waits     deadlines
	parked    []*parked // changes that wait for rights, the first to come first
	yields    yielding
	nextHeads time.Time
	nextAsk   time.Time // not before it members are asked for reports
	fenced    bool
	expelled  bool
	stats     Stats
	refusals  []Refusal // sorted by node, then by reason
}

// Stats counts what the core did since it was made.
type Stats struct {
	Mutations, Applied, Duplicates uint64
	Pulls, FullPulls, PulledDocs   uint64
	Relayed                        uint64
	StagedDocs, StagedBytes        uint64 // of full pulls, as they came in
	Mended                         uint64 // documents joined because scrubbing found them to differ
}

// space is one keyspace.
type space struct {
	name  atoll.Keyspace
	parts []*partition
}

// Input is what happened. The concrete types are listed with their handlers.
type Input interface{ input() }

// Output is what to do about it; see the package comment for the order.
type Output struct {
	Writes  []Write
	Sends   []Send
	Replies []Reply
	Pulls   []OpenPull
	Changes []Change
	// Advanced names the partitions whose clocks grew: all that Changes told of a
	// partition is in the clock of its documents from then on.
	Advanced []Address
	Dropped  []Dropped
	Wake     time.Time // call Step with Wake not later than this
	Fenced   string    // why this origin must not write any more, once
	// Expelled says, once, that the cluster has forgotten this origin. The process
	// must end, and the next begin with nothing of this one's state.
	Expelled bool
}

// Send is a message for a connected peer. An Eager one may be dropped under
// back-pressure; pulls repair that.
type Send struct {
	To      atoll.NodeID
	Message Message
	Eager   bool
}

// Reply answers the Mutate or Await with the same ID. On a mutation Dots is the
// run that was written, or empty when nothing needed to change; Doc is the
// document afterwards. Err is an *atoll.Error; after a missed deadline the
// write stays.
type Reply struct {
	ID      uint64
	Err     error
	Dots    crdt.Run
	Doc     crdt.Doc
	Reached []atoll.Region
}

// Change tells that a document changed. Conflict says that the change met a
// concurrent one and both left something, DeleteEdit that one of the two was a
// deletion.
type Change struct {
	Address
	Key                  atoll.Key
	Doc                  crdt.Doc // afterwards; read only
	Remote               bool
	Conflict, DeleteEdit bool
}

// Dropped tells that the index entry of a run is gone since its document is and
// every member has passed it: whoever watches may want to remember it for longer.
type Dropped struct {
	Address
	Run crdt.Run
	Key atoll.Key
}

// Wake lets the core do what is due.
type Wake struct{}

// Receive is a message from a connected peer.
type Receive struct {
	From    atoll.NodeID
	Message Message
}

// PeerUp says that messages to a peer can be sent from now on; PeerDown that
// they cannot.
type (
	PeerUp   struct{ Member }
	PeerDown struct{ Node atoll.NodeID }
)

// Layout says who the members are. It comes from the replicated roster and may
// be late or incomplete.
//
// Links, if there are any, are all the connections there will ever be: the owner
// brings up the neighbours of this member as peers and nobody else, and news go
// along trees of links. Only neighbours are heard: levels count no others, and
// index entries stay until all members are neighbours.
type Layout struct {
	Members []Member
	Links   []Link
	// Lapsed are members that have been away for long. Nothing waits for what they
	// report; they come back by a full pull.
	Lapsed []atoll.Origin
	// Forgotten are origins that an operator has taken out for good, see Parting.
	Forgotten []atoll.Origin
	// Writers are all origins that the roster names, also those that have left:
	// what others claim to have written is taken in the roster only, until it names
	// them. Nil where there is no roster.
	Writers []atoll.Origin
}

func (Wake) input()       {}
func (Receive) input()    {}
func (PeerUp) input()     {}
func (PeerDown) input()   {}
func (Layout) input()     {}
func (Mutate) input()     {}
func (Await) input()      {}
func (PullEvent) input()  {}
func (PullFailed) input() {}

// New makes a core on what View holds. The first Step must be a Wake.
func New(cfg Config, now time.Time) *Core {
	c := &Core{self: cfg.Self, view: cfg.View, rand: cfg.Rand, chunk: cfg.Chunk,
		keep: cfg.Keep, now: now, nextHeads: now}
	c.members = []Member{cfg.Self}
	c.recover()
	return c
}

// Step takes one input in. The Output is the caller's.
func (c *Core) Step(now time.Time, in Input) Output {
	c.now, c.out, c.room = now, Output{}, MaxStep
	switch in := in.(type) {
	case Wake:
		c.wake()
	case Receive:
		c.receive(in.From, in.Message)
	case PeerUp:
		c.peerUp(in.Member)
	case PeerDown:
		c.peerDown(in.Node)
	case Layout:
		c.layout(in)
	case Mutate:
		c.mutate(in)
	case Await:
		c.await(in)
	case PullEvent:
		c.pullEvent(in)
	case PullFailed:
		c.pullFailed(in.Session)
	case Cut:
		c.cutRun(in)
	case Yield:
		c.yield(in)
	case Mend:
		c.mend(in)
	}
	c.settle()
	c.out.Wake = c.nextWake()
	return c.out
}

func (c *Core) receive(from atoll.NodeID, m Message) {
	i := c.peer(from)
	if i < 0 {
		return // gone in the meantime
	}
	switch m := m.(type) {
	case Delta:
		c.apply(c.peers[i], m)
	case Ack:
		c.acked(c.peers[i], m)
	case Heads:
		c.heads(c.peers[i], m)
	case Parts:
		c.parts(c.peers[i], m)
	case Clocks:
		c.clocks(c.peers[i], m)
	case Marks:
		c.marks(m)
	case Vow:
		c.heardVow(c.peers[i], m)
	case Claim:
		c.claimed(c.peers[i], m)
	}
}

func (c *Core) acked(from Member, m Ack) {
	p := c.find(m.Address)
	switch {
	case p == nil:
	case m.Run.Origin == c.self.Origin && !p.clock.HasRun(m.Run):
		c.fence() // it holds what a copy of this node wrote
	default:
		p.report(from.Origin).AddRun(m.Run)
		c.touch(p)
		c.ripen(p)
	}
}

// peer returns the index of a connected peer, or -1.
func (c *Core) peer(n atoll.NodeID) int {
	i, found := slices.BinarySearchFunc(c.peers, n, func(m Member, n atoll.NodeID) int {
		return cmp.Compare(m.Node, n)
	})
	if !found {
		return -1
	}
	return i
}

func (c *Core) peerUp(m Member) {
	c.peerDown(m.Node)
	if c.forgotten(m.Origin) != nil {
		c.dismiss(m)
		return
	}
	i, _ := slices.BinarySearchFunc(c.peers, m.Node, func(m Member, n atoll.NodeID) int {
		return cmp.Compare(m.Node, n)
	})
	c.peers = slices.Insert(c.peers, i, m)
	c.greet(m)
}

func (c *Core) peerDown(n atoll.NodeID) {
	if i := c.peer(n); i >= 0 {
		c.peers = slices.Delete(c.peers, i, i+1)
	}
}

func (c *Core) layout(in Layout) {
	c.members = slices.DeleteFunc(slices.Clone(in.Members), func(m Member) bool {
		return slices.Contains(in.Forgotten, m.Origin)
	})
	c.lapsed = slices.Sorted(slices.Values(in.Lapsed))
	if writers := slices.Sorted(slices.Values(in.Writers)); !slices.Equal(writers, c.writers) {
		c.writers = writers
		for _, q := range c.peers { // what they said of those was not believed
			c.sendHeads(q.Node, true)
		}
	}
	c.listed = slices.ContainsFunc(in.Members, func(m Member) bool {
		return m.Origin == c.self.Origin
	})
	if !slices.ContainsFunc(c.members, func(m Member) bool { return m.Origin == c.self.Origin }) {
		c.members = append(c.members, c.self)
	}
	slices.SortFunc(c.members, func(a, b Member) int { return cmp.Compare(a.Origin, b.Origin) })
	c.overlay = newOverlay(c.self.Origin, in.Links)
	forgotten := slices.Sorted(slices.Values(in.Forgotten))
	if sum := layoutSum(c.members, forgotten); sum != c.layoutSum {
		c.layoutSum = sum
		for _, g := range c.gone {
			if g.phase == Gathered {
				g.phase = Promised // by whom, has to be asked anew
			}
		}
	}
	c.forget(forgotten)
}

// layoutSum tells layouts apart: by who is a member and who is forgotten.
func layoutSum(members []Member, forgotten []atoll.Origin) uint64 {
	var b []byte
	for _, m := range members {
		b = binary.BigEndian.AppendUint64(b, uint64(m.Origin))
	}
	b = binary.BigEndian.AppendUint64(b, 0)
	for _, o := range forgotten {
		b = binary.BigEndian.AppendUint64(b, uint64(o))
	}
	return xxhash.Sum64(b)
}

// awaited reports whether the members wait for what o reports.
func (c *Core) awaited(o atoll.Origin) bool {
	_, lapsed := slices.BinarySearch(c.lapsed, o)
	return !lapsed
}

// answers reports whether o takes in, or has taken in, all that concerns it: a
// member that has not lapsed, or an origin that is closed.
func (c *Core) answers(o atoll.Origin) bool {
	_, found := slices.BinarySearchFunc(c.members, o, func(m Member, o atoll.Origin) int {
		return cmp.Compare(m.Origin, o)
	})
	return found && (c.awaited(o) || plant.Bug == plant.LapsedCounts) || c.settled(o)
}

// elected reports whether this member is the one that tidies up. Any choice is
// safe, also two.
func (c *Core) elected() bool {
	for _, m := range c.members {
		if c.awaited(m.Origin) {
			return m.Origin == c.self.Origin
		}
	}
	return true
}

// mayPull reports whether this node may take p from others. A new one takes the
// roster first: what it holds before the members know of it, they would not wait
// for when they forget an origin.
func (c *Core) mayPull(p *partition) bool {
	if c.enrolled || p.Keyspace == Roster {
		return true
	}
	if !c.listed {
		return false
	}
	i, found := c.place(Roster)
	if !found {
		c.enrolled = true
		return true
	}
	roster := c.spaces[i].parts[0]
	own := crdt.ClockOf(roster.clock.Of(c.self.Origin)...)
	for _, q := range c.peers {
		c.enrolled = c.enrolled || roster.report(q.Origin).Covers(own)
	}
	return c.enrolled
}

// send queues a message; eager ones may be dropped on the way.
func (c *Core) send(to atoll.NodeID, m Message) {
	c.out.Sends = append(c.out.Sends, Send{To: to, Message: m})
}

// PartitionOf returns the partition of a key.
func PartitionOf(ks atoll.Keyspace, key atoll.Key) int {
	return int(xxhash.Sum64String(string(key)) % uint64(ks.Partitions()))
}

// space returns a keyspace, making it if need be; nil when there are too many
// or the name cannot be one.
func (c *Core) space(ks atoll.Keyspace) *space {
	i, found := c.place(ks)
	if found {
		return c.spaces[i]
	}
	name := strings.TrimPrefix(string(ks), "_")
	if _, err := atoll.ParseKeyspace(name); err != nil {
		return nil
	}
	if len(c.spaces) >= MaxKeyspaces {
		c.spaces = slices.DeleteFunc(c.spaces, (*space).idle)
		if len(c.spaces) >= MaxKeyspaces {
			return nil
		}
		i, _ = c.place(ks)
	}
	s := &space{name: ks, parts: make([]*partition, ks.Partitions())}
	for n := range s.parts {
		s.parts[n] = &partition{Address: Address{ks, n}}
	}
	c.spaces = slices.Insert(c.spaces, i, s)
	return s
}

// place returns where ks stands among the keyspaces, or would.
func (c *Core) place(ks atoll.Keyspace) (int, bool) {
	return slices.BinarySearchFunc(c.spaces, ks, func(s *space, ks atoll.Keyspace) int {
		return cmp.Compare(s.name, ks)
	})
}

// idle reports whether s is a mere name: tokens and peers may have asked for
// what was never written, and that must not keep others from writing.
func (s *space) idle() bool {
	return !slices.ContainsFunc(s.parts, func(p *partition) bool {
		return !p.clock.Empty() || p.stage != nil || p.pull != nil || len(p.waits) > 0 ||
			!p.missing.IsZero()
	})
}

// find returns a partition, nil when there is none of that address.
func (c *Core) find(a Address) *partition {
	s := c.space(a.Keyspace)
	if s == nil || a.Partition < 0 || a.Partition >= len(s.parts) {
		return nil
	}
	return s.parts[a.Partition]
}

// Keyspaces returns the names of the keyspaces that hold anything, in order.
func (c *Core) Keyspaces() []atoll.Keyspace {
	var names []atoll.Keyspace
	for _, s := range c.spaces {
		if slices.ContainsFunc(s.parts, func(p *partition) bool { return !p.clock.Empty() }) {
			names = append(names, s.name)
		}
	}
	return names
}

// Clock returns the clock of a partition.
func (c *Core) Clock(a Address) crdt.Clock {
	if p := c.find(a); p != nil {
		return p.clock.Clone()
	}
	return crdt.Clock{}
}

// Max returns the highest sequence of an origin that is here, 0 if there is none.
func (c *Core) Max(a Address, o atoll.Origin) uint64 {
	if p := c.find(a); p != nil {
		return p.clock.Max(o)
	}
	return 0
}

// Stats returns what the core did since it was made.
func (c *Core) Stats() Stats { return c.stats }

// Fenced reports whether this origin may not write any more.
func (c *Core) Fenced() bool { return c.fenced }

// Self returns the member that this core writes as.
func (c *Core) Self() Member { return c.self }
