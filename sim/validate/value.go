package validate

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"

	"github.com/atolledge/atoll/sim/dist"
)

// micro is what values are counted in: millionths. Of a ms that is a ns.
const micro = 1_000_000

// value is a number with a unit: "%", where 1 is 100 %, "ms" or none.
type value struct {
	micros int64
	unit   string
}

// ratio returns a/b; 0 where b is 0.
func ratio(a, b uint64) value {
	if b == 0 {
		return value{}
	}
	hi, lo := bits.Mul64(a, micro)
	lo, carry := bits.Add64(lo, b/2, 0)
	q, _ := bits.Div64((hi+carry)%b, lo, b) // what is over 2^64 was no ratio of counts
	return value{micros: int64(q)}
}

// share is a ratio that is shown in per cent.
func share(a, b uint64) value {
	v := ratio(a, b)
	v.unit = "%"
	return v
}

func (v value) String() string {
	n := v.micros
	if v.unit == "%" {
		n *= 100
	}
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	// Four digits that count, at least, and no more than six places.
	keep := int64(1)
	for n/keep >= 100_000 && keep < micro {
		keep *= 10
	}
	n = (n + keep/2) / keep * keep
	text := fmt.Sprintf("%s%d.%06d", sign, n/micro, n%micro)
	text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	switch v.unit {
	case "%":
		return text + "%"
	case "":
		return text
	}
	return text + " " + v.unit
}

// parseValue reads a decimal with its unit.
func parseValue(text string) (v value, err error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		v.unit, text = "%", number
	} else if number, ok := strings.CutSuffix(text, " ms"); ok {
		v.unit, text = "ms", number
	}
	n, err := dist.Decimal(text)
	v.micros = int64(n)
	if v.unit == "%" {
		v.micros /= 100
	}
	return v, err
}

// goal is a figure made ready: what ours is compared with.
type goal struct {
	paper value
	bound bool
	off   int64 // how far ours may be from paper, in micros
}

func newGoal(f Figure) (g goal, err error) {
	text, bound := strings.CutPrefix(f.Paper, "<= ")
	g.bound = bound
	if g.paper, err = parseValue(text); err != nil {
		return g, fmt.Errorf("paper: %w", err)
	}
	if f.Where == "" {
		return g, fmt.Errorf("where is missing: the table, section or page")
	}
	if bound != (f.Tolerance == "") {
		return g, fmt.Errorf("tolerance: %q; figures have one, bounds (<=) have none", f.Tolerance)
	}
	if bound {
		return g, nil
	}
	number, isPoints := strings.CutSuffix(f.Tolerance, "pp")
	number, isPart := strings.CutSuffix(number, "%")
	n, err := dist.Decimal(number)
	switch {
	case err != nil || isPoints && g.paper.unit != "%":
		return g, fmt.Errorf("tolerance: %q, want such as 5%%, 1pp of a share, or 0.5", f.Tolerance)
	case isPoints:
		g.off = int64(n / 100)
	case isPart:
		g.off = int64(n/100) * g.paper.micros / micro
	default:
		g.off = int64(n)
	}
	return g, nil
}

// meets reports whether ours is near enough.
func (g goal) meets(ours value) bool {
	if g.bound {
		return ours.micros <= g.paper.micros
	}
	return max(ours.micros-g.paper.micros, g.paper.micros-ours.micros) <= g.off
}

// dice throw numbers that are the same in every run.
type dice struct{ pcg rand.PCG }

func newDice(seed uint64) *dice {
	d := &dice{}
	d.pcg.Seed(seed, 0xa7011)
	return d
}

func (d *dice) bits() uint64 { return d.pcg.Uint64() }

// below throws for a number from 0 to n-1; n is above 0.
func (d *dice) below(n int) int {
	hi, _ := bits.Mul64(d.bits(), uint64(n))
	return int(hi)
}

// other throws for a number from 0 to n-1 but for one.
func (d *dice) other(n, but int) int {
	k := d.below(n - 1)
	if k >= but {
		k++
	}
	return k
}
