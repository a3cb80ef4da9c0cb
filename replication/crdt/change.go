package crdt

import (
	"iter"
	"slices"

	"github.com/atolledge/atoll"
)

// entrySize is what an entry is taken to cost besides its path and value.
const entrySize = 32

// Size returns what d is taken to hold, in bytes: the full path and the value
// of each live entry, and a little for each.
func Size(d *Doc) (n int) { return d.live().size() }

// Put makes t the whole document: all that was seen goes, its deadline too, and
// each cell of t gets a new dot. Errors are atoll.TooLarge; the edit must then
// be thrown away.
func Put(e *Edit, t Tree) error {
	before, replaced := e.live.size(), e.live.replaced()
	e.spare(leaf{"", t})
	sets := e.wipe()
	e.Add("", Existence, replaced)
	if err := e.write("", t, sets); err != nil {
		return err
	}
	return e.fits(before)
}

// Delete removes all that is seen of the document. Nothing stays behind but
// what counters need to keep increments that were not seen.
func Delete(e *Edit) {
	e.wipe()
	e.boards = map[Path]struct{}{} // what comes after it begins anew
}

// MergePatch changes the document by RFC 7396: members that are null go, others
// are merged or replace what is there; a patch that is not an object becomes
// the document. Only the cells that t names and the document's existence cell
// change. A document that is not there begins empty, and is not made by a patch
// that writes nothing. Errors are atoll.TooLarge; the edit must then be thrown
// away.
func MergePatch(e *Edit, t Tree) error {
	p := patch{e: e}
	existed, before := e.live.visible(), e.live.size()
	if t.object() {
		p.object(cellOf("", e.Doc().shown()).winning(), t, false)
	} else {
		p.cleared = []Path{""}
		p.writes = []leaf{{"", t}}
	}
	if err := p.apply(); err != nil {
		return err
	}
	e.touch(existed)
	return e.fits(before)
}

// patch is what a merge patch comes to on one document.
type patch struct {
	e       *Edit
	cleared []Path // sorted, none below another
	writes  []leaf
	objects []Path // to be objects, be it empty ones; the outer before the inner
}

type leaf struct {
	path Path
	tree Tree
}

// object plans the members of t at c, which is what shows there. blank says
// that something above is cleared already.
func (p *patch) object(c cell, t Tree, blank bool) {
	if c.holdsValue() || c.empty() && c.path != "" {
		p.clear(c.path, blank)
		blank, c = true, cell{path: c.path}
	}
	if c.path != "" {
		p.objects = append(p.objects, c.path)
	}
	for _, m := range t.members {
		at := c.path.Child(m.name)
		seen := cellOf(at, under(c.below, at)).winning()
		switch {
		case m.tree.object():
			p.object(seen, m.tree, blank)
		case !m.tree.null():
			p.clear(at, blank)
			p.writes = append(p.writes, leaf{at, m.tree})
		case !seen.empty():
			p.clear(at, blank)
		}
	}
}

func (p *patch) clear(at Path, blank bool) {
	if !blank {
		p.cleared = append(p.cleared, at)
	}
}

func (p *patch) apply() error {
	p.e.spare(p.writes...)
	sets := p.e.clear(p.cleared...)
	for _, w := range p.writes {
		if err := p.e.write(w.path, w.tree, sets); err != nil {
			return err
		}
	}
	for _, at := range slices.Backward(p.objects) {
		p.e.hold(at)
	}
	return nil
}

// wipe removes all that is seen. It returns the paths that had elements.
func (e *Edit) wipe() (sets []Path) {
	sets, counters := e.drop(e.live.all(), func(*Entry) bool { return true })
	e.resetCounters(counters)
	return sets
}

// clear removes what is seen at, above and below the given paths, which are
// sorted and none below another. The document's own cells and unknown kinds
// stay. It returns the paths that had elements.
func (e *Edit) clear(paths ...Path) (sets []Path) {
	sets, counters := e.drop(e.live.near(paths...), (*Entry).replaceable)
	e.resetCounters(counters)
	return sets
}

