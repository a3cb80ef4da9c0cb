# atoll dev as a process: signals, ports that are in use, data that stays.
source "$CHECK_LIB"
need curl curl

# left: the temporary folders that are still there.
left() { find tmp -mindepth 1 -maxdepth 1; }

world
[ -n "$(left)" ] || fail "the data is not where TMPDIR says"
begin=$(now)
world_stop
took=$(since "$begin")
equal 0 "$code" "exit code after SIGINT"
((took < 6000)) || fail "stopping took $took ms"
equal '' "$(left)" "temporary folders"
says "SIGINT: exit 0 after $took ms, the temporary folder is gone"

# Twice ends it at once, also in the middle of a stop that waits for a client.
world
exec 7<>/dev/tcp/127.0.1.1/8080
printf 'PUT /v1/docs/notes/slow HTTP/1.1\r\nHost: 127.0.1.1\r\nContent-Type: application/json\r\n' >&7
printf 'Content-Length: 100\r\n\r\n{' >&7
begin=$(now)
world_stop twice
took=$(since "$begin")
exec 7>&-
((code == 130 && took < 1000)) || fail "twice SIGINT: exit $code after $took ms"
rm -rf tmp
says "SIGINT twice: exit $code after $took ms"

# A port that is in use: which one, and what to do. Nothing is left behind.
"$ATOLL" start --listen-http 127.0.2.1:8080 --listen-dns '' --listen-peer 127.0.0.1:7999 \
	--data other 2>other.err &
other=$!
trap 'kill "$other"' EXIT
until_true 10 curl -sf -o /dev/null http://127.0.2.1:8080/readyz
mkdir tmp
code=0
TMPDIR=$PWD/tmp "$ATOLL" dev >out 2>err || code=$?
equal 1 "$code" "exit code with a port in use"
grep -q '127.0.2.1:8080' err || fail "the port is not named: $(cat err)"
grep -q 'hint: ' err || fail "not said what to do: $(cat err)"
equal '' "$(left)" "temporary folders"
kill "$other"
wait "$other" || fail "atoll start did not stop cleanly: $(cat other.err)"
trap - EXIT
says "a port in use: $(head -1 err)"

# A second world beside the first.
world
code=0
TMPDIR=$PWD/tmp "$ATOLL" dev >out 2>err || code=$?
equal 1 "$code" "exit code of a second world"
grep -q 'hint: .*atoll dev' err || fail "a second world: $(cat err)"
world_stop
says "a second world: $(grep hint: err)"

# --data keeps the documents, the certificate authority and nothing imported twice.
world --data kept --sample stars
put F notes/kept '{"over":"restarts"}'
everywhere notes/kept '{"over":"restarts"}'
curl -sSf --cacert kept/ca.pem https://127.0.3.1:8443/readyz -o ready ||
	fail "HTTPS with the CA that the table names"
curl -sSf "${region[T]}/v1/docs/stars/_export" >first
world_stop
equal 0 "$code" "exit code"
world --data kept --sample stars
shows T notes/kept '{"over":"restarts"}' || fail "after a restart: $(doc T notes/kept)"
curl -sSf "${region[F]}/v1/docs/stars/_export" >second
cmp first second || fail "the stars are not what they were"
world_stop
says "--data: $(wc -l <second) stars and a note over a restart, byte for byte"

# After kill -9 it starts again on what was there.
world --data kept
put T notes/last '{"word":1}'
kill -KILL "$world_pid"
wait "$world_pid" || true
world --data kept
everywhere notes/last '{"word":1}'
everywhere notes/kept '{"over":"restarts"}'
world_stop
says "kill -9: every acknowledged write is there after the restart"

# Two nodes a region; no distance.
world --nodes 2 --wan 0 --sample stars
[ "$("$ATOLL" node list | grep -c running)" = 6 ] || fail "$("$ATOLL" node list)"
"$ATOLL" put notes two '{"nodes":2}' --api http://127.0.1.2:8080
second() { [ "$(curl -sS "http://127.0.$1.2:8080/v1/docs/notes/two")" = '{"nodes":2}' ]; }
for r in 1 2 3; do until_true 5 second $r; done
"$ATOLL" node kill tokyo/1
begin=$(now)
until_true 10 leads 133.11.0.0/24 127.0.3.2
says "--nodes 2 --wan 0: six nodes, documents on each; tokyo/1 killed: Japan is led" \
	"to tokyo/2 alone after $(since "$begin") ms"
world_stop
equal 0 "$code" "exit code"
equal '' "$(left)" "temporary folders"
