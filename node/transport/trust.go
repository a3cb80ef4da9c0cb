package transport

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/atolledge/atoll"
)

// trust is whom a node shows itself as and whom it believes. A handshake uses
// one trust from its begin to its end.
type trust struct {
	certificate tls.Certificate
	cas         *x509.CertPool
}

// tls is what both ends of a handshake have in common.
func (t *trust) tls() *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{t.certificate},
		NextProtos:             []string{alpn, alpnBulk},
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // a resumed session would skip the certificates
	}
}

// Renew replaces the certificate and the CAs for all handshakes that begin from
// now on; connections that stand go on. Errors are atoll.BadRequest: the
// certificate is not this node's, has expired, or is of none of the CAs. Then
// nothing has changed.
func (t *Transport) Renew(certificate tls.Certificate, cas *x509.CertPool) error {
	leaf, err := t.cfg.checkCertificate(certificate)
	if err != nil {
		return err
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		if _, err := verify(state, cas, use); err != nil {
			return atoll.Errorf(atoll.BadRequest, "peers would not believe the new certificate").
				Because(err).WithHint("the CA that issued it has to be among those of tls.ca")
		}
	}
	t.trust.Store(&trust{certificate, cas})
	return nil
}

// checkCertificate returns the leaf of a certificate that is the node's own and
// valid now.
func (c *Config) checkCertificate(certificate tls.Certificate) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "the node's certificate").Because(err)
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "the node's certificate").Because(err).
			WithHint("make one with: atoll ca issue")
	}
	if id.Cluster != c.Hello.Cluster.Name || id.Node != c.Hello.Node {
		return nil, atoll.Errorf(atoll.BadRequest,
			"the certificate is for node %s of cluster %s, this is %s of %s",
			id.Node, id.Cluster, c.Hello.Node, c.Hello.Cluster.Name)
	}
	if time.Now().After(leaf.NotAfter) {
		return nil, atoll.Errorf(atoll.BadRequest, "the node's certificate expired on %s",
			leaf.NotAfter.UTC().Format(time.DateOnly)).WithHint("make a new one with: atoll ca issue")
	}
	return leaf, nil
}
