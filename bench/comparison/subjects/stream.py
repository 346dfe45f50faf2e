"""Two local clients on the `stream` node that write and read many frames at a time."""

from __future__ import annotations

NAME = "stream"
ABOUT = "two clients of `stream` that batch, 64 and 1514 bytes"


def measure(laboratory, options):
    raise RuntimeError("needs stream-load")
