package crdt

import "github.com/atolledge/atoll"

// A sorted set is an object whose members are scores: each is a cell of kind
// Scored at the member's own path, and shows as the number that it is. A score
// is any JSON number and keeps its text. Those who order members by it take the
// nearest binary64, in which 1e999 is infinite: JSON has no other word for that.
//
// Membership is add-wins as everywhere: what takes a member out removes the
// scores that it saw. A number that is written into a sorted set is a score, by
// whatever call, so that what a reader saw can be put back and stays one.

// sorted reports whether the object around p is a sorted set.
func (e *Edit) sorted(p Path) bool {
	parent, _, ok := p.Parent()
	if ok {
		_, ok = e.sortedSets()[parent]
	}
	return ok
}

// sortedSets returns the paths of those that the writer saw when the edit began
// or made since.
func (e *Edit) sortedSets() map[Path]struct{} {
	if e.boards != nil {
		return e.boards
	}
	e.boards = make(map[Path]struct{})
	for i := range e.seen {
		if e.seen[i].Kind == Scored {
			parent, _, _ := e.seen[i].Path.Parent()
			e.boards[parent] = struct{}{}
		}
	}
	return e.boards
}

// score makes member one of the sorted set at a path that is an object or empty,
// with the score text.
func (e *Edit) score(at cell, member string, text []byte) error {
	if !at.empty() && !at.isObject() {
		return at.clash("a sorted set")
	}
	p := at.path.Child(member)
	if c := e.live.find(p); c.path == p && !c.empty() && !c.holdsNumber() {
		return c.clash("a score")
	}
	e.clear(p)
	e.Add(p, Scored, text)
	e.sortedSets()[at.path] = struct{}{}
	return nil
}

// unscore takes member out of the sorted set at a path. The object stays, be it
// empty.
func (e *Edit) unscore(at cell, member string) error {
	if at.empty() {
		return nil
	}
	if !at.isObject() {
		return at.clash("a sorted set")
	}
	p := at.path.Child(member)
	c := e.live.find(p)
	if c.path != p || c.empty() {
		return nil
	}
	if !c.holdsNumber() {
		return c.clash("a score")
	}
	e.unset(c)
	return nil
}

// wantsScore refuses a score that is not a number.
func wantsScore(v Tree) error {
	if v.object() || !isNumber(v.text) {
		return atoll.Errorf(atoll.BadRequest, "a score is a number").
			WithHint("1e999 and -1e999 are infinite")
	}
	return nil
}
