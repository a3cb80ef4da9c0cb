package crdt

import (
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/hlc"
)

const stock = `{"op":"bound","path":"/n","min":0}`

// market is a few islands around the bounded counter at /n, and a naive twin of
// it: what was put in and taken out, by birth.
type market struct {
	t       failer
	islands []*island
	deltas  []Delta
	balance map[Dot]int64
}

func newMarket(t failer) *market {
	m := &market{t: t, balance: map[Dot]int64{}}
	for i := range 3 {
		m.islands = append(m.islands, &island{origin: atoll.Origin(i + 1), now: hlc.Time(i + 1)})
	}
	return m
}

// write carries out a change at r; what it did to the counter is by.
func (m *market) write(r *island, by int64, change func(*Edit) error) (written bool) {
	m.t.Helper()
	var birth Dot
	d, ok := r.write(m.t, func(e *Edit) error {
		err := change(e)
		if all := e.Doc().Accounts(); len(all) > 0 {
			birth = all[0].Birth
		}
		return err
	})
	if !ok {
		return false
	}
	m.deltas = append(m.deltas, d)
	if m.balance[birth] += by; m.balance[birth] < 0 {
		m.t.Fatalf("oversold by %d: %v", -m.balance[birth], cells(&r.doc))
	}
	return true
}

// audit compares what r, which has heard all, knows with the twin.
func (m *market) audit(r *island) {
	m.t.Helper()
	for _, a := range r.doc.Accounts() {
		sum := int64(0)
		for _, o := range m.islands {
			n := a.Rights(o.origin)
			if sum += n; n < 0 {
				m.t.Fatalf("origin %d has %d rights", o.origin, n)
			}
		}
		if want := m.balance[a.Birth]; a.Value() != want || sum != want {
			m.t.Fatalf("the counter of %v is %d with %d rights, want %d: %v",
				a.Birth, a.Value(), sum, want, cells(&r.doc))
		}
	}
}

// TestLawEscrow: whatever is heard in whatever order, no birth of a bounded
// counter gives more than was put into it; who has heard all knows how much that
// is, and all of it can be taken by somebody.
func TestLawEscrow(t *testing.T) {
	law(t, func(t *rapid.T) {
		m := newMarket(t)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m.event(t, m.islands[rapid.IntRange(0, 2).Draw(t, "island")])
		}
		for _, r := range m.islands {
			for _, d := range rapid.Permutation(m.deltas).Draw(t, "order") {
				r.take(&d)
			}
			m.audit(r)
		}
	})
}

func (m *market) event(t *rapid.T, r *island) {
	n := rapid.Int64Range(1, 4).Draw(t, "n")
	account := func(e *Edit) (a Account, ok bool) {
		if all := e.Doc().Accounts(); len(all) > 0 {
			return all[0], true
		}
		return Account{}, false
	}
	switch rapid.IntRange(0, 12).Draw(t, "event") {
	case 0:
		m.write(r, 0, deleting)
	case 1:
		m.write(r, 2*n, func(e *Edit) error {
			return doing(m.t, stock+`,{"op":"inc","path":"/n","by":`+jsonInt(2*n)+`}`)(e)
		})
	case 2, 3, 4, 5:
		m.write(r, -n, func(e *Edit) error {
			if _, ok := account(e); !ok {
				return errors.New("nothing to sell")
			}
			return doing(m.t, `{"op":"inc","path":"/n","by":`+jsonInt(-n)+`}`)(e)
		})
	case 6, 7:
		to := m.islands[rapid.IntRange(0, 2).Draw(t, "to")]
		m.write(r, 0, func(e *Edit) error {
			if a, ok := account(e); ok {
				e.Give(counterAt, a.Birth, to.origin, uint64(n))
			}
			return nil
		})
	case 8:
		m.write(r, 0, func(e *Edit) error { e.DropOrphans(r.clock.Has); return nil })
	case 9:
		o := m.islands[rapid.IntRange(0, 2).Draw(t, "source")]
		r.join(o)
	default:
		if len(m.deltas) > 0 {
			r.take(&m.deltas[rapid.IntRange(0, len(m.deltas)-1).Draw(t, "delta")])
		}
	}
}

func jsonInt(n int64) string { return string(appendSum(nil, []byte("0"), n)) }

