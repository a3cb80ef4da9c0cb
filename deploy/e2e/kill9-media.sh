# kill -9 in the middle of uploads: every acknowledged object is whole, every other
# one whole or not there, and no chunk stays that nothing names.
source "$CHECK_LIB"
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
(cd "$root" && go build -o "$OLDPWD/kill9" ./deploy/e2e/kill9)
./kill9 -atoll "$ATOLL" -data data -media -clients 6 -rounds "${MEDIA_KILL_ROUNDS:-3}" >kill9.out || {
	cat kill9.out
	fail "see above"
}
cat kill9.out
says "$(tail -1 kill9.out)"
