package geo

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func BenchmarkLookup(b *testing.B) {
	table, err := Default()
	if err != nil {
		b.Fatal(err)
	}
	o, err := NewOverlay(table, nil)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	addrs := make([]netip.Addr, 1<<16)
	for i := range addrs {
		n := rng.Uint32()
		addrs[i] = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Lookup(addrs[i%len(addrs)])
	}
}
