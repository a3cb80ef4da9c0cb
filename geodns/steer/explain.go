package steer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
)

// Candidate says how the choice saw one region. The JSON form is part of
// `GET /v1/explain/dns`.
type Candidate struct {
	Region   atoll.Region `json:"region"`
	KM       float64      `json:"km"` // from the client, great circle
	State    string       `json:"state"`
	Eligible bool         `json:"eligible"`
	Why      string       `json:"why"`
	Votes    []Vote       `json:"votes"`
}

// Vote is one region's opinion on a candidate.
type Vote struct {
	Voter atoll.Region `json:"voter"`
	Up    bool         `json:"up"`
	AgeMS int64        `json:"age_ms"`
}

// Explain returns the answer that Choose gives and every region with the
// reason why it is or is not the answer: eligible ones first, nearest first.
func (w *World) Explain(c Client, n int) (Answer, []Candidate) {
	a := w.Choose(c, n)
	all := make([]*Region, len(w.regions))
	for i := range w.regions {
		all[i] = &w.regions[i]
	}
	all = w.rank(c, all)
	slices.SortStableFunc(all, func(a, b *Region) int {
		return cmp.Compare(w.order(a), w.order(b))
	})
	at, out := w.stand(c), []Candidate{}
	for _, r := range all {
		out = append(out, Candidate{
			Region: r.Name, KM: KM(at, r.At), State: r.State,
			Eligible: w.order(r) == 0, Why: w.why(r, a), Votes: votes(r.Votes),
		})
	}
	return a, out
}

// order is 0 for regions that are eligible.
func (w *World) order(r *Region) int {
	if r.tier == w.tier && r.tier != mute {
		return 0
	}
	return 1
}

func votes(in []atoll.Vote) []Vote {
	out := []Vote{}
	for _, v := range in {
		out = append(out, Vote{v.Voter, v.Up, v.Age.Milliseconds()})
	}
	return out
}

// why words the reason for one region.
func (w *World) why(r *Region, a Answer) string {
	chosen := r.Name == a.Region
	switch {
	case r.tier == mute:
		return "it has no public address"
	case r.tier != w.tier:
		return w.passed(r)
	case w.tier == lost:
		return "no region lives: all that are known are answered"
	case chosen && w.tier == resting:
		return "chosen: drained, but no healthy region is left and it is the nearest alive"
	case chosen:
		return "chosen: the nearest healthy region"
	case len(a.V4) > 0 && slices.Contains(r.V4, a.V4[0]):
		return fmt.Sprintf("%s has no IPv4 address: the nearest that has", a.Region)
	}
	return fmt.Sprintf("farther than %s", a.Region)
}

// passed words why a region with addresses is not eligible.
func (w *World) passed(r *Region) string {
	up, down := r.poll()
	switch {
	case r.State == atoll.StateDrained && r.tier == resting:
		return "drained by an operator"
	case r.State == atoll.StateDrained:
		return fmt.Sprintf("drained by an operator, and %d of %d voters miss it", down, up+down)
	case r.State == atoll.StateStarting:
		return "starting: it is not ready yet"
	}
	return fmt.Sprintf("%s: %d of %d voters see it", r.State, up, up+down)
}
