package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll/sim"
)

type simSwarmCmd struct {
	JSON   bool          `name:"json" help:"Print the result as JSON, a failing seed a line."`
	Seeds  string        `placeholder:"A..B" help:"Both included (default 1..100)."`
	Budget time.Duration `help:"Seeds from 1, or A, for so long."`
	Jobs   int           `short:"j" placeholder:"N" help:"Worlds at a time (default: CPUs)."`
	Out    string        `default:"." placeholder:"DIR" help:"Where failing seeds are written."`
}

// Run carries out a random world for each seed. What it prints is the same with
// any number of jobs, but for the time it took.
func (c *simSwarmCmd) Run(ctx context.Context, std *stdio) error {
	first, last, err := c.seeds()
	if err != nil {
		return err
	}
	if c.Jobs < 0 || c.Budget < 0 {
		return misuse("-j and --budget are not negative")
	}
	interrupted := ctx
	if c.Budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Budget)
		defer cancel()
	}
	all := swarm{std: std, json: c.JSON, out: c.Out, first: first, trace: xxhash.New(),
		start: time.Now(), bar: newProgress(std.err)}
	sim.Swarm(ctx, first, last, cmp.Or(c.Jobs, runtime.GOMAXPROCS(0)), sim.Random, all.add)
	if err := all.end(); err != nil {
		return err
	}
	return interrupted.Err()
}

func (c *simSwarmCmd) seeds() (first, last uint64, err error) {
	if c.Seeds == "" {
		if c.Budget > 0 {
			return 1, ^uint64(0), nil
		}
		return 1, 100, nil
	}
	a, b, _ := strings.Cut(c.Seeds, "..")
	if first, err = strconv.ParseUint(a, 10, 64); err == nil {
		last, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil || last < first {
		return 0, 0, misuse("--seeds %q: want A..B such as 1..5000", c.Seeds)
	}
	return first, last, nil
}

// maxShrunk is how many failing seeds of a swarm are made small: the first tell
// the most. rareAfter is after how many seeds everything rare must have happened.
const (
	maxShrunk = 5
	rareAfter = 2000
)

// swarm adds the runs of a swarm up, in order of seeds.
type swarm struct {
	std   *stdio
	json  bool
	out   string
	first uint64
	start time.Time
	bar   *progress

	trace                *xxhash.Digest
	runs, failed, writes int
	nodes                int
	events               uint64
	virtual              time.Duration
	rare                 sim.Rarities
	err                  error // of writing a failing seed
}

func (s *swarm) add(r *sim.Result) {
	s.runs++
	s.nodes += len(r.Plan.Nodes)
	s.writes += r.Writes
	s.events += r.Events
	s.virtual += r.Virtual
	s.rare.Add(&r.Rare)
	_, _ = s.trace.WriteString(r.Trace)
	s.bar.draw("%d seeds, %d failed", s.runs, s.failed)
	if r.OK {
		return
	}
	s.failed++
	s.bar.clear()
	whole := len(r.Plan.Faults)
	if s.failed <= maxShrunk {
		_, r = sim.Shrink(r.Plan)
	}
	path := filepath.Join(s.out, fmt.Sprintf("atoll-sim-%d.json", r.Plan.Seed))
	if err := os.WriteFile(path, r.Repro(readVersion().Version).JSON(), 0o644); err != nil {
		s.err = cmp.Or(s.err, err)
	}
	if s.json {
		_ = json.NewEncoder(s.std.out).Encode(ran{Result: r}.report())
		return
	}
	s.std.printf("seed %d: %s\n  %d of %d faults are left; replay: atoll sim replay %s\n",
		r.Plan.Seed, r.Violations[0], len(r.Plan.Faults), whole, path)
}

// end prints the sums and returns what went wrong.
func (s *swarm) end() error {
	s.bar.clear()
	real := time.Since(s.start)
	word := "ok"
	missing := s.rare.Missing()
	if s.runs < rareAfter {
		missing = nil
	}
	if s.failed+len(missing) > 0 {
		word = "FAIL"
	}
	trace := fmt.Sprintf("%016x", s.trace.Sum64())
	if s.json {
		_ = json.NewEncoder(s.std.out).Encode(map[string]any{
			"ok": word == "ok", "never_happened": append([]string{}, missing...), "first_seed": s.first, "seeds": s.runs, "failed": s.failed,
			"trace": trace, "nodes": s.nodes, "events": s.events, "virtual_ms": millis(s.virtual),
			"real_ms": millis(real), "writes": s.writes,
		})
	} else {
		s.std.printf("%s seeds=%d..%d failed=%d trace=%s nodes=%d events=%d virtual=%s real=%s "+
			"writes=%d\n", word, s.first, s.first+uint64(max(s.runs, 1))-1, s.failed, trace, s.nodes,
			s.events, seconds(s.virtual), seconds(real), s.writes)
	}
	if s.err != nil {
		return fmt.Errorf("a failing seed could not be written: %w", s.err)
	}
	if s.failed > 0 {
		return fmt.Errorf("%d of %d seeds failed", s.failed, s.runs)
	}
	if len(missing) > 0 {
		return fmt.Errorf("in %d seeds it never happened that %s: the swarm does not look where it should",
			s.runs, strings.Join(missing, ", or "))
	}
	return nil
}
