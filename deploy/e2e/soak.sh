# Six real nodes in three regions behind a network that misbehaves: nothing that
# was acknowledged is lost, nothing deleted comes back, sessions hold, all agree.
source "$CHECK_LIB"
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
(cd "$root" && go build -o "$OLDPWD/soak" ./deploy/e2e/soak)
./soak -atoll "$ATOLL" -data data -time "${SOAK_TIME:-60s}" ${SOAK_SEED:+-seed "$SOAK_SEED"} >soak.out || {
	cat soak.out
	tail -n 20 data/*.log
	fail "see above"
}
says "$(tail -1 soak.out)"
