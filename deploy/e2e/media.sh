# One large object, put in washington and read by many at once in tokyo: every body
# right, over the WAN once, and no memory that grows with it. MEDIA_MIB and
# MEDIA_CLIENTS say how large and how many; make soak takes 1,024 and 50.
source "$CHECK_LIB"
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
size=${MEDIA_MIB:-64}
free=$(df -Pm . | awk 'NR == 2 {print $4}')
((free > 3 * size + 1024)) || fail "$free MiB are free here: two copies of $size MiB and a reserve are more"
(cd "$root" && go build -o "$OLDPWD/media" ./deploy/e2e/media)
world
./media -pid "$world_pid" -size "$size" -clients "${MEDIA_CLIENTS:-20}" >media.out || {
	cat media.out
	fail "see above"
}
"$ATOLL" wan
says "$(cat media.out)"
world_stop
equal 0 "$code" "exit code"
