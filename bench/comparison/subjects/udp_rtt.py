"""Round trips of small datagrams between a guest and the outside, beside slirp4netns."""

from __future__ import annotations

from functools import partial

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import build
from ..paths.outside import Outside
from ..traffic import RoundTrips, placements
from .latency import IDLE_PAUSE_US, LONGEST

NAME = "udp-rtt"
ABOUT = "round trips of 64-byte UDP datagrams between a guest and the outside"
SIZE = 64


def measure(laboratory: Laboratory, options) -> list[Row]:
    outside = Outside(laboratory)
    makers = {name: partial(make, name) for name, make in outside.ways().items()}
    paths, missing = build({"host": outside.direct, **makers}, options)
    answerer = RoundTrips.answer(laboratory, paths[0])
    seconds = min(options.seconds, LONGEST)
    trips = {path.name: RoundTrips(laboratory, path, seconds, SIZE, answerer) for path in paths}

    rows = []
    for placement in placements():
        for label, pause_us in (("idle", IDLE_PAUSE_US), ("back to back", 0)):
            contenders = [
                Contender(name, partial(trip.measure, placement, pause_us))
                for name, trip in trips.items()
            ]
            samples = interleave(contenders, options, missing)
            for name in ("host", "slirp4netns", "pasta", "netherd"):
                must = Target(1, at_least=False) if name == "netherd" else None
                peer = None if name == "host" else "slirp4netns"
                full = f"{name} {label}, {placement.name}"
                rows.append(row(NAME, name, "us", samples, peer=peer, must=must, label=full))
    return rows
