# In a guest of `netherd run --root`: forgets what the guest was given, and gets it by dhclient with Debian's script.
# That waits for ever where it may not write to /etc, so there is another one here, with what both of them read.
set -e
mkdir etc
cp -r /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /etc/fstab /etc/dhcp etc/
mount --bind etc /etc
touch /etc/resolv.conf
ip -4 address flush dev eth0
address() { ip -4 address show dev eth0 | sed -n 's/ *inet \([^ ]*\) .*/\1/p'; }
# Its own folder is root's.
touch lease4 lease6

echo "NONE $(address)"
dhclient -4 -1 -lf lease4 -pf pid4 eth0
echo "IPV4 $(address)"
echo "ROUTE $(ip -4 route show default | sed 's/default via \([^ ]*\) .*/\1/')"
echo "RESOLV4" $(cat /etc/resolv.conf)
dhclient -6 -S -1 -lf lease6 -pf pid6 eth0
echo "RESOLV6" $(cat /etc/resolv.conf)
echo "PING $(ping -c 1 -W 5 client.n.internal | grep -o '[0-9]* received')"
dhclient -4 -r -lf lease4 -pf pid4 eth0
echo "RELEASED $(address)"
echo READY
exec sleep 600
