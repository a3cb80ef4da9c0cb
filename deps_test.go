package atoll_test

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/atolledge/atoll"

// arrow says what one package of this module may import of it. The first row
// that matches a package decides; a package without a row is an error, so that
// a new folder has to say where it stands. "x/..." is x and all below it.
type arrow struct {
	pkg string
	may []string
	why string
}

// arrows hold for shipped code. Tests may import more: a test of the node
// starts a client, a test of the command starts a world.
var arrows = []arrow{
	{".", nil, "the nouns stand on nothing"},
	{"replication/hlc", nil, "a clock is a pair of numbers"},
	{"replication/internal/...", []string{"."}, "bugs to plant in tests, off when shipped"},
	{
		"replication/crdt",
		[]string{".", "replication/hlc", "replication/internal/..."},
		"cells and clocks, no partition",
	},
	{
		"replication/wire",
		[]string{".", "replication", "replication/hlc", "replication/crdt"},
		"bytes of what the core says; the core knows no bytes",
	},
	{
		"replication",
		[]string{".", "replication/hlc", "replication/crdt", "replication/internal/..."},
		"the pure core knows only itself",
	},
	{"node/health", []string{"."}, "probes and votes, nobody's transport"},
	{"node/wan", []string{"."}, "a socket with distance: for any datagrams"},
	{"node/transport", []string{".", "replication/wire"}, "carries frames, decides nothing"},
	{"node/store", []string{".", "replication/..."}, "keeps what the core says"},
	{"node/otlp", []string{"."}, "spans in OTLP; nodes and handlers are handed its Put"},
	{"node/membership", []string{".", "node/transport"}, "liveness, over the peers' one port"},
	{"node/...", []string{".", "replication/...", "node/..."}, "the shell that feeds the core"},
	{"geodns/geo", []string{"."}, "prefix to place, by anyone"},
	{"geodns/steer", []string{"."}, "a choice among nouns"},
	{"geodns/...", []string{".", "geodns/..."}, "asks for views, is handed a node"},
	{"cache/policy", []string{"."}, "a request, an object and a time"},
	{"cache/...", []string{".", "cache/..."}, "asks for peers, is handed a node"},
	{"api/guard", []string{"."}, "keys and limits, no request"},
	{"api/...", []string{".", "api/..."}, "asks for a Node, is handed one"},
	{"sim/check", []string{".", "replication/..."}, "properties of replicas"},
	{
		"sim/...",
		[]string{
			".", "replication/...", "node/health", "geodns/steer", "cache/policy", "api/guard",
			"sim/...",
		},
		"drives the pure packages and nothing else",
	},
	{"deploy/e2e/...", []string{".", "node/wan"}, "real processes, with distance between them"},
	{"deploy/...", []string{"."}, "files for operators"},
	{"cmd/atoll/sample/...", []string{".", "cmd/atoll/sample/..."}, "data, no node"},
	{"cmd/...", []string{"..."}, "wires everything, decides nothing"},
}

// owner says which packages may import a module of someone else's, or a package
// of the standard library that we keep in one place.
type owner struct {
	imports string
	by      []string
	files   int // 0: any number
	why     string
}

var owners = []owner{
	{"github.com/dgraph-io/badger/...", []string{"node/store"}, 0, "one package knows the disk"},
	{"github.com/hashicorp/...", []string{"node/membership"}, 0, "liveness is an adapter"},
	{
		"github.com/quic-go/...", []string{"node/transport", "api", "cache/edge", "cmd/atoll"}, 0,
		"peers speak QUIC in one package; HTTP/3 listeners are the other use",
	},
	{"github.com/miekg/dns/...", []string{"geodns"}, 1, "to be archived: kept behind one file"},
	{"github.com/golang/groupcache/...", []string{"cache"}, 0, "four traps, closed in one place"},
	{"github.com/klauspost/compress/...", []string{"node/transport"}, 0, "what travels far is packed there"},
	{"github.com/alecthomas/kong/...", []string{"cmd/atoll"}, 0, "flags belong to the command"},
	{"github.com/goccy/go-yaml/...", []string{"cmd/atoll", "sim/..."}, 0, "config and scenarios"},
	{"go.opentelemetry.io/...", []string{"node/otlp"}, 0, "spans are ours until they leave"},
	{"testing/...", nil, 0, "test helpers stay in tests"},
	{"expvar", nil, 0, "a global registry"},
	{"log", []string{"node/membership"}, 0, "log/slog, passed in; memberlist wants the old one"},
}

// pure packages take input and give output: no clock, no chance, no world.
// What they import is pure too, or stands in allowed.
var pure = []string{
	"replication/...", "node/health", "geodns/steer", "cache/policy", "api/guard", "sim/check", "sim/dist",
}

// allowed are modules of others that a pure package may import.
var allowed = []owner{
	{"github.com/cespare/xxhash/...", pure, 0, "a hash of bytes"},
	{"github.com/google/btree", pure, 0, "an ordered map"},
	{"github.com/go-json-experiment/json/...", pure, 0, "JSON text that keeps its numbers"},
}

