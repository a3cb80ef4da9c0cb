# curl speaks to the API in every way it knows.
source "$CHECK_LIB"
need curl curl

world --data kept --wan 0
plain=http://127.0.1.1:8080 secure=https://127.0.1.1:8443
# ask URL ARGS...: the status of an answer; its head and body lie beside.
ask() { rm -f body; curl -sS -m 10 --cacert kept/ca.pem -D head -o body -w '%{http_code}' "$@"; }
header() { tr -d '\r' <head | awk -F': ' -v n="$1" 'tolower($1) == n {print $2}'; }
json=(-H 'Content-Type: application/json')

# Versions of HTTP, with and without TLS.
version() { curl -sS --cacert kept/ca.pem -o /dev/null -w '%{http_version}' "$@"; }
equal 1.1 "$(version $plain/livez)" "plain"
equal 2 "$(version --http2-prior-knowledge $plain/livez)" "plain, prior knowledge"
equal 1.1 "$(version --http1.1 $secure/livez)" "TLS, 1.1"
equal 2 "$(version $secure/livez)" "TLS"
equal 2 "$(version --resolve www.atoll.test:8443:127.0.3.1 https://www.atoll.test:8443/livez)" "a name"
! curl -sS -o /dev/null $secure/livez 2>no || fail "trusted without its CA"
grep -qi certificate no || fail "$(cat no)"
says "HTTP/1.1, HTTP/2 by ALPN and by prior knowledge, TLS under the world's CA only"

# A document's life with conditions.
doc=$plain/v1/docs/notes/life
equal 201 "$(ask -X PUT $doc "${json[@]}" -d '{"n":1}' -H 'If-None-Match: *')" "create"
tag=$(header etag)
[ -n "$tag" ] && [ -n "$(header atoll-session)" ] || fail "no ETag or session: $(cat head)"
equal 412 "$(ask -X PUT $doc "${json[@]}" -d '{"n":2}' -H 'If-None-Match: *')" "create again"
grep -q '"type":"urn:atoll:problem:precondition-failed"' body || fail "$(cat body)"
equal application/problem+json "$(header content-type)" "a problem's type"
equal 200 "$(ask $doc)" "read"
equal '{"n":1}' "$(cat body)" "the document"
equal "$tag" "$(header etag)" "ETag of a read"
equal 304 "$(ask $doc -H "If-None-Match: $tag")" "read what did not change"
[ ! -s body ] || fail "304 with a body: $(cat body)"
equal 204 "$(ask -X PUT $doc "${json[@]}" -d '{"n":2}' -H "If-Match: $tag")" "write what was read"
equal 412 "$(ask -X PUT $doc "${json[@]}" -d '{"n":3}' -H "If-Match: $tag")" "write over another"
equal 200 "$(ask --head $doc)" "HEAD"
equal 7 "$(header content-length)" "length by HEAD"
equal 404 "$(ask --head ${doc}less)" "HEAD of nothing"
equal 204 "$(ask -X DELETE $doc)" "delete"
equal 204 "$(ask -X DELETE $doc)" "delete nothing"
equal 404 "$(ask $doc)" "read nothing"
says "create, read, 304, If-Match, If-None-Match, HEAD, delete"

# Strange paths are keys, and come back as they went.
for key in 'a//b' 'a/../b' './x' 'a%2Fb' '%E2%98%83' 'a%20b' 'q%3Fx' 'p%25' ; do
	equal 201 "$(ask --path-as-is -X PUT "$plain/v1/docs/paths/$key" "${json[@]}" -d '{"k":1}')" "PUT $key"
	equal 200 "$(ask --path-as-is "$plain/v1/docs/paths/$key")" "GET $key"
