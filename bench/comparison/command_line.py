"""Arguments, the order of things, and the exit status."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from . import laboratory, report
from .laboratory import Laboratory, Unavailable
from .pairs import Row

ROOT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    from .subjects import ALL

    subjects = "\n".join(f"  {subject.NAME:<8} {subject.ABOUT}" for subject in ALL)
    parser = argparse.ArgumentParser(
        prog="bench/compare",
        description="Measures netherd beside its peers, interleaved, in namespaces of its own.",
        epilog=f"subjects:\n{subjects}\n\nThe status is 1 when a target is missed, 2 when nothing "
        "could be measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        default=[],
        help="only this subject (may be repeated, or several with commas)",
    )
    parser.add_argument(
        "--path",
        action="append",
        metavar="NAME",
        default=[],
        help="only this way between the guests, such as bridge, naive-tap or "
        "netherd-tap (may be repeated); for profiling",
    )
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="rounds (default 7)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        metavar="S",
        help="length of one measurement of throughput (default 3)",
    )
    parser.add_argument(
        "--udp-rate",
        type=int,
        default=300_000,
        metavar="N",
        help="frames/s that are offered in `udp` (default 300000)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds of 1 second: for a first look"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--verbose", action="store_true", help="print every measurement")
    parser.add_argument(
        "--binaries",
        type=Path,
        default=target / "release",
        metavar="DIR",
        help="where netherd and the tools are built (default: target/release)",
    )
    return parser


def main(argv: list[str]) -> int:
    options = parser().parse_args(argv)
    if options.quick:
        options.pairs, options.seconds = 3, 1.0
    if options.pairs < 1 or not options.seconds > 0:
        print("bench/compare: --pairs and --seconds must be positive", file=sys.stderr)
        return 2
    from .subjects import ALL

    options.only = [name for names in options.only for name in names.split(",")]
    unknown = set(options.only) - {subject.NAME for subject in ALL}
    if unknown:
        print(f"bench/compare: no such subject: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    options.binaries = options.binaries.resolve()
    laboratory.enter()

    started_on = report.machine()
    rows: list[Row] = []
    for subject in ALL:
        if options.only and subject.NAME not in options.only:
            continue
        print(f"measuring {subject.NAME}: {subject.ABOUT}", file=sys.stderr)
        place = Laboratory(options.binaries, verbose=options.verbose)
        try:
            rows += subject.measure(place, options)
        except (RuntimeError, OSError, Unavailable, subprocess.SubprocessError) as problem:
            rows.append(Row(subject.NAME, "not measured", None, "", remark=str(problem)))
            print(f"  not measured: {problem}", file=sys.stderr)
        finally:
            place.end_all()
    if options.json:
        print(report.as_json(rows, options, started_on))
    else:
        print(
            f"{report.table(rows)}\n\n{started_on}; {options.pairs} rounds of {options.seconds:g} s"
        )
    if not any(row.figure is not None for row in rows):
        return 2
    return (
        1 if any(row.met is False for row in rows) or any(row.figure is None for row in rows) else 0
    )
