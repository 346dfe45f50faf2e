"""vde2's own clients on vde_switch and on netherd: throughput, and the switch's CPU per frame."""

from __future__ import annotations

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import Path, build
from ..paths.netherd import Hypervisor
from ..paths.vde import clients, vde_switch
from ..traffic import TcpStream, UdpFrames

NAME = "vde"
ABOUT = "vde_plug2tap on both sides of netherd's `ctl`, beside vde_switch"
# A load that both switches carry without loss, to compare their cost at equal work.
OFFERED = 20_000


def netherd(laboratory: Laboratory) -> Path:
    hypervisor = Hypervisor(laboratory, "vde").up()
    return clients(laboratory, "netherd-vde", hypervisor.directory, hypervisor.pid, "10.75.0")


def measure(laboratory: Laboratory, options) -> list[Row]:
    paths, missing = build(
        {"vde_switch": lambda: vde_switch(laboratory), "netherd-vde": lambda: netherd(laboratory)},
        options,
    )
    streams = interleave(
        [Contender(path.name, TcpStream(laboratory, path, options.seconds)) for path in paths],
        options,
        missing,
    )
    frames = interleave(
        [
            Contender(path.name, UdpFrames(laboratory, path, options.seconds, OFFERED))
            for path in paths
        ],
        options,
        missing,
    )

    rows = []
    for label, unit, samples, key, must in (
        ("TCP", "Gbit/s", streams, None, Target(1.0, at_least=True)),
        ("TCP, CPU", "us/frame", streams, "cpu_per_frame_us", Target(0.6, at_least=False)),
        ("64 B at 20,000/s", "frames/s", frames, None, None),
        ("64 B at 20,000/s, CPU", "us/frame", frames, "cpu_per_frame_us", None),
    ):
        rows.append(row(NAME, "vde_switch", unit, samples, key=key, label=f"vde_switch {label}"))
        rows.append(
            row(
                NAME,
                "netherd-vde",
                unit,
                samples,
                peer="vde_switch",
                must=must,
                key=key,
                label=f"netherd-vde {label}",
            )
        )
    return rows
