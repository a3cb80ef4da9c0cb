package main

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the sample configuration as the golden one")

// TestSample compares the sample with the golden one, and reads it back: it is
// the defaults, and every key in it has its comment.
func TestSample(t *testing.T) {
	const golden = "testdata/config.sample.yaml"
	var got bytes.Buffer
	if err := writeSample(&got, defaultConfig()); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the sample is not %s (-rewrite to take it over):\n%s", golden, got.String())
	}
	var c config
	if err := parseConfig(&c, golden, want); err != nil {
		t.Fatal(err)
	}
	normal := func(c config) config { // an empty list is as good as none
		c.Join, c.API.Tokens, c.API.Hosts = nil, nil, nil
		c.DNS.Zones, c.Sites, c.Region.Addresses = nil, nil, nil
		return c
	}
	if !reflect.DeepEqual(normal(c), defaultConfig()) {
		t.Errorf("the sample reads as %+v", c)
	}
	if err := c.check(); err != nil {
		t.Errorf("the sample is refused: %v", err)
	}
}

// TestEveryKeyIsDocumented keeps a field without a comment, and a key that is no
// flag's name, from coming in.
func TestEveryKeyIsDocumented(t *testing.T) {
	docs := fieldDocs(configSource)
	var types []reflect.Type
	var collect func(reflect.Type)
	collect = func(typ reflect.Type) {
		types = append(types, typ)
		for i := range typ.NumField() {
			f := typ.Field(i).Type
			if f.Kind() == reflect.Slice {
				f = f.Elem()
			}
			if f.Kind() == reflect.Struct {
				collect(f)
			}
		}
	}
	collect(reflect.TypeFor[config]())
	if len(types) < 10 {
		t.Fatalf("found %d structs only", len(types))
	}
	for _, typ := range types {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !strings.HasSuffix(docs[typ.Name()+"."+f.Name], ".") && f.Name != "SHA256" {
				t.Errorf("%s.%s has no comment of whole sentences", typ.Name(), f.Name)
			}
			if key := f.Tag.Get("yaml"); key == "" || strings.ToLower(key) != key {
				t.Errorf("%s.%s has the key %q", typ.Name(), f.Name, key)
			}
		}
	}
}

// TestSettings sets every key from text, and expects each to be its own.
func TestSettings(t *testing.T) {
	flags, envs := map[string]bool{}, map[string]bool{}
	for _, s := range settings() {
		if flags[s.flag()] || envs[s.env()] {
			t.Errorf("%s shares its flag or variable with another key", s.key)
		}
		flags[s.flag()], envs[s.env()] = true, true
		text, want := "w", any("w")
		switch {
		case s.list:
			text, want = "v,w", []string{"v", "w"}
		case strings.HasSuffix(s.key, ".lat"), strings.HasSuffix(s.key, ".lon"), s.key == "traces.sample":
			text, want = "-1.5", -1.5
		case s.key == "limits.disk_reserve", s.key == "media.memory", s.key == "media.cached":
			text, want = "3MiB", byteSize(3<<20)
		case s.key == "media.sweep", s.key == "media.grace", s.key == "limits.lapse":
			text, want = "90s", duration(90*time.Second)
		}
		c := defaultConfig()
		if err := s.set(&c, text); err != nil {
			t.Errorf("%s: %v", s.key, err)
		}
		got := reflect.ValueOf(c).FieldByIndex(s.index).Interface()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", s.key, got, want)
		}
	}
	for _, f := range []string{"listen-http", "region-lat", "join", "limits-disk-reserve"} {
		if !flags[f] {
			t.Errorf("there is no --%s; there are %v", f, slices.Sorted(maps.Keys(flags)))
		}
	}
}