// TestOrphansGoWithTheirBound: who hears that its share is tidied away before it
// hears why must not have again what it spent.
func TestOrphansGoWithTheirBound(t *testing.T) {
	m := newMarket(t)
	a, b, c := m.islands[0], m.islands[1], m.islands[2]
	heard := 0
	tell := func(rs ...*island) {
		for ; heard < len(m.deltas); heard++ {
			for _, r := range rs {
				r.take(&m.deltas[heard])
			}
		}
	}
	m.write(a, 4, doing(t, stock+`,{"op":"inc","path":"/n","by":4}`))
	m.write(a, 0, func(e *Edit) error {
		e.Give(counterAt, e.Doc().Accounts()[0].Birth, b.origin, 4)
		return nil
	})
	tell(b, c)
	m.write(c, 0, deleting)
	heard++ // b does not hear of it
	m.write(b, -4, doing(t, `{"op":"inc","path":"/n","by":-4}`))
	tell(a, c)
	if !c.doc.Orphans() {
		t.Fatalf("no orphan: %v", cells(&c.doc))
	}
	m.write(c, 0, func(e *Edit) error { e.DropOrphans(c.clock.Has); return nil })
	tell(b)
	if c.doc.Bounded() || len(b.doc.Accounts()) > 0 {
		t.Errorf("it left %v, and %v where the deletion is not known", cells(&c.doc), cells(&b.doc))
	}
}

// TestBounded: what operations, puts and merges do to a bounded counter of 10.
func TestBounded(t *testing.T) {
	const of10 = `{"op":"set","path":"/n","value":10},` + stock
	for name, c := range map[string]struct {
		change func(*Edit) error
		shows  string // "" when it is refused
		kind   atoll.Kind
		ended  bool // it is no bounded counter any more
	}{
		"inc":                 {doing(t, `{"op":"inc","path":"/n","by":5}`), `{"n":15}`, "", false},
		"down to the bound":   {doing(t, `{"op":"inc","path":"/n","by":-10}`), `{"n":0}`, "", false},
		"below":               {doing(t, `{"op":"inc","path":"/n","by":-11}`), "", atoll.AtBound, false},
		"below by the most":   {doing(t, `{"op":"inc","path":"/n","by":-9223372036854775808}`), "", atoll.AtBound, false},
		"too much":            {doing(t, `{"op":"inc","path":"/n","by":9223372036854775807}`), "", atoll.BadRequest, false},
		"nothing":             {doing(t, `{"op":"inc","path":"/n","by":0}`), `{"n":10}`, "", false},
		"bound again":         {doing(t, stock), `{"n":10}`, "", false},
		"another bound":       {doing(t, `{"op":"bound","path":"/n","min":-5}`), "", atoll.KindClash, false},
		"put back":            {putting(t, `{"n":10,"s":"x"}`), `{"n":10,"s":"x"}`, "", false},
		"put":                 {putting(t, `{"n":7}`), `{"n":7}`, "", false},
		"put with a point":    {putting(t, `{"n":7.00}`), `{"n":7}`, "", false},
		"put more":            {putting(t, `{"n":1.2e1}`), `{"n":12}`, "", false},
		"put below":           {putting(t, `{"n":-1}`), "", atoll.AtBound, false},
		"put the most":        {putting(t, `{"n":9223372036854775807}`), "", atoll.BadRequest, false},
		"put a fraction":      {putting(t, `{"n":7.5}`), `{"n":7.5}`, "", true},
		"put a text":          {putting(t, `{"n":"7"}`), `{"n":"7"}`, "", true},
		"put without":         {putting(t, `{"m":7}`), `{"m":7}`, "", true},
		"put above":           {putting(t, `7`), `7`, "", true},
		"put below it":        {putting(t, `{"n":{"n":7}}`), `{"n":{"n":7}}`, "", true},
		"merge":               {merging(t, `{"n":7,"m":1}`), `{"m":1,"n":7}`, "", false},
		"merge null":          {merging(t, `{"n":null}`), `{}`, "", true},
		"merge something":     {merging(t, `{"m":1}`), `{"m":1,"n":10}`, "", false},
		"set":                 {doing(t, `{"op":"set","path":"/n","value":3}`), `{"n":3}`, "", false},
		"set around it":       {doing(t, `{"op":"set","path":"","value":{"n":3}}`), `{"n":3}`, "", false},
		"set below it":        {doing(t, `{"op":"set","path":"/n/m","value":3}`), `{"n":{"m":3}}`, "", true},
		"set twice":           {doing(t, `{"op":"set","path":"/n","value":3},{"op":"set","path":"/n","value":"x"}`), `{"n":"x"}`, "", true},
		"unset":               {doing(t, `{"op":"unset","path":"/n"}`), `{}`, "", true},
		"unset and set":       {doing(t, `{"op":"unset","path":"/n"},{"op":"set","path":"/n","value":-3}`), `{"n":-3}`, "", true},
		"add":                 {doing(t, `{"op":"add","path":"/n","value":1}`), "", atoll.KindClash, false},
		"score it":            {doing(t, `{"op":"score","path":"","member":"n","value":1}`), "", atoll.KindClash, false},
		"delete":              {deleting, "absent", "", true},
		"deleted and put":     {func(e *Edit) error { Delete(e); return Put(e, jsonTree(t, `{"n":-7}`)) }, `{"n":-7}`, "", true},
		"spent within a list": {doing(t, `{"op":"inc","path":"/n","by":-6},{"op":"inc","path":"/n","by":-6}`), "", atoll.AtBound, false},
	} {
		d := jsonEdit(t, Doc{}, doing(t, of10))
		e := NewEdit(d, "k", 0xfeed, 100, 1<<61)
		err := c.change(e)
		if (err != nil) != (c.shows == "") || err != nil && atoll.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %q", name, err, c.kind)
		}
		if err != nil {
			continue
		}
		if got := jsonRender(*e.Doc()); got != c.shows || e.Doc().Bounded() == c.ended {
			t.Errorf("%s: %s, want %s; %v", name, got, c.shows, cells(e.Doc()))
		}
	}
}

