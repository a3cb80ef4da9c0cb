// Package sample provides real data sets, embedded in the binary, for the dev
// world to start with. Each stands beside its licence and attribution.
package sample

import (
	"bytes"
	_ "embed" // the data sets and their attributions
	"io"
	"strings"

	"github.com/atolledge/atoll"
)

//go:generate go run ./starsgen -from d3-celestial/data -out stars.ndjson

//go:embed stars.ndjson
var stars []byte

//go:embed stars.ATTRIBUTION
var starsAttribution string

//go:embed stars.LICENSE
var starsLicense string

// Set is one data set: NDJSON, a document a line.
type Set struct {
	Name        string // also the keyspace that it is imported into
	Key         string // the field that holds a document's key
	Count       int    // documents, which is lines
	Attribution string // who made it and what it was made from, some lines of text
	License     string // the licence text, whole

	data []byte
}

// Open returns the data set of that name, or an atoll.NotFound error that says
// which there are.
func Open(name string) (Set, error) {
	if name != "stars" {
		return Set{}, atoll.Errorf(atoll.NotFound, "there is no sample %q", name).
			WithHint("samples: " + strings.Join(Names(), ", "))
	}
	return Set{
		Name:        "stars",
		Key:         "id",
		Count:       bytes.Count(stars, []byte("\n")),
		Attribution: starsAttribution,
		License:     starsLicense,
		data:        stars,
	}, nil
}

// Names lists the data sets that Open knows.
func Names() []string { return []string{"stars"} }

// Reader returns a fresh reader of the documents, brightest star first.
func (s Set) Reader() io.Reader { return bytes.NewReader(s.data) }
