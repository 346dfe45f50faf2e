"""A guest on a real segment: netherd-nic on one end of a veth pair, the other end is the wire."""

from __future__ import annotations

from ..laboratory import RUN, USER, Laboratory, Station, check, descendants, wait_until
from . import Path
from .netherd import NETWORK, Hypervisor

# The segment's administrator has left part of this subnet to the hypervisor.
SUBNET = "10.75.0.0/20"
WIRE = "10.75.15.254"
CONFIG = f"""\
[network.{NETWORK}]
uplink = "nic:nic0"
addresses = "plan"
subnet = "{SUBNET}"
"""


class OnDevice(Hypervisor):
    """A hypervisor in a namespace with root's device `nic0`, and the helper that shares it."""

    def __init__(self, laboratory: Laboratory, name: str) -> None:
        super().__init__(laboratory, name, config=CONFIG)
        self.host = laboratory.station(f"{name}-host", interface="nic0")
        self.wire = laboratory.station(f"{name}-wire", WIRE)
        pair = ["ip", "link", "add", "nic0", "type", "veth", "peer", "name", "eth0"]
        check(self.host.within([*pair, "netns", str(self.wire.pid)]))
        check(self.host.within(["ip", "link", "set", "nic0", "up"]))
        check(self.wire.within(["ip", "address", "add", f"{WIRE}/20", "dev", "eth0"]))
        check(self.wire.within(["ip", "link", "set", "eth0", "up"]))
        self._help()

    def _help(self) -> None:
        rules, socket = RUN / f"{self.name}.toml", RUN / f"{self.name}.sock"
        rules.write_text(
            f'[[allow]]\nuser = "{USER}"\ndevice = "nic0"\nmacs = ["02:00:00:12:00:00/32"]\n'
        )
        command = [self.laboratory.tool("netherd-nic"), "--listen", str(socket)]
        command += ["--list", str(rules)]
        log = f"netherd-nic-{self.name}"
        self.helper = self.laboratory.spawn(self.host.within(command), log)
        wait_until(
            "netherd-nic's socket",
            lambda: socket.exists() or self.helper.poll() is not None,
        )
        if self.helper.poll() is not None:
            raise RuntimeError(f"netherd-nic ended: {self.laboratory.log(log)}")
        self.environment["NETHERD_NIC_SOCKET"] = str(socket)

    def as_user(self, command: list[str]) -> list[str]:
        return self.host.within(super().as_user(command))

    def path(self) -> Path:
        """A guest, and a station of the segment; the helper has a process for each connection."""
        guest: Station = self.guest("a")
        forwarders = [self.pid, self.helper.pid, *descendants(self.helper.pid)]
        return Path("netherd-nic", guest, self.wire, forwarders)
