"""UDP frames of 64 bytes between two guests, beside the naive forwarders, at the same load."""

from __future__ import annotations

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import build
from ..paths.bridge import bridge
from ..paths.naive import naive_packet, naive_tap
from ..paths.netherd import Hypervisor
from ..traffic import UdpFrames

NAME = "udp"
ABOUT = "UDP frames of 64 bytes, as many as the receiver counts, beside a naive forwarder"


def measure(laboratory: Laboratory, options) -> list[Row]:
    paths, missing = build(
        {
            "bridge": lambda: bridge(laboratory, offloads=True),
            "naive-tap": lambda: naive_tap(laboratory),
            "naive-packet": lambda: naive_packet(laboratory),
            "netherd-tap": lambda: Hypervisor(laboratory, "tap").up().path(),
            "netherd-packet": lambda: Hypervisor(laboratory, "packet", tun=False).up().path(),
        },
        options,
    )
    contenders = [
        Contender(path.name, UdpFrames(laboratory, path, options.seconds, options.udp_rate))
        for path in paths
    ]
    samples = interleave(contenders, options, missing)
    must = Target(0.9, at_least=True)
    return [
        row(NAME, "bridge", "frames/s", samples),
        row(NAME, "naive-tap", "frames/s", samples),
        row(NAME, "naive-packet", "frames/s", samples),
        row(NAME, "netherd-tap", "frames/s", samples, peer="naive-tap", must=must),
        row(NAME, "netherd-packet", "frames/s", samples, peer="naive-packet"),
    ]