// impure packages of the standard library; log is here because a core returns
// what happened.
var impure = []string{
	"net/...", "os/...", "sync/...", "syscall", "runtime/...", "unsafe", "log/...", "context",
	"io/fs", "io/ioutil", "embed", "plugin", "crypto/rand", "hash/maphash", "testing/...",
	"database/...", "expvar", "flag", "unique", "weak",
}

// impureExcept are below an entry of impure and harmless.
var impureExcept = []string{"net/netip", "net/url"}

// clocks are the functions of package time that read or wait for the wall clock.
var clocks = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
}

// TestArrows holds the repository to the tables above.
func TestArrows(t *testing.T) {
	pkgs, err := parse(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 || pkgs["."] == nil {
		t.Fatalf("read %d packages: the test looks at the wrong folder", len(pkgs))
	}
	for _, p := range violations(pkgs) {
		t.Error(p)
	}
}

// TestArrowRows checks the table itself: each row gives its reason, and none is
// hidden by an earlier one.
func TestArrowRows(t *testing.T) {
	for i, a := range arrows {
		dir := strings.TrimSuffix(a.pkg, "/...")
		first := slices.IndexFunc(arrows, func(b arrow) bool { return match(b.pkg, dir) })
		if a.why == "" || first != i && arrows[first].pkg != dir {
			t.Errorf("the row for %s gives no reason or stands behind %s", a.pkg, arrows[first].pkg)
		}
	}
}

// violations returns a sentence for each rule that a package breaks, sorted.
func violations(pkgs map[string]*source) []string {
	var all []string
	for dir, s := range pkgs {
		for _, f := range s.files {
			for _, imp := range f.imports {
				if why := refused(dir, imp); why != "" {
					all = append(all, fmt.Sprintf("%s imports %s: %s", f.name, imp, why))
				}
			}
			if !among(dir, pure) {
				continue
			}
			for _, use := range f.impurities {
				all = append(all, fmt.Sprintf("%s: %s in a pure package", f.name, use))
			}
		}
		all = append(all, crowded(dir, s)...)
		all = append(all, undocumented(dir, s)...)
	}
	slices.Sort(all)
	return all
}

// refused says why the package in dir may not import imp, or "".
func refused(dir, imp string) string {
	if imp == module || strings.HasPrefix(imp, module+"/") {
		return refusedArrow(dir, path.Clean("."+strings.TrimPrefix(imp, module)))
	}
	for _, o := range owners {
		if match(o.imports, imp) && !among(dir, o.by) {
			return fmt.Sprintf("only %v may (%s)", o.by, o.why)
		}
	}
	if !among(dir, pure) {
		return ""
	}
	standard := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
	if standard && among(imp, impure) && !slices.Contains(impureExcept, imp) {
		return "a pure package has no world to talk to"
	}
	known := func(o owner) bool { return match(o.imports, imp) }
	if !standard && !slices.ContainsFunc(allowed, known) {
		return "not among the modules that a pure package may import"
	}
	return ""
}

func refusedArrow(dir, target string) string {
	for _, a := range arrows {
		if !match(a.pkg, dir) {
			continue
		}
		if among(target, a.may) {
			return ""
		}
		return fmt.Sprintf("%s may import %v only (%s)", a.pkg, a.may, a.why)
	}
	return "the package stands in no row of arrows"
}

// crowded reports modules that only so many files may import.
func crowded(dir string, s *source) []string {
	var out []string
	for _, o := range owners {
		var names []string
		for _, f := range s.files {
			if slices.ContainsFunc(f.imports, func(i string) bool { return match(o.imports, i) }) {
				names = append(names, f.name)
			}
		}
		if o.files > 0 && len(names) > o.files {
			out = append(out, fmt.Sprintf("%s: %v import %s, want %d file (%s)",
				dir, names, o.imports, o.files, o.why))
		}
	}
	return out
}

// undocumented asks for exactly one package comment, whose first sentence says
// what the package provides.
func undocumented(dir string, s *source) []string {
	var docs []string
	for _, f := range s.files {
		if f.doc != "" {
			docs = append(docs, f.name)
		}
		if f.doc != "" && !strings.HasPrefix(f.doc, "Package "+s.name+" ") &&
			!(s.name == "main" && strings.HasPrefix(f.doc, "Command "+path.Base(dir)+" ")) {
			return []string{f.name + ": the package comment does not begin with the package's name"}
		}
	}
	if len(docs) != 1 {
		return []string{fmt.Sprintf("%s: package comments in %v, want exactly one", dir, docs)}
	}
	return nil
}

// match reports whether pattern names s: itself, or with /... all below it too.
// "..." alone is everything.
func match(pattern, s string) bool {
	if pattern == "..." {
		return true
	}
	root, tree := strings.CutSuffix(pattern, "/...")
	return s == root || tree && strings.HasPrefix(s, root+"/")
}

func among(s string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, s) })
}
