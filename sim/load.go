package sim

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/atolledge/atoll"
)

// MaxScenario is the length limit of a scenario file in bytes.
const MaxScenario = 1 << 20

//go:embed scenarios/*.yaml
var builtin embed.FS

// Names returns the names of the built-in scenarios, in order.
func Names() (names []string) {
	files, _ := builtin.ReadDir("scenarios") // embedded: it is there
	for _, f := range files {
		names = append(names, f.Name()[:len(f.Name())-len(".yaml")])
	}
	return names
}

// Builtin returns a built-in scenario; the error lists those there are.
func Builtin(name string) (*Scenario, error) {
	if !slices.Contains(Names(), name) {
		return nil, atoll.Errorf(atoll.NotFound, "there is no scenario %q", name).WithHint(fmt.Sprintf(
			"built in are %s; a file's name has a dot or a slash in it", list(Names())))
	}
	text, _ := builtin.ReadFile("scenarios/" + name + ".yaml") // it was listed
	return Parse(name, text)
}

func list(words []string) string {
	var b []byte
	for i, w := range words {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, w...)
	}
	return string(b)
}

// Parse reads a scenario; name is what errors call it. They name the line and
// the key.
func Parse(name string, text []byte) (*Scenario, error) {
	s := &Scenario{}
	if err := Decode(name, text, s); err != nil {
		return nil, err
	}
	if s.Version != planVersion {
		return nil, bad("%s: version %d, want version: %d", name, s.Version, planVersion)
	}
	if s.Name == "" {
		return nil, bad("%s: name is missing", name)
	}
	return s, nil
}

// Decode reads one YAML document with strict keys into a struct; name is what
// errors call it. Tags, anchors and aliases are refused: nothing here needs them,
// and the decoder falls over some.
func Decode(name string, text []byte, into any) (err error) {
	if len(text) > MaxScenario {
		return atoll.Errorf(atoll.TooLarge, "%s is too long", name).
			WithLimit("scenario bytes", MaxScenario)
	}
	defer func() {
		if p := recover(); p != nil {
			err = bad("%s: the YAML reader gave up: %v", name, p)
		}
	}()
	for _, t := range lexer.Tokenize(string(text)) {
		switch t.Type {
		case token.TagType, token.AnchorType, token.AliasType:
			return bad("%s line %d: tags, anchors and aliases are not for this file",
				name, t.Position.Line)
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(into); err != nil {
		return refused(name, err)
	}
	if err := d.Decode(new(any)); err != io.EOF {
		return bad("%s: there is a second YAML document", name)
	}
	return nil
}

// refused says where the reader stumbled.
func refused(name string, err error) error {
	if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		t := unknown.GetToken()
		return bad("%s line %d: unknown key %q", name, t.Position.Line, t.Value).
			WithHint("atoll sim list --show every-key prints all keys of a scenario")
	}
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		t := e.GetToken()
		return bad("%s line %d: %s (at %q)", name, t.Position.Line, e.GetMessage(), keyBefore(t))
	}
	return bad("%s: %v", name, err)
}

// Span is a Go duration of whole milliseconds.
type Span time.Duration

func (s Span) ms() int64 { return time.Duration(s).Milliseconds() }

// UnmarshalYAML reads a duration. Errors carry the place.
func (s *Span) UnmarshalYAML(n ast.Node) error {
	t := n.GetToken()
	d, err := time.ParseDuration(t.Value)
	if err != nil || d%time.Millisecond != 0 {
		return &yaml.SyntaxError{Token: t,
			Message: fmt.Sprintf("%q is no duration of whole milliseconds, such as 1.5s or 200ms", t.Value)}
	}
	*s = Span(d)
	return nil
}

// keyBefore returns the key whose value t is, or t's own text.
func keyBefore(t *token.Token) string {
	for k := t; k != nil; k = k.Prev {
		if k.Type == token.MappingValueType && k.Prev != nil {
			return k.Prev.Value
		}
	}
	return t.Value
}

// Source returns the text of a built-in scenario.
func Source(name string) ([]byte, error) {
	if _, err := Builtin(name); err != nil {
		return nil, err
	}
	return builtin.ReadFile("scenarios/" + name + ".yaml")
}
