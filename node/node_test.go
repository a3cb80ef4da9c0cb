package node

import (
	"testing"

	"github.com/atolledge/atoll"
)

func TestThreeRegions(t *testing.T) {
	t.Parallel()
	s := threeRegions(t, nil)
	s.put(frankfurt, "x", `{"v":1}`)
	s.everywhere("x", `{"v":1}`)
	s.kill(washington)
	s.put(frankfurt, "x", `{"v":2}`)
	eventually(t, "washington is down", func() bool {
		return s.state(frankfurt, "washington") == atoll.StateDown
	})
	s.start(washington)
	s.shows(washington, "x", `{"v":2}`)
	w := s.put(washington, "y", `{"w":1}`)
	d, err := s.read(tokyo, "y", w.Session)
	if err != nil || string(d.Body) != `{"w":1}` {
		t.Fatalf("%s %v", d.Body, err)
	}
}
