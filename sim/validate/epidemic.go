package validate

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"github.com/atolledge/atoll/sim/dist"
)

// Push is rumour spreading in rounds: in each, every site that knows calls one
// other at random and tells it. Its figure is
//
//	rounds     until all know, in the mean
type Push struct {
	Sites int `yaml:"sites"`
}

// Rumor is rumour mongering by push: a site that is told becomes infective, calls
// one other in each cycle and loses interest. Its figures, in the mean:
//
//	residue                   the share that never hears
//	traffic                   calls by sites
//	t-last                    cycles until the last that hears does
//	ln(1/residue) / traffic   1 where s = e^-m
type Rumor struct {
	Sites int `yaml:"sites"`
	// Feedback: a call makes for losing interest only if the other knew already.
	Feedback bool `yaml:"feedback"`
	// Counter: interest is lost with the K-th such call in a row. Otherwise a coin
	// is thrown at each, and it is lost with probability 1/K.
	Counter bool `yaml:"counter"`
	K       int  `yaml:"k"`
}

func checkSites(n int) error {
	if n < 2 || n > MaxSites {
		return fmt.Errorf("%d sites, want 2 to %d", n, MaxSites)
	}
	return nil
}

func unknownFigure(figure string, known []string) error {
	if slices.Contains(known, figure) {
		return nil
	}
	return fmt.Errorf("%q, want one of %q", figure, known)
}

type push struct {
	Push
	trials int
}

func (p *Push) model(trials int) (model, error) { return &push{*p, trials}, checkSites(p.Sites) }

func (p *push) knows(figure string) error { return unknownFigure(figure, []string{"rounds"}) }

func (p *push) measure(ctx context.Context, figures []string) ([]value, error) {
	d, rounds := newDice(1), uint64(0)
	for range p.trials {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		knows := make([]bool, p.Sites)
		knowing := []int{0}
		for knows[0] = true; len(knowing) < p.Sites; rounds++ {
			for _, i := range knowing[:len(knowing):len(knowing)] {
				if k := d.other(p.Sites, i); !knows[k] {
					knows[k] = true
					knowing = append(knowing, k)
				}
			}
		}
	}
	return slices.Repeat([]value{ratio(rounds, uint64(p.trials))}, len(figures)), nil
}

type rumor struct {
	Rumor
	trials int
	// Sums over all trials.
	missed, calls, last uint64
}

func (r *Rumor) model(trials int) (model, error) {
	if r.K < 1 || r.K > 1000 {
		return nil, fmt.Errorf("rumor.k: %d, want 1 to 1000", r.K)
	}
	return &rumor{Rumor: *r, trials: trials}, checkSites(r.Sites)
}

func (r *rumor) knows(figure string) error {
	return unknownFigure(figure, []string{"residue", "traffic", "t-last", "ln(1/residue) / traffic"})
}

func (r *rumor) measure(ctx context.Context, figures []string) (values []value, err error) {
	d := newDice(1)
	for range r.trials {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.spread(d)
	}
	sites := uint64(r.Sites) * uint64(r.trials)
	for _, f := range figures {
		switch f {
		case "residue":
			values = append(values, ratio(r.missed, sites))
		case "traffic":
			values = append(values, ratio(r.calls, sites))
		case "t-last":
			values = append(values, ratio(r.last, uint64(r.trials)))
		default:
			values = append(values, r.law(sites))
		}
	}
	return values, nil
}

// law returns ln(1/residue) / traffic.
func (r *rumor) law(sites uint64) value {
	residue, _ := bits.Div64(min(r.missed, sites-1), 0, sites)
	calls, _ := bits.Div64(r.calls>>(64-dist.Fraction), r.calls<<dist.Fraction, sites)
	return ratio(dist.NegLn(residue), calls)
}

// spread lets one rumour run until nobody is interested any more. What the calls
// of a cycle meet is as it was before the cycle.
func (r *rumor) spread(d *dice) {
	heard, counts := make([]uint64, r.Sites), make([]int, r.Sites) // heard: in which cycle, from 1
	heard[0] = 1
	left, cycle := r.Sites-1, uint64(1)
	last := cycle
	for infective := []int{0}; len(infective) > 0; {
		cycle++
		var next []int
		for _, i := range infective {
			k := d.other(r.Sites, i)
			r.calls++
			knew := heard[k] != 0 && heard[k] < cycle
			if heard[k] == 0 {
				heard[k], last = cycle, cycle
				left--
				next = append(next, k)
			}
			if !r.loses(&counts[i], knew, d) {
				next = append(next, i)
			}
		}
		infective = next
	}
	r.missed += uint64(left)
	r.last += last - 1
}

// loses reports whether a site loses interest with a call. A call that was worth
// it sets a counter back: that is how the paper's own figures come out.
func (r *rumor) loses(count *int, knew bool, d *dice) bool {
	if r.Feedback && !knew {
		*count = 0
		return false
	}
	if r.Counter {
		*count++
		return *count >= r.K
	}
	return d.below(r.K) == 0
}
