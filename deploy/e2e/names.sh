# GeoDNS follows the health of the regions: kills, drains, what it never answers.
source "$CHECK_LIB"
need curl curl
need dig bind9-dnsutils
need kdig knot-dnsutils

world --sample stars
japan=133.11.0.0/24 germany=141.20.0.0/24 america=18.7.22.0/24
equal 127.0.3.1 "$(dns $japan)" "a client in Japan"
equal 127.0.2.1 "$(dns $germany)" "a client in Germany"
equal 127.0.1.1 "$(dns $america)" "a client in America"
says "Japan, Germany, America: tokyo, frankfurt, washington"

ask() { dig @127.0.0.1 -p 8053 +norecurse +tries=1 +time=1 "$@"; }
kdig @127.0.0.1 -p 8053 "+subnet=$japan" www.atoll.test HTTPS >https
grep -q 'ipv4hint=127.0.3.1' https || fail "HTTPS record: $(cat https)"
grep -q 'port=8443' https || fail "HTTPS record: $(cat https)"
ask www.atoll.test AAAA >aaaa
grep -q 'status: NOERROR.*' aaaa && grep -q 'ANSWER: 0, AUTHORITY: 1' aaaa ||
	fail "AAAA is not NODATA: $(cat aaaa)"
ask www.example.org A >foreign
grep -q 'status: REFUSED' foreign || fail "a foreign name is not refused: $(cat foreign)"
equal 127.0.3.1 "$(ask +short tokyo.atoll.test A)" "the nodes of tokyo"
says "HTTPS record with hint and port; AAAA is NODATA; a foreign name is REFUSED"

# A killed region: out of the answers within five seconds, back after its start.
node() { "$ATOLL" node "$@"; }
node kill tokyo
begin=$(now)
until_true 5 leads $japan 127.0.2.1
says "tokyo killed: Japan is led to frankfurt after $(since "$begin") ms"
! curl -s -m 1 "${region[T]}/livez" >dead || fail "a killed node answers: $(cat dead)"
put W notes/while '{"tokyo":"dead"}'
node start tokyo
begin=$(now)
until_true 15 leads $japan 127.0.3.1
says "tokyo started: Japan is led to tokyo again after $(since "$begin") ms"
until_true 5 shows T notes/while '{"tokyo":"dead"}'
until_true 5 shows T stars/hip-32349 "$(doc W stars/hip-32349)"

# Without washington the world's own addresses pass to another node.
node kill washington
front() { curl -sS -m 2 "http://127.0.0.1:8080$1"; }
equal '{"tokyo":"dead"}' "$(front /v1/docs/notes/while)" "a document at 127.0.0.1"
curl -sS -m 2 -o /dev/null -D head http://127.0.0.1:8080/v1/docs/notes/while
grep -qi '^atoll-region: frankfurt' head || fail "not frankfurt: $(cat head)"
equal 127.0.2.1 "$(dns $germany)" "Germany, while washington is dead"
begin=$(now)
until_true 5 leads $america 127.0.2.1
says "washington killed: 127.0.0.1 answers from frankfurt; America follows after $(since "$begin") ms"

# One region left, then none: never an empty answer while one lives.
node kill frankfurt
until_true 5 leads $germany 127.0.3.1
equal 127.0.3.1 "$(dns $america)" "America, with tokyo alone"
node kill tokyo
"$ATOLL" wan >/dev/null || fail "wan does not answer while no node lives"
[ "$(node list | grep -c killed)" = 3 ] || fail "node list: $(node list)"
! "$ATOLL" get stars hip-32349 2>no || fail "a world without nodes has documents"
grep -q 'hint: ' no || fail "no hint: $(cat no)"
node start washington
node start frankfurt
node start tokyo
until_true 15 leads $america 127.0.1.1
until_true 15 leads $germany 127.0.2.1
until_true 15 leads $japan 127.0.3.1
says "one region left answers all; none left, all started: each its own again"

# Drained by hand: out at once and everywhere, back at once.
"$ATOLL" drain tokyo --api "${region[W]}"
until_true 5 leads $japan 127.0.2.1
# told REGION-ADDRESS ADDRESS: what a region's own server answers Japan.
told() { [ "$(dig "@$1" -p 8053 +short +subnet=$japan www.atoll.test A)" = "$2" ]; }
until_true 5 told 127.0.3.1 127.0.2.1
"$ATOLL" status >status
grep -q '^tokyo .* drained' status || fail "status: $(cat status)"
"$ATOLL" drain frankfurt
! "$ATOLL" drain washington 2>no || fail "the last healthy region was drained"
grep -q 'no healthy region would remain' no || fail "$(cat no)"
"$ATOLL" undrain frankfurt
"$ATOLL" undrain tokyo
until_true 5 leads $japan 127.0.3.1
until_true 5 told 127.0.2.1 127.0.3.1
says "drained and undrained by hand; the last healthy region stays"

"$(dirname "$CHECK_LIB")/../../geodns/testdata/dig.sh" 127.0.2.1 8053
world_stop
equal 0 "$code" "exit code after SIGINT"
! grep -q 'level=ERROR' world.err || fail "$(cat world.err)"
