"""Offerings: what machines and disks may be like. Compute offerings and disk offerings, defaults included."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Details, Long, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, Offered, condition
from mold.base.errors import Denied, Invalid, NotFound
from mold.base.units import GIB
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Project
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.store import Resource, Tx, column, created
from mold.store.resource import Json

CORES_MAX = setting(
    "vm.serviceoffering.cpu.cores.max", 0, "Most cores of a compute offering; 0: no limit of its own.", low=0, unit="cores"
)
MEMORY_MAX = setting(
    "vm.serviceoffering.ram.size.max", 0, "Most memory of a compute offering; 0: no limit of its own.", low=0, unit="MiB"
)
VOLUME_MAX = setting(
    "storage.max.volume.size",
    2000,
    "Largest volume that may be made.",
    category="Storage",
    low=1,
    high=65536,
    unit="GiB",
    shape="Long",
)
RATES = ("bytesreadrate", "byteswriterate", "iopsreadrate", "iopswriterate")
BURSTS = {f"{r}{s}:long": "not offered yet; give the plain rate" for r in RATES for s in ("max", "maxlength")}


class DiskOffering(Resource):
    """A disk offering. `disksize` in GiB; 0 with `is_customized`."""

    kind = "diskoffering"
    steady = True
    title = "disk offering"
    appears = {"diskofferingid": "id", "diskofferingname": "name", "diskofferingdisplaytext": "displaytext"}
    policy = Offered()

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", keyword=True)
    disksize: int = column(default=0)
    is_customized: bool = column(default=False)
    provisioning_type: str = column(default="thin")
    storage_type: str = column(default="shared", filter=True)
    tags: str | None = column(default=None)
    cache_mode: str = column(default="none", api="cacheMode")
    bytesreadrate: int | None = column(default=None, api="diskBytesReadRate")
    byteswriterate: int | None = column(default=None, api="diskBytesWriteRate")
    iopsreadrate: int | None = column(default=None, api="diskIopsReadRate")
    iopswriterate: int | None = column(default=None, api="diskIopsWriteRate")
    displayoffering: bool = column(default=True)
    state: str = column(default="Active", filter=True)
    domain_ids: str | None = column(default=None, hidden=True)
    zone_ids: str | None = column(default=None, hidden=True)
    details: dict[str, str] | None = column(default=None)
    sortkey: int = column(default=0, hidden=True)
    created: str = created()


class ServiceOffering(Resource):
    """A compute offering. `memory` in MiB, `cpuspeed` in MHz."""

    kind = "serviceoffering"
    steady = True
    title = "compute offering"
    appears = {"serviceofferingid": "id", "serviceofferingname": "name"}
    policy = Offered()

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", keyword=True)
    cpunumber: int | None = column(default=None, kind="integer")
    cpuspeed: int | None = column(default=None, kind="integer")
    memory: int | None = column(default=None, kind="integer")
    is_customized: bool = column(default=False)
    limits: dict[str, int] | None = column(default=None, hidden=True)
    offer_ha: bool = column(default=False)
    limit_cpu_use: bool = column(default=False)
    is_volatile: bool = column(default=False)
    storage_type: str = column(default="shared", filter=True)
    provisioning_type: str = column(default="thin")
    root_disk_size: int | None = column(default=None, doc="GiB")
    storage_tags: str | None = column(default=None)
    host_tags: str | None = column(default=None)
    network_rate: int | None = column(default=None, kind="integer")
    deployment_planner: str | None = column(default=None)
    cache_mode: str = column(default="none", api="cacheMode")
    bytesreadrate: int | None = column(default=None, api="diskBytesReadRate")
    byteswriterate: int | None = column(default=None, api="diskBytesWriteRate")
    iopsreadrate: int | None = column(default=None, api="diskIopsReadRate")
    iopswriterate: int | None = column(default=None, api="diskIopsWriteRate")
    is_system: bool = column(default=False, filter=True)
    system_vm_type: str | None = column(default=None, filter=True)
    default_use: bool = column(default=False)
    dynamic_scaling_enabled: bool = column(default=True)
    state: str = column(default="Active", filter=True)
    domain_ids: str | None = column(default=None, hidden=True)
    zone_ids: str | None = column(default=None, hidden=True)
    serviceofferingdetails: dict[str, str] | None = column(default=None)
    sortkey: int = column(default=0, hidden=True)
    created: str = created()


def words(tags: str | None) -> set[str]:
    """Tags out of their comma separated text."""
    return {t.strip() for t in (tags or "").split(",") if t.strip()}


def as_list(rows: list[Any] | None) -> str | None:
    """Ids of rows as the JSON text that policies search."""
    return Json().process_bind_param([r.id for r in rows], None) if rows else None  # type: ignore[arg-type]


def ids_of(text: str | None) -> list[str]:
    """Ids out of such a text."""
    return Json().process_result_value(text, None) if text else []  # type: ignore[arg-type]


def places(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    """For which domains and zones offerings are, as answers show it."""
    domains = tx.among(Domain, [d for r in rows for d in ids_of(r.domain_ids)])
    zones = tx.among(Zone, [z for r in rows for z in ids_of(r.zone_ids)])
    out: dict[str, dict[str, Any]] = {}
    for r in rows:
        ds, zs = (
            [domains[d] for d in ids_of(r.domain_ids) if d in domains],
            [zones[z] for z in ids_of(r.zone_ids) if z in zones],
        )
        out[r.id] = {
            "domainid": ",".join(d.id for d in ds) or None,
            "domain": ",".join(d.path for d in ds) or None,
            "zoneid": ",".join(z.id for z in zs) or None,
            "zone": ",".join(z.name for z in zs) or None,
        }
    return out


PLACE_FIELDS = (Field("domainid"), Field("domain"), Field("zoneid"), Field("zone"))
shown(DiskOffering, *PLACE_FIELDS)(places)
shown(ServiceOffering, *PLACE_FIELDS)(places)
NEITHER = ("iscustomizediops", "hasannotations")
"""What no offering has yet."""
NO_DISK = (*NEITHER, "disksizestrictness", "encrypt")
NO_SERVICE = (*NEITHER, "diskofferingstrictness", "encryptroot", "purgeresources", "gpudisplay")
shown(DiskOffering, *(Field(n, "boolean") for n in NO_DISK))(
    lambda tx, rows, caller: {r.id: dict.fromkeys(NO_DISK, False) for r in rows}
)
shown(ServiceOffering, *(Field(n, "boolean") for n in NO_SERVICE))(
    lambda tx, rows, caller: {r.id: dict.fromkeys(NO_SERVICE, False) for r in rows}
)


def offered_to(kind: Any, trail: str) -> Any:
    """Condition for offerings that are everybody's, or for a domain on this trail."""
    from mold.api.permit import domain_table

    d = domain_table()
    chain = sa.exists(
        sa.select(1).where(
            sa.literal(trail).like(d.c.trail.concat("%")),
            sa.cast(kind.c.domain_ids, sa.Text).like(sa.literal("%").concat(d.c.id).concat("%")),
        )
    )
    return sa.or_(kind.c.domain_ids.is_(None), chain)


