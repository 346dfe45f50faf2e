"""Two local clients on the `stream` node that write and read many frames at a time."""

from __future__ import annotations

import json

from ..laboratory import Laboratory, check, cpu_seconds
from ..pairs import Contender, Row, Sample, Target, interleave, row
from ..paths.netherd import Hypervisor

NAME = "stream"
ABOUT = "two clients of `stream` that batch, frames of 64 and 1514 bytes"


def measure(laboratory: Laboratory, options) -> list[Row]:
    hypervisor = Hypervisor(laboratory, "stream").up()
    tool = laboratory.tool("stream-load")

    def load(size: int) -> Sample:
        command = [tool, str(hypervisor.directory / "stream")]
        command += ["--frame", str(size), "--seconds", str(options.seconds)]
        before = cpu_seconds(hypervisor.pid)
        answer = json.loads(check(hypervisor.as_user(command), timeout=options.seconds + 30))
        spent = cpu_seconds(hypervisor.pid) - before
        rate = answer["frames"] / answer["seconds"]
        gigabits = answer["frames"] * size * 8 / 1e9
        more = {"gigabits_per_s": gigabits / answer["seconds"]}
        return Sample(rate, spent / gigabits if gigabits else None, more)

    samples = interleave(
        [Contender(f"{size} B", lambda size=size: load(size)) for size in (64, 1514)], options, {}
    )
    frames = Target(1.5e6, at_least=True, of_ratio=False)
    gigabits = Target(10, at_least=True, of_ratio=False)
    return [
        row(NAME, "64 B", "frames/s", samples, must=frames),
        row(NAME, "1514 B", "Gbit/s", samples, must=gigabits, key="gigabits_per_s"),
    ]
