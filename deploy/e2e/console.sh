# A person at the console, in a real browser: the sea is slowed, cut and healed, a
# region drained, a node killed and started, a token asked for, all by clicking; the
# page follows, and nothing is wrong with it. SHOTS=DIR keeps pictures of each moment.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
source "$CHECK_LIB"
need chromium chromium
need node nodejs
need npm npm

cp "$here"/console/*.mjs .
npm install --silent --no-audit --no-fund --ignore-scripts --no-save \
	playwright-core@1.65.1 axe-core@4.14.1 >npm.log 2>&1 || { cat npm.log; fail "npm install"; }

# Where we may, the world gets a network of its own, with all ports free.
alone=()
if unshare -n true 2>/dev/null; then
	alone=(unshare -n sh -c 'ip link set lo up && exec "$@"' sh)
	need ip iproute2
fi
export CHROMIUM
CHROMIUM=$(command -v chromium)

# Both at once: they mostly wait for what a cluster does in its own time.
tell() { exec timeout 240 "${alone[@]}" node "$1.mjs" >"$1.log" 2>&1; }
tell token &
token=$!
trap 'kill "$token" 2>/dev/null || true' EXIT
(tell story) || { cat story.log; fail "the story of the world"; }
wait "$token" || { cat token.log; fail "the story of the token"; }
for story in story token; do
	says "$story: $(tail -1 $story.log), $(grep -c 'looked at' $story.log) states looked at"
done
