package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/cmd/atoll/sample"
)

// settleTime is how long the dev world may take to agree before it says so and
// goes on.
const settleTime = 30 * time.Second

type devCmd struct {
	Sample   string  `placeholder:"NAME" help:"Import a sample data set at start: stars."`
	Nodes    int     `default:"1" help:"Nodes a region, 1 to 8."`
	WAN      float64 `name:"wan" default:"1" help:"Scale of the distances between regions; 0: none."`
	Data     string  `placeholder:"DIR" help:"Keep the data here. Without it a temporary folder goes at exit."`
	LogLevel string  `default:"warn" help:"debug, info, warn or error."`
}

// Run is the dev world until SIGINT.
func (c *devCmd) Run(ctx context.Context, std *stdio) (err error) {
	if c.Nodes < 1 || c.Nodes > 8 {
		return misuse("--nodes %d: a region has 1 to 8 nodes here", c.Nodes)
	}
	if !(c.WAN >= 0 && c.WAN <= 10) { // not a number is in no range
		return misuse("--wan %g: use 0 to 10", c.WAN)
	}
	set, err := c.openSample()
	if err != nil {
		return err
	}
	log, err := newLogger(std.err, logConfig{Level: c.LogLevel, Format: "text"}, new(slog.LevelVar))
	if err != nil {
		return err
	}
	dir, remove, err := c.directory()
	if err != nil {
		return err
	}
	defer remove()
	begun := time.Now()
	w, err := openWorld(worldConfig{dir: dir, nodes: c.Nodes, scale: c.WAN, log: log})
	if e, ok := errors.AsType[*atoll.Error](err); ok && errors.Is(err, syscall.EADDRINUSE) {
		e.Hint = "is another atoll dev running? There is room for one; ss -lntup shows what uses the port"
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.settle(ctx, set, std); err != nil {
		return err
	}
	if ctx.Err() == nil {
		std.printf("%s", w.table(c, set))
		std.printf("started in %.1f s\nready\n", time.Since(begun).Seconds())
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(std.err, "stopping; once more stops at once")
		return nil
	case err := <-w.failed:
		return err
	}
}

func (c *devCmd) openSample() (*sample.Set, error) {
	if c.Sample == "" {
		return nil, nil
	}
	set, err := sample.Open(c.Sample)
	if err != nil {
		return nil, misused(err)
	}
	return &set, nil
}

// directory returns where the data goes, and what to do with it at the end.
func (c *devCmd) directory() (string, func(), error) {
	if c.Data != "" {
		return c.Data, func() {}, os.MkdirAll(c.Data, 0o700)
	}
	dir, err := os.MkdirTemp("", "atoll-dev-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// settle waits until every node has seen every other, imports the sample, and
// waits until all have it.
func (w *world) settle(ctx context.Context, set *sample.Set, std *stdio) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := w.until(ctx, w.acquainted); err != nil {
		return err
	}
	if set != nil {
		if err := w.load(ctx, set, std); err != nil {
			return err
		}
	}
	if err := w.until(ctx, w.agreed); err != nil {
		return err
	}
	return w.until(ctx, w.known)
}

// known reports whether every node knows that all others have what it has.
func (w *world) known(context.Context) bool {
	for _, h := range w.living() {
		for _, r := range h.node.Cluster().Regions {
			for _, n := range r.Nodes {
				if n.Behind.Dots > 0 {
					return false
				}
			}
		}
	}
	return true
}

// until waits for a condition of the world; giving up is no failure.
func (w *world) until(ctx context.Context, ok func(context.Context) bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case err := <-w.failed:
			return err
		}
	}
	return nil
}

// acquainted reports whether every node sees all regions up.
func (w *world) acquainted(context.Context) bool {
	for _, h := range w.living() {
		c := h.node.Cluster()
		nodes := 0
		for _, r := range c.Regions {
			if r.State != atoll.StateUp {
				return false
			}
			nodes += len(r.Nodes)
		}
		if len(c.Regions) != len(cities) || nodes != len(w.hosts) {
			return false
		}
	}
	return true
}

// agreed reports whether all nodes have seen the same.
func (w *world) agreed(ctx context.Context) bool {
	var first uint64
	for i, h := range w.living() {
		sum, err := h.node.Digest(ctx)
		if err != nil || i > 0 && sum != first {
			return false
		}
		first = sum
	}
	return true
}

// table is what people see when the world is ready.
func (w *world) table(c *devCmd, set *sample.Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-14s %-24s %-25s %-17s %s\n", "region", "http", "https", "dns", "peers (udp)")
	for _, h := range w.hosts {
		fmt.Fprintf(&b, "%-14s %-24s %-25s %-17s %s\n", h.id, "http://"+h.addrs.http,
			"https://"+h.addrs.https, h.addrs.dns, h.addrs.peer)
	}
	fmt.Fprintf(&b, "%-14s %-24s %-25s %-17s\n", "the world", "http://"+frontHTTP, "", frontDNS)
	fmt.Fprintf(&b, "%-14s http://%s/console/\n", "the console", frontHTTP)
	key, space := "hello", "notes"
	if set != nil {
		key, space = "hip-32349", set.Name
		about, _, _ := strings.Cut(set.Attribution, "\n")
		_, about, _ = strings.Cut(about, ": ") // the name of the file
		fmt.Fprintf(&b, "\nkeyspace %s: %s\n", set.Name, about)
	}
	tokyo := w.hosts[len(w.hosts)-c.Nodes].addrs
	fmt.Fprintf(&b, "\nthings to try in another terminal\n")
	for _, line := range []string{
		"curl http://" + tokyo.http + "/v1/docs/" + space + "/" + key,
		"curl -X PUT http://" + w.hosts[0].addrs.http + `/v1/docs/notes/hello -d '{"text":"hi"}' ` +
			`-H 'Content-Type: application/json'`,
		"curl http://" + tokyo.http + "/v1/docs/notes/hello",
		"dig @" + host127(frontDNS) + " -p " + portOf(frontDNS) + " www.atoll.test +subnet=133.11.0.0/16",
		"bin/atoll wan cut frankfurt tokyo      # then write on both sides, and: bin/atoll wan heal",
		"bin/atoll node kill tokyo              # dig again: Japan gets another region",
		"bin/atoll status",
		"curl --cacert " + filepath.Join(w.cfg.dir, "ca.pem") + " https://" + tokyo.https + "/readyz",
	} {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintln(&b)
	return b.String()
}

func host127(addr string) string { h, _, _ := net.SplitHostPort(addr); return h }
func portOf(addr string) string  { return strconv.Itoa(int(port(addr))) }
