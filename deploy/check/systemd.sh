# systemd takes the unit, and finds it little exposed: 1.6 of 10 when it was
# written (systemd 252), most of that for the network that the node is there for.
source "$CHECK_LIB"
need systemd-analyze systemd

unit=$(cd "$(dirname "$CHECK_LIB")/../systemd" && pwd)/atoll.service
sed "s|/usr/local/bin/atoll|$ATOLL|" "$unit" >atoll.service
systemd-analyze verify --man=no ./atoll.service
systemd-analyze security --offline=true --threshold=20 ./atoll.service
