package sim

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

// work is a workload made ready.
type work struct {
	sessions []session // of clients
	mix      []int
	sum      []int64 // of the weights of keys up to this one, when zipf
}

// zipfUnit is the weight of the first key.
const zipfUnit = 1 << 20

func newWork(w *Workload) work {
	made := work{mix: w.Mix.weights(), sessions: make([]session, len(w.Clients))}
	for sum, k := int64(0), 0; w.Zipf && k < w.Keys; k++ {
		sum += max(zipfUnit/int64(k+1), 1)
		made.sum = append(made.sum, sum)
	}
	return made
}

func (w *world) key(d *dice) atoll.Key {
	k := int(d.throw(int64(w.plan.Workload.Keys)))
	if sum := w.work.sum; sum != nil {
		k, _ = slices.BinarySearch(sum, d.throw(sum[len(sum)-1])+1)
	}
	return atoll.Key("k" + strconv.Itoa(k))
}

// counter is the one counter of each document.
const counter = crdt.Path("n\x00\x01")

// operation returns the edit of one kind of Mix, as requests make it. value is
// like no other in the run.
func operation(value string, kind int, d *dice, op *check.Op) func(*crdt.Edit) error {
	text := `"` + value + `"`
	switch kind {
	case 0:
		bodies := [...]string{`{"a":%[1]s,"b":%[1]s}`, `{"a":%[1]s,"o":{"x":%[1]s}}`, `{"b":%[1]s}`}
		return put(fmt.Sprintf(bodies[d.throw(int64(len(bodies)))], text))
	case 1:
		bodies := [...]string{`{"a":%s}`, `{"b":%s}`, `{"o":{"y":%s}}`, `{"o":{"x":null,"z":%s}}`,
			`{"b":null,"a":%s}`}
		return merge(fmt.Sprintf(bodies[d.throw(int64(len(bodies)))], text))
	case 2:
		op.Inc = d.throw(9) + 1
		if d.throw(4) == 0 {
			op.Inc = -op.Inc
		}
		return ops(crdt.Op{Kind: crdt.Inc, Path: counter, By: op.Inc})
	case 3, 4:
		k := crdt.Add
		if kind == 4 {
			k = crdt.Remove
		}
		return ops(crdt.Op{Kind: k, Path: crdt.Path("").Child("s"), Value: tree(fmt.Sprint(d.throw(5)))})
	case 5:
		return func(e *crdt.Edit) error { crdt.Delete(e); return nil }
	case 6:
		return ops(crdt.Op{Kind: crdt.Set, Path: counter, Value: tree("0")})
	default:
		return ops(crdt.Op{Kind: crdt.Add, Path: crdt.Path("").Child("s"), Value: tree(text)})
	}
}

func put(body string) func(*crdt.Edit) error {
	return func(e *crdt.Edit) error { return crdt.Put(e, tree(body)) }
}

func merge(body string) func(*crdt.Edit) error {
	return func(e *crdt.Edit) error { return crdt.MergePatch(e, tree(body)) }
}

func ops(list ...crdt.Op) func(*crdt.Edit) error {
	return func(e *crdt.Edit) error { return crdt.ApplyOps(e, list) }
}

// tree reads JSON that this file has written.
func tree(body string) crdt.Tree {
	t, err := crdt.Parse([]byte(body))
	if err != nil {
		panic(fmt.Sprintf("sim: %s: %v", body, err))
	}
	return t
}
