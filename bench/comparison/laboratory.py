"""The place where everything is measured: namespaces, processes, their end.

A child of the program goes on in new mount, network and PID namespaces, as
the first process of the latter. When that process ends, for whatever reason,
the kernel ends every other process in it, and with the last process every
namespace and interface goes. /run is an empty file system of our own, so
nothing is left on disk either. No clean-up code has to run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

RUN = Path("/run")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x0002_0000, 0x2000_0000, 0x4000_0000  # linux/sched.h
# An ordinary user without an entry in the password file: what is measured
# must not depend on one.
USER = 61_234

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """A peer or an option that this machine does not have; the message says which and why."""


def enter() -> None:
    """Returns only inside the laboratory; the process that called ends with it."""
    if os.geteuid() != 0:
        sys.exit(
            "bench/compare: must be run as root: the bridge and the taps of the peers need "
            "CAP_NET_ADMIN. (netherd itself is measured as an ordinary user.)"
        )
    if _libc.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID) != 0:
        sys.exit(f"bench/compare: no namespaces: {os.strerror(ctypes.get_errno())}")
    first = os.fork()
    if first:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: os.kill(first, signal.SIGKILL))
        _, status = os.waitpid(first, 0)
        sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 130)
    _die_with_parent()
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(RUN))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def check(command: list[str], **more) -> str:
    """Runs a command that must succeed and returns what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(
            f"`{' '.join(command)}` ended with {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def wait_until(what: str, condition, seconds: float = 10.0):
    """The first true value of `condition()`; RuntimeError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of `pid`, in seconds, in nanosecond steps.

    /proc/PID/stat has the same sum in steps of 10 ms, too coarse for short runs.
    """
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # the thread has just ended
    return total / 1e9


def cpu_ticks(pid: int) -> int:
    """utime + stime of /proc/PID/stat, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def descendants(pid: int) -> dict[int, str]:
    """The processes below `pid` and their command names. One that ends meanwhile is left out."""
    found = {}
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found[child] = Path(f"/proc/{child}/comm").read_text().strip()
                found |= descendants(child)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


@dataclass
class Station:
    """One end of a measured path: a network namespace and its address there."""

    pid: int  # of any process in the namespace
    address: str
    interface: str = "eth0"

    def within(self, command: list[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

    def counters(self) -> dict[str, int]:
        """The interface's counters, from the kernel's own table."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            name, colon, rest = line.partition(":")
            if colon and name.strip() == self.interface:
                values = [int(value) for value in rest.split()]
                return {
                    "rx_bytes": values[0],
                    "rx_frames": values[1],
                    "rx_drops": values[3],
                    "tx_bytes": values[8],
                    "tx_frames": values[9],
                    "tx_drops": values[11],
                }
        raise RuntimeError(f"no interface {self.interface} in the namespace of {self.pid}")

    def listens(self, port: int, table: str = "tcp") -> bool:
        wanted = f":{port:04X} "
        return any(
            wanted in line.split("rem_address")[0][:45]
            for name in (table, table + "6")
            for line in Path(f"/proc/{self.pid}/net/{name}").read_text().splitlines()[1:]
        )


@dataclass
class Laboratory:
    binaries: Path
    processes: list[subprocess.Popen] = field(default_factory=list)
    verbose: bool = False

    def __post_init__(self) -> None:
        # A private copy that any user can run, and that a build beside us does not replace.
        self.bin = RUN / "bin"
        self.bin.mkdir(exist_ok=True)
        self.logs = RUN / "log"
        self.logs.mkdir(exist_ok=True)
        self.logs.chmod(0o1777)

    def tool(self, name: str) -> str:
        """Path of one of our own programs."""
        copy = self.bin / name
        if not copy.exists():
            built = self.binaries / name
            if not built.exists():
                raise Unavailable(
                    f"{built} is not built (cargo build --release -p netherd -p nic -p bench)"
                )
            shutil.copy2(built, copy)
            copy.chmod(0o755)
        return str(copy)

    def peer(self, name: str) -> str:
        path = shutil.which(name)
        if path is None:
            raise Unavailable(f"{name} is not installed")
        return path

    def spawn(self, command: list[str], name: str, **more) -> subprocess.Popen:
        """Starts a process that ends with us; its output goes to /run/log/NAME."""
        log = open(self.logs / name, "ab")
        if self.verbose:
            print("+", " ".join(command), file=sys.stderr)
        more.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=_die_with_parent, **more
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        return (self.logs / name).read_text(errors="replace").strip()

    def station(self, name: str, address: str = "", interface: str = "eth0") -> Station:
        """A new network namespace with `lo` up."""
        holder = self.spawn(["unshare", "--net", "sleep", "infinity"], f"holder-{name}")
        ours = os.readlink("/proc/self/ns/net")
        wait_until(
            f"namespace {name}",
            lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != ours,
        )
        station = Station(holder.pid, address, interface)
        check(station.within(["ip", "link", "set", "lo", "up"]))
        return station

    def end(self, *processes: subprocess.Popen) -> None:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process in self.processes:
                self.processes.remove(process)

    def end_all(self) -> None:
        self.end(*reversed(self.processes))


def as_user(command: list[str], tun: bool = True) -> list[str]:
    """The command as an ordinary user, who may or may not open /dev/net/tun."""
    device = "mknod -m 0666 /dev/net/tun c 10 200 &&" if tun else ""
    script = (
        f"mkdir -p /dev/net && mount -t tmpfs -o mode=0755 tmpfs /dev/net && {device} "
        f'exec setpriv --reuid {USER} --regid {USER} --clear-groups -- "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command]
