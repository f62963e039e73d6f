"""Machines: the row, its states, how it is shown and listed. Every other file of this folder is one verb."""

from __future__ import annotations

import re
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Param, Tags
from mold.api.lists import Query, lists, narrows, tagged
from mold.api.model import capability
from mold.api.permit import ROOT, Owned
from mold.base import clock
from mold.base.states import machine
from mold.features.compute.keys import UserData
from mold.features.identity.accounts import Account
from mold.features.identity.limits import counted, with_tag
from mold.features.identity.projects import Project
from mold.features.identity.tags import tags_of
from mold.features.identity.users import User
from mold.features.infra.capacity import Amount, gauge
from mold.features.infra.clusters import CPU_FACTOR, Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.network import networks
from mold.features.network.networks import Network
from mold.features.network.physical import PhysicalNetwork
from mold.features.storage.pools import StoragePool
from mold.features.storage.templates import Template
from mold.features.storage.volumes import Volume
from mold.store import Among, Prepared, Resource, Tx, column, created, refers

INSTANCE_NAME = setting("instance.name", "VM", "Last part of machines' internal names.")
NAME_FLAG = setting("vm.instancename.flag", False, "Put the display name, if one was given, into the internal name.")
EXPUNGE_DELAY = setting(
    "expunge.delay", 86400, "Seconds that a destroyed machine can be recovered.", low=0, unit="seconds"
)
EXPUNGE_INTERVAL = setting(
    "expunge.interval", 86400, "Seconds between looks for machines to expunge.", low=1, unit="seconds"
)
USERS_EXPUNGE = setting(
    "allow.user.expunge.recover.vm", False, "Whether users expunge and recover their machines.", scopes=("account",)
)
USERS_SEE_DESTROYED = setting(
    "allow.user.view.destroyed.vm", False, "Whether users see their destroyed machines.", scopes=("account",)
)
READ_ONLY = setting(
    "user.vm.readonly.details",
    "dataDiskController, rootDiskController, backupValidationCommandTimeout, backupValidationScreenshotWait, backupValidationBootTimeout",
    "Details of machines that users see and do not change, comma separated.",
    many=True,
)
DENIED = setting(
    "user.vm.denied.details",
    "rootdisksize, cpuOvercommitRatio, memoryOvercommitRatio, Message.ReservedCapacityFreed.Flag",
    "Details of machines that users neither see nor set, comma separated.",
    many=True,
)
PASSWORD_LENGTH = setting(
    "vm.password.length", 12, "Characters of the passwords that machines get.", low=6, high=64, unit="characters"
)
USERS_FORCE = setting("allow.user.force.stop.vm", True, "Whether users pull their machines' plug.", scopes=("account",))
capability("allowuserexpungerecovervm", lambda tx, caller: USERS_EXPUNGE.get(tx, account=caller.account_id))
capability("allowuserviewdestroyedvm", lambda tx, caller: USERS_SEE_DESTROYED.get(tx, account=caller.account_id))
capability("allowuserforcestopvm", lambda tx, caller: USERS_FORCE.get(tx, account=caller.account_id))
STOP_GRACE = setting(
    "vm.stop.grace.seconds",
    60,
    "Seconds that a guest may take to shut down before it is forced.",
    low=0,
    unit="seconds",
)


