package check

import (
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/hlc"
)

// story makes the history of one document "k" by hand, as replicas would.
type story struct {
	t    *testing.T
	h    History
	seqs map[atoll.Origin]uint64
	now  hlc.Time
}

func newStory(t *testing.T) *story {
	return &story{t: t, seqs: make(map[atoll.Origin]uint64), now: 100}
}

var counterAt = crdt.Path("").Child("n")

// write lets origin o edit what it sees. It returns the operation and what the
// document then is there.
func (s *story) write(o atoll.Origin, seen crdt.Doc, inc int64,
	edit func(*crdt.Edit) error) (OpID, crdt.Doc) {
	s.t.Helper()
	s.now++
	e := crdt.NewEdit(seen, "k", o, s.seqs[o]+1, s.now)
	if err := edit(e); err != nil {
		s.t.Fatal(err)
	}
	after := *e.Doc()
	after = after.Clone()
	delta, ok := e.Delta()
	if !ok {
		s.t.Fatal("the edit changed nothing")
	}
	s.seqs[o] = delta.Dots.Last
	id := s.h.Record(Op{Node: "n/1", Key: "k", At: time.Second, Dots: delta.Dots, Before: &seen,
		After: &after, Counter: counterAt, Inc: inc})
	return id, after
}

// lose undoes an operation that nobody was told of.
func (s *story) lose(id OpID) {
	s.t.Helper()
	if v := s.h.Lose(time.Second, id); v != nil {
		s.t.Errorf("%v, though nobody was told", v)
	}
}

func put(body string) func(*crdt.Edit) error {
	return func(e *crdt.Edit) error {
		t, err := crdt.Parse([]byte(body))
		if err != nil {
			return err
		}
		return crdt.Put(e, t)
	}
}

func inc(by int64) func(*crdt.Edit) error {
	return func(e *crdt.Edit) error { return e.Inc(counterAt, by) }
}

func erase(e *crdt.Edit) error { crdt.Delete(e); return nil }

// union is a document with the entries of several, as a merge without removals.
func union(docs ...crdt.Doc) crdt.Doc {
	var d crdt.Doc
	all := crdt.Clock{}
	for i := range docs {
		none := func(x crdt.Dot) bool { return d.Has(x) }
		d.Join(&docs[i], &all, none, none)
	}
	return d
}

// final checks what a single replica holds in the end.
func (s *story) final(d crdt.Doc) []Violation {
	return s.h.Final(time.Minute, []Replica{{Node: "n/1", Docs: map[atoll.Key]crdt.Doc{"k": d}}})
}

// want asks for one violation of a property, or for none if p is "".
func want(t *testing.T, got []Violation, p Property, detail string) {
	t.Helper()
	switch {
	case p == "" && len(got) > 0:
		t.Errorf("violations %v, want none", got)
	case p != "" && (len(got) != 1 || got[0].Property != p ||
		!strings.Contains(got[0].Detail, detail)):
		t.Errorf("violations %v, want one of %s with %q", got, p, detail)
	}
}

func TestLostWrite(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	_, b := s.write(2, a, 0, func(e *crdt.Edit) error {
		e.Add(crdt.Path("").Child("b"), crdt.Register, []byte(`"two"`))
		return nil
	})
	want(t, s.final(b), "", "")
	want(t, s.final(a), LostWrite, `the value "two" of "/b" is gone`)
	want(t, s.final(crdt.Doc{}), LostWrite, "")
}

func TestLostWriteNamesTheFirst(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	_, b := s.write(2, crdt.Doc{}, 0, put(`{"b":"two"}`))
	want(t, s.final(union(a, b)), "", "")
	v := s.final(crdt.Doc{})
	want(t, v, LostWrite, `the existence of ""`)
	if v[0].Node != "n/1" || v[0].Key != "k" || v[0].At != time.Minute {
		t.Errorf("%+v: want the node, the key and the time of the look", v[0])
	}
}

func TestOverwrittenIsNotLost(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one","b":"old"}`))
	_, b := s.write(2, a, 0, put(`{"a":"two"}`))
	want(t, s.final(b), "", "")
	_, gone := s.write(1, b, 0, erase)
	want(t, s.final(gone), "", "")
}

