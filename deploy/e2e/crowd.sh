# 32 nodes of 16 regions in one process start, converge and stop; no goroutine is left.
source "$CHECK_LIB"
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
begin=$(now)
(cd "$root" && go test -count=1 -v -run '^TestCrowd$' ./node -args -crowd 16) >crowd.out || {
	cat crowd.out
	fail "see above"
}
grep -q '^ok' crowd.out || fail "$(cat crowd.out)"
says "32 nodes: $(grep -o 'converged .*MiB' crowd.out), $(grep -o 'stopped .* s,' crowd.out)" \
	"all in $(since "$begin") ms"
