package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/atolledge/atoll"
)

// scheme is that of the URI in a certificate that names a node:
// atoll://CLUSTER/REGION/NAME.
const scheme = "atoll"

// errCertificate is the cause of every refusal for a peer's certificate.
var errCertificate = errors.New("certificate")

// Identity is whom a certificate names.
type Identity struct {
	Cluster string
	Node    atoll.NodeID
}

// IdentityOf reads the identity from a certificate's one atoll URI. It checks
// no signature.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	var found *url.URL
	for _, u := range cert.URIs {
		if u.Scheme != scheme {
			continue
		}
		if found != nil {
			return Identity{}, fmt.Errorf("%w: more than one %s URI", errCertificate, scheme)
		}
		found = u
	}
	if found == nil {
		return Identity{}, fmt.Errorf("%w: no %s URI", errCertificate, scheme)
	}
	id := Identity{found.Host, atoll.NodeID(strings.TrimPrefix(found.Path, "/"))}
	if !isLabel(id.Cluster) || !validNode(id.Node) ||
		found.String() != nodeURI(id.Cluster, id.Node).String() {
		return Identity{}, fmt.Errorf("%w: URI %q", errCertificate, found)
	}
	return id, nil
}

func nodeURI(cluster string, node atoll.NodeID) *url.URL {
	return &url.URL{Scheme: scheme, Host: cluster, Path: "/" + string(node)}
}

// validNode reports whether n is REGION/NAME of two DNS labels.
func validNode(n atoll.NodeID) bool {
	region, name, ok := strings.Cut(string(n), "/")
	return ok && isLabel(region) && isLabel(name)
}

// isLabel reports whether s is a DNS label in lower case (RFC 1035, with the
// digits of RFC 1123).
func isLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		inner := i > 0 && i < len(s)-1
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' && inner) {
			return false
		}
	}
	return len(s) > 0 && len(s) <= atoll.MaxRegion
}

// verify checks a peer's chain against cas for the given use and returns whom
// it names. Host names play no part: a node is its URI, wherever it listens.
func verify(
	state tls.ConnectionState, cas *x509.CertPool, use x509.ExtKeyUsage,
) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, fmt.Errorf("%w: none", errCertificate)
	}
	others := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		others.AddCert(c)
	}
	leaf := state.PeerCertificates[0]
	opts := x509.VerifyOptions{
		Roots: cas, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{use},
	}
	if _, err := leaf.Verify(opts); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", errCertificate, err)
	}
	return IdentityOf(leaf)
}
