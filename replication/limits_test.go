package replication

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// bench is cores of one region each with a script's network, and nothing told.
func cores(t *testing.T, n int, chunk int) *script {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &script{t: t, now: start, start: start}
	for i := range n {
		s.join(fmt.Sprintf("%c/1", 'a'+i))
	}
	for _, x := range s.nodes {
		x.core.chunk = chunk
	}
	s.flow()
	return s
}

func put(t *testing.T, s *script, n *scripted, ks atoll.Keyspace, key string, value []byte) Reply {
	t.Helper()
	out := n.core.Step(s.now, Mutate{ID: 1, Keyspace: ks, Key: atoll.Key(key),
		Edit: func(e *crdt.Edit) error {
			e.Drop(func(*crdt.Entry) bool { return true })
			e.Add("", crdt.Register, value)
			return nil
		}})
	n.store.Apply(out.Writes)
	n.wake = out.Wake
	if len(out.Replies) != 1 {
		t.Fatalf("%d replies", len(out.Replies))
	}
	return out.Replies[0]
}

func TestKeyspaceLimits(t *testing.T) {
	s := cores(t, 1, 16)
	a := s.nodes[0]
	for i := range MaxKeyspaces {
		if r := put(t, s, a, atoll.Keyspace(fmt.Sprintf("_k%d", i)), "x", []byte("1")); r.Err != nil {
			t.Fatalf("keyspace %d: %v", i, r.Err)
		}
	}
	r := put(t, s, a, "_onemore", "x", []byte("1"))
	if atoll.KindOf(r.Err) != atoll.TooLarge {
		t.Errorf("one more: %v", r.Err)
	}
	if r := put(t, s, a, "_k7", "y", []byte("1")); r.Err != nil {
		t.Errorf("one that is there: %v", r.Err)
	}
	// A peer's messages name keyspaces too: they make no more, and do no harm.
	s.step(a, PeerUp{Member{Origin: 9, Node: "z/1", Region: "z"}})
	for _, ks := range []atoll.Keyspace{"_onemore", "", "_", "UPPER", "a/b",
		atoll.Keyspace(strings.Repeat("x", atoll.MaxKeyspace+1))} {
		at := Address{ks, 0}
		for _, m := range []Message{
			Delta{Address: at, Delta: crdt.Delta{Key: "x", Dots: crdt.Run{Origin: 9, First: 1, Last: 1}}},
			Ack{at, crdt.Run{Origin: 9, First: 1, Last: 1}},
			Heads{Heads: []Head{{ks, 1}}, Reply: true}, Parts{Keyspace: ks, Hashes: []uint64{1}},
			Clocks{ks, []PartitionClock{{0, crdt.ClockOf(crdt.Run{Origin: 9, First: 1, Last: 9})}}, true, 1},
			Marks{1, []Mark{{at, 9}}},
		} {
			s.step(a, Receive{"z/1", m})
		}
	}
	if n := len(a.core.spaces); n != MaxKeyspaces || a.core.Fenced() {
		t.Errorf("%d keyspaces, fenced %v", n, a.core.Fenced())
	}
}

// TestStrangePartitions: messages about partitions that are not, or documents
// of another one, change nothing.
func TestStrangePartitions(t *testing.T) {
	s := cores(t, 2, 16)
	a := s.nodes[0]
	run := crdt.Run{Origin: 2, First: 1, Last: 1}
	key := atoll.Key("sirius")
	home := PartitionOf("stars", key)
	for _, part := range []int{home + 1, -1, 64, 1 << 16} {
		at := Address{"stars", part}
		s.step(a, Receive{"b/1", Delta{Address: at, Delta: crdt.Delta{Key: key, Dots: run}}})
		s.step(a, Receive{"b/1", Ack{at, run}})
		s.step(a, Receive{"b/1", Parts{Keyspace: "stars", Hashes: []uint64{1, 2}}})
	}
	if spaces := a.core.Keyspaces(); len(spaces) > 0 {
		t.Errorf("it holds %v", spaces)
	}
	at := Address{"stars", (home + 1) % 64}
	s.step(a, Receive{"b/1", Clocks{"stars", []PartitionClock{{at.Partition, crdt.ClockOf(run)}}, false, 1}})
	s.now = s.now.Add(PullGrace)
	s.step(a, Wake{})
	if len(s.pulls) != 1 {
		t.Fatalf("%d pulls", len(s.pulls))
	}
	id := s.pulls[0].Session
	s.step(a, PullEvent{id, Begin{Clock: crdt.ClockOf(run)}})
	s.step(a, PullEvent{id, Doc{Key: key, Runs: []crdt.Run{run}}})
	if _, open := a.core.session(id); open != nil {
		t.Error("a document of another partition did not break the pull")
	}
	if c := a.core.Clock(at); !c.Empty() {
		t.Errorf("its dots were taken: %v", c)
	}
}

