package crdt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atolledge/atoll"
)

// Limits of what one request writes and of what all of them make together.
const (
	MaxBody     = 1 << 20 // bytes of a request document or of a list of operations
	MaxDepth    = 32      // objects and arrays inside each other
	MaxCells    = 4096    // scalars, arrays and empty objects that one request writes
	MaxDocument = 8 << 20 // Size of a merged document: over it only writes that shrink it
)

// Tree is a JSON value in the form in which documents hold it: an object of
// trees, or the text of a scalar or an array. Text is canonical: no space, the
// shortest escapes (RFC 8785 section 3.2.2.2), objects inside arrays with their
// keys in byte order, numbers as they were written. Equal texts are equal values.
// The zero Tree is the empty object.
type Tree struct {
	text    []byte   // nil for an object; read only
	members []member // of an object, in byte order of their names
}

type member struct {
	name string
	tree Tree
}

func (t Tree) object() bool { return t.text == nil }

func (t Tree) null() bool { return string(t.text) == "null" }

// JSON appends the canonical text of t to dst.
func (t Tree) JSON(dst []byte) []byte {
	if !t.object() {
		return append(dst, t.text...)
	}
	dst = append(dst, '{')
	for i, m := range t.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.tree.JSON(append(appendName(dst, m.name), ':'))
	}
	return append(dst, '}')
}

// Parse reads one JSON value (RFC 8259) of any type. The result shares nothing
// with body. Errors are atoll.BadJSON for what is not JSON in UTF-8,
// atoll.DuplicateKey for a name that occurs twice in an object, and
// atoll.TooLarge naming the limit.
func Parse(body []byte) (Tree, error) {
	p, err := newParser(body)
	if err != nil {
		return Tree{}, err
	}
	t, err := p.tree(0, 0)
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return Tree{}, err
	}
	return t, nil
}

// parser reads one body. It stops at the first error.
type parser struct {
	dec     *jsontext.Decoder // refuses duplicate names, bad UTF-8 and lone surrogates
	text    []byte            // the texts of all trees; each tree holds its part
	cells   int
	size    int // bytes of the full paths of all cells
	deepest int // most objects and arrays that were inside each other
}

func newParser(body []byte) (*parser, error) {
	if len(body) > MaxBody {
		return nil, atoll.Errorf(atoll.TooLarge, "the body has %d bytes", len(body)).
			WithLimit("request document bytes", MaxBody)
	}
	return &parser{
		dec:  jsontext.NewDecoder(bytes.NewBuffer(body)),
		text: make([]byte, 0, len(body)), // canonical text is never longer
	}, nil
}

// tree reads the next value, whose path has the given depth and length in bytes.
func (p *parser) tree(depth, path int) (Tree, error) {
	if p.dec.PeekKind() == '{' {
		return p.object(depth+1, path)
	}
	from := len(p.text)
	if err := p.value(depth); err != nil {
		return Tree{}, err
	}
	return Tree{text: p.text[from:len(p.text):len(p.text)]}, p.count(1, path)
}

