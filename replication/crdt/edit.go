package crdt

import (
	"cmp"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
	"github.com/atolledge/atoll/replication/internal/plant"
)

// Delta is one mutation of one document on its way to the other replicas. It is
// sent, stored, applied and recovered as a unit, however many cells it changes.
type Delta struct {
	Key   atoll.Key
	Dots  Run // one dot for each cell effect, or one that only carries removals
	Time  hlc.Time
	Seen  []Dot   // of every new entry
	Adds  []Entry // new entries; their dots lie in Dots, their Time is Time
	Drops []Dot   // entries that the writer saw and removed, sorted
}

// Edit builds one Delta against a document as its writer sees it. The calls
// take effect in order: each sees what those before it did.
type Edit struct {
	live   entries
	aside  []Entry // markers, and what they hide: canonical order
	ghosts []Dot
	doc    *Doc // live and ghosts as a document; nil since the last change
	delta  Delta
	next   uint64
	items  map[Dot]map[string]struct{} // of arrays that were searched, by register
	seen   []Entry                     // as the edit began, but for what is aside
	began  []Entry                     // and with it
	boards map[Path]struct{}           // the sorted sets; nil until somebody asks
	spared map[Path]Dot                // births of bounded counters that a write moves
}

// NewEdit begins an edit of seen, which it does not change. Its entries get the
// dots of origin from next on.
func NewEdit(seen Doc, key atoll.Key, origin atoll.Origin, next uint64, at hlc.Time) *Edit {
	e := &Edit{
		live:   entries{seen: seen.Entries},
		seen:   seen.Entries,
		began:  seen.Entries,
		ghosts: seen.Ghosts,
		delta: Delta{Key: key, Dots: Run{Origin: origin, First: next}, Time: at,
			Seen: seenOf(seen.Entries)},
		next: next,
	}
	if seen.Marked() {
		e.seen, e.aside = split(seen.Entries)
		e.live.seen = e.seen
	}
	return e
}

// Doc returns the document as edited so far. It stays as it is when the edit
// goes on, and shares memory with it: read only.
func (e *Edit) Doc() *Doc {
	if e.doc == nil {
		e.doc = &Doc{Entries: rewrite(e.live.flat(), nil, e.aside), Ghosts: e.ghosts}
	}
	return e.doc
}

// Time returns the timestamp of the entries that e adds.
func (e *Edit) Time() hlc.Time { return e.delta.Time }

// Drop removes every live entry that matches. Counter rows and reset entries
// never match: only ResetCounters removes what a counter holds.
func (e *Edit) Drop(match func(*Entry) bool) {
	e.drop(e.live.all(), match)
}

// Add puts a live entry under a new dot. It keeps value.
func (e *Edit) Add(p Path, k Kind, value []byte) {
	if plant.Bug == plant.RemoveBySeen && k != Marker {
		e.cast((*Entry).marks)
	}
	e.live.add(Entry{Path: p, Kind: k, Time: e.delta.Time, Value: value, Seen: e.delta.Seen,
		Dot: Dot{e.delta.Dots.Origin, e.next}})
	e.next++
	e.doc = nil
}

// remove takes out the entries at the given places: as removals if others know
// them, by forgetting them if this edit made them.
func (e *Edit) remove(places []int) {
	for _, i := range places {
		if i >= 0 {
			e.delta.Drops = append(e.delta.Drops, e.live.seen[i].Dot)
		}
	}
	if len(places) > 0 {
		e.live.drop(places)
		e.doc = nil
	}
}

// Delta returns what e did; ok is false when that is nothing. The Edit must not
// be used afterwards.
func (e *Edit) Delta() (d Delta, ok bool) {
	d = e.delta
	if len(e.live.added) == 0 && len(d.Drops) == 0 {
		return Delta{}, false
	}
	if len(e.live.added) > 0 {
		d.Adds = slices.Clone(e.live.added)
		slices.SortFunc(d.Adds, func(a, b Entry) int { return cmp.Compare(a.Dot.Seq, b.Dot.Seq) })
	}
	d.Dots.Last = max(e.next-1, d.Dots.First)
	slices.SortFunc(d.Drops, Dot.Compare)
	return d, true
}

