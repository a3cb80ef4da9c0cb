# atoll start as an operator meets it: alone, two that join, tokens, signals.
source "$CHECK_LIB"
need curl curl

pids=()
stop_all() { ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true; }
trap stop_all EXIT
# start NAME ARGS...: a node; $pid is its process, NAME.log what it says.
start() {
	"$ATOLL" start "${@:2}" 2>"$1.log" &
	pid=$!
	pids+=("$pid")
}
# ended PID: waits for a node; $code is how it ended.
ended() { code=0; wait "$1" || code=$?; }
ready() { curl -sf -o /dev/null "$@"; }

# No flag but the data: a cluster of one on loopback.
(mkdir alone && cd alone && exec "$ATOLL" start 2>../alone.log) &
pid=$!
pids+=("$pid")
until_true 10 ready http://127.0.0.1:8080/readyz
"$ATOLL" put notes hello '{"text":"hi"}'
equal '{"text":"hi"}' "$("$ATOLL" get notes hello)" "a document of a cluster of one"
[ -d alone/atoll-data ] || fail "no atoll-data"
begin=$(now)
kill -TERM "$pid"
ended "$pid"
equal 0 "$code" "exit code after SIGTERM"
says "alone: no flag needed, SIGTERM ends it after $(since "$begin") ms with exit 0"

# A data directory in use, and one of a newer format.
start first --data shared --listen-peer 127.0.0.1:7961 --listen-http 127.0.0.1:8061 --listen-dns ''
first=$pid
until_true 10 ready http://127.0.0.1:8061/readyz
start second --data shared --listen-peer 127.0.0.1:7962 --listen-http 127.0.0.1:8062 --listen-dns ''
ended "$pid"
equal 1 "$code" "exit code on a data directory in use"
grep -qi 'in use' second.log || fail "in use: $(cat second.log)"
kill -TERM "$first"
ended "$first"
sed -i 's/[0-9]\+/99/' shared/FORMAT
start newer --data shared --listen-peer 127.0.0.1:7961 --listen-http 127.0.0.1:8061 --listen-dns ''
ended "$pid"
equal 1 "$code" "exit code on a newer format"
grep -q 'format 99' newer.log || fail "a newer format: $(cat newer.log)"
says "a data directory in use or of a newer format: $(head -1 second.log)"

# Nothing is open to other machines without TLS and a token.
for flag in --listen-http --listen-https --listen-peer; do
	start open $flag 0.0.0.0:8063 --advertise 192.0.2.1:7963 --data open
	ended "$pid"
	equal 2 "$code" "exit code of $flag 0.0.0.0"
	grep -Eq 'without TLS|needs a certificate' open.log && grep -q 'hint: set tls.ca' open.log ||
		fail "$flag: $(cat open.log)"
done
says "refused: $(tail -2 open.log | tr '\n' ' ')"

# Two nodes of two regions join over mutual TLS.
"$ATOLL" ca init islands --dir ca >/dev/null
for n in 1 2; do
	name=east/1
	((n == 1)) || name=west/1
	"$ATOLL" ca issue $name --dir ca --host 127.0.0.1$n --cert $n.pem --key $n-key.pem >/dev/null
	cat >$n.yaml <<-END
		name: "1"
		region: {name: ${name%/1}, lat: 40, lon: $((n * 30))}
		listen: {http: 127.0.0.1$n:8080, https: 127.0.0.1$n:8443, dns: 127.0.0.1$n:8053, peer: 127.0.0.1$n:7950}
		join: [127.0.0.11:7950]
		tls: {ca: ca/ca.pem, cert: $n.pem, key: $n-key.pem}
		data: data-$n
		dns: {zones: [{name: islands.test}]}
		limits: {disk_reserve: 16MiB}
		log: {level: info}
		api:
		  tokens:
		    - {name: ann, role: reader, sha256: $(printf read | sha256sum | cut -d' ' -f1)}
		    - {name: bob, role: writer, sha256: $(printf write | sha256sum | cut -d' ' -f1)}
		    - {name: cleo, role: operator, sha256: $(printf operate | sha256sum | cut -d' ' -f1)}
	END
done
"$ATOLL" config check 1.yaml
start one --config 1.yaml
one=$pid
start two --config 2.yaml
two=$pid
east=https://127.0.0.11:8443 west=https://127.0.0.12:8443
ask() { curl -sS -m 10 --cacert ca/ca.pem -o body -w '%{http_code}' "$@"; }
for url in $east $west; do until_true 15 ready --cacert ca/ca.pem $url/readyz; done
met() { [ "$(ATOLL_TOKEN=read "$ATOLL" status --api $west --cacert ca/ca.pem | grep -c '/1 .* up ')" = 2 ]; }
until_true 15 met
as() { printf 'Authorization: Bearer %s' "$1"; }
doc=/v1/docs/notes/x
json=(-H 'Content-Type: application/json')
equal 401 "$(ask $east$doc)" "no token"
equal 401 "$(ask $east$doc -H "$(as wrong)")" "a wrong token"
equal 403 "$(ask -X PUT $east$doc "${json[@]}" -d '{}' -H "$(as read)")" "a reader writes"
equal 201 "$(ask -X PUT $east$doc "${json[@]}" -d '{"from":"east"}' -H "$(as write)")" "a writer writes"
arrived() { [ "$(ask $west$doc -H "$(as read)")" = 200 ] && [ "$(cat body)" = '{"from":"east"}' ]; }
until_true 5 arrived
equal 403 "$(ask -X POST $east/v1/regions/west/drain -H "$(as write)")" "a writer drains"
equal 204 "$(ask -X POST $east/v1/regions/west/drain -H "$(as operate)")" "an operator drains"
equal 204 "$(ask -X POST $west/v1/regions/west/undrain -H "$(as operate)")" "and undrains"
! grep -q 'Bearer\|operate' one.log two.log || fail "a token is in the log"
grep -q 'principal=bob' one.log || fail "the writer's name is not in the access log"
says "two regions over mutual TLS; reader, writer and operator by token"