class VirtualMachine(Owned):
    """A machine. `memory` in MiB, `cpu_speed` in MHz. Reserved capacity is what its host has promised it."""

    kind = "virtualmachine"
    title = "machine"
    appears = {"virtualmachineid": "id", "vmname": "name", "vmdisplayname": "display_name", "vmstate": "state"}
    indexes = (("account_id", "state"), ("zone_id", "state"), ("state", "host_id"))
    states = machine(
        "Stopped",
        start="Stopped>Starting",
        started="Starting>Running",
        start_failed="Starting>Stopped",
        stop="Running|Unknown>Stopping",
        stopped="Stopping>Stopped",
        stop_failed="Stopping>Running",
        lost="Running>Stopped",
        found="Stopped>Running",
        migrate="Running>Migrating",
        migrated="Migrating>Running",
        destroy="Stopped|Error>Destroyed",
        recover="Destroyed>Stopped",
        expunge="Stopped|Destroyed|Error|Expunging>Expunging",
        broke="Stopped|Starting>Error",
    )

    name: str = column(filter=True, keyword=True, doc="host name")
    display_name: str = column(keyword=True)
    instance_name: str | None = column(default=None, admin=True, index=True)
    user_id: str | None = column(default=None, hidden=True)
    zone_id: str = refers("zone")
    pod_id: str | None = column(default=None, hidden=True)
    host_id: str | None = refers("host", default=None, admin=True)
    last_host_id: str | None = column(default=None, hidden=True)
    service_offering_id: str = refers("serviceoffering")
    template_id: str = refers(
        "template",
        shows={
            "templateid": "id",
            "templatename": "name",
            "templatedisplaytext": "displaytext",
            "templatetype": "template_type",
            "templateformat": "format",
        },
    )
    os_type_id: str | None = refers(
        "ostype", default=None, shows={"ostypeid": "id", "guestosid": "id", "osdisplayname": "name"}, filter=False
    )
    userdata_id: str | None = refers(UserData.kind, default=None)
    hypervisor: str = column(default="KVM", filter=True)
    arch: str = column(default="x86_64", filter=True)
    state: str = column(default="Stopped")
    cpu_number: int = column(kind="integer")
    cpu_speed: int = column(kind="integer")
    memory: int = column(kind="integer")
    host_tags: str | None = column(default=None, hidden=True)
    planner: str | None = column(default=None, hidden=True)
    ha_enabled: bool = column(default=False, api="haenable", filter=True)
    is_dynamically_scalable: bool = column(default=False)
    password_enabled: bool = column(default=False)
    password: str | None = column(default=None, secret=True)
    password_serial: str = column(default="", hidden=True)
    vnc_password: str = column(secret=True)
    userdata: str | None = column(default=None, hidden=True)
    userdata_details: str | None = column(default=None, hidden=True)
    keypairs: str | None = column(default=None)
    publickeys: list[str] | None = column(default=None, hidden=True)
    group: str | None = column(default=None)
    details: dict[str, str] | None = column(default=None, hidden=True)
    display: bool = column(default=True, api="displayvm", admin=True)
    delete_protection: bool = column(default=False)
    boot_type: str = column(default="BIOS")
    boot_mode: str = column(default="LEGACY")
    keyboard: str | None = column(default=None, hidden=True)
    fresh: bool = column(default=True, hidden=True, doc="never started yet")
    state_since: str = column(default_factory=clock.now, api="lastupdated", kind="date")
    created: str = created()


class Nic(Resource):
    """A network card. Its machine's host name is kept with it: the network's DNS knows the machine by that."""

    kind = "nic"
    unique = (("network_id", "ip"), ("network_id", "mac"), ("network_id", "host_name"))
    policy = None

    machine_id: str = refers("virtualmachine", cascade=True)
    network_id: str = refers("network")
    ip: str = column()
    mac: str = column()
    host_name: str = column(doc="in lower case")
    device: int = column(default=0)
    is_default: bool = column(default=True)
    created: str = created()


class Disk(Resource):
    """A volume's place in a machine."""

    kind = "disk"
    unique = (("machine_id", "device"),)
    policy = None

    machine_id: str = refers("virtualmachine", cascade=True)
    volume_id: str = refers("volume", unique=True)
    device: int = column(default=0)


NIC_FIELDS = tuple(
    Field(n, t)
    for n, t in (
        ("id", "string"),
        ("networkid", "string"),
        ("networkname", "string"),
        ("netmask", "string"),
        ("gateway", "string"),
        ("ipaddress", "string"),
        ("isolationuri", "string"),
        ("broadcasturi", "string"),
        ("traffictype", "string"),
        ("type", "string"),
        ("isdefault", "boolean"),
        ("macaddress", "string"),
        ("deviceid", "string"),
        ("secondaryip", "list"),
        ("extradhcpoption", "list"),
        ("enabled", "boolean"),
    )
)


