"""Sends, and is gone; or takes what comes, late and slowly.

sends_off.py send ADDRESS PORT COUNT: ends when everything is acknowledged to it, and waits for no answer.
sends_off.py drop ADDRESS PORT COUNT: ends as soon as its kernel has everything.
sends_off.py take PORT FILE: writes into the file how much came by each connection, and how it ended.
"""

import fcntl
import socket
import struct
import sys
import termios
import time

if sys.argv[1] != "take":
    stream = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    stream.sendall(bytes(int(sys.argv[4])))
    while sys.argv[1] == "send" and struct.unpack("i", fcntl.ioctl(stream, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.01)
    stream.close()
else:
    listener = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    while True:
        stream, _ = listener.accept()
        time.sleep(2)
        count, end = 0, "end"
        try:
            while data := stream.recv(1000):
                count += len(data)
        except OSError as error:
            end = error.strerror
        with open(sys.argv[3], "a") as file:
            print(count, end, file=file)
