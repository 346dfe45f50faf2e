"""netherd as an ordinary user runs it: `netherd up` and guests of `netherd run`."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from dataclasses import dataclass

from ..laboratory import RUN, USER, Laboratory, Station, as_user, check, descendants, wait_until
from . import Path

NETWORK = "bench"


@dataclass
class Hypervisor:
    """One `netherd up`, in the foreground, with a runtime directory of its own."""

    laboratory: Laboratory
    name: str
    # False: this user cannot open /dev/net/tun, so guests get a veth pair and packet sockets.
    tun: bool = True
    # A configuration file's text; without one the network is served with the defaults.
    config: str = ""

    def __post_init__(self) -> None:
        home = pathlib.Path(tempfile.mkdtemp(prefix="user-", dir=RUN))
        os.chown(home, USER, USER)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "XDG_STATE_HOME": str(home / "state"),
        }
        self.directory = home / "netherd" / NETWORK
        self.file = home / "netherd.toml"
        if self.config:
            self.file.write_text(self.config)
        self.binary = self.laboratory.tool("netherd")

    def command(self, *arguments: str) -> list[str]:
        return self.as_user([self.binary, *arguments])

    def as_user(self, command: list[str]) -> list[str]:
        """Any command as this hypervisor's user."""
        return as_user(command, self.tun)

    def up(self) -> Hypervisor:
        log = f"netherd-{self.name}"
        served = ["-c", str(self.file)] if self.config else [NETWORK]
        self.process = self.laboratory.spawn(
            self.command("up", *served), log, env=self.environment
        )
        wait_until(
            f"`netherd up`'s directory {self.directory}; its log says: {self.laboratory.log(log)}",
            lambda: (self.directory / "api").exists() or self.process.poll() is not None,
        )
        if self.process.poll() is not None:
            raise RuntimeError(f"`netherd up` ended: {self.laboratory.log(log)}")
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    def call(self, *arguments: str) -> str:
        """Runs a `netherd` command to its end."""
        return check(self.command(*arguments), env=self.environment, timeout=30)

    def guest(self, name: str, network: str = NETWORK) -> Station:
        """A guest of `netherd run` that sleeps."""
        log = f"guest-{self.name}-{name}"
        run = self.laboratory.spawn(
            self.command("run", "--net", network, "--name", name, "--", "sleep", "infinity"),
            log,
            env=self.environment,
        )

        def sleeper() -> int | None:
            if run.poll() is not None:
                raise RuntimeError(f"`netherd run` ended: {self.laboratory.log(log)}")
            below = descendants(run.pid).items()
            return next((pid for pid, command in below if command == "sleep"), None)

        pid = wait_until(f"guest {name} (its log: {log})", sleeper)
        station = Station(pid, "")
        (interface,) = json.loads(
            check(station.within(["ip", "-j", "-4", "address", "show", "eth0"]))
        )
        station.address = interface["addr_info"][0]["local"]
        return station

    def path(self) -> Path:
        """Two guests, forwarded by this hypervisor."""
        return Path(f"netherd-{self.name}", self.guest("a"), self.guest("b"), [self.pid])
