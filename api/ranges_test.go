package api

import (
	"net/http"
	"testing"

	"pgregory.net/rapid"
)

func TestRangeOf(t *testing.T) {
	for value, want := range map[string]string{
		"bytes=0-9":                      "bytes=0-9",
		"BYTES=0-9":                      "bytes=0-9",
		"bytes=0-9, 20-, -5":             "bytes=0-9,20-,-5",
		"bytes=-0":                       "bytes=9223372036854775807-",
		"bytes=1-2,-000":                 "bytes=1-2,9223372036854775807-",
		"bytes=0-99999999999999999999":   "bytes=0-9223372036854775807",
		"bytes=99999999999999999999999-": "bytes=9223372036854775807-",
		"bytes=-99999999999999999999":    "bytes=-9223372036854775807",
		"bytes=9223372036854775807-":     "bytes=9223372036854775807-",
		"bytes=9223372036854775808-":     "bytes=9223372036854775807-",
		"bytes=x-9":                      "bytes=x-9",
		"bytes=9":                        "bytes=9",
		"bytes=--1":                      "bytes=--1",
		"bytes=":                         "bytes=",
		"pages=1-2":                      "",
		"pages":                          "",
		"":                               "",
	} {
		if got := rangeOf(http.MethodGet, value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
		if got := rangeOf(http.MethodHead, value); got != "" {
			t.Errorf("HEAD %q: %q", value, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`bytes=[-0-9, x]{0,60}`).Draw(t, "value")
		once := rangeOf(http.MethodGet, value)
		if twice := rangeOf(http.MethodGet, once); twice != once {
			t.Fatalf("%q is said %q, that %q", value, once, twice)
		}
	})
}
