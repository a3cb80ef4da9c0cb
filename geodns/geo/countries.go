package geo

import (
	_ "embed"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// countries.csv: code, latitude, longitude, name; where most of a country's
// people are, in doubt its capital. Our own table of public facts.
//
//go:embed countries.csv
var countriesCSV string

// Countries returns one place for each ISO 3166-1 code (and XK): where most of
// the people of the country live. The map is the caller's.
func Countries() (map[string]Place, error) { return parseCountries(countriesCSV) }

func parseCountries(csv string) (map[string]Place, error) {
	out := map[string]Place{}
	for line := range strings.Lines(csv) {
		f := strings.SplitN(strings.TrimSpace(line), ",", 4)
		if len(f) != 4 || len(f[0]) != 2 {
			return nil, fmt.Errorf("countries: line %q", line)
		}
		lat, err1 := strconv.ParseFloat(f[1], 64)
		lon, err2 := strconv.ParseFloat(f[2], 64)
		p := Place{Country: f[0], Lat: lat, Lon: lon}
		if _, twice := out[f[0]]; twice || err1 != nil || err2 != nil || p.check() != nil {
			return nil, fmt.Errorf("countries: line %q", line)
		}
		out[f[0]] = p
	}
	return out, nil
}

// prefixes yields the prefixes of a list that is part of the program.
func prefixes(list string) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for s := range strings.FieldsSeq(list) {
			if !yield(netip.MustParsePrefix(s)) {
				return
			}
		}
	}
}
