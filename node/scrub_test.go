package node

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/node/store"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// often scrubs as fast as it goes.
func often(_ int, c *Config) { c.ScrubEvery = time.Millisecond }

// TestScrubFindsNothing compares replicas while all of them write, delete and are
// cut off: what differs because it is on its way is no difference.
func TestScrubFindsNothing(t *testing.T) {
	s := threeRegions(t, often)
	var writers sync.WaitGroup
	for i := range s.spots {
		writers.Go(func() {
			for n := range 300 {
				w := atoll.Write{Keyspace: testSpace, Key: atoll.Key(fmt.Sprint("k", n%40)),
					Change: atoll.Ops, Body: []byte(`{"ops":[{"op":"inc","path":"/n","by":1},{"op":"add","path":"/t","value":"x"}]}`)}
				if n%7 == i {
					w.Change, w.Body = atoll.Delete, nil
				}
				if _, err := s.node(i).Write(t.Context(), w); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	s.net.Cut("tokyo", "frankfurt", false)
	s.net.Cut("tokyo", "washington", true)
	writers.Wait()
	s.net.Heal()
	s.converge()
	for i := range s.spots {
		eventually(t, "many partitions were compared", func() bool { return s.node(i).Cluster().Scrub.Partitions > 60 })
		if n := s.node(i).Cluster().Scrub.Differences; n != 0 {
			t.Errorf("%s found %d differences", s.spots[i].id, n)
		}
	}
}

// TestScrubMends changes what a node has on disk behind its back: once an entry
// that all others hold is gone, once one that all had removed is back. The node
// that meets it counts it, and all hold the same again.
func TestScrubMends(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(*crdt.Doc)
	}{
		{"an entry lost", func(d *crdt.Doc) { d.Entries = d.Entries[:len(d.Entries)-1] }},
		{"an entry back", func(d *crdt.Doc) {
			e := d.Entries[len(d.Entries)-1]
			e.Dot.Seq -= 2 // the one that it replaced: each patch wrote two
			d.Entries = slices.Insert(d.Entries, len(d.Entries)-1, e)
		}},
		{"the document lost", func(d *crdt.Doc) { *d = crdt.Doc{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := threeRegions(t, often)
			for i := range 20 {
				s.put(frankfurt, atoll.Key(fmt.Sprint("k", i)), `{"a":1,"z":2}`)
				s.write(frankfurt, atoll.Key(fmt.Sprint("k", i)), atoll.Merge, `{"z":3}`)
				s.write(frankfurt, atoll.Key(fmt.Sprint("k", i)), atoll.Merge, `{"z":4}`)
			}
			s.converge()
			s.stop(tokyo)
			rewrite(t, s.spots[tokyo].dir, "k7", tt.damage)
			s.start(tokyo)
			s.settle()
			eventually(t, "the difference is found", func() bool {
				var found uint64
				for i := range s.spots {
					found += s.node(i).Cluster().Scrub.Differences
				}
				return found > 0
			})
			eventually(t, "all hold the same", func() bool {
				a, b, c := s.get(frankfurt, "k7"), s.get(tokyo, "k7"), s.get(washington, "k7")
				return a == b && b == c
			})
			for i := range 20 {
				if i != 7 {
					s.everywhere(atoll.Key(fmt.Sprint("k", i)), `{"a":1,"z":4}`)
				}
			}
		})
	}
}

// rewrite changes a document on the disk of a node that does not run.
func rewrite(t *testing.T, dir string, key atoll.Key, change func(*crdt.Doc)) {
	t.Helper()
	st, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v := st.Snapshot()
	at := replication.DocKey(testSpace, replication.PartitionOf(testSpace, key), key)
	b, ok := v.Get(at)
	d, _, err := crdt.DecodeDoc(b)
	if !ok || err != nil {
		t.Fatalf("%s is not there: %v", key, err)
	}
	change(&d)
	v.Close()
	w := replication.Write{Key: at}
	if !d.Empty() {
		w.Value = d.Append(nil)
	}
	if err := st.Commit([]replication.Write{w}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}
