package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

type configCmd struct {
	Sample configSampleCmd `cmd:"" help:"Print a commented configuration with all defaults."`
	Check  configCheckCmd  `cmd:"" help:"Check a configuration file."`
	Show   configShowCmd   `cmd:"" help:"Print what file, environment and flags make together."`
}

type configSampleCmd struct{}

// Run prints the sample.
func (c *configSampleCmd) Run(std *stdio) error { return writeSample(std.out, defaultConfig()) }

type configCheckCmd struct {
	File string `arg:"" help:"YAML file."`
	JSON bool   `name:"json" help:"Print the result as JSON."`
}

// Run checks the file alone, without environment and flags.
func (c *configCheckCmd) Run(std *stdio) error {
	if _, err := loadConfig(c.File, nil, func(string) string { return "" }); err != nil {
		return failed(err)
	}
	r := remote{JSON: c.JSON}
	return r.say(std, map[string]any{"file": c.File, "ok": true}, c.File+" is good")
}

// failed turns misuse into "is not so": whoever asks whether a file is good has
// used the command rightly when it is not.
func failed(err error) error {
	if u, ok := err.(usageError); ok {
		return u.error
	}
	return err
}

type configShowCmd struct {
	configured
	JSON bool `name:"json" help:"Print the result as JSON."`
}

// Run prints the configuration that start would run with.
func (c *configShowCmd) Run(std *stdio) error {
	effective, err := c.load()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(effective)
	if err != nil {
		return err
	}
	if !c.JSON {
		std.printf("%s", text)
		return nil
	}
	var plain any
	if err := yaml.Unmarshal(text, &plain); err != nil {
		return err
	}
	return json.NewEncoder(std.out).Encode(plain)
}

const sampleHead = `# The configuration of one Atoll node, all defaults: atoll start --config FILE
# Every key below that holds a word, a number or a list of words is also a flag and an
# environment variable: listen.http is --listen-http and ATOLL_LISTEN_HTTP. A flag
# counts more than the environment, that more than this file.
`

// writeSample prints c as YAML, each key under its comment. Reading it back
// gives c.
func writeSample(w io.Writer, c config) error {
	s := sampler{docs: fieldDocs(configSource)}
	s.fields(reflect.ValueOf(c), "")
	_, err := io.WriteString(w, sampleHead+s.out.String())
	return err
}

// sampler writes the fields of structs as YAML.
type sampler struct {
	docs map[string]string
	out  strings.Builder
}

func (s *sampler) fields(v reflect.Value, indent string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if indent == "" {
			s.out.WriteByte('\n')
		}
		s.comment(indent+"# ", s.docs[v.Type().Name()+"."+f.Name])
		name := f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct {
			fmt.Fprintf(&s.out, "%s%s:\n", indent, name)
			s.fields(v.Field(i), indent+"  ")
			continue
		}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			s.entry(f.Type.Elem(), indent)
		}
		text, err := yaml.Marshal(v.Field(i).Interface())
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&s.out, "%s%s: %s\n", indent, name, strings.TrimSpace(string(text)))
	}
}

// entry describes the entries of a list in comments.
func (s *sampler) entry(t reflect.Type, indent string) {
	s.out.WriteString(indent + "# Each entry has:\n")
	for i := range t.NumField() {
		f := t.Field(i)
		s.comment(indent+"#   ", f.Tag.Get("yaml")+": "+s.docs[t.Name()+"."+f.Name])
	}
}

// comment writes text in lines of at most 88 bytes behind a prefix.
func (s *sampler) comment(prefix, text string) {
	line := prefix
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > 88 {
			s.out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = prefix
		}
		line += word + " "
	}
	s.out.WriteString(strings.TrimRight(line, " ") + "\n")
}
