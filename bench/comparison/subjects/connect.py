"""Connections through the gateway: connect, request, answer, close; one after the other."""

from __future__ import annotations

from functools import partial

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import build
from ..paths.outside import Outside
from ..traffic import Connections

NAME = "connect"
ABOUT = "TCP connections with one request each from a guest to the outside"


def measure(laboratory: Laboratory, options) -> list[Row]:
    outside = Outside(laboratory)
    makers = {name: partial(make, name) for name, make in outside.ways().items()}
    paths, missing = build({"host": outside.direct, **makers}, options)
    contenders = [
        Contender(path.name, Connections(laboratory, path, options.seconds)) for path in paths
    ]
    samples = interleave(contenders, options, missing)
    must = Target(1.2, at_least=True)
    unit = "per s"
    return [
        row(NAME, "host", unit, samples),
        row(NAME, "slirp4netns", unit, samples),
        row(NAME, "pasta", unit, samples, peer="slirp4netns"),
        row(NAME, "netherd", unit, samples, peer="slirp4netns", must=must),
        *(
            row(NAME, name, "us", samples, key="cpu_us", label=f"{name}, CPU for each")
            for name in makers
        ),
    ]
