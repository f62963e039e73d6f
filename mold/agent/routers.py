"""Routers: a network's way out, its DHCP and DNS, each in a network namespace of its own on this host.

A router is one document.  `ApplyRouter` makes the namespace, its two cables, its firewall, its dnsmasq and its
listeners at the metadata service what the document says, whatever was there before; so a crash anywhere is
mended by asking again.  All of it runs on while the agent is dead, and `resume` finds it again: nothing that is
right is touched.  State lies in `DATA/routers/<id>/`; `removing` in place of `document` marks one that is on its
way out, so a restart finishes the removal instead of undoing it.
"""

from __future__ import annotations

import asyncio
import grp
import hashlib
import pwd
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import structlog

from mold.agent import metadata, namespaces, programs, segments
from mold.agent import router_documents as documents
from mold.agent.router_documents import GUEST, PUBLIC
from mold.agent.serve import Work, serves
from mold.base.errors import Conflict, Failed, Refusal
from mold.wire import calls as w

log = structlog.get_logger()

DATA = Path("/var/lib/mold")
"""Where the agent keeps its state; set by the agent before anything else here is used."""
INSTANCE = ""
"""Short suffix (at most 4 letters or digits) that keeps apart the agents of one machine; set with `DATA`."""
WATCH_SECONDS = 10.0
SWEEP_EVERY = 6

KERNEL = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    # neighbours hear at once where the router's address is now
    "net/ipv4/conf/all/arp_notify": "1",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}

_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True)
class Place:
    """Where a router lives on this host: all its names, made from its id and its number."""

    id: str
    namespace: str
    guest: str
    """The host's end of the cable to the guests."""
    public: str

    @property
    def folder(self) -> Path:
        """Its state."""
        return _home() / "routers" / self.id

    @property
    def dnsmasq(self) -> Path:
        """The files of its dnsmasq, which must be able to read them without being root."""
        return self.folder / "dnsmasq"

    @property
    def mark(self) -> str:
        """The argument by which its dnsmasq is known."""
        return f"--conf-file={self.dnsmasq}/conf"


def place_of(router: str, number: int) -> Place:
    """Names of a router; Invalid when id or number are none."""
    documents.check_id(router)
    documents.check_number(number)
    suffix = f"-{INSTANCE}" if INSTANCE else ""
    return Place(router, f"mold-r-{number}{suffix}", f"mr{number}g{INSTANCE}", f"mr{number}p{INSTANCE}")


def _home() -> Path:
    """The agent's state folder, absolute: its path is the argument by which the metadata service is known."""
    return DATA.absolute()


def _lock(router: str) -> asyncio.Lock:
    return _locks.setdefault(router, asyncio.Lock())


def _stored(folder: Path) -> w.RouterSpec | None:
    """The document on disk; None when there is none or it is damaged (the manager will send another)."""
    try:
        return msgspec.json.decode((folder / "document").read_bytes(), type=w.RouterSpec)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as broken:
        log.warning("a router's document cannot be read", folder=str(folder), reason=str(broken))
        return None


def _folders() -> list[Path]:
    root = _home() / "routers"
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


# -- calls ------------------------------------------------------------------------------------------------------


@serves(w.ApplyRouter)
async def apply_router(call: w.ApplyRouter, work: Work) -> w.RouterFacts:
    """Make a router what the document says; a document older than the stored one changes nothing."""
    spec = documents.checked(call.router)
    async with _lock(spec.id):
        place = place_of(spec.id, spec.number)
        stored = _stored(place.folder)
        if stored is not None and stored.serial > spec.serial:
            return await _facts(stored, await metadata.tell(_home(), "status"))
        if stored is not None and stored.number != spec.number:
            await _remove(place_of(stored.id, stored.number))
        if owner := _other_owner(place):
            raise Conflict(f"Router {owner} of this host has number {spec.number}; remove it, or number this one otherwise.", id=owner)
        return await _facts(spec, await _apply(spec, place))


@serves(w.RemoveRouter)
async def remove_router(call: w.RemoveRouter, work: Work) -> w.Done:
    """Remove a router and all that is its own; done as well when there is none."""
    place = place_of(call.id, call.number)
    async with _lock(call.id):
        stored = _stored(place.folder)
        if stored is not None and stored.number != call.number:
            await _remove(place_of(stored.id, stored.number))
        if not _other_owner(place):
            await _remove(place)
    return w.Done()


