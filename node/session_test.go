package node

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// TestReadYourWrites reads at once, in the farthest region, what was written:
// the read waits and is never stale.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	var session atoll.Token
	for i := range 20 {
		body := fmt.Sprintf(`{"v":%d}`, i)
		from, to := i%3, (i+1)%3
		w, err := s.tryWrite(from, atoll.Write{Key: "mine", Body: []byte(body), Session: session})
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.read(to, "mine", w.Session)
		if err != nil || string(d.Body) != body {
			t.Fatalf("round %d: %s, %v", i, d.Body, err)
		}
		session = d.Session
	}
	if len(session) > atoll.MaxToken || !strings.HasPrefix(string(session), "Aw") {
		t.Errorf("token of %d bytes: %.10s", len(session), session)
	}
}

// TestFirstWriteOfAKeyspaceIsReadElsewhere: the keyspace itself is news there.
func TestFirstWriteOfAKeyspaceIsReadElsewhere(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	for i := range 5 {
		ks := atoll.Keyspace(fmt.Sprintf("new-%d", i))
		w, err := s.tryWrite(tokyo, atoll.Write{Keyspace: ks, Key: "k", Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		n := s.node(frankfurt)
		_, err = n.Read(t.Context(), atoll.Read{Keyspace: ks, Key: "k", Session: w.Session})
		if err != nil {
			t.Errorf("read %s: %v", ks, err)
		}
		w, err = s.tryWrite(tokyo, atoll.Write{Keyspace: ks + "l", Key: "k", Body: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := n.List(t.Context(),
			atoll.Listing{Keyspace: ks + "l", Limit: 10, Session: w.Session})
		if err != nil || len(p.Items) != 1 {
			t.Errorf("list %s: %+v, %v", ks, p, err)
		}
	}
}

// TestConditionSeesTheSession: If-Match is about what the session has seen.
func TestConditionSeesTheSession(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(tokyo, "doc", `{"v":0}`)
	s.converge()
	for i := range 6 {
		from, to := i%3, (i+2)%3
		w, err := s.tryWrite(from, atoll.Write{Key: "doc", Change: atoll.Merge,
			Body: fmt.Appendf(nil, `{"v":%d}`, i)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.tryWrite(to, atoll.Write{Key: "doc", Change: atoll.Merge, Body: []byte(`{"w":1}`),
			IfMatch: []string{w.ETag}, Session: w.Session})
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		s.converge()
	}
}

func TestBehind(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(tokyo, "x", `{}`)
	s.converge()
	nobody := token{needs: []replication.Need{{
		Address: replication.Address{Keyspace: testSpace, Partition: 1},
		Clock:   crdt.ClockOf(crdt.Run{Origin: 4711, First: 1, Last: 9}),
	}}}
	begin := time.Now()
	_, err := s.read(tokyo, "x", encodeToken(nobody))
	e := refused(t, err, atoll.BehindSession)
	if took := time.Since(begin); took < sessionWait || took > sessionWait+5*time.Second {
		t.Errorf("answered after %s", took)
	}
	if e.Hint == "" {
		t.Error("says not what to do")
	}
	s.cutOff("tokyo")
	w := s.put(tokyo, "x", `{"v":1}`)
	_, err = s.read(washington, "x", w.Session)
	refused(t, err, atoll.BehindSession)
	s.net.Heal()
	if d, err := s.read(washington, "x", w.Session); err != nil || string(d.Body) != `{"v":1}` {
		// A path that was cut takes a moment to be found again.
		s.shows(washington, "x", `{"v":1}`)
		if d, err = s.read(washington, "x", w.Session); err != nil {
			t.Errorf("healed: %s %v", d.Body, err)
		}
	}
}

// TestWideTokenIsPinned: a token that outgrows its limit demands more than it
// did, never less: it is good where all of it is known to be, and nowhere else.
func TestWideTokenIsPinned(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	var session atoll.Token
	pinned := 0
	for i := range 1000 {
		w, err := s.tryWrite(0, atoll.Write{Key: atoll.Key(fmt.Sprint(i)),
			Keyspace: atoll.Keyspace(fmt.Sprintf("space-%d", i%40)), Body: []byte(`{}`),
			Session: session})
		if err != nil {
			t.Fatal(err)
		}
		session = w.Session
		if len(session) > atoll.MaxToken {
			t.Fatalf("a token of %d bytes", len(session))
		}
		if tok, _ := parseToken(session); tok.pinned != 0 {
			pinned++
		} else if pinned > 0 {
			t.Fatal("a pinned token became a narrow one")
		}
	}
	if pinned == 0 {
		t.Fatal("never too wide")
	}
	n := s.node(0)
	get := atoll.Read{Keyspace: "space-0", Key: "0", Session: session}
	if _, err := n.Read(t.Context(), get); err != nil {
		t.Errorf("where it is pinned: %v", err)
	}
	s.converge()
	if d, err := s.node(1).Read(t.Context(), get); err != nil || d.Node != "a/1" || d.Session != session {
		t.Errorf("elsewhere: %q answers %v", d.Node, err)
	}
	_, err := s.tryWrite(1, atoll.Write{Key: "w", Body: []byte(`{}`), Session: session})
	refused(t, err, atoll.BehindSession)
	s.stop(0)
	s.start(0)
	if _, err := s.node(0).Read(t.Context(), get); err != nil {
		t.Errorf("where it is pinned, restarted: %v", err)
	}
}

// TestGarbageTokens: what no node of the cluster made is refused, and costs
// nothing that others need.
func TestGarbageTokens(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	b64 := func(b ...byte) atoll.Token { return atoll.Token(base64.RawURLEncoding.EncodeToString(b)) }
	name := func(ks string, rest ...byte) atoll.Token { // of origin 9, in one keyspace
		b := []byte{tokenClocks, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, byte(len(ks))}
		return b64(append(append(b, ks...), rest...)...)
	}
	for what, tok := range map[string]atoll.Token{
		"not base64":        "!!!!",
		"padded":            "Aw==",
		"form of before":    b64(1, 1, 'a', 1, 0, 0),
		"many origins":      b64(tokenClocks, 200, 1),
		"origins unsorted":  b64(tokenClocks, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0),
		"bytes behind":      name("test", 1, 1, 2, 0),
		"unknown form":      b64(7, 1, 2),
		"short pin":         b64(tokenPinned, 1),
		"long pin":          b64(tokenPinned, 1, 2, 3, 4, 5, 6, 7, 8, 9),
		"pin to nobody":     b64(tokenPinned, 0, 0, 0, 0, 0, 0, 0, 0),
		"cut name":          b64(tokenClocks, 0, 1, 9, 'a'),
		"no partitions":     name("test"),
		"too many":          name("test", 200),
		"partition of none": name("test", 1, 64, 0),
		"cut clock":         name("test", 1, 1, 5, 1),
		"runs that touch":   name("test", 1, 1, 5, 1, 0, 1, 0),
		"no keyspace":       name("Test!", 1, 1, 2),
		"too long":          atoll.Token(strings.Repeat("A", atoll.MaxToken+1)),
	} {
		_, err := s.read(0, "x", tok)
		refused(t, err, atoll.BadRequest)
		_, err = s.tryWrite(0, atoll.Write{Key: "x", Body: []byte(`{}`), Session: tok})
		refused(t, err, atoll.BadRequest)
		_, err = s.node(0).List(t.Context(),
			atoll.Listing{Keyspace: testSpace, Limit: 1, Session: tok})
		if e := refused(t, err, atoll.BadRequest); t.Failed() {
			t.Fatal(what, e)
		}
	}
}

// TestTokensTakeNoKeyspaces: tokens that name keyspaces of nobody do not use up
// those that there may be.
func TestTokensTakeNoKeyspaces(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1")
	s.put(0, "x", `{}`)
	const each = 64
	for i := range 2 * replication.MaxKeyspaces / each {
		var tok token
		for j := range each {
			ks := atoll.Keyspace(fmt.Sprintf("k%d", i*each+j))
			tok.add(replication.Address{Keyspace: ks},
				crdt.ClockOf(crdt.Run{Origin: 9, First: 1, Last: 1}))
		}
		ctx, cancel := testDeadline(t, 10*time.Millisecond)
		_, err := s.node(0).Read(ctx,
			atoll.Read{Keyspace: testSpace, Key: "x", Session: encodeToken(tok)})
		cancel()
		if err == nil {
			t.Fatal("a token of nobody was good")
		}
	}
	mine := atoll.Write{Keyspace: "mine", Key: "x", Body: []byte(`{}`)}
	if _, err := s.tryWrite(0, mine); err != nil {
		t.Errorf("no room for a keyspace: %v", err)
	}
}

// TestTokenCodec: what is encoded is read back, by chance and by brute force.
func TestTokenCodec(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var tok token
		for range 1 + rng.IntN(9) {
			first := 1 + rng.Uint64N(1000)
			tok.add(replication.Address{
				Keyspace:  []atoll.Keyspace{"a", "bb", "test"}[rng.IntN(3)],
				Partition: rng.IntN(64),
			}, crdt.ClockOf(crdt.Run{Origin: atoll.Origin(1 + rng.Uint64N(4)), First: first,
				Last: first + rng.Uint64N(9)}))
		}
		got, err := parseToken(encodeToken(tok))
		if err != nil || !slices.EqualFunc(got.needs, tok.needs, func(a, b replication.Need) bool {
			return a.Address == b.Address && a.Clock.Equal(b.Clock)
		}) {
			t.Fatalf("%+v became %+v, %v", tok, got, err)
		}
	}
}

// FuzzToken: no bytes crash the reader, and what it takes it writes again with
// the same meaning.
func FuzzToken(f *testing.F) {
	one := token{}
	one.add(replication.Address{Keyspace: "test", Partition: 3},
		crdt.ClockOf(crdt.Run{Origin: 7, First: 1, Last: 5}))
	f.Add(string(encodeToken(one)))
	f.Add(base64.RawURLEncoding.EncodeToString(
		binary.BigEndian.AppendUint64([]byte{tokenPinned}, 9)))
	f.Add("Aw")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parseToken(atoll.Token(s))
		if err != nil {
			refused(t, err, atoll.BadRequest)
			return
		}
		if tok.pinned != 0 || len(tok.needs) == 0 {
			return
		}
		again, err := parseClocks(mustDecode(t, encodeToken(tok)))
		if err != nil || len(again.needs) != len(tok.needs) {
			t.Fatalf("%q: %+v became %+v, %v", s, tok, again, err)
		}
	})
}

func mustDecode(t *testing.T, tok atoll.Token) []byte {
	b, err := base64.RawURLEncoding.DecodeString(string(tok))
	if err != nil || len(b) == 0 {
		t.Fatal(err)
	}
	return b[1:]
}
