"""Deploying a machine: its rows are made with the request, its first start makes them real, or takes them away again."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import LATER, Ctx, Details, Long, Owner, Param, command
from mold.api.model import capability
from mold.api.permit import ROOT
from mold.base import ids, net
from mold.base.errors import Conflict, Denied, Invalid, NoCapacity, NotFound, OverLimit
from mold.base.units import GIB, MIB
from mold.features.compute import placement
from mold.features.compute.keys import SshKeyPair, UserData, check_userdata
from mold.features.compute.machines.row import (
    DENIED,
    INSTANCE_NAME,
    NAME_FLAG,
    PASSWORD_LENGTH,
    READ_ONLY,
    Disk,
    Nic,
    VirtualMachine,
    listed,
)
from mold.features.compute.machines.start import StartVm, forget
from mold.features.compute.placement import Need
from mold.features.identity import limits
from mold.features.infra.alerts import failing
from mold.features.infra.clusters import Cluster, hypervisor_named
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import VOLUME_MAX, DiskOffering, ServiceOffering, ids_of, root_size
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.features.network import networks
from mold.features.network.networks import Network
from mold.features.storage import pools
from mold.features.storage.templates import Template
from mold.features.storage.volumes import Volume
from mold.store import Tx
from mold.store.resource import fresh_id
from mold.work import Operation, operation, step

GUESSES = 4
"""How many addresses are tried blindly: right at once in a network that is not nearly full, and costs no look at it."""
FORBIDDEN_DETAILS = ("extraconfig",)
DISK_MIN = setting(
    "custom.diskoffering.size.min", 1, "Smallest disk that may be asked for, GiB.", low=1, unit="GiB", shape="Long"
)
DISK_MAX = setting(
    "custom.diskoffering.size.max", 1024, "Largest disk that may be asked for, GiB.", low=1, unit="GiB", shape="Long"
)
capability("customdiskofferingminsize", lambda tx, caller: DISK_MIN.get(tx))
capability("customdiskofferingmaxsize", lambda tx, caller: DISK_MAX.get(tx))


@operation
class CreateVm(Operation):
    """The rows of a machine that is not to be started yet are there; nothing else is needed."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")
    vm: str

    @step
    def done(self, tx: Tx) -> None:
        tx.one(VirtualMachine, self.vm)

    @done.undo
    def withdraw(self, tx: Tx) -> None:
        vm = tx.get(VirtualMachine, self.vm)
        if vm is not None:
            forget(tx, vm)

    def tells(self, tx: Tx) -> dict[str, Any]:
        """The machine's password, for whoever made it."""
        vm = tx.get(VirtualMachine, self.vm)
        return {"password": vm.password} if vm is not None and vm.password else {}


REFUSED = {
    **dict.fromkeys(("affinitygroupids:list/uuid", "affinitygroupnames:list"), "affinity groups are not offered yet"),
    **dict.fromkeys(("securitygroupids:list/uuid", "securitygroupnames:list"), "security groups are not offered yet"),
    **dict.fromkeys(
        ("snapshotid:uuid", "volumeid:uuid", "datadiskofferinglist:map", "datadisksdetails:map"),
        "not offered yet: data disks and snapshots come with volumes",
    ),
    **dict.fromkeys(("ip6address:string",), "not offered yet: IPv6"),
    **dict.fromkeys(
        (
            "blankinstance:boolean",
            "copyimagetags:boolean",
            "dhcpoptionsnetworklist:map",
            "externaldetails:map",
            "extraconfig:string:5120",
            "iodriverpolicy:string",
            "iothreadsenabled:boolean",
            "leaseduration:integer",
            "leaseexpiryaction:string",
            "nicmultiqueuenumber:integer",
            "nicnetworklist:map",
            "nicpackedvirtqueuesenabled:boolean",
            "properties:map",
            "rootdiskkmskeyid:uuid",
            "dynamicscalingenabled:boolean",
        ),
        LATER,
    ),
}


