package sim

import (
	"fmt"
	"slices"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
	"github.com/atolledge/atoll/sim/check"
)

// work is a workload made ready.
type work struct {
	mix []int
	sum []int64 // of the weights of keys up to this one, when zipf
}

// zipfUnit is the weight of the first key.
const zipfUnit = 1 << 20

func newWork(w *Workload) work {
	made := work{mix: w.Mix.weights()}
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
	return atoll.Key(fmt.Sprintf("k%d", k))
}

// nextWrite plans the n-th write of a client.
func (w *world) nextWrite(client int, n uint64) {
	d := w.chance.draw(ofClient, uint64(client), n, 0)
	gap := w.plan.Workload.Gap * 1000
	at := w.now + gap/2 + d.throw(gap) + 1
	if at >= w.plan.Chaos*1000 {
		return
	}
	w.queue.push(event{at: at, kind: evClient, n: n, peer: int32(client),
		node: w.byID[w.plan.Workload.Clients[client]]})
}

// write lets a client make its n-th write. While its node is down it fails.
func (w *world) write(n *node, client int, nth uint64) {
	if w.calm {
		return
	}
	w.nextWrite(client, nth+1)
	if !n.up {
		return
	}
	d := w.chance.draw(ofClient, uint64(client), nth, 1)
	op := check.Op{Node: n.member.Node, Key: w.key(&d), At: w.elapsed(), Counter: counter}
	edit := operation(fmt.Sprintf("%d-%d", client, nth), d.among(w.work.mix), &d, &op)
	var before crdt.Doc
	w.writes++
	out := w.step(n, replication.Mutate{
		ID: uint64(w.writes), Keyspace: w.plan.Workload.Keyspace, Key: op.Key,
		Edit: func(e *crdt.Edit) error {
			before = e.Doc().Clone()
			return edit(e)
		},
	})
	p := pending{out: out}
	for i := range out.Replies {
		r := &out.Replies[i]
		if r.Err == nil {
			p.replies++
		}
		if r.Err == nil && r.Dots.First > 0 {
			op.Dots, op.Before, op.After = r.Dots, &before, &r.Doc
			p.ops = append(p.ops, w.history.Record(op))
		}
	}
	w.commit(n, p)
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
