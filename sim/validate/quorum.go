package validate

import (
	"context"
	"fmt"
	"slices"

	"github.com/atolledge/atoll/sim/dist"
)

// MaxReplicas is the most replicas of a quorum study.
const MaxReplicas = 64

// lookEvery is after how many short trials a model looks whether to go on.
const lookEvery = 4096

// Quorum is the WARS model of reads and writes that wait for some replicas of
// all: a write reaches a replica after W and its answer comes back after A, a
// read reaches one after R and its answer comes back after S. The read begins
// when the write has been answered. Its figures:
//
//	fresh R=1 W=1 t=0            of reads that begin t ms after the answer
//	t-visibility R=1 W=1 99.9%   ms until this share of reads is fresh
//	read R=1 99.9%               ms that this share of reads takes at most
//	write W=1 99.9%              ms that this share of writes takes at most
type Quorum struct {
	Replicas int `yaml:"replicas"`
	// W, A, R, S are distributions; of the last three, those that are not there are
	// as the one before them.
	W dist.Spec `yaml:"w"`
	A dist.Spec `yaml:"a"`
	R dist.Spec `yaml:"r"`
	S dist.Spec `yaml:"s"`
	// Away is what each way to a replica takes longer, in ms, for all but one of
	// them: one that a write finds near, and one that a read does.
	Away string `yaml:"away"`
}

// quorum is a Quorum made ready.
type quorum struct {
	n, trials  int
	w, a, r, s *dist.Dist
	away       int64 // ns
}

func (q *Quorum) model(trials int) (model, error) {
	if q.Replicas < 1 || q.Replicas > MaxReplicas {
		return nil, fmt.Errorf("quorum.replicas: %d, want 1 to %d", q.Replicas, MaxReplicas)
	}
	m := &quorum{n: q.Replicas, trials: trials}
	spec := dist.Spec(nil)
	for _, d := range []struct {
		key  string
		spec dist.Spec
		to   **dist.Dist
	}{{"quorum.w", q.W, &m.w}, {"quorum.a", q.A, &m.a}, {"quorum.r", q.R, &m.r}, {"quorum.s", q.S, &m.s}} {
		if d.spec != nil {
			spec = d.spec
		}
		var err error
		if *d.to, err = spec.Compile(d.key); err != nil {
			return nil, err
		}
	}
	if q.Away != "" {
		ms, err := dist.Decimal(q.Away)
		if err != nil || ms > dist.MaxTime*micro {
			return nil, fmt.Errorf("quorum.away: %q, want ms up to %d", q.Away, dist.MaxTime)
		}
		m.away = int64(ms)
	}
	return m, nil
}

// asked is a figure of a quorum, read.
type asked struct {
	kind  string
	r, w  int
	after int64 // ns
	ppm   uint64
}

// ask reads a figure. What it may not have stays 0.
func (m *quorum) ask(figure string) (a asked, err error) {
	var t, part string
	for _, form := range []struct {
		kind, format string
		into         []any
	}{
		{"fresh", "fresh R=%d W=%d t=%s", []any{&a.r, &a.w, &t}},
		{"t-visibility", "t-visibility R=%d W=%d %s", []any{&a.r, &a.w, &part}},
		{"read", "read R=%d %s", []any{&a.r, &part}},
		{"write", "write W=%d %s", []any{&a.w, &part}},
	} {
		a, t, part = asked{}, "0", "100%"
		if n, _ := fmt.Sscanf(figure, form.format, form.into...); n == len(form.into) {
			a.kind = form.kind
			break
		}
	}
	after, err := dist.Decimal(t)
	if err == nil {
		a.ppm, err = dist.Percent(part)
	}
	a.after = int64(after)
	low := a.kind != "write" && a.r < 1 || (a.kind == "fresh" || a.kind == "t-visibility" ||
		a.kind == "write") && a.w < 1
	if err != nil || a.kind == "" || low || max(a.r, a.w) > m.n {
		return a, fmt.Errorf("%q, want such as fresh R=1 W=1 t=0, t-visibility R=1 W=1 99.9%%, "+
			"read R=1 99.9%% or write W=1 99.9%%, of %d replicas", figure, m.n)
	}
	return a, nil
}

func (m *quorum) knows(figure string) error {
	_, err := m.ask(figure)
	return err
}

