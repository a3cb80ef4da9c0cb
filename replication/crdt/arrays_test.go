package crdt

import "testing"

// TestConcurrentRemovals holds ARRAYS.md to what the code does: two regions change
// an array at the same time, and then hear of each other.
func TestConcurrentRemovals(t *testing.T) {
	const (
		dropA = `{"op":"remove","path":"/t","value":"a"}`
		dropB = `{"op":"remove","path":"/t","value":"b"}`
		addD  = `{"op":"add","path":"/t","value":"d"}`
	)
	for _, c := range []struct {
		name       string
		begin      []string // the document, then operations on it
		here, then string
		want       string
	}{
		{"of a plain array: each brings the other's back", []string{`{"t":["a","b","c"]}`},
			dropA, dropB, `{"t":["a","b","c"]}`},
		{"of the same item", []string{`{"t":["a","b","c"]}`}, dropA, dropA, `{"t":["b","c"]}`},
		{"of a plain array, and an addition", []string{`{"t":["a","b","c"]}`},
			dropA, addD, `{"t":["b","c","d"]}`},
		{"of a set that was made by additions", []string{`{}`,
			`{"op":"add","path":"/t","value":"a"},{"op":"add","path":"/t","value":"b"},` +
				`{"op":"add","path":"/t","value":"c"}`}, dropA, dropB, `{"t":["c"]}`},
		{"of a plain array that lost an item before", []string{`{"t":["a","b","c","d"]}`,
			`{"op":"remove","path":"/t","value":"d"}`}, dropA, dropB, `{"t":["c"]}`},
	} {
		here, then := &island{origin: 1, now: 1}, &island{origin: 2, now: 1}
		d, _ := here.write(t, putting(t, c.begin[0]))
		then.take(&d)
		for _, ops := range c.begin[1:] {
			d, ok := here.write(t, doing(t, ops))
			if !ok {
				t.Fatalf("%s: %s changes nothing", c.name, ops)
			}
			then.take(&d)
		}
		a, _ := here.write(t, doing(t, c.here))
		b, _ := then.write(t, doing(t, c.then))
		here.take(&b)
		then.take(&a)
		if got, other := jsonRender(here.doc), jsonRender(then.doc); got != other || sets(t, got) != sets(t, c.want) {
			t.Errorf("%s: %s here, %s there, want %s", c.name, got, other, c.want)
		}
	}
}
