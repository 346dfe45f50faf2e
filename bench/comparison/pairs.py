"""Interleaved measurements, and what may be concluded from them.

One round measures every contender once; the order turns round from round to
round, so that a machine that slowly changes its speed favours nobody. A ratio
is the median of the ratios within the rounds, never the ratio of medians: on
a shared machine the rounds differ more than the contenders.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Sample:
    figure: float
    # CPU seconds of the forwarding process for each gigabit that was delivered.
    cpu_per_gigabit: float | None = None
    # Further figures by name, such as the CPU time for each frame.
    more: dict[str, float] | None = None


@dataclass(frozen=True)
class Target:
    """`figure`, or its ratio to the peer's, must be at least or at most `bound`."""

    bound: float
    at_least: bool
    of_ratio: bool = True

    def met(self, figure: float, ratio: float | None) -> bool | None:
        value = ratio if self.of_ratio else figure
        if value is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.bound:,.10g}{' x' if self.of_ratio else ''}"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    subject: str
    name: str
    figure: float | None
    unit: str
    peer: str | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None  # least and greatest ratio of a round
    must: Target | None = None
    cpu_per_gigabit: float | None = None
    # Why there is no figure, or what the reader must know.
    remark: str = ""

    @property
    def met(self) -> bool | None:
        if self.must is None:
            return None
        if self.figure is None:
            return False
        return self.must.met(self.figure, self.ratio)


@dataclass
class Contender:
    """Something that is measured: `run` makes one measurement."""

    name: str
    run: Callable[[], Sample]


@dataclass
class Samples:
    """What was measured, by contender; and why the missing ones are missing."""

    by_name: dict[str, list[Sample]]
    missing: dict[str, str]


def interleave(contenders: list[Contender], options, missing: dict[str, str]) -> Samples:
    """Measures every contender once a round. One that fails is out, and the others go on."""
    found = Samples({contender.name: [] for contender in contenders}, dict(missing))
    for number in range(options.pairs):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            if contender.name in found.missing:
                continue
            try:
                sample = contender.run()
            except (RuntimeError, subprocess.SubprocessError) as problem:
                found.missing[contender.name] = f"{contender.name} failed: {problem}"
                continue
            found.by_name[contender.name].append(sample)
            if options.verbose:
                print(f"  round {number + 1}: {contender.name}: {sample}", file=sys.stderr)
    return found


def median(values: list[float]) -> float:
    return statistics.median(values)


def row(
    subject: str,
    name: str,
    unit: str,
    samples: Samples,
    peer: str | None = None,
    must: Target | None = None,
    key: str | None = None,
    label: str | None = None,
    remark: str = "",
) -> Row:
    """The row of contender `name` beside `peer`; `key` picks one of the further figures."""

    def figures(of: str) -> list[float]:
        return [
            s.figure if key is None else s.more.get(key, float("nan")) for s in samples.by_name[of]
        ]

    if name in samples.missing:
        return Row(subject, label or name, None, unit, must=must, remark=samples.missing[name])
    ours = figures(name)
    ratios = None
    if peer in samples.missing:
        remark = samples.missing[peer]
    elif peer is not None and peer != name:
        ratios = [
            own / other if other else float("nan")
            for own, other in zip(ours, figures(peer), strict=True)
        ]
    costs = [s.cpu_per_gigabit for s in samples.by_name[name] if s.cpu_per_gigabit is not None]
    return Row(
        subject=subject,
        name=label or name,
        figure=median(ours),
        unit=unit,
        peer=peer if ratios else None,
        ratio=median(ratios) if ratios else None,
        spread=(min(ratios), max(ratios)) if ratios else None,
        must=must,
        cpu_per_gigabit=median(costs) if costs and key is None else None,
        remark=remark,
    )
