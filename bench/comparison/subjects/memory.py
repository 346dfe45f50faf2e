"""What an idle port costs, and what a thousand ports that came and went leave behind."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import time

from ..laboratory import USER, Laboratory, wait_until
from ..pairs import Row, Target
from ..paths.netherd import NETWORK, Hypervisor

NAME = "memory"
ABOUT = "memory of an idle port over 100 ports; 1,000 ports that come and go"
PORTS = 100
CYCLES = 1000
# Come and gone before counting: tables and the allocator's lists have their size by then.
WARM_UP = 100
# Guests are processes: fewer of them say as much about the hypervisor.
GUESTS = 20


def memory_kib(pid: int) -> int:
    """The anonymous part of the process's proportional set size, KiB.

    The program's own pages are left out because every further `netherd run` shares them: with
    each guest the hypervisor's part of them would shrink, and hide what it allocates.
    """
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE)[1])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def connect(hypervisor: Hypervisor) -> socket.socket:
    """A port on the `stream` node; made with the user's identity, which the node asks for."""
    port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.seteuid(USER)
    try:
        port.connect(str(hypervisor.directory / "stream"))
    finally:
        os.seteuid(0)
    return port


def at_most(name: str, value: float, unit: str, bound: float) -> Row:
    must = Target(bound, at_least=False, of_ratio=False)
    return Row(NAME, name, float(value), unit, must=must)


def measure(laboratory: Laboratory, options) -> list[Row]:
    cycles = CYCLES // 10 if options.quick else CYCLES
    return [
        *idle(Hypervisor(laboratory, "memory").up()),
        *come_and_go(Hypervisor(laboratory, "cycles").up(), cycles),
    ]


def idle(hypervisor: Hypervisor) -> list[Row]:
    pid = hypervisor.pid
    # What is allocated once, whoever comes first, is not the cost of a port.
    connect(hypervisor).close()
    settle(hypervisor)
    resting, before = descriptors(pid), memory_kib(pid)
    ports = [connect(hypervisor) for _ in range(PORTS)]
    wait_until(f"{PORTS} ports", lambda: descriptors(pid) >= resting + PORTS)
    settle(hypervisor)
    each = (memory_kib(pid) - before) / PORTS
    rows = [at_most(f"stream port, idle, over {PORTS}", each, "KiB", 256)]
    for port in ports:
        port.close()
    wait_until("the ports' end", lambda: descriptors(pid) <= resting)

    before = memory_kib(pid)
    for number in range(GUESTS):
        hypervisor.guest(f"guest-{number}")
    settle(hypervisor)
    each = (memory_kib(pid) - before) / GUESTS
    return [*rows, at_most(f"guest, idle, over {GUESTS}", each, "KiB", 256)]


def come_and_go(hypervisor: Hypervisor, cycles: int) -> list[Row]:
    pid = hypervisor.pid
    rows = []
    for what, once in (
        ("stream", lambda: connect(hypervisor).close()),
        ("guest", lambda: run_true(hypervisor)),
    ):
        for _ in range(WARM_UP):
            once()
        settle(hypervisor)
        resting, before = descriptors(pid), memory_kib(pid)
        for number in range(cycles):
            once()
            if number % 50 == 49:
                settle(hypervisor)
        settle(hypervisor)
        left = descriptors(pid) - resting
        rows.append(at_most(f"descriptors left by {cycles} x {what}", left, "fds", 0))
        # A leak of one small object for each port would be more than this.
        grown = memory_kib(pid) - before
        rows.append(at_most(f"memory left by {cycles} x {what}", grown, "KiB", cycles / 10))
    return rows


def run_true(hypervisor: Hypervisor) -> None:
    subprocess.run(
        hypervisor.command("run", "--net", NETWORK, "--", "true"),
        env=hypervisor.environment,
        check=True,
        timeout=30,
    )


def settle(hypervisor: Hypervisor) -> None:
    """Waits until the hypervisor has done what it was asked for."""
    hypervisor.call("ls")
    time.sleep(0.1)
