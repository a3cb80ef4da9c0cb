package node

import (
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// TestLostDisk: a node that comes back under its name with an empty directory
// has all documents again, and its old origin holds nobody up.
func TestLostDisk(t *testing.T) {
	t.Parallel()
	s := newSea(t, "a/1", "b/1")
	s.put(1, "x", `{"v":1}`)
	eventually(t, "x at a", func() bool { return s.get(0, "x") == `{"v":1}` })
	lost := s.node(1).Origin()
	s.kill(1)
	s.spots[1].dir = t.TempDir()
	s.start(1)
	eventually(t, "x is back", func() bool { return s.get(1, "x") == `{"v":1}` })
	for i := range s.living() {
		eventually(t, "one b/1 in the roster", func() bool {
			var b []atoll.NodeView
			for _, r := range s.node(i).Cluster().Regions {
				if r.Name == "b" {
					b = r.Nodes
				}
			}
			return len(b) == 1 && b[0].Origin == s.node(1).Origin() && b[0].Origin != lost &&
				b[0].Behind.Dots == 0
		})
	}
	_, err := s.node(0).Write(t.Context(), atoll.Write{Keyspace: "test", Key: "y",
		Body: []byte(`{}`), Level: atoll.Level{All: true}, Timeout: 20 * time.Second})
	if err != nil {
		t.Errorf("durability all: %v", err)
	}
}
