# Whoever lives from /v1/watch: 10,000 changes while it moves between regions, too
# slow a reader, a restart of everything, and the command that prints it.
source "$CHECK_LIB"
need curl curl
root=$(cd "$(dirname "$CHECK_LIB")/../.." && pwd)
(cd "$root" && go build -o "$OLDPWD/watch" ./deploy/e2e/watch)

world
./watch >watch.out || { cat watch.out; fail "see above"; }
cat watch.out
while read -r line; do says "$line"; done <watch.out

# The metrics: no watch is left, one reader was too slow.
metric() { curl -sS "${region[$1]}/metrics" | awk -v name="$2" '$1 == name {print $2}'; }
none_open() { [ "$(metric F atoll_watches_open)" = 0 ]; }
until_true 30 none_open

# The command goes on by itself when its node is killed and comes back.
"$ATOLL" watch notes --api "${region[T]}" 2>err && fail "watching a keyspace that is not there" || true
grep -q 'hint: ' err || fail "not said what to do: $(cat err)"
put W notes/zero '{"n":0}'
everywhere notes/zero '{"n":0}'
"$ATOLL" watch notes --limit 3 --api "${region[T]}" >printed 2>err &
watcher=$!
until_true 20 grep -q zero printed
"$ATOLL" node kill tokyo
until_true 20 grep -q 'resuming' err
put W notes/one '{"n":1}'
"$ATOLL" node start tokyo
put W notes/two '{"n":2}'
wait "$watcher" || fail "atoll watch: $(cat err)"
equal put "$(cut -f1 printed | sort -u)" "the kinds of the events"
equal 'one two zero' "$(cut -f2 printed | sort | xargs)" "what atoll watch printed"
says "atoll watch over a kill of its node: $(grep -c . printed) documents, $(grep -c resuming err) tries to resume"
world_stop
equal 0 "$code" "exit code"
