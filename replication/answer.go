package replication

import (
	"iter"
	"maps"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Answer serves a pull from v, a snapshot of one instant, by calling emit with
// Begin, Docs and End in order. It stops at the first error of emit and returns
// it. It may run beside the core: it touches nothing but v.
//
// Documents go whole: all live entries, all ghosts and all dots that the asker
// misses. Where cut holds dots that the asker does not have, the index cannot
// say what is missing and all documents go.
func Answer(v View, req Pull, emit func(Message) error) error {
	clock, cut, busy := answerState(v, req.Address)
	if busy {
		return emit(Begin{Busy: true})
	}
	missing := uint64(0)
	for r := range clock.Minus(req.Clock) {
		missing += r.Len()
	}
	full := !req.Clock.Covers(cut) && plant.Bug != plant.NoFloor || missing > MaxPullDots
	var docs []Doc
	if !full {
		docs, full = missed(v, req, clock)
	}
	if err := emit(Begin{Clock: clock, Full: full}); err != nil {
		return err
	}
	send := answerMissing
	if full {
		send = answerAll
	}
	if err := send(v, req, docs, emit); err != nil {
		return err
	}
	return emit(End{})
}

// answerState reads the clock and the cut; busy while a full pull is on its way
// into the partition's documents.
func answerState(v View, a Address) (clock, cut crdt.Clock, busy bool) {
	if b, ok := v.Get(prefix(kindStage, a.Keyspace, a.Partition)); ok {
		if len(b) == 0 || phase(b[0]) == applying && plant.Bug != plant.ServeWhileApplying {
			return clock, cut, true
		}
	}
	b, ok := v.Get(prefix(kindMeta, a.Keyspace, a.Partition))
	if !ok {
		return clock, cut, false
	}
	clock, rest, err := crdt.DecodeClock(b)
	if err != nil {
		return clock, cut, true
	}
	cut, _, err = crdt.DecodeClock(rest)
	return clock, cut, err != nil
}

// missed returns the keys of the documents with dots of clock that the asker
// misses, in order, and those dots. tooMany says that one has more runs of them
// than a step can take in.
func missed(v View, req Pull, clock crdt.Clock) (docs []Doc, tooMany bool) {
	runs := make(map[atoll.Key][]crdt.Run)
	for r := range clock.Minus(req.Clock) {
		for run, key := range scanIndex(v, req.Keyspace, req.Partition, r) {
			if runs[key] = append(runs[key], run); len(runs[key]) > MaxDocRuns {
				return nil, true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(runs)) {
		docs = append(docs, Doc{Key: key, Runs: runs[key]})
	}
	return docs, false
}

func answerMissing(v View, req Pull, docs []Doc, emit func(Message) error) error {
	for _, whole := range docs {
		b, ok := v.Get(keyOf(kindDoc, req.Keyspace, req.Partition, whole.Key))
		d, err := readDoc(req.Address, whole.Key, b, ok)
		if err != nil {
			return err
		}
		whole.Doc = d
		if plant.Bug == plant.SplitDocument && len(whole.Runs) > 1 {
			first := whole
			first.Runs, whole.Runs = whole.Runs[:1], whole.Runs[1:]
			if err := emit(first); err != nil {
				return err
			}
		}
		if err := emit(whole); err != nil {
			return err
		}
	}
	return nil
}

func answerAll(v View, req Pull, _ []Doc, emit func(Message) error) error {
	start := prefix(kindDoc, req.Keyspace, req.Partition)
	for k, b := range v.Scan(start, after(start)) {
		key := atoll.Key(k[len(start):])
		d, err := readDoc(req.Address, key, b, true)
		if err != nil {
			return err
		}
		if d.Empty() {
			continue // but for its index entries
		}
		if err := emit(Doc{Key: key, Doc: d}); err != nil {
			return err
		}
	}
	return nil
}

// Changed yields, from a view, the indexed runs of a partition that are not in
// since, in order of origin and sequence, with the key of the document that each
// changed. Dots that have been cut from the index are not among them: ask
// ClocksIn for those first.
func Changed(v View, a Address, since crdt.Clock) iter.Seq2[crdt.Run, atoll.Key] {
	return func(yield func(crdt.Run, atoll.Key) bool) {
		clock := ClockIn(v, a)
		for r := range clock.Minus(since) {
			for run, key := range scanIndex(v, a.Keyspace, a.Partition, r) {
				if !yield(run, key) {
					return
				}
			}
		}
	}
}

// ClocksIn returns the clock of a partition in a view, and its dots that have
// been cut from the index, or a few more.
func ClocksIn(v View, a Address) (clock, cut crdt.Clock) {
	b, ok := v.Get(prefix(kindMeta, a.Keyspace, a.Partition))
	if !ok {
		return clock, cut
	}
	clock, rest, err := crdt.DecodeClock(b)
	if err == nil {
		cut, _, _ = crdt.DecodeClock(rest)
	}
	return clock, cut
}

// ClockIn returns the clock of a partition in a view.
func ClockIn(v View, a Address) crdt.Clock {
	clock, _ := ClocksIn(v, a)
	return clock
}

// Staging reports whether a full pull is on its way into a partition: until it
// is through, some documents there are of a later clock than the partition's.
func Staging(v View, a Address) bool {
	_, ok := v.Get(prefix(kindStage, a.Keyspace, a.Partition))
	return ok
}
