"""Guests: start, stop, reboot, look. Every call first looks at what is there, so asking twice does the work once.

Domains are transient: the manager is the source of truth and sends the whole machine again, so nothing half
defined survives a host's reboot, and a running one survives a restart of libvirtd all the same.  Agents that share
a libvirtd know their guests by a mark in the domain's metadata; a guest without it is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import libvirt
import structlog

from mold.agent import domain, pools, probe, rates, segments
from mold.agent.hardware import mhz
from mold.agent.here import Here
from mold.agent.serve import Work, serves
from mold.agent.virt import Event, said
from mold.base.errors import Failed, Invalid, NotFound, Refusal, Unreachable
from mold.wire import calls as w

log = structlog.get_logger()

START_SECONDS = 100.0
ASK_AGAIN_SECONDS = 15.0
"""A guest that is just booting misses the power button; it is pressed again after this long."""
STATES = {
    libvirt.VIR_DOMAIN_PAUSED: "Paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "Paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "Stopped",
    libvirt.VIR_DOMAIN_CRASHED: "Stopped",
}
_STATS = (
    libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE | libvirt.VIR_DOMAIN_STATS_BLOCK
)  # fmt: skip


@serves(w.StartMachine)
async def start(call: w.StartMachine, work: Work) -> w.MachineFacts:
    """Start a guest, unless it runs. A domain of the same name but another id is a mistake that nobody repairs here."""
    spec, here = call.machine, work.here
    domain.check(spec)
    async with here.lock(f"machine {spec.name}"):
        if await _ask(work, f"look for {spec.name}", lambda connection: _clear(connection, here, spec)):
            return await _facts(work, spec.name)
        disks = [await pools.disk(work, disk) for disk in spec.disks]
        ground = domain.Ground(
            domain_type=await probe.domain_type(here), mhz=mhz(), agent=here.settings.guid,
        )  # fmt: skip
        socket = await _prepare_socket(work, spec.name)
        try:
            bridges = [await segments.plug(nic.segment) for nic in spec.nics]
            text = domain.describe(spec, ground, disks, bridges, str(socket))
            await _ask(work, f"start {spec.name}", lambda connection: _create(connection, text), seconds=START_SECONDS)
            await _limit_cards(work, spec)
        except Unreachable:
            # It may be starting still: what it needs stays. Whoever asks for its stop clears up.
            raise
        except Refusal:
            await _tear_down(work, spec.name)
            raise
        log.info("machine started", machine=spec.name, id=spec.id)
        return await _facts(work, spec.name)


@serves(w.StopMachine)
async def stop(call: w.StopMachine, work: Work) -> w.MachineFacts:
    """Stop a guest and leave nothing of it. The answer's state is `Absent`: this host has it no more."""
    here = work.here
    _named(call.name)
    async with here.lock(f"machine {call.name}"):
        if await _state(work, call.name) not in ("Absent", "Stopped") and not call.force and call.grace > 0:
            await _ask_to_stop(call, work)
        await _tear_down(work, call.name)
        return w.MachineFacts(name=call.name, state="Absent")


@serves(w.RebootMachine)
async def reboot(call: w.RebootMachine, work: Work) -> w.MachineFacts:
    """Restart a guest: it is asked first, and reset when it does not do it in time."""
    here = work.here
    _named(call.name)
    async with here.lock(f"machine {call.name}"):
        if await _state(work, call.name) in ("Absent", "Stopped"):
            raise NotFound(f"Machine {call.name} does not run on this host, so it cannot be rebooted.", name=call.name)
        if call.force or call.grace <= 0 or not await _ask_to_reboot(call, work):
            await _ask(work, f"reset {call.name}", lambda connection: _needed(connection, here, call.name).reset())
        return await _facts(work, call.name)


@serves(w.GetMachine)
async def get(call: w.GetMachine, work: Work) -> w.MachineFacts:
    """One guest as it is now."""
    _named(call.name)
    return await _facts(work, call.name)


@serves(w.ListMachines)
async def listed(_call: w.ListMachines, work: Work) -> w.MachineList:
    """All guests of this agent."""
    return w.MachineList(machines=await every(work))


async def every(work: Work, seconds: float = 30) -> list[w.MachineFacts]:
    """All guests of this agent, by name."""
    found: list[w.MachineFacts] = await _ask(work, "list the guests", lambda connection: _every(connection, work.here), seconds)
    return sorted(found, key=lambda facts: facts.name)


async def screen(work: Work, name: str) -> Path:
    """The VNC socket of a running guest of this agent; NotFound when there is none."""
    _named(name)
    if await _state(work, name) not in ("Running", "Paused"):
        raise NotFound(f"Machine {name} does not run on this host.", name=name)
    return _socket(work.here, name)


# -- steps that wait --------------------------------------------------------------------------------------------


