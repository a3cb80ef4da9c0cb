package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/atolledge/atoll"
)

// city is a built-in region.
type city struct {
	name     string
	lat, lon float64 // degrees
}

// cities are the regions whose distances are built in, in order of name.
func cities() []city {
	return []city{
		{"amsterdam", 52.37, 4.90}, {"dallas", 32.78, -96.80}, {"frankfurt", 50.11, 8.68},
		{"honolulu", 21.31, -157.86}, {"johannesburg", -26.20, 28.05}, {"london", 51.51, -0.13},
		{"mumbai", 19.08, 72.88}, {"reykjavik", 64.15, -21.94}, {"santiago", -33.45, -70.67},
		{"sao-paulo", -23.55, -46.63}, {"seattle", 47.61, -122.33}, {"singapore", 1.35, 103.82},
		{"stockholm", 59.33, 18.07}, {"sydney", -33.87, 151.21}, {"tokyo", 35.68, 139.69},
		{"washington", 38.91, -77.04},
	}
}

// earthRadius is in km.
const earthRadius = 6371.0

// distance returns the great circle between two cities in km (haversine).
func distance(a, b city) float64 {
	rad := func(deg float64) float64 { return deg * math.Pi / 180 }
	sin2 := func(x float64) float64 { s := math.Sin(x / 2); return s * s }
	h := sin2(rad(b.lat-a.lat)) + math.Cos(rad(a.lat))*math.Cos(rad(b.lat))*sin2(rad(b.lon-a.lon))
	return 2 * earthRadius * math.Asin(math.Sqrt(h))
}

// roundTrip returns 4 ms + km/75, rounded: within about 15 % of what networks
// between such cities show.
func roundTrip(a, b city) int64 { return int64(math.Round(4 + distance(a, b)/75)) }

// CityRTT returns the built-in round trip between two cities in ms. The error
// lists the cities.
func CityRTT(a, b string) (int64, error) {
	all := cities()
	find := func(name string) int {
		return slices.IndexFunc(all, func(c city) bool { return c.name == name })
	}
	i, j := find(a), find(b)
	if i < 0 || j < 0 {
		return 0, atoll.Errorf(atoll.UnknownRegion, "no distance is known between %s and %s", a, b).
			WithHint(fmt.Sprintf("name it under topology.rtt, or use cities: %v", cityNames()))
	}
	return roundTrip(all[i], all[j]), nil
}

func cityNames() (names []string) {
	for _, c := range cities() {
		names = append(names, c.name)
	}
	return names
}
