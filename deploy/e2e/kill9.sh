# kill -9 under the load of 32 clients, 20 times: every acknowledged write is there.
source "$CHECK_LIB"
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
(cd "$root" && go build -o "$OLDPWD/kill9" ./deploy/e2e/kill9)
./kill9 -atoll "$ATOLL" -data data -rounds "${KILL_ROUNDS:-20}" >kill9.out || {
	cat kill9.out
	fail "see above"
}
cat kill9.out
says "$(tail -1 kill9.out)"
