"""The simulator: hosts that exist in memory, for scale and for faults. A driver like any other: it answers the same calls.

`latency` delays every answer; a fault makes a call refuse, hang, or lose its answer after the work is done, on chosen
hosts.  What the hosts hold (guests, volumes, routers) can be looked at, so that tests find what should not be there.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mold.base.errors import Failed, Fenced, Refusal, Unreachable, revive
from mold.wire import calls as w

CORES, MHZ, MEMORY = 64, 2400, 512 * 1024**3
POOL_BYTES = 1 << 50
IMAGE_BYTES = 64 * 1024**2


@dataclass
class Fault:
    """Something that goes wrong. `call` is a call's name or *, `host` an id or *; `kind`: refuse, hang, lost (done, but no answer), down."""

    call: str = "*"
    host: str = "*"
    kind: str = "refuse"
    count: int = 1
    probability: float = 1.0
    text: str = "a planted fault"
    key: str = "Failed"


@dataclass
class Store:
    """A primary or secondary storage, shared by all simulated hosts."""

    volumes: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of files that arrive in parts."""


@dataclass
class Box:
    """A simulated host."""

    machines: dict[str, w.MachineFacts] = field(default_factory=dict)
    routers: dict[str, w.RouterSpec] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    boot: str = "1"
    key: bytes = b""
    certificate: str = ""


def _key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(key: Any) -> bytes:
    data: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return data


class Simulator:
    """All simulated hosts of one process. Its state lives as long as the process, or as long as `attach` keeps it."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.stores: dict[str, Store] = {}
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.calls = 0
        self.on_call: Callable[[str, w.Call], None] | None = None

    def box(self, host: str) -> Box:
        """The host with this id, made when first asked for."""
        return self.boxes.setdefault(host, Box())

    def plant(self, **about: Any) -> Fault:
        """Plant a fault."""
        fault = Fault(**about)
        self.faults.append(fault)
        return fault

    def _fault(self, host: str, call: w.Call) -> Fault | None:
        name = type(call).__name__
        for fault in self.faults:
            if (
                fault.count
                and fault.call in ("*", name)
                and fault.host in ("*", host)
                and random.random() < fault.probability
            ):
                fault.count -= 1
                return fault
        return None

    async def ask(
        self,
        host: str,
        call: w.Call,
        *,
        key: str = "",
        epoch: int = 0,
        seconds: float = 30,
        say: Callable[[float, str], None] | None = None,
    ) -> w.Facts:
        """Answer a call as a host would."""
        self.calls += 1
        if self.on_call is not None:
            self.on_call(host, call)
        box = self.box(host)
        if key:
            known = box.epochs.get(key, 0)
            if epoch < known:
                raise Fenced(f"operation {key} is in epoch {known}; epoch {epoch} is over")
            box.epochs[key] = epoch
            if len(box.epochs) > 10_000:
                box.epochs.pop(next(iter(box.epochs)))
        fault = self._fault(host, call) if self.faults else None
        if fault is not None and fault.kind in ("hang", "down"):
            if fault.kind == "hang":
                await asyncio.sleep(seconds)
            raise Unreachable(
                f"{type(call).__name__} got no answer from the host within {seconds:.0f} s.", call=type(call).__name__
            )
        if self.latency:
            await asyncio.sleep(self.latency * random.uniform(0.5, 1.5))
        if fault is not None and fault.kind == "refuse":
            no: Refusal = revive(fault.key, fault.text)
            raise no
        facts: w.Facts = getattr(self, "do_" + type(call).__name__)(box, call, host)
        if fault is not None and fault.kind == "lost":
            raise Unreachable(f"The answer to {type(call).__name__} was lost.", call=type(call).__name__)
        return facts

    async def pour(self, host: str, make: Callable[[str, str], w.Call], pieces: AsyncIterator[bytes]) -> w.Facts:
        """Take bytes as a host would over a stream of its own, and throw them away."""
        call = make("", "")
        sent = self._store(call.store).sent if isinstance(call, w.ReceivePart) else {}
        if isinstance(call, w.ReceivePart):
            sent[call.image] = min(call.offset, sent.get(call.image, 0))
        async for piece in pieces:
            if isinstance(call, w.ReceivePart) and sent[call.image] >= call.offset:
                sent[call.image] += len(piece)
        return await self.ask(host, call)

    # -- answers, one per call -------------------------------------------------------------------------------

    def do_GetFacts(self, box: Box, call: w.GetFacts, host: str) -> w.HostFacts:
        return w.HostFacts(
            name=host,
            hypervisor="Simulator",
            version="1",
            hypervisor_version="1",
            arch="x86_64",
            cores=CORES,
            sockets=2,
            mhz=MHZ,
            memory=MEMORY,
            addresses=["127.0.0.1"],
            domain_type="simulator",
            boot_id=box.boot,
        )

    def _store(self, spec: w.PoolSpec) -> Store:
        return self.stores.setdefault(spec.id, Store())

    def _measure(self, spec: w.PoolSpec) -> w.PoolFacts:
        held = self._store(spec)
        return w.PoolFacts(capacity=POOL_BYTES, used=sum(held.images.values()))

    def do_MountPool(self, box: Box, call: w.MountPool, host: str) -> w.PoolFacts:
        return self._measure(call.pool)

    def do_UnmountPool(self, box: Box, call: w.UnmountPool, host: str) -> w.Done:
        if not call.force and self._store(call.pool).volumes:
            raise Failed("The storage still holds volumes.")
        self.stores.pop(call.pool.id, None)
        return w.Done()

    def do_MountStore(self, box: Box, call: w.MountStore, host: str) -> w.PoolFacts:
        return self._measure(call.store)

    def do_FetchImage(self, box: Box, call: w.FetchImage, host: str) -> w.ImageFacts:
        self._store(call.store).images[call.image] = IMAGE_BYTES
        return w.ImageFacts(size=IMAGE_BYTES, physical=IMAGE_BYTES, format=call.format, checksum=call.checksum)

    def do_ReceiveImage(self, box: Box, call: w.ReceiveImage, host: str) -> w.ImageFacts:
        self._store(call.store).images[call.image] = IMAGE_BYTES
        return w.ImageFacts(size=IMAGE_BYTES, physical=IMAGE_BYTES, format=call.format, checksum=call.checksum)

    def do_ReceivePart(self, box: Box, call: w.ReceivePart, host: str) -> w.PartFacts:
        return w.PartFacts(arrived=self._store(call.store).sent.get(call.image, 0))

    def do_KeepParts(self, box: Box, call: w.KeepParts, host: str) -> w.ImageFacts:
        held = self._store(call.store)
        held.sent.pop(call.image, None)
        held.images[call.image] = IMAGE_BYTES
        return w.ImageFacts(size=IMAGE_BYTES, physical=IMAGE_BYTES, format=call.format, checksum=call.checksum)

    def do_RemoveImage(self, box: Box, call: w.RemoveImage, host: str) -> w.Done:
        self._store(call.store).images.pop(call.image, None)
        self._store(call.store).sent.pop(call.image, None)
        return w.Done()

    def do_PlaceImage(self, box: Box, call: w.PlaceImage, host: str) -> w.VolumeFacts:
        if call.image not in self._store(call.store).images:
            raise Failed(f"The image {call.image} is not in the store.")
        self._store(call.pool).images[call.image] = IMAGE_BYTES
        return w.VolumeFacts(path=f"images/{call.image}.qcow2", size=IMAGE_BYTES, physical=IMAGE_BYTES)

    def do_RemovePlaced(self, box: Box, call: w.RemovePlaced, host: str) -> w.Done:
        self._store(call.pool).images.pop(call.image, None)
        return w.Done()

    def do_CreateVolume(self, box: Box, call: w.CreateVolume, host: str) -> w.VolumeFacts:
        held = self._store(call.pool)
        if call.base and call.base not in held.images:
            raise Failed(f"The image {call.base} is not on the storage.")
        held.volumes[call.volume] = call.size
        return w.VolumeFacts(path=f"volumes/{call.volume}.qcow2", size=call.size, physical=200_704)

    def do_RemoveVolume(self, box: Box, call: w.RemoveVolume, host: str) -> w.Done:
        self._store(call.pool).volumes.pop(call.volume, None)
        return w.Done()

    def do_ListVolumes(self, box: Box, call: w.ListVolumes, host: str) -> w.VolumeNames:
        held = self._store(call.pool)
        return w.VolumeNames(volumes=sorted(held.volumes), images=sorted(held.images))

    def do_ApplyRouter(self, box: Box, call: w.ApplyRouter, host: str) -> w.RouterFacts:
        known = box.routers.get(call.router.id)
        if known is None or known.serial <= call.router.serial:
            box.routers[call.router.id] = call.router
        return self._router(box.routers[call.router.id])

    def _router(self, spec: w.RouterSpec) -> w.RouterFacts:
        return w.RouterFacts(
            id=spec.id, serial=spec.serial, namespace=f"mold-r-{spec.number}", running=list(spec.services)
        )

    def do_RemoveRouter(self, box: Box, call: w.RemoveRouter, host: str) -> w.Done:
        box.routers.pop(call.id, None)
        return w.Done()

    def do_ListRouters(self, box: Box, call: w.ListRouters, host: str) -> w.RouterNames:
        return w.RouterNames(routers=[self._router(r) for r in box.routers.values()])

    def do_StartMachine(self, box: Box, call: w.StartMachine, host: str) -> w.MachineFacts:
        m = call.machine
        for disk in m.disks:
            volume = disk.path.rsplit("/", 1)[-1].removesuffix(".qcow2")
            if volume not in self._store(disk.pool).volumes:
                raise Failed(f"The volume {volume} is not on the storage.")
        for other in self.boxes.values():
            if other is not box and m.name in other.machines:
                raise Failed(f"The machine {m.name} runs on another host.")
        facts = w.MachineFacts(name=m.name, state="Running", memory=m.memory, id=m.id)
        box.machines[m.name] = facts
        return facts

    def do_StopMachine(self, box: Box, call: w.StopMachine, host: str) -> w.MachineFacts:
        box.machines.pop(call.name, None)
        return w.MachineFacts(name=call.name, state="Stopped")

    def do_RebootMachine(self, box: Box, call: w.RebootMachine, host: str) -> w.MachineFacts:
        if call.name not in box.machines:
            raise Failed(f"The machine {call.name} does not run on this host.")
        return box.machines[call.name]

    def do_GetMachine(self, box: Box, call: w.GetMachine, host: str) -> w.MachineFacts:
        return box.machines.get(call.name) or w.MachineFacts(name=call.name, state="Absent")

    def do_ListMachines(self, box: Box, call: w.ListMachines, host: str) -> w.MachineList:
        return w.MachineList(machines=list(box.machines.values()))

    def do_OpenConsole(self, box: Box, call: w.OpenConsole, host: str) -> w.Done:
        raise Failed("Simulated machines have no screen.")

    def do_RenewCertificate(self, box: Box, call: w.RenewCertificate, host: str) -> w.SigningRequest:
        if not box.key:
            box.key = _key()
        key = serialization.load_pem_private_key(box.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return w.SigningRequest(csr=made.public_bytes(serialization.Encoding.PEM).decode())

    def do_InstallCertificate(self, box: Box, call: w.InstallCertificate, host: str) -> w.Done:
        given = x509.load_pem_x509_certificate(call.certificate.encode()).public_key()
        if not box.key or _public(given) != _public(serialization.load_pem_private_key(box.key, None).public_key()):
            raise Failed("The certificate is for another key.")
        box.certificate = call.certificate
        return w.Done()

    def do_StopAgent(self, box: Box, call: w.StopAgent, host: str) -> w.Done:
        self.boxes.pop(host, None)
        return w.Done()

    def report(self, host: str) -> w.HostReport:
        """What the host's agent would tell at a ping."""
        box = self.box(host)
        return w.HostReport(machines=list(box.machines.values()), at=time.time())