@serves(w.ListRouters)
async def list_routers(call: w.ListRouters, work: Work) -> w.RouterNames:
    """The routers of this host, and which of their services are alive."""
    specs = [spec for folder in _folders() if (spec := _stored(folder)) is not None]
    served = await metadata.tell(_home(), "status") if specs else None
    return w.RouterNames(routers=[await _facts(spec, served) for spec in specs])


async def resume() -> None:
    """Bring every stored router back to what its document says, and finish removals that were cut short.

    After a reboot that makes all of them anew; after a restart of the agent it changes nothing.
    """
    for folder in _folders():
        try:
            async with _lock(folder.name):
                spec = _stored(folder)
                if spec is not None:
                    await _apply(documents.checked(spec), place_of(spec.id, spec.number))
                elif (namespace := programs.read(folder / "namespace")) and (folder / "removing").exists():
                    number = namespace.removeprefix("mold-r-").partition("-")[0]
                    await _remove(place_of(folder.name, int(number)))
                elif not (folder / "document").exists():
                    # cut short before there was a document, or after all else was removed
                    shutil.rmtree(folder)
        except (Refusal, OSError, ValueError) as no:
            log.warning("a router was not resumed", router=folder.name, reason=str(no), inner=getattr(no, "inner", None))


async def watch(seconds: float = WATCH_SECONDS) -> None:
    """Forever: look every `seconds` whether every router's processes are alive, mend what is not, sweep idle bridges."""
    turn = 0
    while True:
        await asyncio.sleep(seconds)
        turn += 1
        await mend()
        if turn % SWEEP_EVERY == 0:
            try:
                await segments.sweep()
            except (Refusal, OSError) as no:
                log.warning("idle bridges were not swept", reason=str(no))


async def mend() -> None:
    """Look once whether what should run runs, and bring back what does not."""
    for folder in _folders():
        # asked under the lock: half of what an `ApplyRouter` is doing right now is not broken
        async with _lock(folder.name):
            spec = _stored(folder)
            if spec is None or not (dead := await _dead(spec)):
                continue
            log.warning("a router is mended", router=spec.id, dead=dead)
            try:
                await _apply(spec, place_of(spec.id, spec.number))
            except (Refusal, OSError) as no:
                log.warning("a router was not mended", router=spec.id, reason=str(no), inner=getattr(no, "inner", None))


async def _dead(spec: w.RouterSpec) -> list[str]:
    """What of a router should be alive and is not."""
    place = place_of(spec.id, spec.number)
    dead = [] if namespaces.inode(place.namespace) else ["namespace"]
    if documents.serves_names(spec) and not programs.alive(place.dnsmasq / "pid", place.mark):
        dead.append("dnsmasq")
    if "UserData" in spec.services:
        served = await metadata.tell(_home(), "status")
        if served is None or served.serving.get(spec.id) != spec.serial:
            dead.append("metadata")
    return dead


# -- what there is ----------------------------------------------------------------------------------------------


async def _facts(spec: w.RouterSpec, served: metadata.Served | None) -> w.RouterFacts:
    place = place_of(spec.id, spec.number)
    running: list[str] = []
    if namespaces.inode(place.namespace):
        if programs.alive(place.dnsmasq / "pid", place.mark):
            running += [service for service in ("Dhcp", "Dns") if service in spec.services]
        if served is not None and spec.id in served.serving:
            running.append("UserData")
        _, rules, _ = await programs.run(
            *namespaces.enter(place.namespace), "nft", "list", "ruleset", what="Reading the firewall", fails=False
        )
        if "snat to" in rules:
            running.append("SourceNat")
    return w.RouterFacts(id=spec.id, serial=spec.serial, namespace=place.namespace, running=running)


def _other_owner(place: Place) -> str:
    """The id of another router of this host that lives in the same namespace; empty when there is none."""
    for folder in _folders():
        kept = (folder / "document").exists() or (folder / "removing").exists()
        if folder.name != place.id and kept and programs.read(folder / "namespace") == place.namespace:
            return folder.name
    return ""


# -- making it so -----------------------------------------------------------------------------------------------


