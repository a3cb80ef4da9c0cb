# What is in stock is sold in three regions, cut apart too, and never one piece more.
source "$CHECK_LIB"
need curl curl

world

# buys R: sells a piece at a region; the answer's status and kind are in $status.
buys() {
	status=$(curl -sS -o answer -w '%{http_code}' -X PATCH \
		-H 'Content-Type: application/vnd.atoll.ops+json' "${region[$1]}/v1/docs/shop/lamp" \
		-d '{"ops":[{"op":"inc","path":"/stock","by":-1}]}')
	[ "$status" = 204 ] || status="$status $(grep -o 'problem:[a-z-]*' answer || true)"
	[ "$status" = 204 ]
}

"$ATOLL" patch shop lamp --set /name=lamp --set /stock=100 --bound /stock=0 --api "${region[W]}"
everywhere shop/lamp '{"name":"lamp","stock":100}'

# Each region sells one: those that have no rights ask for some.
for r in W F T; do buys $r || fail "$r sells none of 100: $status"; done
everywhere shop/lamp '{"name":"lamp","stock":97}'
says "each region sold one: rights moved to where they were needed"

# What GET shows is put back and means the same.
put F shop/lamp "$(doc F shop/lamp)"
everywhere shop/lamp '{"name":"lamp","stock":97}'

"$ATOLL" wan cut washington frankfurt
"$ATOLL" wan cut washington tokyo
"$ATOLL" wan cut frankfurt tokyo
sold=3
report=
for r in W F T; do
	here=0
	while buys $r; do ((++here <= 97)) || fail "$r alone sold $here"; done
	[[ $status = *no-rights || $status = *at-bound ]] || fail "$r: $status"
	((here > 0)) || fail "$r sold none alone: $status"
	report="$report $r $here,"
	sold=$((sold + here))
done
((sold <= 100)) || fail "sold $sold of 100"
says "all links cut, bought until refused:$report $sold of 100 in all"

# Frankfurt takes 20 more in, still cut off: nobody else has rights to those.
ops F shop/lamp '{"op":"inc","path":"/stock","by":20}'
"$ATOLL" wan heal
everywhere shop/lamp '{"name":"lamp","stock":'$((120 - sold))'}'

# What is left can be sold anywhere, to the last piece.
deadline=$((SECONDS + 60))
while ((sold < 120)); do
	if buys T; then
		sold=$((sold + 1))
	else
		[[ $status = *no-rights || $status = *at-bound ]] || fail "tokyo: $status"
		((SECONDS < deadline)) || fail "tokyo cannot sell the last $((120 - sold)): $status"
	fi
done
everywhere shop/lamp '{"name":"lamp","stock":0}'
for r in W F T; do
	! buys $r || fail "$r sells the 121st"
	equal '409 problem:at-bound' "$status" "what $r says of the 121st"
done
says "healed: tokyo sold the 20 that frankfurt took in, and nobody the 121st: $status"

# A sorted set, and a number that is put into one.
ops F shop/board '{"op":"score","path":"/top","member":"ann","value":12.5},{"op":"score","path":"/top","member":"bob","value":7}'
everywhere shop/board '{"top":{"ann":12.5,"bob":7}}'
patch T shop/board '{"top":{"cid":1e999}}'
ops W shop/board '{"op":"unscore","path":"/top","member":"bob"}'
everywhere shop/board '{"top":{"ann":12.5,"cid":1e999}}'
says "a sorted set: scored here, merged there, taken out elsewhere: the same everywhere"

world_stop
equal 0 "$code" "exit code after SIGINT"
