"""Connects to ADDRESS PORT by TCP, and says how it ended: the error, and who said so by ICMP, with type and code."""

import errno
import select
import socket
import struct
import sys

IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE = 11, 25, 0x2000

address, port = sys.argv[1], int(sys.argv[2])
v6 = ":" in address
family, level, option, at = (
    (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_RECVERR, slice(24, 40))
    if v6
    else (socket.AF_INET, socket.IPPROTO_IP, IP_RECVERR, slice(20, 24))
)
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.setblocking(False)
    s.setsockopt(level, option, 1)
    s.connect_ex((address, port))
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    if not poll.poll(20_000):
        sys.exit("silence")
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    said = errno.errorcode.get(error, "connected")
    try:
        _, control, _, _ = s.recvmsg(0, 512, MSG_ERRQUEUE)
    except BlockingIOError:
        control = []
    for _, _, data in control:
        # struct sock_extended_err, and the offender's name behind it.
        _, _, kind, code = struct.unpack_from("IBBB", data)
        said += f" {socket.inet_ntop(family, data[at])} {kind} {code}"
print(said)
