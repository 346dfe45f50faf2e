"""Tries, inside a guest, all that a guest must not be able to do. Prints each success as a line
"ESCAPED: ..." and "held" at the end.

Arguments: the outer network's directory, the hypervisor's process, the process of another `run`."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time

if os.getpid() != 2 or os.getppid() != 1:
    sys.exit("this is no guest: the signals below would hit others")
directory, hypervisor, neighbour = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
netherd = sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)


def escaped(what):
    print(f"ESCAPED: {what}", flush=True)


def runs(*command):
    return subprocess.run(command, capture_output=True, timeout=20).returncode == 0


def refused(name, call, *allowed):
    """`call` must fail with one of the errors, or any if none is named."""
    try:
        call()
    except OSError as error:
        if allowed and error.errno not in allowed:
            escaped(f"{name}: {error}")
        return
    escaped(name)


def connect(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.connect(path)


def outer_nodes(where):
    for node, kind in [
        ("api", socket.SOCK_STREAM),
        ("stream", socket.SOCK_STREAM),
        ("ctl", socket.SOCK_STREAM),
        ("seqpacket", socket.SOCK_SEQPACKET),
        ("dgram", socket.SOCK_DGRAM),
    ]:
        refused(f"{node} in {where}", lambda: connect(f"{where}/{node}", kind))


# The sockets, by their names and around the covers.
base = os.path.dirname(directory)
outer_nodes(directory)
for prefix in ["/proc/1/root", "/proc/1/cwd", "/proc/self/root"]:
    outer_nodes(prefix + directory)
if os.path.exists(f"/proc/{hypervisor}") and "up" in open(f"/proc/{hypervisor}/cmdline").read():
    escaped("the hypervisor is visible")

# The covers.
for target in [base, "/proc"]:
    for flags in [0, 2, 1]:  # MNT_DETACH, MNT_FORCE
        if libc.umount2(target.encode(), flags) == 0:
            escaped(f"umount2 {target} {flags}")
    outer_nodes(directory)
# The guest's own view of /sys is user id 0's to take away; the machine's is below, and as read-only.
for _ in range(3):
    if not os.statvfs("/sys").f_flag & os.ST_RDONLY:
        escaped("/sys can be written to")
    if libc.mount(None, b"/sys", None, 32 | 4096, None) == 0:  # MS_REMOUNT, MS_BIND
        escaped("/sys was made writable")
    libc.umount2(b"/sys", 2)
for command in [
    ("unshare", "-Urm", "umount", "-l", base),
    ("unshare", "-Urm", "sh", "-c", f"mount --bind {os.path.dirname(base)} /mnt && test -S /mnt/netherd/default/api"),
    ("unshare", "-m", "sh", "-c", f"mount --bind {os.path.dirname(base)} /mnt && test -S /mnt/netherd/default/api"),
    ("unshare", "-m", "sh", "-c", f"mount --move {base} /mnt"),
]:
    if runs(*command):
        escaped(" ".join(command))

# init and its namespaces.
for name in ["user", "mnt", "net", "pid"]:
    if runs("nsenter", f"--{ {'mnt': 'mount'}.get(name, name) }=/proc/1/ns/{name}", "true") and name != "pid":
        escaped(f"nsenter init's {name}")
refused("init's descriptors", lambda: os.listdir("/proc/1/fd"))
refused("init's memory", lambda: open("/proc/1/mem", "rb"))
if libc.ptrace(16, 1, 0, 0) == 0:  # PTRACE_ATTACH
    escaped("ptrace init")

# The link: its outer end is nowhere here, and its inner end cannot be put where init is.
shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
names = sorted(line.split(": ")[1].split("@")[0] for line in shown.splitlines())
if names != ["eth0", "lo"]:
    escaped(f"interfaces {names}")
if runs("ip", "link", "set", "eth0", "netns", "1"):
    escaped("eth0 moved to init's namespace")

# Signals.
for pid in [hypervisor, neighbour]:
    refused(f"signal to {pid}", lambda: os.kill(pid, 0), errno.ESRCH)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(0, signal.SIGTERM)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.kill(0, signal.SIGHUP)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
os.kill(1, signal.SIGUSR1)
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGSTOP)
try:
    os.kill(-1, signal.SIGTERM)
except ProcessLookupError:
    pass
number = {"x86_64": (141, 251, 424), "aarch64": (140, 30, 424)}[os.uname().machine]
ctypes.set_errno(0)
if libc.syscall(number[0], 1, 0, 10) == 0:
    escaped("setpriority of the outer group")
if libc.syscall(number[1], 2, 0, 0) == 0:
    escaped("ioprio_set of the outer group")
try:
    own = os.pidfd_open(os.getpid())
    if libc.syscall(number[2], own, 0, 0, 4) == 0:
        escaped("pidfd_send_signal to a group")
except (OSError, AttributeError):
    pass

# The outer network through netherd itself: what it finds and starts is its own.
shown = subprocess.run([netherd, "show", "--json"], capture_output=True, text=True, timeout=20)
if shown.returncode == 0:
    escaped(f"netherd show reached a network: {shown.stdout}")
inner = subprocess.run(
    [netherd, "run", "--name", "inner", "--", netherd, "ls"],
    capture_output=True,
    text=True,
    timeout=30,
)
if inner.returncode != 0:
    print(f"nested run: {inner.returncode} {inner.stderr}", flush=True)
time.sleep(0.1)
print("held", flush=True)