def for_whom(
    q: Query, kind: Any, domainid: Domain | None, account: str | None, projectid: Any, isrecursive: bool | None
) -> None:
    """Narrow a list of offerings: made for a domain (and those below it), or usable by an account or project."""
    if account is not None:
        of = domainid.id if domainid else q.ctx.caller.domain_id
        found = q.tx.first(
            Account, Account.c.name == account, Account.c.domain_id == of, condition(Account, q.ctx.caller, "see")
        )
        if found is None:
            raise NotFound(f"There is no account {account} in this domain, or you may not see it.", account=account)
        q.where(offered_to(kind, q.tx.one(Domain, found.domain_id).trail))
    elif domainid is not None:
        these = [domainid]
        if isrecursive:
            these = q.tx.find(Domain, Domain.c.trail.startswith(domainid.trail, autoescape=True))
        q.where(sa.or_(*(kind.c.domain_ids.contains(d.id, autoescape=True) for d in these)))
    if projectid not in (None, "-1"):
        q.where(offered_to(kind, q.tx.one(Domain, projectid.domain_id).trail))


def _usable(q: Query, kind: Any, zoneid: Zone | None, state: str | None) -> None:
    if zoneid is not None:
        q.where(kind.c.zone_ids.is_(None) | kind.c.zone_ids.contains(zoneid.id, autoescape=True))
    if state is None or not q.ctx.caller.root:
        q.where(kind.c.state == "Active")
    elif state.lower() != "all":
        q.where(kind.c.state == state.capitalize())
    q.order = [kind.c.sortkey, kind.c.number]


