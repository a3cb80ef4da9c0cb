package transport

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atolledge/atoll"
)

// The files of a CA inside its directory.
const (
	CAFile    = "ca.pem"
	CAKeyFile = "ca-key.pem"
)

// maxPEM bounds what is read as a certificate or key, in bytes.
const maxPEM = 1 << 20

// Save writes ca.pem and ca-key.pem (mode 0600) to dir and makes dir if needed.
// It never replaces a file: a lost CA key cannot be made again. Errors are
// atoll.BadRequest.
func (ca *CA) Save(dir string) error {
	if ca.key == nil {
		return atoll.Errorf(atoll.BadRequest, "the CA's key is not here")
	}
	key, err := keyPEM(ca.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return atoll.Errorf(atoll.BadRequest, "make the folder %s", dir).Because(err)
	}
	if err := create(filepath.Join(dir, CAKeyFile), key, 0o600); err != nil {
		return err
	}
	return create(filepath.Join(dir, CAFile), ca.PEM(), 0o644)
}

// LoadCA reads a CA with its key from dir, to issue certificates.
func LoadCA(dir string) (*CA, error) {
	ca, err := LoadTrust(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, CAKeyFile)
	key, err := readKey(path)
	if err != nil {
		return nil, err
	}
	if pub, ok := ca.Cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok ||
		!pub.Equal(key.Public()) {
		return nil, atoll.Errorf(atoll.BadRequest, "%s is not the key of %s", path, CAFile)
	}
	ca.key = key
	return ca, nil
}

// LoadTrust reads a CA without its key from a PEM file: all that a node needs.
// Certificates behind the first are other CAs of the same cluster, to be
// believed as well.
func LoadTrust(path string) (*CA, error) {
	blocks, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	ca := new(CA)
	for _, der := range blocks {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, atoll.Errorf(atoll.BadRequest, "%s is not a certificate", path).Because(err)
		}
		cluster, ok := clusterOf(cert)
		switch {
		case !ok:
			return nil, atoll.Errorf(atoll.BadRequest, "%s is not the certificate of an Atoll CA", path).
				WithHint("make one with: atoll ca init")
		case ca.Cert == nil:
			ca.Cluster, ca.Cert = cluster, cert
		case cluster != ca.Cluster:
			return nil, atoll.Errorf(atoll.BadRequest, "%s holds CAs of the clusters %s and %s", path,
				ca.Cluster, cluster).WithHint("all CAs of one file are of one cluster")
		default:
			ca.others = append(ca.others, cert)
		}
	}
	return ca, nil
}

// clusterOf returns the name in the certificate of a CA.
func clusterOf(cert *x509.Certificate) (string, bool) {
	for _, u := range cert.URIs {
		if cert.IsCA && u.Scheme == scheme && isLabel(u.Host) && u.Path == "" {
			return u.Host, true
		}
	}
	return "", false
}

// SaveCertificate writes a node's certificate and key (mode 0600). It never
// replaces a file. Errors are atoll.BadRequest.
func SaveCertificate(certPath, keyPath string, cert tls.Certificate) error {
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok || len(cert.Certificate) == 0 {
		return atoll.Errorf(atoll.Internal, "a certificate without its key")
	}
	key, err := keyPEM(signer)
	if err != nil {
		return err
	}
	if err := create(keyPath, key, 0o600); err != nil {
		return err
	}
	return create(certPath, encode("CERTIFICATE", cert.Certificate[0]), 0o644)
}

// LoadCertificate reads what SaveCertificate wrote. Errors are atoll.BadRequest.
func LoadCertificate(certPath, keyPath string) (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return tls.Certificate{}, atoll.Errorf(atoll.BadRequest,
			"load the certificate %s with the key %s", certPath, keyPath).Because(err).
			WithHint("make both with: atoll ca issue")
	}
	return cert, nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "encode a private key").Because(err)
	}
	return encode("PRIVATE KEY", der), nil
}

func readKey(path string) (crypto.Signer, error) {
	blocks, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[0])
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "%s is not a private key", path).Because(err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, atoll.Errorf(atoll.BadRequest, "%s holds a key that cannot sign", path)
	}
	return signer, nil
}

// readPEM returns the bytes of the blocks in a file, at least one, which must all
// be of the given kind.
func readPEM(path, kind string) (blocks [][]byte, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, atoll.Errorf(atoll.BadRequest, "%s does not exist", path).
			WithHint("make a CA with atoll ca init, node certificates with atoll ca issue")
	case err == nil && info.Size() > maxPEM:
		return nil, atoll.Errorf(atoll.BadRequest, "%s is too large for a PEM file", path).
			WithLimit("PEM bytes", maxPEM)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "read %s", path).Because(err)
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil && len(blocks) > 0 {
			return blocks, nil
		}
		if block == nil || block.Type != kind {
			return nil, atoll.Errorf(atoll.BadRequest, "%s holds no PEM block %q", path, kind)
		}
		blocks, text = append(blocks, block.Bytes), rest
	}
}

// create writes a file that must not exist yet.
func create(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return atoll.Errorf(atoll.BadRequest, "%s exists and is not replaced", path).
			WithHint("name another folder, or move the file away")
	}
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return atoll.Errorf(atoll.BadRequest, "write %s", path).Because(err)
	}
	return nil
}
