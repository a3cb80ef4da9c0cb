package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/atolledge/atoll"
)

// faults throws for one fault after the other.
type faults struct {
	c       *cluster
	rng     *rand.Rand
	done    map[string]int
	pending []repair
	wiped   time.Time // when a disk was last lost
}

// repair is what ends a fault.
type repair struct {
	at time.Time
	do func() error
}

// weights say how often which fault comes. A wipe is rare and takes its time: it
// waits until all older writes are everywhere, because a write that was promised
// to two disks survives the loss of one and no more.
var weights = []struct {
	name   string
	weight int
	inject func(*faults) error
}{
	{"cut", 4, (*faults).cut},
	{"oneway", 2, (*faults).oneWay},
	{"isolate", 2, (*faults).isolate},
	{"slow", 3, (*faults).slow},
	{"heal", 3, (*faults).calm},
	{"kill", 4, (*faults).kill},
	{"pause", 3, (*faults).pause},
	{"wipe", 2, (*faults).wipe},
}

// run injects faults for so long, or until failed says that it is decided.
func (f *faults) run(how time.Duration, failed <-chan struct{}) error {
	end := time.Now().Add(how)
	for time.Now().Before(end) {
		name, inject := f.draw()
		fmt.Printf("%6.1f s  %s\n", (how - time.Until(end)).Seconds(), name)
		f.done[name]++
		if err := inject(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		next := time.Now().Add(f.span(500, 3000))
		for time.Now().Before(next) {
			if err := f.repair(time.Now()); err != nil {
				return err
			}
			select {
			case <-failed:
				return nil
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return f.repair(end.Add(time.Hour))
}

// draw returns the next fault.
func (f *faults) draw() (string, func(*faults) error) {
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	n := f.rng.IntN(sum)
	for _, w := range weights {
		if n -= w.weight; n >= 0 {
			continue
		}
		if w.name == "wipe" && time.Since(f.wiped) < 2*nearly {
			return "heal", (*faults).calm // what the last disk held may not be everywhere yet
		}
		return w.name, w.inject
	}
	panic("unreachable: weights add up")
}

// repair does what is due until now.
func (f *faults) repair(now time.Time) error {
	var errs []error
	f.pending = slices.DeleteFunc(f.pending, func(r repair) bool {
		if r.at.After(now) {
			return false
		}
		errs = append(errs, r.do())
		return true
	})
	return errors.Join(errs...)
}

func (f *faults) span(from, to int64) time.Duration {
	return time.Duration(from+f.rng.Int64N(to-from)) * time.Millisecond
}

func (f *faults) later(in time.Duration, do func() error) {
	f.pending = append(f.pending, repair{time.Now().Add(in), do})
}

func (f *faults) pair() (a, b atoll.Region) {
	p := f.rng.Perm(len(regions))
	return regions[p[0]], regions[p[1]]
}

// running returns a node that runs and is not in a fault of its own.
func (f *faults) running() *node {
	for _, i := range f.rng.Perm(len(f.c.nodes)) {
		if n := f.c.nodes[i]; n.runs() && !n.busy {
			return n
		}
	}
	return nil
}

func (f *faults) cut() error {
	a, b := f.pair()
	f.c.sea.net.Cut(a, b, false)
	return nil
}

func (f *faults) oneWay() error {
	a, b := f.pair()
	f.c.sea.net.Cut(a, b, true)
	return nil
}

func (f *faults) isolate() error {
	a, _ := f.pair()
	for _, b := range regions {
		if b != a {
			f.c.sea.net.Cut(a, b, false)
		}
	}
	return nil
}

func (f *faults) slow() error {
	a, b := f.pair()
	f.c.sea.net.Slow(a, b, f.span(200, 1500))
	return nil
}

func (f *faults) calm() error {
	f.c.sea.net.Heal()
	return nil
}

func (f *faults) kill() error {
	n := f.running()
	if n == nil {
		return nil
	}
	n.kill()
	f.later(f.span(100, 5000), func() error { return f.c.start(n) })
	return nil
}

func (f *faults) pause() error {
	n := f.running()
	if n == nil {
		return nil
	}
	n.busy = true
	n.signal(syscall.SIGSTOP)
	f.later(f.span(500, 7000), func() error {
		n.busy = false
		n.signal(syscall.SIGCONT)
		return nil
	})
	return nil
}

// wipe loses a disk: the node comes back empty, under its old name. draw sees to
// it that what was younger than nearly at the last one is everywhere by now.
func (f *faults) wipe() error {
	if err := f.repair(time.Now().Add(time.Hour)); err != nil {
		return err
	}
	if err := f.c.heal(); err != nil {
		return err
	}
	if err := f.c.caughtUp(); err != nil {
		return err
	}
	f.wiped = time.Now()
	n := f.running()
	n.kill()
	if err := n.wipe(); err != nil {
		return err
	}
	f.later(f.span(100, 3000), func() error { return f.c.start(n) })
	return nil
}

// caughtUp waits until every node sees all others nearly level.
func (c *cluster) caughtUp() error {
	deadline := time.Now().Add(settleLimit)
	for {
		late := ""
		for _, n := range c.nodes {
			if late == "" {
				late = c.behind(n)
			}
		}
		if late == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not caught up after %s without a fault: %s", settleLimit, late)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// nearly is how far behind is level while clients write: what a node that is not
// told directly holds comes round with the heads of others.
const nearly = 8 * time.Second

// behind says whom n sees behind, "" for nobody.
func (c *cluster) behind(n *node) string {
	r, err := c.http.Get(n.url + "/v1/cluster")
	if err != nil {
		return n.id + " does not answer"
	}
	defer r.Body.Close()
	var view struct {
		Regions []struct {
			Nodes []struct {
				ID     string
				State  string
				Behind struct{ MS float64 }
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&view); err != nil {
		return n.id + ": " + err.Error()
	}
	seen := 0
	for _, region := range view.Regions {
		for _, x := range region.Nodes {
			if x.State != atoll.StateUp || x.Behind.MS > float64(nearly.Milliseconds()) {
				return fmt.Sprintf("%s sees %s %s and %.0f ms behind", n.id, x.ID, x.State, x.Behind.MS)
			}
			seen++
		}
	}
	if seen != len(c.nodes) {
		return fmt.Sprintf("%s sees %d nodes", n.id, seen)
	}
	return ""
}

// String says how many of which.
func (f *faults) String() string {
	var all []string
	for _, w := range weights {
		if n := f.done[w.name]; n > 0 {
			all = append(all, fmt.Sprintf("%s:%d", w.name, n))
		}
	}
	return strings.Join(all, ",")
}