// measure takes all figures off the same operations.
func (m *quorum) measure(ctx context.Context, figures []string) (values []value, err error) {
	gauges := make([]gauge, len(figures))
	for i, f := range figures {
		if gauges[i].asked, err = m.ask(f); err != nil {
			return nil, err
		}
		samples := m.trials
		if gauges[i].kind == "t-visibility" {
			samples *= m.n
		}
		gauges[i].tail = newTail(samples, gauges[i].ppm)
	}
	o := m.newOperation()
	for i := range m.trials {
		if i%lookEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o.throw()
		for i := range gauges {
			gauges[i].add(o)
		}
	}
	for i := range gauges {
		values = append(values, gauges[i].value(m.trials*m.n))
	}
	return values, nil
}

// gauge is a figure that is being measured.
type gauge struct {
	asked
	fresh uint64
	tail  *tail
}

func (g *gauge) add(o *operation) {
	switch g.kind {
	case "read":
		g.tail.add(o.reads[g.r-1].done)
	case "write":
		g.tail.add(o.done[g.w-1])
	default:
		for turn := range o.m.n {
			g.addStale(o.stale(g.r, g.w, turn))
		}
	}
}

func (g *gauge) addStale(wait int64) {
	if g.kind == "t-visibility" {
		g.tail.add(wait)
	} else if wait <= g.after {
		g.fresh++
	}
}

func (g *gauge) value(reads int) value {
	if g.kind == "fresh" {
		return share(g.fresh, uint64(reads))
	}
	return value{micros: g.tail.quantile(), unit: "ms"}
}

// operation is one write and one read that follows it.
type operation struct {
	m      *quorum
	dice   *dice
	writes []int64   // when each replica has it
	done   []int64   // when each answer to the write is here, in order
	reads  []reading // in order of their answers
}

// reading is a replica's part in a read, from its begin.
type reading struct {
	replica    int
	asks, done int64
}

func (m *quorum) newOperation() *operation {
	return &operation{m: m, dice: newDice(1), writes: make([]int64, m.n), done: make([]int64, m.n),
		reads: make([]reading, m.n)}
}

// throw draws one write and one read.
func (o *operation) throw() {
	m, d := o.m, o.dice
	draw := func(x *dist.Dist) int64 { return x.Draw(d.bits(), d.bits()) }
	nearWrite, nearRead := d.below(m.n), d.below(m.n)
	for i := range m.n {
		write, read := m.away, m.away
		if i == nearWrite {
			write = 0
		}
		if i == nearRead {
			read = 0
		}
		o.writes[i] = draw(m.w) + write
		o.done[i] = o.writes[i] + draw(m.a) + write
		asks := draw(m.r) + read
		o.reads[i] = reading{replica: i, asks: asks, done: asks + draw(m.s) + read}
	}
	slices.Sort(o.done)
	for i := range o.reads { // a few: by insertion
		for k := i; k > 0 && o.reads[k].done < o.reads[k-1].done; k-- {
			o.reads[k], o.reads[k-1] = o.reads[k-1], o.reads[k]
		}
	}
}

// stale returns how long after the answer to a write that waits for w the read
// has to begin for one of its first r replicas to have it. Replicas are alike, so
// that the read may as well have met them turned by any number of places: as many
// samples of the tail for the same draws.
func (o *operation) stale(r, w, turn int) int64 {
	answered, least := o.done[w-1], int64(0)
	for i, q := range o.reads[:r] {
		at := q.replica + turn
		if at >= len(o.writes) {
			at -= len(o.writes)
		}
		if wait := max(o.writes[at]-answered-q.asks, 0); i == 0 || wait < least {
			least = wait
		}
	}
	return least
}

// tail keeps the greatest of many numbers, as many as a quantile needs.
type tail struct {
	keep int
	all  []int64
	over int64 // nothing below this is kept any more
}

// newTail is for the quantile at ppm of n numbers.
func newTail(n int, ppm uint64) *tail {
	below := int(uint64(n) * ppm / micro)
	return &tail{keep: max(n-below, 1)}
}

func (t *tail) add(x int64) {
	if x < t.over {
		return
	}
	if t.all = append(t.all, x); len(t.all) >= 4*t.keep+1024 {
		t.cut()
	}
}

func (t *tail) cut() {
	slices.Sort(t.all)
	if n := len(t.all) - t.keep; n > 0 {
		t.all = append(t.all[:0], t.all[n:]...)
		t.over = t.all[0]
	}
}

// quantile returns the least of those that are kept.
func (t *tail) quantile() int64 {
	t.cut()
	return t.all[0]
}