// drop removes the entries of some, which come in order, that match. It leaves
// counters to resetCounters, lets bounded counters be that a write moves, and
// takes no share without its bound. It returns the paths that had elements and those
// that have counter rows, in order.
func (e *Edit) drop(some iter.Seq2[int, *Entry], match func(*Entry) bool) (sets, counters []Path) {
	var gone []int
	note := func(paths []Path, p Path) []Path {
		if n := len(paths); n == 0 || paths[n-1] != p {
			paths = append(paths, p)
		}
		return paths
	}
	for i, x := range some {
		switch {
		case x.Kind == CounterOf:
			counters = note(counters, x.Path)
		case x.Kind == ResetOf || x.Kind == Marker || e.keeps(x) || !match(x):
		case x.Kind == Element:
			sets = note(sets, x.Path)
			gone = append(gone, i)
		default:
			gone = append(gone, i)
		}
	}
	e.remove(gone)
	return sets, counters
}

// removeAll removes some entries, of any kind.
func (e *Edit) removeAll(some iter.Seq2[int, *Entry]) {
	var gone []int
	for i := range some {
		gone = append(gone, i)
	}
	e.remove(gone)
}

// replaceable reports whether a write at x's path removes x.
func (e *Entry) replaceable() bool {
	return e.single() || e.Kind == Element || e.Kind == Escrow ||
		e.Kind == Existence && e.Path != ""
}

// single reports whether e holds a cell's one value, of which concurrent ones
// are kept.
func (e *Entry) single() bool { return e.Kind == Register || e.Kind == Scored }

// touch reports whether p is at, above or below one of paths, which are sorted
// and none below another.
func touch(paths []Path, p Path) bool {
	i, found := slices.BinarySearch(paths, p)
	return found || i < len(paths) && paths[i].Under(p) || i > 0 && p.Under(paths[i-1])
}

// write adds the cells of t at p, which is clear. An array becomes elements at
// the paths in sets, so that it goes on merging as a set; an empty one cannot.
func (e *Edit) write(p Path, t Tree, sets []Path) error {
	if t.object() {
		for _, m := range t.members {
			if err := e.write(p.Child(m.name), m.tree, sets); err != nil {
				return err
			}
		}
		if len(t.members) == 0 {
			e.hold(p)
		}
		return nil
	}
	if _, set := slices.BinarySearch(sets, p); set && isArray(t.text) && len(t.text) > len("[]") {
		return e.writeSet(p, items(t.text))
	}
	if done, err := e.moved(p, t.text); done {
		return err
	}
	kind := Register
	if isNumber(t.text) && e.sorted(p) {
		kind = Scored
	}
	e.Add(p, kind, t.text)
	return nil
}

// writeSet adds an element for each different text that is not one. Each costs
// a dot, so that their number is limited as that of other cells.
func (e *Edit) writeSet(p Path, texts iter.Seq[[]byte]) error {
	had := make(map[string]struct{})
	for text := range texts {
		if _, ok := had[string(text)]; ok || exist(e.live.elements(p, text)) {
			continue
		}
		had[string(text)] = struct{}{}
		if len(e.live.added) > MaxCells {
			return tooManyCells("the set at " + p.Pointer())
		}
		e.Add(p, Element, text)
	}
	return nil
}

// hold keeps an object at p when nothing shows there or below: an existence
// cell, but for the document, which has its own.
func (e *Edit) hold(p Path) {
	if p != "" && !e.showsUnder(p) {
		e.Add(p, Existence, nil)
	}
}

// showsUnder reports whether anything shows at p or below it.
func (e *Edit) showsUnder(p Path) bool {
	return e.live.first(e.live.under(p)) != nil
}

// touch writes the document's existence cell anew, unless there was no document
// and still is none.
func (e *Edit) touch(existed bool) {
	if existed || e.live.visible() {
		e.here()
	}
}

// here replaces the document's existence cell.
func (e *Edit) here() {
	replaced := e.live.replaced()
	e.removeAll(e.live.at("", Existence))
	e.Add("", Existence, replaced)
}

// fits refuses a document over its limit unless it shrank from before bytes.
func (e *Edit) fits(before int) error {
	if size := e.live.size(); size > MaxDocument && size > before {
		return atoll.Errorf(atoll.TooLarge, "the merged document would have %d bytes", size).
			WithHint("remove something first").WithLimit("merged document bytes", MaxDocument)
	}
	return nil
}
