package crdt

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/atolledge/atoll/replication/hlc"
)

// The kinds of CellConflict, as users read them.
const (
	RegisterConflict = "register"   // several values were written to one cell
	KindConflict     = "kind-clash" // cells at one path, or above each other, that cannot be joined
)

// CellConflict is one path at which more is live than shows.
type CellConflict struct {
	Path   Path
	Kind   string
	Values []CellValue // the winner first, then the later ones first
}

// CellValue is one of the values of a CellConflict.
type CellValue struct {
	JSON   []byte // canonical; read only
	Dot    Dot    // of the latest entry behind the value
	Time   hlc.Time
	Winner bool
}

// Render returns what readers see of d: its canonical JSON, the conflicts in
// order of path, and whether there is a document at all. The same entries give
// the same bytes everywhere.
//
// A number shows its winning register plus its counter. An array shows its
// winning register, as a set and in its order, and then the elements that the
// register has not in byte order; without elements it shows as it was written.
// Where cells cannot be joined the reading with the greatest (time, origin)
// shows. What a hidden reading has of conflicts inside itself is left out.
func Render(d *Doc) (body []byte, conflicts []CellConflict, visible bool) {
	es := d.shown()
	if len(es) == 0 {
		return nil, nil, false
	}
	r := renderer{doc: d, out: make([]byte, 0, 32*len(es))}
	r.cell(cellOf("", es))
	return r.out, r.conflicts, true
}

type renderer struct {
	doc       *Doc
	out       []byte
	conflicts []CellConflict
}

// cell appends what shows of c, which is not empty.
func (r *renderer) cell(c cell) {
	if c.clashes() {
		parts := c.readings()
		r.clash(parts)
		c = parts[0]
	}
	if len(c.registers) > 1 {
		r.contest(c)
	}
	r.reading(&c)
}

// reading appends c, which is one reading.
func (r *renderer) reading(c *cell) {
	switch {
	case len(c.elements) > 0:
		r.out = appendSet(r.out, c)
	case len(c.counters) > 0:
		text := []byte("0")
		if win := latest(c.registers); win != nil {
			text = win.Value
		}
		n, _ := r.doc.Counter(c.path)
		r.out = appendSum(r.out, text, n)
	case len(c.bounds) > 0:
		a := r.doc.live().account(&c.bounds[0])
		r.out = strconv.AppendInt(r.out, a.Value(), 10)
	case len(c.registers) > 0:
		r.out = append(r.out, latest(c.registers).Value...)
	default:
		r.object(c)
	}
}

// object appends the object whose members are below c.
func (r *renderer) object(c *cell) {
	r.out = append(r.out, '{')
	empty := len(r.out)
	for child := range c.children() {
		if len(r.out) > empty {
			r.out = append(r.out, ',')
		}
		name := strings.TrimSuffix(string(child.path[len(c.path):]), "\x00\x01")
		if strings.IndexByte(name, 0) >= 0 {
			name = strings.ReplaceAll(name, "\x00\xff", "\x00")
		}
		r.out = append(appendName(r.out, name), ':')
		r.cell(child)
	}
	r.out = append(r.out, '}')
}

// clash records the readings of one path, the winner first.
func (r *renderer) clash(parts []cell) {
	conflict := CellConflict{Path: parts[0].path, Kind: KindConflict}
	for i, c := range parts {
		apart := renderer{doc: r.doc}
		apart.reading(&c)
		lead := c.lead()
		conflict.Values = append(conflict.Values,
			CellValue{JSON: apart.out, Dot: lead.Dot, Time: lead.Time, Winner: i == 0})
		if i > 0 && len(c.registers) > 1 { // nothing else would name its other values
			losers := values(c.registers)[1:]
			conflict.Values = append(conflict.Values, losers...)
		}
	}
	r.conflicts = append(r.conflicts, conflict)
}

// contest records the values of the registers of c if they differ.
func (r *renderer) contest(c cell) {
	all := values(c.registers)
	if len(all) == 1 {
		return
	}
	all[0].Winner = true
	r.conflicts = append(r.conflicts,
		CellConflict{Path: c.path, Kind: RegisterConflict, Values: all})
}

// values returns the different values of registers, the later ones first.
func values(registers []Entry) []CellValue {
	sorted := slices.Clone(registers)
	slices.SortFunc(sorted, func(a, b Entry) int {
		if a.Later(&b) {
			return -1
		}
		return 1
	})
	var all []CellValue
	for _, e := range sorted {
		same := func(v CellValue) bool { return string(v.JSON) == string(e.Value) }
		if !slices.ContainsFunc(all, same) {
			all = append(all, CellValue{JSON: e.Value, Dot: e.Dot, Time: e.Time})
		}
	}
	return all
}

// appendSet appends the array of an element cell and the register it is joined
// with.
func appendSet(dst []byte, c *cell) []byte {
	var own [][]byte
	if win := latest(c.registers); win != nil {
		own = slices.Collect(items(win.Value))
	}
	rest := make([][]byte, len(c.elements)) // which are in order of their values
	for i := range c.elements {
		rest[i] = c.elements[i].Value
	}
	had := make(map[string]struct{}, len(own)+len(rest))
	dst = append(dst, '[')
	for _, v := range slices.Concat(own, rest) {
		if _, ok := had[string(v)]; ok {
			continue
		}
		if len(had) > 0 {
			dst = append(dst, ',')
		}
		had[string(v)] = struct{}{}
		dst = append(dst, v...)
	}
	return append(dst, ']')
}

// items yields the texts of the items of an array, which alias its text. It
// scans canonical text by itself: a request may look through a long array once
// for each of its operations.
func items(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		open, from, quoted := 0, 1, false
		for i := 0; i < len(array); i++ {
			switch c := array[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '[' || c == '{':
				open++
			case c == ']' || c == '}':
				open--
			}
			ends := open == 0 || open == 1 && !quoted && array[i] == ','
			if !ends {
				continue
			}
			if i > from && !yield(array[from:i:i]) || open == 0 {
				return
			}
			from = i + 1
		}
	}
}
