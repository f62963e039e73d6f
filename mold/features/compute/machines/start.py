"""Starting a machine: choose a host, make its disks and network real, boot it there, and say so.

A machine's first start belongs to its deployment: when it fails, the machine is gone and the world is as before.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mold.api.command import Ctx, command
from mold.base import clock
from mold.base.errors import Conflict, Denied
from mold.base.units import MIB
from mold.features.compute import placement
from mold.features.compute.machines.row import Disk, Nic, VirtualMachine, disks_of, nics_of
from mold.features.compute.placement import Need
from mold.features.identity import limits
from mold.features.identity.tags import untag
from mold.features.infra.alerts import failing
from mold.features.infra.clusters import Cluster
from mold.features.infra.guest_os import OsType
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import DiskOffering, ServiceOffering
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.network import networks
from mold.features.network.networks import Network
from mold.features.network.offerings import NetworkOffering
from mold.features.storage import pools, templates
from mold.features.storage.pools import StoragePool
from mold.features.storage.volumes import Volume
from mold.store import Tx
from mold.wire import calls as w
from mold.work import Operation, ask, look, operation, step, together


class Place(msgspec.Struct):
    """Where a machine will run, and what is still to be made for it there."""

    host: str
    networks: list[str]
    fresh: list[str]
    """Volumes that do not exist yet."""
    cpu_mhz: int
    memory: int


def need_of(
    tx: Tx,
    vm: VirtualMachine,
    volumes: list[Volume],
    *,
    host_id: str | None = None,
    cluster_id: str | None = None,
    pod_id: str | None = None,
    planner: str | None = None,
) -> Need:
    """What a machine with these disks needs of a host."""
    offering = tx.known(ServiceOffering, vm.service_offering_id)
    return Need(
        zone_id=vm.zone_id,
        hypervisor=vm.hypervisor,
        arch=vm.arch,
        cores=vm.cpu_number,
        mhz=vm.cpu_speed,
        memory=vm.memory * MIB,
        account_id=vm.account_id,
        machine_id=vm.id,
        tags=tuple(t.strip() for t in (vm.host_tags or "").split(",") if t.strip()),
        host_id=host_id,
        cluster_id=cluster_id,
        pod_id=pod_id,
        planner=planner or vm.planner,
        prefer_host_id=vm.last_host_id,
        disks=tuple(wish_of(tx, offering, v) for v in volumes if v.state == "Allocated"),
        pools=tuple({v.pool_id for v in volumes if v.pool_id}),
    )


def wish_of(tx: Tx, offering: ServiceOffering, volume: Volume) -> pools.Wish:
    """What a volume that does not exist yet needs of its primary storage."""
    if volume.disk_offering_id:
        disk = tx.known(DiskOffering, volume.disk_offering_id)
        return pools.Wish(volume.size, disk.tags, disk.storage_type == "local")
    return pools.Wish(volume.size, offering.storage_tags, offering.storage_type == "local")


def settle_volumes(
    tx: Tx, host: Host, found: list[StoragePool], offering: ServiceOffering, volumes: list[Volume]
) -> list[str]:
    """Give volumes that do not exist yet one of these pools of the host; returns their ids."""
    fresh = []
    for volume in volumes:
        if volume.state != "Allocated":
            continue
        pool = pools.choose(tx, host, found, wish_of(tx, offering, volume))
        tx.move(volume, "create", pool_id=pool.id, state_since=clock.now())
        fresh.append(volume.id)
    return fresh


@operation
class StartVm(Operation):
    """Stopped to Running."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")
    patience = 60
    vm: str
    host: str | None = None
    cluster: str | None = None
    pod: str | None = None
    planner: str | None = None
    first: bool = False
    boot_menu: bool = False
    anywhere: bool = False

    def tells(self, tx: Tx) -> dict[str, Any]:
        """A new machine's password, for whoever deployed it."""
        vm = tx.get(VirtualMachine, self.vm) if self.first else None
        return {"password": vm.password} if vm is not None and vm.password else {}

    @step
    def begin(self, tx: Tx) -> None:
        """Nothing yet: its undo comes last, when everything else is taken back."""

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        vm = tx.get(VirtualMachine, self.vm)
        if vm is not None and self.first:
            forget(tx, vm)

    @step
    def choose(self, tx: Tx) -> Place:
        vm = tx.one(VirtualMachine, self.vm)
        nics = nics_of(tx, vm.id)
        disks = [v for _, v in disks_of(tx, vm.id)]
        offering = tx.known(ServiceOffering, vm.service_offering_id)
        need = need_of(tx, vm, disks, host_id=self.host, cluster_id=self.cluster, pod_id=self.pod, planner=self.planner)
        if self.anywhere:
            need = msgspec.structs.replace(need, prefer_host_id=None)
        host, storage = placement.place(tx, need)
        for nic in nics:
            networks.implement(tx, nic.network_id, host)
        now = clock.now()
        tx.move(vm, "start", state_since=now, host_id=host.id, pod_id=host.pod_id, last_host_id=host.id)
        # Last, because every start locks the row of the pool.
        fresh = settle_volumes(tx, host, storage, offering, disks)
        return Place(
            host=host.id, networks=[n.network_id for n in nics], fresh=fresh, cpu_mhz=need.cpu_mhz, memory=need.memory
        )

    @choose.undo
    def unchoose(self, tx: Tx, choose: Place) -> None:
        vm = tx.one(VirtualMachine, self.vm)
        placement.release(tx, choose.host, choose.cpu_mhz, choose.memory)
        for volume in tx.find(Volume, tx.any_of(Volume.c.id, choose.fresh)):
            if volume.pool_id:
                pools.release(tx, volume.pool_id, volume.size)
            tx.move(volume, "uncreate", pool_id=None, path=None)
        tx.move(vm, "start_failed", host_id=None, pod_id=None, state_since=clock.now())

    @step
    async def boot(self, choose: Place) -> list[w.VolumeFacts]:
        """Serve its networks and make its disks, at the same time; then boot it."""
        spec, plan = await look(lambda tx: self._plan(tx, choose))
        made, *_ = await together(self._disks(choose, plan), *(networks.apply(n) for n in choose.networks))
        await ask(choose.host, w.StartMachine(machine=spec))
        facts: list[w.VolumeFacts] = made
        return facts

    def _plan(self, tx: Tx, choose: Place) -> tuple[w.MachineSpec, list[tuple[Volume, w.PoolSpec]]]:
        """The machine, and the disks that are to be made for it, in the order of `fresh`."""
        placed = placed_disks(tx, self.vm)
        volumes = {volume.id: (volume, pool.spec()) for _, volume, pool in placed}
        spec = machine_spec(tx, tx.one(VirtualMachine, self.vm), placed, boot_menu=self.boot_menu)
        return spec, [volumes[v] for v in choose.fresh]

    async def _disks(self, choose: Place, plan: list[tuple[Volume, w.PoolSpec]]) -> list[w.VolumeFacts]:
        made = []
        for volume, pool in plan:
            if volume.template_id:
                await templates.place(volume.template_id, pool.id, choose.host)
            else:
                await ask(choose.host, w.MountPool(pool=pool))
            made.append(
                await ask(
                    choose.host,
                    w.CreateVolume(
                        pool=pool,
                        volume=volume.id,
                        size=volume.size,
                        base=volume.template_id or "",
                        provisioning=volume.provisioning_type,
                    ),
                )
            )
        return made

    @boot.undo
    async def unboot(self, choose: Place) -> None:
        def plan(tx: Tx) -> tuple[str | None, list[tuple[str, w.PoolSpec]]]:
            vm = tx.get(VirtualMachine, self.vm)
            made = [v for v in tx.among(Volume, choose.fresh).values() if v.pool_id]
            return vm.instance_name if vm else None, [(v.id, tx.one(StoragePool, v.pool_id).spec()) for v in made]

        name, made = await look(plan)
        if name:
            await ask(choose.host, w.StopMachine(name=name, force=True, grace=0))
        for volume, pool in made:
            await ask(choose.host, w.RemoveVolume(pool=pool, volume=volume))

    @step
    def say(self, tx: Tx, boot: list[w.VolumeFacts], choose: Place) -> None:
        now = clock.now()
        for volume, made in zip(choose.fresh, boot, strict=True):
            tx.shift(Volume, volume, "made", path=made.path, size=made.size, physical_size=made.physical, attached=now)
        tx.shift(VirtualMachine, self.vm, "started", fresh=False, state_since=now)


