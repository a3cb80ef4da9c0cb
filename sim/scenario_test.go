package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/sim/check"
)

const small = `version: 1
name: small
topology:
  regions: {a: 2, b: 1}
  rtt: {b-a: 80}
workload: {clients: 3, rate: 4, keys: 5, mix: {put: 1}}
phases: {chaos: 2s, settle: 20s}
`

func parsed(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse("small.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	s := parsed(t, small+`links: {jitter: 3ms, loss: 0.5%, dup: 12%, late: 0.0001%, break: 100%}
faults:
  timed:
    - {at: 1s, do: slow, between: [a, b/1], by: 30ms, for: 500ms}
    - {at: 500ms, do: partition, between: [b]}
    - {at: 1s, do: crash, node: a/2, for: 10ms}
    - {at: 1500ms, do: heal}
checks: [convergence, winner]
`)
	p, err := s.Plan(9)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Links{Jitter: 3, Loss: 5000, Dup: 120_000, Late: 1, Break: million}); p.Links != want {
		t.Errorf("links %+v, want %+v", p.Links, want)
	}
	want := []Fault{
		{At: 500, Kind: Partition, A: "b"},
		{At: 1000, For: 500, Kind: Slow, A: "a", B: "b/1", By: 30},
		{At: 1000, For: 10, Kind: Crash, A: "a/2"},
		{At: 1500, Kind: Heal},
	}
	if !slices.Equal(p.Faults, want) {
		t.Errorf("faults %v, want %v", p.Faults, want)
	}
	clients := []atoll.NodeID{"a/1", "a/2", "a/1", "b/1", "b/1", "b/1"}
	if !slices.Equal(p.Workload.Clients, clients) || p.Workload.Gap != 250 {
		t.Errorf("clients %v every %d ms", p.Workload.Clients, p.Workload.Gap)
	}
	if p.RTT[0][1] != 80 || p.RTT[1][0] != 80 || p.RTT[0][0] != 0 {
		t.Errorf("round trips %v", p.RTT)
	}
	if !slices.Equal(p.Checks, []check.Property{check.Convergence, check.Winner}) {
		t.Errorf("checks %v", p.Checks)
	}
	if p.Seed != 9 || p.Chaos != 2000 || p.Settle != 20_000 || p.Workload.Keyspace != "sim" {
		t.Errorf("plan %+v", p)
	}
}

// TestRefused is what a scenario may not say: each names the place.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"version: 1\nname: x\ncolour: red\n", `small.yaml line 3: unknown key "colour"`},
		{"version: 1\nname: x\nworkload:\n  keys: 5\n  kyes: 6\n", `line 5: unknown key "kyes"`},
		{"version: 1\nname: x\nworkload:\n  keys: many\n", `line 4: `},
		{"version: 1\nname: x\nworkload:\n  keys: many\n", `(at "keys")`},
		{"version: 1\nname: x\nphases: {chaos: soon}\n", `line 3: "soon" is no duration`},
		{"version: 1\nname: x\nphases: {chaos: soon}\n", `(at "chaos")`},
		{"version: 1\nname: x\nphases: {settle: 1us}\n", `"1us" is no duration of whole milliseconds`},
		{"version: 1\nversion: 1\n", `line 2`},
		{"version: 1\nname: [\n", `small.yaml`},
		{"version: 2\nname: x\n", `version 2, want version: 1`},
		{"name: x\n", `version 0, want version: 1`},
		{"version: 1\n", `name is missing`},
		{"", `small.yaml`},
		{small + "---\nversion: 1\n", "second YAML document"},
		{"version: &v 1\nname: x\n", "line 1: tags, anchors and aliases"},
	} {
		_, err := Parse("small.yaml", []byte(c.text))
		var e *atoll.Error
		if !errors.As(err, &e) || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	if _, err := Parse("x", make([]byte, MaxScenario+1)); atoll.KindOf(err) != atoll.TooLarge {
		t.Errorf("%v, want too-large", err)
	}
}

// TestUnplannable is what reads well and cannot be done.
func TestUnplannable(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"{a: 2, b: 1}", "{}", "topology.regions is empty"},
		{"{a: 2, b: 1}", "{a: 2, b: 0}", "topology.regions.b: 0 nodes"},
		{"{a: 2, b: 1}", "{a: 1000, b: 100}", "topology.regions.b: 100 nodes"},
		{"{b-a: 80}", "{b-a: 80, a-b: 80}", "topology.rtt names a pair"},
		{"{b-a: 80}", "{b-c: 80}", "no distance is known between b and a"},
		{"{b-a: 80}", "{b-a: 80000}", "a round trip of 80000 ms"},
		{"clients: 3", "clients: -1", "workload.clients: -1"},
		{"clients: 3", "clients: 5000", "workload.clients: 5000"},
		{"rate: 4", "rate: 0", "workload.rate: 0"},
		{"keys: 5", "keys: 0", "0 keys"},
		{"keys: 5", "keys: 5, partitions: 7", "workload.partitions: 7"},
		{"{put: 1}", "{}", "a mix"},
		{"{put: 1}", "{put: -1}", "a weight of -1"},
		{"settle: 20s", "settle: 0s", "phases of 2000 and 0 ms"},
		{"chaos: 2s", "chaos: 25h", "phases of"},
		{"phases", "links: {loss: 1}\nphases", `links.loss: "1"`},
		{"phases", "links: {loss: 101%}\nphases", `links.loss: "101%"`},
		{"phases", "links: {dup: 0.00001%}\nphases", `links.dup`},
		{"phases", "links: {late: -1%}\nphases", `links.late`},
		{"phases", "links: {break: x%}\nphases", `links.break`},
		{"phases", "links: {jitter: 2m}\nphases", `jitter of 120000 ms`},
		{"  rtt:", "  skew: -1s\n  rtt:", `topology.skew`},
		{"  rtt:", "  disk: 2m\n  rtt:", `disk of 120000 ms`},
		{"phases", "checks: [luck]\nphases", `unknown check "luck"`},
		{"phases", "links: {delay: [{share: 50%, fixed: 1}]}\nphases", "links.delay: the shares are 50%"},
		{"phases", "links: {delay: [{exp: {rate: fast}}]}\nphases", `links.delay[0]: exp.rate: "fast"`},
		{"  rtt:", "  overlay: [[1], [0]]\n  rtt:", "topology.overlay has 2 lists for 3 nodes"},
		{"  rtt:", "  overlay: [[1], [0], [2]]\n  rtt:", "topology.overlay[2]: 2, want other nodes"},
		{"  rtt:", "  overlay: [[1, 1], [0], []]\n  rtt:", "topology.overlay[0]: 1, want other nodes"},
		{"  rtt:", "  overlay: [[3], [0], []]\n  rtt:", "topology.overlay[0]: 3, want other nodes"},
		{"  rtt:", "  overlay: [[1], [0, 2], []]\n  rtt:", "topology.overlay: 1 names 2, which does not"},
		{"  rtt:", "  overlay: [[1], [0], []]\n  rtt:", "no way leads from a/1 to b/1"},
	} {
		s := parsed(t, strings.Replace(small, c.from, c.to, 1))
		_, err := s.Plan(1)
		var e *atoll.Error
		if !errors.As(err, &e) || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: %v, want %s", c.to, err, c.want)
		}
	}
}

func TestUnplannableFaults(t *testing.T) {
	for _, c := range []struct{ faults, want string }{
		{"timed: [{at: 1s, do: flood}]", "faults.timed[0]"},
		{"timed: [{at: 1s, do: crash, node: c/1}]", `there is no node "c/1"`},
		{"timed: [{at: 1s, do: crash, between: [a]}]", "does not go with the keys beside it"},
		{"timed: [{at: 1s, do: heal}, {at: 1s, do: partition}]", "faults.timed[1]"},
		{"timed: [{at: 1s, do: partition, between: [a, b, a]}]", "faults.timed[0]"},
		{"timed: [{at: 1s, do: partition, between: [a, z]}]", "no such region or node"},
		{"timed: [{at: 1s, do: slow, between: [a]}]", "slow does not go"},
		{"timed: [{at: 1s, do: slow, between: [a], by: 2m}]", "want 1 to 60000 ms"},
		{"timed: [{at: 3s, do: heal}]", "within the chaos"},
		{"timed: [{at: -1s, do: heal}]", "within the chaos"},
		{"random: {every: 1s, last: 1s, kinds: {flood: 1}}", "flood"},
		{"random: {every: 1s, last: 1s, kinds: {crash: -1}}", "crash: -1"},
		{"random: {every: 1s, last: 1s}", "kinds is empty"},
		{"random: {last: 1s, kinds: {crash: 1}}", "every and last"},
		{"random: {every: 1s, kinds: {crash: 1}}", "every and last"},
	} {
		_, err := parsed(t, small+"faults: {"+c.faults+"}\n").Plan(1)
		var e *atoll.Error
		if !errors.As(err, &e) || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: %v, want %s", c.faults, err, c.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "0%": 0, "1%": 10_000, "0.5%": 5000, ".5%": 5000, "100%": million, "2.0005%": 20_005,
	} {
		if got, err := percent(text); err != nil || got != want {
			t.Errorf("percent(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"1", "%", "-1%", "100.0001%", "1e1%", "0.12345%", "1..2%", "a%"} {
		if got, err := percent(text); err == nil {
			t.Errorf("percent(%q) = %d, want an error", text, got)
		}
	}
}

// TestRandomProcess throws one fault in each interval.
func TestRandomProcess(t *testing.T) {
	s := parsed(t, small+"faults: {random: {every: 100ms, last: 1s, kinds: {crash: 1, trim: 1}}}\n")
	p, err := s.Plan(3)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Faults) != 20 {
		t.Fatalf("%d faults in 2 s, want 20", len(p.Faults))
	}
	count := make(map[string]int)
	for i, f := range p.Faults {
		if f.At < int64(i)*100 || f.At >= int64(i+1)*100 {
			t.Errorf("fault %d is at %d ms", i, f.At)
		}
		if f.Kind == Crash && (f.For < 500 || f.For > 1500) {
			t.Errorf("a crash lasts %d ms, want about 1000", f.For)
		}
		count[f.Kind]++
	}
	if count[Crash] == 0 || count[Trim] == 0 || len(count) != 2 {
		t.Errorf("faults %v, want crashes and trims", count)
	}
}

func TestBuiltins(t *testing.T) {
	if got := Names(); !slices.Equal(got, []string{"every-key", "flaky-sea", "island-lost", "split-brain"}) {
		t.Fatalf("built in are %v", got)
	}
	for _, name := range Names() {
		s, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != name || !strings.HasSuffix(s.Description, ".") {
			t.Errorf("%s: named %q, described as %q", name, s.Name, s.Description)
		}
		p, err := s.Plan(1)
		if err != nil {
			t.Fatal(err)
		}
		r := Run(p, nil)
		if !r.OK {
			t.Errorf("%s: %v", name, r.Violations[0])
		}
		if r.Acked < 500 || r.Pulls == 0 || r.ConvergedIn > time.Minute {
			t.Errorf("%s: %d writes, %d pulls, converged in %v: not what it is for",
				name, r.Acked, r.Pulls, r.ConvergedIn)
		}
		if name == "island-lost" && r.FullPulls < 50 {
			t.Errorf("%d full pulls: the island did not come back by them", r.FullPulls)
		}
	}
	_, err := Builtin("atlantis")
	var e *atoll.Error
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "flaky-sea, island-lost, split-brain") {
		t.Errorf("%v, want the scenarios that there are", err)
	}
	text, err := Source("split-brain")
	if err != nil || !strings.HasPrefix(string(text), "version: 1\n") {
		t.Errorf("source: %v", err)
	}
	if _, err := Source("atlantis"); err == nil {
		t.Error("a scenario that is not there has a source")
	}
}

// FuzzParse feeds the reader anything: it may refuse, and what it takes has a
// plan or a reason.
func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	for _, name := range Names() {
		text, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version: 1\nname: x\nfaults: {timed: [{at: 9999999h}]}"))
	f.Add([]byte("version: 1\nname: x\ntopology: {regions: {a: -9223372036854775808}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("fuzz", text)
		if err != nil {
			var e *atoll.Error
			if !errors.As(err, &e) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if p, err := s.Plan(1); err == nil && (len(p.Nodes) == 0 || p.Check() != nil) {
			t.Fatalf("a plan that cannot be run: %+v", p)
		}
	})
}
