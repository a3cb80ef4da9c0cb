package transport

import (
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/atolledge/atoll"
)

// plain is a socket without buffer sizes of its own. QUIC would otherwise print
// to the process's log that it cannot set them.
type plain struct{ net.PacketConn }

// SetReadBuffer does nothing: the socket under the PacketConn is its maker's.
func (plain) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing, like SetReadBuffer.
func (plain) SetWriteBuffer(int) error { return nil }

// buffered returns c as it is if it knows buffer sizes.
func buffered(c net.PacketConn) net.PacketConn {
	if _, ok := c.(interface{ SetReadBuffer(int) error }); ok {
		return c
	}
	return plain{c}
}

// resetKey derives the key of stateless resets (RFC 9000 10.3) from the node's
// private key: a node that comes back after a crash can tell its peers at once
// that their connections are gone.
func resetKey(cert tls.Certificate) (*quic.StatelessResetKey, error) {
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, atoll.Errorf(atoll.BadRequest, "the node's certificate has no private key")
	}
	secret, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, atoll.Errorf(atoll.BadRequest, "the node's private key").Because(err)
	}
	var key quic.StatelessResetKey
	b, err := hkdf.Key(sha256.New, secret, nil, "atoll stateless reset", len(key))
	if err != nil {
		return nil, atoll.Errorf(atoll.Internal, "derive the reset key").Because(err)
	}
	copy(key[:], b)
	return &key, nil
}
