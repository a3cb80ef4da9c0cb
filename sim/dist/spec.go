package dist

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Compile makes a distribution ready. key is what errors call it.
func (s Spec) Compile(key string) (*Dist, error) {
	if len(s) == 0 || len(s) > MaxParts {
		return nil, bad("%s: %d parts, want 1 to %d", key, len(s), MaxParts)
	}
	d, sum := &Dist{pow: newPow2()}, uint64(0)
	for i := range s {
		p, share, err := s[i].compile(len(s) == 1)
		if err != nil {
			return nil, bad("%s[%d]: %v", key, i, err)
		}
		sum += share
		if sum < hundred {
			p.upto, _ = bits.Div64(sum, 0, hundred)
		} else {
			p.upto = math.MaxUint64
		}
		d.parts = append(d.parts, p)
	}
	if sum != hundred {
		return nil, bad("%s: the shares are %s in all, want 100%%", key, percents(sum))
	}
	return d, nil
}

func (p *Part) compile(alone bool) (made part, share uint64, err error) {
	share = hundred
	if p.Share != "" || !alone {
		if share, err = Percent(p.Share); err != nil {
			return made, 0, fmt.Errorf("share: %w", err)
		}
	}
	kinds := 0
	for _, k := range []struct {
		there bool
		read  func() error
	}{
		{p.Fixed != "", func() error { return times(&made, fixed, "fixed", p.Fixed, "0") }},
		{p.Uniform != nil, func() error { return p.Uniform.compile(&made) }},
		{p.Exp != nil, func() error { return p.Exp.compile(&made) }},
		{p.Pareto != nil, func() error { return p.Pareto.compile(&made) }},
		{p.Table != nil, func() error { return compileTable(p.Table, &made) }},
	} {
		if k.there && err == nil {
			kinds++
			err = k.read()
		}
	}
	if err == nil && kinds != 1 {
		err = fmt.Errorf("%d kinds, want one of fixed, uniform, exp, pareto and table", kinds)
	}
	return made, share, err
}

// times reads two times into p.
func times(p *part, k kind, key, a, b string) (err error) {
	p.kind = k
	if p.a, err = milliseconds(a); err == nil {
		p.b, err = milliseconds(b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (u *Uniform) compile(p *part) error {
	if err := times(p, uniform, "uniform", u.From, u.To); err != nil {
		return err
	}
	if p.b < p.a {
		return fmt.Errorf("uniform: from %s is more than to %s", u.From, u.To)
	}
	p.b -= p.a
	return nil
}

func (e *Exp) compile(p *part) error {
	rate, err := Decimal(e.Rate)
	if err != nil || rate == 0 {
		return fmt.Errorf("exp.rate: %q, want a decimal above 0, per ms", e.Rate)
	}
	p.kind = exponential
	const meanOfOne = uint64(one) * nano // of a rate of one millionth, in ns
	hi, lo := bits.Mul64(meanOfOne, ln2)
	hi, lo = hi>>16, hi<<48|lo>>16 // ln2 has 32 bits behind the point, scale 16
	p.scale, _ = bits.Div64(hi, lo, rate)
	return nil
}

func (a *Pareto) compile(p *part) error {
	if err := times(p, pareto, "pareto.min", a.Min, "0"); err != nil {
		return err
	}
	var err error
	if p.b, err = Decimal(a.Shape); err != nil || p.b < one/100 {
		return fmt.Errorf("pareto.shape: %q, want a decimal of at least 0.01", a.Shape)
	}
	return nil
}

func compileTable(points []Point, p *part) error {
	p.kind = table
	if len(points) < 2 || len(points) > MaxPoints {
		return fmt.Errorf("table: %d points, want 2 to %d", len(points), MaxPoints)
	}
	for i, at := range points {
		ppm, err := Percent(at.At)
		if err != nil {
			return fmt.Errorf("table[%d].at: %w", i, err)
		}
		ns, err := milliseconds(at.Is)
		if err != nil {
			return fmt.Errorf("table[%d].is: %w", i, err)
		}
		if i > 0 && (ppm <= p.table[i-1].ppm || ns < p.table[i-1].ns) {
			return fmt.Errorf("table[%d]: at %s is %s, want both to rise", i, at.At, at.Is)
		}
		p.table = append(p.table, quantile{ppm, ns})
	}
	if p.table[0].ppm != 0 || p.table[len(p.table)-1].ppm != hundred {
		return fmt.Errorf("table: from %s to %s, want 0%% to 100%%", points[0].At,
			points[len(points)-1].At)
	}
	return nil
}

// Percent reads "0.5%" as parts per million.
func Percent(text string) (uint64, error) {
	number, ok := strings.CutSuffix(text, "%")
	ppm, err := places(number, 4)
	if !ok || err != nil || ppm > hundred {
		return 0, fmt.Errorf("%q, want 0%% to 100%%, with up to four decimals", text)
	}
	return ppm, nil
}

// Decimal reads a decimal of up to six places as millionths.
func Decimal(text string) (uint64, error) { return places(text, 6) }

func milliseconds(text string) (uint64, error) {
	ns, err := places(text, 6)
	if err != nil || ns > maxNano {
		return 0, fmt.Errorf("%q, want ms from 0 to %d, with up to six decimals", text, MaxTime)
	}
	return ns, nil
}

// places reads a decimal of up to n places as a whole number of the last.
func places(text string, n int) (uint64, error) {
	whole, frac, _ := strings.Cut(text, ".")
	if whole+frac == "" || len(frac) > n {
		return 0, fmt.Errorf("%q is no decimal of up to %d places", text, n)
	}
	v, err := strconv.ParseUint(whole+frac+strings.Repeat("0", n-len(frac)), 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%q is no decimal of up to %d places", text, n)
	}
	return v, nil
}

func percents(ppm uint64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%04d", ppm/10_000, ppm%10_000), "0"),
		".") + "%"
}
