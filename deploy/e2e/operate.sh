# The operator's year, as deploy/GUIDE.md tells it: a cluster grows by a region,
# drains, is upgraded node by node, loses a node and its disk, and is restored
# from an export. Every command of the guide is run here, on loopback.
source "$CHECK_LIB"
need curl curl
need dig bind9-dnsutils

declare -A pid ip=([eu]=127.79.1.1 [us]=127.79.2.1 [asia]=127.79.3.1)
declare -A place=([eu]="50.11 8.68" [us]="38.9 -77.04" [asia]="35.68 139.69")
trap 'for p in "${pid[@]}"; do kill "$p" 2>/dev/null || true; done; wait' EXIT

atoll() { "$ATOLL" "$@"; }
api() { echo "http://${ip[$1]}:8080"; }

# node REGION JOIN: the configuration that a node of the guide has.
config() {
	local region=$1 at=${ip[$1]}
	mkdir -p "$region"
	atoll ca issue "$region/1" --dir atoll-ca --host "$at" \
		--cert "$region/node.pem" --key "$region/node-key.pem"
	read -r lat lon <<<"${place[$region]}"
	cat >"$region/atoll.yaml" <<-YAML
		name: "1"
		region: {name: $region, lat: $lat, lon: $lon}
		listen: {http: "$at:8080", https: "$at:8443", dns: "$at:8053", peer: "$at:7950"}
		join: [$2]
		tls: {ca: atoll-ca/ca.pem, cert: $region/node.pem, key: $region/node-key.pem}
		data: $region/data
		dns: {zones: [{name: atoll.test}]}
		log: {format: json}
	YAML
	atoll config check "$region/atoll.yaml"
}

start() {
	"$ATOLL" start --config "$1/atoll.yaml" 2>>"$1/log" &
	pid[$1]=$!
	until_true 30 curl -fs -o /dev/null "$(api "$1")/readyz"
}

# stop REGION: what systemd does. It ends by itself, with exit code 0.
stop() {
	kill -TERM "${pid[$1]}"
	wait "${pid[$1]}" || fail "the node of $1 ended with $?"
	unset "pid[$1]"
}

has() { [ "$(atoll get notes "$2" --api "$(api "$1")" 2>/dev/null)" = "$3" ]; }

# level: every region says of every other that it has all.
level() {
	local r
	for r in "${!pid[@]}"; do
		[ "$(curl -fsS "$(api "$r")/metrics" |
			awk '/^atoll_replication_behind_dots/ {n += $2} END {print n + 0}')" = 0 ] || return 1
	done
}
leads() { dig "@${ip[$1]}" -p 8053 +short +subnet=133.11.0.0/16 www.atoll.test | grep -x "$2" >/dev/null; }
state() { atoll status --api "$(api "$1")" | grep -E "^$2 .* $3 " >/dev/null; }

echo "--- a first region"
atoll ca init islands --dir atoll-ca
config eu ""
start eu
atoll put notes hello '{"text":"hi"}' --api "$(api eu)"

echo "--- add a region, and another"
config us "${ip[eu]}:7950"
start us
config asia "${ip[eu]}:7950, ${ip[us]}:7950"
start asia
until_true 20 has asia hello '{"text":"hi"}'
until_true 20 state eu asia up
until_true 20 leads eu "${ip[asia]}"
curl -fsS --cacert atoll-ca/ca.pem "https://${ip[asia]}:8443/readyz"
curl -sI --cacert atoll-ca/ca.pem "https://${ip[asia]}:8443/livez" |
	grep -qi '^alt-svc: h3=":8443"' || fail "HTTPS does not tell of HTTP/3"
dig "@${ip[eu]}" -p 8053 +short www.atoll.test TYPE65 | grep . >/dev/null || fail "no HTTPS record"

echo "--- media"
head -c 3000000 /dev/urandom >trailer.mp4
atoll media put films trailer.mp4 trailer.mp4 --durability regions:2 --api "$(api eu)"
until_true 20 atoll media get films trailer.mp4 -o copy.mp4 --api "$(api asia)"
cmp trailer.mp4 copy.mp4

echo "--- drain and undrain"
atoll drain asia --api "$(api eu)"
until_true 20 state us asia drained
until_true 10 leads us "${ip[eu]}"
has asia hello '{"text":"hi"}' || fail "a drained region does not read"
atoll undrain asia --api "$(api us)"
until_true 10 leads us "${ip[asia]}"

echo "--- upgrade: region by region, drained, stopped, started, caught up"
for region in us eu asia; do
	atoll drain "$region" --api "$(api "$region")"
	stop "$region"
	other=$([ "$region" = eu ] && echo us || echo eu)
	atoll put notes "while-$region" '{"a":1}' --api "$(api "$other")"
	start "$region"
	until_true 30 has "$region" "while-$region" '{"a":1}'
	until_true 30 level
	atoll undrain "$region" --api "$(api "$region")"
done
until_true 20 leads eu "${ip[asia]}"

echo "--- lose a node: the process, without a word"
kill -KILL "${pid[asia]}"
wait "${pid[asia]}" || true
unset 'pid[asia]'
until_true 20 leads eu "${ip[eu]}"
atoll put notes gone '{"asia":false}' --api "$(api eu)"
start asia
until_true 30 has asia gone '{"asia":false}'

echo "--- lose a node: its disk too"
kill -KILL "${pid[asia]}"
wait "${pid[asia]}" || true
unset 'pid[asia]'
rm -r asia/data
start asia
for key in hello gone while-us while-eu while-asia; do
	until_true 60 has asia "$key" "$(atoll get notes "$key" --api "$(api eu)")"
done
atoll put notes back '{"asia":true}' --api "$(api asia)"
until_true 30 has eu back '{"asia":true}'
until_true 30 level

echo "--- restore: a keyspace that was spoilt, and a cluster that is lost"
atoll export notes --api "$(api eu)" >notes.ndjson
equal "$(atoll export notes --api "$(api us)")" "$(cat notes.ndjson)" "the export of another region"
atoll delete notes hello --api "$(api us)"
until_true 20 bash -c "! '$ATOLL' get notes hello --api '$(api asia)' 2>/dev/null"
atoll import notes notes.ndjson --api "$(api us)"
until_true 20 has asia hello '{"text":"hi"}'
for region in eu us asia; do
	stop "$region"
	rm -r "$region/data"
done
for region in eu us asia; do
	"$ATOLL" start --config "$region/atoll.yaml" 2>>"$region/log" &
	pid[$region]=$!
done
for region in eu us asia; do
	until_true 30 curl -fs -o /dev/null "$(api "$region")/readyz"
done
atoll import notes notes.ndjson --api "$(api eu)"
for region in eu us asia; do
	until_true 30 has "$region" back '{"asia":true}'
	until_true 30 bash -c "diff <('$ATOLL' export notes --api '$(api "$region")' | cut -d'\"' -f4) \
		<(cut -d'\"' -f4 notes.ndjson)"
done

echo "--- every line that the nodes logged is JSON, but for what they say at start"
if grep -vhE '^(\{.*\}|atoll .*|  .*)$' eu/log us/log asia/log; then
	fail "these are not"
fi