async def _ask(work: Work, doing: str, function: Callable[[Any], Any], seconds: float = 30) -> Any:
    """The result of `function(connection)`, which looks first; it looks again when the guest ended while it did."""

    def look(connection: Any) -> Any:
        try:
            return function(connection)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return function(connection)

    try:
        return await work.here.virt.call(doing, look, work, seconds)
    except libvirt.libvirtError as error:
        raise said(error, doing) from error


async def _state(work: Work, name: str) -> str:
    return (await _facts(work, name)).state


async def _facts(work: Work, name: str) -> w.MachineFacts:
    facts: w.MachineFacts = await _ask(work, f"look at {name}", lambda connection: _one(connection, work.here, name))
    return facts


async def _heard(
    work: Work, call: w.StopMachine | w.RebootMachine, what: str, over: Callable[[], Awaitable[bool]],
    ask: Callable[[], Awaitable[None]],
) -> bool:  # fmt: skip
    """Whether `over` became true within the grace; looks at events of the guest and once a second, asks now and then."""
    happened = asyncio.Event()

    def hear(event: Event) -> None:
        if event.name == call.name and event.what == what:
            happened.set()

    end = work.here.virt.listen(hear)
    try:
        until = time.monotonic() + call.grace
        asked = -ASK_AGAIN_SECONDS
        while True:
            tick = time.monotonic()
            if tick - asked >= ASK_AGAIN_SECONDS:
                asked = tick
                await ask()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(happened.wait(), max(0.0, min(1.0, until - tick)))
            if (what == "reboot" and happened.is_set()) or await over():
                return True
            if time.monotonic() >= until:
                return False
            happened.clear()
    finally:
        end()


async def _tear_down(work: Work, name: str) -> None:
    """Nothing of a guest is left afterwards: no domain, no socket, no device that only it used."""
    here = work.here
    await _ask(work, f"stop {name}", lambda connection: _remove(connection, here, name), seconds=60)
    _socket(here, name).unlink(missing_ok=True)
    await segments.sweep()
    await rates.sweep()


async def _limit_cards(work: Work, spec: w.MachineSpec) -> None:
    wanted = {f"ua-nic{nic.device}": nic.rate_mbps for nic in spec.nics if nic.rate_mbps}
    if not wanted:
        return
    try:
        taps = await _ask(work, f"look at {spec.name}", lambda connection: _taps(_needed(connection, work.here, spec.name)))
        for alias, mbps in wanted.items():
            await rates.limit(taps[alias], mbps)
        work.here.problems.pop("rates", None)
    except Failed as no:
        # Nearly every machine has a rate: where the kernel lacks the means, guests run without, and the manager is told.
        work.here.problems["rates"] = f"Network cards are not limited on this host: {no.text}"
        log.warning("card not limited", machine=spec.name, error=no.text)


async def _ask_to_stop(call: w.StopMachine, work: Work) -> None:
    async def press() -> None:
        await _press(work, call.name, lambda found: found.shutdown())

    async def gone() -> bool:
        return await _state(work, call.name) in ("Absent", "Stopped")

    if not await _heard(work, call, "lifecycle", gone, press):
        log.info("machine did not stop in time", machine=call.name, grace=call.grace)


async def _ask_to_reboot(call: w.RebootMachine, work: Work) -> bool:
    async def press() -> None:
        await _press(work, call.name, lambda found: found.reboot(0))

    async def never() -> bool:
        return False

    return await _heard(work, call, "reboot", never, press)


async def _press(work: Work, name: str, how: Callable[[Any], Any]) -> None:
    """Ask the guest; that it cannot be asked is no failure, for after the grace the plug is pulled."""

    def press(connection: Any) -> None:
        found = _mine(connection, work.here, name)
        try:
            if found is not None:
                how(found)
        except libvirt.libvirtError as error:
            log.info("guest cannot be asked", machine=name, error=str(error))

    await _ask(work, f"ask {name}", press)


async def _prepare_socket(work: Work, name: str) -> Path:
    """The path of the guest's screen, in a folder where the user that QEMU runs as may make it and nobody else looks."""
    socket = _socket(work.here, name)
    owner = await _ask(work, "tell the user of QEMU", _qemu_owner)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pools.chown(socket.parent, *owner)
    socket.unlink(missing_ok=True)
    return socket


# -- in the thread: with a connection ---------------------------------------------------------------------------


def _qemu_owner(connection: Any) -> tuple[int, int]:
    """User and group that libvirt gives to QEMU (0, 0 when it does not change them)."""
    for model in ET.fromstring(connection.getCapabilities()).iter("secmodel"):  # noqa: S314 - libvirt's own words
        label = model.findtext("baselabel") or ""
        if model.findtext("model") == "dac" and label.count(":") == 1:
            user, group = label.replace("+", "").split(":")
            return int(user), int(group)
    return 0, 0


def _find(connection: Any, name: str) -> Any | None:
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _owner(found: Any) -> str:
    """The guid of the agent whose guest this is; empty when it is not Mold's, or gone while we look."""
    try:
        mark = found.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain.NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return ""
        raise
    return ET.fromstring(mark).get("agent", "")  # noqa: S314 - libvirt's own words


