package health

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

var rewrite = flag.Bool("rewrite", false, "write the results of the scripts as expected")

// TestScripts runs testdata/*.txt. A line that begins with "> " is a command,
// the lines below it are what it says; lines with # are comments.
//
//	> world NAME:LAT,LON:NODES ...   a new world with these regions
//	> run DURATION                   says every verdict that changes meanwhile
//	> kill NAME, > start NAME        a node or all nodes of a region
//	> unready NAME, > ready NAME     what it answers to probes
//	> cut A B [one-way], > heal
//	> loss FRACTION
//	> show NODE                      says its verdicts
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range scripts {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !*rewrite && got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// play runs a script and returns it with what its commands said.
func play(t *testing.T, script string) string {
	var out strings.Builder
	var w *world
	for line := range strings.Lines(script) {
		command, ok := strings.CutPrefix(line, "> ")
		if !ok {
			if strings.HasPrefix(line, "#") || line == "\n" {
				out.WriteString(line)
			}
			continue
		}
		out.WriteString(line)
		args := strings.Fields(command)
		if args[0] == "world" {
			w = newWorld(Config{}, parseRegions(t, args[1:]), 1)
			continue
		}
		if err := w.do(args); err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
		out.WriteString(w.log.String())
		w.log.Reset()
	}
	return out.String()
}

func (w *world) do(args []string) error {
	switch args[0] {
	case "run":
		d, err := time.ParseDuration(args[1])
		w.run(d)
		return err
	case "cut":
		a, b := atoll.Region(args[1]), atoll.Region(args[2])
		w.cut[[2]atoll.Region{a, b}] = true
		w.cut[[2]atoll.Region{b, a}] = len(args) == 3
	case "heal":
		clear(w.cut)
	case "loss":
		var err error
		w.loss, err = strconv.ParseFloat(args[1], 64)
		return err
	case "show":
		for _, v := range w.member(atoll.NodeID(args[1])).last {
			fmt.Fprintf(&w.log, "%s %s since %.2f%s\n", v.Region, v.State,
				v.Since.Sub(epoch).Seconds(), say(v))
		}
	default:
		return w.change(args[0], args[1])
	}
	return nil
}

// change applies a command to each member of a name.
func (w *world) change(command, name string) error {
	for _, m := range w.of(name) {
		switch command {
		case "kill":
			m.dead = true
		case "start":
			w.start(m)
		case "ready", "unready":
			m.ready = command == "ready"
		default:
			return fmt.Errorf("no such command")
		}
	}
	if len(w.of(name)) == 0 {
		return fmt.Errorf("nobody is %s", name)
	}
	return nil
}

// parseRegions reads washington:38.9,-77:2 and so on.
func parseRegions(t *testing.T, args []string) []Region {
	var regions []Region
	for _, arg := range args {
		name, rest, _ := strings.Cut(arg, ":")
		r := Region{Name: atoll.Region(name)}
		var nodes int
		if _, err := fmt.Sscanf(rest, "%g,%g:%d", &r.Lat, &r.Lon, &nodes); err != nil {
			t.Fatalf("%s: %v", arg, err)
		}
		for i := range nodes {
			r.Nodes = append(r.Nodes, atoll.NodeID(fmt.Sprintf("%s/%d", name, i+1)))
		}
		regions = append(regions, r)
	}
	return regions
}
