package guard

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/atolledge/atoll"
)

// MaxHost is the longest host name in bytes (RFC 1035, section 2.3.4).
const MaxHost = 253

// Hosts is the set of names that requests may be for. An entry "*.zone" stands
// for every name one label below the zone. IP literals and "localhost" are
// always in the set. A page on the internet can point a name of its own at a
// loopback address (DNS rebinding), but cannot send one of these.
type Hosts struct {
	names []string // lower case, without a final dot
}

// NewHosts checks configured names.
func NewHosts(names []string) (Hosts, error) {
	var h Hosts
	for _, n := range names {
		name := canonical(n)
		if bare := strings.TrimPrefix(name, "*."); !isName(bare) {
			return Hosts{}, atoll.Errorf(atoll.BadRequest, "host name %q", n).
				WithHint("use a DNS name, or *.zone for the names one label below a zone")
		}
		h.names = append(h.names, name)
	}
	return h, nil
}

// Allow reports whether a Host header, with or without a port, names this
// service.
func (h Hosts) Allow(hostport string) bool {
	host, ok := splitPort(hostport)
	if !ok || len(host) > MaxHost+1 {
		return false
	}
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6()
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Is4()
	}
	name := canonical(host)
	_, zone, _ := strings.Cut(name, ".")
	return name == "localhost" || isName(name) &&
		(slices.Contains(h.names, name) || slices.Contains(h.names, "*."+zone))
}

// splitPort cuts ":port" off; an IPv6 literal stays in its brackets.
func splitPort(s string) (host string, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || colon < strings.LastIndexByte(s, ']') {
		return s, strings.HasPrefix(s, "[") == strings.HasSuffix(s, "]")
	}
	host = s[:colon]
	_, err := strconv.ParseUint(s[colon+1:], 10, 16)
	return host, err == nil && strings.HasPrefix(host, "[") == strings.HasSuffix(host, "]")
}

func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// isName reports whether s, in lower case, is labels of letters, digits, "-"
// and "_" between dots.
func isName(s string) bool {
	if s == "" || len(s) > MaxHost {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
