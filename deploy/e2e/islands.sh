# Three regions replicate, are cut apart, keep working, and agree again.
source "$CHECK_LIB"
need curl curl

begin=$(now)
world --sample stars
says "ready after $(since "$begin") ms"

# open_http FD HOST: a kept connection. exists FD HOST PATH: whether a document is
# there; the answer to HEAD has no body, so the next one begins behind it. Bash
# itself would write a request line by line, and Nagle hold back the second.
open_http() { eval "exec $1<>/dev/tcp/$2/8080"; }
exists() {
	local line status
	cat <<<"HEAD $3 HTTP/1.1"$'\r\n'"Host: $2"$'\r\n\r' >&"$1"
	read -r _ status _ <&"$1"
	while read -r line <&"$1" && [ "$line" != $'\r' ]; do :; done
	[ "$status" = 200 ]
}
create() {
	local line
	cat <<<"PUT $3 HTTP/1.1"$'\r\n'"Host: $2"$'\r\nContent-Type: application/json'$'\r\n'\
'Content-Length: 12'$'\r\n\r\n''{"some":42}' >&"$1"
	while read -r line <&"$1" && [ "$line" != $'\r' ]; do :; done
}

# From before the request in washington until tokyo has the document. One way
# takes 71 ms and up to 3 ms of jitter.
open_http 5 127.0.1.1
open_http 6 127.0.3.1
times=()
for i in {1..20}; do
	begin=$(now)
	create 5 127.0.1.1 /v1/docs/lag/$i
	until exists 6 127.0.3.1 /v1/docs/lag/$i; do
		(($(since "$begin") < 5000)) || fail "tokyo has no document $i after 5 s"
	done
	times+=("$(since "$begin")")
done
mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
says "put at washington, read at tokyo: median ${times[9]} ms, max ${times[19]} ms of 20"
((times[0] >= 71)) || fail "${times[0]} ms is faster than the way"
((times[9] <= 121)) || fail "the median of ${times[9]} ms is more than the way of 71 ms + 50 ms"

# What will be changed on both sides.
put W notes/fields '{"a":1}'
put W notes/same '{"title":"both"}'
put W notes/count '{"name":"n"}'
ops W notes/count '{"op":"inc","path":"/views","by":10}'
put F notes/gone '{"a":1,"b":2}'
put F notes/left '{"a":1,"b":2}'
put W notes/tags '{"name":"t"}'
ops W notes/tags '{"op":"add","path":"/tags","value":"old"}'
everywhere notes/fields '{"a":1}'
everywhere notes/same '{"title":"both"}'
everywhere notes/count '{"name":"n","views":10}'
everywhere notes/gone '{"a":1,"b":2}'
everywhere notes/left '{"a":1,"b":2}'
everywhere notes/tags '{"name":"t","tags":["old"]}'

# packets FIELD: of the links of tokyo so far, both ways: delivered or dropped.
packets() {
	"$ATOLL" wan --json | grep -o '{"from":[^}]*}' | grep '"tokyo"' |
		grep -o "\"$1\":[0-9]*" | awk -F: '{sum += $2} END {print sum + 0}'
}
"$ATOLL" wan cut frankfurt tokyo
"$ATOLL" wan cut washington tokyo
before=$(packets delivered) tried=$(packets dropped)

patch W notes/fields '{"west":1}'
patch T notes/fields '{"east":2}'
put W notes/same '{"title":"west"}'
sleep 0.01 # the later of two wall clocks wins a tie: tokyo's
put T notes/same '{"title":"east"}'
ops W notes/count '{"op":"inc","path":"/views","by":5}'
ops T notes/count '{"op":"inc","path":"/views","by":7}'
patch T notes/count '{"views":100}' # takes the 10 and the 7 away, not the 5
ops T notes/count '{"op":"inc","path":"/views","by":3}'
delete W notes/gone
patch T notes/gone '{"b":3}'
patch F notes/left '{"b":3}'
delete T notes/left
ops F notes/tags '{"op":"remove","path":"/tags","value":"old"},{"op":"add","path":"/tags","value":"west"}'
ops T notes/tags '{"op":"add","path":"/tags","value":"east"}'

# Both sides go on with what they know, and do not know more.
shows T notes/fields '{"a":1,"east":2}' || fail "tokyo alone: $(doc T notes/fields)"
shows T notes/count '{"name":"n","views":103}' || fail "tokyo alone: $(doc T notes/count)"
until_true 5 shows F notes/fields '{"a":1,"west":1}'
until_true 5 shows F notes/count '{"name":"n","views":15}'
for i in {1..200}; do echo "{\"id\":\"w$i\",\"n\":$i}"; done >w.ndjson
for i in {1..200}; do echo "{\"id\":\"t$i\",\"n\":$i}"; done >t.ndjson
"$ATOLL" import notes w.ndjson --key id --api "${region[W]}"
"$ATOLL" import notes t.ndjson --key id --api "${region[T]}"
until_true 8 leads 133.11.0.0/24 127.0.2.1
says "tokyo is cut off: a client in Japan is led to frankfurt"
after=$(packets delivered) tried=$(($(packets dropped) - tried))
((before > 100 && tried > 10)) || fail "too few packets to say: $before before, $tried tried"
equal "$before" "$after" "packets delivered through the cut links"
says "packets through the cut links: $before before the cut, $((after - before)) of $tried during it"

"$ATOLL" wan heal
begin=$(now)
same() {
	local r
	for r in W F T; do curl -sSf "${region[$r]}/v1/docs/notes/_export" >"export.$r" || return 1; done
	cmp -s export.W export.F && cmp -s export.W export.T &&
		grep -q '"key":"w200"' export.T && grep -q '"key":"t200"' export.W
}
until_true 20 same
says "healed: exports of $(wc -l <export.W) documents byte-equal in all three after $(since "$begin") ms"

everywhere notes/fields '{"a":1,"east":2,"west":1}'
says "different fields of one document: both there, everywhere"
everywhere notes/same '{"title":"east"}'
for r in W F T; do
	both=$(doc $r 'notes/same?conflicts=1')
	grep -q '"value":"east"[^}]*"region":"tokyo"[^}]*"winner":true' <<<"$both" || fail "$r: $both"
	grep -q '"value":"west"[^}]*"region":"washington"' <<<"$both" || fail "$r: no loser: $both"
done
says "the same field: one winner everywhere, the loser under ?conflicts=1 in all three"
everywhere notes/count '{"name":"n","views":108}'
says "counter: 10, cut; +5 here; +7, set to 100, +3 there; healed: 108 everywhere"
everywhere notes/gone '{"b":3}'
everywhere notes/left '{"b":3}'
for r in W F T; do
	curl -sS "${region[$r]}/v1/conflicts" >feed
	for key in gone left; do
		grep -o '"key":"'$key'"[^}]*"kind":"delete-edit"' feed >/dev/null ||
			fail "no delete-edit of $key in the feed of $r: $(cat feed)"
	done
done
says "deleted here, edited there: the edited field alone, delete-edit in /v1/conflicts of all three"
everywhere notes/tags '{"name":"t","tags":["east","west"]}'
says "a set: removed and added here, added there: both adds, the removed one gone"

world_stop
equal 0 "$code" "exit code after SIGINT"