// TestBoundBegins: what a bound makes of what was there.
func TestBoundBegins(t *testing.T) {
	for _, c := range []struct {
		doc, op, shows string
		kind           atoll.Kind
	}{
		{`{}`, stock, `{"n":0}`, ""},
		{`{}`, `{"op":"bound","path":"/n","min":-3}`, `{"n":0}`, ""},
		{`{}`, `{"op":"bound","path":"/n","min":3}`, `{"n":3}`, ""},
		{`{"n":12}`, stock, `{"n":12}`, ""},
		{`{"n":3.0}`, stock, `{"n":3}`, ""},
		{`{"n":null}`, `{"op":"bound","path":"/n/m","min":0}`, `{"n":{"m":0}}`, ""},
		{`7`, `{"op":"bound","path":"","min":0}`, `7`, ""},
		{`{"n":1}`, `{"op":"inc","path":"/n"},` + stock, `{"n":2}`, ""},
		{`{"n":3.5}`, stock, "", atoll.KindClash},
		{`{"n":-1}`, stock, "", atoll.KindClash},
		{`{"n":"x"}`, stock, "", atoll.KindClash},
		{`{"n":[]}`, stock, "", atoll.KindClash},
		{`{"n":{}}`, stock, "", atoll.KindClash},
		{`{"n":1e18}`, stock, "", atoll.BadRequest},
		{`{}`, `{"op":"bound","path":"/n","min":-9223372036854775808}`, "", atoll.BadRequest},
	} {
		e := NewEdit(jsonPut(t, Doc{}, c.doc), "k", 9, 1, 9)
		err := doing(t, c.op)(e)
		if atoll.KindOf(err) != c.kind {
			t.Errorf("%s of %s: %v", c.op, c.doc, err)
		}
		if got := jsonRender(*e.Doc()); err == nil && (got != c.shows || len(e.Doc().Accounts()) != 1) {
			t.Errorf("%s of %s: %s, want %s", c.op, c.doc, got, c.shows)
		}
	}
}

// TestShortage: who has rights is asked in order of how many, and nobody when
// all together have too few.
func TestShortage(t *testing.T) {
	m := newMarket(t)
	a, b := m.islands[0], m.islands[1]
	m.write(a, 10, doing(t, stock+`,{"op":"inc","path":"/n","by":10}`))
	birth := a.doc.Accounts()[0].Birth
	m.write(a, 0, func(e *Edit) error { e.Give(counterAt, birth, b.origin, 2); return nil })
	for _, d := range m.deltas {
		b.take(&d)
	}
	give := a.doc.Accounts()[0]
	if give.Rights(1) != 4 || give.Rights(2) != 6 {
		t.Fatalf("of 10 rights 2 were needed: %d stayed, %d went", give.Rights(1), give.Rights(2))
	}
	spend := func(by string) error {
		return doing(t, `{"op":"inc","path":"/n","by":-`+by+`}`)(NewEdit(b.doc, "k", 3, 1, 9))
	}
	var s *Shortage
	if err := spend("5"); atoll.KindOf(err) != atoll.NoRights || !errors.As(err, &s) ||
		s.Need != 5 || !slices.Equal(s.Holders, []Holder{{2, 6}, {1, 4}}) {
		t.Errorf("no rights: %v, %+v", err, s)
	}
	if err := spend("11"); atoll.KindOf(err) != atoll.AtBound || errors.As(err, new(*Shortage)) &&
		strings.Contains(err.Error(), "missing") {
		t.Errorf("beyond the bound: %v", err)
	}
	e := NewEdit(b.doc, "k", b.origin, 1, 9)
	if e.GiveAll(3); e.Doc().Accounts()[0].Rights(3) != 6 || e.Doc().Accounts()[0].Rights(2) != 0 {
		t.Errorf("given away: %+v", e.Doc().Accounts()[0])
	}
	e = NewEdit(b.doc, "k", b.origin, 1, 9)
	e.Give(counterAt, Dot{9, 9}, 3, 1)
	e.Give(counterAt, birth, b.origin, 1)
	if _, ok := e.Delta(); ok {
		t.Error("gave to itself, or of a counter that is not there")
	}
}

