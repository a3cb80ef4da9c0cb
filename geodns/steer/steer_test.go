package steer

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
)

var (
	berlin   = Point{52.5, 13.4}
	osaka    = Point{34.7, 135.5}
	newYork  = Point{40.7, -74.0}
	honolulu = Point{21.3, -157.9}
)

// threeIslands is the dev world, all up.
func threeIslands() atoll.Cluster {
	return atoll.Cluster{Self: "washington/1", Regions: []atoll.RegionView{
		island("frankfurt", 50.1, 8.7, "127.0.2.1", "2001:db8::2"),
		island("tokyo", 35.7, 139.7, "127.0.3.1", "2001:db8::3"),
		island("washington", 38.9, -77.0, "127.0.1.1", "2001:db8::1"),
	}}
}

func island(name string, lat, lon float64, addrs ...string) atoll.RegionView {
	return atoll.RegionView{
		Name: atoll.Region(name), Lat: lat, Lon: lon, State: atoll.StateUp, Addresses: addrs,
	}
}

func at(p Point) Client {
	a := netip.MustParseAddr("1.2.3.4")
	r, _ := a.Prefix(8)
	return Client{Addr: a, Range: r, At: p, Known: true}
}

func unknown() Client {
	c := at(Point{})
	c.Known = false
	return c
}

// states sets the states of regions: "tokyo:down washington:drained".
func states(c atoll.Cluster, list string) atoll.Cluster {
	for s := range strings.FieldsSeq(list) {
		name, state, _ := strings.Cut(s, ":")
		i := slices.IndexFunc(c.Regions, func(r atoll.RegionView) bool { return string(r.Name) == name })
		c.Regions[i].State = state
	}
	return c
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name   string
		states string
		client Client
		want   string // region, then addresses
	}{
		{"near Frankfurt", "", at(berlin), "frankfurt 127.0.2.1 2001:db8::2"},
		{"near Tokyo", "", at(osaka), "tokyo 127.0.3.1 2001:db8::3"},
		{"near Washington", "", at(newYork), "washington 127.0.1.1 2001:db8::1"},
		{"over the date line", "", at(honolulu), "tokyo 127.0.3.1 2001:db8::3"},
		{"nobody knows where", "", unknown(), "washington 127.0.1.1 2001:db8::1"},
		{"nearest is down", "tokyo:down", at(osaka), "frankfurt 127.0.2.1 2001:db8::2"},
		{"nearest is drained", "tokyo:drained", at(osaka), "frankfurt 127.0.2.1 2001:db8::2"},
		{"nearest is starting", "tokyo:starting", at(osaka), "frankfurt 127.0.2.1 2001:db8::2"},
		{"nearest has left", "tokyo:left", at(osaka), "frankfurt 127.0.2.1 2001:db8::2"},
		{"own region is down", "washington:down", unknown(), "frankfurt 127.0.2.1 2001:db8::2"},
		{
			"drained before down", "tokyo:down frankfurt:drained washington:drained",
			at(osaka), "frankfurt 127.0.2.1 2001:db8::2",
		},
		{
			"one up is enough", "tokyo:down frankfurt:drained",
			at(berlin), "washington 127.0.1.1 2001:db8::1",
		},
		{
			"fail open, nearest first", "tokyo:down frankfurt:down washington:starting", at(berlin),
			"frankfurt 127.0.2.1 127.0.1.1 127.0.3.1 2001:db8::2 2001:db8::1 2001:db8::3",
		},
		{"all have left", "tokyo:left frankfurt:left washington:left", at(berlin), ""},
	} {
		got := NewWorld(states(threeIslands(), c.states)).Choose(c.client, 4)
		if s := show(got); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}

func show(a Answer) string {
	s := string(a.Region)
	for _, x := range slices.Concat(a.V4, a.V6) {
		s += " " + x.String()
	}
	return s
}

