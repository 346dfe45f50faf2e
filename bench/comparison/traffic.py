"""Loads, and what they deliver: iperf3 and our own udp-load and round-trip."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from dataclasses import dataclass

from .laboratory import Laboratory, check, wait_until
from .pairs import Sample
from .paths import Path

IPERF_PORT = 5201
UDP_PORT = 7001
ECHO_PORT = 7002
CONNECT_PORT = 7003
# Seconds in which iperf3's server notices that a client has ended.
SERVER_PATIENCE = 10.0


class TcpStream:
    """iperf3 from `a` to `b` for `seconds`; bits/s as the receiver counted them.

    `streams` at once, `b` to `a` when `reverse`: the connection is always opened by `a`. The
    sender's `congestion` control is the machine's default unless said otherwise.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        path: Path,
        seconds: float,
        streams: int = 1,
        reverse: bool = False,
        congestion: str | None = None,
    ) -> None:
        self.path = path
        self.iperf3 = laboratory.peer("iperf3")
        self.seconds = math.ceil(seconds)  # iperf3 takes whole seconds, and 0 is for ever
        self.how = ["-P", str(streams), *(["-R"] if reverse else [])]
        self.how += ["-C", congestion] if congestion else []
        # Paths to the same outside have one server: one is measured at a time.
        if not path.b.listens(IPERF_PORT):
            laboratory.spawn(path.b.within([self.iperf3, "-s"]), f"iperf3-{path.name}")
            wait_until("iperf3's server", lambda: path.b.listens(IPERF_PORT))

    def measure(self) -> dict:
        answer = check(
            self.path.a.within(
                [self.iperf3, "-J", "-c", self.path.b.address, "-t", str(self.seconds), *self.how]
            ),
            timeout=self.seconds + 20,
        )
        return json.loads(answer)

    def __call__(self) -> Sample:
        deadline = time.monotonic() + SERVER_PATIENCE
        while True:
            cpu = self.path.cpu()
            before = self.path.b.counters()
            answer = self.measure()
            # The server may not have noticed yet that the client of the measurement before has ended.
            if "busy" not in answer.get("error", "") or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if "error" in answer or "sum_received" not in answer["end"]:
            raise RuntimeError(
                f"iperf3 over {self.path.name}: {answer.get('error', answer['end'])}"
            )
        received = answer["end"]["sum_received"]
        gigabits = received["bytes"] * 8 / 1e9
        more = {}
        per_gigabit = None
        if cpu is not None:
            spent = self.path.cpu() - cpu
            after = self.path.b.counters()
            frames = sum(after[name] - before[name] for name in ("rx_frames", "tx_frames"))
            per_gigabit = spent / gigabits
            more = {"cpu_per_frame_us": spent / frames * 1e6, "frames_per_s": frames / self.seconds}
        return Sample(received["bits_per_second"] / 1e9, per_gigabit, more)


