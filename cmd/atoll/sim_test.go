package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// tookHere is what a summary says of this machine rather than of the run.
var tookHere = regexp.MustCompile(` real=\S+`)

// swarmSays returns what a swarm prints, but for the time that it took here.
func swarmSays(t *testing.T, c simSwarmCmd) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := c.Run(context.Background(), &stdio{out: out, err: out}); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	return tookHere.ReplaceAllString(string(text), "")
}

// TestSwarmSaysTheSame with any number of jobs.
func TestSwarmSaysTheSame(t *testing.T) {
	one := swarmSays(t, simSwarmCmd{Seeds: "5..24", Jobs: 1})
	want := regexp.MustCompile(`^ok seeds=5\.\.24 failed=0 trace=[0-9a-f]{16} nodes=\d+ events=\d+ ` +
		`virtual=[0-9.]+s writes=\d+\n$`)
	if !want.MatchString(one) {
		t.Fatalf("%q", one)
	}
	for _, jobs := range []int{0, 2, 9} {
		if got := swarmSays(t, simSwarmCmd{Seeds: "5..24", Jobs: jobs}); got != one {
			t.Errorf("%d jobs: %q, want %q", jobs, got, one)
		}
	}
}

// TestSwarmBudget: a budget ends a swarm, and bounds seeds that are named.
func TestSwarmBudget(t *testing.T) {
	start := time.Now()
	got := swarmSays(t, simSwarmCmd{Seeds: "7..999999999", Budget: 200 * time.Millisecond})
	if !regexp.MustCompile(`^ok seeds=7\.\.\d+ failed=0`).MatchString(got) {
		t.Errorf("%q", got)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("%v for a budget of 200 ms", took)
	}
}

func TestSeeds(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"1..5000": {1, 5000}, "7..7": {7, 7}, "": {1, 100},
		"0..18446744073709551615": {0, ^uint64(0)},
	} {
		first, last, err := (&simSwarmCmd{Seeds: text}).seeds()
		if err != nil || first != want[0] || last != want[1] {
			t.Errorf("%q: %d..%d, %v; want %v", text, first, last, err, want)
		}
	}
	for _, text := range []string{"5", "5..", "..5", "9..3", "1...5", "-1..5", "a..b"} {
		if first, last, err := (&simSwarmCmd{Seeds: text}).seeds(); err == nil {
			t.Errorf("%q: %d..%d, want misuse", text, first, last)
		}
	}
}
