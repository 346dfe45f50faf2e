#!/bin/sh
# Gets an IPv4 address for an interface with busybox's udhcpc, which calls this script again with what it got.
case $1 in
bound | renew)
    ip address replace "$ip/$mask" dev "$interface"
    for hop in $router; do ip route replace default via "$hop"; done
    for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf
    for name in $domain; do echo "search $name"; done >> /etc/resolv.conf
    ;;
deconfig | nak | leasefail) ;;
*) exec busybox udhcpc -i "$1" -n -q -s "$0" ;;
esac
