"""Segments: the bridges that guests and routers plug into, and how each leaves the host.

A segment that this kernel cannot isolate is refused, never quietly joined to another one.  Bridges of ours carry
no address and no IPv6, so a guest cannot talk to the host through them.  They are made when something plugs in
and swept when nothing has been plugged in for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import time
from weakref import WeakValueDictionary

import msgspec

from mold.agent.namespaces import raise_kernel, write_kernel
from mold.agent.programs import run
from mold.base.errors import Conflict, Failed, Invalid, Unavailable, Unsupported
from mold.wire.calls import SegmentSpec

DEFAULT_LABEL = ""
"""The bridge or device for segments without a label; set from the agent's configuration, empty means `label_default` looks."""

VXLAN_PORT = 4789
VXLAN_OVERHEAD = 50
"""Bytes that VXLAN over IPv4 puts around a frame."""
VXLAN_MTU = 1450
GROUPS_MAX = 16384
IDLE_SECONDS = 60.0

DEAF = {
    "net/ipv6/conf/{}/disable_ipv6": "1",
    "net/ipv4/conf/{}/rp_filter": "1",
    "net/ipv4/conf/{}/arp_ignore": "8",
}
"""What makes the host deaf on a bridge of ours.  Linux answers for all its addresses on every device, so guests would
reach the host through a bridge that has no address at all; as no route leads back there, rp_filter drops what they send."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_OURS = re.compile(r"m([vb])(\d{1,8}-[0-9a-f]{4})")
_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
_idle_since: dict[str, float] = {}


class Tunnel(msgspec.Struct):
    """The numbers of a vxlan or vlan device."""

    id: int = 0
    group: str = ""
    local: str = ""
    link: str = ""
    port: int = 0


class LinkInfo(msgspec.Struct):
    """What kind of device it is."""

    info_kind: str = ""
    info_data: msgspec.Raw = msgspec.Raw(b"{}")


class Address(msgspec.Struct):
    """An address on a device."""

    family: str
    local: str = ""
    prefixlen: int = 0
    scope: str = ""


class Link(msgspec.Struct):
    """A network device as `ip -j -d` tells it. `link_index` is a veth's other end."""

    ifindex: int = 0
    ifname: str = ""
    flags: list[str] = []
    mtu: int = 0
    address: str = ""
    master: str = ""
    link_index: int = 0
    linkinfo: LinkInfo = msgspec.field(default_factory=LinkInfo)
    addr_info: list[Address] = []

    @property
    def kind(self) -> str:
        """`bridge`, `veth`, `vxlan` ...; empty for a network card."""
        return self.linkinfo.info_kind

    @property
    def up(self) -> bool:
        """Whether it is switched on."""
        return "UP" in self.flags

    @property
    def tunnel(self) -> Tunnel:
        """The numbers of a vxlan or vlan device."""
        return msgspec.json.decode(self.linkinfo.info_data, type=Tunnel)

    def addresses(self) -> list[str]:
        """IPv4 addresses with prefix, like 10.1.1.1/24."""
        return [f"{a.local}/{a.prefixlen}" for a in self.addr_info if a.family == "inet"]


_links = msgspec.json.Decoder(list[Link])


async def links(*choice: str, namespace: str = "") -> list[Link]:
    """Network devices with their addresses; `choice` narrows it, like ("master", "br0") or ("type", "bridge")."""
    where = ("-n", namespace) if namespace else ()
    _, output, _ = await run("ip", *where, "-j", "-d", "address", "show", *choice, what="Reading the network devices")
    # ip prints {} for every device that the choice leaves out
    return [found for found in _links.decode(output or "[]") if found.ifname]


async def link(name: str) -> Link | None:
    """The host's device of this name, or None."""
    status, output, errors = await run("ip", "-j", "-d", "address", "show", "dev", name, what="Reading a device", fails=False)
    if status:
        if "does not exist" in errors:
            return None
        raise Failed(f"The device {name} cannot be read on this host: {errors.strip()}", device=name)
    return _links.decode(output)[0]


async def batch(lines: list[str], *, what: str, namespace: str = "") -> None:
    """Let one `ip` do these lines, in order, stopping at the first that fails."""
    if lines:
        where = ("-n", namespace) if namespace else ()
        await run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n", what=what)


def contains(address: str, other: str) -> bool:
    """Whether `other` is a neighbour of the device that has `address` (with prefix)."""
    return ipaddress.IPv4Address(other) in ipaddress.IPv4Interface(address).network