@command("deployVirtualMachine", answers=VirtualMachine, job=True, creates=True, event="VM.CREATE", refused=REFUSED)
def deploy(
    ctx: Ctx,
    owner: Owner,
    serviceofferingid: ServiceOffering,
    zoneid: Zone,
    templateid: Template | None = None,
    name: Annotated[str | None, Param(label=True)] = None,
    displayname: str | None = None,
    networkids: list[Network] | None = None,
    iptonetworklist: Annotated[list[dict[str, str]] | None, Param(keys=("networkid", "ip", "ipv6", "mac"))] = None,
    ipaddress: str | None = None,
    macaddress: str | None = None,
    diskofferingid: DiskOffering | None = None,
    size: Long | None = None,
    rootdisksize: Long | None = None,
    overridediskofferingid: DiskOffering | None = None,
    keypair: str | None = None,
    keypairs: list[str] | None = None,
    userdata: Annotated[str | None, Param(length=1048576, secret=True)] = None,
    userdataid: UserData | None = None,
    userdatadetails: Details | None = None,
    password: Annotated[str | None, Param(secret=True)] = None,
    hypervisor: str | None = None,
    group: str | None = None,
    details: Details | None = None,
    hostid: Host | None = None,
    clusterid: Cluster | None = None,
    podid: Pod | None = None,
    deploymentplanner: Annotated[str | None, Param(roles=ROOT)] = None,
    startvm: bool = True,
    boottype: Literal["BIOS", "UEFI"] | None = None,
    bootmode: Literal["LEGACY", "SECURE"] | None = None,
    bootintosetup: bool = False,
    keyboard: str | None = None,
    displayvm: Annotated[bool, Param(roles=ROOT)] = True,
    customid: str | None = None,
) -> VirtualMachine:
    """Deploys a machine: makes it and, unless startvm is false, starts it.

    name: its host name, a label of letters, digits and hyphens
    displayname: what people call it
    networkids: networks, comma separated; the first is the default one
    iptonetworklist: networks with addresses, iptonetworklist[0].networkid=…&iptonetworklist[0].ip=…
    ipaddress: its address on the default network
    diskofferingid: a data disk
    size: GiB of the data disk, when its offering leaves that open
    rootdisksize: GiB of the root disk
    overridediskofferingid: disk offering for the root disk
    startvm: false makes it without starting it
    details: cpuNumber, cpuSpeed and memory for customized offerings; rootDiskController, nicAdapter
    password: the password the machine gets, when its template supports that
    """
    tx, zone, offering, template = ctx.tx, zoneid, serviceofferingid, templateid
    if template is None:
        raise Invalid("Give templateid: machines without a template are not offered yet.", parameter="templateid")
    if diskofferingid is not None or size is not None:
        raise Invalid("Data disks are not offered yet; leave diskofferingid and size out.", parameter="diskofferingid")
    if not ctx.caller.root and (hostid or clusterid or podid):
        raise Denied("Only root admins choose where a machine runs.", parameter="hostid")
    _check_place(ctx, zone, offering, template, hypervisor)
    cores, mhz, memory = _sizes(offering, details)
    vm_id = fresh_id()
    if customid is not None:
        if not ctx.caller.root:
            raise Denied("Only root admins choose ids.", parameter="customid")
        if not ids.UUID.match(customid):
            raise Invalid("customid must be a uuid.", parameter="customid")
        vm_id = customid.lower()
    host_name = (
        name
        or (
            ids.label(displayname)
            if displayname and ids.is_label(ids.label(displayname)) and ids.label(displayname) == displayname
            else None
        )
        or f"VM-{vm_id}"
    )
    keys = _keys(tx, owner, [*(keypairs or []), *([keypair] if keypair else [])])
    data, data_id = _userdata(ctx, template, userdata, userdataid)
    if password is not None and not template.password_enabled:
        raise Invalid("The template does not support passwords; leave password out.", parameter="password")
    disk = _root(tx, offering, template, rootdisksize, overridediskofferingid)
    bytes_ = disk.size
    vm = VirtualMachine(
        name=host_name,
        display_name=displayname or host_name,
        user_id=ctx.caller.user_id or None,
        zone_id=zone.id,
        service_offering_id=offering.id,
        template_id=template.id,
        os_type_id=template.os_type_id,
        userdata_id=data_id,
        hypervisor=template.hypervisor,
        arch=template.arch,
        cpu_number=cores,
        cpu_speed=mhz,
        memory=memory,
        host_tags=_tags(offering, template),
        planner=deploymentplanner or offering.deployment_planner,
        ha_enabled=offering.offer_ha,
        is_dynamically_scalable=template.is_dynamically_scalable,
        password_enabled=template.password_enabled,
        password=(password or ids.password(PASSWORD_LENGTH.get(tx))) if template.password_enabled else None,
        password_serial=ids.token(8) if template.password_enabled else "",
        vnc_password=ids.token(6)[:8],
        userdata=data,
        userdata_details=_json(userdatadetails),
        keypairs=",".join(k.name for k in keys) or None,
        publickeys=[k.publickey for k in keys] or None,
        group=group,
        details=_kept(ctx, details),
        display=displayvm,
        boot_type=boottype or "BIOS",
        boot_mode=bootmode or "LEGACY",
        keyboard=keyboard,
        **owner.columns(),
    )
    vm.id = vm_id
    tx.add(vm)
    last = displayname if NAME_FLAG.get(tx) and displayname and ids.is_label(displayname) else INSTANCE_NAME.get(tx)
    tx.set(vm, instance_name=f"i-{ctx.caller.user_number or 1}-{vm.number}-{last}")
    root = tx.add(
        Volume(
            name=f"ROOT-{vm.number}",
            zone_id=zone.id,
            type="ROOT",
            size=bytes_,
            template_id=template.id,
            service_offering_id=offering.id,
            hypervisor=vm.hypervisor,
            provisioning_type=offering.provisioning_type,
            storage_tags=disk.tags,
            disk_offering_id=overridediskofferingid.id if overridediskofferingid else None,
            **owner.columns(),
        )
    )
    tx.add(Disk(machine_id=vm.id, volume_id=root.id, device=0))
    for device, wish in enumerate(_networks(ctx, owner, zone, networkids, iptonetworklist, ipaddress, macaddress)):
        add_nic(tx, vm, device, *wish)
    # Last, because it locks rows that every deploy of the account and its domains wants.
    limits.reserve(
        tx,
        owner.account,
        host_tags=vm.host_tags,
        storage_tags=root.storage_tags,
        user_vm=1,
        cpu=cores,
        memory=memory,
        volume=1,
        primary_storage=bytes_,
    )
    if startvm:
        ctx.start(
            StartVm(
                vm=vm.id,
                host=hostid.id if hostid else None,
                cluster=clusterid.id if clusterid else None,
                pod=podid.id if podid else None,
                planner=deploymentplanner,
                first=True,
                boot_menu=bootintosetup,
            )
        )
    else:
        ctx.start(CreateVm(vm=vm.id))
    return vm


