package sim

// million is what parts per million are of.
const million = 1_000_000

// The streams of chance: what a draw is for.
const (
	ofLink uint64 = iota + 1
	ofPull
	ofClient
	ofCrash
	ofCore
	ofFault
	ofPlan
	ofBurst
	ofLayout
	ofLook
)

// chance is a source of random bits that has no state: equal questions get
// equal answers, in any order.
type chance uint64

// draw returns 64 bits for the n-th event between a and b in a stream.
func (c chance) draw(stream, a, b, n uint64) dice {
	h := mix(uint64(c) + 0x9e3779b97f4a7c15)
	for _, v := range [...]uint64{stream, a, b, n} {
		h = mix(h ^ v + 0x9e3779b97f4a7c15)
	}
	return dice(h)
}

// mix is the finalizer of splitmix64 (Steele, Lea, Flood, "Fast Splittable
// Pseudorandom Number Generators", 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// dice is what one draw may be spent on, a throw at a time.
type dice uint64

// bits returns 64 more.
func (d *dice) bits() uint64 {
	*d = dice(mix(uint64(*d) + 0x9e3779b97f4a7c15))
	return uint64(*d)
}

// throw returns a number from 0 to n-1; 0 when n is not positive.
func (d *dice) throw(n int64) int64 {
	b := d.bits()
	if n <= 1 {
		return 0
	}
	return int64(b % uint64(n))
}

// in reports whether an event of so many parts per million happens.
func (d *dice) in(ppm int64) bool { return d.throw(million) < ppm }

// among throws for a place in a table of weights, whose sum is positive.
func (d *dice) among(weights []int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	x := int(d.throw(int64(sum)))
	for i, w := range weights {
		if x -= w; x < 0 {
			return i
		}
	}
	return len(weights) - 1
}
