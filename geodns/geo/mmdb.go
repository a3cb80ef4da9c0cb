package geo

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// MMDB is a Source in a MaxMind DB file of the operator's. It reads the schema
// of GeoIP2, GeoLite2 and DB-IP (country.iso_code, location.latitude and
// longitude) and the flat one of ip-location-db (country_code, latitude,
// longitude). A record with a country and no coordinates is at the country's
// point of Countries.
type MMDB struct {
	db        *maxminddb.Reader
	countries map[string]Place
}

// OpenMMDB maps the file into memory: replace it by a rename, never in place.
func OpenMMDB(path string) (*MMDB, error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("geo database %s: %w", path, err)
	}
	countries, err := Countries()
	if err != nil {
		return nil, err
	}
	return &MMDB{db: db, countries: countries}, nil
}

// Close unmaps the file. No Lookup may run then or later.
func (m *MMDB) Close() error { return m.db.Close() }

// mmdbRecord is the part of a record that we read, in both schemas.
type mmdbRecord struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Location struct {
		Lat *float64 `maxminddb:"latitude"`
		Lon *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	FlatCode string   `maxminddb:"country_code"`
	FlatLat  *float64 `maxminddb:"latitude"`
	FlatLon  *float64 `maxminddb:"longitude"`
}

// Lookup implements Source. A record that cannot be read is not found.
func (m *MMDB) Lookup(a netip.Addr) (Place, bool) {
	if !a.IsValid() {
		return Place{}, false
	}
	a = a.WithZone("")
	res := m.db.Lookup(a)
	// An IPv4 answer of an IPv6 tree comes with IPv4 bits; a database of
	// IPv4 alone says nothing about any IPv6 address.
	unknown := Place{Range: res.Prefix()}
	if !unknown.Range.IsValid() || unknown.Range.Addr().Is4() != a.Is4() {
		unknown.Range = around(a, 0)
	}
	var r mmdbRecord
	if !res.Found() || res.Decode(&r) != nil {
		return unknown, false
	}
	p, ok := m.place(&r)
	if !ok || p.check() != nil {
		return unknown, false
	}
	p.Range = unknown.Range
	return p, true
}

// place joins the two schemas.
func (m *MMDB) place(r *mmdbRecord) (Place, bool) {
	code, lat, lon := r.Country.Code, r.Location.Lat, r.Location.Lon
	if code == "" {
		code = r.FlatCode
	}
	if lat == nil || lon == nil {
		lat, lon = r.FlatLat, r.FlatLon
	}
	if lat != nil && lon != nil {
		return Place{Country: code, Lat: *lat, Lon: *lon}, true
	}
	p, ok := m.countries[code]
	return p, ok
}
