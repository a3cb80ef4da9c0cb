package geodns

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/geodns/steer"
)

// staticTTL is the time to live, in seconds, of what does not follow health.
const staticTTL = 3600

// kind says what a name of a zone is.
type kind uint8

const (
	empty   kind = iota // nothing but names below it (RFC 8020)
	apex                // the zone itself; it may be routed too
	routed              // the client's region
	region              // one region
	explain             // why, for loopback
)

// node is one name of a zone.
type node struct {
	kind   kind
	geo    bool          // A, AAAA, HTTPS, TXT are the client's region's
	zone   *zone         // where it is
	region *steer.Region // of kind region
	ttl    uint32        // of its addresses, seconds
}

// zone is a Zone with its names, for one view of the regions.
type zone struct {
	Zone
	ttl   uint32
	names map[string]*node // by name in lower case, with the last dot
	soa   record
	ns    []record
	glue  []record
}

// checkZones returns the zones with names in their normal form, defaults set.
func checkZones(in []Zone) ([]Zone, error) {
	var out []Zone
	seen := map[string]bool{}
	for _, z := range in {
		name, ok := canonical(z.Name)
		if !ok || name == "." {
			return nil, atoll.Errorf(atoll.BadRequest, "DNS zone %q", z.Name).
				WithHint("a zone is a host name such as example.org")
		}
		if seen[name] {
			return nil, atoll.Errorf(atoll.BadRequest, "DNS zone %q is there twice", name)
		}
		seen[name] = true
		z.Name = name
		if err := z.complete(); err != nil {
			return nil, err
		}
		out = append(out, z)
	}
	return out, nil
}

// complete sets defaults and refuses what cannot be served.
func (z *Zone) complete() error {
	if err := z.completeGeo(); err != nil {
		return err
	}
	if z.TTL == 0 {
		z.TTL = MaxTTL
	}
	if z.TTL < time.Second || z.TTL > MaxTTL {
		return atoll.Errorf(atoll.BadRequest, "DNS zone %s: TTL %v", z.Name, z.TTL).
			WithHint("names that follow the regions' health live from 1s to 30s")
	}
	if z.Hostmaster == "" {
		z.Hostmaster = "hostmaster." + z.Name
	}
	box, ok := canonical(z.Hostmaster)
	if !ok {
		return atoll.Errorf(atoll.BadRequest, "DNS zone %s: hostmaster %q", z.Name, z.Hostmaster).
			WithHint("write the mailbox as a name: hostmaster.example.org")
	}
	z.Hostmaster = box
	for _, c := range z.CAA {
		if len(c.Tag) > 15 || len(c.Value) > 255 || !label(c.Tag) {
			return atoll.Errorf(atoll.BadRequest, "DNS zone %s: CAA %q %q", z.Name, c.Tag, c.Value)
		}
	}
	return nil
}

// completeGeo brings the routed names into their normal form.
func (z *Zone) completeGeo() error {
	in := z.Geo
	if in == nil {
		in = []string{"www"}
	}
	z.Geo = nil
	for _, g := range in {
		if g == "@" {
			z.Geo = append(z.Geo, g)
			continue
		}
		name, ok := canonical(g)
		if !ok || len(name)+len(z.Name) >= maxName-len("_explain.") {
			return atoll.Errorf(atoll.BadRequest, "DNS name %q of zone %s", g, z.Name)
		}
		z.Geo = append(z.Geo, strings.TrimSuffix(name, "."))
	}
	return nil
}

// canonical returns a host name in lower case with the last dot; letters,
// digits, "-" and "_" only, so that nothing has to be escaped.
func canonical(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	for l := range strings.SplitSeq(s, ".") {
		if !label(l) {
			return "", false
		}
	}
	return s + ".", len(s) < maxName-1
}

func label(l string) bool {
	ok := l != "" && len(l) <= maxLabel
	for i := 0; ok && i < len(l); i++ {
		c := l[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_'
	}
	return ok
}

// newZone lays out the names of a zone. Of two for one name, the later in the
// order region, nsN, routed, apex is there.
func newZone(cfg Zone, world *steer.World) *zone {
	z := &zone{Zone: cfg, ttl: uint32(cfg.TTL / time.Second), names: map[string]*node{}}
	z.addRegions(world)
	for _, g := range cfg.Geo {
		if g == "@" {
			continue
		}
		name := g + "." + cfg.Name
		z.add(name, node{kind: routed, geo: true, ttl: z.ttl})
		z.add("_explain."+name, node{kind: explain, ttl: z.ttl})
	}
	atApex := slices.Contains(cfg.Geo, "@")
	z.add(cfg.Name, node{kind: apex, geo: atApex, ttl: z.ttl})
	if atApex {
		z.add("_explain."+cfg.Name, node{kind: explain, ttl: z.ttl})
	}
	server := cfg.Name // a zone without regions has no server to name
	if len(z.ns) > 0 {
		server = string(z.ns[0].data.(host))
	}
	z.soa = record{cfg.Name, z.ttl, soa{server, cfg.Hostmaster, z.ttl}}
	return z
}

// addRegions adds REGION and nsN of the regions that have addresses. They are
// there in any state: only routed names follow health.
func (z *zone) addRegions(world *steer.World) {
	list := slices.Clone(world.Regions())
	list = slices.DeleteFunc(list, func(r steer.Region) bool { return len(r.V4)+len(r.V6) == 0 })
	for _, r := range list {
		if name, ok := canonical(string(r.Name)); ok {
			z.add(name+z.Name, node{kind: region, region: &r, ttl: z.ttl})
		}
	}
	// A region called ns1 must not take the place of glue.
	for i, r := range list {
		ns := fmt.Sprintf("ns%d.%s", i+1, z.Name)
		z.add(ns, node{kind: region, region: &r, ttl: staticTTL})
		z.ns = append(z.ns, record{z.Name, staticTTL, host(ns)})
		for _, a := range slices.Concat(r.V4, r.V6) {
			z.glue = append(z.glue, record{ns, staticTTL, a})
		}
	}
}

// add puts a node at a name, and empty ones on the way down from the apex.
func (z *zone) add(name string, n node) {
	n.zone = z
	z.names[name] = &n
	for {
		_, up, _ := strings.Cut(name, ".")
		if len(up) <= len(z.Name) {
			return
		}
		if z.names[up] == nil {
			z.names[up] = &node{kind: empty, zone: z}
		}
		name = up
	}
}