async def _apply(spec: w.RouterSpec, place: Place) -> metadata.Served | None:
    """Make the router what the checked document says; answers what the metadata service serves then."""
    # bridges first: a segment that this host cannot make is refused before anything is remembered
    guest_bridge = await segments.plug(spec.segment)
    public_bridge = await segments.plug(spec.public.segment) if spec.public else ""
    _remember(spec, place)
    await namespaces.make(place.namespace)
    # closed before it is connected
    await programs.run(
        *namespaces.enter(place.namespace), "nft", "-f", "-", stdin=documents.ruleset(spec), what="Loading the firewall of the router"
    )
    await namespaces.set_kernel(place.namespace, KERNEL)
    mtu = await segments.mtu_of(guest_bridge)
    cables = [Cable(GUEST, place.guest, guest_bridge, spec.mac.lower(), f"{spec.gateway}/{spec.prefix}", mtu)]
    if spec.public:
        public = spec.public
        cables.append(
            Cable(PUBLIC, place.public, public_bridge, public.mac.lower(), f"{public.ip}/{public.prefix}", await segments.mtu_of(public_bridge))
        )
    elif await segments.link(place.public):
        await segments.batch([f"link del {place.public}"], what="Unplugging the public side")
    await _plug_in(place, cables)
    if spec.public:
        onlink = "" if segments.contains(f"{spec.public.ip}/{spec.public.prefix}", spec.public.gateway) else " onlink"
        await segments.batch(
            [f"route replace default via {spec.public.gateway} dev {PUBLIC}{onlink}"], what="Setting the way out", namespace=place.namespace
        )
    await _names(spec, place, min(spec.mtu, mtu) if spec.mtu else mtu)
    if "UserData" in spec.services:
        return await metadata.refresh(_home(), spec.id)
    return await metadata.tell(_home(), f"reload {spec.id}")


def _remember(spec: w.RouterSpec, place: Place) -> None:
    """Keep the document where a restart finds it. Only root reads it: it holds passwords."""
    for folder in (place.folder.parent, place.folder, place.dnsmasq):
        folder.mkdir(parents=True, exist_ok=True)
        # others may pass through, to the files that dnsmasq reads
        folder.chmod(0o711)
    programs.write(place.folder / "namespace", place.namespace)
    text = msgspec.json.encode(spec).decode()
    if programs.read(place.folder / "document") != text:
        programs.write(place.folder / "document", text, durable=True)
    (place.folder / "removing").unlink(missing_ok=True)


@dataclass(frozen=True)
class Cable:
    """A veth pair: `inside` the namespace with an address, `outside` a port of `bridge`."""

    inside: str
    outside: str
    bridge: str
    mac: str
    address: str
    mtu: int


async def _plug_in(place: Place, cables: list[Cable]) -> None:
    """The router's cables as they must be. An end without its other end is pulled and replaced."""
    there = {found.ifname: found for found in await segments.links(namespace=place.namespace)}
    host: list[str] = []
    inner: list[str] = [] if there["lo"].up else ["link set lo up"]
    for cable in cables:
        outside, inside = await segments.link(cable.outside), there.get(cable.inside)
        if outside is None or inside is None or outside.link_index != inside.ifindex:
            if outside is not None:
                host.append(f"link del {cable.outside}")
                outside = None
            if inside is not None:
                # the other end went with it when they were a pair
                await programs.run(
                    "ip", "-n", place.namespace, "link", "del", cable.inside, what="Pulling a stale cable", fails=False
                )
                inside = None
            host += [
                f"link add {cable.outside} mtu {cable.mtu} type veth peer name {cable.inside} address {cable.mac} "
                f"mtu {cable.mtu} netns {place.namespace}",
                f"link set {cable.outside} addrgenmode none",
            ]
        if outside is None or outside.master != cable.bridge or not outside.up or outside.mtu != cable.mtu:
            host.append(f"link set {cable.outside} mtu {cable.mtu} master {cable.bridge} up")
        if inside is None or inside.address != cable.mac or inside.mtu != cable.mtu:
            inner.append(f"link set {cable.inside} address {cable.mac} mtu {cable.mtu}")
        has = inside.addresses() if inside is not None else []
        inner += [f"address del {old} dev {cable.inside}" for old in has if old != cable.address]
        if cable.address not in has:
            inner.append(f"address add {cable.address} brd + dev {cable.inside}")
        if inside is None or not inside.up:
            inner.append(f"link set {cable.inside} up")
    await segments.batch(host, what="Plugging the router in")
    await segments.batch(inner, what="Setting the router's addresses", namespace=place.namespace)


