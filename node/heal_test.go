package node

import (
	"testing"

	"github.com/atolledge/atoll"
)

// TestCutAndHeal writes on both sides of a cut and heals it: while it is cut no
// packet passes; afterwards all agree, nothing is lost and nothing is hidden.
func TestCutAndHeal(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(washington, "fields", `{"a":0}`)
	s.put(washington, "same", `{"v":0}`)
	s.put(washington, "gone", `{"x":1,"y":1}`)
	s.put(washington, "gone-there", `{"x":1,"y":1}`)
	s.inc(washington, "count", "/n", 10)
	s.inc(tokyo, "count-there", "/n", 10)
	s.everywhere("count", `{"n":10}`)
	s.everywhere("count-there", `{"n":10}`)
	s.converge()

	s.cutOff("tokyo")
	before, beside := s.delivered("tokyo"), s.delivered("washington")
	s.divided()
	eventually(t, "washington sees that tokyo is down", func() bool {
		return s.state(washington, "tokyo") == atoll.StateDown
	})
	if after := s.delivered("tokyo"); after != before {
		t.Errorf("%d packets came through the cut", after-before)
	}
	if after := s.delivered("washington"); after == beside {
		t.Error("no packet was counted where nothing was cut")
	}

	s.net.Heal()
	s.settle()
	s.united()
	s.sameExports(testSpace)
}

// divided is what both sides do during the cut.
func (s *sea) divided() {
	s.write(washington, "fields", atoll.Merge, `{"left":1}`)
	s.write(tokyo, "fields", atoll.Merge, `{"right":2}`)
	s.put(tokyo, "same", `{"v":"tokyo"}`)
	s.put(frankfurt, "same", `{"v":"frankfurt"}`)
	s.shows(washington, "same", `{"v":"frankfurt"}`)

	s.write(washington, "gone", atoll.Delete, "")
	s.write(tokyo, "gone", atoll.Merge, `{"y":2}`)
	s.write(tokyo, "gone-there", atoll.Delete, "")
	s.write(frankfurt, "gone-there", atoll.Merge, `{"y":3}`)

	for _, key := range []atoll.Key{"count", "count-there"} {
		s.inc(frankfurt, key, "/n", 3)
		s.inc(tokyo, key, "/n", 7)
		s.shows(washington, key, `{"n":13}`)
		s.write(washington, key, atoll.Merge, `{"n":100}`) // a reset of what it saw
		s.inc(washington, key, "/n", 2)
		s.inc(tokyo, key, "/n", -1)
	}
}

// united is what everybody must see after it.
func (s *sea) united() {
	s.t.Helper()
	s.everywhere("fields", `{"a":0,"left":1,"right":2}`)
	s.everywhere("gone", `{"y":2}`)
	s.everywhere("gone-there", `{"y":3}`)
	s.everywhere("count", `{"n":108}`)
	s.everywhere("count-there", `{"n":108}`)
	first, err := s.read(washington, "same", "")
	if err != nil {
		s.t.Fatal(err)
	}
	for i, p := range s.spots {
		d, err := s.read(i, "same", "")
		if err != nil || string(d.Body) != string(first.Body) || d.ETag != first.ETag {
			s.t.Errorf("%s shows %s %s, %v, washington %s", p.id, d.Body, d.ETag, err, first.Body)
		}
		s.bothValues(p.id, d)
		s.remembers(i, "same", "register")
		s.remembers(i, "gone", "delete-edit")
		s.remembers(i, "gone-there", "delete-edit")
		for _, key := range []atoll.Key{"fields", "count"} {
			if d, err := s.read(i, key, ""); err != nil || len(d.Conflicts) > 0 {
				s.t.Errorf("%s has conflicts in %q: %+v %v", p.id, key, d.Conflicts, err)
			}
		}
	}
}

// bothValues checks that the document names the value that lost.
func (s *sea) bothValues(at atoll.NodeID, d atoll.Document) {
	s.t.Helper()
	if len(d.Conflicts) != 1 || d.Conflicts[0].Path != "/v" || len(d.Conflicts[0].Values) != 2 {
		s.t.Fatalf("%s: conflicts %+v", at, d.Conflicts)
	}
	values := d.Conflicts[0].Values
	won, lost := values[0], values[1]
	if !won.Winner || lost.Winner || string(d.Body) != `{"v":`+string(won.JSON)+`}` {
		s.t.Errorf("%s: winner %s, loser %s of %s", at, won.JSON, lost.JSON, d.Body)
	}
	for _, v := range values {
		if string(v.JSON) != `"`+string(v.Region)+`"` || v.Origin == 0 || v.Time.IsZero() {
			s.t.Errorf("%s: value %+v", at, v)
		}
	}
}

// state returns what node i says of a region.
func (s *sea) state(i int, r atoll.Region) string {
	for _, v := range s.node(i).Cluster().Regions {
		if v.Name == r {
			return v.State
		}
	}
	return ""
}

// TestNextWriteEndsAConflict: losers stay until somebody writes who has seen them.
func TestNextWriteEndsAConflict(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(tokyo, "x", `{"v":0}`)
	s.everywhere("x", `{"v":0}`)
	s.cutOff("tokyo")
	s.put(tokyo, "x", `{"v":1}`)
	s.put(frankfurt, "x", `{"v":2}`)
	s.net.Heal()
	s.converge()
	s.write(washington, "x", atoll.Merge, `{"v":3}`)
	s.everywhere("x", `{"v":3}`)
	for i := range s.spots {
		if d, err := s.read(i, "x", ""); err != nil || len(d.Conflicts) != 0 {
			t.Errorf("%s: %+v, %v", s.spots[i].id, d.Conflicts, err)
		}
	}
}

// TestDeletesLeaveNothing: a deleted document does not come back, however long
// a region was away, and the listing is empty.
func TestDeletesLeaveNothing(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	for _, key := range []atoll.Key{"a", "b/c", "é"} {
		s.put(frankfurt, key, `{"v":1,"o":{"p":[1,2]}}`)
	}
	s.converge()
	s.stop(tokyo)
	for _, key := range []atoll.Key{"a", "b/c", "é"} {
		s.write(washington, key, atoll.Delete, "")
	}
	s.start(tokyo)
	s.settle()
	for _, n := range s.living() {
		if out := export(t, n, testSpace); len(out) > 0 {
			t.Errorf("%s still has %s", n.Self(), out)
		}
	}
	if got := s.get(tokyo, "a"); got != string(atoll.NotFound) {
		t.Errorf("tokyo shows %s", got)
	}
}
