package sample

import (
	"bufio"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// TestStars reads every document: what the README and the dev world promise of
// the sample is true of it.
func TestStars(t *testing.T) {
	set, err := Open("stars")
	if err != nil {
		t.Fatal(err)
	}
	var n, named int
	last, seen := -100.0, map[string]bool{}
	for lines := bufio.NewScanner(set.Reader()); lines.Scan(); n++ {
		var s struct {
			ID, Name      string
			Magnitude     float64
			RA, Dec       float64
			Constellation string
			ColorIndex    *float64 `json:"color_index"`
			Designation   string
		}
		dec := json.NewDecoder(strings.NewReader(lines.Text()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		if _, err := atoll.ParseKey(s.ID); err != nil || seen[s.ID] {
			t.Fatalf("line %d: key %q is bad or there twice (%v)", n+1, s.ID, err)
		}
		if s.Magnitude < last || s.Magnitude > 6 {
			t.Errorf("line %d: magnitude %v after %v", n+1, s.Magnitude, last)
		}
		if s.RA < 0 || s.RA >= 360 || s.Dec < -90 || s.Dec > 90 {
			t.Errorf("line %d: outside the sky: %v %v", n+1, s.RA, s.Dec)
		}
		if n == 0 && (s.Name != "Sirius" || s.Designation != "α CMa" || s.ColorIndex == nil) {
			t.Errorf("the brightest is %+v", s)
		}
		if s.Name != "" {
			named++
		}
		last, seen[s.ID] = s.Magnitude, true
	}
	if n != set.Count || n < 5000 || named < 300 {
		t.Errorf("%d documents, Count says %d; %d with a name", n, set.Count, named)
	}
	if size := len(set.data); size > 1<<20 {
		t.Errorf("%d bytes, want at most 1 MiB", size)
	}
	if !strings.Contains(set.License, "Redistribution and use") ||
		!strings.Contains(set.Attribution, "Olaf Frohn") {
		t.Error("licence or attribution is missing")
	}
}

func TestOpenUnknown(t *testing.T) {
	_, err := Open("planets")
	var e *atoll.Error
	if !errors.As(err, &e) || e.Kind != atoll.NotFound || !strings.Contains(e.Hint, "stars") {
		t.Errorf("got %v, want not-found with a hint that names stars", err)
	}
}
