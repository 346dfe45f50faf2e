"""What ten thousand connections that are open at once cost the hypervisor."""

from __future__ import annotations

import json
import resource
import subprocess

from ..laboratory import Laboratory, Station
from ..pairs import Row, Target
from ..paths import Path
from ..paths.netherd import Hypervisor
from ..paths.outside import Outside
from ..traffic import CONNECT_PORT, Connections
from .memory import memory_kib

NAME = "flows"
ABOUT = "memory of 10,000 TCP connections through the gateway, all open"
FLOWS = 10_000
# One guest may have a quarter of the hypervisor's descriptors, and all of them half: with the usual
# hard limit of 20,000 and more, these guests can have so many together.
GUESTS = 2
# Open and gone before counting, for what is allocated once.
WARM_UP = 50


def measure(laboratory: Laboratory, options) -> list[Row]:
    # For the holders and the answerer; the hypervisor raises its own limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    outside = Outside(laboratory)
    hypervisor = Hypervisor(laboratory, "flows").up()
    guests = [hypervisor.guest(f"g{number}") for number in range(GUESTS)]
    where = f"{outside.station.address}:{CONNECT_PORT}"
    # Starts the answerer, and makes some connections for warmth.
    Connections(laboratory, Path("flows", guests[0], outside.station, [hypervisor.pid]), 0.2)()
    with Held(laboratory, guests, where, WARM_UP):
        before = memory_kib(hypervisor.pid)
    with Held(laboratory, guests, where, FLOWS) as held:
        after = memory_kib(hypervisor.pid)
    return [
        Row(
            NAME,
            f"a connection, over {FLOWS:,}",
            (after - before) / (FLOWS - WARM_UP),
            "KiB",
            must=Target(4, at_least=False, of_ratio=False),
        ),
        Row(NAME, "opened, one after the other", held.per_second, "per s"),
    ]


class Held:
    """So many connections, evenly from all guests, as long as the context lasts."""

    def __init__(
        self, laboratory: Laboratory, guests: list[Station], where: str, connections: int
    ) -> None:
        each = str(connections // len(guests))
        self.command = [laboratory.tool("connect-load"), "hold", where, "--connections", each]
        self.guests = guests

    def __enter__(self) -> Held:
        self.holders = []
        opened, seconds = 0, 0.0
        for guest in self.guests:
            holder = subprocess.Popen(
                guest.within(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self.holders.append(holder)
            line = holder.stdout.readline()
            if not line:
                self.__exit__()
                raise RuntimeError(f"not all could be opened: {holder.stderr.read().strip()}")
            answer = json.loads(line)
            opened, seconds = opened + answer["connections"], seconds + answer["seconds"]
        self.per_second = opened / seconds
        return self

    def __exit__(self, *_) -> None:
        for holder in self.holders:
            # The end of its standard input ends it.
            holder.stdin.close()
            holder.wait(timeout=60)