def placed_disks(tx: Tx, vm_id: str) -> list[tuple[Disk, Volume, StoragePool]]:
    """A machine's disks, which all have their primary storage, the root disk first."""
    found = disks_of(tx, vm_id)
    pools_ = tx.among(StoragePool, list({v.pool_id for _, v in found if v.pool_id}))
    return [(disk, volume, pools_[volume.pool_id or ""]) for disk, volume in found]


def _rate(tx: Tx, vm: VirtualMachine, offering: ServiceOffering, network: Network) -> int:
    """Mbit/s of a card: the compute offering's, else the network offering's, else the zone's; 0 is no limit."""
    of_network = tx.known(NetworkOffering, network.network_offering_id).network_rate
    for rate in (offering.network_rate, of_network):
        if rate is not None:
            return max(0, rate)
    return max(0, RATE.get(tx, zone=vm.zone_id))


def machine_spec(
    tx: Tx, vm: VirtualMachine, placed: list[tuple[Disk, Volume, StoragePool]], *, boot_menu: bool = False
) -> w.MachineSpec:
    """What a host needs to know to run a machine."""
    offering = tx.known(ServiceOffering, vm.service_offering_id)
    details = vm.details or {}
    disks = []
    for disk, volume, pool in placed:
        rates: Any = tx.known(DiskOffering, volume.disk_offering_id) if volume.disk_offering_id else offering
        disks.append(
            w.DiskSpec(
                pool=pool.spec(),
                path=volume.path or f"volumes/{volume.id}.qcow2",
                device=disk.device,
                bus=_bus(details.get("rootDiskController" if disk.device == 0 else "dataDiskController")),
                format=volume.format,
                cache=rates.cache_mode or "none",
                serial=volume.id.replace("-", "")[:20],
                bytes_read_rate=rates.bytesreadrate or 0,
                bytes_write_rate=rates.byteswriterate or 0,
                iops_read_rate=rates.iopsreadrate or 0,
                iops_write_rate=rates.iopswriterate or 0,
            )
        )
    nics = []
    for nic in nics_of(tx, vm.id):
        network = tx.one(Network, nic.network_id)
        nics.append(
            w.NicSpec(
                mac=nic.mac,
                segment=networks.segment(tx, network),
                device=nic.device,
                model=_model(details.get("nicAdapter")),
                rate_mbps=_rate(tx, vm, offering, network),
            )
        )
    os_type = tx.known(OsType, vm.os_type_id) if vm.os_type_id else None
    return w.MachineSpec(
        id=vm.id,
        name=vm.instance_name or "",
        title=vm.display_name,
        cores=vm.cpu_number,
        cpu_mhz=vm.cpu_speed,
        cpu_capped=offering.limit_cpu_use,
        memory=vm.memory * MIB,
        disks=disks,
        nics=nics,
        firmware=vm.boot_type.lower(),
        secure_boot=vm.boot_mode.upper() == "SECURE",
        arch=vm.arch,
        keyboard=vm.keyboard or "",
        vnc_password=vm.vnc_password,
        boot_menu=boot_menu,
        os=os_type.name if os_type else "",
        details=details,
    )


