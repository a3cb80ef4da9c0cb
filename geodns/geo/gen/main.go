// Command gen makes the embedded country table from the two country databases
// of DB-IP Lite in the flat schema of ip-location-db.
//
//	go run ./geodns/geo/gen -out country.atollgeo ipv4.mmdb ipv6.mmdb
//
// The same databases give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/atolledge/atoll/geodns/geo"
)

func main() {
	out := flag.String("out", "country.atollgeo", "file to write")
	flag.Parse()
	if err := generate(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(out string, in []string) error {
	if len(in) == 0 {
		return errors.New("name the databases to read")
	}
	countries, err := geo.Countries()
	if err != nil {
		return err
	}
	var b geo.Builder
	made := ""
	for _, path := range in {
		day, err := read(&b, path, countries)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		made = max(made, day)
	}
	table := b.Table()
	table.Made, table.Attribution = made, geo.Attribution
	file, err := table.Encode()
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d ranges, %d bytes, data of %s\n", out, table.Ranges(), len(file), made)
	return os.WriteFile(out, file, 0o644)
}

// read adds the networks of one database and returns the day it was made.
func read(b *geo.Builder, path string, countries map[string]geo.Place) (string, error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return "", err
	}
	defer db.Close()
	var last netip.Prefix
	for net := range db.Networks() {
		var r struct {
			Code string `maxminddb:"country_code"`
		}
		if err := net.Decode(&r); err != nil {
			return "", err
		}
		place, ok := countries[r.Code]
		if !ok {
			return "", fmt.Errorf("%v: no coordinates for country %q", net.Prefix(), r.Code)
		}
		p := trim(net.Prefix())
		if p == last { // a /64 that is shared: its first part stands for it
			continue
		}
		last = p
		if err := b.Add(p, place); err != nil {
			return "", err
		}
	}
	return time.Unix(int64(db.Metadata.BuildEpoch), 0).UTC().Format(time.DateOnly), nil
}

// trim widens what a table cannot tell apart.
func trim(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() && p.Bits() > 64 {
		p, _ = p.Addr().Prefix(64)
	}
	return p
}
