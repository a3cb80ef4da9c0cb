// Package atoll is the vocabulary of Atoll: the nouns that every other package
// speaks in, and the kinds of error that reach a user. It does no IO and holds
// no state.
//
// A cluster is a name and a certificate authority. It is made of regions; a
// region is made of nodes; a node is one process with one data directory. A
// keyspace is a named set of documents, cut into partitions by key; every node
// writes to its own replica and all replicas agree in the end.
package atoll

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of the nouns, in bytes unless said otherwise.
const (
	MaxKey      = 512 // a document key after percent-decoding
	MaxKeyspace = 63  // a keyspace name
	MaxRegion   = 63  // a region name: it is also a DNS label
)

// NodeID names a node for people and in certificates: "washington/1".
type NodeID string

// Region names a region; it is also a DNS label: "washington".
type Region string

// Region returns the region that a node id names: all before the last slash.
func (n NodeID) Region() Region {
	if i := strings.LastIndexByte(string(n), '/'); i >= 0 {
		return Region(n[:i])
	}
	return Region(n)
}

// Origin is the name of a writer inside clocks. It is minted at random with a
// data directory and never reused; zero is no origin.
type Origin uint64

// String returns the 16 hex digits by which people and store keys name o.
func (o Origin) String() string { return fmt.Sprintf("%016x", uint64(o)) }

// ParseOrigin reads what String writes.
func ParseOrigin(s string) (Origin, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, Errorf(BadRequest, "origin %q: want 16 hex digits", s)
	}
	return Origin(n), nil
}

// Keyspace names a set of documents that share settings. Names that begin with
// "_" are the system's own.
type Keyspace string

// System reports whether k belongs to Atoll itself rather than to a user.
func (k Keyspace) System() bool { return strings.HasPrefix(string(k), "_") }

// Partitions returns the number of partitions of k: fixed when a keyspace is
// made, 1 for the system's own and 64 for all others, those of media included.
func (k Keyspace) Partitions() int {
	if k.System() && !strings.HasPrefix(string(k), mediaPrefix) {
		return 1
	}
	return 64
}

// ParseKeyspace checks a user's keyspace name against [a-z][a-z0-9-]{0,62}.
func ParseKeyspace(s string) (Keyspace, error) {
	ok := len(s) > 0 && len(s) <= MaxKeyspace && s[0] >= 'a' && s[0] <= 'z'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return "", Errorf(BadRequest, "keyspace name %q", s).
			WithHint("a keyspace name is [a-z][a-z0-9-]{0,62}").WithLimit("keyspace name bytes", MaxKeyspace)
	}
	return Keyspace(s), nil
}

// Key names a document inside a keyspace: 1 to MaxKey bytes of UTF-8 without NUL.
type Key string

