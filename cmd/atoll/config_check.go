package main

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api/guard"
	"github.com/atolledge/atoll/cache"
	"github.com/atolledge/atoll/node/otlp"
)

// check says what in c cannot be, and what to set instead. It looks at c only:
// files and ports are looked at when they are opened.
func (c *config) check() error {
	for _, f := range []func(*config) *atoll.Error{
		checkNames, checkListen, checkTLS, checkExposure, checkJoin, checkAPI, checkMedia, checkRest,
		checkZones, checkTraces,
	} {
		if err := f(c); err != nil {
			return misused(err)
		}
	}
	return nil
}

// wrong is an error about one key.
func wrong(key, format string, args ...any) *atoll.Error {
	return atoll.Errorf(atoll.BadRequest, key+" "+format, args...)
}

func checkNames(c *config) *atoll.Error {
	switch {
	case !isLabel(c.Name):
		return wrong("name", "%q is not a DNS label", c.Name).WithHint(labelHint)
	case !isLabel(c.Region.Name):
		return wrong("region.name", "%q is not a DNS label", c.Region.Name).WithHint(labelHint)
	case !(c.Region.Lat >= -90 && c.Region.Lat <= 90):
		return wrong("region.lat", "%v is not within -90 and 90", c.Region.Lat)
	case !(c.Region.Lon >= -180 && c.Region.Lon <= 180):
		return wrong("region.lon", "%v is not within -180 and 180", c.Region.Lon)
	case c.Limits.Lapse < duration(minLapse):
		return wrong("limits.lapse", "%s is less than %s", time.Duration(c.Limits.Lapse), minLapse).
			WithHint("who comes back after it costs a copy of everything")
	case c.Data == "":
		return wrong("data", "is empty").WithHint("name the data directory")
	}
	return checkAddresses(c.Region.Addresses)
}

// minLapse keeps a restart from looking like an absence.
const minLapse = time.Minute

// maxAddresses bounds the addresses of one node: more than a few fill DNS
// answers, and the roster carries them.
const maxAddresses = 8

func checkAddresses(addresses []string) *atoll.Error {
	const key = "region.addresses"
	if len(addresses) > maxAddresses {
		return wrong(key, "has %d entries", len(addresses)).WithLimit("addresses", maxAddresses).
			WithHint("a node has its own addresses only; other nodes of the region name theirs")
	}
	seen := map[netip.Addr]bool{}
	for _, a := range addresses {
		ip, err := netip.ParseAddr(a)
		ip = ip.Unmap()
		switch {
		case err != nil || ip.Zone() != "":
			return wrong(key, "%q is not an IP address", a).
				WithHint("DNS answers with addresses, such as 192.0.2.10 or 2001:db8::10")
		case ip.IsUnspecified() || ip.IsMulticast():
			return wrong(key, "%q is no address of a machine", a)
		case seen[ip]:
			return wrong(key, "%q is there twice", a)
		}
		seen[ip] = true
	}
	return nil
}

const labelHint = "use a-z, 0-9 and, inside, \"-\"; at most 63 bytes"

// isLabel reports whether s is a DNS label in lower case.
func isLabel(s string) bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}
	return s != "" && len(s) <= atoll.MaxRegion && !strings.ContainsFunc(s, odd) &&
		s[0] != '-' && s[len(s)-1] != '-'
}

// listeners are the addresses with their keys.
func (c *config) listeners() []struct{ key, addr string } {
	return []struct{ key, addr string }{
		{"listen.http", c.Listen.HTTP}, {"listen.https", c.Listen.HTTPS},
		{"listen.dns", c.Listen.DNS}, {"listen.peer", c.Listen.Peer},
	}
}

func checkListen(c *config) *atoll.Error {
	for _, l := range c.listeners() {
		if l.addr == "" {
			continue
		}
		if err := checkAddress(l.key, l.addr, true); err != nil {
			return err
		}
	}
	if c.Listen.Peer == "" {
		return wrong("listen.peer", "is empty").
			WithHint("a node has a peer address even when it is alone: 127.0.0.1:7950")
	}
	if c.Advertise != "" {
		return checkAddress("advertise", c.Advertise, false)
	}
	host, _, _ := net.SplitHostPort(c.Listen.Peer)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return wrong("advertise", "is empty, and listen.peer %s is no address to be reached at",
			c.Listen.Peer).WithHint("set advertise to the HOST:PORT that other nodes reach")
	}
	return nil
}

// checkAddress wants HOST:PORT; a listener may leave the host out, and may take
// port 0 for any.
func checkAddress(key, addr string, listener bool) *atoll.Error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return wrong(key, "%q is not HOST:PORT", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && !listener {
		return wrong(key, "%q: the port is not a number from 1 to 65535", addr)
	}
	if host == "" && !listener {
		return wrong(key, "%q has no host", addr)
	}
	return nil
}

