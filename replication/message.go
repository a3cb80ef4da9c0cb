package replication

import (
	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// Message is what one replica says to another. Package wire gives each its
// bytes. Every message may be lost, doubled, late or out of order.
type Message interface{ message() }

// Address names one partition of one keyspace.
type Address struct {
	Keyspace  atoll.Keyspace
	Partition int
}

// Delta carries one mutation. Relay asks the receiver to pass it on, to the
// other nodes of its region or along an overlay; Ack asks it to tell the writer when it is durable.
type Delta struct {
	Address
	Relay, Ack bool
	Delta      crdt.Delta
}

// Ack tells a writer that the run is durable here.
type Ack struct {
	Address
	Run crdt.Run
}

// Heads says with one hash per keyspace what the sender has seen. It travels as
// a datagram, so a long list is split over several.
type Heads struct {
	Heads []Head
	// Reply asks for the receiver's own heads; only heads sent in greeting do.
	Reply bool
	// Report asks for the receiver's heads where they are equal: where they differ
	// it says more by itself.
	Report bool
	At     int64 // when the sender had this, by its clock: milliseconds since 1970, 0: unknown
}

// Head is the hash of all partition clocks of a keyspace.
type Head struct {
	Keyspace atoll.Keyspace
	Hash     uint64
}

// Parts names the hash of each partition's clock: the answer to a Head that
// differs.
type Parts struct {
	Keyspace atoll.Keyspace
	Hashes   []uint64
	At       int64 // as in Heads
}

// Clocks carries whole partition clocks: the answer to Parts that differ. Reply
// asks for the receiver's clocks of the same partitions.
type Clocks struct {
	Keyspace atoll.Keyspace
	Clocks   []PartitionClock
	Reply    bool
	At       int64 // as in Heads
}

// PartitionClock is the clock of one partition.
type PartitionClock struct {
	Partition int
	Clock     crdt.Clock
}

// Marks greets a peer with the highest dots of its own that the sender holds.
// A peer that wrote less was rolled back or copied, and must not write. Origin is
// the one that they are of: by the time they arrive the peer may have another.
type Marks struct {
	Origin atoll.Origin
	Marks  []Mark
}

// Mark is the highest sequence of the receiver's origin in one partition.
type Mark struct {
	Address
	Seq uint64
}

// Vow says how far the sender is in forgetting an origin, see Parting.
type Vow struct {
	Origin atoll.Origin
	Layout uint64 // of the members and of the forgotten, as the sender knows them
	Phase  Parting
	Sum    uint64 // of all dots of Origin that the sender holds
	Clean  bool   // Closed: the sender has no document that names Origin
}

// Claim asks for rights to the bounded counter at Path, born under the dot Birth.
// Who has them gives what is needed, or what it has, by a Delta.
type Claim struct {
	Address
	Key   atoll.Key
	Path  crdt.Path
	Birth crdt.Dot
	Need  uint64
}

// Pull asks for everything that is not in Clock. It opens a stream on which the
// answer comes in order: Begin, Docs, End.
type Pull struct {
	Address
	Clock crdt.Clock
}

// Begin opens the answer to a Pull. Clock is the answering replica's, of the
// same instant as the documents. Full says that all documents follow rather
// than the changed ones; Busy that none do, since the replica is itself in the
// middle of a full pull.
type Begin struct {
	Clock      crdt.Clock
	Full, Busy bool
}

// Doc is one whole document in the answer to a Pull, with all of its dots that
// the asker misses (none in a full answer: there Begin.Clock has them).
type Doc struct {
	Key  atoll.Key
	Doc  crdt.Doc
	Runs []crdt.Run
}

// End says that the answer is complete.
type End struct{}

func (Delta) message()  {}
func (Ack) message()    {}
func (Heads) message()  {}
func (Parts) message()  {}
func (Clocks) message() {}
func (Marks) message()  {}
func (Vow) message()    {}
func (Claim) message()  {}
func (Pull) message()   {}
func (Begin) message()  {}
func (Doc) message()    {}
func (End) message()    {}