// TestCheck changes one thing of a good configuration at a time.
func TestCheck(t *testing.T) {
	digest := strings.Repeat("0a", 32)
	public := func(c *config) { // all that a node on a network needs
		c.Listen = listenConfig{HTTPS: ":8443", DNS: "0.0.0.0:53", Peer: "192.0.2.1:7950"}
		c.TLS = tlsConfig{"ca.pem", "node.pem", "node-key.pem"}
		c.API.Tokens = []tokenConfig{{"me", digest, "operator"}}
	}
	traces := func(endpoint string, sample float64) func(*config) {
		return func(c *config) { c.Traces = tracesConfig{endpoint, sample} }
	}
	addresses := func(list ...string) func(*config) {
		return func(c *config) { c.Region.Addresses = list }
	}
	tests := []struct {
		name   string
		change func(*config)
		err    string // "" for good
		hint   string
	}{
		{"defaults", func(*config) {}, "", ""},
		{"public", public, "", ""},
		{"IPv6 loopback", func(c *config) { c.Listen.HTTP = "[::1]:80" }, "", ""},
		{"localhost", func(c *config) { c.Listen.HTTP = "localhost:80" }, "", ""},
		{"port 0", func(c *config) { c.Listen.HTTP = "127.0.0.1:0" }, "", ""},
		{"no http", func(c *config) { c.Listen.HTTP = "" }, "", ""},
		{"DNS for everyone", func(c *config) { c.Listen.DNS = ":53" }, "", ""},

		{"name", func(c *config) { c.Name = "a/b" }, "name ", "a-z"},
		{"no name", func(c *config) { c.Name = "" }, "name ", "a-z"},
		{"region", func(c *config) { c.Region.Name = "-x" }, "region.name ", "a-z"},
		{"lat", func(c *config) { c.Region.Lat = 90.1 }, "region.lat ", ""},
		{"lon", func(c *config) { c.Region.Lon = -181 }, "region.lon ", ""},
		{"data", func(c *config) { c.Data = "" }, "data ", "directory"},

		{"addresses", addresses("192.0.2.1", "2001:db8::1"), "", ""},
		{"address by name", addresses("example.org"), "region.addresses \"example.org\"", "192.0.2.10"},
		{"address with zone", addresses("fe80::1%eth0"), "region.addresses ", "192.0.2.10"},
		{"any address", addresses("::"), "region.addresses ", ""},
		{"multicast", addresses("224.0.0.1"), "region.addresses ", ""},
		{"address twice", addresses("192.0.2.1", "::ffff:192.0.2.1"), "region.addresses ", ""},
		{
			"too many addresses", addresses(strings.Split(strings.Repeat("192.0.2.1 ", 9), " ")[:9]...),
			"region.addresses has 9", "other nodes",
		},

		{"no port", func(c *config) { c.Listen.HTTP = "127.0.0.1" }, "listen.http ", ""},
		{"high port", func(c *config) { c.Listen.DNS = "127.0.0.1:65536" }, "listen.dns ", ""},
		{"no peer", func(c *config) { c.Listen.Peer = "" }, "listen.peer ", "127.0.0.1:7950"},
		{"bad advertise", func(c *config) { c.Advertise = ":1" }, "advertise ", ""},
		{"port 0 advertised", func(c *config) { c.Advertise = "a:0" }, "advertise ", ""},
		{
			"peer anywhere", func(c *config) { public(c); c.Listen.Peer = "0.0.0.0:7950" },
			"advertise is empty", "set advertise",
		},
		{
			"peer anywhere, named", func(c *config) { public(c); c.Listen.Peer = ":1"; c.Advertise = "a:1" },
			"", "",
		},

		{"half of TLS", func(c *config) { c.TLS.CA = "ca.pem" }, "tls.cert is missing", "together"},
		{
			"https without TLS", func(c *config) { c.Listen.HTTPS = "127.0.0.1:8443" },
			"listen.https ", "atoll ca issue",
		},
		{
			"open http", func(c *config) { c.Listen.HTTP = ":8080" },
			"listen.http :8080 is open to other machines without TLS", "set tls.ca",
		},
		{
			"open peers", func(c *config) { c.Listen.Peer = "192.0.2.1:1" },
			"listen.peer 192.0.2.1:1 is open to other machines without TLS", "",
		},
		{
			"open by name", func(c *config) { c.Listen.HTTP = "example.org:80" },
			"listen.http example.org:80 is open", "",
		},
		{
			"open without token", func(c *config) { public(c); c.API.Tokens = nil },
			"listen.https :8443 is open to other machines without a token", "set api.tokens",
		},
		{
			"join without TLS", func(c *config) { c.Join = []string{"127.0.0.2:1"} },
			"join needs tls", "atoll ca issue",
		},
		{"bad join", func(c *config) { c.Join = []string{"x"} }, "join \"x\"", ""},

		{
			"bad role", func(c *config) { c.API.Tokens = []tokenConfig{{"me", digest, "king"}} },
			"api.tokens: ", "",
		},
		{
			"bad digest", func(c *config) { c.API.Tokens = []tokenConfig{{"me", "12", "reader"}} },
			"api.tokens: ", "",
		},
		{"bad host", func(c *config) { c.API.Hosts = []string{"a b"} }, "api.hosts: ", ""},
		{"create", func(c *config) { c.Keyspaces.Create = "never" }, "keyspaces.create ", ""},
		{"level", func(c *config) { c.Log.Level = "loud" }, "log.level ", ""},
		{"format", func(c *config) { c.Log.Format = "xml" }, "log.format ", ""},
		{"little memory", func(c *config) { c.Media.Memory = 1 << 20 }, "media.memory ", "16MiB"},
		{"little disk", func(c *config) { c.Media.Cached = 0 }, "media.cached ", "16MiB"},
		{"no sweep", func(c *config) { c.Media.Sweep = 0 }, "media.sweep ", "5m"},
		{"no grace", func(c *config) { c.Media.Grace = 0 }, "media.grace ", "1h"},

		{"traces", traces("http://127.0.0.1:4318", 0.5), "", ""},
		{"traces by path", traces("https://collector.example.org/otlp/v1/traces", 0), "", ""},
		{"traces without scheme", traces("127.0.0.1:4318", 0), "traces.endpoint ", "http://HOST"},
		{"traces over gRPC", traces("grpc://127.0.0.1:4317", 0), "traces.endpoint ", "http://HOST"},
		{"traces with a secret", traces("http://me:pw@127.0.0.1", 0), "traces.endpoint ", "HEADERS"},
		{"traces of no host", traces("http:///v1/traces", 0), "traces.endpoint ", "http://HOST"},
		{"traces of more than all", traces("http://a", 1.5), "traces.sample 1.5", ""},
		{"traces to nowhere", traces("", 0.5), "traces.sample 0.5", "set traces.endpoint"},

		{"sites", func(c *config) { c.Sites = []siteConfig{{}} }, "sites ", "remove"},
		{"zone", func(c *config) { c.DNS.Zones = []zoneConfig{{Name: "a..b"}} }, "dns.zones ", ""},
		{"zones", func(c *config) { c.DNS.Zones = []zoneConfig{{Name: "a.b."}, {Name: "c"}} }, "", ""},
		{
			"zone twice", func(c *config) { c.DNS.Zones = []zoneConfig{{Name: "a."}, {Name: "a"}} },
			"dns.zones ", "",
		},
		{
			"name in zone", func(c *config) { c.DNS.Zones = []zoneConfig{{"a", []string{"x.y"}}} },
			"dns.zones ", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := defaultConfig()
			tt.change(&c)
			err := c.check()
			if tt.err == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(detail(err), tt.err) {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if !strings.Contains(hint(err), tt.hint) || tt.hint == "" && hint(err) == "-" {
				t.Errorf("hint %q, want %q", hint(err), tt.hint)
			}
		})
	}
}

