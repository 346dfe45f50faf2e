"""One TCP stream between a guest and a station of a real segment, beside Linux bridge + veth."""

from __future__ import annotations

import dataclasses

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import Path, build
from ..paths.bridge import bridge
from ..paths.nic import OnDevice
from ..traffic import TcpStream

NAME = "nic"
ABOUT = "one iperf3 stream between a guest and the wire through netherd-nic, beside bridge + veth"


def measure(laboratory: Laboratory, options) -> list[Row]:
    paths, missing = build(
        {
            "bridge": lambda: bridge(laboratory, offloads=True),
            "netherd-nic": lambda: OnDevice(laboratory, "nic").up().path(),
        },
        options,
    )
    ways = [way for path in paths for way in both(path)]
    contenders = [Contender(way.name, TcpStream(laboratory, way, options.seconds)) for way in ways]
    missing |= {f"{name} in": why for name, why in missing.items()}
    samples = interleave(contenders, options, missing)

    rows = []
    for way in ("", " in"):
        rows.append(row(NAME, f"bridge{way}", "Gbit/s", samples))
        must = Target(0.6, at_least=True)
        rows.append(
            row(NAME, f"netherd-nic{way}", "Gbit/s", samples, peer=f"bridge{way}", must=must)
        )
    return rows


def both(path: Path) -> tuple[Path, Path]:
    """Out of the guest, and into it."""
    back = dataclasses.replace(path, name=f"{path.name} in", a=path.b, b=path.a)
    return path, back
