// Command starsgen provides cmd/atoll/sample/stars.ndjson: it converts the stars
// and their names of the npm package d3-celestial into one JSON document a line,
// brightest first.
//
//	npm pack d3-celestial@0.7.35 && tar xzf d3-celestial-0.7.35.tgz
//	go run ./cmd/atoll/sample/starsgen -from package/data -out stars.ndjson
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// catalogue is data/stars.6.json, GeoJSON.
type catalogue struct{ Features []feature }

// feature is one star. Right ascension stands as a longitude of -180..180
// degrees, declination as the latitude.
type feature struct {
	ID         int // the star's number in the Hipparcos catalogue
	Properties struct {
		Mag float64
		BV  string // colour index B-V as text; empty when unknown
	}
	Geometry struct{ Coordinates [2]float64 }
}

// label is an entry of data/starnames.json, by the star's Hipparcos number.
type label struct {
	Name  string `json:"name"`
	C     string `json:"c"` // constellation, three letters
	Desig string `json:"desig"`
}

// star is a document of the sample. Angles are degrees in J2000.
type star struct {
	ID            string   `json:"id"`
	Name          string   `json:"name,omitempty"`
	Designation   string   `json:"designation,omitempty"` // "α CMa"
	Constellation string   `json:"constellation,omitempty"`
	Magnitude     float64  `json:"magnitude"`
	ColorIndex    *float64 `json:"color_index,omitempty"`
	RA            float64  `json:"ra"` // 0..360
	Dec           float64  `json:"dec"`
}

func main() {
	from := flag.String("from", ".", "the data folder of d3-celestial")
	out := flag.String("out", "stars.ndjson", "the file to write")
	flag.Parse()
	if err := run(*from, *out); err != nil {
		fmt.Fprintln(os.Stderr, "starsgen:", err)
		os.Exit(1)
	}
}

func run(from, out string) error {
	stars, err := os.ReadFile(filepath.Join(from, "stars.6.json"))
	if err != nil {
		return err
	}
	names, err := os.ReadFile(filepath.Join(from, "starnames.json"))
	if err != nil {
		return err
	}
	ndjson, err := convert(stars, names)
	if err != nil {
		return err
	}
	return os.WriteFile(out, ndjson, 0o644)
}

// convert joins the two files and returns a document a line, ordered by
// magnitude, then by number.
func convert(stars, names []byte) ([]byte, error) {
	var sky catalogue
	if err := json.Unmarshal(stars, &sky); err != nil {
		return nil, fmt.Errorf("stars: %w", err)
	}
	labels := map[string]label{}
	if err := json.Unmarshal(names, &labels); err != nil {
		return nil, fmt.Errorf("star names: %w", err)
	}
	slices.SortFunc(sky.Features, func(a, b feature) int {
		return cmp.Or(cmp.Compare(a.Properties.Mag, b.Properties.Mag), a.ID-b.ID)
	})
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, f := range sky.Features {
		s, err := document(f, labels[strconv.Itoa(f.ID)])
		if err != nil {
			return nil, fmt.Errorf("star %d: %w", f.ID, err)
		}
		if err := enc.Encode(s); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func document(f feature, l label) (star, error) {
	s := star{
		ID:            "hip-" + strconv.Itoa(f.ID),
		Name:          l.Name,
		Constellation: l.C,
		Magnitude:     f.Properties.Mag,
		RA:            round4(math.Mod(f.Geometry.Coordinates[0]+360, 360)),
		Dec:           f.Geometry.Coordinates[1],
	}
	if l.Desig != "" && l.C != "" {
		s.Designation = l.Desig + " " + l.C
	}
	if f.Properties.BV != "" {
		bv, err := strconv.ParseFloat(f.Properties.BV, 64)
		if err != nil {
			return star{}, fmt.Errorf("colour index: %w", err)
		}
		s.ColorIndex = &bv
	}
	return s, nil
}

// round4 keeps the source's four decimals, which adding 360 blurs.
func round4(degrees float64) float64 { return math.Round(degrees*1e4) / 1e4 }
