package dist

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func compile(t testing.TB, s Spec) *Dist {
	t.Helper()
	d, err := s.Compile("d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDrawAgainstFloats: the integers say what the textbook's formula says.
func TestDrawAgainstFloats(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		want func(u float64) float64 // ms
	}{
		"exp 1.66":      {Spec{{Exp: &Exp{"1.66"}}}, func(u float64) float64 { return -math.Log(u) / 1.66 }},
		"exp .0028":     {Spec{{Exp: &Exp{".0028"}}}, func(u float64) float64 { return -math.Log(u) / .0028 }},
		"pareto .235":   {Spec{{Pareto: &Pareto{"0.235", "10"}}}, func(u float64) float64 { return .235 * math.Pow(u, -.1) }},
		"pareto 1.05":   {Spec{{Pareto: &Pareto{"1.05", "1.51"}}}, func(u float64) float64 { return 1.05 * math.Pow(u, -1/1.51) }},
		"uniform 1 3.5": {Spec{{Uniform: &Uniform{"1", "3.5"}}}, func(u float64) float64 { return 1 + 2.5*u }},
		"fixed 7":       {Spec{{Fixed: "7"}}, func(float64) float64 { return 7 }},
		"table": {
			Spec{{Table: []Point{{"0%", "1"}, {"50%", "2"}, {"99.9%", "4"}, {"100%", "100"}}}},
			func(u float64) float64 {
				switch {
				case u < .5:
					return 1 + u*2
				case u < .999:
					return 2 + 2*(u-.5)/.499
				}
				return 4 + 96*(u-.999)/.001
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := compile(t, c.spec)
			rapid.Check(t, func(t *rapid.T) {
				u := max(rapid.Uint64().Draw(t, "u"), 1)
				want := min(c.want(float64(u)/(1<<64)), MaxTime)
				got := float64(d.Draw(0, u)) / nano
				if math.Abs(got-want) > want*1e-6+2e-6 {
					t.Fatalf("%v ms, want %v", got, want)
				}
			})
		})
	}
}

// TestDrawGolden holds what every machine has to draw, to the nanosecond.
func TestDrawGolden(t *testing.T) {
	d := compile(t, Spec{
		{Share: "50%", Pareto: &Pareto{"1.05", "1.51"}},
		{Share: "49.9999%", Exp: &Exp{".183"}},
		{Share: "0.0001%", Fixed: "9"},
	})
	r := rand.New(rand.NewPCG(1, 2))
	want := []int64{2643718, 1242660, 8678391, 1783380, 3224671, 4427078, 11520576, 1234054}
	for i, w := range want {
		if got := d.Draw(r.Uint64(), r.Uint64()); got != w {
			t.Errorf("draw %d is %d, want %d", i, got, w)
		}
	}
	for _, c := range []struct {
		which, value uint64
		want         int64
	}{
		{0, math.MaxUint64, 1050000}, {0, 0, maxNano}, {1 << 63, 0, 242412128},
		{math.MaxUint64, 5, 9000000}, {1<<63 - 1, 1 << 63, 1661678},
	} {
		if got := d.Draw(c.which, c.value); got != c.want {
			t.Errorf("%d, %d is %d, want %d", c.which, c.value, got, c.want)
		}
	}
}

// TestShares: parts come as often as they say.
func TestShares(t *testing.T) {
	d := compile(t, Spec{{Share: "91.22%", Fixed: "1"}, {Share: "8%", Fixed: "2"},
		{Share: ".78%", Fixed: "3"}})
	r, count := rand.New(rand.NewPCG(3, 4)), map[int64]int{}
	const n = 1_000_000
	for range n {
		count[d.Draw(r.Uint64(), 0)]++
	}
	for ns, share := range map[int64]float64{1 * nano: .9122, 2 * nano: .08, 3 * nano: .0078} {
		if got := float64(count[ns]) / n; math.Abs(got-share) > 5*math.Sqrt(share/n) {
			t.Errorf("%d ns: %v of all, want %v", ns, got, share)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{nil, "d: 0 parts, want 1 to 64"},
		{Spec{{}}, "d[0]: 0 kinds, want one of fixed, uniform, exp, pareto and table"},
		{Spec{{Fixed: "1", Exp: &Exp{"1"}}}, "d[0]: 2 kinds"},
		{Spec{{Fixed: "1"}, {Fixed: "2"}}, `d[0]: share: "", want 0% to 100%`},
		{Spec{{Share: "60%", Fixed: "1"}, {Share: "30.5%", Fixed: "2"}}, "d: the shares are 90.5% in all"},
		{Spec{{Share: "101%", Fixed: "1"}}, `d[0]: share: "101%", want 0% to 100%`},
		{Spec{{Share: "50", Fixed: "1"}}, `d[0]: share: "50", want`},
		{Spec{{Fixed: "1ms"}}, `d[0]: fixed: "1ms", want ms from 0 to 3600000`},
		{Spec{{Fixed: "-1"}}, `d[0]: fixed: "-1", want ms`},
		{Spec{{Fixed: "3600001"}}, `d[0]: fixed: "3600001", want ms`},
		{Spec{{Fixed: "0.0000001"}}, `d[0]: fixed: "0.0000001", want ms`},
		{Spec{{Uniform: &Uniform{"2", "1"}}}, "d[0]: uniform: from 2 is more than to 1"},
		{Spec{{Exp: &Exp{"0"}}}, `d[0]: exp.rate: "0", want a decimal above 0`},
		{Spec{{Exp: &Exp{""}}}, `d[0]: exp.rate: "", want`},
		{Spec{{Pareto: &Pareto{"x", "1"}}}, `d[0]: pareto.min: "x", want ms`},
		{Spec{{Pareto: &Pareto{"1", "0.001"}}}, `d[0]: pareto.shape: "0.001", want a decimal of at least`},
		{Spec{{Table: []Point{{"0%", "1"}}}}, "d[0]: table: 1 points, want 2"},
		{Spec{{Table: []Point{{"0%", "1"}, {"9", "2"}}}}, `d[0]: table[1].at: "9", want`},
		{Spec{{Table: []Point{{"0%", "1"}, {"100%", "y"}}}}, `d[0]: table[1].is: "y", want`},
		{Spec{{Table: []Point{{"0%", "2"}, {"100%", "1"}}}}, "d[0]: table[1]: at 100% is 1, want both to rise"},
		{Spec{{Table: []Point{{"0%", "1"}, {"99%", "2"}}}}, "d[0]: table: from 0% to 99%, want 0% to 100%"},
	} {
		if _, err := c.spec.Compile("d"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.spec, err, c.want)
		}
	}
}

// FuzzCompile: whatever a file says is refused or can be drawn from.
func FuzzCompile(f *testing.F) {
	f.Add("91.22%", "0.235", "10", "1.66", uint64(1), uint64(2))
	f.Add("0%", "3600000", "0.01", "0.000001", uint64(math.MaxUint64), uint64(0))
	f.Fuzz(func(t *testing.T, share, a, b, rate string, which, value uint64) {
		for _, s := range []Spec{
			{{Share: share, Pareto: &Pareto{a, b}}, {Share: "50%", Exp: &Exp{rate}}},
			{{Share: share, Uniform: &Uniform{a, b}}},
			{{Table: []Point{{"0%", a}, {share, b}, {"100%", rate}}}},
		} {
			if d, err := s.Compile("d"); err == nil {
				if ns := d.Draw(which, value); ns < 0 || ns > maxNano {
					t.Fatalf("%v draws %d ns", s, ns)
				}
			}
		}
	})
}

func BenchmarkDraw(b *testing.B) {
	d := compile(b, Spec{{Share: "38%", Pareto: &Pareto{"1.05", "1.51"}}, {Share: "62%", Exp: &Exp{".183"}}})
	r := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		d.Draw(r.Uint64(), r.Uint64())
	}
}