def _dnsmasq_user(folder: Path) -> tuple[str, str]:
    """User and group that dnsmasq becomes: not root, unless nobody else may enter the data folder."""
    if not all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents)):
        log.warning("dnsmasq runs as root, as only root may enter the data folder; give it and its parents mode 0711", folder=str(folder))
        return "root", "root"
    for name in ("dnsmasq", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return name, grp.getgrgid(entry.pw_gid).gr_name
        except KeyError:
            continue
    return "root", "root"


async def _names(spec: w.RouterSpec, place: Place, mtu: int) -> None:
    """dnsmasq as it must be: left alone, told to read its files anew, or restarted, whichever is the least that does.

    A lease that goes, or moves to another machine, takes a restart: dnsmasq would keep the address for the machine
    that had it.  It holds no state worth keeping, since all its leases are in its files.
    """
    folder, mark = place.dnsmasq, place.mark
    pid = programs.alive(folder / "pid", mark)
    if not documents.serves_names(spec):
        if pid:
            await programs.end(pid, mark)
        return
    user, group = _dnsmasq_user(folder)
    files = {
        "conf": documents.dnsmasq_conf(spec, str(folder), mtu, user, group),
        "hosts": documents.dnsmasq_hosts(spec),
        "options": documents.dnsmasq_options(spec),
        "names": documents.dnsmasq_names(spec),
    }
    device = next(found.ifindex for found in await segments.links("dev", GUEST, namespace=place.namespace))
    # the device by number: dnsmasq holds on to the one it was started with
    root = f"{namespaces.inode(place.namespace)} {device} {hashlib.sha256(files['conf'].encode()).hexdigest()}"
    content = hashlib.sha256("\0".join(files.values()).encode()).hexdigest()
    was = programs.read(folder / "running").split("\n")
    same = bool(pid) and was[0] == f"{pid} {programs.started(pid)} {root}"
    if same and was[1:2] == [content]:
        return
    gone = _pairs(programs.read(folder / "hosts")) - _pairs(files["hosts"])
    if not same or gone:
        await _end_strays(place)
        same = False
    for name, text in files.items():
        programs.write(folder / name, text, 0o644)
    if same:
        programs.send(pid, mark, signal.SIGHUP)
    else:
        await programs.run(*namespaces.enter(place.namespace), "dnsmasq", mark, what="Starting DHCP and DNS of the router")
        pid = await _written(folder / "pid", mark)
    programs.write(folder / "running", f"{pid} {programs.started(pid)} {root}\n{content}")


def _pairs(hosts: str) -> set[str]:
    """What each machine was promised, line by line."""
    return set(hosts.splitlines())


async def _written(pid_file: Path, mark: str) -> int:
    """The pid of a daemon that has just started."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if pid := programs.alive(pid_file, mark):
            return pid
        await asyncio.sleep(0.005)
    raise Failed("DHCP and DNS of the router ended right after their start; the host's log says why.", pid_file=str(pid_file))


async def _end_strays(place: Place) -> None:
    """End the router's dnsmasq, the one with a pid file and any that lost it."""
    if pid := programs.alive(place.dnsmasq / "pid", place.mark):
        await programs.end(pid, place.mark)
    for pid in await namespaces.pids(place.namespace):
        await programs.end(pid, place.mark)
    (place.dnsmasq / "pid").unlink(missing_ok=True)


async def _remove(place: Place) -> None:
    """Remove a router, step by step such that a crash in between leaves something that a repetition finishes."""
    if (place.folder / "document").exists():
        (place.folder / "document").replace(place.folder / "removing")
    # the listeners go first: an open socket keeps a namespace alive after its name is gone
    await metadata.tell(_home(), f"reload {place.id}")
    await _end_strays(place)
    for device in (place.guest, place.public):
        if await segments.link(device):
            await segments.batch([f"link del {device}"], what="Unplugging the router")
    await namespaces.remove(place.namespace)
    if place.folder.is_dir():
        await asyncio.to_thread(shutil.rmtree, place.folder)
