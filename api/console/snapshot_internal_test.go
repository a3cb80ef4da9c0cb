package console

import (
	"math/rand/v2"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/atolledge/atoll"
)

// view is what a node of a region knows of another region.
func view(self atoll.NodeID, about atoll.Region, n atoll.NodeView, votes ...atoll.Vote) atoll.Cluster {
	return atoll.Cluster{Self: self, Regions: []atoll.RegionView{
		{Name: about, Votes: votes, Nodes: []atoll.NodeView{n}},
	}}
}

// both is the own view of a cluster of a and b.
func both(votesOnA, votesOnB []atoll.Vote) atoll.Cluster {
	return atoll.Cluster{Self: "c/1", Regions: []atoll.RegionView{
		{Name: "a", Votes: votesOnA}, {Name: "b", Votes: votesOnB},
	}}
}

func TestLinks(t *testing.T) {
	up, gone := atoll.NodeView{ID: "x/1", State: atoll.StateUp}, atoll.NodeView{State: atoll.StateDown}
	near, far := up, up
	near.RTT, far.RTT = 80*time.Millisecond, 90*time.Millisecond
	says := func(who atoll.Region, up bool, age time.Duration) []atoll.Vote {
		return []atoll.Vote{{Voter: who, Up: up, Age: age}}
	}
	yes, no := func(w atoll.Region) []atoll.Vote { return says(w, true, 0) },
		func(w atoll.Region) []atoll.Vote { return says(w, false, 0) }
	for _, c := range []struct {
		name  string
		own   atoll.Cluster
		views []atoll.Cluster
		state string
		rtt   float64
	}{
		{"nobody said anything", both(nil, nil), nil, linkNone, 0},
		{"both ends hear", both(nil, nil),
			[]atoll.Cluster{view("a/1", "b", far), view("b/1", "a", near)}, linkUp, 80},
		{"one end is looked into", both(nil, nil), []atoll.Cluster{view("a/1", "b", far)}, linkUp, 90},
		{"neither hears", both(nil, nil),
			[]atoll.Cluster{view("a/1", "b", gone), view("b/1", "a", gone)}, linkCut, 0},
		{"one hears", both(nil, nil),
			[]atoll.Cluster{view("a/1", "b", far), view("b/1", "a", gone)}, linkOneWay, 90},
		{"one does not hear, the other says nothing", both(nil, nil),
			[]atoll.Cluster{view("a/1", "b", gone)}, linkSilent, 0},
		{"a vote decides before the connection, which ends later", both(nil, nil),
			[]atoll.Cluster{view("a/1", "b", up, no("a")...), view("b/1", "a", up, no("b")...)}, linkCut, 0},
		{"by votes alone", both(yes("b"), yes("a")), nil, linkUp, 0},
		{"by votes alone, no", both(no("b"), no("a")), nil, linkCut, 0},
		{"by votes of one", both(no("b"), nil), nil, linkSilent, 0},
		{"by votes, one way", both(yes("b"), no("a")), nil, linkOneWay, 0},
		{"a vote of long ago is none", both(says("b", true, stale), nil), nil, linkNone, 0},
		{"another region's vote is none", both(yes("c"), yes("c")), nil, linkNone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := links(c.own, c.views)
			if len(got) != 1 || got[0].State != c.state || got[0].RTTMS != c.rtt {
				t.Errorf("got %+v, want %s %v", got, c.state, c.rtt)
			}
		})
	}
}

func TestLinksOfMany(t *testing.T) {
	var own atoll.Cluster
	for _, name := range []atoll.Region{"a", "b", "c", "d"} {
		own.Regions = append(own.Regions, atoll.RegionView{Name: name})
	}
	seen := map[[2]atoll.Region]bool{}
	for _, l := range links(own, nil) {
		seen[[2]atoll.Region{l.A, l.B}] = l.A < l.B
	}
	if len(seen) != 6 {
		t.Errorf("4 regions have 6 links, not %v", seen)
	}
	for pair, ordered := range seen {
		if !ordered {
			t.Errorf("%v is not in order", pair)
		}
	}
}

