package geo

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// database writes an mmdb of the given records and opens it.
func database(t *testing.T, ipv int, records map[string]mmdbtype.Map) *MMDB {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "atoll-test", IPVersion: ipv, RecordSize: 24,
		IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, r := range records {
		_, n, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Insert(n, r); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "test.mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := w.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	db, err := OpenMMDB(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func maxmind(code string, lat, lon float64) mmdbtype.Map {
	return mmdbtype.Map{
		"country":  mmdbtype.Map{"iso_code": mmdbtype.String(code)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)},
	}
}

func flat(code string, lat, lon float32) mmdbtype.Map {
	return mmdbtype.Map{
		"country_code": mmdbtype.String(code),
		"latitude":     mmdbtype.Float32(lat), "longitude": mmdbtype.Float32(lon),
	}
}

func TestMMDB(t *testing.T) {
	db := database(t, 6, map[string]mmdbtype.Map{
		"1.0.0.0/8":     maxmind("JP", 43.1, 141.3),
		"2.0.0.0/8":     flat("DE", 52.5, 13.5),
		"3.0.0.0/8":     {"country": mmdbtype.Map{"iso_code": mmdbtype.String("JP")}},
		"4.0.0.0/8":     {"country_code": mmdbtype.String("DE")},
		"5.0.0.0/8":     {"country_code": mmdbtype.String("QQ")},
		"6.0.0.0/8":     maxmind("JP", 143.1, 141.3),
		"7.0.0.0/8":     {"country": mmdbtype.Uint32(7)},
		"2a00::/16":     maxmind("DE", 48.1, 11.6),
		"2a01:db8::/32": flat("JP", 43, 141),
	})
	for _, c := range []struct {
		addr string
		want Place
	}{
		{"1.2.3.4", Place{"JP", 43.1, 141.3, netip.MustParsePrefix("1.0.0.0/8")}},
		{"2.2.3.4", Place{"DE", 52.5, 13.5, netip.MustParsePrefix("2.0.0.0/8")}},
		{"3.2.3.4", Place{"JP", japan.Lat, japan.Lon, netip.MustParsePrefix("3.0.0.0/8")}},
		{"4.2.3.4", Place{"DE", germany.Lat, germany.Lon, netip.MustParsePrefix("4.0.0.0/8")}},
		{"5.2.3.4", Place{Range: netip.MustParsePrefix("5.0.0.0/8")}},
		{"6.2.3.4", Place{Range: netip.MustParsePrefix("6.0.0.0/8")}},
		{"7.2.3.4", Place{Range: netip.MustParsePrefix("7.0.0.0/8")}},
		{"128.0.0.1", Place{Range: netip.MustParsePrefix("128.0.0.0/1")}},
		{"2a00::1", Place{"DE", 48.1, 11.6, netip.MustParsePrefix("2a00::/16")}},
		{"2a01:db8::1%eth0", Place{"JP", 43, 141, netip.MustParsePrefix("2a01:db8::/32")}},
		{"8000::1", Place{Range: netip.MustParsePrefix("8000::/1")}},
	} {
		got, ok := db.Lookup(netip.MustParseAddr(c.addr))
		if got != c.want || ok != (c.want.Country != "") {
			t.Errorf("%s: %v %v, want %v", c.addr, got, ok, c.want)
		}
	}
	if got, ok := db.Lookup(netip.Addr{}); ok || got.Range.IsValid() {
		t.Errorf("the invalid address: %v", got)
	}
}

func TestMMDBOfIPv4AloneBelowAnOverlay(t *testing.T) {
	db := database(t, 4, map[string]mmdbtype.Map{"1.0.0.0/8": maxmind("JP", 43.1, 141.3)})
	o, err := NewOverlay(db, nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"1.2.3.4": "1.0.0.0/8", "2a00::1": "2800::/5", "2002:102:304::1": "2002:100::/24",
	} {
		p, ok := o.Lookup(netip.MustParseAddr(addr))
		if p.Range.String() != want || ok != (addr != "2a00::1") {
			t.Errorf("%s: %v %v, want %s", addr, p, ok, want)
		}
	}
}

func TestOpenMMDBRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.mmdb")
	if _, err := OpenMMDB(path); err == nil {
		t.Error("a missing file opens")
	}
	if err := os.WriteFile(path, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMMDB(path); err == nil {
		t.Error("a file of something else opens")
	}
}
