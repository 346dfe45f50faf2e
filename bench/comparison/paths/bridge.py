"""Linux bridge with a veth pair to each guest: what root would use."""

from __future__ import annotations

from ..laboratory import Laboratory, check
from . import Path


def bridge(laboratory: Laboratory, offloads: bool) -> Path:
    """`offloads` False: without segmentation offload, as frames on a wire would be."""
    name = "bridge" if offloads else "bridge-no-tso"
    middle = laboratory.station(f"{name}-switch")
    inside = middle.within
    check(inside(["ip", "link", "add", "br0", "type", "bridge", "stp_state", "0"]))
    check(inside(["ip", "link", "set", "br0", "up"]))
    ends = []
    for side, address in (("a", "10.71.0.1"), ("b", "10.71.0.2")):
        end = laboratory.station(f"{name}-{side}", address)
        port = f"port-{side}"
        check(
            inside(
                [
                    "ip",
                    "link",
                    "add",
                    port,
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
        check(inside(["ip", "link", "set", port, "master", "br0", "up"]))
        check(end.within(["ip", "address", "add", f"{address}/24", "dev", "eth0"]))
        check(end.within(["ip", "link", "set", "eth0", "up"]))
        if not offloads:
            off = ["tso", "off", "gso", "off", "gro", "off"]
            check(end.within([laboratory.peer("ethtool"), "-K", "eth0", *off]))
            check(inside([laboratory.peer("ethtool"), "-K", port, *off]))
        ends.append(end)
    return Path(name, *ends)