async def label_default() -> str:
    """The bridge or device for segments that name none: the configured one, `cloudbr0`, or what carries the default route.

    Unavailable when the host has no network device that would do.
    """
    if DEFAULT_LABEL:
        return DEFAULT_LABEL
    if await link("cloudbr0"):
        return "cloudbr0"
    _, output, _ = await run("ip", "-j", "-4", "route", "show", "default", what="Reading the default route")
    for route in msgspec.json.decode(output or "[]", type=list[dict[str, object]]):
        if device := route.get("dev"):
            return str(device)
    for found in await links("up"):
        if "LOOPBACK" not in found.flags and found.addresses():
            return found.ifname
    raise Unavailable(
        "This host has no network device with an IPv4 address to carry guest traffic; configure one, or give the "
        "physical network a KVM traffic label that names a device of this host."
    )


async def can_vlan() -> bool:
    """Whether this kernel makes 802.1Q devices (a probe that leaves nothing behind)."""
    _, _, errors = await run(
        "ip", "link", "add", "link", "lo", "name", "moldprobe", "type", "vlan", "id", "1", what="Probing 802.1Q", fails=False
    )
    if not errors:
        await run("ip", "link", "del", "moldprobe", what="Removing the probe")
    return "Unknown device type" not in errors


def group_of(tag: int) -> str:
    """The multicast group of a VXLAN: 239.x.y.z made from its 24 bits."""
    return f"239.{tag >> 16}.{tag >> 8 & 255}.{tag & 255}"


def _names(method: str, tag: int, label: str) -> tuple[str, str]:
    """The names of a segment's bridge and of its way out, at most 15 characters each."""
    mark = f"{tag}-{hashlib.sha256(label.encode()).hexdigest()[:4]}"
    return ("mv" + mark, "vx" + mark) if method == "vxlan" else ("mb" + mark, "vl" + mark)


def check(segment: SegmentSpec) -> None:
    """Invalid when a segment makes no sense or has a name that no device can have."""
    top = {"untagged": 0, "vlan": 4094, "vxlan": 0xFFFFFF}.get(segment.method)
    if top is None:
        raise Invalid(f"A segment's method is vlan, vxlan or untagged, not '{segment.method[:40]}'.", method=segment.method[:40])
    if segment.method != "untagged" and not 1 <= segment.tag <= top:
        raise Invalid(f"The {segment.method} tag {segment.tag} must lie within 1-{top}.", tag=segment.tag)
    if segment.label and not _NAME.fullmatch(segment.label):
        raise Invalid("A traffic label is the name of a host's device: at most 15 letters, digits, '.', '_' or '-'.")
    if segment.mtu and not 576 <= segment.mtu <= 9216:
        raise Invalid(f"The MTU {segment.mtu} must lie within 576-9216 bytes.", mtu=segment.mtu)


async def plug(segment: SegmentSpec) -> str:
    """Make sure the bridge of a segment exists on this host, and answer its name.

    Asked twice it does the work once.  Unavailable when the label's device is missing, Unsupported when this
    kernel or this label cannot carry such a segment, Conflict when someone else's device has the tag.
    """
    check(segment)
    label = segment.label or await label_default()
    carrier = await link(label)
    if carrier is None:
        raise Unavailable(
            f"This host has no device '{label}', which carries this traffic by its label; make it, or correct the KVM traffic "
            "label of the physical network.", label=label,
        )  # fmt: skip
    if segment.method == "untagged":
        if carrier.kind != "bridge":
            raise Unsupported(
                f"An untagged network needs a bridge, and '{label}' on this host is none; make a bridge over it and name that "
                "as the traffic label, or isolate the network by VXLAN.", label=label,
            )  # fmt: skip
        return label
    bridge, outlet = _names(segment.method, segment.tag, label)
    lock = _locks.setdefault(bridge, asyncio.Lock())
    async with lock:
        _idle_since.pop(bridge, None)
        if segment.method == "vxlan":
            mtu = await _vxlan(outlet, segment, carrier)
        else:
            mtu = await _vlan(outlet, segment, carrier)
        await _bridge(bridge, outlet, mtu)
        _idle_since.pop(bridge, None)
    return bridge


async def _vxlan(outlet: str, segment: SegmentSpec, carrier: Link) -> int:
    """The vxlan device of a segment as it must be; answers its MTU."""
    local = next((a.local for a in carrier.addr_info if a.family == "inet" and a.scope == "global"), "")
    if not local:
        raise Unavailable(
            f"VXLAN needs an IPv4 address on '{carrier.ifname}', which carries this traffic, and it has none; give it one that "
            "the other hosts reach.", label=carrier.ifname,
        )  # fmt: skip
    room = carrier.mtu - VXLAN_OVERHEAD
    mtu = segment.mtu or min(VXLAN_MTU, room)
    if mtu > room:
        raise Unsupported(
            f"A network with an MTU of {mtu} bytes needs {mtu + VXLAN_OVERHEAD} on '{carrier.ifname}', which has {carrier.mtu}; "
            f"raise that, or give the network at most {room}.", mtu=mtu, room=room,
        )  # fmt: skip
    want = Tunnel(id=segment.tag, group=group_of(segment.tag), local=local, link=carrier.ifname, port=VXLAN_PORT)
    has = await link(outlet)
    if has is not None and (has.kind != "vxlan" or has.tunnel != want):
        await run("ip", "link", "del", outlet, what=f"Removing the outdated device {outlet}")
        has = None
    if has is None:
        # one socket joins the groups of all VXLANs of a host, and may join 20 unless told otherwise
        raise_kernel("net/ipv4/igmp_max_memberships", GROUPS_MAX)
        status, _, errors = await run(
            "ip", "link", "add", outlet, "type", "vxlan", "id", str(want.id), "dstport", str(want.port), "group", want.group,
            "local", want.local, "dev", want.link, what="Making the VXLAN device", fails=False,
        )  # fmt: skip
        if "already exists" in errors:
            raise Conflict(
                f"Another device of this host has VXLAN {segment.tag} already; a VXLAN number is one network per host, so "
                "use another, or remove that device.", tag=segment.tag, inner=errors.strip(),
            )  # fmt: skip
        if status:
            raise Failed(f"Making the VXLAN device failed on this host: {errors.strip()}", tag=segment.tag)
    return mtu


