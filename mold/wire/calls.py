"""What a host can be asked, one struct per call and per answer.

A spec goes out complete: a host knows messages, not the cloud, and calls nobody back to ask.  Facts come
back.  Every call is idempotent: asked twice it does the work once and gives the same answer.  Sizes are
bytes unless the name says otherwise; ids are the API's uuids; every name a host uses for a file or a
device is made from an id or a number by the manager, never from what a person typed.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from mold.base.errors import Fact


class Facts(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Base of answers."""


class Spec(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Base of the parts of a call."""


class Call(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, tag_field="call"):
    """Base of calls. `gives` is the answer's type, `seconds` how long an answer may take."""

    gives: ClassVar[type[Facts]]
    seconds: ClassVar[float] = 30

    def thing(self) -> str:
        """What the call works on. Calls of one operation on one thing follow each other; on several they run at once."""
        for name in ("volume", "image", "id", "name"):
            value = getattr(self, name, None)
            if isinstance(value, str):
                return value
        for name in ("machine", "router", "pool", "store"):
            spec = getattr(self, name, None)
            if spec is not None:
                return str(getattr(spec, "name", None) or spec.id) if name == "machine" else str(spec.id)
        return type(self).__name__


class Done(Facts, kw_only=True, frozen=True):
    """Nothing to tell but that it is so."""


# -- the host itself --------------------------------------------------------------------------------------------


class HostFacts(Facts, kw_only=True, frozen=True):
    """What a host is: told at every connect and on `GetFacts`."""

    name: str
    hypervisor: str
    """`KVM` or `Simulator`."""
    version: str
    """Version of the agent."""
    hypervisor_version: str
    arch: str
    cores: int
    sockets: int
    mhz: int
    memory: int
    addresses: list[str]
    """IPv4 addresses of the host, the one towards the manager first."""
    domain_type: str = "qemu"
    """libvirt's domain type that a probe guest really started with: `kvm` or `qemu`."""
    boot_id: str = ""
    """Changes when the host reboots."""
    guid: str = ""
    """Chosen by the agent when it is set up; the same over restarts."""
    capabilities: list[str] = []
    """Names of calls and features that this agent offers beyond the required ones."""
    can_vlan: bool = True
    """Whether the kernel makes 802.1Q devices."""
    problems: list[str] = []
    """Sentences about what this host lacks."""


class GetFacts(Call, tag=True, kw_only=True, frozen=True):
    """What the host is."""

    gives = HostFacts


class MachineFacts(Facts, kw_only=True, frozen=True):
    """One guest as its host sees it. `state` is `Running`, `Stopped`, `Paused` or `Absent`."""

    name: str
    state: str
    vnc: str = ""
    cpu_seconds: float = 0
    memory: int = 0
    received: int = 0
    sent: int = 0
    disk_read: int = 0
    disk_written: int = 0
    id: str = ""
    """The machine's id (libvirt's domain UUID)."""


class HostReport(Facts, kw_only=True, frozen=True):
    """What an agent tells on its own, at every ping: load, and the state of all its guests."""

    cpu_percent: float = 0
    load: float = 0
    memory_used: int = 0
    received: int = 0
    sent: int = 0
    machines: list[MachineFacts] = []
    pools: dict[str, list[int]] = {}
    """Pool id -> [capacity, used]."""
    at: float = 0
    """When the host looked, by its own clock (seconds since the epoch)."""
    problems: list[str] = []


# -- storage ----------------------------------------------------------------------------------------------------


class PoolSpec(Spec, kw_only=True, frozen=True):
    """A primary or secondary storage as a host mounts it.

    `type` is `Filesystem` (a directory of this host), `SharedMountPoint` (a directory that somebody mounts on
    every host) or, as a store, `Directory`.  `path` is absolute.
    """

    id: str
    type: str
    path: str
    details: dict[str, str] = {}


class PoolFacts(Facts, kw_only=True, frozen=True):
    """Size of a storage, bytes."""

    capacity: int
    used: int


class MountPool(Call, tag=True, kw_only=True, frozen=True):
    """Make a primary storage usable on this host and measure it."""

    gives = PoolFacts
    pool: PoolSpec


class UnmountPool(Call, tag=True, kw_only=True, frozen=True):
    """Forget a primary storage; refused while it holds volumes unless `force`."""

    gives = Done
    pool: PoolSpec
    force: bool = False


class MountStore(Call, tag=True, kw_only=True, frozen=True):
    """Make a secondary storage usable on this host and measure it."""

    gives = PoolFacts
    store: PoolSpec


class ImageFacts(Facts, kw_only=True, frozen=True):
    """An image as it lies in a store. `size` is what a guest sees, `physical` what it takes."""

    size: int
    physical: int
    format: str
    checksum: str = ""
    """`{SHA-256}hex` of the file as fetched."""


class FetchImage(Call, tag=True, kw_only=True, frozen=True):
    """Fetch an image by URL into a store, check it, and only then give it its name.

    Refuses private and link-local addresses unless `allow` (CIDRs) covers them, at every redirect; refuses
    anything that is not the format it claims, refers to other files, or is larger than `max_size`.
    """

    gives = ImageFacts
    seconds: ClassVar[float] = 3600
    store: PoolSpec
    image: str
    url: str
    format: str
    checksum: str = ""
    max_size: int
    allow: list[str] = []


class ReceiveImage(Call, tag=True, kw_only=True, frozen=True):
    """Like `FetchImage`, but the bytes come over the stream that the host opens to `dial` with `ticket`."""

    gives = ImageFacts
    seconds: ClassVar[float] = 3600
    store: PoolSpec
    image: str
    format: str
    checksum: str = ""
    max_size: int
    dial: str
    ticket: str


class PartFacts(Facts, kw_only=True, frozen=True):
    """What is there of a file that arrives in parts. `arrived` is in bytes."""

    arrived: int


class ReceivePart(Call, tag=True, kw_only=True, frozen=True):
    """Add what comes over a stream to the file that an image is to be made of, from byte `offset` on, and keep it.

    What lies there beyond `offset` is cut off.  When less lies there nothing is taken, and the answer says how much does.
    """

    gives = PartFacts
    seconds: ClassVar[float] = 3600
    store: PoolSpec
    image: str
    format: str
    offset: int
    max_size: int
    dial: str
    ticket: str


class KeepParts(Call, tag=True, kw_only=True, frozen=True):
    """Make an image of the file that came in parts, with the checks of `FetchImage`; the file goes, unless they fail."""

    gives = ImageFacts
    seconds: ClassVar[float] = 3600
    store: PoolSpec
    image: str
    format: str
    checksum: str = ""
    max_size: int


class RemoveImage(Call, tag=True, kw_only=True, frozen=True):
    """Remove an image from a store, whole or half-fetched."""

    gives = Done
    store: PoolSpec
    image: str


class VolumeFacts(Facts, kw_only=True, frozen=True):
    """A volume on primary storage. `path` is relative to its pool."""

    path: str
    size: int
    physical: int = 0
    format: str = "qcow2"


class PlaceImage(Call, tag=True, kw_only=True, frozen=True):
    """Copy an image from a store to primary storage, where volumes are made on top of it."""

    gives = VolumeFacts
    seconds: ClassVar[float] = 3600
    store: PoolSpec
    pool: PoolSpec
    image: str
    format: str


class RemovePlaced(Call, tag=True, kw_only=True, frozen=True):
    """Remove an image's copy from primary storage; refused while a volume stands on it."""

    gives = Done
    pool: PoolSpec
    image: str


class CreateVolume(Call, tag=True, kw_only=True, frozen=True):
    """Make a volume, empty or on top of a placed image (`base`)."""

    gives = VolumeFacts
    seconds: ClassVar[float] = 120
    pool: PoolSpec
    volume: str
    size: int
    base: str = ""
    format: str = "qcow2"
    provisioning: str = "thin"


class RemoveVolume(Call, tag=True, kw_only=True, frozen=True):
    """Remove a volume; done as well when there is none."""

    gives = Done
    pool: PoolSpec
    volume: str


class ListVolumes(Call, tag=True, kw_only=True, frozen=True):
    """What lies in a pool: file names. For drills and the reconciler of leftovers."""

    gives: ClassVar[type[Facts]]
    pool: PoolSpec


class VolumeNames(Facts, kw_only=True, frozen=True):
    """Ids of volumes and placed images in a pool."""

    volumes: list[str]
    images: list[str]


ListVolumes.gives = VolumeNames


# -- network ----------------------------------------------------------------------------------------------------


class SegmentSpec(Spec, kw_only=True, frozen=True):
    """A layer-2 segment on a host: the bridge guests plug into, and how it leaves the host.

    `method` is `vlan`, `vxlan` or `untagged`; `tag` its number; `label` the host's bridge or device that carries
    this traffic type (`kvmnetworklabel`); empty means the host's default.  `mtu` 0 means what the device has.
    """

    method: str
    tag: int = 0
    label: str = ""
    mtu: int = 0


class LeaseSpec(Spec, kw_only=True, frozen=True):
    """One machine on a router's network: its fixed lease, its names, and what the metadata service tells it.

    `metadata` maps items of `/latest/meta-data/` to text; `userdata` is base64; `password` is served once, until
    the guest says `saved_password`; `password_serial` changes when a new one is set.
    """

    mac: str
    ip: str
    name: str
    default: bool = True
    metadata: dict[str, str] = {}
    userdata: str = ""
    password: str = ""
    password_serial: str = ""


class PublicSpec(Spec, kw_only=True, frozen=True):
    """The outside of a router: where it plugs in and what is its own."""

    segment: SegmentSpec
    mac: str
    ip: str
    prefix: int
    gateway: str
    source_nat: bool = True


class RouterSpec(Spec, kw_only=True, frozen=True):
    """Everything a network's router is to be: one document, applied at once.

    `serial` only grows; a host refuses a document older than the one it has.  `egress` is the default policy
    for traffic out (`allow` or `deny`).  The parts that come later (firewall, balancer, VPN) are further fields
    with empty defaults, so that an old host and a new manager agree on what is absent.
    """

    id: str
    number: int
    serial: int
    segment: SegmentSpec
    mac: str
    gateway: str
    prefix: int
    domain: str
    dns: list[str]
    leases: list[LeaseSpec] = []
    public: PublicSpec | None = None
    services: tuple[str, ...] = ("Dhcp", "Dns", "UserData", "SourceNat")
    egress: str = "allow"
    mtu: int = 0


class RouterFacts(Facts, kw_only=True, frozen=True):
    """A router as it runs. `serial` is the document it follows."""

    id: str
    serial: int
    namespace: str
    running: list[str]
    """Services found alive."""


class ApplyRouter(Call, tag=True, kw_only=True, frozen=True):
    """Make a router what the document says, from nothing or from whatever there is."""

    gives = RouterFacts
    seconds: ClassVar[float] = 60
    router: RouterSpec


class RemoveRouter(Call, tag=True, kw_only=True, frozen=True):
    """Remove a router with its namespace, devices, processes and rules."""

    gives = Done
    seconds: ClassVar[float] = 60
    id: str
    number: int


class RouterNames(Facts, kw_only=True, frozen=True):
    """The routers a host runs."""

    routers: list[RouterFacts]


class ListRouters(Call, tag=True, kw_only=True, frozen=True):
    """What routers this host runs."""

    gives = RouterNames


# -- machines ---------------------------------------------------------------------------------------------------


class DiskSpec(Spec, kw_only=True, frozen=True):
    """A disk of a machine; `path` is relative to its pool. `device` counts from 0 (root)."""

    pool: PoolSpec
    path: str
    device: int
    bus: str = "virtio"
    format: str = "qcow2"
    cache: str = "none"
    serial: str = ""
    bytes_read_rate: int = 0
    bytes_write_rate: int = 0
    iops_read_rate: int = 0
    iops_write_rate: int = 0


class NicSpec(Spec, kw_only=True, frozen=True):
    """A network card of a machine. `rate_mbps` 0 means no limit."""

    mac: str
    segment: SegmentSpec
    device: int = 0
    model: str = "virtio"
    rate_mbps: int = 0


class MachineSpec(Spec, kw_only=True, frozen=True):
    """A machine, complete. `cpu_mhz` weighs it against others; `cpu_capped` makes that a hard limit."""

    id: str
    name: str
    """Internal name, the domain's name (`i-2-5-VM`)."""
    title: str = ""
    cores: int
    cpu_mhz: int
    cpu_capped: bool = False
    memory: int
    disks: list[DiskSpec]
    nics: list[NicSpec]
    firmware: str = "bios"
    secure_boot: bool = False
    machine_type: str = ""
    cpu_mode: str = ""
    arch: str = "x86_64"
    keyboard: str = ""
    vnc_password: str
    boot_menu: bool = False
    os: str = ""
    details: dict[str, str] = {}


class StartMachine(Call, tag=True, kw_only=True, frozen=True):
    """Define and start a machine; done as well when it runs already."""

    gives = MachineFacts
    seconds: ClassVar[float] = 120
    machine: MachineSpec


class StopMachine(Call, tag=True, kw_only=True, frozen=True):
    """Stop a machine: ask the guest (ACPI), after `grace` seconds or when `force` pull the plug; then undefine it."""

    gives = MachineFacts
    seconds: ClassVar[float] = 180
    name: str
    force: bool = False
    grace: float = 60


class RebootMachine(Call, tag=True, kw_only=True, frozen=True):
    """Restart the guest: ask it, after `grace` seconds or when `force` reset it. The definition stays as it is."""

    gives = MachineFacts
    seconds: ClassVar[float] = 180
    name: str
    force: bool = False
    grace: float = 60


class GetMachine(Call, tag=True, kw_only=True, frozen=True):
    """One guest; state `Absent` when the host has none of that name."""

    gives = MachineFacts
    name: str


class MachineList(Facts, kw_only=True, frozen=True):
    """All guests of a host."""

    machines: list[MachineFacts]


class ListMachines(Call, tag=True, kw_only=True, frozen=True):
    """All guests that Mold runs on this host."""

    gives = MachineList


class OpenConsole(Call, tag=True, kw_only=True, frozen=True):
    """Connect the guest's VNC screen to the stream that the host opens to `dial` with `ticket`."""

    gives = Done
    name: str
    dial: str
    ticket: str


class RenewCertificate(Call, tag=True, kw_only=True, frozen=True):
    """Ask the agent for a signing request with a fresh key."""

    gives: ClassVar[type[Facts]]


class SigningRequest(Facts, kw_only=True, frozen=True):
    """A certificate signing request, PEM."""

    csr: str


RenewCertificate.gives = SigningRequest


class InstallCertificate(Call, tag=True, kw_only=True, frozen=True):
    """Give the agent the certificate for its last signing request, and the authorities to trust."""

    gives = Done
    certificate: str
    authorities: str


class StopAgent(Call, tag=True, kw_only=True, frozen=True):
    """The host has been removed from the cloud: forget the managers; guests and routers are left alone."""

    gives = Done


AnyCall = (
    GetFacts
    | MountPool
    | UnmountPool
    | MountStore
    | FetchImage
    | ReceiveImage
    | ReceivePart
    | KeepParts
    | RemoveImage
    | PlaceImage
    | RemovePlaced
    | CreateVolume
    | RemoveVolume
    | ListVolumes
    | ApplyRouter
    | RemoveRouter
    | ListRouters
    | StartMachine
    | StopMachine
    | RebootMachine
    | GetMachine
    | ListMachines
    | OpenConsole
    | RenewCertificate
    | InstallCertificate
    | StopAgent
)
CALLS: tuple[type[Call], ...] = AnyCall.__args__


# -- frames -----------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """First frame of an agent."""

    facts: HostFacts
    protocol: int = 1


class Welcome(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """First frame of a manager: who you are to it, and how often to ping. `host` is empty until added."""

    manager: str
    host: str = ""
    ping_seconds: float = 10
    managers: list[str] = []
    """Addresses (host:port) of all managers, to replace the agent's list; empty leaves it."""


class Request(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """A call. `key` is the operation and the thing it works on (empty: none); of one key a higher `epoch` wins, a lower is refused."""

    n: int
    call: AnyCall
    seconds: float
    key: str = ""
    epoch: int = 0


class Cancel(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """Stop working on request `n`."""

    n: int


class Reply(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """The answer to request `n`: `facts`, or a refusal."""

    n: int
    facts: msgspec.Raw = msgspec.Raw(b"\xc0")
    error: str = ""
    text: str = ""
    params: dict[str, Any] = {}


class Progress(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """How far request `n` is, 0 to 100."""

    n: int
    percent: float
    text: str = ""


class Report(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """An agent's ping."""

    report: HostReport


class Pong(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """A manager's answer to a ping."""

    managers: list[str] = []


class Relay(msgspec.Struct, kw_only=True, tag_field="frame", tag=True):
    """Manager to manager: ask a host that is connected to you."""

    n: int
    host: str
    request: Request


ToAgent = Welcome | Request | Cancel | Pong
ToManager = Hello | Reply | Progress | Report | Relay | Cancel

_encoder = msgspec.msgpack.Encoder()
_to_agent = msgspec.msgpack.Decoder(ToAgent)
_to_manager = msgspec.msgpack.Decoder(ToManager)
FRAME_MAX = 16 * 1024 * 1024


def pack(frame: Any) -> bytes:
    """A frame, call or facts as MessagePack."""
    return _encoder.encode(frame)


def for_agent(data: bytes) -> ToAgent:
    """A frame that an agent received; msgspec.DecodeError when it is none."""
    frame: ToAgent = _to_agent.decode(data)
    return frame


def for_manager(data: bytes) -> ToManager:
    """A frame that a manager received; msgspec.DecodeError when it is none."""
    frame: ToManager = _to_manager.decode(data)
    return frame


def facts_of(call: Call, raw: bytes) -> Facts:
    """The answer to `call` from its bytes, checked against the type that the call promises."""
    return msgspec.msgpack.decode(raw, type=type(call).gives)


def reply(n: int, facts: Facts) -> bytes:
    """A good answer to request `n`."""
    return pack(Reply(n=n, facts=msgspec.Raw(pack(facts))))


def refusal(n: int, key: str, text: str, params: dict[str, Fact] | None = None) -> bytes:
    """A refusal of request `n`."""
    return pack(Reply(n=n, error=key, text=text, params=dict(params or {})))
