package atoll_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// source is the shipped code of one folder, for every operating system at once.
type source struct {
	name  string // package name
	files []file
}

// file is what the rules look at in one Go file.
type file struct {
	name       string // path from the root
	doc        string // its package comment
	imports    []string
	impurities []string // "time.Now", "go statement", with line
}

// parse reads all Go files but tests below the root, by folder.
func parse(root fs.FS) (map[string]*source, error) {
	pkgs := map[string]*source{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (base[0] == '.' || base[0] == '_' ||
				slices.Contains([]string{"testdata", "vendor", "node_modules", "bin", "out"}, base)) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return add(pkgs, name, text)
	})
	return pkgs, err
}

func add(pkgs map[string]*source, name string, text []byte) error {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if pkgs[dir] == nil {
		pkgs[dir] = &source{name: tree.Name.Name}
	}
	f := file{name: name, doc: tree.Doc.Text()}
	local := map[string]string{} // name in this file -> import path
	for _, spec := range tree.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		f.imports = append(f.imports, imp)
		switch {
		case spec.Name != nil && spec.Name.Name == ".":
			f.impurities = append(f.impurities, "dot import of "+imp+", which hides names")
		case spec.Name != nil:
			local[spec.Name.Name] = imp
		case imp == "math/rand/v2":
			local["rand"] = imp
		default:
			local[path.Base(imp)] = imp
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if what := impurity(n, local); what != "" {
			f.impurities = append(f.impurities,
				what+", line "+strconv.Itoa(set.Position(n.Pos()).Line))
		}
		return true
	})
	pkgs[dir].files = append(pkgs[dir].files, f)
	return nil
}

// impurity names what n does that a pure package must not: start a goroutine,
// look at the clock, draw from the global source of chance, or keep state that
// outlives its caller.
func impurity(n ast.Node, local map[string]string) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "go statement"
	case *ast.FuncDecl:
		if n.Recv == nil && n.Name.Name == "init" {
			return "func init"
		}
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return ""
		}
		switch imp := local[x.Name]; {
		case imp == "time" && slices.Contains(clocks, n.Sel.Name):
			return "time." + n.Sel.Name
		case strings.HasPrefix(imp, "math/rand") && global(n.Sel.Name):
			return "rand." + n.Sel.Name
		}
	}
	return ""
}

// global reports whether a name of math/rand draws from the shared source:
// neither a constructor nor a type.
func global(name string) bool {
	types := []string{"Rand", "Source", "Source64", "Zipf", "PCG", "ChaCha8"}
	return !strings.HasPrefix(name, "New") && !slices.Contains(types, name)
}

// TestRulesBite shows each rule refusing a small tree that breaks it, so that
// none of them passes because it looks at nothing.
func TestRulesBite(t *testing.T) {
	tests := []struct {
		name, dir, code, want string
	}{
		{"clean", "node/health", "", ""},
		{"up", "replication", `import _ "` + module + `/node"`, "may import"},
		{"sideways", "geodns", `import _ "` + module + `/api"`, "may import"},
		{"no row", "util", `import _ "` + module + `"`, "stands in no row"},
		{"root", ".", `import _ "` + module + `/api"`, "may import"},
		{"badger", "node", `import _ "github.com/dgraph-io/badger/v4"`, "only [node/store]"},
		{"quic", "node/wan", `import _ "github.com/quic-go/quic-go"`, "only [node/transport"},
		{"net", "geodns/steer", `import _ "net"`, "no world"},
		{"netip", "geodns/steer", `import _ "net/netip"`, ""},
		{"http", "api/guard", `import _ "net/http"`, "no world"},
		{"os", "cache/policy", `import _ "os"`, "no world"},
		{"atomic", "sim/check", `import _ "sync/atomic"`, "no world"},
		{"other's", "sim/check", `import _ "example.org/x"`, "not among"},
		{"hash", "replication", `import _ "github.com/cespare/xxhash/v2"`, ""},
		{"clock", "replication", `import "time"; var x = time.Now()`, "time.Now"},
		{"renamed", "replication", `import z "time"; var x = z.Now`, "time.Now"},
		{"dotted", "replication", `import . "time"; var x = Now()`, "dot import"},
		{"units", "replication", `import "time"; var x = time.Second`, ""},
		{"chance", "replication", `import "math/rand/v2"; var x = rand.N(3)`, "rand.N"},
		{"seeded", "replication", `import "math/rand/v2"; var x = rand.NewPCG(1, 2)`, ""},
		{"goroutine", "node/health", `func f() { go f() }`, "go statement"},
		{"init", "node/health", `func init() {}`, "func init"},
		{"elsewhere", "node", `import "time"; func f() { go f(); time.Now() }`, ""},
		{"test helper", "node", `import _ "testing"`, "stay in tests"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkgs, err := parse(fstest.MapFS{path.Join(tt.dir, "a.go"): {Data: pkg(tt.dir, tt.code)}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(violations(pkgs), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRulesOfFolders covers the rules about more than one line.
func TestRulesOfFolders(t *testing.T) {
	dns := `import _ "github.com/miekg/dns"`
	pkgs, err := parse(fstest.MapFS{
		"geodns/a.go":          {Data: pkg("geodns", dns)},
		"geodns/b.go":          {Data: pkg("geodns", dns)},
		"geodns/b_test.go":     {Data: []byte("not Go: tests are not read")},
		"geodns/testdata/a.go": {Data: []byte("nor this")},
		"node/a.go":            {Data: []byte("package node")},
		"node/doc.go":          {Data: pkg("node", "")},
		"node/store/a.go":      {Data: []byte("package store")},
		"node/wan/a.go":        {Data: []byte("// It is.\npackage wan")},
		"cmd/atoll/main.go":    {Data: []byte("// Command atoll is it.\npackage main")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"geodns: [geodns/a.go geodns/b.go] import github.com/miekg/dns/..., want 1 file " +
			"(to be archived: kept behind one file)",
		"geodns: package comments in [geodns/a.go geodns/b.go], want exactly one",
		"node/store: package comments in [], want exactly one",
		"node/wan/a.go: the package comment does not begin with the package's name",
	}
	if got := violations(pkgs); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// pkg returns a documented file of the package in dir.
func pkg(dir, code string) []byte {
	name := path.Base(dir)
	if dir == "." {
		name = "atoll"
	}
	return []byte("// Package " + name + " x.\npackage " + name + "\n" + code)
}
