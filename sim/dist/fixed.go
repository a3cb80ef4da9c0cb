package dist

import "math/bits"

// Fixed-point numbers: what decimals of a file become, and logarithms.
const (
	one     = 1_000_000 // of decimals: six places
	nano    = 1_000_000 // ns in a ms
	hundred = 1_000_000 // 100 % in parts per million

	// Fraction is how many bits of NegLog2 stand behind the point.
	Fraction = 32
	ln2      = 2_977_044_472 // ln 2 * 2^32
)

// NegLog2 returns -log2(u/2^64) with Fraction bits behind the point; 0 counts as
// the least number above it. Squaring gives a bit of the logarithm at a time.
func NegLog2(u uint64) uint64 {
	u = max(u, 1)
	zeros := bits.LeadingZeros64(u)
	m, log := u<<zeros, uint64(0) // m/2^63 is in [1, 2)
	for range Fraction {
		hi, lo := bits.Mul64(m, m) // over 2^126, in [1, 4)
		bit := hi >> 63
		log = log<<1 | bit
		m = hi<<(1-bit) | lo>>(63+bit) // halved where it was over 2
	}
	return uint64(zeros+1)<<Fraction - log
}

// NegLn returns -ln(u/2^64) with Fraction bits behind the point.
func NegLn(u uint64) uint64 {
	hi, lo := bits.Mul64(NegLog2(u), ln2)
	return hi<<(64-Fraction) | lo>>Fraction
}

// pow2 holds 2^(2^-i) * 2^63 for i from 1.
type pow2 [Fraction]uint64

func newPow2() (p pow2) {
	root := uint64(1) << 63 // of 2 * 2^126 in the first round
	hi, lo := uint64(1)<<63, uint64(0)
	for i := range p {
		root = sqrt(hi, lo)
		p[i] = root
		hi, lo = root>>1, root<<63
	}
	return p
}

// sqrt returns the root of hi*2^64+lo, rounded down, a bit at a time.
func sqrt(hi, lo uint64) (root uint64) {
	for b := 63; b >= 0; b-- {
		try := root | 1<<b
		if h, l := bits.Mul64(try, try); h < hi || h == hi && l <= lo {
			root = try
		}
	}
	return root
}

// times returns a * 2^e, e with Fraction bits behind the point, or maxNano when
// it is more.
func (p *pow2) times(a, e uint64) uint64 {
	whole := e >> Fraction
	if whole >= 63 {
		return maxNano
	}
	const unit = 1 << 63
	m := uint64(unit)
	for i, f := range p {
		bit := e >> (Fraction - 1 - i) & 1
		hi, lo := bits.Mul64(m, unit+(f-unit)*bit) // no branch: half of them would be missed
		m = hi<<1 | lo>>63
	}
	hi, lo := bits.Mul64(m, a) // over 2^63
	if drop := 63 - whole; hi>>drop == 0 {
		return min(hi<<(64-drop)|lo>>drop, maxNano)
	}
	return maxNano
}
