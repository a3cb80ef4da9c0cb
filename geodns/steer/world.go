// Package steer chooses the region that serves a client. It is pure: a World
// and a Client in, an Answer out, and the same ones always give the same.
//
// The choice is a chain of four steps, each a function of its own:
//
//	eligible  up before drained before the rest; the rest only together (fail open)
//	rank      nearest first, by great circle; equal distances by name
//	spread    the addresses of a region in an order that depends on the client
//	first     at most as many addresses of a family as asked for
//
// It depends on the client's place and prefix only, never on the name asked
// for, so that all names send one client to the same region.
package steer

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/atolledge/atoll"
)

// Point is a place on Earth in degrees, north and east positive.
type Point struct {
	Lat, Lon float64
}

// Region is one region as the choice sees it.
type Region struct {
	Name   atoll.Region
	At     Point
	State  string       // one of atoll.State…
	V4, V6 []netip.Addr // public addresses, sorted, no duplicates
	Votes  []atoll.Vote
	tier   tier
}

// tier orders regions by how good it is to answer with them.
type tier uint8

const (
	healthy tier = iota // up, not drained
	resting             // drained, but alive
	lost                // down or not ready yet: an answer only if all are
	mute                // without a public address: never an answer
)

// World is a snapshot of the regions that the choice is made among. It does not
// change, and nobody may change what it returns.
type World struct {
	// Version is the same on every node that sees the same regions in the
	// same states with the same addresses.
	Version uint64

	regions []Region // in order of name
	self    atoll.Region
	tier    tier // the best that is there: the one that answers
}

// NewWorld takes from a cluster what the choice needs: all regions that have
// not left. Addresses that cannot be read are left out.
func NewWorld(c atoll.Cluster) *World {
	w := &World{self: c.Self.Region(), tier: mute}
	for _, v := range c.Regions {
		if v.State == atoll.StateLeft {
			continue
		}
		r := Region{
			Name: v.Name, At: Point{v.Lat, v.Lon}, State: v.State,
			Votes: slices.Clone(v.Votes),
		}
		r.V4, r.V6 = addresses(v.Addresses)
		r.tier = r.rate()
		w.tier = min(w.tier, r.tier)
		w.regions = append(w.regions, r)
	}
	slices.SortStableFunc(w.regions, func(a, b Region) int { return cmp.Compare(a.Name, b.Name) })
	w.Version = w.digest()
	return w
}

// Regions returns all regions in order of name.
func (w *World) Regions() []Region { return w.regions }

// addresses parses, sorts and parts a list of addresses.
func addresses(in []string) (v4, v6 []netip.Addr) {
	for _, s := range in {
		a, err := netip.ParseAddr(s)
		switch a = a.WithZone("").Unmap(); {
		case err != nil || a.IsUnspecified():
		case a.Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
	}
	return tidy(v4), tidy(v6)
}

func tidy(a []netip.Addr) []netip.Addr {
	slices.SortFunc(a, netip.Addr.Compare)
	return slices.Compact(a)
}

func (r *Region) rate() tier {
	switch {
	case len(r.V4)+len(r.V6) == 0:
		return mute
	case r.State == atoll.StateUp:
		return healthy
	case r.State == atoll.StateDrained && !r.votedDown():
		return resting
	}
	return lost
}

// votedDown tells whether most voters miss the region. Drained hides down in
// State, so that a drained region's life is read from its votes.
func (r *Region) votedDown() bool {
	up, _ := r.poll()
	return 2*up < len(r.Votes)
}

// poll counts the votes.
func (r *Region) poll() (up, down int) {
	for _, v := range r.Votes {
		if v.Up {
			up++
		}
	}
	return up, len(r.Votes) - up
}

// digest hashes what an answer can depend on, but for the client and self.
func (w *World) digest() uint64 {
	var b []byte
	for _, r := range w.regions {
		b = append(b, r.Name...)
		b = append(b, 0, byte(r.tier))
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.At.Lat))
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.At.Lon))
		for _, a := range slices.Concat(r.V4, r.V6) {
			b = append(append(b, a.AsSlice()...), byte(a.BitLen()))
		}
		b = append(b, strings.Repeat("\xff", 2)...)
	}
	return xxhash.Sum64(b)
}

// earthKM is the mean radius of the Earth (IUGG).
const earthKM = 6371.0088

// KM returns the great-circle distance in whole kilometres, by the haversine
// formula, which is exact enough for near points too. Whole, so that the last
// bits of a processor's sine never decide. Points that are none are as far as
// can be.
func KM(a, b Point) float64 {
	const rad = math.Pi / 180
	la, lb := a.Lat*rad, b.Lat*rad
	x, y := math.Sin((lb-la)/2), math.Sin((b.Lon-a.Lon)*rad/2)
	h := x*x + math.Cos(la)*math.Cos(lb)*y*y
	d := 2 * earthKM * math.Asin(math.Sqrt(min(h, 1)))
	if math.IsNaN(d) {
		return math.Round(math.Pi * earthKM)
	}
	return math.Round(d)
}