func TestFamilies(t *testing.T) {
	c := threeIslands()
	c.Regions[0].Addresses = []string{"2001:db8::2"}                                 // frankfurt
	c.Regions[1].Addresses = []string{"127.0.3.1"}                                   // tokyo
	c.Regions[2].Addresses = []string{"", "nonsense", "0.0.0.0", "::ffff:127.0.1.1"} // washington
	w := NewWorld(c)
	for _, x := range []struct {
		at   Point
		want string
	}{
		{berlin, "frankfurt 127.0.1.1 2001:db8::2"}, // IPv4 from the next, IPv6 from itself
		{osaka, "tokyo 127.0.3.1"},                  // no IPv6 is better than a far one
		{newYork, "washington 127.0.1.1"},
	} {
		if s := show(w.Choose(at(x.at), 4)); s != x.want {
			t.Errorf("%v: got %q, want %q", x.at, s, x.want)
		}
	}
	c.Regions[2].Addresses = nil
	if s := show(NewWorld(c).Choose(at(newYork), 4)); s != "frankfurt 127.0.3.1 2001:db8::2" {
		t.Errorf("a region without addresses: %q", s)
	}
}

func TestDrainedAndMissedIsNotAlive(t *testing.T) {
	c := states(threeIslands(), "tokyo:drained frankfurt:drained washington:down")
	c.Regions[1].Votes = []atoll.Vote{
		{Voter: "frankfurt", Up: false, Age: time.Second}, {Voter: "washington", Up: false},
	}
	if got := NewWorld(c).Choose(at(osaka), 4); got.Region != "frankfurt" {
		t.Errorf("got %v", show(got))
	}
	c.Regions[1].Votes[1].Up = true
	if got := NewWorld(c).Choose(at(osaka), 4); got.Region != "tokyo" {
		t.Errorf("with half of the votes: got %v", show(got))
	}
}

func TestEqualDistancesByName(t *testing.T) {
	c := atoll.Cluster{Regions: []atoll.RegionView{
		island("b", 1, 1, "127.0.0.2"), island("a", 1, 1, "127.0.0.1"), island("c", 1, 1, "127.0.0.3"),
	}}
	for _, self := range []atoll.NodeID{"", "c/1"} {
		c.Self = self
		if got := NewWorld(c).Choose(at(berlin), 1); got.Region != "a" {
			t.Errorf("self %q: %v", self, got)
		}
	}
	if got := NewWorld(c).Choose(unknown(), 1); got.Region != "c" {
		t.Errorf("nobody knows where: %v, want the own region", got)
	}
}

// TestManyEqualDistancesByName has so many that an unstable sort shows.
func TestManyEqualDistancesByName(t *testing.T) {
	var c atoll.Cluster
	for i := range 60 {
		r := island(fmt.Sprintf("r%02d", i), float64(i%2), 1, fmt.Sprintf("127.0.0.%d", i+1))
		c.Regions = append(c.Regions, r)
	}
	_, list := NewWorld(c).Explain(at(Point{0, 1}), 4)
	for i, l := range list {
		if want := fmt.Sprintf("r%02d", 2*(i%30)+i/30); string(l.Region) != want {
			t.Fatalf("place %d is %s, want %s", i, l.Region, want)
		}
	}
}