Places = Annotated[str | None, Param(length=4096)]


def placed(ctx: Ctx, domains: str | None, zones: str | None) -> dict[str, Any]:
    """The changed columns of an offering that is to be for these domains and zones."""
    from mold.api.lists import permitted

    changes: dict[str, Any] = {}
    for text, everything, kind, column_ in (
        (domains, "public", Domain, "domain_ids"),
        (zones, "all", Zone, "zone_ids"),
    ):
        if text is None:
            continue
        if text.strip().lower() == everything:
            if column_ == "domain_ids":
                check_owner(ctx, None)
            changes[column_] = None
            continue
        ids = [i.strip() for i in text.split(",") if i.strip()]
        if not ids:
            raise Invalid(f"Give ids, or {everything}.", parameter=column_.replace("_ids", "id"))
        changes[column_] = as_list([permitted(ctx.tx, kind, ctx.caller, i) for i in ids])
    return changes


def check_owner(ctx: Ctx, domains: list[Domain] | None) -> None:
    """A domain admin offers things to her own domains only, not to everybody."""
    if ctx.caller.role.value == "DomainAdmin" and not domains:
        raise Denied(
            "Say for which of your domains the offering is (domainid); only root admins offer to everybody.",
            parameter="domainid",
        )


@lists(
    "listServiceOfferings",
    ServiceOffering,
    refused={"encryptroot:boolean": LATER, "gpuenabled:boolean": LATER, "vgpuprofileid:uuid": LATER},
)
def _service(
    q: Query,
    zoneid: Zone | None = None,
    domainid: Domain | None = None,
    issystem: bool = False,
    state: str | None = None,
    cpunumber: int | None = None,
    cpuspeed: int | None = None,
    memory: int | None = None,
    account: str | None = None,
    projectid: Project | None = None,
    listall: bool | None = None,
    isrecursive: bool | None = None,
    templateid: Annotated[Resource | None, Param(of="template")] = None,
    virtualmachineid: Annotated[Resource | None, Param(of="virtualmachine")] = None,
) -> None:
    """Lists compute offerings.

    account: offerings that this account may use
    projectid: offerings that this project may use
    domainid: offerings made for this domain
    listall: what happens anyhow: offerings belong to no account
    templateid: offerings whose root disk has room for this template
    issystem: offerings of the cloud's own machines
    cpunumber: at least so many cores
    cpuspeed: at least so many MHz
    memory: at least so many MiB
    virtualmachineid: only offerings that this machine could change to
    """
    c = ServiceOffering.c
    q.where(c.is_system == (issystem and q.ctx.caller.root))
    _usable(q, ServiceOffering, zoneid, state)
    for_whom(q, ServiceOffering, domainid, account, projectid, isrecursive)
    if templateid is not None:
        q.where(c.root_disk_size.is_(None) | (c.root_disk_size * GIB >= templateid.__dict__["size"]))
    if virtualmachineid is not None:
        now = q.tx.one(ServiceOffering, virtualmachineid.__dict__["service_offering_id"])
        q.where(c.id != now.id, c.storage_type == now.storage_type, c.state == "Active")
        if virtualmachineid.__dict__["state"] == "Running":
            q.where(sa.false())  # a running machine keeps its size: scaling it is not offered yet
    for col, low in ((c.cpunumber, cpunumber), (c.cpuspeed, cpuspeed), (c.memory, memory)):
        if low is not None:
            q.where((col >= low) | col.is_(None))


