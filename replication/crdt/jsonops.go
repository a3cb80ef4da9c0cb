package crdt

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/atolledge/atoll"
)

// MaxOps is the most operations of one request.
const MaxOps = 1024

// OpKind names an operation as requests do.
type OpKind string

// The operations.
const (
	Inc    OpKind = "inc"    // add By to the number at Path
	Add    OpKind = "add"    // put Value into the set at Path
	Remove OpKind = "remove" // take Value out of the set at Path
	Set    OpKind = "set"    // replace what is at Path by Value
	Unset  OpKind = "unset"  // remove what is at Path

	Score   OpKind = "score"   // make Member one of the sorted set at Path, with the score Value
	Unscore OpKind = "unscore" // take Member out of the sorted set at Path

	Bound OpKind = "bound" // make the number at Path one that Inc never takes below Min
)

// Op is one operation on a document.
type Op struct {
	Kind   OpKind
	Path   Path
	By     int64  // of Inc
	Value  Tree   // of Add, Remove, Set and Score
	Member string // of Score and Unscore
	Min    int64  // of Bound
}

// ParseOps reads {"ops":[{"op":"inc","path":"/views","by":1},…]}. Paths are
// JSON Pointers (RFC 6901); by is an integer, 1 if it is missing. Members that
// an operation does not know are refused. Errors are those of Parse and
// atoll.BadRequest; they name the operation by its index, from 0.
func ParseOps(body []byte) ([]Op, error) {
	p, err := newParser(body)
	if err != nil {
		return nil, err
	}
	if p.dec.PeekKind() != '{' {
		if err := p.skip(); err != nil {
			return nil, err
		}
		return nil, wantOps("the body is not an object")
	}
	ops, err := p.request()
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	return ops, nil
}

func wantOps(format string, args ...any) error {
	return atoll.Errorf(atoll.BadRequest, format, args...).
		WithHint(`send {"ops":[{"op":"inc","path":"/views","by":1}]}`)
}

// request reads the object around the operations.
func (p *parser) request() (ops []Op, err error) {
	if err := p.open(1); err != nil {
		return nil, err
	}
	found := false
	for p.dec.PeekKind() != '}' {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if name != "ops" {
			return nil, wantOps("unknown member %q", name)
		}
		if ops, err = p.ops(); err != nil {
			return nil, err
		}
		found = true
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.syntax(err)
	}
	if !found {
		return nil, wantOps("member \"ops\" is missing")
	}
	return ops, nil
}

func (p *parser) ops() (ops []Op, err error) {
	if p.dec.PeekKind() != '[' {
		if err := p.skip(); err != nil {
			return nil, err
		}
		return nil, wantOps("\"ops\" is not an array")
	}
	if err := p.open(2); err != nil {
		return nil, err
	}
	for p.dec.PeekKind() != ']' {
		if len(ops) == MaxOps {
			return nil, atoll.Errorf(atoll.TooLarge, "there are more than %d operations", MaxOps).
				WithHint("send them in several requests").WithLimit("operations", MaxOps)
		}
		op, err := p.op()
		if err != nil {
			return nil, inOp(len(ops), err)
		}
		ops = append(ops, op)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, p.syntax(err)
	}
	return ops, nil
}

// inOp says in the detail of err that it is about the i-th operation.
func inOp(i int, err error) error {
	var e *atoll.Error
	if errors.As(err, &e) {
		e.Detail = fmt.Sprintf("operation %d: %s", i, e.Detail)
	}
	return err
}

// skip reads a value that is not wanted, so that malformed text is called so.
func (p *parser) skip() error {
	if err := p.dec.SkipValue(); err != nil {
		return p.syntax(err)
	}
	return nil
}

// rawOp is one operation as it stands in the request.
type rawOp struct {
	Op
	pointer        string
	has            map[string]bool // the members that it names
	cells, deepest int             // of the value
}

