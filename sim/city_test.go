package sim

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/atolledge/atoll"
)

func TestCityRTT(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int64 // 4 ms + km/75 of published great circles
	}{
		{"london", "paris-less", 0},
		{"frankfurt", "amsterdam", 9},      // 364 km
		{"washington", "london", 83},       // 5,900 km
		{"sydney", "london", 230},          // 16,990 km
		{"tokyo", "honolulu", 87},          // 6,210 km
		{"santiago", "sao-paulo", 38},      // 2,590 km
		{"singapore", "johannesburg", 120}, // 8,660 km
	} {
		got, err := CityRTT(c.a, c.b)
		if c.want == 0 {
			var e *atoll.Error
			if !errors.As(err, &e) || e.Kind != atoll.UnknownRegion || !strings.Contains(e.Hint, "tokyo") {
				t.Errorf("%s-%s: %v, want unknown-region with the cities", c.a, c.b, err)
			}
			continue
		}
		if err != nil || got < c.want-1 || got > c.want+1 {
			t.Errorf("%s-%s: %d ms, %v; want %d", c.a, c.b, got, err, c.want)
		}
		if back, _ := CityRTT(c.b, c.a); back != got {
			t.Errorf("%s-%s: %d ms, and %d back", c.a, c.b, got, back)
		}
	}
}

// TestRoundTripsRoundClearly shows that no round trip is so close to the middle
// of two milliseconds that another machine's sine could round it the other way.
func TestRoundTripsRoundClearly(t *testing.T) {
	all := cities()
	for i, a := range all {
		for _, b := range all[:i] {
			exact := 4 + distance(a, b)/75
			if _, frac := math.Modf(exact); math.Abs(frac-0.5) < 1e-6 {
				t.Errorf("%s-%s takes %v ms", a.name, b.name, exact)
			}
		}
	}
	if !slices.IsSorted(cityNames()) {
		t.Error("cities are not in order")
	}
}