def _check_place(ctx: Ctx, zone: Zone, offering: ServiceOffering, template: Template, hypervisor: str | None) -> None:
    if zone.allocation_state != "Enabled" and not ctx.caller.root:
        raise Invalid(f"The zone {zone.name} is disabled; nothing can be deployed in it.", parameter="zoneid")
    if template.zone_id != zone.id:
        raise Invalid(f"The template {template.name} is not in the zone {zone.name}.", parameter="templateid")
    if template.state != "Ready":
        raise Invalid(
            f"The template {template.name} is not ready: {template.status or template.state}.",
            parameter="templateid",
            status=template.status,
        )
    if offering.state != "Active" or offering.is_system:
        raise Invalid(f"The offering {offering.name} cannot be used for machines.", parameter="serviceofferingid")
    if offering.zone_ids and zone.id not in ids_of(offering.zone_ids):
        raise Invalid(f"The offering {offering.name} is not for the zone {zone.name}.", parameter="serviceofferingid")
    if hypervisor and hypervisor_named(hypervisor) != template.hypervisor:
        raise Invalid(f"The template is for {template.hypervisor}, not for {hypervisor}.", parameter="hypervisor")


def _sizes(offering: ServiceOffering, details: dict[str, str] | None) -> tuple[int, int, int]:
    """Cores, MHz and MiB: the offering's, or for a customized one the caller's within its limits."""
    given = {k.lower(): v for k, v in (details or {}).items()}
    limits_ = offering.limits or {}

    def pick(name: str, fixed: int | None, low: int, high: int, fallback: int | None = None) -> int:
        if fixed is not None:
            if name in given and offering.is_customized is False:
                raise Invalid(
                    f"The offering {offering.name} fixes {name}; leave it out of details.", parameter="details"
                )
            return fixed
        text = given.get(name) or (str(fallback) if fallback is not None else None)
        number = ids.whole(text) if text is not None else None
        if number is None:
            raise Invalid(
                f"The offering {offering.name} leaves {name} open: give details[0].{'cpuNumber' if name == 'cpunumber' else 'cpuSpeed' if name == 'cpuspeed' else name}.",
                parameter="details",
            )
        low, high = limits_.get(f"min{name}", low), limits_.get(f"max{name}", high)
        if not low <= number <= high:
            raise Invalid(
                f"{name} must lie between {low} and {high} with the offering {offering.name}.", parameter="details"
            )
        return number

    return (
        pick("cpunumber", offering.cpunumber, 1, 256),
        pick("cpuspeed", offering.cpuspeed, 0, 100_000, 1000),
        pick("memory", offering.memory, 32, 4 * 1024 * 1024),
    )


