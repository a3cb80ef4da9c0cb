package replication

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
)

// lone is a replica with a state in memory, whose every step is durable at once.
type lone struct {
	*Core
	state *Memory
	now   time.Time
}

func newLone(keep int) *lone {
	l := &lone{state: NewMemory(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	l.restart(keep)
	return l
}

func (l *lone) restart(keep int) {
	self := Member{Origin: 1, Node: "a/1", Region: "a"}
	l.Core = New(Config{Self: self, View: l.state,
		Rand: rand.New(rand.NewPCG(1, 2)), Chunk: 16, Keep: keep}, l.now)
	l.step(Layout{Members: []Member{self}})
}

func (l *lone) step(in Input) Output {
	out := l.Step(l.now, in)
	l.state.Apply(out.Writes)
	return out
}

// write puts dots new dots under key, in one run.
func (l *lone) write(key string, dots int) Output {
	return l.step(Mutate{Keyspace: testSpace, Key: atoll.Key(key), Edit: func(e *crdt.Edit) error {
		e.Drop(func(*crdt.Entry) bool { return true })
		for i := range dots {
			e.Add(crdt.Path("").Child(fmt.Sprint(i)), crdt.Register, []byte("1"))
		}
		return nil
	}})
}

// receive takes a delta of another origin in.
func (l *lone) receive(o atoll.Origin, seq uint64, key string) Output {
	e := crdt.NewEdit(crdt.Doc{}, atoll.Key(key), o, seq, 1)
	e.Add("", crdt.Existence, nil)
	d, _ := e.Delta()
	l.step(PeerUp{Member{Origin: o, Node: "b/1", Region: "b"}})
	return l.step(Receive{From: "b/1", Message: Delta{Address: testAddress, Delta: d}})
}

// tidy lets the core tidy up until nothing changes any more.
func (l *lone) tidy() {
	for range 1000 {
		l.now = l.now.Add(2 * HeadsEvery)
		if out := l.step(Wake{}); len(out.Writes) == 0 {
			return
		}
	}
	panic("the index is cut for ever")
}

// TestKeep: of what all members have passed the last entries stay, however many
// dots each has, also over a restart; what is cut is in cut, and nothing else.
func TestKeep(t *testing.T) {
	for _, c := range []struct{ keep, writes, dots, want int }{
		{0, 100, 1, 0},
		{10, 5, 1, 5},
		{10, 100, 1, 10},
		{10, 100, 7, 10},
		{100, 100, 3, 100},
		{99, 100, 3, 99},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			l := newLone(c.keep)
			for i := range c.writes {
				l.write(fmt.Sprint("k", i), c.dots)
			}
			l.tidy()
			l.restart(c.keep)
			l.tidy()
			clock, cut := ClocksIn(l.state, testAddress)
			var keys []atoll.Key
			for run, key := range Changed(l.state, testAddress, crdt.Clock{}) {
				keys = append(keys, key)
				if cut.HasRun(run) || !clock.HasRun(run) {
					t.Errorf("%v is in the index; clock %v, cut %v", run, clock, cut)
				}
			}
			if len(keys) != c.want || l.find(testAddress).entries != c.want {
				t.Fatalf("%d entries, counted %d", len(keys), l.find(testAddress).entries)
			}
			if n := len(keys); n > 0 && keys[n-1] != atoll.Key(fmt.Sprint("k", c.writes-1)) {
				t.Errorf("the last entry is of %s", keys[n-1])
			}
			if got := clock.Len() - cut.Len(); got != uint64(c.want*c.dots) {
				t.Errorf("%d dots outside of cut", got)
			}
		})
	}
}