# A node of another CA is not let in.
"$ATOLL" ca init islands --dir other >/dev/null
"$ATOLL" ca issue south/1 --dir other --cert 3.pem --key 3-key.pem >/dev/null
sed 's/east/south/; s/127.0.0.11:\(8080\|8443\|8053\)/127.0.0.13:\1/g; s/peer: 127.0.0.11/peer: 127.0.0.13/
	s/data-1/data-3/; s/\<1.pem/3.pem/; s/1-key/3-key/; s/ca: ca/ca: other/' 1.yaml >3.yaml
start three --config 3.yaml
until_true 10 grep -q certificate one.log
equal 2 "$(curl -sS --cacert ca/ca.pem -H "$(as read)" $east/v1/cluster | grep -o '"name":' | wc -l)" \
	"regions that east knows"
kill -TERM "$pid"
ended "$pid"
says "a node of another CA: $(grep -m1 -o 'msg="peer refused".*' one.log | cut -c1-90)"

# SIGHUP: tokens and log level at once, the rest named.
printf fresh | sha256sum | cut -d' ' -f1 >digest
sed -i "s/sha256: $(printf read | sha256sum | cut -d' ' -f1)/sha256: $(cat digest)/; s/lat: 40/lat: 41/" 1.yaml
kill -HUP "$one"
reloaded() { [ "$(ask $east$doc -H "$(as fresh)")" = 200 ]; }
until_true 5 reloaded
equal 401 "$(ask $east$doc -H "$(as read)")" "the old token"
until_true 5 grep -q 'restart.*region.lat' one.log

# SIGHUP: a new CA beside the old one, then a certificate of the new one. Nobody
# stops, and a peer that comes back believes it.
"$ATOLL" ca init islands --dir next >/dev/null
cat next/ca.pem >>ca/ca.pem
kill -HUP "$one" "$two"
until_true 5 grep -q 'reloaded TLS files' two.log
mv 1.pem 1-old.pem && mv 1-key.pem 1-old-key.pem
"$ATOLL" ca issue east/1 --dir next --host 127.0.0.11 --cert 1.pem --key 1-key.pem >/dev/null
until_true 5 eval 'kill -HUP "$one"; ready --cacert next/ca.pem '$east/livez
kill -KILL "$two"
ended "$two"
start two --config 2.yaml
two=$pid
until_true 15 ready --cacert ca/ca.pem $west/readyz
equal 204 "$(ask -X PUT $east$doc "${json[@]}" -d '{"from":"new"}' -H "$(as write)")" "a write"
renewed() { [ "$(ask $west$doc -H "$(as read)")" = 200 ] && [ "$(cat body)" = '{"from":"new"}' ]; }
until_true 15 renewed
mv 1.pem 1-new.pem && cp 3.pem 1.pem
kill -HUP "$one"
until_true 5 grep -q 'not reloaded' one.log
ready --cacert next/ca.pem $east/livez || fail "a certificate that is no use took effect"
mv 1-new.pem 1.pem
says "SIGHUP: a CA is replaced while nodes run, a peer that comes back believes the new one"

# A configuration that is wrong.
: >one.log
echo 'limits: {disk_reserve: lots}' >>1.yaml
kill -HUP "$one"
until_true 5 grep -q 'was not reloaded' one.log
equal 200 "$(ask $east$doc -H "$(as fresh)")" "after a configuration that is wrong"
says "SIGHUP: new tokens hold at once, what needs a restart is named, a wrong file changes nothing"

# SIGTERM: not ready first, while requests still get answers; then it is closed.
begin=$(now)
kill -TERM "$one"
notready() { [ "$(ask $east/readyz)" = 503 ]; }
until_true 2 notready
grep -q stopping body || fail "not ready, but not said why: $(cat body)"
equal 200 "$(ask $east$doc -H "$(as fresh)")" "a read while not ready"
equal 204 "$(ask -X PUT $east$doc "${json[@]}" -d '{"last":1}' -H "$(as write)")" "a write while not ready"
ended "$one"
equal 0 "$code" "exit code after SIGTERM"
says "SIGTERM: /readyz 503 while requests are answered, exit 0 after $(since "$begin") ms"
equal 200 "$(ask $west$doc -H "$(as read)")" "the other one goes on"
equal '{"last":1}' "$(cat body)" "the last write of the one that stopped"
kill -TERM "$two"
ended "$two"
equal 0 "$code" "exit code of the other"
! grep -q 'panic\|level=ERROR.*badger' ./*.log || fail "$(grep -h 'panic\|ERROR' ./*.log)"