@dataclass
class UdpFrames:
    """Frames of `size` bytes offered at `rate`/s from `a` to `b`; frames/s that `b` received."""

    laboratory: Laboratory
    path: Path
    seconds: float
    rate: int
    size: int = 64

    def __call__(self) -> Sample:
        tool = self.laboratory.tool("udp-load")
        receiver = subprocess.Popen(
            self.path.b.within([tool, "receive", f"{self.path.b.address}:{UDP_PORT}"]),
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until("udp-load's receiver", lambda: self.path.b.listens(UDP_PORT, "udp"))
            cpu = self.path.cpu()
            sent = json.loads(
                check(
                    self.path.a.within(
                        [
                            tool,
                            "send",
                            f"{self.path.b.address}:{UDP_PORT}",
                            "--frame",
                            str(self.size),
                            "--rate",
                            str(self.rate),
                            "--seconds",
                            str(self.seconds),
                        ]
                    )
                )
            )
            received = json.loads(receiver.communicate(timeout=20)[0])
        finally:
            receiver.kill()
            receiver.wait()
        frames = received["frames"]
        more = {"offered_per_s": sent["frames"] / sent["seconds"]}
        per_gigabit = None
        if cpu is not None and frames:
            spent = self.path.cpu() - cpu
            per_gigabit = spent / (frames * self.size * 8 / 1e9)
            more["cpu_per_frame_us"] = spent / frames * 1e6
        return Sample(frames / sent["seconds"], per_gigabit, more)


@dataclass(frozen=True)
class Placement:
    """Which processors the two ends and the forwarder may use.

    Left to the scheduler, the three of them end up on one processor in this
    run and on two in the next, and a wake-up across processors costs more than
    everything that is to be measured.
    """

    name: str
    ask: set[int]
    answer: set[int]
    forward: set[int]


def placements() -> list[Placement]:
    everywhere = os.sched_getaffinity(0)
    first, *others = sorted(everywhere)
    one = Placement("one processor", {first}, {first}, {first})
    if not others:
        return [one]
    return [one, Placement("two processors", {first}, {others[0]}, everywhere)]


class RoundTrips:
    """Median round trip of a UDP datagram, in microseconds; `pause_us` 0 is back to back."""

    def __init__(
        self,
        laboratory: Laboratory,
        path: Path,
        seconds: float,
        size: int | None = None,
        answerer: subprocess.Popen | None = None,
    ) -> None:
        self.path = path
        self.tool = laboratory.tool("round-trip")
        self.seconds = seconds
        self.how = [] if size is None else ["--size", str(size)]
        self.answerer = answerer or self.answer(laboratory, path)

    @staticmethod
    def answer(laboratory: Laboratory, path: Path) -> subprocess.Popen:
        """Starts what answers at `path.b`; paths to the same outside may share it."""
        tool = laboratory.tool("round-trip")
        where = f"{path.b.address}:{ECHO_PORT}"
        process = laboratory.spawn(
            path.b.within([tool, "answer", where]), f"round-trip-{path.name}"
        )
        wait_until("round-trip's answerer", lambda: path.b.listens(ECHO_PORT, "udp"))
        return process

    def measure(self, placement: Placement, pause_us: int) -> Sample:
        os.sched_setaffinity(self.answerer.pid, placement.answer)
        for pid in self.path.forwarders:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), placement.forward)
        ask = [self.tool, "ask", f"{self.path.b.address}:{ECHO_PORT}"]
        ask += ["--pause-us", str(pause_us), "--seconds", str(self.seconds), *self.how]
        pinned = ["taskset", "--cpu-list", ",".join(map(str, placement.ask)), *ask]
        answer = json.loads(check(self.path.a.within(pinned)))
        if answer["median_us"] is None:
            raise RuntimeError(f"no datagram came back over {self.path.name}")
        return Sample(answer["median_us"], None, {"p99_us": answer["p99_us"]})


class Connections:
    """Connections that `a` makes to `b` one after the other, each for one request and its answer.

    The answerer closes first, as a web server does that says so.
    """

    def __init__(
        self, laboratory: Laboratory, path: Path, seconds: float, patience: float = 30
    ) -> None:
        self.path = path
        self.tool = laboratory.tool("connect-load")
        self.seconds = seconds
        self.patience = patience
        if not path.b.listens(CONNECT_PORT):
            where = f"{path.b.address}:{CONNECT_PORT}"
            command = path.b.within([self.tool, "answer", where])
            laboratory.spawn(command, f"connect-load-{path.name}")
            wait_until("connect-load's answerer", lambda: path.b.listens(CONNECT_PORT))

    def __call__(self) -> Sample:
        where = f"{self.path.b.address}:{CONNECT_PORT}"
        cpu = self.path.cpu()
        command = [self.tool, "ask", where, "--seconds", str(self.seconds)]
        answer = json.loads(check(self.path.a.within(command), timeout=self.seconds + self.patience))
        more = {"median_us": answer["median_us"], "p99_us": answer["p99_us"]}
        if cpu is not None and answer["connections"]:
            more["cpu_us"] = (self.path.cpu() - cpu) / answer["connections"] * 1e6
        return Sample(answer["connections"] / answer["seconds"], None, more)