def _tags(offering: ServiceOffering, template: Template) -> str | None:
    tags = [t for t in (*(offering.host_tags or "").split(","), template.templatetag or "") if t.strip()]
    return ",".join(tags) or None


def _root(
    tx: Tx, offering: ServiceOffering, template: Template, gib: int | None, override: DiskOffering | None
) -> pools.Wish:
    """The root disk of a new machine; `gib` is the size that was asked for, `override` the disk offering."""
    size = root_size(offering, template.size, gib)
    if override is not None and not override.is_customized:
        size = max(template.size, override.disksize * GIB)
    elif override is not None and gib is not None:
        check_disk_size(tx, gib)
    if size > (most := VOLUME_MAX.get(tx)) * GIB:
        raise Invalid(
            f"The root disk would have {size // GIB} GiB; the largest volume has {most} (storage.max.volume.size).",
            parameter="rootdisksize",
            limit=most,
        )
    if override is None:
        return pools.Wish(size, offering.storage_tags, offering.storage_type == "local")
    return pools.Wish(size, override.tags, override.storage_type == "local")


def check_disk_size(tx: Tx, gib: int) -> None:
    """Refuse a chosen disk size outside the installation's limits."""
    low, high = DISK_MIN.get(tx), min(DISK_MAX.get(tx), VOLUME_MAX.get(tx))
    if not low <= gib <= high:
        raise Invalid(f"The size must lie between {low} and {high} GiB.", parameter="rootdisksize", low=low, high=high)


def _kept(ctx: Ctx, details: dict[str, str] | None, before: dict[str, str] | None = None) -> dict[str, str] | None:
    """Details as kept; users keep what they may not see or set as it was `before`."""
    out = {k: v for k, v in (details or {}).items() if k.lower() not in ("cpunumber", "cpuspeed", "memory")}
    for bad in FORBIDDEN_DETAILS:
        if any(k.lower().startswith(bad) for k in out):
            raise Denied(
                f"The detail {bad} would change how the host runs the machine and is not offered.", parameter="details"
            )
    if not ctx.caller.root and not ctx.caller.internal:
        denied = {d.lower() for d in listed(DENIED.get(ctx.tx))}
        fixed = denied | ({d.lower() for d in listed(READ_ONLY.get(ctx.tx))} if before is not None else set())
        was = before or {}
        for key, value in out.items():
            if key.lower() in fixed and value != was.get(key):
                raise Denied(f"The detail {key} is not for users to change.", parameter="details")
        out.update((k, v) for k, v in was.items() if k.lower() in fixed)
    return out or None


def _json(details: dict[str, str] | None) -> str | None:
    import msgspec

    return msgspec.json.encode(details).decode() if details else None


def _keys(tx: Tx, owner: Owner, names: list[str]) -> list[SshKeyPair]:
    found = []
    for name in dict.fromkeys(names):
        key = tx.first(SshKeyPair, SshKeyPair.c.name == name, SshKeyPair.c.account_id == owner.account_id)
        if key is None:
            raise NotFound(f"There is no SSH key pair {name} of this account.", name=name)
        found.append(key)
    return found


def _userdata(
    ctx: Ctx, template: Template, userdata: str | None, kept: UserData | None
) -> tuple[str | None, str | None]:
    if userdata is not None and kept is not None:
        raise Invalid("Give userdata or userdataid, not both.", parameter="userdata")
    text, of = (
        (check_userdata(ctx, userdata), None)
        if userdata is not None
        else (kept.userdata, kept.id)
        if kept is not None
        else (None, None)
    )
    linked = ctx.tx.get(UserData, template.userdata_id)
    if linked is not None:
        if text is not None and template.userdata_policy == "DENYOVERRIDE":
            raise Invalid("The template brings its own user data and allows no other.", parameter="userdata")
        if text is not None and template.userdata_policy == "APPEND":
            raise Invalid("Appending user data to the template's is not offered yet.", parameter="userdata")
        if text is None:
            text, of = linked.userdata, linked.id
    return text, of