BUSES = {
    "virtio": "virtio",
    "scsi": "scsi",
    "virtio-scsi": "scsi",
    "ide": "ide",
    "sata": "sata",
    "osdefault": "virtio",
    "virtio-blk": "virtio",
}
RATE = setting(
    "vm.network.throttling.rate",
    0,
    "Mbit/s of machines' network cards where no offering says it; 0: no limit.",
    category="Network",
    scopes=("zone",),
    unit="Mbit/s",
)
MODELS = {"virtio": "virtio", "e1000": "e1000", "rtl8139": "rtl8139", "vmxnet3": "vmxnet3"}


def _bus(word: str | None) -> str:
    return BUSES.get((word or "virtio").lower(), "virtio")


def _model(word: str | None) -> str:
    return MODELS.get((word or "virtio").lower(), "virtio")


def forget(tx: Tx, vm: VirtualMachine) -> None:
    """Remove a machine that nothing in the world belongs to any more: row, cards, disks, tags, counts."""
    networks_seen = {n.network_id for n in nics_of(tx, vm.id)}
    for disk, volume in disks_of(tx, vm.id):
        tx.remove(disk)
        untag(tx, "volume", volume.id)
        if volume.pool_id:
            pools.release(tx, volume.pool_id, volume.size)
        limits.give_back(
            tx, volume.account_id, storage_tags=volume.storage_tags, volume=1, primary_storage=volume.size
        )
        tx.remove(volume)
    for nic in tx.find(Nic, Nic.c.machine_id == vm.id):
        tx.remove(nic)
    for network in sorted(networks_seen):
        networks.bump(tx, network)
    limits.give_back(
        tx, vm.account_id, host_tags=vm.host_tags, user_vm=1, cpu=vm.cpu_number, memory=vm.memory
    )
    untag(tx, "virtualmachine", vm.id)
    tx.remove(vm)


@command(
    "startVirtualMachine",
    answers=VirtualMachine,
    job=True,
    event="VM.START",
)
def start(
    ctx: Ctx,
    id: VirtualMachine,
    hostid: Host | None = None,
    clusterid: Cluster | None = None,
    podid: Pod | None = None,
    deploymentplanner: str | None = None,
    bootintosetup: bool = False,
    considerlasthost: bool = True,
) -> VirtualMachine:
    """Starts a stopped machine.

    hostid: the host to start it on (admins)
    clusterid: the cluster to start it in (admins)
    podid: the pod to start it in (admins)
    deploymentplanner: how the host is chosen (admins)
    bootintosetup: stop at the firmware's boot menu
    considerlasthost: false: do not prefer the host it ran on last
    """
    if deploymentplanner and not ctx.caller.root:
        raise Denied("Only root admins choose the planner.", parameter="deploymentplanner")
    if id.state not in ("Stopped", "Stopping", "Starting"):
        raise Conflict(f"The machine {id.name} is {id.state}; only a stopped one can be started.", state=id.state)
    ctx.start(
        StartVm(
            vm=id.id,
            host=hostid.id if hostid else None,
            cluster=clusterid.id if clusterid else None,
            pod=podid.id if podid else None,
            planner=deploymentplanner,
            boot_menu=bootintosetup,
            anywhere=not considerlasthost,
            first=False,
        )
    )
    return id


failing("USERVM", StartVm, text="Could not start machine", new="deployVirtualMachine")