@command(
    "createServiceOffering",
    roles=ADMINS,
    answers=ServiceOffering,
    event="SERVICE.OFFERING.CREATE",
    refused={
        **BURSTS,
        "customizediops:boolean": LATER,
        "miniops:long": LATER,
        "maxiops:long": LATER,
        "hypervisorsnapshotreserve:integer": LATER,
        "isvolatile:boolean": "not offered yet: a machine keeps its root disk over restarts",
        "diskofferingid:uuid": LATER,
        "diskofferingstrictness:boolean": LATER,
        "encryptroot:boolean": LATER,
        "externaldetails:map": LATER,
        "gpucount:integer": LATER,
        "gpudisplay:boolean": LATER,
        "vgpuprofileid:uuid": LATER,
        "leaseduration:integer": LATER,
        "leaseexpiryaction:string": LATER,
        "purgeresources:boolean": LATER,
        "storagepolicy:uuid": "for VMware, which is not offered yet",
    },
)
def create_service(
    ctx: Ctx,
    name: str,
    displaytext: str | None = None,
    cpunumber: int | None = None,
    cpuspeed: int | None = None,
    memory: int | None = None,
    customized: bool | None = None,
    mincpunumber: int | None = None,
    maxcpunumber: int | None = None,
    minmemory: int | None = None,
    maxmemory: int | None = None,
    offerha: bool = False,
    limitcpuuse: bool = False,
    storagetype: Literal["shared", "local"] = "shared",
    provisioningtype: Literal["thin", "sparse", "fat"] = "thin",
    rootdisksize: Long | None = None,
    tags: str | None = None,
    hosttags: str | None = None,
    networkrate: int | None = None,
    deploymentplanner: str | None = None,
    cachemode: Literal["none", "writeback", "writethrough"] = "none",
    bytesreadrate: Long | None = None,
    byteswriterate: Long | None = None,
    iopsreadrate: Long | None = None,
    iopswriterate: Long | None = None,
    issystem: bool = False,
    systemvmtype: str | None = None,
    domainid: list[Domain] | None = None,
    zoneid: list[Zone] | None = None,
    dynamicscalingenabled: bool = True,
    serviceofferingdetails: Details | None = None,
) -> ServiceOffering:
    """Creates a compute offering.

    cpunumber: number of cores
    cpuspeed: MHz of each core
    memory: MiB
    customized: cores, speed and memory are chosen at deploy
    rootdisksize: GiB of the root disk, instead of the template's size
    tags: storage tags, comma separated
    hosttags: host tags, comma separated
    networkrate: Mbit/s of each network card
    """
    check_owner(ctx, domainid)
    custom = bool(customized) or (customized is None and cpunumber is None and memory is None)
    if custom:
        if cpunumber is not None and memory is not None and customized:
            raise Invalid(
                "A customized offering leaves cpunumber and memory to the deploy; give minimum and maximum instead.",
                parameter="customized",
            )
    elif cpunumber is None or memory is None or cpuspeed is None:
        raise Invalid("A fixed offering needs cpunumber, cpuspeed and memory.", parameter="cpunumber")
    for label, number, low, high in (
        ("cpunumber", cpunumber, 1, CORES_MAX.get(ctx.tx) or 1024),
        ("cpuspeed", cpuspeed, 0, 100_000),
        ("memory", memory, 32, MEMORY_MAX.get(ctx.tx) or 64 * 1024 * 1024),
        ("rootdisksize", rootdisksize, 1, VOLUME_MAX.get(ctx.tx)),
    ):
        if number is not None and not low <= number <= high:
            raise Invalid(f"{label} must lie between {low} and {high}.", parameter=label)
    limits = {
        k: v
        for k, v in {
            "mincpunumber": mincpunumber,
            "maxcpunumber": maxcpunumber,
            "minmemory": minmemory,
            "maxmemory": maxmemory,
        }.items()
        if v is not None
    }
    return ctx.tx.add(
        ServiceOffering(
            name=name,
            displaytext=displaytext or name,
            cpunumber=cpunumber,
            cpuspeed=cpuspeed,
            memory=memory,
            is_customized=custom,
            limits=limits or None,
            offer_ha=offerha,
            limit_cpu_use=limitcpuuse,
            storage_type=storagetype,
            provisioning_type=provisioningtype,
            root_disk_size=rootdisksize,
            storage_tags=tags,
            host_tags=hosttags,
            network_rate=networkrate,
            deployment_planner=deploymentplanner,
            cache_mode=cachemode,
            bytesreadrate=bytesreadrate,
            byteswriterate=byteswriterate,
            iopsreadrate=iopsreadrate,
            iopswriterate=iopswriterate,
            is_system=issystem,
            system_vm_type=systemvmtype,
            domain_ids=as_list(domainid),
            zone_ids=as_list(zoneid),
            dynamic_scaling_enabled=dynamicscalingenabled,
            serviceofferingdetails=serviceofferingdetails,
        )
    )