func TestKM(t *testing.T) {
	for _, c := range []struct {
		a, b Point
		want float64
	}{
		{Point{}, Point{}, 0},
		{Point{90, 0}, Point{-90, 77}, 20015},
		{Point{0, 0}, Point{0, 180}, 20015},
		{Point{0, 179}, Point{0, -179}, 222},
		{Point{38.9, -77}, Point{50.1, 8.7}, 6540},
		{Point{35.7, 139.7}, Point{50.1, 8.7}, 9337},
		{Point{math.NaN(), 0}, Point{}, 20015},
	} {
		if got := KM(c.a, c.b); math.Abs(got-c.want) > 25 {
			t.Errorf("KM(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// TestKMAgreesWithVectors measures the same angle by the vectors' cross and
// dot products.
func TestKMAgreesWithVectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPoint(t), drawPoint(t)
		u, v := vector(a), vector(b)
		cross := math.Hypot(math.Hypot(u[1]*v[2]-u[2]*v[1], u[2]*v[0]-u[0]*v[2]), u[0]*v[1]-u[1]*v[0])
		want := earthKM * math.Atan2(cross, u[0]*v[0]+u[1]*v[1]+u[2]*v[2])
		if got := KM(a, b); math.Abs(got-want) > 0.51 || got != KM(b, a) {
			t.Fatalf("KM(%v, %v) = %v, want %v", a, b, got, want)
		}
	})
}

func vector(p Point) [3]float64 {
	const rad = math.Pi / 180
	c := math.Cos(p.Lat * rad)
	return [3]float64{c * math.Cos(p.Lon*rad), c * math.Sin(p.Lon*rad), math.Sin(p.Lat * rad)}
}

func drawPoint(t *rapid.T) Point {
	return Point{rapid.Float64Range(-90, 90).Draw(t, "lat"), rapid.Float64Range(-180, 180).Draw(t, "lon")}
}

// drawCluster draws up to six regions on few points, in all states, with none
// to eight addresses.
func drawCluster(t *rapid.T) atoll.Cluster {
	c := atoll.Cluster{Self: "r0/1"}
	for i := range rapid.IntRange(0, 6).Draw(t, "regions") {
		p := rapid.SampledFrom([]Point{berlin, osaka, newYork, honolulu}).Draw(t, "at")
		r := island(fmt.Sprintf("r%d", i), p.Lat, p.Lon)
		r.State = rapid.SampledFrom([]string{
			atoll.StateUp, atoll.StateDown, atoll.StateDrained, atoll.StateStarting, atoll.StateLeft,
		}).Draw(t, "state")
		for j := range rapid.IntRange(0, 4).Draw(t, "v4") {
			r.Addresses = append(r.Addresses, fmt.Sprintf("127.%d.0.%d", i, j))
		}
		for j := range rapid.IntRange(0, 4).Draw(t, "v6") {
			r.Addresses = append(r.Addresses, fmt.Sprintf("2001:db8::%d:%d", i, j))
		}
		c.Regions = append(c.Regions, r)
	}
	return rapid.Custom(func(t *rapid.T) atoll.Cluster {
		c.Regions = rapid.Permutation(c.Regions).Draw(t, "order")
		return c
	}).Draw(t, "cluster")
}

func drawClient(t *rapid.T) Client {
	a := netip.AddrFrom4([4]byte{1, 2, rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")})
	r, _ := a.Prefix(rapid.SampledFrom([]int{8, 16, 28}).Draw(t, "range"))
	p := rapid.SampledFrom([]Point{berlin, osaka, newYork, honolulu, {}}).Draw(t, "client")
	return Client{Addr: a, Range: r, At: p, Known: p != Point{}}
}

// naiveRegions is the dumb twin of the choice of regions: all that may answer.
func naiveRegions(c atoll.Cluster, client Client) []atoll.RegionView {
	by := map[string][]atoll.RegionView{}
	var known []atoll.RegionView
	for _, r := range c.Regions {
		if r.State != atoll.StateLeft && len(r.Addresses) > 0 {
			by[r.State] = append(by[r.State], r)
			known = append(known, r)
		}
	}
	list := known
	if len(by[atoll.StateUp]) > 0 {
		list = by[atoll.StateUp]
	} else if len(by[atoll.StateDrained]) > 0 {
		list = by[atoll.StateDrained]
	}
	from := client.At
	for _, r := range c.Regions {
		if !client.Known && r.Name == c.Self.Region() && r.State != atoll.StateLeft {
			from = Point{r.Lat, r.Lon}
		}
	}
	slices.SortFunc(list, func(a, b atoll.RegionView) int {
		da, db := KM(from, Point{a.Lat, a.Lon}), KM(from, Point{b.Lat, b.Lon})
		own := !client.Known
		switch {
		case own && a.Name == c.Self.Region():
			return -1
		case own && b.Name == c.Self.Region():
			return 1
		case da != db:
			return int(da - db)
		}
		return strings.Compare(string(a.Name), string(b.Name))
	})
	return list
}

func TestChooseAgreesWithNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, client := drawCluster(t), drawClient(t)
		n := rapid.IntRange(1, 5).Draw(t, "n")
		got := NewWorld(c).Choose(client, n)
		want := naiveRegions(c, client)
		if len(want) == 0 {
			if got.Region != "" || len(got.V4)+len(got.V6) > 0 {
				t.Fatalf("an answer of nobody: %v", show(got))
			}
			return
		}
		if got.Region != want[0].Name {
			t.Fatalf("got %s, want %s", got.Region, want[0].Name)
		}
		if len(got.V4)+len(got.V6) == 0 {
			t.Fatal("the answer is empty though a region is known")
		}
		if len(got.V4) > n || len(got.V6) > n {
			t.Fatalf("more than %d addresses: %v", n, show(got))
		}
		checkOrigin(t, got, want)
	})
}

