"""narrow.py ADDRESS PORT SIZE: sends a datagram that must not be cut, as long as it may be, until it is answered; says how
long a packet the path takes in the end."""
import errno, socket, sys

address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
v6 = ":" in address
client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
# IP_MTU_DISCOVER, IP_MTU and IPV6_MTU_DISCOVER, IPV6_MTU, set to "do" (linux/in.h, linux/in6.h)
level, discover, mtu, headers = (41, 23, 24, 48) if v6 else (0, 10, 14, 28)
client.setsockopt(level, discover, 2)
client.settimeout(1)
client.connect((address, port))
for _ in range(20):
    try:
        client.send(b"x" * size)
        client.recv(2048)
        print("answered at", client.getsockopt(level, mtu))
        break
    except TimeoutError:
        pass
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            print(error)
            break
        size = min(size, client.getsockopt(level, mtu) - headers)
else:
    print("silence at", client.getsockopt(level, mtu))
