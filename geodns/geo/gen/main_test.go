package main

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/atolledge/atoll/geodns/geo"
)

// database writes an mmdb of prefix -> country code.
func database(t *testing.T, codes map[string]string) string {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "atoll-test", RecordSize: 24, BuildEpoch: 1780345976,
		IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, code := range codes {
		_, n, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		r := mmdbtype.Map{"country_code": mmdbtype.String(code)}
		if err := w.Insert(n, r); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "in.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := w.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGenerate(t *testing.T) {
	in := database(t, map[string]string{
		"1.0.0.0/8": "JP", "2.0.0.0/8": "DE", "2a00::/16": "DE", "2a01::/65": "JP", "2a01:0:0:0:8000::/65": "US",
	})
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for _, out := range []string{one, two} {
		if err := generate(out, []string{in}); err != nil {
			t.Fatal(err)
		}
	}
	a, err1 := os.ReadFile(one)
	b, err2 := os.ReadFile(two)
	if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Fatalf("two runs differ: %v %v", err1, err2)
	}
	table, err := geo.Decode(a)
	if err != nil {
		t.Fatal(err)
	}
	if table.Made != "2026-06-01" || table.Attribution != geo.Attribution {
		t.Errorf("made %q, by %q", table.Made, table.Attribution)
	}
	for addr, want := range map[string]string{
		"1.2.3.4": "JP", "2.2.3.4": "DE", "3.2.3.4": "", "2a00::1": "DE", "2a01::1": "JP", "2a01:0:0:1::": "",
	} {
		if p, _ := table.Lookup(netip.MustParseAddr(addr)); p.Country != want {
			t.Errorf("%s is in %q, want %q", addr, p.Country, want)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for name, in := range map[string][]string{
		"nothing to read":    nil,
		"a missing file":     {out + ".mmdb"},
		"an unknown country": {database(t, map[string]string{"1.0.0.0/8": "QQ"})},
	} {
		if err := generate(out, in); err == nil {
			t.Errorf("%s is taken", name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file is written", name)
		}
	}
}
