package atoll_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

// traceGrammar is the twin of ParseTrace (Trace Context, section 3.2.2).
var traceGrammar = regexp.MustCompile(
	`^(00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}|` +
		`([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-(?s:.*))?)$`)

func FuzzTraceparent(f *testing.F) {
	const ok = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, s := range []string{ok, ok + "-x", "01" + ok[2:] + "-x", "ff" + ok[2:], strings.ToUpper(ok),
		ok[:53] + "fe", strings.Repeat("0", 55), "00-" + strings.Repeat("0", 32) + ok[35:], "", "0g" + ok[2:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := atoll.ParseTrace(s)
		want := traceGrammar.MatchString(s) && !strings.HasPrefix(s, "ff") &&
			(len(s) == 55 || !strings.HasPrefix(s, "00")) &&
			s[3:35] != strings.Repeat("0", 32) && s[36:52] != strings.Repeat("0", 16)
		if ok != want {
			t.Fatalf("%q: got %v, the grammar says %v", s, ok, want)
		}
		if !ok {
			if got.String() != "" || got.Hex() != "" {
				t.Fatalf("%q: none is %q", s, got)
			}
			return
		}
		if got.String()[3:53] != s[3:53] || got.Hex() != s[3:35] ||
			got.Sampled != strings.ContainsAny(s[54:55], "13579bdf") {
			t.Fatalf("%q became %q", s, got)
		}
		if again, ok := atoll.ParseTrace(got.String()); !ok || again != got {
			t.Fatalf("%q became %q", got, again)
		}
	})
}
