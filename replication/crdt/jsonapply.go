package crdt

import (
	"bytes"
	"iter"
	"slices"

	"github.com/atolledge/atoll"
)

// ApplyOps carries out ops in order; each sees what those before it did. As a
// whole it writes the document's existence cell and the cells that ops name. A
// document that is not there begins empty, and is not made by operations that
// only remove. Errors are atoll.KindClash where an operation does not fit what
// shows at its path, atoll.BadRequest where a counter would overflow, and
// atoll.TooLarge; the edit must then be thrown away.
func ApplyOps(e *Edit, ops []Op) error {
	existed, before := e.live.visible(), e.live.size()
	for i := range ops {
		if err := e.apply(&ops[i]); err != nil {
			return inOp(i, err)
		}
	}
	e.touch(existed)
	return e.fits(before)
}

func (e *Edit) apply(op *Op) error {
	at := e.live.find(op.Path)
	if at.path != op.Path {
		if at.isArray() {
			return atoll.Errorf(atoll.KindClash, "%q leads into the array at %q",
				op.Path.Pointer(), at.path.Pointer()).
				WithHint("items have no paths: use add and remove, or set the whole array")
		}
		at = e.descend(at, op)
	}
	switch op.Kind {
	case Inc:
		return e.inc(at, op.By)
	case Add:
		return e.add(at, op.Value.JSON(nil))
	case Remove:
		return e.removeFrom(at, op.Value.JSON(nil))
	case Set:
		if op.Path == "" {
			e.here() // an empty object has no other cell
		}
		e.spare(leaf{op.Path, op.Value})
		return e.write(op.Path, op.Value, e.clear(op.Path))
	case Unset:
		e.unset(at)
		return nil
	case Score:
		return e.score(at, op.Member, op.Value.JSON(nil))
	case Unscore:
		return e.unscore(at, op.Member)
	case Bound:
		return e.bound(at, op.Min)
	}
	return atoll.Errorf(atoll.BadRequest, "op %q is unknown", op.Kind)
}

// descend makes way for op where stop, which has no members, shows above its
// path. A scalar goes with all that it hides, or that would come to light.
func (e *Edit) descend(stop cell, op *Op) (at cell) {
	writes := op.Kind != Remove && op.Kind != Unset && op.Kind != Unscore
	if writes && stop.holdsValue() {
		e.clear(stop.path)
	}
	return cell{path: op.Path}
}

// clash says that c, which shows, is not what an operation works on.
func (c *cell) clash(want string) error {
	return atoll.Errorf(atoll.KindClash, "%q is %s, not %s", c.path.Pointer(), c.typeName(), want).
		WithHint("set replaces a value of any type")
}

// typeName returns the JSON type of c, which shows, with its article.
func (c *cell) typeName() string {
	switch {
	case c.isObject():
		return "an object"
	case c.isArray():
		return "an array"
	case len(c.bounds) > 0:
		return "a bounded counter"
	case len(c.counters) > 0:
		return "a number"
	}
	switch latest(c.registers).Value[0] {
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number beyond what counts"
}

// beside removes those of some that a write at p replaces, but at p itself only
// the existence cells and those that match. Counters at p are left alone.
func (e *Edit) beside(p Path, some iter.Seq2[int, *Entry], match func(*Entry) bool) {
	_, counters := e.drop(some, func(x *Entry) bool {
		return x.replaceable() && (x.Path != p || x.Kind == Existence || match(x))
	})
	e.resetCounters(slices.DeleteFunc(counters, func(q Path) bool { return q == p }))
}

// resetAt takes away what the counter at p holds, if there is one.
func (e *Edit) resetAt(p Path) {
	if exist(e.live.at(p, CounterOf)) {
		e.resetCounters([]Path{p})
	}
}

// inc counts at a path that is a number or empty. A register there stays: the
// number shows their sum.
func (e *Edit) inc(at cell, by int64) error {
	if len(at.bounds) > 0 {
		b := at.bounds[0]
		e.beside(at.path, e.live.near(at.path), func(x *Entry) bool {
			return x.Kind != Escrow || x.born() != b.Dot
		})
		e.resetAt(at.path)
		return e.take(e.live.account(&b), by)
	}
	if !at.empty() && !at.isNumber() {
		return at.clash("a number that counts")
	}
	registers := len(at.registers) > 0
	e.beside(at.path, e.live.near(at.path), func(x *Entry) bool {
		return !x.single() || !registers
	})
	return e.Inc(at.path, by)
}

// add puts an element under a new dot, so that it outlives removals that have
// not seen it. A register array there stays and is joined with it.
func (e *Edit) add(at cell, text []byte) error {
	if !at.empty() && !at.isArray() {
		return at.clash("an array")
	}
	registers := len(at.registers) > 0
	e.beside(at.path, e.live.nearItem(at.path, text), func(x *Entry) bool {
		return !x.single() || !registers
	})
	e.resetAt(at.path)
	e.Add(at.path, Element, text)
	return nil
}

// removeFrom takes text out of the array that shows. A register cannot lose an
// item: the rest of the one that shows become elements, others that have the
// item go. The last item leaves an empty array. Two removals of different items
// that meet while the array is a register undo each other (ARRAYS.md).
func (e *Edit) removeFrom(at cell, text []byte) error {
	has := func(x *Entry) bool { return e.hasItem(x, text) }
	switch {
	case at.empty():
		return nil
	case !at.isArray():
		return at.clash("an array")
	case !exist(e.live.elements(at.path, text)) && !slices.ContainsFunc(at.registers,
		func(x Entry) bool { return has(&x) }):
		return nil
	}
	own := latest(at.registers)
	split := own != nil && has(own)
	e.beside(at.path, e.live.nearItem(at.path, text), func(x *Entry) bool {
		return !x.single() || own == nil || split || has(x)
	})
	e.resetAt(at.path)
	if split {
		if err := e.writeSet(at.path, but(items(own.Value), text)); err != nil {
			return err
		}
	}
	if left := e.live.find(at.path); !left.holdsValue() {
		e.Add(at.path, Register, []byte("[]"))
	}
	return nil
}

// but yields the items that are not text.
func but(items iter.Seq[[]byte], text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for item := range items {
			if !bytes.Equal(item, text) && !yield(item) {
				return
			}
		}
	}
}

// hasItem reports whether x, a register, is an array with the item text. It goes
// through an array once, however many operations ask.
func (e *Edit) hasItem(x *Entry, text []byte) bool {
	if !isArray(x.Value) {
		return false
	}
	all, ok := e.items[x.Dot]
	if !ok {
		all = make(map[string]struct{})
		for item := range items(x.Value) {
			all[string(item)] = struct{}{}
		}
		if e.items == nil {
			e.items = make(map[Dot]map[string]struct{})
		}
		e.items[x.Dot] = all
	}
	_, has := all[string(text)]
	return has
}

// unset removes what shows at a path. The object around it stays, be it empty.
func (e *Edit) unset(at cell) {
	if at.empty() {
		return
	}
	p := at.path
	e.clear(p)
	if parent, _, ok := p.Parent(); ok {
		e.hold(parent)
	}
}
