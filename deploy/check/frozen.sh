# A disk that stops answering: a node that is told to stop does not wait for it for
# ever. It says what hangs and exits, not with 0; what was acknowledged is there.
# The file system lies in a file, in a mount namespace of our own, and is frozen.
source "$CHECK_LIB"
need curl curl
need fsfreeze util-linux
need mkfs.ext4 e2fsprogs

if [ -z "${IN_NAMESPACE:-}" ]; then
	[ "$(id -u)" = 0 ] || fail "only root may mount a file system from a file: run as root"
	script=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/frozen.sh
	IN_NAMESPACE=1 exec unshare -m bash -euo pipefail "$script"
fi

truncate -s 512M image
mkfs.ext4 -q image
mkdir disk
mount -o loop image disk
pid=
end() {
	fsfreeze -u disk 2>/dev/null || true
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
	umount disk
}
trap end EXIT
node() {
	"$ATOLL" start --data disk/data --limits-disk-reserve 16MiB --listen-http 127.0.0.1:8066 \
		--listen-dns '' --listen-peer 127.0.0.1:7966 2>log &
	pid=$!
	until_true 10 curl -sf -o /dev/null http://127.0.0.1:8066/readyz
}
doc=http://127.0.0.1:8066/v1/docs/notes/a
node
curl -sf -X PUT -H 'Content-Type: application/json' -d '{"kept":1}' $doc
fsfreeze -f disk
begin=$(now)
kill -TERM "$pid"
until_true 40 grep -q 'not done after' log
took=$(since "$begin")
grep -q 'hint: look at the disk below disk/data' log || fail "the hint: $(cat log)"
fsfreeze -u disk # the kernel lets a process go when its last system call has returned
code=0
wait "$pid" || code=$?
pid=
equal 1 "$code" "exit code"
says "a frozen disk: $(grep -o 'internal:.*' log), after $took ms, exit 1"
node
equal '{"kept":1}' "$(curl -s $doc)" "what was acknowledged"
kill -TERM "$pid"
wait "$pid"
pid=
