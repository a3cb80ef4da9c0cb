package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/alecthomas/kong"
)

type patchCmd struct {
	remote
	writing
	document
	Merge string `arg:"" optional:"" help:"Merge patch: JSON, @FILE, or - for stdin."`

	Inc    []string `sep:"none" placeholder:"/PATH=N" help:"Add a number to a counter."`
	Add    []string `sep:"none" placeholder:"/PATH=VALUE" help:"Add to a set; not JSON: a string."`
	Remove []string `sep:"none" placeholder:"/PATH=VALUE" help:"Remove from a set."`
	Set    []string `sep:"none" placeholder:"/PATH=VALUE" help:"Set a field."`
	Unset  []string `sep:"none" placeholder:"/PATH" help:"Remove a field."`

	Score   []string `sep:"none" placeholder:"/PATH/MEMBER=N" help:"Give a member of a sorted set a score."`
	Bound   []string `sep:"none" placeholder:"/PATH=MIN" help:"Make a number one that never goes below MIN."`
	Unscore []string `sep:"none" placeholder:"/PATH/MEMBER" help:"Remove a member of a sorted set."`
}

// operation is one entry of application/vnd.atoll.ops+json.
type operation struct {
	Op     string          `json:"op"`
	Path   string          `json:"path"`
	By     json.RawMessage `json:"by,omitempty"`
	Member *string         `json:"member,omitempty"`
	Min    json.RawMessage `json:"min,omitempty"`
	Value  json.RawMessage `json:"value,omitempty"`
}

// Run sends a merge patch, or the operations in the order of the command line;
// either happens as a whole.
func (c *patchCmd) Run(ctx context.Context, io *stdio, parsed *kong.Context) error {
	ops, err := c.operations(flagOrder(parsed))
	if err != nil {
		return err
	}
	h, body := c.header(), []byte(nil)
	switch {
	case len(ops) > 0 && c.Merge != "":
		return misuse("a merge patch and operations do not go together: choose one")
	case len(ops) > 0:
		h.Set("Content-Type", "application/vnd.atoll.ops+json")
		body, err = json.Marshal(map[string]any{"ops": ops})
	case c.Merge != "":
		h.Set("Content-Type", "application/merge-patch+json")
		body, err = readValue(io.in, c.Merge)
	default:
		return misuse("nothing to change: give a merge patch, or --inc, --add, --remove, --set, --unset, " +
			"--score, --unscore, --bound")
	}
	if err != nil {
		return err
	}
	return c.write(ctx, io, c.document, call{
		method: http.MethodPatch, header: h, body: bytes.NewReader(body),
	})
}

// flagOrder returns the names of the flags as they stand on the command line.
func flagOrder(parsed *kong.Context) []string {
	var names []string
	for _, p := range parsed.Path {
		if p.Flag != nil {
			names = append(names, p.Flag.Name)
		}
	}
	return names
}

// operations reads the flags in the order of names, each name taking the next
// value of its flag.
func (c *patchCmd) operations(names []string) ([]operation, error) {
	left := map[string][]string{
		"inc": c.Inc, "add": c.Add, "remove": c.Remove, "set": c.Set, "unset": c.Unset,
		"score": c.Score, "unscore": c.Unscore, "bound": c.Bound,
	}
	var ops []operation
	for _, name := range names {
		if len(left[name]) == 0 {
			continue
		}
		op, err := parseOperation(name, left[name][0])
		if err != nil {
			return nil, err
		}
		ops, left[name] = append(ops, op), left[name][1:]
	}
	return ops, nil
}

// parseOperation reads /path=value, or /path for unset. A value that is not JSON
// is a string: --add /tags=red needs no second pair of quotes. The last name of a
// score's path is the member.
func parseOperation(name, arg string) (operation, error) {
	op := operation{Op: name, Path: arg}
	if name != "unset" && name != "unscore" {
		path, value, found := strings.Cut(arg, "=")
		if !found {
			return op, misuse("--%s %s: want /PATH=VALUE", name, arg)
		}
		op.Path = path
		if err := op.take(name, arg, value); err != nil {
			return op, err
		}
	}
	if !strings.HasPrefix(op.Path, "/") {
		return op, misuse("--%s %s: a path is a JSON Pointer and begins with \"/\"", name, arg)
	}
	if name == "score" || name == "unscore" {
		at := strings.LastIndexByte(op.Path, '/')
		member := strings.NewReplacer("~1", "/", "~0", "~").Replace(op.Path[at+1:])
		op.Path, op.Member = op.Path[:at], &member
	}
	return op, nil
}

// take reads what stands behind the path.
func (op *operation) take(name, arg, value string) error {
	text := json.RawMessage(value)
	number := name == "inc" || name == "score" || name == "bound"
	if !json.Valid(text) && number {
		return misuse("--%s %s: %q is not a number", name, arg, value)
	}
	if !json.Valid(text) {
		text, _ = json.Marshal(value)
	}
	switch name {
	case "inc":
		op.By = text
	case "bound":
		op.Min = text
	default:
		op.Value = text
	}
	return nil
}
