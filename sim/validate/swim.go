package validate

import (
	"context"
	"fmt"
)

// Swim is failure detection by random probes: each of the living members probes
// one other in each period. Its figures, in periods:
//
//	detection       from a crash until the first probe of it, in the mean
//	worst wait      of one member between two probes of another, at most
//	probes          that a member gets in each period, in the mean
type Swim struct {
	// Members of the group, the one that crashes among them.
	Members int `yaml:"members"`
	// Apart: each member's periods begin at a time of its own. Otherwise all probe
	// at the same time, and detection counts whole periods.
	Apart bool `yaml:"apart"`
	// RoundRobin: a member probes all others in an order that is shuffled anew
	// after each pass. Otherwise each time one at random.
	RoundRobin bool `yaml:"round-robin"`
}

type swim struct {
	Swim
	trials int
}

func (s *Swim) model(trials int) (model, error) {
	if s.Members < 3 || s.Members > MaxSites {
		return nil, fmt.Errorf("swim.members: %d, want 3 to %d", s.Members, MaxSites)
	}
	return &swim{*s, trials}, nil
}

func (s *swim) knows(figure string) error {
	known := []string{"detection", "probes"}
	if s.RoundRobin {
		known = append(known, "worst wait") // at random there is no worst
	}
	return unknownFigure(figure, known)
}

func (s *swim) measure(ctx context.Context, figures []string) (values []value, err error) {
	d := newDice(1)
	for _, f := range figures {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch f {
		case "worst wait":
			values = append(values, s.worstWait(d))
		case "probes":
			values = append(values, s.probes(d))
		default:
			sum := uint64(0) // in millionths of a period
			for range s.trials {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				sum += s.detection(d)
			}
			values = append(values, value{micros: int64(sum / uint64(s.trials))})
		}
	}
	return values, nil
}

// list is whom one member probes, and in which order.
type list struct {
	order []int
	at    int
}

// next returns whom a member with n others probes.
func (l *list) next(n int, roundRobin bool, d *dice) int {
	if !roundRobin {
		return d.below(n)
	}
	if l.order == nil {
		for i := range n {
			l.order = append(l.order, i)
		}
		l.at = n
	}
	if l.at == n {
		l.at = 0
		for i := range l.order {
			k := i + d.below(n-i)
			l.order[i], l.order[k] = l.order[k], l.order[i]
		}
	}
	l.at++
	return l.order[l.at-1]
}

// detection lets member 0 of each one's others crash, and returns when it is
// probed first.
func (s *swim) detection(d *dice) uint64 {
	others := s.Members - 1
	lists, phases := make([]list, others), make([]uint64, others)
	for i := range others {
		if s.Apart {
			phases[i] = uint64(d.below(micro))
		}
		for range d.below(others) { // where in its pass the crash finds it
			if s.RoundRobin {
				lists[i].next(others, true, d)
			}
		}
	}
	for period := uint64(0); ; period++ {
		first, found := uint64(0), false
		for i := range others {
			if lists[i].next(others, s.RoundRobin, d) == 0 && (!found || phases[i] < first) {
				first, found = phases[i], true
			}
		}
		switch {
		case found && s.Apart:
			return period*micro + first
		case found:
			return (period + 1) * micro
		}
	}
}

// worstWait follows one member's probes of one other.
func (s *swim) worstWait(d *dice) value {
	var l list
	worst, since := 0, 0
	for range s.trials * (s.Members - 1) {
		since++
		if l.next(s.Members-1, true, d) == 0 {
			worst, since = max(worst, since), 0
		}
	}
	return value{micros: int64(worst) * micro}
}

// probes counts what member 0 of each one's others gets.
func (s *swim) probes(d *dice) value {
	lists, got := make([]list, s.Members-1), uint64(0)
	for range s.trials {
		for i := range lists {
			if lists[i].next(s.Members-1, s.RoundRobin, d) == 0 {
				got++
			}
		}
	}
	return ratio(got, uint64(s.trials))
}
