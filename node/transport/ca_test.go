package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolledge/atoll"
)

func TestIssuedCertificatesServePeersAndHTTPS(t *testing.T) {
	sea := newSea(t)
	cert, err := sea.ca.Issue(Spec{
		Node: "tokyo/1", Hosts: []string{"127.0.3.1", "::1", "tokyo.example.net"},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := cert.PrivateKey.(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("key %T", cert.PrivateKey)
	}
	for _, host := range []string{"127.0.3.1", "::1", "tokyo.example.net"} {
		if err := cert.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}
		id, err := verify(state, sea.ca.Pool(), use)
		if err != nil || id != (Identity{"stars", "tokyo/1"}) {
			t.Errorf("%+v, %v", id, err)
		}
		if _, err := verify(state, newSea(t).ca.Pool(), use); err == nil {
			t.Error("another CA vouches for it")
		}
	}
	if life := time.Until(cert.Leaf.NotAfter); life > NodeLifetime || life < NodeLifetime-time.Hour {
		t.Errorf("valid for %v", life)
	}
	long, err := sea.ca.Issue(Spec{Node: "tokyo/1", For: 2 * CALifetime}, time.Now())
	if err != nil || long.Leaf.NotAfter.After(sea.ca.Cert.NotAfter) {
		t.Errorf("outlives its CA: %v", err)
	}
}

func TestCARefuses(t *testing.T) {
	for _, name := range []string{"", "Stars", "a.b", "-a", "a-", strings.Repeat("a", 64), "ä"} {
		if _, err := NewCA(name, time.Now()); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("cluster %q: %v", name, err)
		}
	}
	ca := newSea(t).ca
	for _, node := range []atoll.NodeID{
		"", "tokyo", "tokyo/", "/1", "tokyo/1/2", "Tokyo/1", "to kyo/1",
	} {
		if _, err := ca.Issue(Spec{Node: node}, time.Now()); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("node %q: %v", node, err)
		}
	}
	keyless := &CA{Cluster: ca.Cluster, Cert: ca.Cert}
	_, err := keyless.Issue(Spec{Node: "tokyo/1"}, time.Now())
	if atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("without a key: %v", err)
	}
	if err := keyless.Save(t.TempDir()); atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("saved without a key: %v", err)
	}
}

func TestFilesReadBackAndAreNeverReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca := newSea(t).ca
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := LoadCA(dir)
	if err != nil || again.Cluster != "stars" || again.ID() != ca.ID() {
		t.Fatalf("%+v, %v", again, err)
	}
	cert, err := again.Issue(Spec{Node: "tokyo/1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPath, keyPath := filepath.Join(dir, "node.pem"), filepath.Join(dir, "node-key.pem")
	if err := SaveCertificate(certPath, keyPath, cert); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadCertificate(certPath, keyPath)
	if err != nil {
		t.Fatal(err)
	}
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{loaded.Leaf}}
	if _, err := verify(state, ca.Pool(), x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	for path, mode := range map[string]fs.FileMode{
		filepath.Join(dir, CAKeyFile): 0o600, keyPath: 0o600, certPath: 0o644,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if err := ca.Save(dir); atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("replaced a CA: %v", err)
	}
	if err := SaveCertificate(certPath, keyPath, cert); atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("replaced a key: %v", err)
	}
}

