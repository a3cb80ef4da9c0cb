package geodns

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/steer"
)

// view is all that answers are made of at one moment. It does not change.
type view struct {
	world   *steer.World
	zones   map[string]*zone
	regions map[atoll.Region]*regionCount
	metrics *metrics
}

// regionCount holds the counters of answers that name one region, by type.
type regionCount [types]prometheus.Counter

func newView(cfg *Config, world *steer.World, m *metrics) *view {
	v := &view{
		world: world, zones: map[string]*zone{},
		regions: map[atoll.Region]*regionCount{}, metrics: m,
	}
	for _, z := range cfg.Zones {
		v.zones[z.Name] = newZone(z, world)
	}
	for _, r := range world.Regions() {
		v.regions[r.Name] = m.region(r.Name)
	}
	return v
}

// zone returns the zone that a name (lower case) is in: the longest.
func (v *view) zone(name string) *zone {
	for {
		if z := v.zones[name]; z != nil {
			return z
		}
		_, up, ok := strings.Cut(name, ".")
		if !ok || up == "" {
			return nil
		}
		name = up
	}
}

// count adds one answered query to the metrics.
func (v *view) count(q *query, r *reply) {
	if r.region != nil && r.rcode == noError {
		r.region[typeIndex(q.typ)].Inc()
		return
	}
	v.metrics.answers[typeIndex(q.typ)][rcodeIndex(r.rcode)].Inc()
}

// mapVersion words the version of a world: the same on all name servers that
// agree.
func mapVersion(w *steer.World) string { return fmt.Sprintf("%016x", w.Version) }