func (p *parser) op() (Op, error) {
	if p.dec.PeekKind() != '{' {
		if err := p.skip(); err != nil {
			return Op{}, err
		}
		return Op{}, wantOps("it is not an object")
	}
	if err := p.open(3); err != nil {
		return Op{}, err
	}
	raw := rawOp{Op: Op{By: 1}, has: make(map[string]bool, 4)}
	for p.dec.PeekKind() != '}' {
		if err := p.opMember(&raw); err != nil {
			return Op{}, err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return Op{}, p.syntax(err)
	}
	if err := raw.check(); err != nil {
		return Op{}, err
	}
	return raw.Op, p.fits(&raw)
}

func (p *parser) opMember(raw *rawOp) error {
	name, err := p.name()
	if err != nil {
		return err
	}
	raw.has[name] = true
	switch name {
	case "op":
		s, err := p.string(name)
		raw.Kind = OpKind(s)
		return err
	case "path":
		raw.pointer, err = p.string(name)
		return err
	case "member":
		raw.Member, err = p.string(name)
		return err
	case "by":
		raw.By, err = p.integer(name)
		return err
	case "min":
		raw.Min, err = p.integer(name)
		return err
	case "value":
		cells := p.cells
		p.deepest = 0
		raw.Value, err = p.tree(0, 0)
		raw.cells, raw.deepest = p.cells-cells, p.deepest
		return err
	}
	return atoll.Errorf(atoll.BadRequest, "unknown member %q", name).
		WithHint("members are op, path, by, member, min and value")
}

func (p *parser) string(name string) (string, error) {
	if p.dec.PeekKind() != '"' {
		if err := p.skip(); err != nil {
			return "", err
		}
		return "", atoll.Errorf(atoll.BadRequest, "%q is not a string", name)
	}
	return p.name()
}

func (p *parser) integer(name string) (int64, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return 0, p.syntax(err)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, atoll.Errorf(atoll.BadRequest, "%q is not an integer of 64 bits", name)
	}
	return n, nil
}

// needs returns the members beside op and path without which an operation is
// not understood, and those that it may have; ok is false when it is unknown.
func (k OpKind) needs() (must, may []string, ok bool) {
	switch k {
	case Inc:
		return nil, []string{"by"}, true
	case Add, Remove, Set:
		return []string{"value"}, nil, true
	case Unset:
		return nil, nil, true
	case Score:
		return []string{"member", "value"}, nil, true
	case Unscore:
		return []string{"member"}, nil, true
	case Bound:
		return []string{"min"}, nil, true
	}
	return nil, nil, false
}

// check refuses members that do not go together and reads the pointer.
func (r *rawOp) check() error {
	must, may, known := r.Kind.needs()
	switch {
	case r.Kind == "":
		return wantOps("member \"op\" is missing")
	case !known:
		return atoll.Errorf(atoll.BadRequest, "op %q is unknown", r.Kind).
			WithHint("operations are inc, add, remove, set, unset, score, unscore and bound")
	}
	for _, name := range [...]string{"by", "member", "min", "value"} {
		needed := slices.Contains(must, name)
		if needed && !r.has[name] {
			return atoll.Errorf(atoll.BadRequest, "%s needs a %q", r.Kind, name)
		}
		if r.has[name] && !needed && !slices.Contains(may, name) {
			return atoll.Errorf(atoll.BadRequest, "%s takes no %q", r.Kind, name)
		}
	}
	if !r.has["path"] {
		return atoll.Errorf(atoll.BadRequest, "member \"path\" is missing")
	}
	if r.Kind == Score {
		if err := wantsScore(r.Value); err != nil {
			return err
		}
	}
	path, ok := ParsePointer(r.pointer)
	if !ok {
		return atoll.Errorf(atoll.BadRequest, "path %q is not a JSON Pointer", r.pointer).
			WithHint(`a path is "" or begins with "/"; "~" is written ~0 and "/" in a name ~1`)
	}
	r.Path = path
	return nil
}

// fits holds the operation's result to the limits of a document.
func (p *parser) fits(r *rawOp) error {
	depth, path := len(r.Path.Names())+r.deepest, len(r.Path)
	if r.Kind == Score {
		depth, path = depth+1, path+nameSize(r.Member)
	}
	if depth > MaxDepth {
		return atoll.Errorf(atoll.TooLarge, "the document would be more than %d deep", MaxDepth).
			WithLimit("document depth", MaxDepth)
	}
	return p.count(0, r.cells*path)
}
