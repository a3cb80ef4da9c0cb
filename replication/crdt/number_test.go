package crdt

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendSum(t *testing.T) {
	for _, c := range []struct {
		text    string
		counter int64
		want    string
	}{
		{"1.50", 0, "1.50"},
		{"1e3", 0, "1e3"},
		{"-0", 0, "-0"},
		{"0", 1, "1"},
		{"-0", 7, "7"},
		{"41", 1, "42"},
		{"-5", 2, "-3"},
		{"1.50", 2, "3.50"},
		{"1.50", -2, "-0.50"},
		{"0.05", -1, "-0.95"},
		{"-0.05", 1, "0.95"},
		{"1.0", -1, "0.0"},
		{"1e3", 1, "1001"},
		{"1E+3", 1, "1001"},
		{"1.5e2", 1, "151"},
		{"1.25e1", 1, "13.5"},
		{"1e-3", 1, "1.001"},
		{"9223372036854775807", 1, "9223372036854775808"},
		{"-9223372036854775808", -1, "-9223372036854775809"},
		{"9223372036854775807", math.MinInt64, "-1"},
		{"123456789012345678901234567890", 1, "123456789012345678901234567891"},
		{"0.1", math.MaxInt64, "9223372036854775807.1"},
	} {
		if got := string(appendSum(nil, []byte(c.text), c.counter)); got != c.want {
			t.Errorf("%s + %d = %s, want %s", c.text, c.counter, got, c.want)
		}
	}
}

func TestCountable(t *testing.T) {
	for text, want := range map[string]bool{
		"0": true, "-1": true, "1.5": true, "1e400": true, "1E-400": true, "1e0000000000007": true,
		"1e401": false, "1e-401": false, "1e999999999999999999999": false,
		`"1"`: false, "null": false, "true": false, "[1]": false, "": false,
		strings.Repeat("9", maxNumberText):   true,
		strings.Repeat("9", maxNumberText+1): false,
	} {
		if got := countable([]byte(text)); got != want {
			t.Errorf("countable(%.40s) = %v, want %v", text, got, want)
		}
	}
}

// numberText draws the text of a JSON number, most of them countable.
func numberText() *rapid.Generator[string] {
	return rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`)
}

// TestSumIsExact compares with fractions: the sum is the sum, it is a JSON
// number, and it keeps as many digits behind the point as the text has.
func TestSumIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := numberText().Draw(t, "text")
		counter := rapid.Int64().Draw(t, "counter")
		got := string(appendSum(nil, []byte(text), counter))
		want, _ := new(big.Rat).SetString(text)
		want.Add(want, new(big.Rat).SetInt64(counter))
		sum, ok := new(big.Rat).SetString(got)
		if !ok || sum.Cmp(want) != 0 {
			t.Fatalf("%s + %d = %s, want %s", text, counter, got, want)
		}
		if _, err := Parse([]byte(got)); err != nil {
			t.Fatalf("%s + %d = %s: %v", text, counter, got, err)
		}
		if counter != 0 && fractionDigits(got) != fractionDigits(text) {
			t.Fatalf("%s + %d = %s: lost or made digits", text, counter, got)
		}
	})
}

// fractionDigits counts the digits behind the point when text is written
// without an exponent.
func fractionDigits(text string) int {
	mantissa, e, _ := strings.Cut(strings.ToLower(text), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	n, _ := strconv.Atoi(e)
	return max(0, len(fraction)-n)
}
