package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// Replica is what one node holds when a run is over.
type Replica struct {
	Node   atoll.NodeID
	Docs   map[atoll.Key]crdt.Doc
	Clocks map[replication.Address]crdt.Clock
}

// all is the view of a replica that has seen everything.
func all(crdt.Dot) bool { return true }

// Final checks the replicas at the end of a run in which all of them had the
// time to agree. It returns at most one violation for each document of a
// replica, in order of replica and key.
func (h *History) Final(at time.Duration, replicas []Replica) []Violation {
	h.bury(replicas)
	out := diverged(at, replicas)
	keys := h.Keys()
	for i := range replicas {
		for _, key := range keys {
			d := replicas[i].Docs[key]
			if v := h.final(key, &d); v != nil {
				v.At, v.Node, v.Key = at, replicas[i].Node, key
				out = append(out, *v)
			}
		}
	}
	return out
}

// diverged compares all replicas with the first.
func diverged(at time.Duration, replicas []Replica) (out []Violation) {
	for i := 1; i < len(replicas); i++ {
		a, b := &replicas[0], &replicas[i]
		if key, yes := differ(a.Docs, b.Docs, func(x, y crdt.Doc) bool {
			return bytes.Equal(x.Append(nil), y.Append(nil))
		}); yes {
			out = append(out, Violation{Convergence, at, b.Node, key,
				fmt.Sprintf("the document is not the same as at %s", a.Node)})
			continue
		}
		if addr, yes := differ(a.Clocks, b.Clocks, func(x, y crdt.Clock) bool {
			return x.Equal(y)
		}); yes {
			out = append(out, Violation{Convergence, at, b.Node, "", fmt.Sprintf(
				"the clock of %s/%d is not the same as at %s", addr.Keyspace, addr.Partition, a.Node)})
		}
	}
	return out
}

// differ returns a key at which a and b are not the same; the lowest, by its text.
func differ[K comparable, V any](a, b map[K]V, same func(V, V) bool) (key K, yes bool) {
	text := ""
	for _, m := range []map[K]V{a, b} {
		for k := range m {
			if s := fmt.Sprint(k); !same(a[k], b[k]) && (!yes || s < text) {
				key, text, yes = k, s, true
			}
		}
	}
	return key, yes
}

// final checks one document against all that was ever done to it.
func (h *History) final(key atoll.Key, d *crdt.Doc) *Violation {
	if v := h.Changed(0, "", key, d, all); v != nil {
		return v
	}
	r := h.record(key)
	if v := h.lost(r, d, all); v != nil {
		return v
	}
	if v := h.counters(r, d); v != nil {
		return v
	}
	return winners(d)
}

// lost looks for a write that was seen, that nothing seen has removed, and that
// does not live.
func (h *History) lost(r *record, d *crdt.Doc, seen func(crdt.Dot) bool) *Violation {
	var first *write
	for _, w := range r.writes {
		if !seen(w.entry.Dot) || d.Has(w.entry.Dot) {
			continue
		}
		if _, gone := h.gone(w.gone, seen); gone {
			continue
		}
		if first == nil || w.by < first.by || w.by == first.by &&
			w.entry.Dot.Seq < first.entry.Dot.Seq {
			first = w
		}
	}
	if first == nil {
		return nil
	}
	o := &h.ops[first.by]
	return &Violation{Property: LostWrite, Detail: fmt.Sprintf(
		"%s is gone; %s wrote it at %v and nothing that saw it removed it",
		describe(&first.entry), o.node, o.at)}
}

// counters compares each counter with its increments.
func (h *History) counters(r *record, d *crdt.Doc) *Violation {
	want := make(map[crdt.Path]int64)
	var paths, doubt []crdt.Path
	for _, n := range r.incs {
		if n.doubtful {
			doubt = append(doubt, n.path)
		}
		if !slices.Contains(paths, n.path) {
			paths = append(paths, n.path)
		}
		if _, gone := h.gone(n.gone, all); !gone {
			want[n.path] += n.sum
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		if got, _ := d.Counter(p); got != want[p] && !slices.Contains(doubt, p) {
			return &Violation{Property: Counters, Detail: fmt.Sprintf(
				"%q is %d, its increments come to %d", p.Pointer(), got, want[p])}
		}
	}
	return nil
}

// winners compares what readers see of d with the latest values.
func winners(d *crdt.Doc) *Violation {
	body, _, visible := crdt.Render(d)
	if !visible {
		return nil
	}
	return shows(body, d)
}

// shows looks in a document as readers see it for the latest value of each
// member that is nothing but a register.
func shows(body []byte, d *crdt.Doc) *Violation {
	var shown map[string]json.RawMessage
	if err := json.Unmarshal(body, &shown); err != nil {
		return nil // not an object: nothing of this kind to check
	}
	for _, x := range latest(d) {
		name := x.Path.Names()[0]
		if string(shown[name]) != string(x.Value) {
			return &Violation{Property: Winner, Detail: fmt.Sprintf("%q shows %s; the latest is %s",
				x.Path.Pointer(), shown[name], x.Value)}
		}
	}
	return nil
}

// latest returns the latest value of each member of d that is only a register.
func latest(d *crdt.Doc) []*crdt.Entry {
	var tops []*crdt.Entry
	other := make(map[string]bool) // members that are more than a register
	for i := range d.Entries {
		x := &d.Entries[i]
		if x.Path == "" {
			if x.Kind == crdt.Register || x.Kind == crdt.Element {
				return nil // a value that may hide all members
			}
			continue
		}
		names := x.Path.Names()
		if len(names) > 1 || x.Kind != crdt.Register {
			other[names[0]] = true
			continue
		}
		if n := len(tops); n == 0 || tops[n-1].Path != x.Path {
			tops = append(tops, x)
		} else if later(x, tops[n-1]) > 0 {
			tops[n-1] = x
		}
	}
	return slices.DeleteFunc(tops, func(x *crdt.Entry) bool { return other[x.Path.Names()[0]] })
}
