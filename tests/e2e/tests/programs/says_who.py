"""says_who.py PROTOCOL PORT: tells everybody who asks which address he has."""
import socket, sys

protocol, port = sys.argv[1], int(sys.argv[2])
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
server = socket.socket(socket.AF_INET6, kind)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", port))
if protocol == "tcp":
    server.listen(16)
print("ready", flush=True)
while True:
    if protocol == "tcp":
        client, address = server.accept()
        answer = lambda text: client.sendall(text)
    else:
        _, address = server.recvfrom(2048)
        answer = lambda text: server.sendto(text, address)
    who = address[0].removeprefix("::ffff:")
    print("asked from", who, flush=True)
    answer(f"you are {who}\n".encode())
    if protocol == "tcp":
        client.close()
