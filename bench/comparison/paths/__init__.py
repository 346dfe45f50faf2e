"""The ways from one guest to another that are measured: netherd's and the peers'.

One module per peer. A way out of the network (slirp4netns, passt beside the
gateway) is a path as well: its `b` is the host's side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

from ..laboratory import Station, Unavailable, cpu_seconds


@dataclass
class Path:
    """Two stations and what forwards between them."""

    name: str
    a: Station
    b: Station
    # The processes that forward; none where the kernel does it.
    forwarders: list[int] = field(default_factory=list)

    def cpu(self) -> float | None:
        if not self.forwarders:
            return None
        return sum(cpu_seconds(pid) for pid in self.forwarders)


def build(makers: dict[str, Callable[[], Path]], options) -> tuple[list[Path], dict[str, str]]:
    """The paths that this machine allows, and by name why the others are missing."""
    paths, missing = [], {}
    for name, make in makers.items():
        if options.path and name not in options.path:
            missing[name] = "some paths were left out by --path"
            continue
        try:
            paths.append(make())
        except (RuntimeError, Unavailable) as problem:
            missing[name] = str(problem)
    return paths, missing
