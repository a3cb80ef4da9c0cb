package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/api"
)

//go:embed static
var static embed.FS

// types are the media types of the page's files; others are not served.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one file of the page.
type file struct {
	body []byte
	kind string
	etag string
}

// load reads the page's files out of the binary. The page itself is "".
func load() (map[string]file, error) {
	entries, err := static.ReadDir("static")
	if err != nil {
		return nil, err
	}
	files := make(map[string]file)
	for _, e := range entries {
		kind, known := types[path.Ext(e.Name())]
		if !known {
			continue
		}
		body, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		files[e.Name()] = file{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	files[""] = files["index.html"]
	return files, nil
}

// serveFile answers with a file. A browser asks each time whether it is still
// the one it has: after an upgrade no page is made of two versions.
func (c *Console) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	f, ok := c.files[name]
	if !ok {
		api.Refuse(w, r, atoll.Errorf(atoll.NotFound, "the console has no file %q", name).
			WithHint("the console is at "+Prefix))
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", c.policy(r))
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// policy is the page's Content-Security-Policy: nothing from elsewhere. The one
// exception is a question to the other regions, whether they answer, when the
// page has lost its own; their answers stay unreadable to it.
func (c *Console) policy(r *http.Request) string {
	connect := append([]string{"'self'"}, c.elsewhere(r)...)
	return strings.Join([]string{
		"default-src 'self'",
		"connect-src " + strings.Join(connect, " "),
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "object-src 'none'",
	}, "; ")
}

// maxElsewhere is how many origins a policy names: more is a header that
// proxies refuse.
const maxElsewhere = 64

// elsewhere returns the origins of other nodes: as the dev world says, else by
// their public addresses, with the scheme and the port of this request.
func (c *Console) elsewhere(r *http.Request) (origins []string) {
	if c.cfg.Dev != nil {
		for _, n := range c.cfg.Dev().Nodes {
			origins = append(origins, n.URL)
		}
		return origins[:min(len(origins), maxElsewhere)]
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	_, port, _ := net.SplitHostPort(r.Host)
	for _, region := range c.cfg.Node.Cluster().Regions {
		for _, a := range region.Addresses {
			if o, ok := origin(scheme, a, port); ok && !slices.Contains(origins, o) {
				origins = append(origins, o)
			}
		}
	}
	return origins[:min(len(origins), maxElsewhere)]
}

// origin is false for what is no address: a policy is no place for the words of
// others. A policy cannot name IPv6 addresses (CSP 3, section 2.3.1).
func origin(scheme, addr, port string) (string, bool) {
	ip, err := netip.ParseAddr(addr)
	if err != nil || !ip.Is4() || strings.Trim(port, "0123456789") != "" {
		return "", false
	}
	if port == "" {
		return scheme + ip.String(), true
	}
	return scheme + net.JoinHostPort(ip.String(), port), true
}
