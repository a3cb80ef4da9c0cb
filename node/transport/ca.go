package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/atolledge/atoll"
	"github.com/atolledge/atoll/replication/wire"
)

// Lifetimes of certificates. The hour before covers skewed clocks.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	NodeLifetime = 2 * 365 * 24 * time.Hour
	backdate     = time.Hour
)

// CA is the certificate authority of one cluster. Whoever holds its key can
// make nodes; a node itself needs the certificate only.
type CA struct {
	Cluster string
	Cert    *x509.Certificate
	key     crypto.Signer // nil when loaded without its key

	// others are believed beside Cert: while a CA is being replaced, nodes have
	// certificates of the one and of the other.
	others []*x509.Certificate
}

// Spec says what a node certificate is for.
type Spec struct {
	Node  atoll.NodeID
	Hosts []string      // IP addresses and DNS names under which HTTPS is served; may be empty
	For   time.Duration // lifetime; 0: NodeLifetime
}

// NewCA makes the authority of a new cluster, valid from now on. The name is a
// DNS label; errors are atoll.BadRequest.
func NewCA(cluster string, now time.Time) (*CA, error) {
	if !isLabel(cluster) {
		return nil, atoll.Errorf(atoll.BadRequest, "cluster name %q", cluster).
			WithHint("a cluster name is [a-z0-9] and, inside, \"-\"; at most 63 bytes")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "make the key of the CA").Because(err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Atoll CA of " + cluster},
		URIs:                  []*url.URL{{Scheme: scheme, Host: cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(CALifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{Cluster: cluster, Cert: cert, key: key}, nil
}

// Issue makes the certificate of one node: ECDSA P-256, for servers and clients,
// so that it serves peers and HTTPS alike. The result holds its own certificate
// only, not the CA's. Errors are atoll.BadRequest.
func (ca *CA) Issue(spec Spec, now time.Time) (tls.Certificate, error) {
	switch {
	case ca.key == nil:
		return tls.Certificate{}, atoll.Errorf(atoll.BadRequest, "the CA's key is not here").
			WithHint("issue certificates where " + CAKeyFile + " is kept")
	case !validNode(spec.Node):
		return tls.Certificate{}, atoll.Errorf(atoll.BadRequest, "node id %q", spec.Node).
			WithHint("a node id is REGION/NAME, both DNS labels: washington/1")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, atoll.Errorf(atoll.Internal, "make a node's key").Because(err)
	}
	leaf, err := sign(ca.template(spec, now), ca.Cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// template fills in what a node certificate says. It never outlives its CA.
func (ca *CA) template(spec Spec, now time.Time) *x509.Certificate {
	if spec.For == 0 {
		spec.For = NodeLifetime
	}
	until := now.Add(spec.For)
	if until.After(ca.Cert.NotAfter) {
		until = ca.Cert.NotAfter
	}
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: string(spec.Node)},
		URIs:        []*url.URL{nodeURI(ca.Cluster, spec.Node)},
		NotBefore:   now.Add(-backdate),
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range spec.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	return cert
}

// sign makes the certificate that template describes, with a random serial
// number of 127 bits.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (
	*x509.Certificate, error,
) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "draw a serial number").Because(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "sign the certificate of %q",
			template.Subject.CommonName).Because(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "the certificate of %q cannot be read back",
			template.Subject.CommonName).Because(err).
			WithHint("check the host names that it is to carry")
	}
	return cert, nil
}

// Pool returns the CA as the trust of a Config, with those that its file holds
// beside it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	for _, c := range ca.others {
		pool.AddCert(c)
	}
	return pool
}

// ID returns the cluster's name and fingerprint, as HELLO carries them: those of
// the first CA of its file, which names the cluster as long as it exists.
func (ca *CA) ID() wire.ClusterID {
	return wire.ClusterID{Name: ca.Cluster, CA: sha256.Sum256(ca.Cert.Raw)}
}

// PEM returns the CA's certificate.
func (ca *CA) PEM() []byte { return encode("CERTIFICATE", ca.Cert.Raw) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
