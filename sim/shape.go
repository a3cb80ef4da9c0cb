package sim

import (
	"slices"
	"strings"
)

// The shapes: troubles of several faults.
const (
	Flap    = "flap"    // the link between A and B comes and goes
	Bridge  = "bridge"  // A alone hears both halves of the others
	Swizzle = "swizzle" // nodes are cut off one by one and come back in another order
	Rolling = "rolling" // all of A's nodes crash one after the other
)

// kinds are the faults and shapes that are thrown for, in the order of their
// weights.
func kinds() []string {
	return []string{Partition, OneWay, Slow, Crash, Trim, Pause, Drag, Jump, Rollback, Restore, Wipe,
		Flap, Bridge, Swizzle, Rolling}
}

// throwFault throws for a fault that begins between two times and lasts for
// about so long, or for the faults of a shape.
func (p *Plan) throwFault(d *dice, weights []int, last, from, to int64) []Fault {
	f := Fault{Kind: kinds()[d.among(weights)], At: from + d.throw(to-from),
		For: last/2 + d.throw(last) + 1}
	node := func() string { return string(p.Nodes[d.throw(int64(len(p.Nodes)))].ID) }
	place := func() string {
		if d.throw(2) == 0 {
			return node()
		}
		return p.Regions[d.throw(int64(len(p.Regions)))]
	}
	f.A = node()
	switch f.Kind {
	case Crash, Wipe, Pause:
		if d.throw(4) == 0 {
			f.A = place() // perhaps a region
		}
	case Partition, OneWay, Slow, Flap, Rolling:
		f.A = place()
		if d.throw(2) == 0 && f.Kind != Rolling {
			f.B = place()
		}
	}
	switch f.Kind {
	case Trim:
		f.For = 0
	case Crash:
		f.When = moments()[d.throw(int64(len(moments())))]
	case Slow:
		f.By = 1 + d.throw(2000)
	case Drag:
		f.By = 1 + d.throw(300)
	case Jump:
		f.By = d.throw(20_000) - 10_000
		f.For *= d.throw(2)
	}
	return p.shape(f, d)
}

// shape returns the faults of a shape; a fault by itself stays as it is.
func (p *Plan) shape(f Fault, d *dice) (all []Fault) {
	switch f.Kind {
	case Flap:
		for at, end := f.At, f.At+f.For; at < end && len(all) < 10; {
			cut := min(50+d.throw(max(f.For/3, 1)), end-at)
			all = append(all, Fault{At: at, For: cut, Kind: Partition, A: f.A, B: f.B})
			at += cut + 50 + d.throw(max(f.For/3, 1))
		}
	case Bridge:
		if rest := p.shuffled(p.others(p.among(f.A)), d); len(rest) > 1 {
			k := len(rest) / 2
			all = append(all, Fault{At: f.At, For: f.For, Kind: Partition, A: p.names(rest[:k]),
				B: p.names(rest[k:])})
		}
	case Swizzle:
		for _, i := range p.shuffled(p.others(nil), d)[:(len(p.Nodes)+1)/2] {
			at := d.throw(max(f.For/2, 1))
			all = append(all, Fault{At: f.At + at, For: max(f.For-at, 1)/2 + d.throw(max(f.For/2, 1)) + 1,
				Kind: Partition, A: string(p.Nodes[i].ID)})
		}
	case Rolling:
		nodes := p.among(f.A)
		each := max(f.For/int64(max(len(nodes), 1)), 1)
		for k, i := range nodes {
			all = append(all, Fault{At: f.At + int64(k)*each, For: each, Kind: Crash,
				A: string(p.Nodes[i].ID)})
		}
	default:
		return []Fault{f}
	}
	return slices.DeleteFunc(all, func(f Fault) bool { return f.At > p.Chaos })
}

// shuffled puts places into another order.
func (p *Plan) shuffled(places []int, d *dice) []int {
	for i := len(places) - 1; i > 0; i-- {
		k := int(d.throw(int64(i + 1)))
		places[i], places[k] = places[k], places[i]
	}
	return places
}

// names returns places as a fault names them.
func (p *Plan) names(places []int) string {
	var ids []string
	for _, i := range places {
		ids = append(ids, string(p.Nodes[i].ID))
	}
	return strings.Join(ids, "+")
}
