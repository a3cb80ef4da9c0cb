package main

import (
	"time"

	"github.com/atolledge/atoll/node"
)

// config is the configuration of one node: what atoll start reads. The comments
// of its fields are what people see: atoll config sample and --help print them.
type config struct {
	// The name of this node within its region, a DNS label. A certificate names
	// it too: region.name/name.
	Name string `yaml:"name"`

	// The region that this node belongs to. Nodes that share a name share a
	// place.
	Region regionConfig `yaml:"region"`

	// The addresses to listen on, HOST:PORT; an empty one is not opened. Beyond
	// loopback, tls and at least one of api.tokens are needed.
	Listen listenConfig `yaml:"listen"`

	// HOST:PORT under which other nodes reach listen.peer. Needed when that has
	// no address of its own, such as 0.0.0.0:7950.
	Advertise string `yaml:"advertise"`

	// Nodes of the cluster to meet at start, HOST:PORT; some that live are
	// enough. None: this node waits to be met.
	Join []string `yaml:"join"`

	// PEM files of this node. Peers trust each other by the CA; HTTPS shows the
	// same certificate. atoll ca makes all three.
	TLS tlsConfig `yaml:"tls"`

	// The data directory. It is made at the first start; with it goes the node's
	// identity as a writer, so it is never copied.
	Data string `yaml:"data"`

	// Who may use the HTTP API, and under which names.
	API apiConfig `yaml:"api"`

	// How keyspaces come to be.
	Keyspaces keyspacesConfig `yaml:"keyspaces"`

	// The zones that this node answers for.
	DNS dnsConfig `yaml:"dns"`

	// Objects: what a node keeps beyond its own copies, and when it looks after
	// them.
	Media mediaConfig `yaml:"media"`

	// Sites of the edge cache. This version has none yet: leave it empty.
	Sites []siteConfig `yaml:"sites"`

	// What this node does not go beyond.
	Limits limitsConfig `yaml:"limits"`

	// What is written to standard error.
	Log logConfig `yaml:"log"`

	// Where traces of requests go.
	Traces tracesConfig `yaml:"traces"`
}

type regionConfig struct {
	// The region's name, a DNS label.
	Name string `yaml:"name"`

	// Where it is, in degrees, north positive.
	Lat float64 `yaml:"lat"`

	// Where it is, in degrees, east positive.
	Lon float64 `yaml:"lon"`

	// Public IP addresses of this node, which DNS answers for the region together
	// with those of its other nodes. None: the address of advertise.
	Addresses []string `yaml:"addresses"`
}

type listenConfig struct {
	// The API in plain HTTP/1.1 and 2.
	HTTP string `yaml:"http"`

	// The API in HTTPS.
	HTTPS string `yaml:"https"`

	// DNS over UDP and TCP.
	DNS string `yaml:"dns"`

	// Other nodes: QUIC over UDP.
	Peer string `yaml:"peer"`
}

type tlsConfig struct {
	// The certificate of the cluster's CA.
	CA string `yaml:"ca"`

	// This node's certificate.
	Cert string `yaml:"cert"`

	// Its private key.
	Key string `yaml:"key"`
}

type apiConfig struct {
	// Bearer tokens. Without any, everyone on loopback is operator.
	Tokens []tokenConfig `yaml:"tokens"`

	// Names under which the API is asked, beside addresses and localhost. Another
	// Host is refused with 421. "*.zone" is every name one label below a zone.
	Hosts []string `yaml:"hosts"`
}

type tokenConfig struct {
	// Who it is, for the access log.
	Name string `yaml:"name"`

	// The SHA-256 of the token, 64 hex digits: printf %s TOKEN | sha256sum
	SHA256 string `yaml:"sha256"`

	// reader, writer or operator.
	Role string `yaml:"role"`
}

type keyspacesConfig struct {
	// auto: by the first write. explicit: by PUT /v1/keyspaces/NAME only.
	Create string `yaml:"create"`
}

type dnsConfig struct {
	// Zones, such as edge.example.org.
	Zones []zoneConfig `yaml:"zones"`

	// An mmdb file that says where addresses are. Empty: the built-in table of
	// countries.
	Database string `yaml:"database"`
}

type zoneConfig struct {
	// The zone's name.
	Name string `yaml:"name"`

	// Labels in it that lead to the nearest healthy region. None: www.
	Names []string `yaml:"names"`
}

type mediaConfig struct {
	// Memory for parts of objects that are read now; at least 16MiB.
	Memory byteSize `yaml:"memory"`

	// Disk for copies of parts that other nodes keep, fetched for readers here; at
	// least 16MiB.
	Cached byteSize `yaml:"cached"`

	// Time between two sweeps, which repair what is missing and drop what no
	// object names any more.
	Sweep duration `yaml:"sweep"`

	// How long a part that no object names stays: longer than another node's
	// clock can be wrong and a copy can take.
	Grace duration `yaml:"grace"`
}

type siteConfig struct {
	// The name that users ask for.
	Host string `yaml:"host"`

	// URLs of the servers behind it.
	Origins []string `yaml:"origins"`
}

type limitsConfig struct {
	// Free disk space below which writes are refused with 507.
	DiskReserve byteSize `yaml:"disk_reserve"`

	// How long a member may be away before the others wait for it no more. It
	// comes back exact, only at the cost of a copy of everything.
	Lapse duration `yaml:"lapse"`
}

type logConfig struct {
	// debug, info, warn or error.
	Level string `yaml:"level"`

	// text or json.
	Format string `yaml:"format"`
}

type tracesConfig struct {
	// The URL of an OpenTelemetry collector that takes OTLP over HTTP, such as
	// http://127.0.0.1:4318; without a path it is asked at /v1/traces. Empty: nothing
	// is traced. Headers come from OTEL_EXPORTER_OTLP_HEADERS.
	Endpoint string `yaml:"endpoint"`

	// How many of the requests that come without a traceparent are traced, from 0 to
	// 1. Those that have one are traced if it says so.
	Sample float64 `yaml:"sample"`
}

// defaultConfig is a cluster of one on loopback.
func defaultConfig() config {
	return config{
		Name:   "1",
		Region: regionConfig{Name: "local"},
		Listen: listenConfig{
			HTTP: "127.0.0.1:8080", DNS: "127.0.0.1:8053", Peer: "127.0.0.1:7950",
		},
		Data:      "./atoll-data",
		Keyspaces: keyspacesConfig{Create: "auto"},
		Media: mediaConfig{
			Memory: 64 << 20, Cached: 4 << 30, Sweep: duration(5 * time.Minute), Grace: duration(time.Hour),
		},
		Limits: limitsConfig{DiskReserve: 512 << 20, Lapse: duration(node.DefaultLapse)},
		Log:    logConfig{Level: "info", Format: "text"},
	}
}
