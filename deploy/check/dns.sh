# dig, kdig and a resolver in front of GeoDNS of a real world.
source "$CHECK_LIB"
need dig bind9-dnsutils
need kdig knot-dnsutils
need unbound unbound

world --wan 0
digs=$(dirname "$CHECK_LIB")/../../geodns/testdata/dig.sh
for address in 127.0.0.1 127.0.1.1 127.0.2.1 127.0.3.1; do
	"$digs" "$address" 8053
done
says "dig and kdig at the world and at each of its regions"

# Garbage on every port: nothing answers it, nothing falls over.
for ip in 127.0.0.1 127.0.1.1 127.0.2.1 127.0.3.1; do
	for port in 8053 7950; do
		for size in 1 11 12 40 512 1400; do
			head -c $size /dev/urandom >"/dev/udp/$ip/$port" 2>/dev/null || true
		done
	done
	for port in 8053 8080 8443; do
		{ head -c 4096 /dev/urandom >"/dev/tcp/$ip/$port"; } 2>/dev/null || true
	done
done
"$digs" 127.0.1.1 8053
equal ready "$(curl -sS http://127.0.1.1:8080/readyz | grep -o 'ready' | head -1)" "after garbage"
says "garbage on every port: answers go on"

# A resolver that many share asks for each subnet on its own, and keeps the
# answers apart.
cat >unbound.conf <<END
server:
	interface: 127.0.0.1@5399
	directory: "$PWD"
	pidfile: "$PWD/unbound.pid"
	username: ""
	chroot: ""
	use-syslog: no
	logfile: "$PWD/unbound.log"
	do-not-query-localhost: no
	domain-insecure: "test"
	local-zone: "test." nodefault
	module-config: "subnetcache iterator"
	send-client-subnet: 127.0.2.1
	client-subnet-always-forward: yes
	max-client-subnet-ipv4: 24
stub-zone:
	name: "atoll.test"
	stub-addr: 127.0.2.1@8053
END
unbound -d -c unbound.conf &
unbound=$!
trap 'kill "$unbound"; world_end' EXIT
ask() { dig @127.0.0.1 -p 5399 +short +tries=1 +time=2 "$@" | sort; }
answers() { [ "$(ask "${@:2}")" = "$1" ]; }
until_true 10 answers 127.0.3.1 tokyo.atoll.test A
for round in 1 2; do # the second from its cache
	while read -r net want; do
		until_true 3 answers "$want" +subnet=$net www.atoll.test A
	done <<-'END'
		133.11.0.0/24 127.0.3.1
		141.20.0.0/24 127.0.2.1
		18.7.22.0/24 127.0.1.1
	END
done
kill "$unbound"
wait "$unbound" || fail "unbound: $(cat unbound.log)"
trap world_end EXIT
says "unbound $(unbound -V | awk '/^Version/ {print $2}') in front, with client subnets: each its own region"

world_stop
equal 0 "$code" "exit code"
