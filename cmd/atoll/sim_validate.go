package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atolledge/atoll/sim"
	"github.com/atolledge/atoll/sim/validate"
)

type simValidateCmd struct {
	JSON  bool     `name:"json" help:"Print the result as JSON, a figure a line."`
	Full  bool     `help:"Five times as many samples."`
	Jobs  int      `short:"j" placeholder:"N" help:"Studies at a time (default: CPUs)."`
	Files []string `arg:"" optional:"" name:"study" help:"Files of your own, or names of what is built in (default: all that is)."`
}

// Run compares the figures of papers with ours, and Atoll with the best of them.
func (c *simValidateCmd) Run(ctx context.Context, std *stdio) error {
	studies, err := c.studies()
	if err != nil {
		return misused(err)
	}
	if c.Jobs < 0 {
		return misuse("-j is not negative")
	}
	factor := 1
	if c.Full {
		factor = validate.FullFactor
	}
	start, bar := time.Now(), newProgress(std.err)
	var all []validate.Row
	done, failed := 0, 0
	err = validate.Run(ctx, studies, factor, cmp.Or(c.Jobs, runtime.GOMAXPROCS(0)),
		func(rows []validate.Row) {
			all = append(all, rows...)
			done++
			bar.draw("%d of %d studies", done, len(studies))
			for _, r := range rows {
				if !r.OK {
					failed++
				}
			}
		})
	bar.clear()
	if err != nil {
		return err
	}
	word := "ok"
	if failed > 0 {
		word = "FAIL"
	}
	if c.JSON {
		err = printFigures(std, all, word, failed, time.Since(start))
	} else {
		err = tabulate(std, all)
		std.printf("%s figures=%d failed=%d studies=%d real=%s\n", word, len(all), failed,
			len(studies), seconds(time.Since(start)))
	}
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d figures are not within their tolerance", failed, len(all))
	}
	return nil
}

// studies takes what looks like a path for a file.
func (c *simValidateCmd) studies() (all []*validate.Study, err error) {
	if len(c.Files) == 0 {
		return validate.Builtin()
	}
	for _, name := range c.Files {
		var text []byte
		if strings.ContainsAny(name, "./") {
			text, err = readLimited(name, sim.MaxScenario)
		} else {
			text, err = validate.Source(name)
		}
		if err != nil {
			return nil, err
		}
		s, err := validate.Parse(name, text)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// tabulate prints the figures under the papers that they are of.
func tabulate(std *stdio, rows []validate.Row) error {
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	source := ""
	for _, r := range rows {
		if r.Source != source {
			source = r.Source
			fmt.Fprintf(table, "\n%s\n", source)
			fmt.Fprintln(table, "study\tfigure\tpaper\tours\ttolerance\t\twhere")
		}
		word := "ok"
		if !r.OK {
			word = "FAIL"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Study, r.Figure, r.Paper, r.Ours,
			cmp.Or(r.Tolerance, "a bound"), word, r.Where)
	}
	return table.Flush()
}

// figureReport is a figure as JSON.
type figureReport struct {
	Study     string `json:"study"`
	Source    string `json:"source"`
	Where     string `json:"where"`
	Figure    string `json:"figure"`
	Paper     string `json:"paper"`
	Ours      string `json:"ours"`
	Tolerance string `json:"tolerance,omitempty"`
	OK        bool   `json:"ok"`
}

// printFigures prints a line for each figure, and one for all.
func printFigures(std *stdio, rows []validate.Row, word string, failed int, took time.Duration) error {
	enc := json.NewEncoder(std.out)
	for _, r := range rows {
		if err := enc.Encode(figureReport(r)); err != nil {
			return err
		}
	}
	return enc.Encode(map[string]any{"ok": word == "ok", "figures": len(rows), "failed": failed,
		"real_ms": millis(took)})
}