@command(
    "updateServiceOffering",
    roles=ADMINS,
    answers=ServiceOffering,
    event="SERVICE.OFFERING.EDIT",
    refused={
        "cleanupexternaldetails:boolean": LATER,
        "externaldetails:map": LATER,
        "purgeresources:boolean": LATER,
    },
)
def update_service(
    ctx: Ctx,
    id: ServiceOffering,
    name: str | None = None,
    displaytext: str | None = None,
    sortkey: int | None = None,
    hosttags: str | None = None,
    storagetags: str | None = None,
    state: Literal["Active", "Inactive"] | None = None,
    domainid: Places = None,
    zoneid: Places = None,
) -> ServiceOffering:
    """Changes a compute offering's names, tags and state, and for whom it is.

    domainid: ids of domains, comma separated; public: for everybody
    zoneid: ids of zones, comma separated; all: for every zone
    storagetags: storage tags, comma separated
    hosttags: host tags, comma separated
    """
    changes = {
        "name": name,
        "displaytext": displaytext,
        "sortkey": sortkey,
        "host_tags": hosttags,
        "storage_tags": storagetags,
        "state": state,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    return ctx.tx.set(id, **changes, **placed(ctx, domainid, zoneid))


@command("deleteServiceOffering", roles=ADMINS, event="SERVICE.OFFERING.DELETE")
def delete_service(ctx: Ctx, id: ServiceOffering) -> None:
    """Deletes a compute offering that no machine uses; one that is used becomes inactive."""
    _retire(ctx, id)


def _retire(ctx: Ctx, row: Any) -> None:
    from mold.base.errors import InUse

    try:
        ctx.tx.remove(row)
    except InUse:
        ctx.tx.set(row, state="Inactive")


@lists(
    "listDiskOfferings",
    DiskOffering,
    refused={
        "encrypt:boolean": LATER,
        "virtualmachineid:uuid": "not offered yet: data disks come with volumes",
        "volumeid:uuid": "not offered yet: changing a disk's offering comes with volumes",
    },
)
def _disk(
    q: Query,
    zoneid: Zone | None = None,
    domainid: Domain | None = None,
    state: str | None = None,
    account: str | None = None,
    projectid: Project | None = None,
    listall: bool | None = None,
    isrecursive: bool | None = None,
    storageid: Annotated[Resource | None, Param(of="storagepool")] = None,
) -> None:
    """Lists disk offerings.

    account: offerings that this account may use
    projectid: offerings that this project may use
    domainid: offerings made for this domain
    listall: what happens anyhow: offerings belong to no account
    storageid: offerings whose disks this primary storage takes
    """
    _usable(q, DiskOffering, zoneid, state)
    for_whom(q, DiskOffering, domainid, account, projectid, isrecursive)
    if storageid is not None:
        pool = storageid.__dict__
        has = words(pool["tags"])
        fits = [o.id for o in q.tx.find(DiskOffering) if words(o.tags) <= has]
        q.where(
            DiskOffering.c.id.in_(fits),
            DiskOffering.c.storage_type == ("local" if pool["scope"] == "HOST" else "shared"),
        )
    if not q.ctx.caller.root:
        q.where(DiskOffering.c.displayoffering)


@command(
    "createDiskOffering",
    roles=ADMINS,
    answers=DiskOffering,
    event="DISK.OFFERING.CREATE",
    refused={
        **BURSTS,
        "customizediops:boolean": LATER,
        "miniops:long": LATER,
        "maxiops:long": LATER,
        "hypervisorsnapshotreserve:integer": LATER,
        "disksizestrictness:boolean": LATER,
        "encrypt:boolean": LATER,
        "storagepolicy:uuid": "for VMware, which is not offered yet",
    },
)
def create_disk(
    ctx: Ctx,
    name: str,
    displaytext: Annotated[str | None, Param(length=4096)] = None,
    disksize: Long | None = None,
    customized: bool = False,
    tags: Annotated[str | None, Param(length=4096)] = None,
    storagetype: Literal["shared", "local"] = "shared",
    provisioningtype: Literal["thin", "sparse", "fat"] = "thin",
    cachemode: Literal["none", "writeback", "writethrough"] = "none",
    bytesreadrate: Long | None = None,
    byteswriterate: Long | None = None,
    iopsreadrate: Long | None = None,
    iopswriterate: Long | None = None,
    displayoffering: bool = True,
    domainid: list[Domain] | None = None,
    zoneid: list[Zone] | None = None,
    details: Details | None = None,
) -> DiskOffering:
    """Creates a disk offering.

    disksize: GiB
    customized: the size is chosen when a disk is made
    """
    check_owner(ctx, domainid)
    most = VOLUME_MAX.get(ctx.tx)
    if not customized and (disksize is None or not 1 <= disksize <= most):
        raise Invalid(
            f"A fixed disk offering needs disksize, 1 to {most} GiB (storage.max.volume.size).", parameter="disksize"
        )
    return ctx.tx.add(
        DiskOffering(
            name=name,
            displaytext=displaytext or name,
            disksize=0 if customized else disksize or 0,
            is_customized=customized,
            tags=tags,
            storage_type=storagetype,
            provisioning_type=provisioningtype,
            cache_mode=cachemode,
            bytesreadrate=bytesreadrate,
            byteswriterate=byteswriterate,
            iopsreadrate=iopsreadrate,
            iopswriterate=iopswriterate,
            displayoffering=displayoffering,
            domain_ids=as_list(domainid),
            zone_ids=as_list(zoneid),
            details=details,
        )
    )


@command(
    "updateDiskOffering",
    roles=ADMINS,
    answers=DiskOffering,
    event="DISK.OFFERING.EDIT",
    refused=BURSTS,
)
def update_disk(
    ctx: Ctx,
    id: DiskOffering,
    name: str | None = None,
    displaytext: Annotated[str | None, Param(length=4096)] = None,
    sortkey: int | None = None,
    displayoffering: bool | None = None,
    tags: str | None = None,
    cachemode: Literal["none", "writeback", "writethrough"] | None = None,
    bytesreadrate: Long | None = None,
    byteswriterate: Long | None = None,
    iopsreadrate: Long | None = None,
    iopswriterate: Long | None = None,
    state: Literal["Active", "Inactive"] | None = None,
    domainid: Places = None,
    zoneid: Places = None,
) -> DiskOffering:
    """Changes a disk offering, and for whom it is.

    domainid: ids of domains, comma separated; public: for everybody
    zoneid: ids of zones, comma separated; all: for every zone
    """
    changes: dict[str, Any] = {
        "name": name,
        "displaytext": displaytext,
        "sortkey": sortkey,
        "displayoffering": displayoffering,
        "tags": tags,
        "cache_mode": cachemode,
        "bytesreadrate": bytesreadrate,
        "byteswriterate": byteswriterate,
        "iopsreadrate": iopsreadrate,
        "iopswriterate": iopswriterate,
        "state": state,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    return ctx.tx.set(id, **changes, **placed(ctx, domainid, zoneid))


@command("deleteDiskOffering", roles=ADMINS, event="DISK.OFFERING.DELETE")
def delete_disk(ctx: Ctx, id: DiskOffering) -> None:
    """Deletes a disk offering that no disk uses; one that is used becomes inactive."""
    _retire(ctx, id)


def defaults(tx: Tx) -> None:
    """The offerings of a new installation."""
    for name, mhz, mib in (("Small Instance", 500, 512), ("Medium Instance", 1000, 1024)):
        tx.add(ServiceOffering(name=name, displaytext=name, cpunumber=1, cpuspeed=mhz, memory=mib, default_use=False))
    for name, gib in (("Small", 5), ("Medium", 20), ("Large", 100)):
        tx.add(DiskOffering(name=name, displaytext=f"{name} Disk, {gib} GB", disksize=gib))
    tx.add(DiskOffering(name="Custom", displaytext="Custom Disk", is_customized=True))


def root_size(offering: ServiceOffering, template_size: int, asked_gib: int | None) -> int:
    """Bytes of a root disk: what was asked, else the offering's, else the template's; never less than the template."""
    wanted = (asked_gib or offering.root_disk_size or 0) * GIB
    if wanted and wanted < template_size:
        raise Invalid(
            f"The root disk cannot be smaller than the template ({template_size / GIB:.2f} GiB).",
            parameter="rootdisksize",
        )
    return wanted or template_size
