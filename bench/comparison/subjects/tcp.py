"""One TCP stream between two guests, beside Linux bridge + veth."""

from __future__ import annotations

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import build
from ..paths.bridge import bridge
from ..paths.naive import naive_packet, naive_tap
from ..paths.netherd import Hypervisor
from ..traffic import TcpStream

NAME = "tcp"
ABOUT = "one iperf3 stream between two guests of `netherd run`, beside bridge + veth"


def measure(laboratory: Laboratory, options) -> list[Row]:
    paths, missing = build(
        {
            "bridge": lambda: bridge(laboratory, offloads=True),
            "bridge-no-tso": lambda: bridge(laboratory, offloads=False),
            "naive-tap": lambda: naive_tap(laboratory),
            "naive-packet": lambda: naive_packet(laboratory),
            "netherd-tap": lambda: Hypervisor(laboratory, "tap").up().path(),
            "netherd-packet": lambda: Hypervisor(laboratory, "packet", tun=False).up().path(),
        },
        options,
    )
    contenders = [
        Contender(path.name, TcpStream(laboratory, path, options.seconds)) for path in paths
    ]
    samples = interleave(contenders, options, missing)

    def line(name: str, must: Target | None = None) -> Row:
        return row(NAME, name, "Gbit/s", samples, peer="bridge", must=must)

    return [
        line("bridge"),
        line("bridge-no-tso"),
        line("naive-tap"),
        line("naive-packet"),
        line("netherd-tap", Target(0.8, at_least=True)),
        line("netherd-packet", Target(0.6, at_least=True)),
    ]
