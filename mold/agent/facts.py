"""What a host is (`HostFacts`, at every connect) and how it does (`HostReport`, at every ping).

A report never claims more than was seen: when libvirt does not answer, the guests of the last report are told
again with the time at which they were seen, and before the first look nothing is told at all.  A manager must
not read "I could not look" as "the guests are gone".
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import libvirt
import structlog

from mold.agent import hardware, machines, pools, probe
from mold.agent.here import Here
from mold.agent.serve import Work, serves
from mold.agent.virt import Threads, said
from mold.base.errors import Refusal
from mold.wire import calls as w

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""How long facts and reports wait for libvirt: they are told in time, with less in them."""
POOL_SECONDS = 3.0
FIRMWARE = Path("/usr/share/qemu/firmware")


@serves(w.GetFacts)
async def get(_call: w.GetFacts, work: Work) -> w.HostFacts:
    """What this host is, now."""
    return await gather(work.here)


async def gather(here: Here, towards: str = "") -> w.HostFacts:
    """Facts of the host; `towards` is its own address on the way to the manager. What is missing is a problem told."""
    problems: list[str] = []
    domain_type = hypervisor_version = ""
    try:
        hypervisor_version = await here.virt.call("tell its version", lambda connection: _dotted(connection.getVersion()), seconds=LOOK_SECONDS)
        domain_type = await probe.domain_type(here)
    except Refusal as no:
        problems.append(f"{no.text} No guest can be started until it does.")
    except libvirt.libvirtError as error:
        problems.append(f"{said(error, 'tell its version').text} No guest can be started.")
    if domain_type == "qemu":
        problems.append("Guests are emulated, which is slow: a guest under KVM does not run on this host.")
    features = _features()
    if "uefi" not in features:
        problems.append("There is no UEFI firmware for guests on this host; install the package ovmf.")
    total, _ = hardware.memory()
    return w.HostFacts(
        name=here.settings.name,
        hypervisor="KVM",
        version=_version(),
        hypervisor_version=hypervisor_version,
        arch=platform.machine(),
        cores=hardware.cores(),
        sockets=hardware.sockets(),
        mhz=hardware.mhz(),
        memory=total,
        addresses=await hardware.addresses(towards),
        domain_type=domain_type or "qemu",
        boot_id=probe.boot_id(),
        guid=here.settings.guid,
        capabilities=features,
        can_vlan=await hardware.can_vlan(),
        problems=problems,
    )


class Reporter:
    """Makes the reports of one agent; remembers what a rate needs."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._ticks = hardware.ticks()
        self._threads = Threads(4, "statvfs")
        self._measuring: dict[str, Future[w.PoolFacts]] = {}

    async def gather(self, towards: str) -> w.HostFacts:
        """What the host is."""
        return await gather(self._here, towards)

    def listen(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` whenever a guest changes, until what is returned is called."""
        return self._here.virt.listen(lambda _event: hear())

    async def report(self) -> w.HostReport | None:
        """How the host does; None as long as nobody could look at the guests even once."""
        here = self._here
        problems = list(here.problems.values())
        last = here.last_report
        try:
            seen, at = await machines.every(Work(here=here), LOOK_SECONDS), time.time()
        except Refusal as no:
            problems.append(f"{no.text} The guests are told as they were last seen.")
            if last is None:
                return None
            seen, at = last.machines, last.at
        ticks = hardware.ticks()
        spent = ticks.total - self._ticks.total
        percent = 100 * (ticks.busy - self._ticks.busy) / spent if spent > 0 else (last.cpu_percent if last else 0.0)
        self._ticks = ticks
        received, sent = hardware.traffic()
        here.last_report = w.HostReport(
            cpu_percent=round(percent, 2),
            load=hardware.load(),
            memory_used=hardware.memory()[1],
            received=received,
            sent=sent,
            machines=seen,
            pools=await self._pools(problems),
            at=at,
            problems=problems,
        )
        return here.last_report

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    async def _pools(self, problems: list[str]) -> dict[str, list[int]]:
        """Sizes of the mounted pools. One that hangs (a dead file server) costs a thread and its own line."""
        sizes = {}
        for pool, path in pools.mounted(self._here.settings).items():
            running = self._measuring.get(pool)
            if running is None or running.done():
                running = self._measuring[pool] = self._threads.submit(partial(pools.measure, path, pool))
            done = asyncio.wrap_future(running)
            await asyncio.wait([done], timeout=POOL_SECONDS)
            if not done.done():
                problems.append(f"Pool {pool} at {path} does not answer.")
                continue
            error = done.exception()
            if isinstance(error, Refusal):
                problems.append(error.text)
            elif error is not None:
                problems.append(f"Pool {pool} at {path} cannot be measured: {error}")
            else:
                facts = done.result()
                sizes[pool] = [facts.capacity, facts.used]
        return sizes


def _dotted(number: int) -> str:
    """libvirt's number for a version (7002022) as people write it (7.2.22)."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _version() -> str:
    try:
        return version("mold-cloud")
    except PackageNotFoundError:
        return "0"


def _features() -> list[str]:
    """What not every host has."""
    names = [path.name for path in FIRMWARE.glob("*x86_64*.json")]
    secure = ["secure-boot"] if any("secure" in name for name in names) else []
    return (["uefi"] if names else []) + secure
