"""How long `netherd run -- true` takes, without and with a network that is up."""

from __future__ import annotations

import statistics
import subprocess
import time

from ..laboratory import Laboratory
from ..pairs import Row, Target
from ..paths.netherd import NETWORK, Hypervisor

NAME = "start"
ABOUT = "`netherd run -- true`: cold, and when the network is up"


def milliseconds(hypervisor: Hypervisor) -> float:
    command = hypervisor.command("run", "--net", NETWORK, "--", "true")
    start = time.perf_counter()
    done = subprocess.run(
        command, env=hypervisor.environment, capture_output=True, text=True, timeout=30
    )
    spent = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"`netherd run -- true` ended with {done.returncode}: {done.stderr}")
    return spent * 1e3


def wrapper_milliseconds(hypervisor: Hypervisor) -> float:
    """What becoming the ordinary user costs; it is no part of the start."""
    command = hypervisor.command()
    command[-1:] = ["true"]
    start = time.perf_counter()
    subprocess.run(command, env=hypervisor.environment, check=True)
    return (time.perf_counter() - start) * 1e3


def measure(laboratory: Laboratory, options) -> list[Row]:
    rows = []
    for name, tun in (("tap", True), ("packet", False)):
        hypervisor = Hypervisor(laboratory, name, tun)
        overhead = statistics.median(wrapper_milliseconds(hypervisor) for _ in range(options.pairs))
        cold, warm = [], []
        for _ in range(options.pairs):
            cold.append(milliseconds(hypervisor) - overhead)
            warm.append(milliseconds(hypervisor) - overhead)
            hypervisor.call("down", NETWORK)
        for label, values, bound in (("cold", cold, 150), ("warm", warm, 50)):
            rows.append(
                Row(
                    NAME,
                    f"netherd-{name} {label}",
                    statistics.median(values),
                    "ms",
                    must=Target(bound, at_least=False, of_ratio=False),
                )
            )
    return rows
