"""Ways out of a guest: netherd's gateway, slirp4netns and pasta, to an outside reached by veth.

The laboratory's own namespace is the host: the gateways' sockets are its sockets. The outside is
one more namespace, behind a veth pair with every offload, and the host's default route leads there.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Callable

from ..laboratory import RUN, Laboratory, Station, Unavailable, check, mount, wait_until
from ..traffic import Connections
from . import Path
from .netherd import Hypervisor

HOST_ADDRESS = "198.51.100.1"
OUTSIDE_ADDRESS = "198.51.100.2"
# What slirp4netns gives the one guest of each instance, and its name server.
SLIRP_GUEST = "10.0.2.100"
SLIRP_RESOLVER = "10.0.2.3"


@dataclass
class Outside:
    """The host's namespace and the one behind it."""

    laboratory: Laboratory

    def __post_init__(self) -> None:
        self.host = Station(os.getpid(), "127.0.0.1", "lo")
        check(["ip", "link", "set", "lo", "up"])
        # What an earlier subject had goes with its namespace, but not at once.
        subprocess.run(["ip", "link", "delete", "outside"], capture_output=True)
        self.station = self.laboratory.station("outside", OUTSIDE_ADDRESS)
        pair = ["type", "veth", "peer", "name", "eth0", "netns", str(self.station.pid)]
        check(["ip", "link", "add", "outside", *pair])
        check(["ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "outside"])
        check(["ip", "link", "set", "outside", "up"])
        check(self.station.within(["ip", "address", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "eth0"]))
        check(self.station.within(["ip", "link", "set", "eth0", "up"]))
        check(["ip", "route", "add", "default", "via", OUTSIDE_ADDRESS])

    def loopback(self) -> Path:
        """Host to host, without any gateway: what the kernel's TCP does by itself here."""
        return Path("loopback", self.host, self.host)

    def direct(self) -> Path:
        """Host to outside, without any gateway."""
        return Path("host", self.host, self.station)

    def ways(self) -> dict[str, Callable[..., Path]]:
        """What is compared, by name."""
        return {"netherd": self.netherd, "slirp4netns": self.slirp4netns, "pasta": self.pasta}

    def netherd(self, name: str = "netherd", mtu: int = 1500) -> Path:
        config = f"[network.bench]\nmtu = {mtu}\n"
        hypervisor = Hypervisor(self.laboratory, f"{mtu}", config=config).up()
        return Path(name, hypervisor.guest("a"), self.station, [hypervisor.pid])

    def slirp4netns(self, name: str = "slirp4netns", mtu: int = 1500) -> Path:
        guest = self.laboratory.station(f"slirp4netns-{mtu}", SLIRP_GUEST, "tap0")
        command = [self.laboratory.peer("slirp4netns"), "--configure", f"--mtu={mtu}"]
        log = f"slirp4netns-{mtu}"
        process = self.laboratory.spawn([*command, str(guest.pid), "tap0"], log)
        self._configured(guest, process, log)
        return Path(name, guest, self.station, [process.pid])

    def pasta(self, name: str = "pasta", mtu: int = 1500) -> Path:
        guest = self.laboratory.station(f"pasta-{mtu}", "", "eth0")
        # It enters the namespace when it has given up the rights that it takes by way of /proc.
        handle = RUN / f"pasta-{mtu}-{guest.pid}"
        handle.touch()
        mount("--bind", f"/proc/{guest.pid}/ns/net", str(handle))
        command = [self.laboratory.peer("pasta"), "--foreground", "--config-net", "-m", str(mtu)]
        command += ["--ipv4-only", "--runas", "0:0", "--netns-only", "--ns-ifname", "eth0"]
        # Nothing is forwarded inwards.
        command += ["-t", "none", "-u", "none", "-T", "none", "-U", "none"]
        log = f"pasta-{mtu}"
        process = self.laboratory.spawn([*command, "--netns", str(handle)], log)
        self._configured(guest, process, log)
        path = Path(name, guest, self.station, [process.pid])
        # Some versions open connections on some kernels, and then carry nothing: say so at once,
        # instead of after the patience of every load.
        try:
            Connections(self.laboratory, path, 0.1, patience=3)()
        except (RuntimeError, subprocess.SubprocessError) as problem:
            raise Unavailable("pasta carries no data with this kernel") from problem
        return path

    def _configured(self, guest: Station, process, log: str) -> None:
        """Waits until the guest has an address and a way out."""

        def routed() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args[0]} ended: {self.laboratory.log(log)}")
            routes = json.loads(check(guest.within(["ip", "-j", "-4", "route"])) or "[]")
            return any(route["dst"] == "default" for route in routes)

        wait_until(f"the guest of {process.args[0]}; its log: {self.laboratory.log(log)}", routed)
