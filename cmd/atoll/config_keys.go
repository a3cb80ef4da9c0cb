package main

import (
	_ "embed" // config.go, whose comments are the documentation
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

//go:embed config.go
var configSource string

// setting is one key of the configuration that a flag and an environment
// variable can set: a scalar, or a list of strings.
type setting struct {
	key   string // listen.http
	doc   string // its comment, lines joined
	index []int  // of the field, for reflect
	list  bool
}

func (s setting) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.key)
}

func (s setting) env() string {
	return "ATOLL_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// set reads text into the field of c.
func (s setting) set(c *config, text string) error {
	field := reflect.ValueOf(c).Elem().FieldByIndex(s.index)
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		field.SetFloat(f)
	case reflect.Slice:
		var list []string
		if text != "" {
			list = strings.Split(text, ",")
		}
		field.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("a %s cannot be set from text", field.Kind())
	}
	return nil
}

// settings lists the keys that are also flags, in the order of the struct.
func settings() []setting {
	docs := fieldDocs(configSource)
	var all []setting
	walk(reflect.TypeFor[config](), "", nil, func(key string, in reflect.Type, index []int) {
		f := in.Field(index[len(index)-1])
		list := f.Type == reflect.TypeFor[[]string]()
		if f.Type.Kind() == reflect.Struct || f.Type.Kind() == reflect.Slice && !list {
			return
		}
		all = append(all, setting{
			key: key, doc: docs[in.Name()+"."+f.Name], index: index, list: list,
		})
	})
	return all
}

// visit is told of one key: the struct type that it stands in, and its field's
// index from the outermost struct on.
type visit func(key string, in reflect.Type, index []int)

// walk calls each for every key below a struct type, the structs themselves
// included, lists of structs not entered.
func walk(t reflect.Type, prefix string, index []int, each visit) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		key := prefix + f.Tag.Get("yaml")
		each(key, t, at)
		if f.Type.Kind() == reflect.Struct {
			walk(f.Type, key+".", at, each)
		}
	}
}

// fieldDocs reads the comments of all struct fields in Go source, by
// "type.Field", as one line each. The source is our own: a parse error is not
// possible in a binary whose tests passed.
func fieldDocs(source string) map[string]string {
	docs := map[string]string{}
	tree, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return docs
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range fields.Fields.List {
			docs[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
		return false
	})
	return docs
}

// keyFlags are the settings as flags of a command: a struct made at run time,
// because its fields are those of config.
type keyFlags struct {
	flags    any // *struct, for kong.Plugins
	settings []setting
}

func newKeyFlags() *keyFlags {
	k := &keyFlags{settings: settings()}
	var fields []reflect.StructField
	for i, s := range k.settings {
		t := reflect.TypeFor[*string]()
		if s.list {
			t = reflect.TypeFor[[]string]()
		}
		first, _, _ := strings.Cut(s.doc, ". ")
		tag := fmt.Sprintf("name:%q help:%q placeholder:%q group:%q", s.flag(),
			strings.TrimSuffix(first, ".")+" ("+s.env()+").", "VALUE", "Configuration")
		fields = append(fields, reflect.StructField{
			Name: "K" + strconv.Itoa(i), Type: t, Tag: reflect.StructTag(tag),
		})
	}
	k.flags = reflect.New(reflect.StructOf(fields)).Interface()
	return k
}

// configured is what a command that runs with a configuration embeds: --config and
// a flag for each key.
type configured struct {
	Config string       `placeholder:"FILE" help:"YAML file; atoll config sample prints one."`
	Flags  kong.Plugins `embed:""`

	keys *keyFlags
}

// prepare makes the flags. It is called before the command line is parsed.
func (c *configured) prepare() {
	c.keys = newKeyFlags()
	c.Flags = kong.Plugins{c.keys.flags}
}

// load returns the configuration in force, checked; errors are misuse.
func (c *configured) load() (config, error) {
	return loadConfig(c.Config, c.keys.given(), os.Getenv)
}

// given returns the text of the flags that stood on the command line, by key.
func (k *keyFlags) given() map[string]string {
	values := map[string]string{}
	for i, s := range k.settings {
		f := reflect.ValueOf(k.flags).Elem().Field(i)
		switch {
		case f.IsNil():
		case s.list:
			values[s.key] = strings.Join(f.Interface().([]string), ",")
		default:
			values[s.key] = f.Elem().String()
		}
	}
	return values
}

// byteSize is a number of bytes, written 512MiB, 20GB or plain.
type byteSize int64

var byteUnits = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	for _, u := range byteUnits {
		digits, found := strings.CutSuffix(s, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/u.size {
			break
		}
		*b = byteSize(n * u.size)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 512MiB", s)
}

// MarshalText implements encoding.TextMarshaler, in the largest binary unit
// that divides b.
func (b byteSize) MarshalText() ([]byte, error) {
	for i := 3; i >= 0; i-- {
		if u := byteUnits[i]; b > 0 && int64(b)%u.size == 0 {
			return fmt.Appendf(nil, "%d%s", int64(b)/u.size, u.name), nil
		}
	}
	return fmt.Appendf(nil, "%d", int64(b)), nil
}

// duration is a length of time, written 30s, 5m or 1h30m.
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a length of time such as 30s or 5m", text)
	}
	*d = duration(parsed)
	return nil
}

// MarshalText implements encoding.TextMarshaler, without units that are zero.
func (d duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}