// TestKeepIsFair: an origin that fell silent does not keep the entries of one
// that writes from staying.
func TestKeepIsFair(t *testing.T) {
	l := newLone(20)
	for i := range uint64(40) {
		l.receive(2, i+1, fmt.Sprint("theirs", i))
	}
	l.tidy()
	for i := range 40 {
		l.write(fmt.Sprint("ours", i), 1)
		l.tidy()
	}
	left := make(map[atoll.Origin]int)
	for run := range Changed(l.state, testAddress, crdt.Clock{}) {
		left[run.Origin]++
	}
	if left[1] != 10 || left[2] != 10 {
		t.Errorf("entries by origin: %v", left)
	}
}

// TestEntriesOfOldFormat: a directory in which nobody counted is counted by dots.
func TestEntriesOfOldFormat(t *testing.T) {
	l := newLone(100)
	for i := range 10 {
		l.write(fmt.Sprint("k", i), 3)
	}
	key := prefix(kindMeta, testSpace, 0)
	p := l.find(testAddress)
	l.state.Apply([]Write{{key, p.cut.Append(p.clock.Append(nil))}})
	l.restart(100)
	if got := l.find(testAddress).entries; got != 30 {
		t.Errorf("%d entries after 30 dots", got)
	}
}

// TestChanged: a watcher finds exactly the keys that it misses.
func TestChanged(t *testing.T) {
	l := newLone(1000)
	rng := rand.New(rand.NewPCG(3, 4))
	seen, _ := ClocksIn(l.state, testAddress)
	for range 50 {
		var want []atoll.Key
		for range rng.IntN(5) {
			key := fmt.Sprint("k", rng.IntN(10))
			want = append(want, atoll.Key(key))
			if out := l.write(key, 1+rng.IntN(3)); !slices.Equal(out.Advanced, []Address{testAddress}) {
				t.Fatalf("advanced %v", out.Advanced)
			}
		}
		var got []atoll.Key
		for run, key := range Changed(l.state, testAddress, seen) {
			got = append(got, key)
			seen.AddRun(run)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("changed %v, want %v", got, want)
		}
		if clock := ClockIn(l.state, testAddress); !clock.Equal(seen) {
			t.Fatalf("after all changes the clock is %v, not %v", seen, clock)
		}
	}
}

// TestAdvanced: a step names the partitions whose clocks grew, and no other. A
// full pull tells at its end, when its documents' dots are in the clock.
func TestAdvanced(t *testing.T) {
	l := newLone(0)
	if out := l.receive(2, 1, "x"); !slices.Equal(out.Advanced, []Address{testAddress}) {
		t.Errorf("a delta: %v", out.Advanced)
	}
	if out := l.receive(2, 1, "x"); out.Advanced != nil {
		t.Errorf("a delta that is known: %v", out.Advanced)
	}
	before := ClockIn(l.state, testAddress)
	l.now = l.now.Add(time.Hour)
	l.step(Receive{From: "b/1", Message: Clocks{Keyspace: testSpace,
		Clocks: []PartitionClock{{0, crdt.ClockOf(crdt.Run{Origin: 2, First: 1, Last: 5})}}}})
	l.now = l.now.Add(time.Hour)
	out := l.step(Wake{})
	if len(out.Pulls) != 1 {
		t.Fatalf("no pull: %+v", out)
	}
	id, d := out.Pulls[0].Session, crdt.Doc{}
	theirs := crdt.ClockOf(crdt.Run{Origin: 2, First: 1, Last: 5})
	for _, m := range []Message{Begin{Clock: theirs, Full: true}, Doc{Key: "y", Doc: d}, End{}} {
		if out = l.step(PullEvent{id, m}); out.Advanced != nil {
			t.Errorf("%T: %v", m, out.Advanced)
		}
	}
	for range 10 {
		out = l.step(Wake{})
		clock := ClockIn(l.state, testAddress)
		if grown := !clock.Equal(before); grown != (len(out.Advanced) == 1) {
			t.Fatalf("clock %v, advanced %v", clock, out.Advanced)
		} else if grown {
			return
		}
	}
	t.Error("the full pull never ended")
}
