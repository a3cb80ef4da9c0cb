package atoll

import "time"

// MaxCursor is the length limit of a Cursor in bytes.
const MaxCursor = 4096

// Cursor names what a watcher has been told: opaque outside the node, good at
// every node of the cluster, for the keyspace and prefix of its Watch.
type Cursor string

// FromNow is the Cursor of a watcher that wants to hear of nothing that was
// durable before it came.
const FromNow Cursor = "now"

// Watch asks for the changes of the documents of a keyspace.
type Watch struct {
	Keyspace Keyspace
	Prefix   string // only keys that begin so
	Cursor   Cursor // where to go on; "": all documents, then what changes
}

// EventKind says what an Event tells.
type EventKind string

// The kinds of Event.
const (
	EventPut    EventKind = "put"    // the document is now so
	EventDelete EventKind = "delete" // there is no document of that key
	// EventReset: what the watcher missed is not known here any more. All that it
	// was told before is void; all documents follow.
	EventReset EventKind = "reset"
	// EventMark tells nothing but a Cursor, now and then in a quiet time.
	EventMark EventKind = ""
)

// Event is one thing that a watcher is told. A watcher that resumes from Cursor
// misses nothing; it may be told some of what came before it again.
type Event struct {
	Kind    EventKind
	Key     Key
	Body    []byte    // of a put: JSON, object keys in byte order
	ETag    string    // of a put, without quotes
	Expires time.Time // of a put: when the document is no longer there; zero: never
	Cursor  Cursor
}
