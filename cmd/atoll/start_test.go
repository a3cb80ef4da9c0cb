package main

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/atolledge/atoll"
)

// startHost runs the host that a configuration describes, until it is up.
func startHost(t *testing.T, c config, log *slog.Logger) *host {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	hc, err := hostOf(c, log)
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHost(hc)
	if err != nil {
		t.Fatal(err)
	}
	h.run()
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "its region is up", func() bool {
		regions := h.node.Cluster().Regions
		return len(h.node.Ready()) == 0 && len(regions) == 1 && regions[0].State == atoll.StateUp
	})
	return h
}

// localConfig is the default configuration on ports that are free, with its data
// in a temporary directory.
func localConfig(t *testing.T) config {
	c := defaultConfig()
	c.Data = t.TempDir()
	c.Listen = listenConfig{HTTP: "127.0.0.1:0", DNS: freeAddr(t), Peer: freeAddr(t)}
	return c
}

// TestPublicAddresses: DNS answers with all addresses of the node that the
// configuration names, each in its usual form, else with that of advertise.
func TestPublicAddresses(t *testing.T) {
	for _, tt := range []struct {
		addresses []string
		v4, v6    []string
	}{
		{nil, []string{"127.0.0.1"}, nil},
		{
			[]string{"192.0.2.2", "::ffff:192.0.2.1", "2001:DB8::1", "2001:db8::2"},
			[]string{"192.0.2.1", "192.0.2.2"}, []string{"2001:db8::1", "2001:db8::2"},
		},
	} {
		c := localConfig(t)
		c.Region.Addresses = tt.addresses
		c.DNS.Zones = []zoneConfig{{Name: "atoll.test"}}
		h := startHost(t, c, slog.New(slog.DiscardHandler))
		h.dns.Refresh()
		for typ, want := range map[uint16][]string{dns.TypeA: tt.v4, dns.TypeAAAA: tt.v6} {
			q := new(dns.Msg)
			q.SetQuestion("www.atoll.test.", typ)
			r, err := dns.Exchange(q, h.dnsUDP.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rr := range r.Answer {
				switch rr := rr.(type) {
				case *dns.A:
					got = append(got, rr.A.String())
				case *dns.AAAA:
					got = append(got, rr.AAAA.String())
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%v, %s: got %v, want %v", tt.addresses, dns.TypeToString[typ], got, want)
			}
		}
	}
}