// checkOrigin checks whose addresses the answer holds.
func checkOrigin(t *rapid.T, got Answer, want []atoll.RegionView) {
	owner := map[netip.Addr]string{}
	has4 := ""
	for _, r := range want {
		for _, s := range r.Addresses {
			owner[netip.MustParseAddr(s)] = string(r.Name)
			if has4 == "" && netip.MustParseAddr(s).Is4() {
				has4 = string(r.Name)
			}
		}
	}
	open := want[0].State != atoll.StateUp && want[0].State != atoll.StateDrained
	for _, a := range slices.Concat(got.V4, got.V6) {
		switch o := owner[a]; {
		case o == "":
			t.Fatalf("%v is of a region that must not answer", a)
		case open || o == string(got.Region):
		case a.Is4() && o == has4 && !slices.ContainsFunc(got.V4, func(b netip.Addr) bool {
			return owner[b] == string(got.Region)
		}):
		default:
			t.Fatalf("%v is of %s, chosen was %s", a, o, got.Region)
		}
	}
	if has4 != "" && len(got.V4) == 0 {
		t.Fatalf("no IPv4 address though %s has one", has4)
	}
}

func TestScope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := NewWorld(drawCluster(t))
		n := rapid.IntRange(1, 3).Draw(t, "n")
		a := drawClient(t)
		b := a // a second client at the same place, of the same range
		b.Addr = netip.AddrFrom4([4]byte{1, 2, rapid.Byte().Draw(t, "c2"), rapid.Byte().Draw(t, "d2")})
		if !a.Range.Contains(b.Addr) {
			b.Addr = a.Addr
		}
		ga, gb := w.Choose(a, n), w.Choose(b, n)
		if !ga.Scope.Contains(a.Addr) || ga.Scope.Bits() < a.Range.Bits() {
			t.Fatalf("scope %v of %v in %v", ga.Scope, a.Addr, a.Range)
		}
		if ga.Scope.Overlaps(gb.Scope) && (ga.Scope != gb.Scope || show(ga) != show(gb)) {
			t.Fatalf("%v %q and %v %q", ga.Scope, show(ga), gb.Scope, show(gb))
		}
	})
}

// TestSpread checks that addresses of a big region share its clients evenly,
// and that only the clients of an address that goes move.
func TestSpread(t *testing.T) {
	var c atoll.Cluster
	var addrs []string
	for i := range 8 {
		addrs = append(addrs, fmt.Sprintf("127.0.0.%d", i+1))
	}
	c.Regions = []atoll.RegionView{island("big", 0, 0, addrs...)}
	before := NewWorld(c)
	c.Regions = []atoll.RegionView{island("big", 0, 0, addrs[1:]...)}
	after := NewWorld(c)
	gone, count := netip.MustParseAddr(addrs[0]), map[netip.Addr]int{}
	const clients = 8000
	for i := range clients {
		client := at(berlin)
		client.Addr = netip.AddrFrom4([4]byte{1, byte(i >> 8), byte(i), 9})
		x, y := before.Choose(client, 2), after.Choose(client, 2)
		count[x.V4[0]]++
		if x.V4[0] != gone && x.V4[0] != y.V4[0] {
			t.Fatalf("%v moved from %v to %v", client.Addr, x.V4, y.V4)
		}
		if x.Scope.Bits() != share4 {
			t.Fatalf("scope %v", x.Scope)
		}
	}
	for a, n := range count {
		if n < clients/8*8/10 || n > clients/8*12/10 {
			t.Errorf("%v has %d of %d clients", a, n, clients)
		}
	}
}