func (p *parser) object(depth, path int) (t Tree, err error) {
	if err := p.open(depth); err != nil {
		return Tree{}, err
	}
	for p.dec.PeekKind() != '}' {
		var m member
		if m.name, err = p.name(); err != nil {
			return Tree{}, err
		}
		if m.tree, err = p.tree(depth, path+nameSize(m.name)); err != nil {
			return Tree{}, err
		}
		t.members = append(t.members, m)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return Tree{}, p.syntax(err)
	}
	if len(t.members) == 0 && path > 0 {
		return t, p.count(1, path)
	}
	slices.SortFunc(t.members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return t, nil
}

// nameSize returns the length of name inside a Path.
func nameSize(name string) int { return len(name) + strings.Count(name, "\x00") + 2 }

// count adds cells whose paths have size bytes. Without the second limit many
// short members below one long name would grow without bound.
func (p *parser) count(cells, size int) error {
	p.cells += cells
	p.size += size
	if p.cells > MaxCells {
		return tooManyCells("the document")
	}
	if p.size > MaxDocument {
		return atoll.Errorf(atoll.TooLarge, "the paths of the document's cells have %d bytes", p.size).
			WithHint("use shorter names").WithLimit("merged document bytes", MaxDocument)
	}
	return nil
}

func tooManyCells(what string) error {
	return atoll.Errorf(atoll.TooLarge, "%s has more than %d cells", what, MaxCells).
		WithHint("split it, or keep what is read together in an array: an array is one cell").
		WithLimit("request document cells", MaxCells)
}

// value appends the text of the next value, which is inside depth others.
func (p *parser) value(depth int) error {
	switch p.dec.PeekKind() {
	case '{':
		return p.textObject(depth + 1)
	case '[':
		return p.textArray(depth + 1)
	}
	raw, err := p.dec.ReadValue()
	if err != nil {
		return p.syntax(err)
	}
	if bytes.IndexByte(raw, '\\') < 0 { // then even a string is canonical
		p.text = append(p.text, raw...)
		return nil
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return p.syntax(err)
	}
	p.text = appendName(p.text, s)
	return nil
}

func (p *parser) textArray(depth int) error {
	if err := p.open(depth); err != nil {
		return err
	}
	p.text = append(p.text, '[')
	for i := 0; p.dec.PeekKind() != ']'; i++ {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		if err := p.value(depth); err != nil {
			return err
		}
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	p.text = append(p.text, ']')
	return nil
}

// textObject appends the members as they come and then puts them in order.
func (p *parser) textObject(depth int) error {
	type span struct {
		name     string
		from, to int
	}
	if err := p.open(depth); err != nil {
		return err
	}
	var spans []span
	start := len(p.text)
	for p.dec.PeekKind() != '}' {
		name, err := p.name()
		if err != nil {
			return err
		}
		from := len(p.text)
		p.text = append(appendName(p.text, name), ':')
		if err := p.value(depth); err != nil {
			return err
		}
		spans = append(spans, span{name, from, len(p.text)})
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.name, b.name) })
	came := slices.Clone(p.text[start:])
	p.text = append(p.text[:start], '{')
	for i, s := range spans {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		p.text = append(p.text, came[s.from-start:s.to-start]...)
	}
	p.text = append(p.text, '}')
	return nil
}

// open reads the bracket of an object or array that is the depth-th around.
func (p *parser) open(depth int) error {
	if depth > MaxDepth {
		return atoll.Errorf(atoll.TooLarge, "the document is more than %d deep at %q",
			MaxDepth, p.dec.StackPointer()).WithLimit("document depth", MaxDepth)
	}
	p.deepest = max(p.deepest, depth)
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	return nil
}

// name reads the next token as the name of a member.
func (p *parser) name() (string, error) {
	tok, err := p.dec.ReadToken()
	if err != nil {
		return "", p.syntax(err)
	}
	return tok.String(), nil
}

// end refuses whatever follows the value.
func (p *parser) end() error {
	switch _, err := p.dec.ReadToken(); {
	case err == nil:
		return atoll.Errorf(atoll.BadJSON, "something follows the JSON value before byte %d",
			p.dec.InputOffset()).WithHint("send one JSON value")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return p.syntax(err)
	}
}

// syntax translates what the decoder complains of.
func (p *parser) syntax(err error) error {
	var s *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &s):
		return atoll.Errorf(atoll.DuplicateKey, "%q occurs twice, again at byte %d",
			s.JSONPointer, s.ByteOffset).WithHint("names in an object must differ")
	case errors.As(err, &s):
		where := fmt.Sprintf("at byte %d", s.ByteOffset)
		if s.JSONPointer != "" {
			where += fmt.Sprintf(", inside %q", s.JSONPointer)
		}
		return atoll.Errorf(atoll.BadJSON, "%v %s", s.Err, where).Because(err).
			WithHint(`JSON has double quotes and no comments: {"text": "hi"}`)
	default: // nothing but space: the decoder says io.EOF
		return atoll.Errorf(atoll.BadJSON, "there is no JSON value").Because(err)
	}
}

// appendName appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD; only a peer that breaks the rules can have sent any.
func appendName[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
