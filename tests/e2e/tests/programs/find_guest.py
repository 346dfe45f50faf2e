"""find_guest.py NAME: asks multicast DNS for its addresses, alone and as a responder does, and says what it hears."""
import ipaddress, socket, struct, sys

PORT = 5353
device = socket.if_nametoindex("eth0")


def client(family, group, port):
    its = socket.socket(family, socket.SOCK_DGRAM)
    its.settimeout(1)
    its.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    its.bind(("", port))
    packed = socket.inet_pton(family, group)
    if family == socket.AF_INET:
        its.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        where = struct.pack("=4s4xi", packed, device)
        its.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, where)
    else:
        its.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        its.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("=i", device))
    return its


for family, group, kind, size in [
    (socket.AF_INET, ("224.0.0.251", PORT), 1, 4),
    (socket.AF_INET6, ("ff02::fb", PORT, 0, device), 28, 16),
]:
    name = b"".join(bytes([len(it)]) + it.encode() for it in [sys.argv[1], "local", ""])
    question = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + name + struct.pack(">2H", kind, 1)
    for port in [0, PORT]:
        its = client(family, group[0], port)
        heard = "silence"
        # The guest may have no address of its own yet.
        for _ in range(10):
            try:
                its.sendto(question, group)
                heard = str(ipaddress.ip_address(its.recv(2048)[-size:]))
                break
            except OSError:
                pass
        print(heard)
