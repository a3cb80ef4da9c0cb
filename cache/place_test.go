package cache

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

func numbered(n int) (h atoll.Hash) {
	return atoll.HashOf(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func TestRankedIsFairAndStable(t *testing.T) {
	nodes := []atoll.NodeID{"tokyo/1", "tokyo/2", "tokyo/3", "tokyo/4", "tokyo/5"}
	const chunks = 50_000
	first, moved := map[atoll.NodeID]int{}, 0
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range chunks {
		h := numbered(i)
		rank := Ranked(h, nodes)
		first[rank[0]]++
		shuffled := slices.Clone(nodes)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !slices.Equal(Ranked(h, shuffled), rank) {
			t.Fatal("the order depends on the order of the nodes")
		}
		without := Ranked(h, nodes[:4])
		if rank[0] != "tokyo/5" && without[0] != rank[0] {
			moved++
		}
		if rank[0] == "tokyo/5" && without[0] != rank[1] {
			t.Fatal("not the second of the order takes over")
		}
	}
	if moved > 0 {
		t.Errorf("%d chunks of others moved when a node went", moved)
	}
	for n, got := range first {
		if share := float64(got) / chunks * 5; share < 0.95 || share > 1.05 {
			t.Errorf("%s has %.2f of its share", n, share)
		}
	}
	if len(Ranked(numbered(0), nil)) != 0 {
		t.Error("nobody has an order")
	}
}

func TestKeepers(t *testing.T) {
	all := []atoll.NodeID{"a/1", "a/2", "a/3", "b/1", "b/2", "c/1"}
	without := func(gone ...atoll.NodeID) []atoll.NodeID {
		return slices.DeleteFunc(slices.Clone(all), func(n atoll.NodeID) bool {
			return slices.Contains(gone, n)
		})
	}
	for name, c := range map[string]struct {
		homes, nodes []atoll.NodeID
		fixed        []atoll.NodeID // are among them
		want         map[atoll.Region]int
	}{
		"as stored": {
			[]atoll.NodeID{"a/1", "a/2"}, all, []atoll.NodeID{"a/1", "a/2"},
			map[atoll.Region]int{"a": 2},
		},
		"one lost": {
			[]atoll.NodeID{"a/1", "a/2"}, without("a/2"), []atoll.NodeID{"a/1", "a/3"},
			map[atoll.Region]int{"a": 2},
		},
		"the first lost": {
			[]atoll.NodeID{"a/1", "a/2"}, without("a/1"), []atoll.NodeID{"a/2", "a/3"},
			map[atoll.Region]int{"a": 2},
		},
		"both lost": {
			[]atoll.NodeID{"a/1", "a/2"}, without("a/1", "a/2"), []atoll.NodeID{"a/3"},
			map[atoll.Region]int{"a": 1},
		},
		"region lost": {
			[]atoll.NodeID{"c/1"}, without("c/1"), nil,
			map[atoll.Region]int{},
		},
		"one where two are": {
			[]atoll.NodeID{"a/1"}, all, []atoll.NodeID{"a/1"},
			map[atoll.Region]int{"a": 2},
		},
		"a copy elsewhere": {
			[]atoll.NodeID{"a/1", "a/2", "b/1"}, all, []atoll.NodeID{"a/1", "a/2", "b/1"},
			map[atoll.Region]int{"a": 2, "b": 1},
		},
		"the copy lost": {
			[]atoll.NodeID{"a/1", "a/2", "b/1"}, without("b/1"), []atoll.NodeID{"b/2"},
			map[atoll.Region]int{"a": 2, "b": 1},
		},
		"everywhere": {
			all, all, all,
			map[atoll.Region]int{"a": 3, "b": 2, "c": 1},
		},
		"nowhere": {
			nil, all, nil,
			map[atoll.Region]int{},
		},
	} {
		got := Keepers(atoll.Object{Homes: c.homes, Manifest: numbered(1)}, c.nodes)
		count := map[atoll.Region]int{}
		for i, n := range got {
			count[n.Region()]++
			if !slices.Contains(c.nodes, n) || slices.Contains(got[:i], n) {
				t.Errorf("%s: %v", name, got)
			}
		}
		if fmt.Sprint(count) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		for _, n := range c.fixed {
			if !slices.Contains(got, n) {
				t.Errorf("%s: %v without %s", name, got, n)
			}
		}
	}
}

func TestDoomed(t *testing.T) {
	now := time.Unix(10_000, 0)
	cutoff := now.Add(-time.Hour)
	old, older, fresh := now.Add(-2*time.Hour), now.Add(-3*time.Hour), now
	chunk := func(n int, used time.Time, cached bool) atoll.Held {
		return atoll.Held{Hash: numbered(n), Size: 100, Used: used, Cached: cached}
	}
	kept, known := map[atoll.Hash]bool{numbered(1): true}, map[atoll.Hash]bool{numbered(1): false}
	for name, c := range map[string]struct {
		held   []atoll.Held
		named  map[atoll.Hash]bool
		cached int64
		want   int
	}{
		"kept, however old":        {[]atoll.Held{chunk(1, older, false)}, kept, 0, 0},
		"kept, was a cached copy":  {[]atoll.Held{chunk(1, older, true)}, kept, 0, 0},
		"nobody's and old":         {[]atoll.Held{chunk(1, old, false)}, nil, 1000, 1},
		"nobody's and just stored": {[]atoll.Held{chunk(1, fresh, false)}, nil, 0, 0},
		"at the cutoff":            {[]atoll.Held{chunk(1, cutoff, false)}, nil, 0, 0},
		"named, room":              {[]atoll.Held{chunk(1, older, true)}, known, 100, 0},
		"named, no room":           {[]atoll.Held{chunk(1, fresh, true)}, known, 99, 1},
		"not this node's any more": {[]atoll.Held{chunk(1, fresh, false)}, known, 0, 1},
		"unknown copy, no room":    {[]atoll.Held{chunk(1, fresh, true)}, nil, 0, 1},
		"unknown copy, room":       {[]atoll.Held{chunk(1, fresh, true)}, nil, 100, 0},
		"unknown copy, too old":    {[]atoll.Held{chunk(1, old, true)}, nil, 1000, 1},
	} {
		if got := Doomed(c.held, c.named, cutoff, c.cached); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	got := Doomed([]atoll.Held{
		chunk(1, fresh, true), chunk(2, fresh.Add(-2), true), chunk(3, fresh.Add(-1), true),
	}, nil, cutoff, 150)
	if len(got) != 2 || got[0].Hash != numbered(2) || got[1].Hash != numbered(3) {
		t.Errorf("not the oldest first: %v", got)
	}
}

// Doomed against a naive reading of its comment, and what must never happen.
func TestDoomedAgainstTheComment(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	now := time.Unix(10_000, 0)
	cutoff := now.Add(-50)
	for range 2000 {
		var held []atoll.Held
		named := map[atoll.Hash]bool{}
		for i := range rng.IntN(20) {
			held = append(held, atoll.Held{Hash: numbered(i), Size: rng.Int64N(10),
				Used: now.Add(-time.Duration(rng.IntN(100))), Cached: rng.IntN(2) == 0})
			if rng.IntN(2) == 0 {
				named[numbered(i)] = rng.IntN(2) == 0
			}
		}
		limit := rng.Int64N(60)
		doomed := Doomed(held, named, cutoff, limit)
		var left int64
		for _, c := range held {
			keep, known := named[c.Hash]
			gone := slices.Contains(doomed, c)
			nobodys := !known && c.Used.Before(cutoff)
			switch {
			case keep && gone, !known && !c.Cached && !c.Used.Before(cutoff) && gone:
				t.Fatalf("dropped %v", c)
			case nobodys && !gone:
				t.Fatalf("kept %v", c)
			case !keep && (known || c.Cached) && !gone:
				left += c.Size
			}
		}
		if left > limit {
			t.Fatalf("%d bytes of copies, limit %d", left, limit)
		}
	}
}
