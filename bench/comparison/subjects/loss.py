"""TCP over a link that loses frames: the gateway's end of it beside the kernel's."""

from __future__ import annotations

import ipaddress
import json
import subprocess

from ..laboratory import USER, Laboratory, Station, check, wait_until
from ..pairs import Contender, Row, Sample, Target, interleave, row
from ..paths import Path
from ..paths.netherd import Hypervisor
from ..paths.outside import Outside
from ..traffic import TcpStream

NAME = "loss"
ABOUT = "TCP over a guest's link of 200 Mbit/s and 4 ms that loses 1 % of the frames, each way"
# The kernel's own default, whatever this machine's is: bbr takes no notice of such losses, and what
# it makes of them is shown beside.
CONGESTION = "cubic"
TRIES = 3
WIRE = ["--loss", "0.01", "--rate-mbit", "200", "--delay-us", "2000"]


def kernel(laboratory: Laboratory) -> Path:
    """Kernel to kernel over the link."""
    a = laboratory.station("loss-kernel-a", "10.76.0.1")
    b = laboratory.station("loss-kernel-b", "10.76.0.2")
    command = [laboratory.tool("lossy-link"), "tap", str(a.pid), str(b.pid), *WIRE]
    laboratory.spawn(command, "lossy-kernel")
    forwarding(laboratory, "lossy-kernel")
    for end in (a, b):
        plain(laboratory, end)
        check(end.within(["ip", "address", "add", f"{end.address}/24", "dev", "eth0"]))
        check(end.within(["ip", "link", "set", "eth0", "up"]))
    return Path("kernel", a, b)


def gateway(laboratory: Laboratory) -> Path:
    """A guest whose link to its network is the lossy one; what is behind the gateway loses nothing.

    The guest is a client of the `stream` node with a tap, and configures itself by hand.
    """
    outside = Outside(laboratory)
    hypervisor = Hypervisor(laboratory, "loss").up()
    other = hypervisor.guest("plan")
    (interface,) = json.loads(check(other.within(["ip", "-j", "-4", "address", "show", "eth0"])))
    address = interface["addr_info"][0]
    network = ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}").network
    # Of the last quarter: what is before it the network gives out itself, and nobody may just take it.
    guest = laboratory.station("loss-guest", str(network[-200]))
    tap = ["ip", "tuntap", "add", "eth0", "mode", "tap", "user", str(USER), "vnet_hdr"]
    check(guest.within(tap))
    command = [laboratory.tool("lossy-link"), "stream", str(hypervisor.directory / "stream"), *WIRE]
    laboratory.spawn(guest.within(hypervisor.as_user(command)), "lossy-gateway")
    forwarding(laboratory, "lossy-gateway")
    plain(laboratory, guest)
    inside = ["ip", "address", "add", f"{guest.address}/{network.prefixlen}", "dev", "eth0"]
    check(guest.within(inside))
    check(guest.within(["ip", "link", "set", "eth0", "up"]))
    check(guest.within(["ip", "route", "add", "default", "via", str(network[1])]))
    return Path("gateway", guest, outside.station, [hypervisor.pid])


def forwarding(laboratory: Laboratory, log: str) -> None:
    wait_until(f"{log}: {laboratory.log(log)}", lambda: "forwarding" in laboratory.log(log))


def plain(laboratory: Laboratory, end: Station) -> None:
    """Frames as on a wire: one segment each, checksums complete."""
    off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"]
    check(end.within([laboratory.peer("ethtool"), "-K", "eth0", *off]))


def persistently(load: TcpStream) -> Sample:
    """The control connection of iperf3 has losses as well, and does not always survive them."""
    for _ in range(TRIES - 1):
        try:
            return load()
        except (RuntimeError, subprocess.SubprocessError):
            continue
    return load()


def measure(laboratory: Laboratory, options) -> list[Row]:
    over_kernel, over_gateway = kernel(laboratory), gateway(laboratory)

    def contender(name: str, path: Path, way: str, congestion: str) -> Contender:
        reverse = way == "in"
        load = TcpStream(
            laboratory, path, options.seconds, reverse=reverse, congestion=congestion
        )
        return Contender(f"{name} {way}", lambda: persistently(load))

    contenders = [
        contender(name, path, way, congestion)
        for way in ("out", "in")
        for name, path, congestion in (
            ("kernel", over_kernel, CONGESTION),
            ("gateway", over_gateway, CONGESTION),
            ("kernel, bbr,", over_kernel, "bbr"),
        )
    ]
    samples = interleave(contenders, options, {})
    must = Target(0.7, at_least=True)
    rows = []
    for way in ("out", "in"):
        rows += [
            row(NAME, f"kernel, bbr, {way}", "Gbit/s", samples),
            row(NAME, f"kernel {way}", "Gbit/s", samples),
            row(NAME, f"gateway {way}", "Gbit/s", samples, peer=f"kernel {way}", must=must),
        ]
    return rows
