package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atolledge/atoll/sim"
	"github.com/atolledge/atoll/sim/validate"
)

type simCmd struct {
	List   simListCmd   `cmd:"" help:"List the scenarios that are built in."`
	Run    simRunCmd    `cmd:"" help:"Run a scenario in virtual time."`
	Swarm  simSwarmCmd  `cmd:"" help:"Run many random worlds, each of its own seed."`
	Replay simReplayCmd `cmd:"" help:"Run again what a file of a run says."`

	Validate simValidateCmd `cmd:"" help:"Reproduce the published figures of papers, beside Atoll's own."`
}

type simListCmd struct {
	JSON bool   `name:"json" help:"Print the result as JSON."`
	Show string `placeholder:"NAME" help:"Print the file of one, or of a study of sim validate: a start for your own."`
}

// Run prints the built-in scenarios with a sentence each.
func (c *simListCmd) Run(std *stdio) error {
	if c.Show != "" {
		text, err := sim.Source(c.Show)
		if slices.Contains(validate.Names(), c.Show) {
			text, err = validate.Source(c.Show)
		}
		if err != nil {
			return misused(err)
		}
		std.printf("%s", text)
		return nil
	}
	type item struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	var items []item
	for _, name := range sim.Names() {
		s, err := sim.Builtin(name)
		if err != nil {
			return err
		}
		items = append(items, item{s.Name, s.Description})
	}
	if c.JSON {
		return json.NewEncoder(std.out).Encode(items)
	}
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	for _, i := range items {
		fmt.Fprintf(table, "%s\t%s\n", i.Name, i.Description)
	}
	return table.Flush()
}

type simRunCmd struct {
	JSON     bool   `name:"json" help:"Print the result as JSON."`
	Scenario string `arg:"" help:"A file, or the name of one that is built in."`
	Seed     uint64 `default:"1" help:"Chance is drawn from it."`
	Out      string `placeholder:"DIR" help:"Write manifest, events and the run itself there."`
}

// Run carries one scenario out and tells its story.
func (c *simRunCmd) Run(ctx context.Context, std *stdio) error {
	s, err := loadScenario(c.Scenario)
	if err != nil {
		return err
	}
	p, err := s.Plan(c.Seed)
	if err != nil {
		return misused(err)
	}
	r, err := simulate(ctx, std, p)
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := writeRun(c.Out, r); err != nil {
			return err
		}
	}
	return tell(std, r, c.JSON)
}

// loadScenario takes what looks like a path for a file.
func loadScenario(name string) (*sim.Scenario, error) {
	if !strings.ContainsAny(name, "./"+string(filepath.Separator)) {
		s, err := sim.Builtin(name)
		return s, misused(err)
	}
	text, err := readLimited(name, sim.MaxScenario)
	if err != nil {
		return nil, err
	}
	s, err := sim.Parse(name, text)
	return s, misused(err)
}

// ran is a result with the time that it took here.
type ran struct {
	*sim.Result
	real time.Duration
}

// simulate runs a plan until it is over or ctx is.
func simulate(ctx context.Context, std *stdio, p *sim.Plan) (ran, error) {
	start := time.Now()
	bar := newProgress(std.err)
	r := sim.Run(p, func(at time.Duration) bool {
		bar.draw("%v of virtual time", at.Round(time.Second))
		return ctx.Err() == nil
	})
	bar.clear()
	if r == nil {
		return ran{}, context.Cause(ctx)
	}
	return ran{r, time.Since(start)}, nil
}

// progress is a line of a terminal that is drawn anew, and nothing elsewhere.
type progress struct {
	w    io.Writer
	last time.Time
}

func newProgress(f *os.File) *progress {
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return &progress{w: f}
	}
	return &progress{}
}

func (p *progress) draw(format string, args ...any) {
	if p.w != nil && time.Since(p.last) > 100*time.Millisecond {
		p.last = time.Now()
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
	}
}

func (p *progress) clear() {
	if p.w != nil && !p.last.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

type simReplayCmd struct {
	JSON bool   `name:"json" help:"Print the result as JSON."`
	File string `arg:"" help:"What sim swarm wrote of a failing seed, or repro.json of sim run."`
}

// Run runs a file's plan again. A plan that was edited is welcome: only then
// may the trace be another.
func (c *simReplayCmd) Run(ctx context.Context, std *stdio) error {
	text, err := readLimited(c.File, sim.MaxRepro)
	if err != nil {
		return err
	}
	f, err := sim.ReadRepro(text)
	if err != nil {
		return misused(err)
	}
	r, err := simulate(ctx, std, f.Plan)
	if err != nil {
		return err
	}
	if r.Trace != f.Trace && !c.JSON {
		std.printf("the file's trace is %s: its plan was edited, or atoll %s runs it otherwise\n",
			f.Trace, cmp.Or(f.Atoll, "of another version"))
	}
	return tell(std, r, c.JSON)
}
