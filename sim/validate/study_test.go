package validate

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/table.txt anew")

// ofCore are figures that change with the frames of the core: they are held to
// their bounds, not to the digit.
var ofCore = []string{"bytes / bp+rr"}

// sampled is how many trials quorum studies take here. Their tails need more and
// are for atoll sim validate; that each digit stays what it is does not.
const sampled = 20_000

// TestStudies holds every built-in study to what it said before, to the digit,
// on every machine, and all that are not sampled to their papers.
func TestStudies(t *testing.T) {
	all, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Quorum != nil {
			s.Trials = sampled
		}
	}
	var table strings.Builder
	err = Run(context.Background(), all, 1, 2, func(rows []Row) {
		for _, r := range rows {
			if !r.OK && !strings.HasPrefix(r.Study, "pbs-") {
				t.Errorf("%s: %s is %s, want %s +- %s", r.Study, r.Figure, r.Ours, r.Paper, r.Tolerance)
			}
			if !slices.Contains(ofCore, r.Figure) {
				fmt.Fprintf(&table, "%s: %s = %s\n", r.Study, r.Figure, r.Ours)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/table.txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(table.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("line %d of the table is %q, want %q", i+1, got[min(i, len(got)-1)], line)
		}
	}
}

// TestRunOrder: rows come in the order of studies, whatever is done at a time.
func TestRunOrder(t *testing.T) {
	var studies []*Study
	for i := range 9 {
		s := parsed(t, small)
		s.Name = fmt.Sprint("s", i)
		studies = append(studies, s)
	}
	table := func(jobs int) (out string) {
		if err := Run(context.Background(), studies, 1, jobs, func(rows []Row) {
			out += fmt.Sprintln(rows)
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := table(1)
	if !strings.HasPrefix(one, "[{s0 ") || strings.Count(one, "\n") != 9 {
		t.Fatalf("%s", one)
	}
	for _, jobs := range []int{0, 3, 20} {
		if got := table(jobs); got != one {
			t.Errorf("%d jobs: %s, want %s", jobs, got, one)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Run(ctx, studies, 1, 2, func(rows []Row) {
		if rows[0].OK {
			t.Errorf("%v is ok after the end", rows[0])
		}
	}); err == nil {
		t.Error("a run that was broken off is no error")
	}
}

// TestBrokenOff: each model soon stops when it is told to, whatever it has to do.
func TestBrokenOff(t *testing.T) {
	for _, name := range []string{
		"pbs-wan", "icde19-gset-mesh", "demers-blind-coin-5", "push-10000", "swim-apart-100",
	} {
		text, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		s := parsed(t, string(text))
		s.Trials *= 20
		m, err := s.model(1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if values, err := m.measure(ctx, []string{s.Rows[0].Figure}); err != context.Canceled || values != nil {
			t.Errorf("%s: %v, %v", name, values, err)
		}
	}
}

// TestFull takes more samples: chance comes out otherwise.
func TestFull(t *testing.T) {
	s := parsed(t, strings.Replace(small, "sites: 9", "sites: 90", 1))
	ours := func(factor int) string { return s.rows(context.Background(), factor)[0].Ours }
	if ours(1) == ours(FullFactor) {
		t.Errorf("%s with any number of trials", ours(1))
	}
}

const small = `
version: 1
name: small
source: a paper
trials: 7
push: {sites: 9}
rows:
  - {figure: rounds, paper: 5, where: page 1, tolerance: 2}
`

func parsed(t *testing.T, text string) *Study {
	t.Helper()
	s, err := Parse("small.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	aSync = "sync: {data: gset, events: 3}\noverlay: [[1], [0, 2], [1]]"
	aCore = "scenario: {version: 1, name: x, topology: {regions: {a: 2}}, workload: {clients: 1, " +
		"rate: 1, keys: 1, mix: {put: 1}}, phases: {chaos: 1s, settle: 5s}}"
	fits = "quorum: {replicas: 3, w: [{fixed: 1}]}"
)

// TestRefused is what a study may not say: each names the place.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"name: small", "nome: small", `small.yaml line 3: unknown key "nome"`},
		{"push: {sites: 9}", "push: {sites: 9, fast: yes}", `unknown key "fast"`},
		{"push: {sites: 9}", "push: {sites: many}", `small.yaml line 6`},
		{"version: 1", "version: 3", "version 3, want version: 1"},
		{"name: small\n", "", "name and source are both needed"},
		{"source: a paper\n", "", "name and source are both needed"},
		{"trials: 7", "trials: -1", "trials: -1, want up to"},
		{"trials: 7", "trials: 100000001", "trials: 100000001, want up to"},
		{"trials: 7", "", "trials: 0; quorum, push, rumor and swim need some"},
		{"push: {sites: 9}", "", "0 models, want one of"},
		{"push: {sites: 9}", "push: {sites: 9}\nswim: {members: 4}", "2 models, want one of"},
		{"push: {sites: 9}", "push: {sites: 1}", "1 sites, want 2 to"},
		{"push: {sites: 9}", "rumor: {sites: 100001, k: 1}", "100001 sites, want 2 to"},
		{"push: {sites: 9}", "rumor: {sites: 9}", "rumor.k: 0, want 1 to"},
		{"push: {sites: 9}", "rumor: {sites: 9, k: 1}", `rows[0].figure: "rounds", want one of`},
		{"push: {sites: 9}", "swim: {members: 2}", "swim.members: 2, want 3 to"},
		{"push: {sites: 9}", "swim: {members: 5}", `rows[0].figure: "rounds", want one of`},
		{"rows:\n  - {figure: rounds, paper: 5, where: page 1, tolerance: 2}", "rows: []", "0 rows, want 1"},
		{"figure: rounds", "figure: turns", `rows[0].figure: "turns", want one of ["rounds"]`},
		{"paper: 5", "paper: five", "rows[0]: paper:"},
		{"where: page 1, ", "", "rows[0]: where is missing"},
		{", tolerance: 2", "", `rows[0]: tolerance: ""; figures have one`},
		{"paper: 5", "paper: <= 5", `rows[0]: tolerance: "2"; figures have one, bounds (<=) have none`},
		{"tolerance: 2", "tolerance: 2pp", `rows[0]: tolerance: "2pp", want such as`},
		{"tolerance: 2", "tolerance: a lot", `rows[0]: tolerance: "a lot", want such as`},

		{"push: {sites: 9}", "quorum: {w: [{fixed: 1}]}", "quorum.replicas: 0, want 1 to"},
		{"push: {sites: 9}", "quorum: {replicas: 3}", "quorum.w: 0 parts"},
		{"push: {sites: 9}", "quorum: {replicas: 3, w: [{fixed: 1}], s: [{exp: {rate: x}}]}", "quorum.s[0]"},
		{"push: {sites: 9}", "quorum: {replicas: 3, w: [{fixed: 1}], away: far}", `quorum.away: "far"`},
		{"push: {sites: 9}", fits, `rows[0].figure: "rounds", want such as fresh R=1 W=1 t=0`},

		{"trials: 7\npush: {sites: 9}", "trials: 7\n" + aSync, "trials: 7; quorum, push, rumor and swim"},
		{"trials: 7\npush: {sites: 9}", aSync, `rows[0].figure: "rounds"; want elements, sent or copies`},
		{"trials: 7\npush: {sites: 9}", aCore, `rows[0].figure: "rounds"; want elements`},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "gset", "gbag", 1), `sync.data: "gbag"`},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "3", "0", 1), "sync.events: 0"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "3", "3, keys: 4", 1), "keys and writes belong"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "gset", "gmap", 1), "sync: 0 keys, 0 written"},
		{"trials: 7\npush: {sites: 9}", "sync: {data: gset, events: 3}", "overlay: 0 nodes"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "[1]]", "[1, 3]]", 1), "overlay[2]: 3, want"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "[1]]", "[0]]", 1), "overlay[1]: 2, want"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aSync, "[0, 2], [1]", "[0], []", 1), "no way leads from 0 to 2"},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aCore, "regions", "rings", 1), `unknown key "rings"`},
		{"trials: 7\npush: {sites: 9}", strings.Replace(aCore, "keys: 1", "keys: 0", 1), "scenario: "},
		{
			"trials: 7\npush: {sites: 9}\nrows:\n  - {figure: rounds",
			aCore + "\nrows:\n  - {figure: bytes / bp+rr", "needs a sync beside the scenario",
		},
	} {
		if !strings.Contains(small, c.from) {
			t.Fatalf("%q is not in the study", c.from)
		}
		_, err := Parse("small.yaml", []byte(strings.Replace(small, c.from, c.to, 1)))
		if atoll.KindOf(err) != atoll.BadRequest || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.to, err, c.want)
		}
	}
}

// TestSources: what is built in is there to be read and to start from.
func TestSources(t *testing.T) {
	for _, name := range Names() {
		text, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		if s := parsed(t, string(text)); s.Name != name {
			t.Errorf("%s calls itself %s", name, s.Name)
		}
	}
	if _, err := Source("weather"); atoll.KindOf(err) != atoll.NotFound {
		t.Errorf("%v, want not-found", err)
	}
}
