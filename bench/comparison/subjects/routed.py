"""TCP between two networks of one hypervisor, beside TCP within one of them."""

from __future__ import annotations

from ..laboratory import Laboratory
from ..pairs import Contender, Row, Target, interleave, row
from ..paths import Path
from ..paths.netherd import Hypervisor
from ..traffic import TcpStream

NAME = "routed"
ABOUT = "one iperf3 stream between two networks of one hypervisor, beside one within a network"
CONFIG = "[network.bench]\n[network.other]\n"


def measure(laboratory: Laboratory, options) -> list[Row]:
    hypervisor = Hypervisor(laboratory, "routed", config=CONFIG).up()
    from_ = hypervisor.guest("a")
    within = Path("switched", from_, hypervisor.guest("b"), [hypervisor.pid])
    between = Path("routed", from_, hypervisor.guest("c", "other"), [hypervisor.pid])
    samples = interleave(
        [
            Contender(path.name, TcpStream(laboratory, path, options.seconds))
            for path in (within, between)
        ],
        options,
        {},
    )
    must = Target(0.9, at_least=True)
    return [
        row(NAME, "switched", "Gbit/s", samples),
        row(NAME, "routed", "Gbit/s", samples, peer="switched", must=must),
    ]
