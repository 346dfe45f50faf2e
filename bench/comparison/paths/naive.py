"""The forwarder that anyone writes first: poll, read, write (bench/src/bin/naive-forwarder.rs)."""

from __future__ import annotations

from ..laboratory import Laboratory, check, wait_until
from . import Path


def naive_tap(laboratory: Laboratory) -> Path:
    """Between two taps with vnet headers and every offload."""
    a = laboratory.station("naive-tap-a", "10.73.0.1")
    b = laboratory.station("naive-tap-b", "10.73.0.2")
    forwarder = laboratory.spawn(
        [laboratory.tool("naive-forwarder"), "tap", str(a.pid), str(b.pid)], "naive-tap"
    )
    return _ready(laboratory, Path("naive-tap", a, b, [forwarder.pid]))


def naive_packet(laboratory: Laboratory) -> Path:
    """Between packet sockets with vnet headers on the outer ends of two veth pairs."""
    ends, outer = [], []
    for side, address in (("a", "10.74.0.1"), ("b", "10.74.0.2")):
        end = laboratory.station(f"naive-packet-{side}", address)
        out = laboratory.station(f"naive-packet-outer-{side}", interface="out")
        check(out.within(["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1"]))
        check(
            out.within(
                [
                    "ip",
                    "link",
                    "add",
                    "out",
                    "type",
                    "veth",
                    "peer",
                    "name",
                    "eth0",
                    "netns",
                    str(end.pid),
                ]
            )
        )
        check(out.within(["ip", "link", "set", "out", "arp", "off", "up"]))
        ends.append(end)
        outer.append(str(out.pid))
    forwarder = laboratory.spawn(
        [laboratory.tool("naive-forwarder"), "packet", *outer, "out"], "naive-packet"
    )
    return _ready(laboratory, Path("naive-packet", *ends, [forwarder.pid]))


def _ready(laboratory: Laboratory, path: Path) -> Path:
    wait_until(
        f"{path.name}: {laboratory.log(path.name)}",
        lambda: "forwarding" in laboratory.log(path.name),
    )
    for end in (path.a, path.b):
        check(end.within(["ip", "address", "add", f"{end.address}/24", "dev", "eth0"]))
        check(end.within(["ip", "link", "set", "eth0", "up"]))
    return path
