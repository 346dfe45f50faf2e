"""Round trips between two guests: idle beside the naive forwarders, back to back beside bridge."""

from __future__ import annotations

import time
from functools import partial

from ..laboratory import Laboratory, cpu_ticks
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import Path, build
from ..paths.bridge import bridge
from ..paths.naive import naive_packet, naive_tap
from ..paths.netherd import Hypervisor
from ..traffic import RoundTrips, placements

NAME = "latency"
ABOUT = "UDP round trips, idle and back to back, and the CPU time of an idle network"
IDLE_PAUSE_US = 3_000
# Seconds of one measurement: hundreds of idle round trips, tens of thousands of others.
LONGEST = 1.0
# How long a network without traffic is watched.
IDLE_SECONDS = 10.0


def measure(laboratory: Laboratory, options) -> list[Row]:
    hypervisors: list[Hypervisor] = []

    def guests(name: str, tun: bool) -> Path:
        hypervisors.append(Hypervisor(laboratory, name, tun).up())
        return hypervisors[-1].path()

    paths, missing = build(
        {
            "bridge": lambda: bridge(laboratory, offloads=True),
            "naive-tap": lambda: naive_tap(laboratory),
            "naive-packet": lambda: naive_packet(laboratory),
            "netherd-tap": lambda: guests("tap", True),
            "netherd-packet": lambda: guests("packet", False),
        },
        options,
    )
    seconds = min(options.seconds, LONGEST)
    trips = {path.name: RoundTrips(laboratory, path, seconds) for path in paths}

    rows = []
    for placement in placements():
        for label, pause_us, musts in (
            ("idle", IDLE_PAUSE_US, {"tap": ("naive-tap", 1.2), "packet": ("naive-packet", 1.2)}),
            ("back to back", 0, {"tap": ("bridge", 2.0), "packet": ("bridge", 2.0)}),
        ):
            samples = interleave(
                [
                    Contender(name, partial(trip.measure, placement, pause_us))
                    for name, trip in trips.items()
                ],
                options,
                missing,
            )
            for name in (*trips, *missing):
                peer, bound = musts.get(name.removeprefix("netherd-"), (None, None))
                must = Target(bound, at_least=False) if bound else None
                full = f"{name} {label}, {placement.name}"
                rows.append(row(NAME, name, "us", samples, peer=peer, must=must, label=full))

    # Let what follows the traffic (neighbour checks, ageing) pass first.
    time.sleep(2)
    before = [cpu_ticks(hypervisor.pid) for hypervisor in hypervisors]
    time.sleep(IDLE_SECONDS)
    for hypervisor, ticks in zip(hypervisors, before, strict=True):
        rows.append(
            Row(
                NAME,
                f"netherd-{hypervisor.name} CPU, idle for {IDLE_SECONDS:.0f} s",
                float(cpu_ticks(hypervisor.pid) - ticks),
                "ticks",
                must=Target(0, at_least=False, of_ratio=False),
            )
        )
    return rows
