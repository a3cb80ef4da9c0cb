// Package dist provides distributions of time as data: a mixture of parts, each
// with its share, that is drawn from with integers alone. Equal bits give equal
// times on every machine: no float is rounded or fused on the way.
//
//   - {share: 91.22%, pareto: {min: 0.235, shape: 10}}
//   - {share: 8.78%, exp: {rate: 1.66}}
package dist

import (
	"math/bits"

	"github.com/atolledge/atoll"
)

// Limits of a distribution.
const (
	MaxParts  = 64
	MaxPoints = 4096
	// MaxTime is the longest time in ms, of anything drawn as well: a Pareto part
	// of a small shape has no end.
	MaxTime = 3_600_000

	maxNano = MaxTime * nano
)

// Spec is a distribution as a file says it: parts whose shares are 100 % in all.
// Times are decimals in ms with up to six places.
type Spec []Part

// Part is one part of a mixture. Exactly one of its kinds is there.
type Part struct {
	// Share of the mixture in per cent, with up to four places. One part alone
	// needs none.
	Share string `yaml:"share" json:"share,omitempty"`
	// Fixed is always the same time.
	Fixed   string   `yaml:"fixed" json:"fixed,omitempty"`
	Uniform *Uniform `yaml:"uniform" json:"uniform,omitempty"`
	Exp     *Exp     `yaml:"exp" json:"exp,omitempty"`
	Pareto  *Pareto  `yaml:"pareto" json:"pareto,omitempty"`
	// Table is what has been measured: quantiles, with straight lines between.
	Table []Point `yaml:"table" json:"table,omitempty"`
}

// Uniform is any time between two.
type Uniform struct {
	From string `yaml:"from" json:"from"`
	To   string `yaml:"to" json:"to"`
}

// Exp is exponential: Rate is 1/mean, per ms.
type Exp struct {
	Rate string `yaml:"rate" json:"rate"`
}

// Pareto has the least time Min; a time over x has the probability (Min/x)^Shape.
type Pareto struct {
	Min   string `yaml:"min" json:"min"`
	Shape string `yaml:"shape" json:"shape"`
}

// Point is one quantile: the share At of all times is below Is.
type Point struct {
	At string `yaml:"at" json:"at"`
	Is string `yaml:"is" json:"is"`
}

// Dist is a Spec made ready. It is safe for concurrent use.
type Dist struct {
	parts []part
	pow   pow2
}

// part is one part of a mixture, for draws whose first die is below upto.
type part struct {
	upto uint64 // of 2^64, the last part's counts as all
	kind kind

	a, b  uint64 // fixed: a; uniform: from a, b more; Pareto: least a, shape b
	scale uint64 // exp: mean * ln 2 in 2^-16 ns
	table []quantile
}

type quantile struct{ ppm, ns uint64 }

type kind uint8

const (
	fixed kind = iota
	uniform
	exponential
	pareto
	table
)

// Draw returns the time in ns that two uniform 64-bit numbers stand for: which
// chooses the part, value the time.
func (d *Dist) Draw(which, value uint64) int64 {
	p := &d.parts[len(d.parts)-1]
	for i := range d.parts {
		if which < d.parts[i].upto {
			p = &d.parts[i]
			break
		}
	}
	ns := uint64(0)
	switch p.kind {
	case fixed:
		ns = p.a
	case uniform:
		more, _ := bits.Mul64(value, p.b)
		ns = p.a + more
	case exponential:
		hi, lo := bits.Mul64(NegLog2(value), p.scale)
		ns = hi<<16 | lo>>48
	case pareto:
		hi, lo := bits.Mul64(NegLog2(value), one)
		e, _ := bits.Div64(hi, lo, p.b) // log2 of how many times the least
		ns = d.pow.times(p.a, e)
	case table:
		ns = p.interpolate(value)
	}
	return int64(min(ns, maxNano))
}

func (p *part) interpolate(value uint64) uint64 {
	at, below := bits.Mul64(value, hundred)
	for i := 1; i < len(p.table); i++ {
		lo, hi := p.table[i-1], p.table[i]
		if at < hi.ppm {
			// below is what value has beyond at, in 2^-64 ppm: the line is drawn from both.
			wide := (at-lo.ppm)<<20 | below>>44
			return lo.ns + muldiv(hi.ns-lo.ns, wide, (hi.ppm-lo.ppm)<<20)
		}
	}
	return p.table[len(p.table)-1].ns
}

// muldiv returns a*b/c without overflow on the way; b is not over c.
func muldiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}

func bad(format string, args ...any) *atoll.Error {
	return atoll.Errorf(atoll.BadRequest, format, args...)
}
