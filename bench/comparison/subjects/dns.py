"""Look-ups of names through the gateway's resolver, beside slirp4netns."""

from __future__ import annotations

import json
from functools import partial

from ..laboratory import RUN, Laboratory, Station, check, mount, wait_until
from ..pairs import Contender, Row, Sample, Target, interleave, row
from ..paths import build
from ..paths.outside import OUTSIDE_ADDRESS, SLIRP_RESOLVER, Outside

NAME = "dns"
ABOUT = "look-ups of names that nobody asked for before, over UDP"
PORT = 53
LONGEST = 1.0


def measure(laboratory: Laboratory, options) -> list[Row]:
    outside = Outside(laboratory)
    tool = laboratory.tool("look-up")
    laboratory.spawn(
        outside.station.within([tool, "answer", f"{OUTSIDE_ADDRESS}:{PORT}"]), "look-up"
    )
    wait_until("look-up's answerer", lambda: outside.station.listens(PORT, "udp"))
    # The host's resolvers, for the processes of the laboratory only.
    resolvers = RUN / "resolv.conf"
    resolvers.write_text(f"nameserver {OUTSIDE_ADDRESS}\n")
    mount("--bind", str(resolvers), "/etc/resolv.conf")

    names = ("netherd", "slirp4netns")
    ways = outside.ways()
    makers = {name: partial(ways[name], name) for name in names}
    paths, missing = build({"host": outside.direct, **makers}, options)
    seconds = min(options.seconds, LONGEST)

    def ask(station: Station, resolver: str) -> Sample:
        command = [tool, "ask", f"{resolver}:{PORT}", "--seconds", str(seconds)]
        answer = json.loads(check(station.within(command)))
        if not answer["look_ups"]:
            raise RuntimeError(f"no answer came from {resolver}")
        return Sample(answer["median_us"], None, {"p99_us": answer["p99_us"]})

    contenders = []
    for path in paths:
        resolver = {"host": OUTSIDE_ADDRESS, "slirp4netns": SLIRP_RESOLVER}.get(path.name)
        resolver = resolver or default_gateway(path.a)
        contenders.append(Contender(path.name, partial(ask, path.a, resolver)))
    samples = interleave(contenders, options, missing)
    must = Target(1, at_least=False)
    return [
        row(NAME, "host", "us", samples),
        row(NAME, "slirp4netns", "us", samples),
        row(NAME, "netherd", "us", samples, peer="slirp4netns", must=must),
    ]


def default_gateway(guest: Station) -> str:
    """The guest's gateway, which is its name server as well."""
    (route,) = json.loads(check(guest.within(["ip", "-j", "-4", "route", "show", "default"])))
    return route["gateway"]
