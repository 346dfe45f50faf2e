"""Debian's vde2: vde_switch between two vde_plug2tap, and the same clients on netherd's `ctl`."""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile

from ..laboratory import RUN, USER, Laboratory, as_user, check, wait_until
from . import Path


def vde_switch(laboratory: Laboratory) -> Path:
    place = pathlib.Path(tempfile.mkdtemp(prefix="vde-", dir=RUN))
    os.chown(place, USER, USER)
    directory = place / "ctl"
    # The console reads standard input and ends the switch at its end: keep it open.
    switch = laboratory.spawn(
        as_user([laboratory.peer("vde_switch"), "-s", str(directory)]),
        "vde_switch",
        stdin=subprocess.PIPE,
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
        # The client runs as the user of the switch, so that each may open the other's socket;
        # a tap of that user is made for it, because only root may make one here.
        check(end.within(["ip", "tuntap", "add", "vde0", "mode", "tap", "user", str(USER)]))
        plug = [laboratory.peer("vde_plug2tap"), "-s", str(directory), "vde0"]
        log = f"{name}-plug-{number}"
        client = laboratory.spawn(end.within(as_user(plug)), log)
        check(end.within(["ip", "address", "add", f"{end.address}/24", "dev", "vde0"]))
        check(end.within(["ip", "link", "set", "vde0", "up"]))
        # The tap has a carrier as long as a program has it open.
        wait_until(
            "vde_plug2tap",
            lambda end=end, client=client: (
                client.poll() is not None
                or "LOWER_UP" in check(end.within(["ip", "link", "show", "vde0"]))
            ),
        )
        if client.poll() is not None:
            raise RuntimeError(f"vde_plug2tap ended at {directory}: {laboratory.log(log)}")
        ends.append(end)
    return Path(name, *ends, [forwarder])