async def _vlan(outlet: str, segment: SegmentSpec, carrier: Link) -> int:
    """The 802.1Q device of a segment; answers its MTU."""
    uplink = carrier
    if carrier.kind == "bridge":
        cards = [port for port in await links("master", carrier.ifname) if port.kind in ("", "bond", "team")]
        if not await can_vlan():
            raise _no_vlan(segment)
        if len(cards) != 1:
            raise Unsupported(
                f"VLAN {segment.tag} leaves the host through the network card of bridge '{carrier.ifname}', which has "
                f"{len(cards)}; name the card itself as the traffic label.", label=carrier.ifname,
            )  # fmt: skip
        uplink = cards[0]
    has = await link(outlet)
    if has is None:
        status, _, errors = await run(
            "ip", "link", "add", "link", uplink.ifname, "name", outlet, "type", "vlan", "id", str(segment.tag),
            what="Making the VLAN device", fails=False,
        )  # fmt: skip
        if "Unknown device type" in errors:
            raise _no_vlan(segment)
        if "File exists" in errors:
            raise Conflict(f"Another device of this host has VLAN {segment.tag} on '{uplink.ifname}' already.", tag=segment.tag)
        if status:
            raise Failed(f"Making the VLAN device failed on this host: {errors.strip()}", tag=segment.tag)
    return segment.mtu or uplink.mtu


def _no_vlan(segment: SegmentSpec) -> Unsupported:
    return Unsupported(
        f"This host's kernel makes no 802.1Q devices, so VLAN {segment.tag} cannot be kept apart here; use VXLAN as the "
        "isolation method of the physical network, or load the kernel module 8021q.", tag=segment.tag,
    )  # fmt: skip


async def _bridge(bridge: str, outlet: str, mtu: int) -> None:
    """The bridge with its way out as a port, both without IPv6 and switched on. The bridge is last to come up."""
    has, port = await link(bridge), await link(outlet)
    if has is None:
        await batch([f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"], what=f"Making the bridge {bridge}")
    write_kernel({key.format(bridge): value for key, value in DEAF.items()})
    lines = []
    if port is None or port.master != bridge or not port.up:
        lines += [f"link set {outlet} addrgenmode none", f"link set {outlet} mtu {mtu} master {bridge} up"]
    elif port.mtu != mtu:
        lines += [f"link set {outlet} mtu {mtu}"]
    if has is None or has.mtu != mtu or not has.up:
        lines += [f"link set {bridge} mtu {mtu} up"]
    await batch(lines, what=f"Making the bridge {bridge}")


async def mtu_of(bridge: str) -> int:
    """The MTU of a bridge of this host, bytes."""
    found = await link(bridge)
    if found is None:
        raise Unavailable(f"The bridge {bridge} has vanished from this host; ask again.", bridge=bridge)
    return found.mtu


async def sweep(idle_seconds: float = IDLE_SECONDS) -> None:
    """Remove our bridges that have been without guests and routers for `idle_seconds`, as far as this process has seen.

    The wait is for whoever was told a bridge's name and has not plugged in yet.
    """
    for bridge in await links("type", "bridge"):
        ours = _OURS.fullmatch(bridge.ifname)
        if not ours:
            continue
        lock = _locks.setdefault(bridge.ifname, asyncio.Lock())
        async with lock:
            outlet = ("vx" if ours[1] == "v" else "vl") + ours[2]
            used = [port.ifname for port in await links("master", bridge.ifname) if port.ifname != outlet]
            if used:
                _idle_since.pop(bridge.ifname, None)
                continue
            now = time.monotonic()
            if now - _idle_since.setdefault(bridge.ifname, now) < idle_seconds:
                continue
            for name in (outlet, bridge.ifname):
                if await link(name):
                    await run("ip", "link", "del", name, what=f"Removing the idle device {name}")
            _idle_since.pop(bridge.ifname, None)
