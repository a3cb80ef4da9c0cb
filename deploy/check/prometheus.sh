# promtool takes the scrape configuration and the rules, and the rules fire when
# they should.
source "$CHECK_LIB"
need promtool prometheus

dir=$(cd "$(dirname "$CHECK_LIB")/../prometheus" && pwd)
promtool check rules "$dir/atoll.rules.yaml"
promtool check config --syntax-only "$dir/prometheus.yaml"
promtool test rules "$dir/tests.yaml"

# What the rules are asked of: the page of a real node has the form that
# Prometheus wants (units, names, help).
mkdir data
"$ATOLL" start --listen-http 127.0.0.1:0 --listen-dns "" --listen-peer 127.0.0.1:0 \
	--data data 2>node.log &
node=$!
trap 'kill $node; wait $node || true' EXIT
until_true 20 grep -q 'documents  http' node.log
url=$(sed -n 's|.*documents  \(http://[^/]*\)/.*|\1|p' node.log)
until_true 20 curl -fsS -o /dev/null "$url/readyz"
curl -fsS "$url/metrics" >page
promtool check metrics <page 2>&1 | tee lint || true
if grep -v '^go_' lint | grep -q 'atoll_'; then
	fail "promtool does not like the names above"
fi