func TestResurrection(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	id, b := s.write(2, a, 0, erase)
	by := s.h.ops[id].first()
	seen := func(yes bool) func(crdt.Dot) bool {
		return func(d crdt.Dot) bool { return yes || d != by }
	}
	if v := s.h.Changed(0, "n/2", "k", &a, seen(false)); v != nil {
		t.Errorf("%v: the replica has not seen the deletion", v)
	}
	if v := s.h.Changed(0, "n/2", "k", &b, seen(true)); v != nil {
		t.Errorf("%v: nothing lives", v)
	}
	v := s.h.Changed(5*time.Second, "n/2", "k", &a, seen(true))
	if v == nil || v.Property != Resurrection || v.Node != "n/2" || v.At != 5*time.Second {
		t.Errorf("%v, want a resurrection at n/2", v)
	}
	want(t, s.final(a), Resurrection, "lives again")
}

func TestResurrectionByLostDeletion(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	id, gone := s.write(2, a, 0, erase)
	s.lose(id)
	want(t, s.final(a), "", "") // the deletion never happened
	want(t, s.final(gone), LostWrite, "")
}

func TestPhantom(t *testing.T) {
	s := newStory(t)
	id, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	s.lose(id)
	want(t, s.final(crdt.Doc{}), "", "")
	want(t, s.final(a), Phantom, "never written")
	if s.h.Len() != 0 {
		t.Errorf("%d operations, want none", s.h.Len())
	}
}

func TestPhantomInAnotherForm(t *testing.T) {
	for name, change := range map[string]func(*crdt.Entry){
		"value": func(x *crdt.Entry) { x.Value = []byte(`"other"`) },
		"path":  func(x *crdt.Entry) { x.Path = x.Path.Child("deeper") },
		"kind":  func(x *crdt.Entry) { x.Kind = crdt.Element },
		"time":  func(x *crdt.Entry) { x.Time++ },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t)
			_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
			bent := a.Clone()
			change(&bent.Entries[len(bent.Entries)-1])
			want(t, s.final(bent), Phantom, "")
		})
	}
}

func TestAcknowledgedAndUndone(t *testing.T) {
	s := newStory(t)
	id, _ := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	s.h.Ack(id)
	v := s.h.Lose(3*time.Second, id)
	if v == nil || v.Property != LostWrite || v.Node != "n/1" || v.At != 3*time.Second {
		t.Errorf("%v, want that an acknowledged write was lost", v)
	}
}

func TestReusedDots(t *testing.T) {
	s := newStory(t)
	id, lost := s.write(1, crdt.Doc{}, 0, put(`{"a":"lost"}`))
	s.lose(id)
	s.seqs[1] = 0
	_, kept := s.write(1, crdt.Doc{}, 0, put(`{"a":"kept"}`))
	want(t, s.final(kept), "", "")
	want(t, s.final(lost), Phantom, "")
}

func TestCounters(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 3, inc(3))
	_, b := s.write(2, crdt.Doc{}, 4, inc(4))
	both := union(a, b)
	want(t, s.final(both), "", "")
	want(t, s.final(a), Counters, `"/n" is 3, its increments come to 7`)
	reset := func(e *crdt.Edit) error {
		e.ResetCounters(func(crdt.Path) bool { return true })
		return nil
	}
	_, none := s.write(1, a, 0, reset) // has seen 3 only
	want(t, s.final(none), Counters, `"/n" is 0, its increments come to 4`)
	want(t, s.final(union(none, b)), "", "")
}

func TestCountersTakenWithEarlierRows(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 3, inc(3))
	_, a = s.write(1, a, 2, inc(2)) // one row now, that holds 5
	_, gone := s.write(2, a, 0, erase)
	want(t, s.final(gone), "", "")
	want(t, s.final(a), Counters, "is 5, its increments come to 0")
}

func TestCountersLost(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 3, inc(3))
	id, b := s.write(1, a, 2, inc(2))
	want(t, s.final(b), "", "")
	s.lose(id)
	want(t, s.final(a), "", "")
	want(t, s.final(b), Counters, "is 5, its increments come to 3")
}

