package transport

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

// together writes the certificates of several CAs to one file and reads it back.
func together(t *testing.T, cas ...*CA) (*CA, error) {
	t.Helper()
	var text []byte
	for _, ca := range cas {
		text = append(text, ca.PEM()...)
	}
	path := filepath.Join(t.TempDir(), CAFile)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadTrust(path)
}

// shown returns the certificate that i shows to one who dials it now.
func shown(t *testing.T, i *island, own tls.Certificate) *x509.Certificate {
	t.Helper()
	st, err := visit(t, i, &own)
	if err != nil {
		t.Fatal(err)
	}
	return st.ConnectionState().TLS.PeerCertificates[0]
}

// TestRenew replaces a CA while nodes run: all believe both, then certificates of
// the new one come. Who stands goes on; who comes sees the new certificate.
func TestRenew(t *testing.T) {
	sea, next := newSea(t), newSea(t)
	w, f := sea.start("washington/1"), sea.start("frankfurt/1")
	w.meets(f)
	both, err := together(t, sea.ca, next.ca)
	if err != nil || both.ID() != sea.ca.ID() {
		t.Fatalf("both CAs: %v", err)
	}
	visitor := sea.issue("guest/1")
	before := shown(t, w, visitor)
	for _, i := range []*island{w, f} {
		if err := i.Renew(i.cfg.Certificate, both.Pool()); err != nil {
			t.Fatal(err)
		}
	}
	renewed := next.issue("washington/1")
	if err := w.Renew(renewed, both.Pool()); err != nil {
		t.Fatal(err)
	}
	after := shown(t, w, visitor)
	if after.Equal(before) || !after.Equal(renewed.Leaf) {
		t.Errorf("a new connection is shown %s, before %s", after.SerialNumber, before.SerialNumber)
	}
	if !w.Send("frankfurt/1", Control, 9, []byte("still")) {
		t.Error("not queued")
	}
	f.awaits("washington/1 frame 9 still")
	if f.heard("down washington/1") {
		t.Error("the connection that stood was closed")
	}
	// Both directions of a new connection: w dials with the new certificate one who
	// believes it, and is refused by one who does not.
	tokyo := sea.start("tokyo/1", func(c *Config, _ *island) { c.CAs = both.Pool() })
	w.meets(tokyo)
	strict := sea.start("tokyo/2")
	if err := w.Connect(strict.addr); err != nil {
		t.Fatal(err)
	}
	strict.awaitRefusal(reasonCertificate)
}

// TestRenewRefuses what peers would refuse, and goes on with what it had.
func TestRenewRefuses(t *testing.T) {
	sea, sand := newSea(t), newSea(t)
	w := sea.start("washington/1")
	visitor := sea.issue("guest/1")
	before := shown(t, w, visitor)
	expired, err := sea.ca.Issue(Spec{Node: "washington/1", For: time.Minute},
		time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]tls.Certificate{
		"another CA":   sand.issue("washington/1"),
		"another node": sea.issue("tokyo/1"),
		"expired":      expired,
		"junk":         {Certificate: [][]byte{[]byte("junk")}},
	} {
		if err := w.Renew(cert, sea.ca.Pool()); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !shown(t, w, visitor).Equal(before) {
		t.Error("a certificate that was refused is shown")
	}
	other, err := NewCA("sand", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := together(t, sea.ca, other); atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("CAs of two clusters in one file: %v", err)
	}
}
