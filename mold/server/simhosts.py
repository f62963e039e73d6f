"""Simulated hosts in a process of their own, connected over the real agent link: they outlive the managers.

    python -m mold.server.simhosts --config DIR --hosts 3 --managers 127.0.0.1:8250 --integration-port 8096

Host K is called sim-K; add it with `addHost url=http://sim-K hypervisor=Simulator` once it is connected.  Certificates
are kept below DIR and issued through the API when they are missing.  All hosts share one `Simulator`, and their storage.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from mold.agent import config
from mold.agent.config import Settings
from mold.agent.link import Link
from mold.agent.serve import Desk, Work
from mold.base.errors import Invalid
from mold.plugins.simulator import Simulator
from mold.wire import calls as w

log = structlog.get_logger()
BACKOFF_SECONDS = 2.0
"""They are there for tests, which kill managers more often than life does."""


@dataclass
class Place:
    """One simulated host as its link sees it."""

    settings: Settings
    dismissed: bool = False
    renewed: bool = False


class Eyes:
    """Looks at a simulated host."""

    def __init__(self, simulator: Simulator, place: Place) -> None:
        self._simulator = simulator
        self._place = place

    async def gather(self, towards: str) -> w.HostFacts:
        """What the host is."""
        settings = self._place.settings
        facts = self._simulator.do_GetFacts(self._simulator.box(settings.name), w.GetFacts(), settings.name)
        return msgspec.structs.replace(facts, guid=settings.guid)

    async def report(self) -> w.HostReport | None:
        """How it does."""
        return self._simulator.report(self._place.settings.name)

    def listen(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Nothing changes unasked on a simulated host."""
        return lambda: None

    def close(self) -> None:
        """Nothing is held."""


def desk(simulator: Simulator, place: Place, eyes: Eyes) -> Desk:
    """Answers calls out of the simulator, by the rules of every agent's desk: turns, epochs, deadlines."""
    name = place.settings.name

    async def answer(call: Any, work: Work) -> w.Facts:
        if isinstance(call, w.GetFacts):
            return await eyes.gather("")
        facts = await simulator.ask(name, call, seconds=type(call).seconds, say=work.progress)
        if isinstance(call, w.StopAgent):
            place.dismissed = True
        return facts

    return Desk(None, dict.fromkeys(w.CALLS, answer))


class Hosts:
    """`count` simulated hosts below `folder`, whose certificates are there. `simulator` is what they hold."""

    def __init__(self, folder: Path, count: int, managers: list[str], simulator: Simulator | None = None) -> None:
        self.simulator = simulator or Simulator()
        self.links: list[Link] = []
        self._tasks: list[asyncio.Task[None]] = []
        found = tuple(config.address(each) for each in managers)
        for number in range(1, count + 1):
            name = f"sim-{number}"
            own = folder / name
            place = Place(Settings(folder=own, guid=f"guid-{name}", name=name, data=own, managers=found))
            eyes = Eyes(self.simulator, place)
            self.links.append(Link(place, desk(self.simulator, place, eyes), eyes, backoff=BACKOFF_SECONDS))

    def start(self) -> None:
        """Connect them all, and again whenever a connection ends."""
        self._tasks = [asyncio.create_task(each.run()) for each in self.links]

    async def stop(self) -> None:
        """Close all connections."""
        for each in self.links:
            each.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def certify(folder: Path, name: str, port: int) -> None:
    """Have the API issue a host's certificate, if it has none. `port` is a manager's integration port."""
    own = folder / name
    if (own / "host.crt").exists():
        return
    query = urllib.parse.urlencode({"command": "issueCertificate", "domain": name, "response": "json"})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/client/api?{query}", timeout=30) as answer:
        made = json.load(answer)["issuecertificateresponse"]["certificates"]
    own.mkdir(parents=True, exist_ok=True)
    config.write(own / "ca.crt", made["cacertificates"].encode())
    config.write(own / "host.key", made["privatekey"].encode(), 0o600)
    config.write(own / "host.crt", made["certificate"].encode())


async def run(folder: Path, count: int, managers: list[str], port: int, latency: float) -> None:
    """Serve until a signal comes."""
    for number in range(1, count + 1):
        await asyncio.to_thread(certify, folder, f"sim-{number}", port)
    hosts = Hosts(folder, count, managers)
    hosts.simulator.latency = latency
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    hosts.start()
    log.info("simulated hosts are there", hosts=count, managers=managers)
    await stop.wait()
    await hosts.stop()


def main(argv: list[str] | None = None) -> int:
    """Entry; 2 when the options are wrong."""
    import uvloop

    from mold.server.main import set_up_logs

    parser = argparse.ArgumentParser(prog="mold simhosts", description="Simulated hosts over the real agent link.")
    parser.add_argument("--config", type=Path, required=True, help="folder of their certificates")
    parser.add_argument("--hosts", type=int, default=1, help="how many")
    parser.add_argument("--managers", default="127.0.0.1:8250", help="addresses of managers, commas between")
    parser.add_argument("--integration-port", type=int, default=8096, help="a manager's, to issue certificates")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes")
    chosen = parser.parse_args(argv)
    set_up_logs()
    managers = [each.strip() for each in chosen.managers.split(",") if each.strip()]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(run(chosen.config, chosen.hosts, managers, chosen.integration_port, chosen.latency))
    except (Invalid, OSError) as no:
        sys.stderr.write(f"{no}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