func TestConvergence(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"one"}`))
	here := replication.Address{Keyspace: "sim", Partition: 3}
	of := func(d crdt.Doc, seq uint64) Replica {
		return Replica{Node: "n/9", Docs: map[atoll.Key]crdt.Doc{"k": d},
			Clocks: map[replication.Address]crdt.Clock{
				here: crdt.ClockOf(crdt.Run{Origin: 1, First: 1, Last: seq}),
			}}
	}
	haunted := a.Clone()
	haunted.Ghosts = []crdt.Dot{{Origin: 7, Seq: 7}}
	for _, c := range []struct {
		name   string
		b      Replica
		p      Property
		detail string
	}{
		{"alike", of(a, 2), "", ""},
		{"another clock", of(a, 3), Convergence, "the clock of sim/3"},
		{"a ghost", of(haunted, 2), Convergence, "the document is not the same as at n/9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, s.h.Final(0, []Replica{of(a, 2), c.b}), c.p, c.detail)
		})
	}
}

func TestDifferNamesTheLowest(t *testing.T) {
	same := func(x, y int) bool { return x == y }
	a := map[string]int{"a": 1, "b": 2, "d": 4}
	b := map[string]int{"a": 1, "c": 3, "d": 5}
	for range 20 { // maps have no order
		if key, yes := differ(a, b, same); !yes || key != "b" {
			t.Fatalf("%q %v, want b", key, yes)
		}
	}
	if key, yes := differ(a, a, same); yes {
		t.Errorf("%q differs from itself", key)
	}
}

func TestWinner(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"a":"early","s":"x"}`))
	_, b := s.write(2, crdt.Doc{}, 0, put(`{"a":"late"}`))
	d := union(a, b)
	want(t, s.final(d), "", "")
	top := latest(&d)
	if len(top) != 2 || string(top[0].Value) != `"late"` || string(top[1].Value) != `"x"` {
		t.Errorf("latest %v, want late and x", top)
	}
	want(t, shown(`{"a":"late","s":"x"}`, &d), "", "")
	want(t, shown(`{"a":"early","s":"x"}`, &d), Winner, `"/a" shows "early"; the latest is "late"`)
	want(t, shown(`{"a":"late"}`, &d), Winner, `"/s" shows ; the latest is "x"`)
	for i := range d.Entries {
		if string(d.Entries[i].Value) == `"late"` {
			d.Entries[i].Time = 1
		}
	}
	if top := latest(&d); string(top[0].Value) != `"early"` {
		t.Errorf("latest %s, want early", top[0].Value)
	}
}

func TestWinnerLeavesMixedMembersOut(t *testing.T) {
	s := newStory(t)
	_, a := s.write(1, crdt.Doc{}, 0, put(`{"n":5,"o":{"x":"1"},"v":"2"}`))
	_, a = s.write(1, a, 2, inc(2))
	top := latest(&a)
	if len(top) != 1 || top[0].Path != crdt.Path("").Child("v") {
		t.Errorf("latest %v, want v alone: n shows a sum, o an object", top)
	}
	_, whole := s.write(2, crdt.Doc{}, 0, put(`"text"`))
	if top := latest(&whole); top != nil {
		t.Errorf("latest %v of a document without members", top)
	}
	want(t, shown(`"text"`, &whole), "", "")
}

// shown checks a document that readers see as body.
func shown(body string, d *crdt.Doc) []Violation {
	if v := shows([]byte(body), d); v != nil {
		return []Violation{*v}
	}
	return nil
}

func TestLater(t *testing.T) {
	e := func(time hlc.Time, o atoll.Origin, seq uint64) *crdt.Entry {
		return &crdt.Entry{Time: time, Dot: crdt.Dot{Origin: o, Seq: seq}}
	}
	sorted := []*crdt.Entry{e(1, 9, 9), e(2, 1, 9), e(2, 2, 1), e(2, 2, 2), e(3, 1, 1)}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := later(a, b); (got > 0) != (i > j) || (got == 0) != (i == j) {
				t.Errorf("later(%d, %d) = %d", i, j, got)
			}
		}
	}
}

func TestViolationString(t *testing.T) {
	v := Violation{LostWrite, 1500 * time.Millisecond, "tokyo/1", "k7", "it is gone"}
	want := "no-lost-write at 1.5s, node tokyo/1, key k7: it is gone"
	if got := v.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	v = Violation{Property: Convergence, Detail: "no"}
	want = "convergence at 0s: no"
	if got := v.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPropertiesAreNamedOnce(t *testing.T) {
	seen := make(map[Property]bool)
	for _, p := range Properties() {
		if p == "" || seen[p] {
			t.Errorf("property %q", p)
		}
		seen[p] = true
	}
	if len(seen) != 13 {
		t.Errorf("%d properties, want 13", len(seen))
	}
}
