"""Debian's vde2: vde_switch between two vde_plug2tap, and the same clients on netherd's `ctl`."""

from __future__ import annotations

import pathlib
import subprocess

from ..laboratory import RUN, Laboratory, check, wait_until
from . import Path


def vde_switch(laboratory: Laboratory) -> Path:
    directory = RUN / "vde.ctl"
    # The console reads standard input and ends the switch at its end: keep it open.
    switch = laboratory.spawn(
        [laboratory.peer("vde_switch"), "-s", str(directory)], "vde_switch", stdin=subprocess.PIPE
    )
    wait_until("vde_switch's socket", (directory / "ctl").exists)
    return clients(laboratory, "vde_switch", directory, switch.pid, "10.72.0")


def clients(
    laboratory: Laboratory, name: str, directory: pathlib.Path, forwarder: int, prefix: str
) -> Path:
    """A vde_plug2tap on each side of whatever serves `directory` as a VDE switch."""
    ends = []
    for number in (1, 2):
        end = laboratory.station(f"{name}-{number}", f"{prefix}.{number}", "vde0")
        laboratory.spawn(
            end.within([laboratory.peer("vde_plug2tap"), "-s", str(directory), "vde0"]),
            f"{name}-plug-{number}",
        )
        wait_until(
            "vde_plug2tap's tap (see the log of the switch)",
            lambda end=end: "vde0:" in pathlib.Path(f"/proc/{end.pid}/net/dev").read_text(),
        )
        check(end.within(["ip", "address", "add", f"{end.address}/24", "dev", "vde0"]))
        check(end.within(["ip", "link", "set", "vde0", "up"]))
        ends.append(end)
    return Path(name, *ends, [forwarder])