@shown(VirtualMachine, Field("nic", "set", of=NIC_FIELDS), Field("ipaddress"), detail="nics")
def _nics(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.rows(_CARDS, {"machines": [r.id for r in rows]})
    out: dict[str, dict[str, Any]] = {}
    root = caller.root or caller.internal
    for nic_id, vm, ip, mac, device, default, network_id, name, netmask, gateway, kind, traffic, tag, carrier in found:
        shape: dict[str, Any] = {
            "id": nic_id,
            "networkid": network_id,
            "networkname": name,
            "netmask": netmask,
            "gateway": gateway,
            "ipaddress": ip,
            "traffictype": traffic,
            "type": kind,
            "isdefault": default,
            "macaddress": mac,
            "deviceid": str(device),
            "secondaryip": [],
            "extradhcpoption": [],
            "enabled": True,
        }
        if root and tag is not None:
            shape["broadcasturi"] = shape["isolationuri"] = f"{tx.known(PhysicalNetwork, carrier).method}://{tag}"
        values = out.setdefault(vm, {"nic": []})
        values["nic"].append(shape)
        if default:
            values["ipaddress"] = ip
    return out


@shown(
    VirtualMachine,
    Field("rootdeviceid", "long"),
    Field("rootdevicetype"),
    Field("pooltype"),
    Field("diskofferingid"),
    Field("diskofferingname"),
    detail="volume",
)
def _disks(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.rows(_ROOTS, {"machines": [r.id for r in rows]})
    return {vm: {"rootdeviceid": 0, "rootdevicetype": "ROOT", "pooltype": kind} for vm, kind in found}


@shown(
    VirtualMachine,
    Field("userid"),
    Field("username"),
    Field("keypair", doc="the first of its SSH keys, for clients that know only one"),
    Field("tags", "set"),
    Field("securitygroup", "set"),
    Field("affinitygroup", "set"),
    Field("vmtype"),
    Field("forvirtualnetwork", "boolean"),
    Field("userdatapolicy"),
    Field("hostcontrolstate", admin=True),
    Field("readonlydetails"),
    Field("details", "map"),
    Field("hasannotations", "boolean"),
)
def _rest(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    users = tx.known_among(User, {r.user_id for r in rows if r.user_id})
    tags = tags_of(tx, "virtualmachine", [r.id for r in rows])
    policies = {t.id: t.userdata_policy for t in tx.known_among(Template, {r.template_id for r in rows}).values()}
    hosts = tx.among(Host, list({r.host_id for r in rows if r.host_id}))
    read_only, denied = READ_ONLY.get(tx), {d.lower() for d in listed(DENIED.get(tx))}
    free = caller.root or caller.internal
    out: dict[str, dict[str, Any]] = {}
    for r in rows:
        user = users.get(r.user_id)
        out[r.id] = {
            "tags": tags.get(r.id, []),
            "securitygroup": [],
            "affinitygroup": [],
            "vmtype": "User",
            "forvirtualnetwork": True,
            "userid": user.id if user else None,
            "username": user.username if user else None,
            "keypair": r.keypairs.partition(",")[0] if r.keypairs else None,
            "userdatapolicy": policies.get(r.template_id),
            "hostcontrolstate": control_state(hosts[r.host_id]) if r.host_id in hosts else None,
            "readonlydetails": read_only,
            "details": r.details if free else {k: v for k, v in (r.details or {}).items() if k.lower() not in denied},
            "hasannotations": False,
        }
    return out


@shown(VirtualMachine, Field("userdata"), Field("userdatadetails"), detail="userdata", asked=True)
def _data(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {r.id: {"userdata": r.userdata, "userdatadetails": r.userdata_details} for r in rows}


def listed(text: str) -> list[str]:
    """Words out of a comma separated setting."""
    return [w.strip() for w in text.split(",") if w.strip()]


def control_state(host: Host) -> str:
    """A host's two states in one, as machines show it."""
    if host.resource_state in ("Disabled", "Maintenance"):
        return host.resource_state
    return "Enabled" if host.state == "Up" else "Offline"


@shown(Account, Field("vmrunning", "integer"), Field("vmstopped", "integer"), detail="resource")
def _of_account(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    c = VirtualMachine.c
    out: dict[str, dict[str, Any]] = {a.id: {"vmrunning": 0, "vmstopped": 0} for a in rows}
    query = sa.select(c.account_id, c.state, sa.func.count()).where(tx.any_of(c.account_id, list(out)))
    query = query.where(c.state.in_(("Running", "Stopped"))).group_by(c.account_id, c.state)
    for account, state, count in tx.execute(query):
        out[account]["vmrunning" if state == "Running" else "vmstopped"] = count
    return out


@shown(Project, Field("vmrunning", "integer"), Field("vmstopped", "integer"), detail="resource")
def _of_project(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = _of_account(tx, [tx.one(Account, p.project_account_id) for p in rows], caller)
    return {p.id: found[p.project_account_id] for p in rows}


def _by_account(amount: Any, tag: str | None) -> Any:
    c = VirtualMachine.c
    return sa.select(c.account_id, amount).where(with_tag(c.host_tags, tag)).group_by(c.account_id)


@counted("user_vm")
def _count(tag: str | None) -> Any:
    return _by_account(sa.func.count(), tag)


@counted("cpu")
def _cores(tag: str | None) -> Any:
    return _by_account(sa.func.sum(VirtualMachine.c.cpu_number), tag)


@counted("memory")
def _memory(tag: str | None) -> Any:
    return _by_account(sa.func.sum(VirtualMachine.c.memory), tag)


@gauge
def _core_count(tx: Tx) -> list[Amount]:
    h, c = Host.c, VirtualMachine.c
    taken = dict(
        tx.execute(
            sa.select(h.cluster_id, sa.func.sum(c.cpu_number))
            .join(VirtualMachine.table, c.host_id == h.id)
            .group_by(h.cluster_id)
        ).all()
    )
    there = sa.select(h.zone_id, h.pod_id, h.cluster_id, sa.func.sum(h.cores))
    there = there.where(h.state == "Up", h.resource_state == "Enabled").group_by(h.zone_id, h.pod_id, h.cluster_id)
    return [
        Amount(
            90, zone, pod, cluster, int(taken.get(cluster, 0)), int(int(cores) * CPU_FACTOR.get(tx, cluster=cluster))
        )
        for zone, pod, cluster, cores in tx.execute(there)
    ]


DETAILS = (
    "group",
    "nics",
    "stats",
    "secgrp",
    "tmpl",
    "servoff",
    "diskoff",
    "backoff",
    "iso",
    "volume",
    "min",
    "affgrp",
    "all",
)


@lists(
    "listVirtualMachines",
    VirtualMachine,
    refused={
        "accumulate:boolean": LATER,
        "affinitygroupid:uuid": "affinity groups are not offered yet",
        "autoscalevmgroupid:uuid": LATER,
        "backupofferingid:uuid": LATER,
        "extensionid:uuid": LATER,
        "gpuenabled:boolean": LATER,
        "isoid:uuid": "ISOs are not offered yet",
        "isvnf:boolean": LATER,
        "leased:boolean": LATER,
        "securitygroupid:uuid": "security groups are not offered yet",
        "vpcid:uuid": "VPCs are not offered yet",
        "groupid:uuid": LATER,
    },
)
def _list(
    q: Query,
    ids: list[VirtualMachine] | None = None,
    state: str | None = None,
    keyword: str | None = None,
    details: list[str] | None = None,
    clusterid: Cluster | None = None,
    podid: Pod | None = None,
    forvirtualnetwork: bool | None = None,
    keypair: str | None = None,
    networkid: Network | None = None,
    storageid: StoragePool | None = None,
    userid: User | None = None,
    displayvm: Annotated[bool | None, Param(roles=ROOT)] = None,
    retrieveonlyresourcecount: bool | None = None,
    showicon: bool | None = None,
    userdata: bool | None = None,
    tags: Tags | None = None,
) -> None:
    """Lists machines.

    state: a state; Present for all that are not destroyed
    keyword: text in the name or the display name, or the beginning of an address
    details: sets of fields, comma separated: min, nics, volume, all …; default all
    userdata: with user data
    retrieveonlyresourcecount: how many there are and nothing else
    """
    c, caller = VirtualMachine.c, q.ctx.caller
    if ids is not None:
        q.where(q.tx.any_of(c.id, [v.id for v in ids]))
    if state is not None:
        word = state.strip().lower()
        q.where(c.state.not_in(("Destroyed", "Expunging")) if word == "present" else sa.func.lower(c.state) == word)
    if keyword:
        begins = Nic.c.ip.like(f"{keyword}%")
        address = re.fullmatch(r"[0-9A-Fa-f]{1,4}[.:][0-9A-Fa-f.:]*", keyword)
        q.search(keyword, *([c.id.in_(sa.select(Nic.c.machine_id).where(begins))] if address else []))
    if (
        not caller.root
        and not caller.internal
        and caller.rank < 1
        and not USERS_SEE_DESTROYED.get(q.tx, account=caller.account_id)
    ):
        q.where(c.state.not_in(("Destroyed", "Expunging")))
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    if clusterid is not None:
        q.where(c.host_id.in_(sa.select(Host.c.id).where(Host.c.cluster_id == clusterid.id)))
    if podid is not None:
        q.where(c.pod_id == podid.id)
    if networkid is not None:
        q.where(c.id.in_(sa.select(Nic.c.machine_id).where(Nic.c.network_id == networkid.id)))
    if storageid is not None:
        q.where(
            c.id.in_(
                sa.select(Disk.c.machine_id)
                .join(Volume.table, Volume.c.id == Disk.c.volume_id)
                .where(Volume.c.pool_id == storageid.id)
            )
        )
    if userid is not None:
        q.where(c.user_id == userid.id)
    if userdata:
        q.details = (q.details or frozenset({"all"})) | {"userdata"}
    if keypair is not None:
        q.where(c.keypairs == keypair)
    if displayvm is not None:
        q.where(c.display == displayvm)
    if forvirtualnetwork is False:
        q.where(sa.false())
    if tags:
        q.where(tagged(VirtualMachine, tags))
    if retrieveonlyresourcecount:
        q.only_count = True


def nics_of(tx: Tx, vm_id: str) -> list[Nic]:
    """A machine's network cards, the default one first."""
    return [Nic.from_row(r) for r in tx.rows(_NICS, {"vm": vm_id})]


_NICS = Prepared(
    sa.select(Nic.table).where(Nic.c.machine_id == sa.bindparam("vm")).order_by(Nic.c.device, Nic.c.number)
)


def disks_of(tx: Tx, vm_id: str) -> list[tuple[Disk, Volume]]:
    """A machine's disks, the root disk first."""
    found = tx.rows(_DISKS, {"vm": vm_id})
    edge = len(Disk.columns)
    return [(Disk.from_row(r[:edge]), Volume.from_row(r[edge:])) for r in found]


_DISKS = Prepared(
    sa.select(Disk.table, Volume.table)
    .join(Volume.table, Volume.c.id == Disk.c.volume_id)
    .where(Disk.c.machine_id == sa.bindparam("vm"))
    .order_by(Disk.c.device)
)


@shown(
    Volume, Field("virtualmachineid"), Field("vmname"), Field("vmdisplayname"), Field("vmstate"), Field("tags", "set")
)
def _of_volume(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    ids = [v.id for v in rows]
    found = tx.execute(
        sa.select(
            Disk.c.volume_id,
            VirtualMachine.c.id,
            VirtualMachine.c.name,
            VirtualMachine.c.display_name,
            VirtualMachine.c.state,
        )
        .join(VirtualMachine.table, VirtualMachine.c.id == Disk.c.machine_id)
        .where(tx.any_of(Disk.c.volume_id, ids))
    )
    tags = tags_of(tx, "volume", ids)
    out: dict[str, dict[str, Any]] = {i: {"tags": tags.get(i, [])} for i in ids}
    for volume, vm, name, display, state in found:
        out[volume].update(virtualmachineid=vm, vmname=name, vmdisplayname=display, vmstate=state)
    return out


@narrows("listVolumes", "virtualmachineid", VirtualMachine)
def _disks_of(vm: VirtualMachine) -> Any:
    """Volumes that are disks of this machine."""
    return Volume.c.id.in_(sa.select(Disk.c.volume_id).where(Disk.c.machine_id == vm.id))


def _network_blocked(tx: Tx, network: Network) -> str | None:
    nic = tx.first(Nic, Nic.c.network_id == network.id)
    if nic is None:
        return None
    vm = tx.one(VirtualMachine, nic.machine_id)
    return f"The machine {vm.name} is on the network {network.name}; remove it first."


networks.blockers.append(_network_blocked)


def _cards() -> Any:
    n, w = Nic.c, Network.c
    network = (w.id, w.name, w.netmask, w.gateway, w.type, w.traffic_type, w.tag, w.physical_network_id)
    return (
        sa.select(n.id, n.machine_id, n.ip, n.mac, n.device, n.is_default, *network)
        .join(Network.table, w.id == n.network_id)
        .where(Among(n.machine_id, "machines"))
        .order_by(n.number)
    )


_CARDS = Prepared(_cards())
_ROOTS = Prepared(
    sa.select(Disk.c.machine_id, StoragePool.c.type)
    .join(Volume.table, Volume.c.id == Disk.c.volume_id)
    .outerjoin(StoragePool.table, StoragePool.c.id == Volume.c.pool_id)
    .where(Disk.c.device == 0, Among(Disk.c.machine_id, "machines"))
)
