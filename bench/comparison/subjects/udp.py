"""UDP frames of 64 bytes between two guests, beside the naive forwarders, at the same offered load."""

from __future__ import annotations

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths.bridge import bridge
from ..paths.naive import naive_packet, naive_tap
from ..paths.netherd import Hypervisor
from ..traffic import UdpFrames

NAME = "udp"
ABOUT = "UDP frames of 64 bytes, as many as the receiver counts, beside a naive forwarder"
# More than any of the forwarders delivers on one core of 2026, less than would starve them of
# it where sender, forwarder and receiver share two.
OFFERED = 400_000


def measure(laboratory: Laboratory, options) -> list[Row]:
    paths = [
        bridge(laboratory, offloads=True),
        naive_tap(laboratory),
        naive_packet(laboratory),
        Hypervisor(laboratory, "tap").up().path(),
        Hypervisor(laboratory, "packet", tun=False).up().path(),
    ]
    contenders = [
        Contender(path.name, UdpFrames(laboratory, path, options.seconds, OFFERED)) for path in paths
    ]
    samples = interleave(contenders, options.pairs, options.verbose)
    must = Target(0.9, at_least=True)
    return [
        row(NAME, "bridge", "frames/s", samples),
        row(NAME, "naive-tap", "frames/s", samples),
        row(NAME, "naive-packet", "frames/s", samples),
        row(NAME, "netherd-tap", "frames/s", samples, peer="naive-tap", must=must),
        row(NAME, "netherd-packet", "frames/s", samples, peer="naive-packet"),
    ]