// size is what the writes of a step come to.
func size(writes []Write) (n int) {
	for _, w := range writes {
		n += writeCost + len(w.Key) + len(w.Value)
	}
	return n
}

// TestFullPullSteps: a full pull of many large documents moves in steps that a
// store can take, and ends with what the source has.
func TestFullPullSteps(t *testing.T) {
	const docs, value = 200, 30 << 10
	s := cores(t, 2, 256)
	a, b := s.nodes[0], s.nodes[1]
	s.disconnect(a, b)
	for i := range docs {
		put(t, s, a, testSpace, fmt.Sprintf("k%03d", i), append(make([]byte, value), byte(i)))
		if i%2 == 0 { // the asker has some of its own
			put(t, s, b, testSpace, fmt.Sprintf("k%03d", i), []byte("1"))
		}
	}
	s.command([]string{"cut", "a/1"})
	s.connect(a, b)
	largest, steps := 0, 0
	for range 200 {
		for len(s.net) > 0 || len(s.pulls) > 0 {
			s.flow()
		}
		s.now = s.now.Add(50 * time.Millisecond)
		for _, n := range s.nodes {
			for n.wake.Before(s.now) {
				out := n.core.Step(s.now, Wake{})
				n.store.Apply(out.Writes)
				n.wake = out.Wake
				for _, x := range out.Sends {
					s.net = append(s.net, sent{n.Node, x.To, x.Message})
				}
				for _, p := range out.Pulls {
					s.pulls = append(s.pulls, open{n, p})
				}
				largest = max(largest, size(out.Writes))
				if len(out.Writes) > 0 {
					steps++
				}
			}
		}
	}
	ca, cb := a.core.Clock(testAddress), b.core.Clock(testAddress)
	if !ca.Equal(cb) || ca.Empty() || b.core.Stats().FullPulls == 0 {
		t.Fatalf("a has %v, b %v after %d full pulls", ca, cb, b.core.Stats().FullPulls)
	}
	if limit := MaxStep + 3*value; largest > limit || steps < docs*value/MaxStep {
		t.Errorf("the largest of %d steps has %d bytes, limit %d", steps, largest, limit)
	}
	from, to, _ := DocRange(testSpace, 0, "")
	count := func(n *scripted) (all []string) {
		for k, v := range n.store.Scan(from, to) {
			d, _, err := crdt.DecodeDoc(v)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(k)+d.ETag())
		}
		return all
	}
	if x, y := count(a), count(b); !slices.Equal(x, y) || len(x) != docs {
		t.Errorf("%d and %d documents", len(x), len(y))
	}
}

// TestTidySteps: index entries of many keyspaces that all members have passed
// go in steps that a store can take, all of them.
func TestTidySteps(t *testing.T) {
	const spaces, docs = 40, 1000
	s := cores(t, 1, 256)
	a := s.nodes[0]
	for i := range spaces {
		for k := range docs {
			put(t, s, a, atoll.Keyspace(fmt.Sprintf("s%d", i)), fmt.Sprint(k), []byte("1"))
		}
	}
	entries := func() (n int) {
		for range a.store.Scan([]byte{kindIndex}, []byte{kindIndex + 1}) {
			n++
		}
		return n
	}
	if n := entries(); n != spaces*docs {
		t.Fatalf("%d index entries", n)
	}
	largest := 0
	end := s.now.Add(3 * HeadsEvery)
	for a.wake.Before(end) {
		s.now = a.wake
		out := a.core.Step(s.now, Wake{})
		a.store.Apply(out.Writes)
		a.wake = out.Wake
		largest = max(largest, size(out.Writes))
	}
	if n := entries(); n > 0 || largest > MaxStep+writeCost+512 || largest < MaxStep/2 {
		t.Errorf("%d index entries left, the largest step has %d bytes", n, largest)
	}
}

