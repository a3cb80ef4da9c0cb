package node

import (
	"testing"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication"
	"github.com/atolledge/atoll/replication/crdt"
)

// rights returns how many rights to the counters of a document node i, by what
// is durable there, knows node j to have.
func (s *sea) rights(i, j int, key atoll.Key) (n int64) {
	v := s.node(i).store.Snapshot()
	defer v.Close()
	b, ok := v.Get(replication.DocKey(testSpace, replication.PartitionOf(testSpace, key), key))
	if !ok {
		return 0
	}
	d, _, err := crdt.DecodeDoc(b)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range d.Accounts() {
		n += a.Rights(s.node(j).loop.origin())
	}
	return n
}

// TestDrainYieldsRights: what a drained region had the right to sell, others sell
// when it is gone.
func TestDrainYieldsRights(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.write(washington, "lamp", atoll.Ops,
		`{"ops":[{"op":"set","path":"/stock","value":10},{"op":"bound","path":"/stock","min":0}]}`)
	s.everywhere("lamp", `{"stock":10}`)
	if got := s.rights(washington, washington, "lamp"); got != 10 {
		t.Fatalf("washington has %d rights", got)
	}
	if err := s.node(frankfurt).Drain(t.Context(), "washington", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "washington has given its rights away", func() bool {
		return s.rights(frankfurt, washington, "lamp") == 0 &&
			s.rights(frankfurt, frankfurt, "lamp")+s.rights(frankfurt, tokyo, "lamp") == 10 &&
			s.rights(tokyo, frankfurt, "lamp")+s.rights(tokyo, tokyo, "lamp") == 10
	})
	s.kill(washington)
	buy := atoll.Write{Keyspace: testSpace, Key: "lamp", Change: atoll.Ops,
		Body: []byte(`{"ops":[{"op":"inc","path":"/stock","by":-1}]}`)}
	for range 10 {
		eventually(t, "frankfurt sells one", func() bool {
			_, err := s.tryWrite(frankfurt, buy)
			if err != nil && atoll.KindOf(err) != atoll.NoRights {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	_, err := s.tryWrite(frankfurt, buy)
	refused(t, err, atoll.AtBound)
}