func TestVotesOn(t *testing.T) {
	yes := atoll.Vote{Voter: "b", Up: true}
	views := []atoll.Cluster{view("a/1", "a", atoll.NodeView{}), view("b/1", "c", atoll.NodeView{}),
		view("b/1", "a", atoll.NodeView{}, yes), view("c/1", "a", atoll.NodeView{}, yes, yes)}
	if got := votesOn("a", views); len(got) != 1 || got[0] != yes {
		t.Errorf("votes on a: %v", got)
	}
	if got := votesOn("b", views); got != nil {
		t.Errorf("votes on b, of which nobody says anything: %v", got)
	}
}

func TestOrigin(t *testing.T) {
	for _, c := range []struct{ scheme, addr, port, want string }{
		{"http://", "192.0.2.1", "8080", "http://192.0.2.1:8080"},
		{"https://", "192.0.2.1", "", "https://192.0.2.1"},
		{"http://", "2001:db8::1", "8080", ""},
		{"http://", "; script-src *", "8080", ""},
		{"http://", "example.org", "8080", ""},
		{"http://", "192.0.2.1", "80; script-src *", ""},
		{"http://", "", "8080", ""},
	} {
		got, ok := origin(c.scheme, c.addr, c.port)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q %q: %q %v, want %q", c.addr, c.port, got, ok, c.want)
		}
	}
}

// counts is a source that exposes counters.
func counts(writes, queries float64) gatherer {
	family := func(name string, v float64) *dto.MetricFamily {
		return &dto.MetricFamily{Name: &name, Metric: []*dto.Metric{{Counter: &dto.Counter{Value: &v}}}}
	}
	return gatherer{family("atoll_replication_mutations_total", writes),
		family("atoll_dns_queries_total", queries), family("go_goroutines", 99)}
}

type gatherer []*dto.MetricFamily

func (g gatherer) Gather() ([]*dto.MetricFamily, error) { return g, nil }

func TestMeter(t *testing.T) {
	var m meter
	at := time.Unix(1000, 0)
	for i, c := range []struct {
		after   time.Duration
		sources []Source
		writes  float64 // of a/1, a second; -1: not known
	}{
		{0, []Source{{Node: "a/1", Metrics: counts(100, 0)}}, -1},
		{time.Second, []Source{{Node: "a/1", Metrics: counts(130, 0)}}, 30},
		{2 * time.Second, []Source{{Node: "a/1", Metrics: counts(150, 0)}}, 10},
		{0, []Source{{Node: "a/1", Metrics: counts(160, 0)}}, -1},        // no time has passed
		{time.Second, []Source{{Node: "a/1", Metrics: counts(7, 0)}}, 7}, // started anew
		{time.Second, nil, -1},
		{time.Second, []Source{{Node: "a/1", Metrics: counts(9, 0)}}, -1}, // it was away
		{time.Second, []Source{{Node: "a/1", Metrics: counts(9, 0)}, {Node: "a/1", Metrics: counts(4, 0)}}, 4},
		{time.Second, []Source{{Node: "a/1"}}, -1},
	} {
		at = at.Add(c.after)
		got, ok := m.read(at, c.sources)["a/1"]
		if ok != (c.writes >= 0) || ok && got.Writes != c.writes {
			t.Errorf("step %d: %v %v, want %v", i, got, ok, c.writes)
		}
	}
}

// The rates of any history add up to what was counted.
func TestMeterAddsUp(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var m meter
		at, total, sum := time.Unix(0, 0), 0.0, 0.0
		m.read(at, []Source{{Node: "a/1", Metrics: counts(0, 0)}})
		for range 20 {
			seconds := 1 + chance.IntN(3)
			total += float64(seconds * chance.IntN(50))
			at = at.Add(time.Duration(seconds) * time.Second)
			r := m.read(at, []Source{{Node: "a/1", Metrics: counts(total, total)}})["a/1"]
			if r.Writes != r.DNS {
				t.Fatalf("%v", r)
			}
			sum += r.Writes * float64(seconds)
		}
		if d := sum - total; d > 3 || d < -3 { // rates are rounded to a tenth
			t.Fatalf("%v counted, %v by rates", total, sum)
		}
	}
}
