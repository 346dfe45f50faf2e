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
# Guests are processes: fewer of them say as much about the hypervisor.
GUESTS = 20
GUEST_CYCLES = 100


def pss_kib(pid: int) -> int:
    """Proportional set size of the process, KiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1])


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


def measure(laboratory: Laboratory, options) -> list[Row]:
    rows = []
    must = Target(256, at_least=False, of_ratio=False)

    hypervisor = Hypervisor(laboratory, "memory").up()
    pid = hypervisor.pid
    # What is allocated once, whoever comes first, is not the cost of a port.
    connect(hypervisor).close()
    settle(hypervisor)
    resting = descriptors(pid)
    before = pss_kib(pid)
    ports = [connect(hypervisor) for _ in range(PORTS)]
    wait_until(f"{PORTS} ports", lambda: descriptors(pid) >= resting + PORTS)
    settle(hypervisor)
    rows.append(
        Row(
            NAME,
            f"stream port, idle, over {PORTS}",
            (pss_kib(pid) - before) / PORTS,
            "KiB",
            must=must,
        )
    )
    for port in ports:
        port.close()
    wait_until("the ports' end", lambda: descriptors(pid) <= resting)

    before = pss_kib(pid)
    guests = [hypervisor.guest(f"guest-{number}") for number in range(GUESTS)]
    settle(hypervisor)
    rows.append(
        Row(
            NAME,
            f"guest, idle, over {GUESTS}",
            (pss_kib(pid) - before) / len(guests),
            "KiB",
            must=must,
        )
    )

    hypervisor = Hypervisor(laboratory, "cycles").up()
    pid = hypervisor.pid
    for what, cycles, once in (
        ("stream", CYCLES, lambda: connect(hypervisor).close()),
        ("guest", GUEST_CYCLES, lambda: run_true(hypervisor)),
    ):
        for _ in range(10):
            once()
        settle(hypervisor)
        resting, before = descriptors(pid), pss_kib(pid)
        for number in range(cycles):
            once()
            if number % 50 == 49:
                settle(hypervisor)
        settle(hypervisor)
        none = Target(0, at_least=False, of_ratio=False)
        # The allocator rounds: less than a page in ten cycles is no leak of a port.
        little = Target(cycles * 4 / 10, at_least=False, of_ratio=False)
        rows.append(
            Row(
                NAME,
                f"descriptors after {cycles} x {what}",
                float(descriptors(pid) - resting),
                "fds",
                must=none,
            )
        )
        rows.append(
            Row(
                NAME,
                f"memory after {cycles} x {what}",
                float(pss_kib(pid) - before),
                "KiB",
                must=little,
            )
        )
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
