# A disk that fills up: writes are refused before it is too late, the rest goes on.
# The tmpfs lives in a mount namespace of our own, so nothing is left mounted.
source "$CHECK_LIB"
need curl curl
need unshare util-linux

if [ -z "${IN_NAMESPACE:-}" ]; then
	flags=(-m)
	[ "$(id -u)" = 0 ] || flags=(-r -m) # a namespace where we may mount
	script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/disk.sh
	unshare "${flags[@]}" true || fail "no mount namespace: run as root, or allow user namespaces"
	IN_NAMESPACE=1 exec unshare "${flags[@]}" bash -euo pipefail "$script"
fi

mkdir small
mount -t tmpfs -o size=400m tmpfs small
"$ATOLL" start --data small/data --limits-disk-reserve 256MiB --listen-http 127.0.0.1:8065 \
	--listen-dns '' --listen-peer 127.0.0.1:7965 --log-level warn 2>log &
pid=$!
trap 'kill -KILL "$pid" 2>/dev/null || true' EXIT
api=http://127.0.0.1:8065
until_true 10 curl -sf -o /dev/null $api/readyz
free() { df --output=avail -m small | tail -1 | tr -d ' '; }

# ask METHOD KEY [FILE]: the status of an answer; its body lies beside.
ask() {
	local data=()
	[ -z "${3:-}" ] || data=(-H 'Content-Type: application/json' --data-binary "@$3")
	rm -f body
	curl -sS -m 20 -o body -w '%{http_code}' -X "$1" "${data[@]}" "$api/v1/docs/big/$2"
}

# Incompressible documents of 0.6 MB, until one is refused.
says "$(free) MiB free, reserve 256 MiB"
for ((n = 1; n <= 400; n++)); do
	printf '{"n":%d,"data":"%s"}' $n "$(head -c 450000 /dev/urandom | base64 -w0)" >doc.json
	status=$(ask PUT $n doc.json)
	[ "$status" = 201 ] || break
done
equal 507 "$status" "status of the write that met the reserve, after $n: $(cat body)"
grep -q '"type":"urn:atoll:problem:disk-full"' body || fail "$(cat body)"
grep -q '"limits.disk_reserve"' body || fail "the limit is not named: $(cat body)"
((n > 20)) || fail "refused after $n documents already"
(($(free) > 128)) || fail "only $(free) MiB are left: the reserve was not kept"
says "refused with 507 after $((n - 1)) documents, $(free) MiB free: $(grep -o '"hint":"[^"]*"' body)"

# Reads and deletes go on, for long; what was accepted is there.
for ((i = 1; i < n; i++)); do
	equal 200 "$(ask GET $i)" "read of document $i"
	[ "$(stat -c %s body)" -gt 600000 ] || fail "document $i is short"
done
for ((i = 1; i <= 20; i++)); do equal 204 "$(ask DELETE $i)" "delete of document $i"; done
equal 404 "$(ask GET 5)" "read of what was deleted"
equal 507 "$(ask PUT more doc.json)" "write, still below the reserve"
equal 507 "$(ask PUT small <(echo '{}'))" "a small write"
kill -0 "$pid" || fail "the process is gone: $(cat log)"
says "reads and deletes go on, writes do not"

# Room is made: writes go on, and all is there after a restart.
mount -o remount,size=900m small
again() { [ "$(ask PUT more doc.json)" = 201 ]; }
until_true 10 again
kill -TERM "$pid"
wait "$pid" || fail "it did not stop cleanly: $(cat log)"
"$ATOLL" start --data small/data --limits-disk-reserve 256MiB --listen-http 127.0.0.1:8065 \
	--listen-dns '' --listen-peer 127.0.0.1:7965 --log-level warn 2>log &
pid=$!
until_true 10 curl -sf -o /dev/null $api/readyz
equal 200 "$(ask GET more)" "the document written when there was room again"
equal 404 "$(ask GET 5)" "a deleted document"
equal 200 "$(ask GET $((n - 1)))" "the last document before it was full"
kill -TERM "$pid"
wait "$pid" || fail "it did not stop cleanly: $(cat log)"
trap - EXIT
umount small
says "room again: writes go on; after a restart every accepted document is there"
