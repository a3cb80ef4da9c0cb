# The ten minutes of the README, as a stranger would paste them: every command does
# what it says, and where an output is shown it is that.
source "$CHECK_LIB"
need curl curl
need dig bind9-dnsutils
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
mkdir bin
ln -s "$ATOLL" bin/atoll

# steps: lines "$ COMMAND" and, after some, what it prints.
awk '/^## / {on = ($0 == "## Ten minutes")} /^```/ {code = !code; next} on && code && NF' \
	"$root/README.md" >steps
plain() { sed -E 's/etag [0-9a-f]{16}/etag …/'; }

# check runs a command of the README and compares what it prints, if that is shown.
# One that waits a moment may wait a few more here: the machine may be a busy one.
commands=0 shown=0 command='' want=''
check() {
	[ -n "$command" ] || return 0
	local got tries=1
	[[ $command != 'sleep '* ]] || tries=5
	while ((tries-- > 0)); do
		got=$(bash -c "$command" </dev/null 2>err) || fail "$command: exit $?: $(cat err)"
		[ "$(plain <<<"$want")" != "$(plain <<<"$got")" ] || break
	done
	commands=$((commands + 1))
	[ -n "$want" ] || return 0
	equal "$(plain <<<"$want")" "$(plain <<<"$got")" "$command"
	shown=$((shown + 1))
}

world --sample stars
grep -q "^keyspace stars: the 5,044 stars" world.out || fail "the table is not that of the README: $(cat world.out)"
while read -r line; do
	case $line in
	'$ '*)
		check
		command=${line#'$ '} want=
		;;
	*) want+=${want:+$'\n'}$line ;;
	esac
done <steps
check
((commands >= 10 && shown >= 5)) || fail "only $commands commands and $shown outputs found in the README"
world_stop
equal 0 "$code" "exit code"
says "$commands commands of the README, $shown outputs as shown"
