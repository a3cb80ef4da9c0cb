package node

import (
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// TestLostDisk: a node that comes back under its name with an empty directory
// has all documents again, and its old origin holds nobody up.
func TestLostDisk(t *testing.T) {
	s := newSea(t, "a/1", "b/1")
	s.put(1, "x", `{"v":1}`)
	eventually(t, "x at a", func() bool { return s.get(0, "x") == `{"v":1}` })
	lost := s.nodes[1].Origin()
	s.stop(1, true)
	s.dirs[1] = t.TempDir()
	s.start(1, "b/1")
	eventually(t, "x is back", func() bool { return s.get(1, "x") == `{"v":1}` })
	for i := range s.nodes {
		eventually(t, "one b/1 in the roster", func() bool {
			var b []atoll.NodeView
			for _, r := range s.nodes[i].Cluster().Regions {
				if r.Name == "b" {
					b = r.Nodes
				}
			}
			return len(b) == 1 && b[0].Origin == s.nodes[1].Origin() && b[0].Origin != lost &&
				b[0].Behind.Dots == 0
		})
	}
	_, err := s.nodes[0].Write(t.Context(), atoll.Write{Keyspace: "test", Key: "y",
		Body: []byte(`{}`), Level: atoll.Level{All: true}, Timeout: 20 * time.Second})
	if err != nil {
		t.Errorf("durability all: %v", err)
	}
}
