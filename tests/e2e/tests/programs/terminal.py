"""Tries, inside a guest whose standard input is a terminal, to have the terminal signal its foreground group,
and to use keys. Prints each success as a line "ESCAPED: ..." and "held" at the end."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct

FIOASYNC, F_SETSIG = 0x5452, 10
libc = ctypes.CDLL(None, use_errno=True)


def refused(name, call):
    try:
        call()
    except PermissionError:
        return
    print(f"ESCAPED: {name}", flush=True)


def switch(file, on):
    fcntl.ioctl(file, FIOASYNC, struct.pack("i", on))


# The number of a signal alone does nothing; who gets it is decided by O_ASYNC.
fcntl.fcntl(0, F_SETSIG, signal.SIGKILL)
for terminal in [0, os.open("/dev/tty", os.O_RDWR), os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY)]:
    flags = fcntl.fcntl(terminal, fcntl.F_GETFL)
    refused("F_SETFL O_ASYNC", lambda: fcntl.fcntl(terminal, fcntl.F_SETFL, flags | os.O_ASYNC))
    refused("FIOASYNC", lambda: switch(terminal, 1))

# What is no terminal still works, both ways.
got = []
signal.signal(signal.SIGIO, lambda *_: got.append(1))
a, b = socket.socketpair()
fcntl.fcntl(a, fcntl.F_SETOWN, os.getpid())
switch(a, 1)
b.send(b"x")
switch(a, 0)
b.send(b"x")
fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
b.send(b"x")
if len(got) != 2:
    print(f"sockets gave {len(got)} signals instead of 2", flush=True)

add_key, request_key, keyctl = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[os.uname().machine]
for number, arguments in [
    (add_key, (b"user", b"netherd-test", b"x", 1, -4)),
    (request_key, (b"user", b"netherd-test", None, -4)),
    (keyctl, (0, -4, 0)),  # KEYCTL_GET_KEYRING_ID of the user's keyring
]:
    ctypes.set_errno(0)
    if libc.syscall(number, *arguments) != -1 or ctypes.get_errno() != errno.ENOSYS:
        print(f"ESCAPED: keys by call {number}", flush=True)
print("held", flush=True)
