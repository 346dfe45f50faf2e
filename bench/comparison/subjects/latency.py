"""Round trips between two guests: idle beside the naive forwarders, back to back beside bridge."""

from __future__ import annotations

import time

from ..laboratory import Laboratory, cpu_ticks
from ..pairs import Contender, Row, Target, interleave, row
from ..paths.bridge import bridge
from ..paths.naive import naive_packet, naive_tap
from ..paths.netherd import Hypervisor
from ..traffic import RoundTrips

NAME = "latency"
ABOUT = "UDP round trips, idle and back to back, and the CPU time of an idle network"
IDLE_PAUSE_US = 3_000
# How long a network without traffic is watched.
IDLE_SECONDS = 10.0


def measure(laboratory: Laboratory, options) -> list[Row]:
    hypervisors = [
        Hypervisor(laboratory, "tap").up(),
        Hypervisor(laboratory, "packet", tun=False).up(),
    ]
    paths = [
        bridge(laboratory, offloads=True),
        naive_tap(laboratory),
        naive_packet(laboratory),
        *(hypervisor.path() for hypervisor in hypervisors),
    ]
    trips = {path.name: RoundTrips(laboratory, path, options.seconds) for path in paths}

    def samples(pause_us: int):
        return interleave(
            [
                Contender(name, lambda trip=trip: trip.measure(pause_us))
                for name, trip in trips.items()
            ],
            options.pairs,
            options.verbose,
        )

    idle, busy = samples(IDLE_PAUSE_US), samples(0)
    rows = []
    for label, found, musts in (
        ("idle", idle, {"netherd-tap": ("naive-tap", 1.2), "netherd-packet": ("naive-packet", 1.2)}),
        ("back to back", busy, {"netherd-tap": ("bridge", 2.0), "netherd-packet": ("bridge", 2.0)}),
    ):
        for name in trips:
            peer, bound = musts.get(name, (None, None))
            must = Target(bound, at_least=False) if bound else None
            rows.append(row(NAME, name, "us", found, peer=peer, must=must, label=f"{name} {label}"))

    # Let what follows the traffic (neighbour checks, ageing) pass first.
    time.sleep(2)
    before = [cpu_ticks(hypervisor.pid) for hypervisor in hypervisors]
    time.sleep(IDLE_SECONDS)
    for hypervisor, ticks in zip(hypervisors, before):
        rows.append(
            Row(NAME, f"netherd-{hypervisor.name} CPU, idle for {IDLE_SECONDS:.0f} s",
                float(cpu_ticks(hypervisor.pid) - ticks), "ticks",
                must=Target(0, at_least=False, of_ratio=False))
        )  # fmt: skip
    return rows
