package atoll

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"
)

// The sizes of media, in bytes.
const (
	ChunkSize = 1 << 20 // of every chunk of an object but its last
	MaxMedia  = 4 << 30 // one object
)

// Hash names bytes by their SHA-256: a chunk, a manifest, a whole object.
type Hash [sha256.Size]byte

// HashOf returns the name of b.
func HashOf(b []byte) Hash { return sha256.Sum256(b) }

// String returns 64 hex digits; for an object they are its strong ETag.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String writes.
func ParseHash(s string) (h Hash, err error) {
	if n, err := hex.Decode(h[:], []byte(s)); err != nil || n != len(h) || len(s) != 2*len(h) {
		return Hash{}, Errorf(BadRequest, "hash %q: want 64 hex digits", s)
	}
	return h, nil
}

// Media returns the keyspace of the replicated documents that say which objects
// there are in k. k may be 57 bytes long for it: a keyspace's name has a limit.
func (k Keyspace) Media() Keyspace { return mediaPrefix + k }

// mediaPrefix begins the names of the keyspaces that Media returns.
const mediaPrefix = "_media-"

// Object is one media object as a reader sees it. Its body is what Manifest
// lists: the hashes of its chunks one behind the other, itself kept as a chunk;
// an empty object has none.
type Object struct {
	Key      Key
	Size     int64  // bytes
	Type     string // its Content-Type as it was stored
	Hash     Hash   // of the body
	Manifest Hash
	StoredAt time.Time
	Homes    []NodeID // that held all of it when it was stored; the first took it in
	Session  Token    // covers what this read saw
}

// Upload asks for an object to be stored. A nil IfMatch is no condition; tags
// are content hashes in hex, "*" matches any object that exists.
type Upload struct {
	Keyspace    Keyspace
	Key         Key
	Type        string
	Body        io.Reader // read to its end, at most MaxMedia bytes
	IfMatch     []string
	IfNoneMatch []string
	TTL         time.Duration // 0: the keyspace's own
	Level       Level
	Timeout     time.Duration // for Level; 0: 5 s and a second for each MiB
	Session     Token
}

// Held is a chunk that a node has on its disk.
type Held struct {
	Hash   Hash
	Size   int64
	Used   time.Time // when it was stored or, to some minutes, last read
	Cached bool      // others have it: it was fetched for a reader
}
