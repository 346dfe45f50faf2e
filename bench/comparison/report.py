"""The table, for people and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform

from .pairs import Row

HEADINGS = (
    "subject",
    "what",
    "figure",
    "unit",
    "ratio",
    "(rounds)",
    "to",
    "must",
    "met",
    "CPU s/Gbit",
)
MARKS = {True: "yes", False: "NO", None: ""}


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.subject,
        row.name,
        number(row.figure),
        row.unit,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.spread is None else f"{row.spread[0]:.2f}-{row.spread[1]:.2f}",
        row.peer or "",
        "" if row.must is None else str(row.must),
        MARKS[row.met],
        "" if row.cpu_per_gigabit is None else f"{row.cpu_per_gigabit:.3f}",
    )


def table(rows: list[Row]) -> str:
    """Columns are padded, so that the text is a Markdown table that reads well as it is."""
    body = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in body) for column in range(len(HEADINGS))]

    def render(line: tuple[str, ...]) -> str:
        padded = (
            cell.rjust(width) if column in (2, 4, 5, 9) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    lines = [render(HEADINGS), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    lines += [render(line) for line in body[1:]]
    # One cause may leave several rows empty; say it once.
    remarks = dict.fromkeys(f"- {row.subject}: {row.remark}" for row in rows if row.remark)
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines)


def machine() -> str:
    """What a reader must know of the machine; nothing that names it."""
    load = os.getloadavg()[0]
    warning = "; others use this machine now, trust the ratios only" if load > 0.5 else ""
    return (
        f"{os.cpu_count()} CPUs, {platform.machine()}, Linux {platform.release().split('-')[0]}, "
        f"load {load:.1f} at the start{warning}"
    )


def as_json(rows: list[Row], options, started_on: str) -> str:
    return json.dumps(
        {
            "version": 1,
            "machine": started_on,
            "pairs": options.pairs,
            "seconds": options.seconds,
            "rows": [
                {
                    **dataclasses.asdict(row),
                    "must": str(row.must) if row.must else None,
                    "met": row.met,
                }
                for row in rows
            ],
        },
        indent=2,
    )
