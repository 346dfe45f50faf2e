"""TCP through the gateway, both ways, beside slirp4netns, pasta and the host's loopback."""

from __future__ import annotations

from functools import partial

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import build
from ..paths.outside import Outside
from ..traffic import TcpStream

NAME = "gateway"
ABOUT = "TCP from a guest to the outside and back, MTU 1500 and 65520, one stream and four"
MTUS = (1500, 65520)
STREAMS = (1, 4)
# Least ratio of one stream to slirp4netns, by MTU and direction.
BESIDE_SLIRP = {(1500, "out"): 5.0, (1500, "in"): 3.0, (65520, "out"): 1.5, (65520, "in"): 1.5}
# And to the host's loopback, at the smallest MTU.
BESIDE_LOOPBACK = 0.3


def measure(laboratory: Laboratory, options) -> list[Row]:
    outside = Outside(laboratory)
    makers = {"loopback": outside.loopback}
    for mtu in MTUS:
        makers |= {
            f"{who} {mtu}": partial(make, f"{who} {mtu}", mtu)
            for who, make in outside.ways().items()
        }
    paths, missing = build(makers, options)
    loads: dict[str, TcpStream] = {}
    for path in paths:
        for way in ("out",) if path.name == "loopback" else ("out", "in"):
            for streams in STREAMS:
                loads[label(path.name, way, streams)] = TcpStream(
                    laboratory, path, options.seconds, streams, reverse=way == "in"
                )
    missing = {
        label(name, way, streams): why
        for name, why in missing.items()
        for way in ("out", "in")
        for streams in STREAMS
    }
    contenders = [Contender(name, load) for name, load in loads.items()]
    samples = interleave(contenders, options, missing)

    def line(name: str, peer: str | None = None, must: Target | None = None) -> Row:
        return row(NAME, name, "Gbit/s", samples, peer=peer, must=must)

    rows = [line(label("loopback", "out", streams)) for streams in STREAMS]
    for mtu in MTUS:
        for way in ("out", "in"):
            one = {
                who: label(f"{who} {mtu}", way, 1) for who in ("netherd", "slirp4netns", "pasta")
            }
            rows += [line(one["slirp4netns"]), line(one["pasta"], peer=one["slirp4netns"])]
            must = Target(BESIDE_SLIRP[mtu, way], at_least=True)
            rows.append(line(one["netherd"], one["slirp4netns"], must))
            must = Target(BESIDE_LOOPBACK, at_least=True) if mtu == min(MTUS) else None
            rows.append(line(one["netherd"], label("loopback", "out", 1), must))
            for who, name in one.items():
                must = Target(1.0, at_least=True) if who == "netherd" else None
                rows.append(line(label(f"{who} {mtu}", way, 4), name, must))
    return rows


def label(name: str, way: str, streams: int) -> str:
    how = "" if name == "loopback" else f" {way}"
    return f"{name}{how}{' x 4' if streams == 4 else ''}"
