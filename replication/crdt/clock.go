package crdt

import (
	"cmp"
	"iter"
	"slices"

	"github.com/atolledge/atoll"
)

// Dot names one cell effect: the Seq-th of its origin in a partition, from 1.
type Dot struct {
	Origin atoll.Origin
	Seq    uint64
}

// Compare orders dots by origin, then by sequence.
func (d Dot) Compare(e Dot) int {
	return cmp.Or(cmp.Compare(d.Origin, e.Origin), cmp.Compare(d.Seq, e.Seq))
}

// valid reports whether d can be the dot of a write.
func (d Dot) valid() bool { return d.Origin != 0 && d.Seq != 0 }

// Run is the dots First..Last (both included) of one origin.
type Run struct {
	Origin      atoll.Origin
	First, Last uint64
}

// Len returns the number of dots in r.
func (r Run) Len() uint64 { return r.Last - r.First + 1 }

// Clock is a set of dots, kept as sorted disjoint runs that do not touch. Holes
// are legal for ever. The zero Clock is empty. Methods that change a Clock do
// not touch clones of it.
type Clock struct{ runs []Run }

// ClockOf returns the clock that holds the given runs.
func ClockOf(runs ...Run) Clock {
	var c Clock
	for _, r := range runs {
		c.AddRun(r)
	}
	return c
}

// Clone returns a copy that shares nothing with c.
func (c *Clock) Clone() Clock { return Clock{runs: slices.Clone(c.runs)} }

// Runs returns the runs of c in order. The slice is c's own: read only.
func (c *Clock) Runs() []Run { return c.runs }

// Empty reports whether c holds no dot.
func (c *Clock) Empty() bool { return len(c.runs) == 0 }

// Len returns the number of dots in c.
func (c *Clock) Len() (n uint64) {
	for _, r := range c.runs {
		n += r.Len()
	}
	return n
}

// search returns the first run that ends at or after (o, seq).
func (c *Clock) search(o atoll.Origin, seq uint64) int {
	lo, hi := 0, len(c.runs)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if r := &c.runs[m]; r.Origin < o || r.Origin == o && r.Last < seq {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// Has reports whether d is in c.
func (c *Clock) Has(d Dot) bool {
	i := c.search(d.Origin, d.Seq)
	return i < len(c.runs) && c.runs[i].Origin == d.Origin && c.runs[i].First <= d.Seq
}

// HasRun reports whether all dots of r are in c.
func (c *Clock) HasRun(r Run) bool {
	i := c.search(r.Origin, r.First)
	return i < len(c.runs) && c.runs[i].Origin == r.Origin &&
		c.runs[i].First <= r.First && c.runs[i].Last >= r.Last
}

// Max returns the highest sequence of o in c, 0 if there is none.
func (c *Clock) Max(o atoll.Origin) uint64 {
	if o == ^atoll.Origin(0) {
		if n := len(c.runs); n > 0 && c.runs[n-1].Origin == o {
			return c.runs[n-1].Last
		}
		return 0
	}
	i := c.search(o+1, 0)
	if i > 0 && c.runs[i-1].Origin == o {
		return c.runs[i-1].Last
	}
	return 0
}

// Of returns the runs of o. The slice is c's own: read only.
func (c *Clock) Of(o atoll.Origin) []Run {
	i := c.search(o, 0)
	j := i
	for j < len(c.runs) && c.runs[j].Origin == o {
		j++
	}
	return c.runs[i:j:j]
}

// Without returns a clock with the dots of c but those of o.
func (c *Clock) Without(o atoll.Origin) Clock {
	var out Clock
	out.runs = slices.DeleteFunc(slices.Clone(c.runs), func(r Run) bool { return r.Origin == o })
	return out
}

// Add puts d into c.
func (c *Clock) Add(d Dot) { c.AddRun(Run{d.Origin, d.Seq, d.Seq}) }

// AddRun puts all dots of r into c.
func (c *Clock) AddRun(r Run) {
	i := c.search(r.Origin, max(r.First, 1)-1) // the first run that r may touch
	j := i
	for j < len(c.runs) && c.runs[j].Origin == r.Origin && c.runs[j].First <= r.Last+1 {
		r.First = min(r.First, c.runs[j].First)
		r.Last = max(r.Last, c.runs[j].Last)
		j++
	}
	if j == i+1 { // the common case: one run grows in place
		c.runs[i] = r
		return
	}
	c.runs = slices.Replace(c.runs, i, j, r)
}

// Join puts all dots of o into c.
func (c *Clock) Join(o Clock) {
	for _, r := range o.runs {
		c.AddRun(r)
	}
}

// Covers reports whether every dot of o is in c.
func (c *Clock) Covers(o Clock) bool {
	for _, r := range o.runs {
		if !c.HasRun(r) {
			return false
		}
	}
	return true
}

// Equal reports whether c and o hold the same dots.
func (c *Clock) Equal(o Clock) bool { return slices.Equal(c.runs, o.runs) }

// Minus yields the runs of dots in c that are not in o, in order.
func (c *Clock) Minus(o Clock) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for _, r := range c.runs {
			for i := o.search(r.Origin, r.First); r.First <= r.Last; i++ {
				if i == len(o.runs) || o.runs[i].Origin != r.Origin || o.runs[i].First > r.Last {
					if !yield(r) {
						return
					}
					break
				}
				if hole := o.runs[i]; hole.First > r.First {
					if !yield(Run{r.Origin, r.First, hole.First - 1}) {
						return
					}
				}
				r.First = o.runs[i].Last + 1
			}
		}
	}
}

// Intersect returns the dots that are in both.
func (c *Clock) Intersect(o Clock) Clock {
	var out Clock
	i, j := 0, 0
	for i < len(c.runs) && j < len(o.runs) {
		a, b := c.runs[i], o.runs[j]
		if a.Origin == b.Origin && a.First <= b.Last && b.First <= a.Last {
			out.runs = append(out.runs, Run{a.Origin, max(a.First, b.First), min(a.Last, b.Last)})
		}
		if a.Origin < b.Origin || a.Origin == b.Origin && a.Last < b.Last {
			i++
		} else {
			j++
		}
	}
	return out
}