// TestBirthsMeet: of two bounds that were made at once the later shows, and the
// next write leaves one.
func TestBirthsMeet(t *testing.T) {
	m := newMarket(t)
	a, b := m.islands[0], m.islands[1]
	m.write(a, 4, doing(t, stock+`,{"op":"inc","path":"/n","by":4}`))
	m.write(b, 9, doing(t, stock+`,{"op":"inc","path":"/n","by":9}`))
	for _, d := range m.deltas {
		a.take(&d)
		b.take(&d)
	}
	for _, r := range []*island{a, b} {
		_, conflicts, _ := Render(&r.doc)
		if got := describe(conflicts); jsonRender(r.doc) != `{"n":9}` || len(got) != 1 ||
			got[0] != "kind-clash /n: 9@2.2* 4@1.1" || r.doc.Contested() != 1 {
			t.Errorf("it shows %s with %q", jsonRender(r.doc), got)
		}
	}
	m.write(b, -2, doing(t, `{"op":"inc","path":"/n","by":-2}`))
	a.take(&m.deltas[2])
	if _, conflicts, _ := Render(&a.doc); jsonRender(a.doc) != `{"n":7}` || len(conflicts) > 0 {
		t.Errorf("it shows %s with %q", jsonRender(a.doc), describe(conflicts))
	}
	m.audit(a)
}

// TestPartialSums: what was sold may be heard of before what was put in.
func TestPartialSums(t *testing.T) {
	m := newMarket(t)
	a, b := m.islands[0], m.islands[1]
	m.write(a, 2, doing(t, `{"op":"bound","path":"/n","min":-2}`))
	birth := a.doc.Accounts()[0].Birth
	d := m.deltas[0]
	b.take(&d)
	m.islands[2].take(&d)
	m.write(a, 5, doing(t, `{"op":"inc","path":"/n","by":5}`))
	m.write(a, 0, func(e *Edit) error { e.Give(counterAt, birth, b.origin, 7); return nil })
	b.take(&m.deltas[1])
	b.take(&m.deltas[2])
	m.write(b, -7, doing(t, `{"op":"inc","path":"/n","by":-7}`))
	c := m.islands[2]
	c.take(&m.deltas[3])
	if got := jsonRender(c.doc); got != `{"n":-2}` {
		t.Errorf("below its bound: %s", got)
	}
	if c.doc.Accounts()[0].Rights(c.origin) != 0 {
		t.Error("rights out of nothing")
	}
}

// TestEscrowValues: what is stored and sent, and what a faulty peer may send.
func TestEscrowValues(t *testing.T) {
	h := share{birth: Dot{0x0123456789abcdef, 7}, plus: 300, minus: 2,
		given: []gift{{1, 5}, {1 << 63, maxCount}}}
	b := encodeShare(h)
	const want = "010123456789abcdef07ac0202020000000000000001058000000000000000ffffffffffff7f"
	if got := hex.EncodeToString(b); !strings.HasPrefix(got, want[:32]) {
		t.Errorf("share %s", got)
	}
	for n := range b {
		if _, ok := decodeShare(b[:n]); ok {
			t.Errorf("%d of %d bytes are a share", n, len(b))
		}
	}
	got, ok := decodeShare(b)
	if !ok || got.birth != h.birth || got.plus != 300 || got.minus != 2 || !slices.Equal(got.given, h.given) {
		t.Errorf("read as %+v, %v", got, ok)
	}
	for name, odd := range map[string]share{
		"no birth":  {plus: 1},
		"absurd":    {birth: Dot{1, 1}, plus: math.MaxUint64},
		"absurd -":  {birth: Dot{1, 1}, minus: maxCount + 1},
		"gifts":     {birth: Dot{1, 1}, given: []gift{{1, maxCount + 1}}},
		"unsorted":  {birth: Dot{1, 1}, given: []gift{{2, 1}, {1, 1}}},
		"repeating": {birth: Dot{1, 1}, given: []gift{{1, 1}, {1, 1}}},
	} {
		if _, ok := decodeShare(encodeShare(odd)); ok {
			t.Errorf("%s: it is a share", name)
		}
	}
	for _, low := range []int64{0, -1, 1, maxCount, -maxCount} {
		if got, ok := decodeBound(encodeBound(low)); !ok || got != low {
			t.Errorf("bound %d read as %d, %v", low, got, ok)
		}
	}
	for _, odd := range [][]byte{nil, {0}, {1}, {2, 0}, {0, 0, 0}, encodeBound(math.MinInt64)} {
		if _, ok := decodeBound(odd); ok {
			t.Errorf("%x is a bound", odd)
		}
	}
}
