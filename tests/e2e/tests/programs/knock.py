"""knock.py PROTOCOL ADDRESS PORT: asks, and says what came of it."""
import errno, socket, sys

protocol, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
client = socket.socket(family, kind)
client.settimeout(10)
words = {
    errno.ECONNREFUSED: "refused", errno.ECONNRESET: "reset", errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable", errno.EACCES: "prohibited",
}
try:
    client.connect((address, port))
    if protocol == "udp":
        client.send(b"who am I?")
    print(client.recv(2048).decode() or "ended\n", end="")
except TimeoutError:
    print("silence")
except OSError as error:
    print(words.get(error.errno, error))