func TestNearestKey(t *testing.T) {
	tests := []struct{ word, want string }{
		{"htpp", "did you mean listen.http?"},
		{"listn", "did you mean listen?"},
		{"roles", "did you mean api.tokens[].role?"},
		{"disk-reserve", "did you mean limits.disk_reserve?"},
		{"zzzzzzzz", "atoll config sample prints all keys"},
		{"", "atoll config sample prints all keys"},
	}
	for _, tt := range tests {
		if got := nearestKey(tt.word); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.word, got, tt.want)
		}
	}
}

// TestEdits compares with the recursive definition.
func TestEdits(t *testing.T) {
	var twin func(a, b string) int
	twin = func(a, b string) int {
		switch {
		case a == "" || b == "":
			return len(a) + len(b)
		case a[0] == b[0]:
			return twin(a[1:], b[1:])
		}
		return 1 + min(twin(a[1:], b), twin(a, b[1:]), twin(a[1:], b[1:]))
	}
	word := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got, want := edits(a, b), twin(a, b); got != want {
			t.Fatalf("edits(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "1": 1, "7B": 7, "1KiB": 1024, "512MiB": 512 << 20, "20 GB": 20e9, "3kB": 3000,
		"2TiB": 2 << 40, "1TB": 1e12, " 5 GiB ": 5 << 30,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1mib", "9999999999TiB", "x"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: taken as %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n, shift := rapid.Int64Range(0, 1<<50).Draw(t, "n"), rapid.IntRange(0, 12).Draw(t, "shift")
		want := byteSize(n << shift)
		text, _ := want.MarshalText()
		var got byteSize
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%d is written %s and read %d (%v)", want, text, got, err)
		}
	})
}

// FuzzConfig feeds files to the reader: it refuses or reads, and what it read
// and checked can be written and read again.
func FuzzConfig(f *testing.F) {
	sample, err := os.ReadFile("testdata/config.sample.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	for _, s := range []string{
		"", "a", "name: 1", "listen:\n  htpp: x", "api: {tokens: [{name: a}]}", "\x00", "&a [*a]",
		"limits: {disk_reserve: 1MiB}", "name: a\n---\nname: b", "join: [a:1, b:2]", "{", "- a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := defaultConfig()
		if len(text) > 4096 || parseConfig(&c, "fuzz.yaml", text) != nil || c.check() != nil {
			return
		}
		var again bytes.Buffer
		if err := writeSample(&again, c); err != nil {
			t.Fatal(err)
		}
		d := defaultConfig()
		if err := parseConfig(&d, "again.yaml", again.Bytes()); err != nil {
			t.Fatalf("%v\n%s", err, again.String())
		}
	})
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "5m": 5 * time.Minute, " 1h ": time.Hour, "1h30m": 90 * time.Minute,
		"1.5s": 1500 * time.Millisecond, "10m0s": 10 * time.Minute, "100h": 100 * time.Hour,
	} {
		var got, again duration
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
		written, _ := got.MarshalText()
		if err := again.UnmarshalText(written); err != nil || again != got {
			t.Errorf("%v is written %s and read %v (%v)", want, written, again, err)
		}
	}
	for _, text := range []string{"", "5", "-1s", "1d", "x", "9999999h"} {
		var got duration
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: taken as %v", text, got)
		}
	}
}