// Size returns about how many bytes x has on its way, and not less.
func (x *Delta) Size() int {
	n := len(x.Key) + 64 + 18*(len(x.Drops)+len(x.Seen))
	for i := range x.Adds {
		n += len(x.Adds[i].Path) + len(x.Adds[i].Value) + 16
	}
	return n
}

// Apply takes x into d. has says which dots are in the replica's clock before
// x; the caller has checked that x's own are not, and adds them afterwards.
// Neither Apply nor Join touches copies of d.
func (d *Doc) Apply(x *Delta, has func(Dot) bool) {
	gone := func(e *Entry) bool { return false }
	ghosts := d.Ghosts
	if len(x.Drops) > 0 {
		gone = func(e *Entry) bool { return among(x.Drops, e.Dot) && has(e.Dot) }
		unseen := slices.DeleteFunc(slices.Clone(x.Drops), has)
		if plant.Bug == plant.GhostForgotten {
			unseen = nil
		}
		ghosts = mergeDots(d.Ghosts, unseen)
	}
	adds := slices.Clone(x.Adds)
	if len(ghosts) > 0 {
		adds = slices.DeleteFunc(adds, func(a Entry) bool { return among(ghosts, a.Dot) })
		ghosts = slices.DeleteFunc(slices.Clone(ghosts), func(g Dot) bool { return x.Dots.has(g) })
	}
	slices.SortFunc(adds, func(a, b Entry) int { return a.compare(&b) })
	d.Entries, d.Ghosts = rewrite(d.Entries, gone, adds), ghosts
}

// Join takes in the whole document r of another replica. theirs is the clock
// of that replica at the instant of r; has says which dots this replica's clock
// holds before the join, and will says which it holds afterwards.
func (d *Doc) Join(r *Doc, theirs *Clock, has, will func(Dot) bool) {
	dead := make(map[Dot]struct{})
	for x := range d.Without(r) {
		if theirs.Has(x.Dot) || among(r.Ghosts, x.Dot) || plant.Bug == plant.JoinDropsUnseen {
			dead[x.Dot] = struct{}{}
		}
	}
	var news []Entry
	for x := range r.Without(d) {
		if !has(x.Dot) && (plant.Bug == plant.GhostIgnored || !among(d.Ghosts, x.Dot)) {
			news = append(news, *x)
		}
	}
	d.Entries = rewrite(d.Entries, func(x *Entry) bool {
		_, ok := dead[x.Dot]
		return ok
	}, news)
	ghosts := d.Ghosts
	if plant.Bug != plant.GhostNotAdopted {
		ghosts = mergeDots(ghosts, slices.DeleteFunc(slices.Clone(r.Ghosts), has))
	}
	d.Ghosts = slices.DeleteFunc(slices.Clone(ghosts), will)
}

// rewrite returns es without those that are gone and with adds, all in canonical
// order. It leaves es as it is, and is es where nothing goes or comes.
func rewrite(es []Entry, gone func(*Entry) bool, adds []Entry) []Entry {
	if gone == nil && len(adds) == 0 {
		return es
	}
	out := make([]Entry, 0, len(es)+len(adds))
	for i := range es {
		x := &es[i]
		if gone != nil && gone(x) {
			continue
		}
		for len(adds) > 0 && adds[0].compare(x) < 0 {
			out, adds = append(out, adds[0]), adds[1:]
		}
		if len(adds) > 0 && adds[0].compare(x) == 0 {
			adds = adds[1:] // a faulty peer sent it twice
		}
		out = append(out, *x)
	}
	return append(out, adds...)
}

// among reports whether x is one of dots, which are sorted.
func among(dots []Dot, x Dot) bool {
	if len(dots) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(dots, x, Dot.Compare)
	return found
}

// mergeDots returns all of a and b, sorted, each once. It leaves both as they are.
func mergeDots(a, b []Dot) []Dot {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, Dot.Compare)
	return slices.Compact(all)
}

func (r Run) has(d Dot) bool { return r.Origin == d.Origin && r.First <= d.Seq && d.Seq <= r.Last }