done
equal 200 "$(ask "$plain/v1/docs/paths")" "list"
equal '"key":"./x" "key":"a b" "key":"a/../b" "key":"a//b" "key":"a/b" "key":"p%" "key":"q?x" "key":"☃"' \
	"$(grep -o '"key":"[^"]*"' body | xargs -d '\n')" "the keys"
for key in '%00' '%ff' '_x' 'a%zz' "$(printf 'x%.0s' {1..513})"; do
	status=$(ask --path-as-is "$plain/v1/docs/paths/$key")
	[[ "$status" = 400 || "$status" = 414 ]] || fail "GET ${key:0:20}: $status"
done
says "paths are keys: a//b, a/../b, a%2Fb, unicode; NUL, broken UTF-8, _x and 513 bytes are refused"

# What must be refused, each with its problem.
refused() { # STATUS KIND CURL-ARGS...
	equal "$1" "$(ask "${@:3}")" "status of ${*:3}"
	grep -q "\"type\":\"urn:atoll:problem:$2\"" body || fail "${*:3}: $(cat body)"
	grep -q '"detail":"[^"]' body || fail "no detail: $(cat body)"
	grep -q '"trace":"' body || fail "no trace: $(cat body)"
}
refused 400 bad-json -X PUT $doc "${json[@]}" -d '{"a":'
refused 400 duplicate-key -X PUT $doc "${json[@]}" -d '{"a":1,"a":2}'
refused 400 bad-json -X PUT $doc "${json[@]}" --data-binary $'{"a":"\xff"}'
refused 415 unsupported-media-type -X PUT $doc -H 'Content-Type: text/plain' -d x
refused 404 unknown-keyspace $plain/v1/docs/nowhere/x
refused 404 unknown-region -X POST $plain/v1/regions/atlantis/drain
refused 400 bad-request -X PUT $doc "${json[@]}" -d '{}' -H 'Atoll-Durability: most'
refused 409 durability-impossible -X PUT $doc "${json[@]}" -d '{}' -H 'Atoll-Durability: regions:9'
{ printf '{"a":"'; head -c 1048577 /dev/zero | tr '\0' x; printf '"}'; } >large
refused 413 too-large -X PUT $doc "${json[@]}" --data-binary @large
{ head -c 33 /dev/zero | tr '\0' '['; head -c 33 /dev/zero | tr '\0' ']'; } >deep
refused 413 too-large -X PUT $doc "${json[@]}" --data-binary "{\"a\":$(cat deep)}"
says "refused with a problem: JSON, types, keyspaces, regions, durability, size and depth"

# Parts of an object. cmd/atoll/testdata/ranges.txt has all cases, over HTTP/3 too.
head -c 2500000 /dev/urandom >film
film=$secure/v1/media/films/film
equal 201 "$(ask -X PUT $film -T film -H 'Content-Type: video/mp4')" "upload"
tag=$(header etag)
equal "\"$(sha256sum film | cut -d' ' -f1)\"" "$tag" "the ETag of an object"
part() { tail -c "+$(($1 + 1))" film | head -c "$2"; } # FROM BYTES
for version in --http1.1 --http2; do
	equal 206 "$(ask $version $film -r 1048570-1048585)" "$version: a range over the end of a chunk"
	cmp body <(part 1048570 16)
	equal "bytes 1048570-1048585/2500000" "$(header content-range)" "$version: Content-Range"
	equal 206 "$(ask $version $film -r -1000000)" "$version: the last bytes"
	cmp body <(part 1500000 1000000)
	equal 206 "$(ask $version $film -r 0-9,2000000-2000009)" "$version: two ranges"
	[[ "$(header content-type)" = multipart/byteranges\;* ]] || fail "$(cat head)"
	equal 2 "$(grep -ac '^Content-Range: bytes ' body)" "$version: parts"
	equal 416 "$(ask $version $film -r 2500000-)" "$version: beyond the end"
	equal "bytes */2500000" "$(header content-range)" "$version: Content-Range of nothing"
	equal 206 "$(ask $version $film -r 0-9 -H "If-Range: $tag")" "$version: If-Range"
	equal 200 "$(ask $version $film -r 0-9 -H 'If-Range: "other"')" "$version: If-Range of another"
	cmp body film
	equal 304 "$(ask $version $film -H "If-None-Match: $tag")" "$version: not modified"
	equal 412 "$(ask $version $film -H 'If-Match: "other"')" "$version: another one"
done
says "parts of an object, If-Range, 304 and 412 over HTTP/1.1 and 2"

# A page on the internet must not reach a developer's world.
equal 421 "$(ask $plain/readyz -H 'Host: evil.example.org')" "another Host"
equal 421 "$(ask $secure/readyz -H 'Host: evil.example.org')" "another Host over TLS"
equal 200 "$(ask $plain/readyz -H 'Host: www.atoll.test')" "a name of the zone"
equal 403 "$(ask -X POST $plain/v1/regions/tokyo/drain -H 'Origin: https://evil.example.org')" "cross-origin"
equal 403 "$(ask -X PUT $doc "${json[@]}" -d '{}' -H 'Sec-Fetch-Site: cross-site')" "cross-site"
equal 403 "$(ask -X POST http://127.0.0.1:8080/v1/dev/nodes/kill -H 'Origin: null' -d '{}')" "to the dev commands"
equal 201 "$(ask -X PUT $doc "${json[@]}" -d '{}' -H "Origin: $plain")" "its own origin"
equal 404 "$(ask $plain/v1/docs/paths/none -H 'Origin: https://evil.example.org')" "a read"
says "421 by Host, 403 for changes from another origin"

equal 200 "$(ask $plain/openapi.json)" "OpenAPI"
grep -Eq '"openapi": ?"3\.1' body || fail "$(head -c 200 body)"
equal 200 "$(ask $plain/metrics)" "metrics"
grep -q '^atoll_' body || fail "no metrics of ours"
world_stop
equal 0 "$code" "exit code"
