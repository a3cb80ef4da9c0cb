package sim

import (
	"fmt"
	"time"

	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

// becalm ends the chaos: clients stop, and the core is healed, or everything.
func (w *world) becalm() {
	w.calm, w.calmAt = true, w.now
	w.tell("calm", "", "calm: %d writes, %d of them lost with a crash before they were durable",
		w.writes, w.lost)
	w.queue.push(event{at: w.now + probeEvery, kind: evProbe})
	if len(w.plan.Core) == 0 {
		w.heal()
		return
	}
	w.core = make([]bool, len(w.nodes))
	for _, id := range w.plan.Core {
		w.core[w.byID[id]] = true
	}
	for i := range w.plan.Faults {
		w.spare(i)
	}
	for _, n := range w.nodes {
		w.reconsider(n)
	}
}

// spare takes the nodes of the core out of the hands of a fault.
func (w *world) spare(i int) {
	if !w.active[i] {
		return
	}
	var rest []grip
	for _, g := range w.held[i] {
		if w.core[g.n.index] {
			w.release(g, &w.plan.Faults[i])
		} else {
			rest = append(rest, g)
		}
	}
	w.held[i] = rest
}

// heal ends all faults.
func (w *world) heal() {
	w.whole, w.core, w.calmAt = true, nil, w.now
	for i := range w.plan.Faults {
		w.end(i)
	}
	for _, n := range w.nodes {
		w.reconsider(n)
	}
}

// probe looks how far the calm has come: the core agrees, all agree, all rest.
func (w *world) probe() {
	late := w.now-w.calmAt >= w.plan.Settle*1000
	next := int64(probeEvery)
	switch {
	case !w.whole:
		if agreed := w.agreed(); agreed || late {
			w.coreAgreed(agreed)
			w.heal()
		}
	case w.agreedAt == 0:
		if agreed := w.agreed(); agreed || late {
			w.agreedAt = w.now
			w.over = !agreed
			next = w.rest()
		}
	default:
		late = w.now-w.agreedAt >= w.restLimit()
		what := w.restless()
		if what != "" && late {
			w.violate(&check.Violation{Property: check.Quiet, At: w.elapsed(), Detail: what})
		}
		w.over = what == "" || late
		next = w.rest()
	}
	if w.over {
		w.judge()
		return
	}
	w.queue.push(event{at: w.now + next, kind: evProbe})
}

func (w *world) coreAgreed(agreed bool) {
	if agreed {
		w.note(true, coreFirst)
		w.tell("core", "", "the core agrees: %v", w.plan.Core)
		return
	}
	w.violate(&check.Violation{Property: check.Core, At: w.elapsed(), Detail: fmt.Sprintf(
		"%v hear each other and do not agree after %v", w.plan.Core,
		time.Duration(w.plan.Settle)*time.Millisecond)})
}

// rest begins to count what happens, and returns for how long.
func (w *world) rest() int64 {
	w.restAt, w.restSent, w.restPersisted = w.now, w.sent, w.persisted
	return restTime
}

// restLimit is how long it may take until nothing is left to do: a core tidies a
// chunk of a partition in each round.
func (w *world) restLimit() int64 {
	rounds := int64(2 * w.writes / w.plan.Chunk)
	return w.plan.Settle*1000 + rounds*replication.HeadsEvery.Microseconds()
}

// restless says what still goes on in a world that agrees, "" if nothing does.
func (w *world) restless() string {
	// At most one round of heads each half HeadsEvery.
	rounds := restTime/(replication.HeadsEvery.Microseconds()/2) + 1
	most := uint64(rounds) * replication.HeadsTo * uint64(len(w.nodes))
	switch {
	case w.persisted > w.restPersisted:
		return fmt.Sprintf("%d writes in %d s of rest", w.persisted-w.restPersisted, restTime/million)
	case w.sent-w.restSent > most:
		return fmt.Sprintf("%d messages in %d s of rest, want at most %d", w.sent-w.restSent,
			restTime/million, most)
	case !w.agreed():
		return "all agreed and then no longer"
	}
	return w.residue()
}

// residue says what is left at a member of what has been repaired or removed.
// Where a disk was lost, ghosts of dots that nobody has stay. In an overlay those
// who are not neighbours do not hear what the others hold, so indexes stay.
func (w *world) residue() string {
	if len(w.plan.Overlay) > 0 {
		return ""
	}
	for _, n := range w.nodes {
		if !n.member {
			continue
		}
		for k, v := range n.disk.state.Scan([]byte{0}, []byte{0xff}) {
			switch r, _, _ := (replication.Write{Key: k}).About(); r {
			case replication.IndexRecord, replication.StagedRecord, replication.StageRecord:
				return fmt.Sprintf("%s still has a record %c", n.self.Node, r)
			case replication.DocRecord:
				if d, _, err := crdt.DecodeDoc(v); err == nil && len(d.Ghosts) > 0 && w.endangered == 0 {
					return fmt.Sprintf("%s still has ghosts %v", n.self.Node, d.Ghosts)
				}
			}
		}
	}
	return ""
}

// judge ends the run.
func (w *world) judge() {
	var replicas []check.Replica
	for _, n := range w.nodes {
		if n.member && n.up {
			replicas = append(replicas, check.Replica{
				Node: n.self.Node, Docs: w.docs(n), Clocks: w.clocks(n),
			})
		}
	}
	found := w.history.Final(w.elapsed(), replicas)
	for i := range found {
		w.violate(&found[i])
	}
	if len(found) == 0 {
		w.tell("converged", "", "all %d nodes hold the same", len(replicas))
	}
}

// agreed reports whether all members hold the same, or those of the core while
// only that is healed.
func (w *world) agreed() bool {
	var first *node
	for _, n := range w.nodes {
		if !n.member || w.core != nil && !w.core[n.index] {
			continue
		}
		if !n.up || n.syncing != nil {
			return false
		}
		if first == nil {
			first = n
		}
		if !n.disk.alike(&first.disk) {
			return false
		}
	}
	return true
}
