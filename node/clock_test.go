package node

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// TestClockFence sets the clock of one of three nodes wrong: that one says so and
// takes no writes, reads and replication go on, the others hear it and are not
// moved; with the clock right again it takes writes again.
func TestClockFence(t *testing.T) {
	var ahead atomic.Int64
	s := threeRegions(t, func(i int, c *Config) {
		if i == tokyo {
			c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}
	})
	put := func(i int, key atoll.Key) error {
		_, err := s.node(i).Write(t.Context(), atoll.Write{Keyspace: "notes", Key: key, Body: []byte(`{}`)})
		return err
	}
	if err := put(tokyo, "before"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all clocks are compared", func() bool {
		return len(s.node(tokyo).skew().Peers) == 2 && len(s.node(frankfurt).skew().Peers) == 2
	})
	for _, wrong := range []time.Duration{2 * time.Second, -time.Hour} {
		ahead.Store(int64(wrong))
		eventually(t, "the fence is up", func() bool { return s.node(tokyo).skew().Off })
		err := put(tokyo, "wrong")
		if atoll.KindOf(err) != atoll.Fenced || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%v off: a write gives %v", wrong, err)
		}
		if why := strings.Join(s.node(tokyo).Ready(), "; "); !strings.Contains(why, "median of its cluster, 500ms") {
			t.Errorf("%v off: ready because of %q", wrong, why)
		}
		if err := put(frankfurt, "elsewhere"); err != nil {
			t.Errorf("%v off: another node: %v", wrong, err)
		}
		eventually(t, "reads and replication go on", func() bool {
			_, err := s.node(tokyo).Read(t.Context(), atoll.Read{Keyspace: "notes", Key: "elsewhere"})
			return err == nil
		})
		eventually(t, "the others see it", func() bool {
			n := clusterNode(s.node(frankfurt), "tokyo/1")
			return (n.Offset - wrong).Abs() < 200*time.Millisecond
		})
		if off := s.node(frankfurt).skew(); off.Off || off.Offset.Abs() > 200*time.Millisecond {
			t.Errorf("%v off: frankfurt thinks that it is off itself: %+v", wrong, off)
		}
		ahead.Store(0)
		eventually(t, "the fence is down", func() bool { return !s.node(tokyo).skew().Off })
		if err := put(tokyo, "after"); err != nil {
			t.Errorf("with the clock right again: %v", err)
		}
	}
}

// clusterNode returns what n knows of a node.
func clusterNode(n *Node, id atoll.NodeID) atoll.NodeView {
	for _, r := range n.Cluster().Regions {
		for _, v := range r.Nodes {
			if v.ID == id {
				return v
			}
		}
	}
	return atoll.NodeView{}
}