def _mine(connection: Any, here: Here, name: str) -> Any | None:
    """The domain of that name, None when there is none; Failed when it is somebody else's."""
    found = _find(connection, name)
    if found is not None and _owner(found) != here.settings.guid:
        if _find(connection, name) is None:
            found = None
        else:
            raise Failed(f"The guest {name} on this host was not started by this agent, so it is left alone.", name=name)
    return found


def _needed(connection: Any, here: Here, name: str) -> Any:
    found = _mine(connection, here, name)
    if found is None:
        raise NotFound(f"Machine {name} is not on this host.", name=name)
    return found


def _clear(connection: Any, here: Here, spec: w.MachineSpec) -> bool:
    """Whether the guest runs already. Removes what is left of an earlier start that did not get to its end."""
    found = _mine(connection, here, spec.name)
    if found is None:
        with contextlib.suppress(libvirt.libvirtError):
            other = connection.lookupByUUIDString(spec.id).name()
            raise Failed(f"Machine {spec.id} is on this host under the name {other}, not {spec.name}.", name=other)
        return False
    if found.UUIDString() != spec.id.lower():
        text = f"There is a guest {spec.name} on this host with the id {found.UUIDString()}, not {spec.id}; stop that first."
        raise Failed(text, name=spec.name, id=found.UUIDString())
    state, reason = found.state()
    is_half_started = state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_STARTING_UP
    if found.isActive() and not is_half_started and state not in (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF):
        return True
    log.info("leftover removed", machine=spec.name, state=state, reason=reason)
    _remove(connection, here, spec.name)
    return False


def _create(connection: Any, text: str) -> None:
    connection.createXML(text, libvirt.VIR_DOMAIN_START_VALIDATE)


def _remove(connection: Any, here: Here, name: str) -> None:
    """Pull the plug and undefine; fine when there is nothing."""
    found = _mine(connection, here, name)
    if found is None:
        return
    variables = ET.fromstring(found.XMLDesc()).findtext("./os/nvram")  # noqa: S314 - libvirt's own words
    _unless_gone(found.destroy)
    if _find(connection, name) is not None:
        _unless_gone(lambda: found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE))
    if variables:
        # libvirt forgets a transient domain, but not the file with its firmware's variables.
        Path(variables).unlink(missing_ok=True)


def _unless_gone(act: Callable[[], Any]) -> None:
    try:
        act()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            raise


def _one(connection: Any, here: Here, name: str) -> w.MachineFacts:
    found = _mine(connection, here, name)
    facts = _stats(connection, here, [found]) if found is not None else []
    return facts[0] if facts else w.MachineFacts(name=name, state="Absent")


def _every(connection: Any, here: Here) -> list[w.MachineFacts]:
    mine = [found for found in connection.listAllDomains(0) if _owner(found) == here.settings.guid]
    return _stats(connection, here, mine)


def _taps(found: Any) -> dict[str, str]:
    """The tap of each card, by its alias."""
    cards = ET.fromstring(found.XMLDesc()).iterfind("./devices/interface")  # noqa: S314 - libvirt's own words
    pairs = ((card.find("alias"), card.find("target")) for card in cards)
    return {alias.get("name", ""): tap.get("dev", "") for alias, tap in pairs if alias is not None and tap is not None}


def _stats(connection: Any, here: Here, found: list[Any]) -> list[w.MachineFacts]:
    """Facts of these domains; one that ends meanwhile is left out. Does not wait for a guest that is busy."""
    if not found:
        return []
    try:
        records = connection.domainListGetStats(found, _STATS, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN or len(found) == 1:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return []
            raise
        return [facts for each in found for facts in _stats(connection, here, [each])]
    return [_told(each, stats, here) for each, stats in records]


def _told(found: Any, stats: dict[str, Any], here: Here) -> w.MachineFacts:
    name: str = found.name()
    return w.MachineFacts(
        name=name,
        id=found.UUIDString(),
        state=STATES.get(stats.get("state.state", -1), "Running"),
        vnc=str(_socket(here, name)),
        cpu_seconds=stats.get("cpu.time", 0) / 1e9,
        memory=stats.get("balloon.current", 0) * 1024,
        received=_sum(stats, "net", "rx.bytes"),
        sent=_sum(stats, "net", "tx.bytes"),
        disk_read=_sum(stats, "block", "rd.bytes"),
        disk_written=_sum(stats, "block", "wr.bytes"),
    )


def _sum(stats: dict[str, Any], group: str, item: str) -> int:
    return sum(int(stats.get(f"{group}.{number}.{item}", 0)) for number in range(stats.get(f"{group}.count", 0)))


def _socket(here: Here, name: str) -> Path:
    return here.settings.run / "vnc" / f"{name}.sock"


def _named(name: str) -> None:
    if not domain.is_name(name):
        raise Invalid(f"'{name[:80]}' is not a machine name; use letters, digits, '.', '_' and '-'.", name=name[:80])
