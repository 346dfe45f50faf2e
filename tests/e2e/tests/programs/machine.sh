# A machine whose /etc and /run are as the test wants them, in a mount namespace of its own, and on it a
# guest of an ordinary user.  machine.sh FOLDER VARIANT UID GID CMD...
set -eu
folder=$1 variant=$2 uid=$3 gid=$4
shift 4
cp -a /etc "$folder/etc"
mount --bind "$folder/etc" /etc
mount -t tmpfs tmpfs /run
rm -f /etc/resolv.conf
echo '192.0.2.98 web nas.example' >> /etc/hosts

foreign='nameserver 192.0.2.99'
case $variant in
file) echo "$foreign" > /etc/resolv.conf ;;
dangling) ln -s ../run/nowhere/resolv.conf /etc/resolv.conf ;;
link)
    mkdir /run/somewhere
    echo "$foreign" > /run/somewhere/resolv.conf
    ln -s /run/somewhere/resolv.conf /etc/resolv.conf
    ;;
missing) ;;
nothing) rm -f /etc/hosts ;;
read-only)
    ln -s ../run/nowhere/resolv.conf /etc/resolv.conf
    mount -o remount,bind,ro /etc
    ;;
nothing-read-only)
    rm -f /etc/hosts
    mount -o remount,bind,ro /etc
    ;;
services)
    # What answers for others: their sockets, with somebody behind them.
    mkdir -p /run/systemd/resolve /run/nscd /run/nslcd /run/avahi-daemon /run/dbus
    echo "$foreign" > /run/systemd/resolve/stub-resolv.conf
    ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    python3 -c '
import select, socket, sys
held = []
for path in sys.argv[1:]:
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(path)
    held[-1].listen()
open("/run/listening", "w").close()
while ready := select.select(held, [], [], 60)[0]:
    # Who looks a user up here would wait for a silent one.
    ready[0].accept()[0].close()' /run/systemd/resolve/io.systemd.Resolve /run/nscd/socket /run/nslcd/socket \
        /run/avahi-daemon/socket /run/dbus/system_bus_socket < /dev/null > /dev/null 2>&1 &
    until test -e /run/listening; do sleep 0.05; done
    chmod -R a+rwX /run/systemd /run/nscd /run/nslcd /run/avahi-daemon
    ;;
replaced)
    echo "$foreign" > /etc/resolv.conf
    (
        until test -e "$folder/guest/ready"; do sleep 0.05; done
        for number in 1 2 3; do
            echo "$foreign" > /etc/resolv.conf.new
            mv /etc/resolv.conf.new /etc/resolv.conf
            rm /etc/resolv.conf
            ln -s ../run/nowhere/resolv.conf /etc/resolv.conf
        done
        touch "$folder/guest/replaced"
    ) &
    ;;
esac
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups "$@"
