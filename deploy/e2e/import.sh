# 100,000 documents through one region, byte-equal in all three.
source "$CHECK_LIB"
need curl curl
count=${IMPORT_COUNT:-100000}

awk -v n="$count" 'BEGIN {
	for (i = 1; i <= n; i++)
		printf "{\"id\":\"item-%06d\",\"name\":\"Thing number %d\",\"price\":%d.%02d," \
			"\"tags\":[\"t%d\",\"t%d\"],\"stock\":{\"here\":%d,\"there\":%d}}\n",
			i, i, i % 97, i % 100, i % 10, i % 7, i % 50, i % 31
}' >items.ndjson
says "$count documents, $(stat -c %s items.ndjson) bytes"

world
begin=$(now)
"$ATOLL" import items items.ndjson --key id --api "${region[W]}" --json >totals
took=$(since "$begin")
grep -q "\"imported\":$count,\"failed\":0\|\"failed\":0,\"imported\":$count," totals || fail "$(cat totals)"
says "imported in $took ms: $((count * 1000 / took)) documents a second"

export_at() { curl -sSf -m 60 "${region[$1]}/v1/docs/items/_export" >"export.$1"; }
same() {
	local r
	for r in F T; do
		export_at $r || return 1
		cmp -s export.W export.$r || return 1
	done
}
until_true 5 export_at W
equal "$count" "$(wc -l <export.W)" "documents exported at washington"
until_true 60 same
says "byte-equal in all three $(since "$begin") ms after the start, $(stat -c %s export.W) bytes each"
says "peak memory of the process with three nodes: $(awk '/VmHWM/ {print int($2 / 1024)}' /proc/$world_pid/status) MiB," \
	"data of all three: $(du -sm tmp | cut -f1) MiB"

# What export writes, import takes.
"$ATOLL" import copy export.T --api "${region[F]}" --json >totals
grep -q '"failed":0' totals || fail "$(cat totals)"
copied() {
	curl -sSf -m 60 "${region[W]}/v1/docs/copy/_export" | sed 's/"etag":"[^"]*",//' >copy.W
	sed 's/"etag":"[^"]*",//' export.W | cmp -s - copy.W
}
until_true 60 copied
says "an export imported again elsewhere is the same documents"
world_stop
equal 0 "$code" "exit code"
