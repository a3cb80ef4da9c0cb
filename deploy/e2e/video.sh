# A video that is stored in washington plays in a real browser from tokyo. The
# viewer jumps to near its end, as viewers do: the browser asks for that range,
# and what lies between does not cross the sea.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
source "$CHECK_LIB"
need chromium chromium
need ffmpeg ffmpeg
need node nodejs
need npm npm

cp "$here"/console/world.mjs "$here"/video/*.mjs .
npm install --silent --no-audit --no-fund --ignore-scripts --no-save \
	playwright-core@1.65.1 axe-core@4.14.1 >npm.log 2>&1 || { cat npm.log; fail "npm install"; }

# Two minutes of a moving picture, so noisy that it does not become small.
ffmpeg -hide_banner -loglevel error -f lavfi \
	-i "testsrc2=size=320x180:rate=12:duration=120,noise=alls=40:allf=t" \
	-c:v libx264 -preset ultrafast -qp 22 -g 24 -pix_fmt yuv420p -movflags +faststart film.mp4

alone=()
if unshare -n true 2>/dev/null; then
	alone=(unshare -n sh -c 'ip link set lo up && exec "$@"' sh)
	need ip iproute2
fi
CHROMIUM=$(command -v chromium) timeout 180 "${alone[@]}" node seek.mjs film.mp4 >seek.out || {
	cat seek.out
	fail "see above"
}
cat seek.out
says "$(tail -1 seek.out)"