Wish = tuple[Network, str | None, str | None]


def _networks(
    ctx: Ctx,
    owner: Owner,
    zone: Zone,
    chosen: list[Network] | None,
    pairs: list[dict[str, str]] | None,
    ip: str | None,
    mac: str | None,
) -> list[Wish]:
    """Networks with wished addresses; without any, the account's only isolated network."""
    tx = ctx.tx
    out: list[Wish] = []
    if pairs:
        if chosen or ip:
            raise Invalid("Give networkids or iptonetworklist, not both.", parameter="iptonetworklist")
        from mold.api.permit import find

        for pair in pairs:
            if pair.get("ipv6"):
                raise Invalid("IPv6 is not offered yet.", parameter="iptonetworklist")
            row = find(tx, Network, ctx.caller, pair.get("networkid", ""), "use")
            if not isinstance(row, Network):
                raise NotFound(
                    f"There is no network {pair.get('networkid', '')[:80]}, or you may not use it.",
                    parameter="iptonetworklist",
                )
            out.append((row, pair.get("ip") or None, pair.get("mac") or None))
    elif chosen:
        out = [(n, ip if i == 0 else None, mac if i == 0 else None) for i, n in enumerate(chosen)]
    else:
        mine = tx.find(
            Network,
            Network.c.account_id == owner.account_id,
            Network.c.zone_id == zone.id,
            Network.c.state != "Destroy",
            limit=2,
        )
        if len(mine) != 1:
            raise Invalid(
                "Give networkids: the account has " + ("several networks" if mine else "no network") + " in this zone.",
                parameter="networkids",
            )
        out = [(mine[0], ip, mac)]
    seen = set()
    for network, _, _ in out:
        if network.zone_id != zone.id:
            raise Invalid(f"The network {network.name} is in another zone.", parameter="networkids")
        if network.account_id != owner.account_id:
            raise Denied(f"The network {network.name} belongs to another account.", parameter="networkids")
        if network.state == "Destroy":
            raise Conflict(f"The network {network.name} is being deleted.", networkid=network.id)
        if network.id in seen:
            raise Invalid(f"The network {network.name} is named twice.", parameter="networkids")
        seen.add(network.id)
    return out


def add_nic(tx: Tx, vm: VirtualMachine, device: int, network: Network, ip: str | None, mac: str | None) -> Nic:
    """Give a machine a network card with an address of the network; NoCapacity when none is free."""
    block = network.net
    gateway = int(net.ip(network.gateway))
    first, last = int(block.network_address) + 1, int(block.broadcast_address) - 1
    if network.start_ip:
        first, last = net.span(network.start_ip, network.end_ip, block)
    if mac is not None and not _is_mac(mac):
        raise Invalid(
            f"'{mac[:40]}' is not a MAC address that a machine may have; write it like 02:00:0a:00:00:01.",
            parameter="macaddress",
        )
    if ip is not None:
        number = int(net.ip(ip, "ipaddress"))
        if not first <= number <= last or number == gateway:
            raise Invalid(
                f"{ip} is not an address that machines of the network {network.name} may have.", parameter="ipaddress"
            )
        candidates = iter([number])
    else:
        candidates = _free(tx, network.id, first, last, gateway)
    for number in candidates:
        row = Nic(
            machine_id=vm.id,
            network_id=network.id,
            ip=net.dotted(number),
            mac=(mac or net.mac(random.getrandbits(40))).lower(),
            host_name=vm.name.lower(),
            device=device,
            is_default=device == 0,
        )
        if tx.add_free(row):
            networks.bump(tx, network.id)
            return row
        free_name(tx, network, vm.name)
        if ip is not None:
            raise Conflict(f"The address {ip} of the network {network.name} is taken.", ip=ip)
        if mac is not None and tx.first(Nic, Nic.c.network_id == network.id, Nic.c.mac == row.mac) is not None:
            raise Conflict(f"The MAC address {row.mac} is taken in the network {network.name}.", macaddress=row.mac)
    raise NoCapacity(
        f"The network {network.name} has no free address left ({network.cidr}).",
        public=f"The network {network.name} has no free address left.",
    )