func TestVersion(t *testing.T) {
	base := NewWorld(threeIslands()).Version
	c := threeIslands()
	slices.Reverse(c.Regions)
	c.Self = "tokyo/1"
	if NewWorld(c).Version != base {
		t.Error("order or self changes the version")
	}
	for name, change := range map[string]func(*atoll.RegionView){
		"state":   func(r *atoll.RegionView) { r.State = atoll.StateDown },
		"lat":     func(r *atoll.RegionView) { r.Lat++ },
		"lon":     func(r *atoll.RegionView) { r.Lon++ },
		"name":    func(r *atoll.RegionView) { r.Name = "x" },
		"address": func(r *atoll.RegionView) { r.Addresses = r.Addresses[:1] },
		"left":    func(r *atoll.RegionView) { r.State = atoll.StateLeft },
	} {
		c := threeIslands()
		change(&c.Regions[1])
		if NewWorld(c).Version == base {
			t.Errorf("%s does not change the version", name)
		}
	}
}

func TestExplain(t *testing.T) {
	c := states(threeIslands(), "tokyo:down")
	c.Regions[1].Votes = []atoll.Vote{{Voter: "frankfurt", Up: false, Age: 1500 * time.Millisecond}}
	c.Regions = append(c.Regions, island("atlantis", 31, -24), island("vienna", 48.2, 16.4, "2001:db8::4"))
	brno := Point{49.2, 16.6}
	got, list := NewWorld(c).Explain(at(brno), 4)
	if got.Region != "vienna" {
		t.Fatalf("chosen: %s", got.Region)
	}
	want := []string{
		"vienna true chosen: the nearest healthy region",
		"frankfurt true vienna has no IPv4 address: the nearest that has",
		"washington true farther than vienna",
		"atlantis false it has no public address",
		"tokyo false down: 0 of 1 voters see it",
	}
	for i, l := range list {
		s := fmt.Sprint(l.Region, " ", l.Eligible, " ", l.Why)
		if i >= len(want) || s != want[i] {
			t.Errorf("line %d: %q", i, s)
		}
	}
	if v := list[4].Votes; len(v) != 1 || v[0] != (Vote{"frankfurt", false, 1500}) {
		t.Errorf("votes %v", v)
	}
	if KM(brno, Point{48.2, 16.4}) != list[0].KM {
		t.Errorf("km %v", list[0].KM)
	}
}

// TestExplainWords checks every reason there is.
func TestExplainWords(t *testing.T) {
	for _, c := range []struct{ states, region, want string }{
		{"tokyo:drained", "tokyo", "drained by an operator"},
		{"tokyo:starting", "tokyo", "starting: it is not ready yet"},
		{
			"tokyo:down frankfurt:drained washington:down", "frankfurt",
			"chosen: drained, but no healthy region is left and it is the nearest alive",
		},
		{
			"tokyo:down frankfurt:down washington:down", "washington",
			"no region lives: all that are known are answered",
		},
	} {
		_, list := NewWorld(states(threeIslands(), c.states)).Explain(at(berlin), 4)
		i := slices.IndexFunc(list, func(x Candidate) bool { return string(x.Region) == c.region })
		if list[i].Why != c.want {
			t.Errorf("%s: %q, want %q", c.states, list[i].Why, c.want)
		}
	}
	missed := states(threeIslands(), "tokyo:drained")
	missed.Regions[1].Votes = []atoll.Vote{{Voter: "frankfurt"}, {Voter: "washington"}}
	_, list := NewWorld(missed).Explain(at(berlin), 4)
	if w := list[2].Why; w != "drained by an operator, and 2 of 2 voters miss it" {
		t.Errorf("%q", w)
	}
}

func TestExplainAgreesWithChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, client := NewWorld(drawCluster(t)), drawClient(t)
		want := w.Choose(client, 2)
		got, list := w.Explain(client, 2)
		if show(got) != show(want) || got.Scope != want.Scope || len(list) != len(w.Regions()) {
			t.Fatalf("explained %v, answered %v", show(got), show(want))
		}
		if want.Region != "" && (list[0].Region != want.Region || !list[0].Eligible) {
			t.Fatalf("first of the list is %v, answered %s", list[0], want.Region)
		}
	})
}

func BenchmarkChoose(b *testing.B) {
	w := NewWorld(threeIslands())
	b.ReportAllocs()
	for b.Loop() {
		w.Choose(at(osaka), 4)
	}
}