// ParseKey checks a decoded key. Keys whose first segment begins with "_" are
// kept for calls such as _export.
func ParseKey(s string) (Key, error) {
	switch {
	case s == "":
		return "", Errorf(BadKey, "the key is empty")
	case len(s) > MaxKey:
		return "", Errorf(KeyTooLong, "the key has %d bytes", len(s)).WithLimit("key bytes", MaxKey)
	case !utf8.ValidString(s):
		return "", Errorf(BadKey, "the key is not valid UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return "", Errorf(BadKey, "the key contains a NUL byte")
	case s[0] == '_':
		return "", Errorf(BadKey, "the key's first segment begins with \"_\"").
			WithHint("names that begin with \"_\" are kept for calls such as _export")
	}
	return Key(s), nil
}

// Token is a session token as a client carries it: opaque outside the node.
type Token string

// MaxToken is the length limit of a Token in bytes.
const MaxToken = 2048

// Document is one document as a reader sees it.
type Document struct {
	Key       Key
	Body      []byte     // JSON, object keys in byte order
	ETag      string     // digest of its dots, without quotes
	Conflicts []Conflict // cells that hold more than the shown value
	Session   Token      // covers what this read saw; empty in listings
	Node      NodeID     // that answered, if it was not the one asked; empty in listings
}

// Conflict is one cell whose concurrent values did not all win.
type Conflict struct {
	Path   string  // JSON Pointer (RFC 6901), "" for the document
	Kind   string  // "register", "kind-clash", "delete-edit"
	Values []Value // winner first
}

// Value is one of the concurrent values of a cell.
type Value struct {
	JSON   []byte
	Origin Origin
	Region Region // empty when the roster does not know the origin
	Time   time.Time
	Winner bool
}

// Conflicted is one entry of the feed of recent concurrent writes.
type Conflicted struct {
	Keyspace Keyspace
	Key      Key
	At       time.Time // when this node saw it
	Conflict
}

// Change says how the body of a Write changes the document.
type Change uint8

// The ways to change a document.
const (
	Put    Change = iota // Body is the whole document
	Merge                // Body is a merge patch, RFC 7396
	Ops                  // Body is {"ops":[{"op":"inc",…},…]}
	Delete               // no body
)

// Level says whose disks must hold a write before it is acknowledged.
// The zero Level is this node's own disk.
type Level struct {
	Region  bool // every live node of the own region
	Regions int  // at least one node in this many regions, the own included
	All     bool // every member
}

// ParseLevel reads local, region, regions:N or all.
func ParseLevel(s string) (Level, error) {
	switch {
	case s == "" || s == "local":
		return Level{}, nil
	case s == "region":
		return Level{Region: true}, nil
	case s == "all":
		return Level{All: true}, nil
	case strings.HasPrefix(s, "regions:"):
		if n, err := strconv.Atoi(s[len("regions:"):]); err == nil && n >= 1 {
			return Level{Regions: n}, nil
		}
	}
	return Level{}, Errorf(BadRequest, "durability %q", s).
		WithHint("use local, region, regions:N (N counts the own region) or all")
}

// Read asks for one document.
type Read struct {
	Keyspace Keyspace
	Key      Key
	Session  Token // what the reader must not miss
	Trace    Trace // of the request that asks
}

// Write asks for one change to one document. A nil IfMatch is no condition;
// an entry "*" matches any document that exists.
type Write struct {
	Keyspace    Keyspace
	Key         Key
	Change      Change
	Body        []byte
	IfMatch     []string
	IfNoneMatch []string
	TTL         time.Duration // 0: the keyspace's own
	Level       Level
	Timeout     time.Duration // for Level; 0: 5 s
	Session     Token
}

// Written answers a Write that is durable here.
type Written struct {
	Existed bool // there was a visible document before
	ETag    string
	Session Token
}

// Listing asks for a page of documents in byte order of their keys.
type Listing struct {
	Keyspace Keyspace
	Prefix   string
	After    Key // exclusive; "" for the beginning
	Limit    int // 1..MaxPage
	Session  Token
	Trace    Trace // of the request that asks
}

// MaxPage is the most documents that one Listing returns.
const MaxPage = 1000

// Page is a run of documents in byte order of their keys.
type Page struct {
	Items   []Document
	Next    Key    // pass as After for the next page; "" at the end
	Session Token  // covers what the page showed, and what it did not
	Node    NodeID // that answered, if it was not the one asked
}

// Settings are a keyspace's own. Partitions is fixed.
type Settings struct {
	TTL        time.Duration // default time to live of a write; 0: none
	Conflict   string        // "" or "add-wins": an edit survives a concurrent delete; or DeleteWins
	Cache      string        // reserved for the edge cache
	Placement  string        // "" or "everywhere"
	Partitions int
}

// DeleteWins is the setting of keyspaces in which nothing survives a concurrent
// delete. It counts for the deletes of a node from when the node has heard of it;
// what was deleted before stays as it was.
const DeleteWins = "delete-wins"

// Cluster is what one node knows of the cluster, as a snapshot.
type Cluster struct {
	Name    string
	Self    NodeID
	Regions []RegionView                   // in order of name
	Clocks  map[Keyspace]map[Origin]uint64 // dots seen here; read only
	Scrub   Scrub

	Forgetting []Forgetting // origins that are being forgotten
	CatchingUp CatchingUp
	Refused    []Refused // by node, then by reason
}

// Scrub is what a node found in comparing its replica with others.
type Scrub struct {
	Partitions  uint64 // compared since the node started
	Differences uint64 // ranges of documents that were not the same; each is a bug
}

// Forgetting says how far the cluster is in forgetting an origin.
type Forgetting struct {
	Origin  Origin
	Node    NodeID
	Phase   string   // promised, gathered, closed or pruned, at this node
	Waiting []NodeID // who has not come as far, as far as is known
	Done    bool     // nothing of it is left anywhere
}

// CatchingUp says how far this node is in taking whole partitions in. Partitions
// is 0 when there is nothing to take.
type CatchingUp struct {
	Partitions       int    // that are left
	Sources          int    // nodes that they come from
	Documents, Bytes uint64 // taken in since the process began
}

// Refused counts messages of a node that could not be true and were not used.
type Refused struct {
	Node   NodeID
	Reason string
	Count  uint64
}

// The states of a region and of a node.
const (
	StateUp       = "up"
	StateDown     = "down"
	StateDrained  = "drained"
	StateStarting = "starting"
	StateLeft     = "left"
	StateLapsed   = "lapsed"
)

// RegionView is one region as this node sees it. Healthy regions are up and
// not drained.
type RegionView struct {
	Name      Region
	Lat, Lon  float64 // degrees, north and east positive
	State     string
	Votes     []Vote
	Addresses []string // public IP addresses of its nodes, sorted
	Nodes     []NodeView
}

// Vote is one region's opinion on another.
type Vote struct {
	Voter Region
	Up    bool
	Age   time.Duration
}

// NodeView is one node as this node sees it.
type NodeView struct {
	ID     NodeID
	Origin Origin
	Addr   string // peer address, host:port
	Joined time.Time
	State  string
	RTT    time.Duration // 0 when not measured
	Offset time.Duration // of its clock, ahead of the viewing node's; 0 when not measured
	Behind Behind
}

// Behind says how much of what this node knows another has not reported.
type Behind struct {
	Dots uint64
	Lag  time.Duration
}
