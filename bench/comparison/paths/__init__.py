"""The ways from one guest to another that are measured: netherd's and the peers'."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..laboratory import Station, cpu_seconds


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