// TestManyRuns: a document with more missing runs than a step takes in comes by
// a full pull; one with as many comes by the index.
func TestManyRuns(t *testing.T) {
	for _, c := range []struct {
		runs int
		full bool
	}{{MaxDocRuns, false}, {MaxDocRuns + 1, true}} {
		s := cores(t, 2, 256)
		a, b := s.nodes[0], s.nodes[1]
		s.disconnect(a, b)
		for i := range c.runs {
			put(t, s, a, testSpace, "hot", fmt.Append(nil, i))
		}
		s.connect(a, b)
		s.pass("3s")
		stats := b.core.Stats()
		if got := b.core.Clock(testAddress); !got.Equal(a.core.Clock(testAddress)) {
			t.Errorf("%d runs: b has %v", c.runs, got)
		}
		if (stats.FullPulls > 0) != c.full || stats.Pulls != 1 {
			t.Errorf("%d runs: %d pulls, %d of them full", c.runs, stats.Pulls, stats.FullPulls)
		}
	}
}

// TestMissedMessageHeals: what was lost on its way is there soon after, with no
// other traffic: in the mean of seeds within a second, always within the time
// of one round of heads and the grace.
func TestMissedMessageHeals(t *testing.T) {
	const seeds = 300
	var sum, worst time.Duration
	for seed := range uint64(seeds) {
		s := cores(t, 3, 16)
		for i, n := range s.nodes {
			n.core.rand = rand.New(rand.NewPCG(seed, uint64(i)))
		}
		s.pass(fmt.Sprintf("%dms", 1500+seed*7)) // somewhere in a round
		put(t, s, s.nodes[0], testSpace, "x", []byte("1"))
		s.net = nil
		written := s.now
		for range 200 {
			s.pass("10ms")
			if c := s.nodes[2].core.Clock(testAddress); !c.Empty() {
				break
			}
		}
		took := s.now.Sub(written)
		sum, worst = sum+took, max(worst, took)
	}
	t.Logf("mean %v, worst %v", sum/seeds, worst)
	if limit := 1500 * time.Millisecond; worst > limit || sum/seeds > time.Second {
		t.Errorf("mean %v, worst %v, limit %v", sum/seeds, worst, limit)
	}
}

// TestLagOfABusyMember gives a member no rest: it always lacks what was just
// written, and is not late; one that lacks the same all the time is.
func TestLagOfABusyMember(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var own crdt.Clock
	busy, stuck := report{origin: 2}, report{origin: 3}
	for i := range uint64(100) {
		now = now.Add(250 * time.Millisecond)
		busy.clock = own.Clone() // what was written before the last round
		own.Add(crdt.Dot{Origin: 1, Seq: i + 1})
		if i != 7 {
			stuck.clock.Add(crdt.Dot{Origin: 1, Seq: i + 1})
		}
		for _, r := range []*report{&busy, &stuck} {
			dots, since := r.behind(own, now)
			want, late := uint64(1), time.Duration(0)
			if r == &stuck {
				if late = time.Duration(i-7) * 250 * time.Millisecond; i < 7 {
					want = 0
				}
			}
			if dots != want || dots > 0 && now.Sub(since) != late {
				t.Fatalf("round %d: member %d lacks %d dots since %v, want %d, %v", i, r.origin, dots, now.Sub(since), want, late)
			}
		}
	}
}

// TestSettledLag: Lags, Seen, Holds and Digest say what is where.
func TestLag(t *testing.T) {
	s := cores(t, 2, 16)
	a, b := s.nodes[0], s.nodes[1]
	s.disconnect(a, b)
	for i := range 5 {
		put(t, s, a, testSpace, fmt.Sprint(i), []byte("1"))
	}
	for _, age := range []time.Duration{0, 4 * time.Second} {
		if lags := a.core.Lags(s.now.Add(age)); len(lags) != 1 || lags[0] != (Lag{2, 5, age}) {
			t.Errorf("lags %v after %v", lags, age)
		}
	}
	if Digest(a.store) == Digest(b.store) || !Holds(a.store, testSpace) || Holds(b.store, testSpace) ||
		Holds(a.store, "_tes") || a.core.Seen()[testSpace][1] != 5 {
		t.Error("a and b look alike")
	}
	s.connect(a, b)
	s.pass("3s")
	if lags := a.core.Lags(s.now); lags[0] != (Lag{2, 0, 0}) || Digest(a.store) != Digest(b.store) {
		t.Errorf("lags %v, digests %x and %x", lags, Digest(a.store), Digest(b.store))
	}
}
