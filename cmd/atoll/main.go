// Command atoll is Atoll: one binary that makes a region, talks to one, and
// simulates thousands. It wires the packages and decides nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes: part of what scripts rely on.
const (
	exitFailed = 1 // the thing asked for failed or is not so
	exitMisuse = 2 // the command line makes no sense
)

// cli is the command line: a subcommand a field, each in a file of its own name.
type cli struct {
	Dev     devCmd     `cmd:"" help:"Start three regions on this machine, with real distances."`
	Start   startCmd   `cmd:"" help:"Start one node."`
	Get     getCmd     `cmd:"" help:"Print a document."`
	Put     putCmd     `cmd:"" help:"Write a whole document."`
	Patch   patchCmd   `cmd:"" help:"Change parts of a document."`
	Delete  deleteCmd  `cmd:"" help:"Delete a document; it leaves nothing behind."`
	List    listCmd    `cmd:"" help:"List documents in byte order of their keys."`
	Import  importCmd  `cmd:"" help:"Import documents from NDJSON or a JSON array."`
	Export  exportCmd  `cmd:"" help:"Export a keyspace as NDJSON, in order of keys."`
	Media   mediaCmd   `cmd:"" help:"Store, fetch and delete objects: files of up to 4 GiB."`
	Watch   watchCmd   `cmd:"" help:"Print the changes of a keyspace as they come."`
	Status  statusCmd  `cmd:"" help:"Show the cluster as a node sees it."`
	Drain   drainCmd   `cmd:"" help:"Take a region out of DNS answers."`
	Undrain undrainCmd `cmd:"" help:"Put a drained region back into DNS answers."`
	Explain explainCmd `cmd:"" help:"Say why DNS answers a name as it does."`
	WAN     wanCmd     `cmd:"" name:"wan" help:"Show and shake the links of the dev world."`
	Node    nodeCmd    `cmd:"" help:"List, kill and start the nodes of the dev world."`
	Sim     simCmd     `cmd:"" name:"sim" help:"Run the replication core in virtual time, with any fault."`
	Config  configCmd  `cmd:"" help:"Print, check and explain configurations."`
	CA      caCmd      `cmd:"" name:"ca" help:"Make a cluster's CA and its nodes' certificates."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(signals, stop, os.Exit)
	os.Exit(run(ctx, os.Args[1:]))
}

// obey stops the command at the first signal and ends the process at the second.
// The default action would not do: a shell script starts its background jobs
// with SIGINT ignored.
func obey(signals <-chan os.Signal, stop func(), exit func(int)) {
	<-signals
	stop()
	code := exitFailed
	if s, ok := (<-signals).(syscall.Signal); ok {
		code = 128 + int(s) // as a shell names it
	}
	exit(code)
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	app := &cli{}
	app.Config.Show.prepare()
	app.Start.prepare()
	parser, err := kong.New(app,
		kong.Name("atoll"),
		kong.Description("One binary that makes a region: documents, GeoDNS and cache that agree.\n\n"+
			"To try it: atoll dev --sample stars"),
		kong.Vars{"api": defaultAPI},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&stdio{os.Stdin, os.Stdout, os.Stderr}),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "atoll: the command line is built wrongly:", err)
		return exitFailed
	}
	if len(args) == 0 {
		return bare(parser, os.Stderr)
	}
	parsed, err := parser.Parse(usual(args))
	if err != nil {
		return misparsed(os.Stderr, err)
	}
	return report(os.Stderr, parsed.Command(), parsed.Run())
}

// bare answers a command line with nothing on it: with all that could be.
func bare(parser *kong.Kong, w io.Writer) int {
	parser.Stdout = w
	c, err := kong.Trace(parser, nil)
	if err == nil {
		err = c.PrintUsage(false)
	}
	if err != nil {
		return misparsed(w, err)
	}
	return exitMisuse
}

// usual puts what people try at any command into the words of this one.
func usual(args []string) []string {
	switch args[0] {
	case "help":
		return append(args[1:len(args):len(args)], "--help")
	case "--version":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// misparsed says what is wrong with a command line, and where its help is.
func misparsed(w io.Writer, err error) int {
	name := "atoll"
	if e, ok := errors.AsType[*kong.ParseError](err); ok {
		for n := e.Context.Selected(); n != nil && n.Parent != nil; n = n.Parent {
			name = "atoll " + n.Name + strings.TrimPrefix(name, "atoll")
		}
	}
	fmt.Fprintf(w, "%s: %v\n  see %s --help\n", name, err, name)
	return exitMisuse
}