def free_name(tx: Tx, network: Network, name: str) -> None:
    """Refuse a host name that another machine of the network has."""
    if tx.first(Nic, Nic.c.network_id == network.id, Nic.c.host_name == name.lower()) is not None:
        raise Conflict(
            f"A machine with the host name {name} is on the network {network.name} already, and its DNS can know only one "
            "by that name; choose another.",
            name=name,
            networkid=network.id,
        )


def _free(tx: Tx, network_id: str, first: int, last: int, gateway: int) -> Any:
    """Addresses of a network in random order, so that parallel deploys do not want the same one: a few guesses, then those free."""
    size = last - first + 1
    for _ in range(GUESSES):
        number = first + random.randrange(size)
        if number != gateway:
            yield number
    used = {int(net.ip(i)) for i in tx.execute(sa.select(Nic.c.ip).where(Nic.c.network_id == network_id)).scalars()}
    used.add(gateway)
    rest = [n for n in range(first, min(last, first + 65535) + 1) if n not in used]
    random.shuffle(rest)
    yield from rest


def _is_mac(word: str) -> bool:
    parts = word.split(":")
    return (
        len(parts) == 6
        and all(len(p) == 2 and all(c in "0123456789abcdefABCDEF" for c in p) for p in parts)
        and not int(parts[0], 16) & 1
    )


PLAN_FIELDS = (
    Field("candidate", "list"),
    Field("accepted", "integer"),
    Field("rejected", "integer"),
    Field("reasons", "map"),
    Field("quota", "map"),
)


@command("findDeploymentPlan", shape="object", key="deploymentplan", reads=True, fields=PLAN_FIELDS)
def find_plan(
    ctx: Ctx,
    owner: Owner,
    serviceofferingid: ServiceOffering,
    zoneid: Zone,
    templateid: Template,
    details: Details | None = None,
    hostid: Host | None = None,
    clusterid: Cluster | None = None,
    podid: Pod | None = None,
    deploymentplanner: str | None = None,
    rootdisksize: Long | None = None,
    overridediskofferingid: DiskOffering | None = None,
) -> dict[str, Any]:
    """Says where a machine would run, and for every host that would not do, why. Tenants get counts without names.

    overridediskofferingid: disk offering for the root disk
    """
    tx = ctx.tx
    _check_place(ctx, zoneid, serviceofferingid, templateid, None)
    cores, mhz, memory = _sizes(serviceofferingid, details)
    disk = _root(tx, serviceofferingid, templateid, rootdisksize, overridediskofferingid)
    need = Need(
        zone_id=zoneid.id,
        hypervisor=templateid.hypervisor,
        arch=templateid.arch,
        cores=cores,
        mhz=mhz,
        memory=memory * MIB,
        account_id=owner.account_id,
        planner=deploymentplanner,
        tags=tuple(t for t in (_tags(serviceofferingid, templateid) or "").split(",") if t),
        host_id=hostid.id if hostid else None,
        cluster_id=clusterid.id if clusterid else None,
        pod_id=podid.id if podid else None,
        disks=(disk,),
    )
    tags = {"host_tags": _tags(serviceofferingid, templateid), "storage_tags": disk.tags}
    verdicts = placement.explain(tx, need)
    counts: dict[str, int] = {}
    for v in verdicts:
        reasons: Any = v["reason"]
        for reason in reasons:
            counts[reason["code"]] = counts.get(reason["code"], 0) + 1
    accepted = sum(1 for v in verdicts if v["accepted"])
    body: dict[str, Any] = {
        "accepted": accepted,
        "rejected": len(verdicts) - accepted,
        "reasons": counts,
        "quota": _quota(tx, owner, cores, memory, disk.size, tags),
    }
    if ctx.caller.root or ctx.caller.internal:
        body["candidate"] = sorted(verdicts, key=lambda v: (not v["accepted"], -int(str(v["score"]))))
    return {"deploymentplan": body}


def _quota(tx: Tx, owner: Owner, cores: int, memory: int, size: int, tags: dict[str, str | None]) -> dict[str, Any]:
    try:
        limits.check(
            tx,
            owner.account,
            host_tags=tags["host_tags"],
            storage_tags=tags["storage_tags"],
            user_vm=1,
            cpu=cores,
            memory=memory,
            volume=1,
            primary_storage=size,
        )
    except OverLimit as no:
        return {"fits": False, "reason": no.text}
    return {"fits": True}


failing("USERVM", CreateVm, text="Could not deploy machine", new="deployVirtualMachine")
