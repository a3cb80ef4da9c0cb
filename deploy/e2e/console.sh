# A person at the console, in a real browser: the sea is cut and healed, a node
# is killed and started, all by clicking; the page follows, and nothing is wrong
# with it. SHOTS=DIR keeps pictures of each moment.
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
CHROMIUM=$(command -v chromium) timeout 180 "${alone[@]}" node story.mjs
