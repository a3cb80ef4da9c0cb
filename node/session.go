package node

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// A session token names the dots that a client has written and seen, by
// partition. Its bytes, in unpadded base64url, are
//
//	3, list of (origin 8), list of (keyspace string, list of (partition, cells))
//	2, origin 8
//
// with one cell for each origin of the list, as cursors have them. The second form
// is what remains when the first grows over atoll.MaxToken: everything that the
// node of that origin held when it said so. It demands more, never less. (Form 1
// named the origins anew in each partition: a page of a listing, which has seen
// all partitions, did not fit.)
const (
	tokenPinned = 2
	tokenClocks = 3
)

// Times of sessions.
const (
	// sessionTimeout is how long a write waits for what its token names: the core's
	// AskAfter, then a pull. It cannot be made elsewhere.
	sessionTimeout = 2 * time.Second

	// sessionWait is how long a read waits for what is on its way here, before
	// another node is asked to answer it.
	sessionWait = 200 * time.Millisecond
)

// token is a session token in memory.
type token struct {
	needs  []replication.Need // by keyspace, then partition
	pinned atoll.Origin       // 0: not
}

func badToken() error {
	return atoll.Errorf(atoll.BadRequest, "the session token is not one of this cluster's").
		WithHint("send the last Atoll-Session value that an answer gave you, unchanged, or none")
}

// parseToken reads a token that a client sent; "" is the empty one.
func parseToken(s atoll.Token) (token, error) {
	if s == "" {
		return token{}, nil
	}
	if len(s) > atoll.MaxToken {
		return token{}, badToken()
	}
	b, err := base64.RawURLEncoding.DecodeString(string(s))
	if err != nil || len(b) == 0 {
		return token{}, badToken()
	}
	switch b[0] {
	case tokenPinned:
		if len(b) != 9 {
			break
		}
		if o := atoll.Origin(binary.BigEndian.Uint64(b[1:])); o != 0 {
			return token{pinned: o}, nil
		}
	case tokenClocks:
		return parseClocks(b[1:])
	}
	return token{}, badToken()
}

func parseClocks(b []byte) (token, error) {
	var t token
	in := cursorReader{b: b}
	origins := in.origins(0)
	for n := in.uvarint(); n > 0 && !in.bad; n-- {
		ks := atoll.Keyspace(in.bytes(in.uvarint()))
		name := strings.TrimPrefix(string(ks), string(atoll.Keyspace("").Media()))
		if _, err := atoll.ParseKeyspace(name); err != nil {
			return token{}, badToken() // the system's keyspaces are nobody's to read
		}
		for parts := in.uvarint(); parts > 0 && !in.bad; parts-- {
			part := in.uvarint()
			if part >= uint64(ks.Partitions()) {
				return token{}, badToken()
			}
			var clock crdt.Clock
			for _, o := range origins {
				in.cell(o, &clock)
			}
			t.add(replication.Address{Keyspace: ks, Partition: int(part)}, clock)
		}
	}
	if in.bad || len(in.b) > 0 {
		return token{}, badToken()
	}
	return t, nil
}

// add puts what was seen of a partition into t.
func (t *token) add(a replication.Address, c crdt.Clock) {
	if t.pinned != 0 || c.Empty() {
		return
	}
	i, found := slices.BinarySearchFunc(t.needs, a, compareNeed)
	if !found {
		t.needs = slices.Insert(t.needs, i, replication.Need{Address: a, Clock: c.Clone()})
		return
	}
	t.needs[i].Clock.Join(c)
}

func compareNeed(n replication.Need, a replication.Address) int {
	if n.Keyspace != a.Keyspace {
		if n.Keyspace < a.Keyspace {
			return -1
		}
		return 1
	}
	return n.Partition - a.Partition
}

// seal writes t for the client.
func (n *Node) seal(t token) atoll.Token {
	if t.pinned == 0 && len(t.needs) == 0 {
		return ""
	}
	if t.pinned == 0 {
		if s := encodeToken(t); len(s) <= atoll.MaxToken {
			return s
		}
		t.pinned = n.origin // this replica holds all that t names: it has answered
	}
	b := binary.BigEndian.AppendUint64([]byte{tokenPinned}, uint64(t.pinned))
	return atoll.Token(base64.RawURLEncoding.EncodeToString(b))
}

func encodeToken(t token) atoll.Token {
	clocks := make([]crdt.Clock, len(t.needs))
	spaces := 0
	for i, need := range t.needs {
		clocks[i] = need.Clock
		if i == 0 || t.needs[i-1].Keyspace != need.Keyspace {
			spaces++
		}
	}
	origins := originsOf(clocks)
	b := appendOrigins([]byte{tokenClocks}, origins)
	b = binary.AppendUvarint(b, uint64(spaces))
	for i := 0; i < len(t.needs); {
		j := i
		for j < len(t.needs) && t.needs[j].Keyspace == t.needs[i].Keyspace {
			j++
		}
		ks := t.needs[i].Keyspace
		b = append(binary.AppendUvarint(b, uint64(len(ks))), ks...)
		b = binary.AppendUvarint(b, uint64(j-i))
		for _, need := range t.needs[i:j] {
			b = binary.AppendUvarint(b, uint64(need.Partition))
			runs := need.Clock.Runs()
			for _, o := range origins {
				b, runs = appendCellOf(b, o, runs)
			}
		}
		i = j
	}
	return atoll.Token(base64.RawURLEncoding.EncodeToString(b))
}

// await returns when this replica holds all that t names; the core pulls it
// from a peer when it does not come by itself.
func (n *Node) await(ctx context.Context, t token) error {
	if t.pinned != 0 && t.pinned != n.origin {
		return atoll.Errorf(atoll.BehindSession,
			"this session has seen more than a token can name, all of it at another node").
			WithHint("go on in the region where the session was, or begin a new session")
	}
	if len(t.needs) == 0 || n.holds(t.needs) {
		return nil
	}
	_, err := n.loop.call(ctx, replication.Await{
		Needs: t.needs, Deadline: n.cfg.Clock().Add(sessionTimeout),
	})
	return err
}

// caughtUp is await for a read: it gives up after wait with an error of kind
// atoll.BehindSession. The core goes on to fetch what is missing, for the
// session's next read.
func (n *Node) caughtUp(ctx context.Context, t token, wait time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := n.await(waiting, t)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !n.stopping.Load() {
		return atoll.Errorf(atoll.BehindSession,
			"this node does not have what the session has seen").Because(err).
			WithHint("ask again in a moment, or go on in the region where the session was")
	}
	return err
}

// holds reports whether what is durable here covers all needs.
func (n *Node) holds(needs []replication.Need) bool {
	v := n.store.Snapshot()
	defer v.Close()
	for _, need := range needs {
		clock := replication.ClockIn(v, need.Address)
		if !clock.Covers(need.Clock) {
			return false
		}
	}
	return v.Err() == nil
}
