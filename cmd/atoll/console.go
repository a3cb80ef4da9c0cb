package main

import (
	"strings"
	"time"

	"github.com/atolledge/atoll/api"
	"github.com/atolledge/atoll/api/console"
	"github.com/atolledge/atoll/geodns"
	"github.com/atolledge/atoll/geodns/geo"
)

// newConsole makes the console of a node that sees sources; dev is nil outside
// of the dev world.
func newConsole(n api.Node, zones []geodns.Zone, sources func() []console.Source,
	dev func() console.Dev,
) (*console.Console, error) {
	return console.New(console.Config{
		Node: n, Sources: sources, Names: routed(zones), Dev: dev,
		Credit: geo.Attribution, CreditURL: "https://db-ip.com",
		Version: readVersion().Version, Now: time.Now,
	})
}

// openConsole makes the host's console and returns all that is mounted.
func (h *host) openConsole() (_ []api.Mount, err error) {
	sources := h.cfg.sources
	if sources == nil {
		sources = func() []console.Source { return []console.Source{h.source()} }
	}
	h.console, err = newConsole(h.node, h.cfg.zones, sources, h.cfg.dev)
	if err != nil {
		return nil, err
	}
	return append(h.cfg.mounts, h.console.Mount()), nil
}

// routed lists the names that DNS answers by place.
func routed(zones []geodns.Zone) (names []string) {
	for _, z := range zones {
		zone := strings.TrimSuffix(z.Name, ".")
		below := z.Geo
		if below == nil {
			below = []string{"www"}
		}
		for _, g := range below {
			if g == "@" {
				names = append(names, zone)
				continue
			}
			names = append(names, g+"."+zone)
		}
	}
	return names
}

// source lets a console look into a host.
func (h *host) source() console.Source {
	return console.Source{Node: h.node.Self(), View: h.node.Cluster, Metrics: h.metrics}
}

// sources are the living nodes of the world, and what the front has counted for
// the node that it passes to.
func (w *world) sources() (all []console.Source) {
	for _, h := range w.living() {
		all = append(all, h.source())
	}
	if len(all) > 0 && w.front.metrics != nil {
		all = append(all, console.Source{Node: passing{w}.Self(), Metrics: w.front.metrics})
	}
	return all
}

// truth is what the world does to its nodes and links.
func (w *world) truth() console.Dev {
	d := console.Dev{Nodes: []console.DevNode{}, Links: []console.DevLink{}}
	w.mu.Lock()
	for _, h := range w.hosts {
		d.Nodes = append(d.Nodes, console.DevNode{
			ID: h.id, Running: h.host != nil, URL: "http://" + h.addrs.http,
		})
	}
	w.mu.Unlock()
	for _, s := range w.sea.Links() {
		d.Links = append(d.Links, console.DevLink{
			From: s.From, To: s.To, RTTMS: ms(2 * s.OneWay), Cut: s.Cut, Slow: s.Slow,
		})
	}
	return d
}
