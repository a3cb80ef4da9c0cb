package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is stamped by the linker (see the Makefile); empty when it was not.
var version string

type versionCmd struct {
	JSON bool `name:"json" help:"Print the result as JSON."`
}

// build says what a binary was made from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of git, when the build saw it
	Time     string `json:"time,omitempty"`     // of that revision, RFC 3339
	Modified bool   `json:"modified"`           // there were changes on top
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (c *versionCmd) Run(io *stdio) error {
	b := readVersion()
	if c.JSON {
		return json.NewEncoder(io.out).Encode(b)
	}
	io.printf("atoll %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	return nil
}

// readVersion takes the stamped version, else what the toolchain recorded: the
// module's version for go install, the revision for go build.
func readVersion() build {
	b := build{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if info.Main.Version != "(devel)" {
		b.Version = cmp.Or(b.Version, info.Main.Version)
	}
	b.Version = cmp.Or(b.Version, fmt.Sprintf("%.12s", b.Revision), "unknown")
	return b
}