func TestLoadingRefuses(t *testing.T) {
	sea, other := newSea(t), newSea(t)
	good := t.TempDir()
	if err := sea.ca.Save(good); err != nil {
		t.Fatal(err)
	}
	key, _ := keyPEM(other.ca.key)
	leaf := sea.issue("tokyo/1")
	for name, files := range map[string]map[string][]byte{
		"no files":           {},
		"no key":             {CAFile: sea.ca.PEM()},
		"another key":        {CAFile: sea.ca.PEM(), CAKeyFile: key},
		"a node certificate": {CAFile: encode("CERTIFICATE", leaf.Certificate[0]), CAKeyFile: key},
		"no PEM":             {CAFile: []byte("junk"), CAKeyFile: key},
		"another block":      {CAFile: key, CAKeyFile: key},
		"no certificate":     {CAFile: encode("CERTIFICATE", []byte("junk")), CAKeyFile: key},
		"junk key":           {CAFile: sea.ca.PEM(), CAKeyFile: encode("PRIVATE KEY", []byte("junk"))},
		"too large":          {CAFile: make([]byte, maxPEM+1), CAKeyFile: key},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := LoadCA(dir); atoll.KindOf(err) != atoll.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if trust, err := LoadTrust(filepath.Join(good, CAFile)); err != nil || trust.ID() != sea.ca.ID() {
		t.Errorf("trust: %v", err)
	}
	_, err := LoadCertificate("absent.pem", "absent-key.pem")
	if atoll.KindOf(err) != atoll.BadRequest {
		t.Errorf("absent certificate: %v", err)
	}
}

func TestIdentityIsOneExactURI(t *testing.T) {
	for _, c := range []struct {
		uris []string
		want Identity
	}{
		{[]string{"atoll://stars/tokyo/1"}, Identity{"stars", "tokyo/1"}},
		{[]string{"spiffe://x/y", "atoll://stars/tokyo/1"}, Identity{"stars", "tokyo/1"}},
		{nil, Identity{}},
		{[]string{"spiffe://x/y"}, Identity{}},
		{[]string{"atoll://stars/tokyo/1", "atoll://stars/tokyo/2"}, Identity{}},
		{[]string{"atoll://stars"}, Identity{}},
		{[]string{"atoll://stars/tokyo"}, Identity{}},
		{[]string{"atoll://stars/tokyo/1/2"}, Identity{}},
		{[]string{"atoll://stars//tokyo/1"}, Identity{}},
		{[]string{"atoll://stars:99/tokyo/1"}, Identity{}},
		{[]string{"atoll://me@stars/tokyo/1"}, Identity{}},
		{[]string{"atoll://stars/tokyo/1?x=y"}, Identity{}},
		{[]string{"atoll://stars/tokyo/1#x"}, Identity{}},
		{[]string{"atoll://stars/tok%79o/1"}, Identity{}},
		{[]string{"atoll:stars/tokyo/1"}, Identity{}},
	} {
		cert := &x509.Certificate{}
		for _, s := range c.uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		if got, err := IdentityOf(cert); got != c.want || (err == nil) != (c.want != Identity{}) {
			t.Errorf("%v: %+v, %v", c.uris, got, err)
		}
	}
}

// Whatever a certificate carries: an identity is accepted in one spelling only.
func FuzzIdentity(f *testing.F) {
	f.Add("atoll://stars/tokyo/1")
	f.Add("atoll://stars/tok%79o/1")
	f.Add("atoll://a@b:1/c/d?e#f")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}})
		if err == nil && u.String() != "atoll://"+id.Cluster+"/"+string(id.Node) {
			t.Fatalf("%q is taken for %+v", s, id)
		}
	})
}

func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	var r refusals
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		key  string
		at   time.Duration
		want bool
	}{
		{"a", 0, true}, {"a", 59 * time.Second, false}, {"b", 59 * time.Second, true},
		{"a", 60 * time.Second, true}, {"a", 61 * time.Second, false},
	} {
		if got := r.due(c.key, start.Add(c.at)); got != c.want {
			t.Errorf("%s after %v: %v", c.key, c.at, got)
		}
	}
	late := start.Add(time.Hour)
	for n := range 2 * maxNotices {
		r.due("key "+string(rune(n)), late)
	}
	if len(r.notice) != maxNotices || r.due("one more", late) {
		t.Errorf("remembers %d", len(r.notice))
	}
	if !r.due("one more", late.Add(time.Hour)) || len(r.notice) != 1 {
		t.Errorf("does not forget: %d", len(r.notice))
	}
}
