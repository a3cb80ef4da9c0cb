package geo

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, table := drawNaive(t)
		table.Made, table.Attribution = "2026-06-01", "who made it"
		got, err := Decode(encode(t, table))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.body(), table.body()) {
			t.Fatalf("got %+v\nwant %+v", got, table)
		}
		for range 20 {
			a := drawAddr(t)
			p, ok := got.Lookup(a)
			if w, wok := table.Lookup(a); p != w || ok != wok {
				t.Fatalf("%v: got %v %v, want %v %v", a, p, ok, w, wok)
			}
		}
	})
}

func encode(t interface{ Fatal(...any) }, table *Table) []byte {
	file, err := table.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDefaultTable(t *testing.T) {
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if table.Ranges() < 500_000 || table.Made < "2026-06-01" || table.Attribution != Attribution {
		t.Fatalf("%d ranges of %q by %q", table.Ranges(), table.Made, table.Attribution)
	}
	for addr, country := range map[string]string{
		"1.0.16.1":             "JP",
		"133.11.0.1":           "JP", // The University of Tokyo
		"141.20.1.1":           "DE", // Humboldt-Universitaet zu Berlin
		"193.99.144.80":        "DE",
		"18.7.22.69":           "US", // MIT
		"128.32.0.1":           "US", // UC Berkeley
		"200.160.2.3":          "BR", // NIC.br
		"2001:200:0:8002::1":   "JP", // WIDE
		"2001:638:904:ffcb::1": "DE", // DFN
	} {
		p, ok := table.Lookup(netip.MustParseAddr(addr))
		if !ok || p.Country != country || p.check() != nil {
			t.Errorf("%s: %v %v, want %s", addr, p, ok, country)
		}
	}
}

func TestEveryCountryHasAPoint(t *testing.T) {
	countries, err := Countries()
	if err != nil {
		t.Fatal(err)
	}
	if len(countries) != 250 {
		t.Errorf("%d countries", len(countries))
	}
	table, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.places {
		if countries[p.Country] != p {
			t.Errorf("%v in the table, %v in countries.csv: generate anew", p, countries[p.Country])
		}
	}
}

func TestCountriesRefuses(t *testing.T) {
	for _, csv := range []string{
		"\n", "JP\n", "JP,1,2\n", "JPN,1,2,Japan\n", "JP,x,2,Japan\n", "JP,1,y,Japan\n",
		"JP,91,2,Japan\n", "JP,1,181,Japan\n", "JP,1,2,Japan\nJP,1,2,Japan\n",
	} {
		if got, err := parseCountries(csv); err == nil {
			t.Errorf("%q gives %v", csv, got)
		}
	}
}

// pack makes a file of a body.
func pack(body []byte) []byte {
	out := bytes.NewBufferString(magic)
	out.WriteByte(version)
	z := gzip.NewWriter(out)
	z.Write(body)
	z.Close()
	return out.Bytes()
}

func TestDecodeRefuses(t *testing.T) {
	good := []byte{
		0, 0, // made, attribution
		1, 2, 'J', 'P', 2, 4, // one place, 0.01 0.02
		2, 0, 24, 0, 1, 0, 1, // IPv4: 0.0.0.0 gap, 1.0.0.0 JP
		1, 0, 0, 0, // IPv6: a gap
	}
	if _, err := decodeBody(good); err != nil {
		t.Fatal(err)
	}
	at := func(i int, b byte) []byte {
		out := bytes.Clone(good)
		out[i] = b
		return out
	}
	huge := binary.AppendUvarint([]byte{0, 0}, 1<<40)
	for name, file := range map[string][]byte{
		"empty":                   nil,
		"magic alone":             []byte(magic),
		"foreign magic":           []byte("MAXMIND.COM"),
		"newer version":           append([]byte(magic), 2),
		"no gzip":                 append([]byte(magic), version, 1, 2, 3),
		"cut gzip":                pack(good)[:30],
		"empty body":              pack(nil),
		"claims 2^40 places":      pack(huge),
		"trailing byte":           pack(append(bytes.Clone(good), 0)),
		"latitude out of range":   pack(append([]byte{0, 0, 1, 0, 0xd2, 0x8c, 1, 4}, good[8:]...)),
		"first range not at zero": pack(at(11, 1)),
		"range does not move on":  pack(at(12, 0)),
		"shift wider than key":    pack(at(10, 32)),
		"value without place":     pack(at(14, 2)),
		"neighbours are equal":    pack(at(14, 0)),
		"claims more ranges":      pack(at(8, 200)),
		"no range":                pack(append(bytes.Clone(good[:15]), 0)),
	} {
		if got, err := Decode(file); err == nil {
			t.Errorf("%s: decoded to %+v", name, got)
		}
	}
	for n := range good {
		if _, err := decodeBody(good[:n]); err == nil {
			t.Errorf("the first %d bytes decode", n)
		}
	}
}

func TestReadAllHasALimit(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 9: true, 10: true, 11: false, 999: false} {
		b, err := readAll(bytes.NewReader(make([]byte, n)), 10)
		if (err == nil) != ok || ok && len(b) != n {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
	}
}

// golden is what every file of version 1 begins with.
const golden = "41544f4c4c47454f01"

func TestGoldenBody(t *testing.T) {
	var b Builder
	if err := b.Add(netip.MustParsePrefix("1.0.0.0/8"), japan); err != nil {
		t.Fatal(err)
	}
	table := b.Table()
	table.Made, table.Attribution = "2026-06-01", "us"
	got := fmt.Sprintf("%x", table.body())
	want := "0a323032362d30362d3031" + "027573" + // made, attribution
		"01" + "024a50" + "bc37" + "b4d801" + // JP 35.50 138.50
		"03" + "001818" + "000101" + "000100" + // 0/8 gap, 1/8 JP, 2/8 gap
		"01" + "00" + "00" + "00"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if file := fmt.Sprintf("%x", encode(t, table)); !strings.HasPrefix(file, golden) {
		t.Errorf("the file begins with %.18s", file)
	}
}

// FuzzDecode checks that a damaged file is refused or is a sound table: it
// answers every address and writes itself again.
func FuzzDecode(f *testing.F) {
	var b Builder
	b.Add(netip.MustParsePrefix("1.0.0.0/8"), Place{Country: "JP", Lat: 35.5, Lon: 138.5})
	b.Add(netip.MustParsePrefix("2001::/16"), Place{Country: "DE", Lat: 50.6, Lon: 9.3})
	f.Add(b.Table().body())
	f.Add((&Builder{}).Table().body())
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		table, err := decodeBody(body)
		if err != nil {
			return
		}
		for _, a := range []string{"0.0.0.0", "1.2.3.4", "255.255.255.255", "::", "2001:db8::1"} {
			if p, _ := table.Lookup(netip.MustParseAddr(a)); !p.Range.IsValid() {
				t.Errorf("%s has no range", a)
			}
		}
		again, err := Decode(encode(t, table))
		if err != nil || !bytes.Equal(again.body(), table.body()) {
			t.Errorf("written again it is %+v, %v", again, err)
		}
	})
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(); err != nil {
			b.Fatal(err)
		}
	}
}
