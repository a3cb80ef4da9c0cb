package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/atolledge/atoll"
)

type listCmd struct {
	remote
	Keyspace string `arg:"" help:"Keyspace."`
	Prefix   string `placeholder:"TEXT" help:"Only keys that begin with it."`
	After    string `placeholder:"KEY" help:"Begin behind this key."`
	Limit    int    `default:"100" help:"Documents at most, 1 to 1000."`
	Session  string `env:"ATOLL_SESSION" placeholder:"TOKEN" help:"See what this session saw."`
}

// Run prints one page, a document a line: key, tab, body.
func (c *listCmd) Run(ctx context.Context, io *stdio) error {
	if c.Limit < 1 || c.Limit > atoll.MaxPage {
		return misuse("--limit %d: want 1 to %d", c.Limit, atoll.MaxPage)
	}
	resp, err := c.do(ctx, call{
		method: http.MethodGet, path: keyspacePath(c.Keyspace), header: sessionHeader(c.Session),
		query: url.Values{
			"prefix": {c.Prefix}, "after": {c.After}, "limit": {strconv.Itoa(c.Limit)},
		},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.JSON {
		return copyOut(io.out, resp.Body)
	}
	next, err := readPage(resp.Body, func(key string, doc json.RawMessage) {
		io.printf("%s\t%s\n", plain(key), doc)
	})
	if err != nil {
		return brokenOff(err)
	}
	if next != "" {
		fmt.Fprintf(io.err, "there is more: --after %s\n", shellQuote(next))
	}
	return nil
}

// readPage reads {"items":[{"key","etag","doc"}],"next"} as it comes, so that
// its length is no concern, and returns next.
func readPage(r io.Reader, each func(key string, doc json.RawMessage)) (next string, err error) {
	d := json.NewDecoder(r)
	if err := expect(d, json.Delim('{')); err != nil {
		return "", err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return "", err
		}
		switch name {
		case "items":
			err = readItems(d, each)
		case "next":
			err = d.Decode(&next)
		default:
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return "", err
		}
	}
	return next, expect(d, json.Delim('}'))
}

func readItems(d *json.Decoder, each func(key string, doc json.RawMessage)) error {
	if err := expect(d, json.Delim('[')); err != nil {
		return err
	}
	for d.More() {
		var item struct {
			Key string
			Doc json.RawMessage
		}
		if err := d.Decode(&item); err != nil {
			return err
		}
		each(item.Key, item.Doc)
	}
	return expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err == nil && got != want {
		return fmt.Errorf("%v in place of %v", got, want)
	}
	return err
}

// copyOut streams an answer to w; one that breaks off is an error.
func copyOut(w io.Writer, body io.Reader) error {
	if _, err := io.Copy(w, body); err != nil {
		return brokenOff(err)
	}
	return nil
}

// plain returns a key as one word of a line: quoted as in Go when it holds what
// a terminal or a reader of lines would stumble over.
func plain(key string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.ContainsFunc(key, odd) || strings.HasPrefix(key, `"`) {
		return strconv.Quote(key)
	}
	return key
}

// shellQuote returns s as one word for a POSIX shell.
func shellQuote(s string) string {
	special := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./:,@%+", r)
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
