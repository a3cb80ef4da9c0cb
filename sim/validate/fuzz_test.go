package validate

import (
	"strings"
	"testing"
)

// FuzzParse: whatever a file says is refused, or is a study whose models can be
// made ready and whose figures they know.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"pbs-wan", "icde19-gset-tree", "demers-blind-coin-2", "swim-apart-10"} {
		text, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(small)
	f.Add(strings.Replace(small, "push: {sites: 9}", fits, 1))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("fuzz.yaml", []byte(text))
		if err != nil {
			return
		}
		m, err := s.model(FullFactor)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range s.Rows {
			if err := m.knows(row.Figure); err != nil {
				t.Fatal(err)
			}
		}
	})
}
