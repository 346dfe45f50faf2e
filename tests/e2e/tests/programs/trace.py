"""trace.py ADDRESS HOPS: who answers to datagrams that may travel one hop, two, and so on."""
import select, socket, sys

address, hops = sys.argv[1], int(sys.argv[2])
v6 = ":" in address
family, at, length = (socket.AF_INET6, 8, 16) if v6 else (socket.AF_INET, 4, 4)
# IP_TTL, IP_RECVERR and IPV6_UNICAST_HOPS, IPV6_RECVERR (linux/in.h, linux/in6.h)
level, ttl, errors = (41, 16, 25) if v6 else (0, 2, 11)
MSG_ERRQUEUE = 0x2000
EXTENDED_ERROR = 16  # bytes, before the address of who sent it
for hop in range(1, hops + 1):
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.setsockopt(level, errors, 1)
    client.setsockopt(level, ttl, hop)
    client.sendto(b"trace", (address, 33434 + hop))
    poll = select.poll()
    poll.register(client, 0)
    if not poll.poll(10000):
        print("silence")
        continue
    _, told, _, _ = client.recvmsg(2048, 512, MSG_ERRQUEUE)
    sender = told[0][2][EXTENDED_ERROR + at:][:length]
    print(socket.inet_ntop(family, sender))