func checkTLS(c *config) *atoll.Error {
	files := []struct{ key, path string }{
		{"tls.ca", c.TLS.CA}, {"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key},
	}
	for _, f := range files {
		if c.secure() && f.path == "" {
			return wrong(f.key, "is missing").
				WithHint("set tls.ca, tls.cert and tls.key together; atoll ca issue makes them")
		}
	}
	if c.Listen.HTTPS != "" && !c.secure() {
		return wrong("listen.https", "%s needs a certificate", c.Listen.HTTPS).
			WithHint("set tls.ca, tls.cert and tls.key; atoll ca issue makes them")
	}
	return nil
}

// secure reports whether any TLS file is set; checkTLS sees to it that then all
// are.
func (c *config) secure() bool { return c.TLS != tlsConfig{} }

// checkExposure refuses to be reachable from other machines without TLS and a
// token. DNS is for everyone by its nature.
func checkExposure(c *config) *atoll.Error {
	for _, l := range c.listeners() {
		if l.addr == "" || l.key == "listen.dns" || loopback(l.addr) {
			continue
		}
		if !c.secure() {
			return wrong(l.key, "%s is open to other machines without TLS", l.addr).
				WithHint("set tls.ca, tls.cert and tls.key (atoll ca issue makes them), " +
					"or listen on 127.0.0.1")
		}
		if len(c.API.Tokens) == 0 {
			return wrong(l.key, "%s is open to other machines without a token", l.addr).
				WithHint("set api.tokens: [{name: me, role: operator, sha256: …}], " +
					"or listen on 127.0.0.1")
		}
	}
	return nil
}

// loopback reports whether a listener can only be reached from this machine.
func loopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func checkJoin(c *config) *atoll.Error {
	for _, peer := range c.Join {
		if err := checkAddress("join", peer, false); err != nil {
			return err
		}
	}
	if len(c.Join) > 0 && !c.secure() {
		return wrong("join", "needs tls: nodes trust each other by the cluster's CA").
			WithHint("set tls.ca, tls.cert and tls.key; atoll ca issue makes them")
	}
	return nil
}

func checkAPI(c *config) *atoll.Error {
	var tokens []guard.Token
	for _, t := range c.API.Tokens {
		tokens = append(tokens, guard.Token{Name: t.Name, SHA256: t.SHA256, Role: t.Role})
	}
	if _, err := guard.New(tokens); err != nil {
		return wrong("api.tokens:", "%s", detail(err)).WithHint(hint(err))
	}
	if _, err := guard.NewHosts(c.API.Hosts); err != nil {
		return wrong("api.hosts:", "%s", detail(err)).WithHint(hint(err))
	}
	return nil
}

func checkRest(c *config) *atoll.Error {
	choices := []struct {
		key, value string
		of         []string
	}{
		{"keyspaces.create", c.Keyspaces.Create, []string{"auto", "explicit"}},
		{"log.level", c.Log.Level, []string{"debug", "info", "warn", "error"}},
		{"log.format", c.Log.Format, []string{"text", "json"}},
	}
	for _, choice := range choices {
		if !slices.Contains(choice.of, choice.value) {
			return wrong(choice.key, "%q is none of %s", choice.value, strings.Join(choice.of, ", "))
		}
	}
	if len(c.Sites) > 0 {
		return wrong("sites", "are not part of this version").
			WithHint("remove them; the edge cache comes with a later one")
	}
	return nil
}

func checkMedia(c *config) *atoll.Error {
	const least = "16MiB at least: a part is 1 MiB, and one must not push out all others"
	switch {
	case c.Media.Memory < cache.MinMemory:
		return wrong("media.memory", "is %d bytes", c.Media.Memory).WithHint(least)
	case c.Media.Cached < cache.MinMemory:
		return wrong("media.cached", "is %d bytes", c.Media.Cached).WithHint(least)
	case c.Media.Sweep <= 0:
		return wrong("media.sweep", "is no time between two sweeps").WithHint("5m is usual")
	case c.Media.Grace <= 0:
		return wrong("media.grace", "is no time").WithHint("1h is usual")
	}
	return nil
}

func checkZones(c *config) *atoll.Error {
	seen := map[string]bool{}
	for _, z := range c.DNS.Zones {
		name := strings.TrimSuffix(z.Name, ".")
		for _, label := range strings.Split(name, ".") {
			if !isLabel(label) || len(name) > 253 || seen[name] {
				return wrong("dns.zones", "%q is no zone name, or is there twice", z.Name)
			}
		}
		for _, label := range z.Names {
			if !isLabel(label) {
				return wrong("dns.zones", "%s: names %q is not a DNS label", z.Name, label)
			}
		}
		seen[name] = true
	}
	return nil
}

func checkTraces(c *config) *atoll.Error {
	switch _, err := c.Traces.url(); {
	case c.Traces.Endpoint != "" && err != nil:
		return wrong("traces.endpoint", "%q is not the URL of a collector", c.Traces.Endpoint).
			WithHint("use http://HOST:PORT or https://HOST:PORT, with a path if it has another than " +
				otlp.DefaultPath + "; headers come from OTEL_EXPORTER_OTLP_HEADERS")
	case !(c.Traces.Sample >= 0 && c.Traces.Sample <= 1):
		return wrong("traces.sample", "%v is not within 0 and 1", c.Traces.Sample)
	case c.Traces.Sample > 0 && c.Traces.Endpoint == "":
		return wrong("traces.sample", "%v of the requests would go nowhere", c.Traces.Sample).
			WithHint("set traces.endpoint")
	}
	return nil
}

// errURL says that a URL is none that a collector has.
var errURL = errors.New("no http or https URL of a host and a path")

// url returns the endpoint with its path.
func (c tracesConfig) url() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return nil, errURL
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = otlp.DefaultPath
	}
	return u, nil
}
