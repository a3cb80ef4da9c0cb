#!/bin/bash
# What dig and kdig see of the zone atoll.test. of the dev world:
#
#   geodns/testdata/dig.sh ADDRESS PORT
#
# Regions washington, frankfurt and tokyo at 127.0.1.1, 127.0.2.1, 127.0.3.1, all
# up, the embedded country table. Exit 1 at the first difference.
set -euo pipefail
server=${1:?address} port=${2:?port}
ask() { dig "@$server" -p "$port" +norecurse +tries=2 +time=2 "$@"; }

is() { # is WHAT WANT GOT
	[ "$2" = "$3" ] || { printf 'FAIL: %s: got %s, want %s\n' "$1" "$3" "$2" >&2; exit 1; }
}
status() { sed -n 's/.*status: \([A-Z]*\),.*/\1/p'; }
subnet() { sed -n 's/^; CLIENT-SUBNET: //p'; }

while read -r net want; do
	for transport in +notcp +tcp; do
		is "$net $transport" "$want" "$(ask +short $transport "+subnet=$net" www.atoll.test A)"
	done
done <<'END'
133.11.0.0/24 127.0.3.1
141.20.0.0/24 127.0.2.1
18.7.22.0/24 127.0.1.1
2001:200::/48 127.0.3.1
2001:638::/32 127.0.2.1
END

is 'scope of a fixed name' 133.11.0.0/24/0 \
	"$(ask +subnet=133.11.0.0/24 tokyo.atoll.test A | subnet)"
is 'private client' 0.0.0.0/0/0 "$(ask +subnet=0.0.0.0/0 www.atoll.test A | subnet)"
is 'case of the name' 1 "$(ask +noall +answer wWw.AtOlL.tEsT A | grep -c '^wWw\.AtOlL\.tEsT\.')"
is HTTPS 1 "$(kdig "@$server" -p "$port" +subnet=133.11.0.0/24 www.atoll.test HTTPS |
	grep -c 'ipv4hint=127.0.3.1')"
is NS 3 "$(ask +short atoll.test NS | wc -l)"
is SOA 1 "$(ask +short atoll.test SOA | grep -c '^ns1.atoll.test. ')"
is explain 1 "$(ask +short +subnet=133.11.0.0/24 _explain.www.atoll.test TXT |
	grep -c '^"1. tokyo: .*chosen: the nearest healthy region"$')"

is 'foreign name' REFUSED "$(ask example.org A | status)"
is 'nothing there' NXDOMAIN "$(ask nothing.atoll.test A | status)"
is 'no such type' NOERROR "$(ask tokyo.atoll.test MX | status)"
is version.bind REFUSED "$(ask version.bind CH TXT | status)"
is NOTIFY NOTIMP "$(ask +opcode=notify atoll.test SOA | status)"
is 'EDNS 1' BADVERS "$(ask +edns=1 +noednsnegotiation www.atoll.test A | status)"
is 'unknown EDNS option' NOERROR "$(ask +ednsopt=65001:abcd www.atoll.test A | status)"
is 'unknown EDNS flag' NOERROR "$(ask +ednsflags=0x40 www.atoll.test A | status)"
is 'short subnet option' FORMERR "$(ask +ednsopt=8:0001180001 www.atoll.test A | status)"
echo ok
