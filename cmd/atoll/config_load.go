package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"github.com/atolledge/atoll"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// loadConfig lays the file over the defaults (path "" is no file), the
// environment over that, the flags over all, and checks the whole. Errors are
// misuse and say what to set.
func loadConfig(path string, flags map[string]string, getenv func(string) string) (config, error) {
	c := defaultConfig()
	if path != "" {
		text, err := readLimited(path, maxConfig)
		if errors.Is(err, fs.ErrNotExist) {
			err = misused(atoll.Errorf(atoll.NotFound, "there is no file %s", path).
				WithHint("atoll config sample > " + path + " begins one"))
		}
		if err != nil {
			return c, err
		}
		if err := parseConfig(&c, path, text); err != nil {
			return c, err
		}
	}
	for _, s := range settings() {
		text, from := getenv(s.env()), s.env()
		if v, given := flags[s.key]; given {
			text, from = v, "--"+s.flag()
		} else if text == "" {
			continue
		}
		if err := s.set(&c, text); err != nil {
			return c, misuse("%s: %w", from, err)
		}
	}
	return c, c.check()
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, misused(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, misused(err)
	}
	if int64(len(text)) > limit {
		return nil, misused(atoll.Errorf(atoll.TooLarge, "%s is too long", path).
			WithLimit("configuration bytes", limit))
	}
	return text, nil
}

// parseConfig reads one YAML document into c. Keys that are not there keep what
// c has; keys that c does not know are refused with the line and the nearest
// known key. Tags, anchors and aliases are refused: nothing here needs them, and
// the decoder falls over some.
func parseConfig(c *config, name string, text []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = misuse("%s: the YAML reader gave up: %v", name, p)
		}
	}()
	for _, t := range lexer.Tokenize(string(text)) {
		switch t.Type {
		case token.TagType, token.AnchorType, token.AliasType:
			return misuse("%s line %d: tags, anchors and aliases are not for this file",
				name, t.Position.Line)
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	read := *c
	switch err := d.Decode(&read); err {
	case nil:
	case io.EOF:
		return nil // nothing but comments; the decoder has emptied what it was given
	default:
		return refusedYAML(name, err)
	}
	if err := d.Decode(new(any)); err != io.EOF {
		return misuse("%s: there is a second YAML document", name)
	}
	*c = read
	return nil
}

// refusedYAML says where and why a file is no configuration.
func refusedYAML(name string, err error) error {
	if unknown, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		t := unknown.GetToken()
		return misused(atoll.Errorf(atoll.BadRequest, "%s line %d: unknown key %q",
			name, t.Position.Line, t.Value).WithHint(nearestKey(t.Value)))
	}
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		return misuse("%s line %d: %s", name, e.GetToken().Position.Line, e.GetMessage())
	}
	return misuse("%s: %w", name, err)
}

// nearestKey suggests the known key whose last word takes the fewest letters to
// change, if that is fewer than half of them.
func nearestKey(word string) string {
	best, distance := "", 1+len(word)/2
	for _, key := range allKeys() {
		last := key[strings.LastIndexByte(key, '.')+1:]
		if d := edits(word, last); d < distance {
			best, distance = key, d
		}
	}
	if best == "" {
		return "atoll config sample prints all keys"
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// allKeys lists every key, those of list entries as api.tokens[].name.
func allKeys() []string {
	var keys []string
	var below func(t reflect.Type, prefix string)
	below = func(t reflect.Type, prefix string) {
		walk(t, prefix, nil, func(key string, in reflect.Type, index []int) {
			f := in.Field(index[len(index)-1])
			keys = append(keys, key)
			if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
				below(f.Type.Elem(), key+"[].")
			}
		})
	}
	below(reflect.TypeFor[config](), "")
	return keys
}

// edits is the Levenshtein distance of two words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
