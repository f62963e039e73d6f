"""Primary storage: where the disks of machines lie. A directory of one host, or one that all hosts of a cluster mount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Details, Param, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import ADMINS, OPERATORS, ROOT, Infra
from mold.base import net, units
from mold.base.errors import Conflict, Failed, InUse, Invalid, NoCapacity, Unreachable
from mold.base.states import machine
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.capacity import Amount, gauge
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import words
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.store import Prepared, Resource, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import Operation, ask, look, operation, reconciler, step
from mold.work import change as write

MEASURE = setting(
    "storage.stats.interval",
    60000,
    "Milliseconds between looks at how full primary storage is.",
    category="Storage",
    low=5000,
    unit="milliseconds",
)
OVERCOMMIT = setting(
    "storage.overprovisioning.factor",
    2.0,
    "How often thin primary storage may be promised.",
    category="Storage",
    scopes=("storage",),
    low=1,
    shape="Double",
)
USED_LIMIT = setting(
    "pool.storage.capacity.disablethreshold",
    0.85,
    "Share of a pool that may be in use before nothing new is put there.",
    category="Alert",
    scopes=("zone", "storage"),
    low=0,
    shape="Double",
)
ALLOCATED_LIMIT = setting(
    "pool.storage.allocated.capacity.disablethreshold",
    0.85,
    "Share of a pool's promised size that may be given out.",
    category="Alert",
    scopes=("zone", "storage"),
    low=0,
    shape="Double",
)


class StoragePool(Resource):
    """A primary storage. `reserved` bytes are promised to volumes."""

    kind = "storagepool"
    title = "primary storage"
    unique = (("zone_id", "name"),)
    appears = {"storageid": "id", "storage": "name"}
    policy = Infra()
    states = machine(
        "Initialized",
        mounted="Initialized>Up",
        gone="Initialized|Up|Maintenance>Removed",
        maintain="Up>PrepareForMaintenance",
        maintained="PrepareForMaintenance>Maintenance",
        resume="Maintenance|PrepareForMaintenance>Up",
    )

    zone_id: str = refers("zone")
    pod_id: str | None = refers("pod", default=None)
    cluster_id: str | None = refers("cluster", default=None)
    host_id: str | None = refers("host", default=None, hidden=True)
    name: str = column(filter=True, keyword=True)
    type: str = column()
    scope: str = column(filter=True)
    path: str = column(filter=True)
    ip_address: str = column(default="localhost", filter=True)
    hypervisor: str = column(default="KVM")
    provider: str = column(default="DefaultPrimary")
    tags: str | None = column(default=None)
    state: str = column(default="Initialized", kind="storagepoolstatus")
    disk_size_total: int = column(default=0)
    disk_size_used: int = column(default=0)
    reserved: int = column(default=0, api="disksizeallocated")
    capacity_iops: int | None = column(default=None)
    details: dict[str, str] | None = column(default=None)
    created: str = created()

    def spec(self) -> w.PoolSpec:
        """What a host needs to know to mount it."""
        return w.PoolSpec(id=self.id, type=self.type, path=self.path, details=self.details or {})


@shown(
    StoragePool,
    Field("overprovisionfactor"),
    Field("capacitybytes", "long"),
    Field("managed", "boolean"),
    Field("istagarule", "boolean"),
    Field("storagecapabilities", "map"),
    Field("hasannotations", "boolean"),
)
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        p.id: {
            "overprovisionfactor": str(OVERCOMMIT.get(tx, storage=p.id)),
            "capacitybytes": p.disk_size_total,
            "managed": False,
            "istagarule": False,
            "storagecapabilities": {"VOLUME_SNAPSHOT_QUIESCEVM": "false"},
            "hasannotations": False,
        }
        for p in rows
    }


@gauge
def _primary(tx: Tx) -> list[Amount]:
    out = []
    for p in tx.find(StoragePool, StoragePool.c.state.in_(("Up", "Disabled"))):
        if p.scope == "HOST":
            out.append(Amount(9, p.zone_id, p.pod_id, p.cluster_id, p.disk_size_used, p.disk_size_total))
            continue
        total = int(p.disk_size_total * OVERCOMMIT.get(tx, storage=p.id))
        out.append(Amount(2, p.zone_id, p.pod_id, p.cluster_id, p.disk_size_used, p.disk_size_total))
        out.append(Amount(3, p.zone_id, p.pod_id, p.cluster_id, p.reserved, total))
    return out


@command("listStorageTags", roles=ADMINS, shape="list", key="storagetag", reads=True, fields=(Field("name"),))
def list_tags(
    ctx: Ctx, keyword: str | None = None, page: int | None = None, pagesize: int | None = None
) -> dict[str, Any]:
    """Lists the tags that primary storages have."""
    query = sa.select(StoragePool.c.tags).where(StoragePool.c.tags.is_not(None)).distinct()
    names = sorted({t for tags in ctx.tx.execute(query).scalars() for t in words(tags)})
    rows = [{"name": n} for n in names if keyword is None or keyword.lower() in n.lower()]
    return paged("storagetag", rows, page, pagesize)


@lists(
    "listStoragePools",
    StoragePool,
    roles=OPERATORS,
    refused={"storageaccessgroup:string": LATER, "storagecustomstats:boolean": LATER},
)
def _list(q: Query, hostid: Host | None = None, status: str | None = None) -> None:
    """Lists primary storages.

    status: the state
    hostid: those that this host can use
    """
    c = StoragePool.c
    if status is not None:
        q.where(c.state == status)
    if hostid is not None:
        q.where(usable_on(hostid))


def usable_on(host: Host) -> Any:
    """Condition for pools that a host can use."""
    c = StoragePool.c
    return sa.and_(
        c.zone_id == host.zone_id,
        sa.or_(
            c.scope == "ZONE",
            sa.and_(c.scope == "CLUSTER", c.cluster_id == host.cluster_id),
            sa.and_(c.scope == "HOST", c.host_id == host.id),
        ),
    )


@operation
class MountStorage(Operation):
    """Mount a new primary storage on the hosts that will use it and measure it."""

    locks = ("pool",)
    answers = (StoragePool, "pool")
    patience = 10
    pool: str

    @step
    def begin(self, tx: Tx) -> None:
        """Apart from the choice of hosts, so that the row goes when there is none."""
        tx.one(StoragePool, self.pool)

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        pool = tx.get(StoragePool, self.pool)
        if pool is not None:
            tx.remove(pool)

    @step
    def choose(self, tx: Tx) -> list[str]:
        pool = tx.one(StoragePool, self.pool)
        where = [Host.c.zone_id == pool.zone_id, Host.c.state == "Up", Host.c.hypervisor == pool.hypervisor]
        if pool.scope == "CLUSTER":
            where.append(Host.c.cluster_id == pool.cluster_id)
        if pool.scope == "HOST":
            where.append(Host.c.id == pool.host_id)
        hosts = [h.id for h in tx.find(Host, *where, limit=20000)]
        if not hosts:
            raise Conflict("No host that could mount this storage is Up; add a host first.")
        # One host measures it at once; the others mount it when they first need it.
        return hosts[:1] if pool.hypervisor == "Simulator" else hosts

    @step
    async def mount(self, choose: list[str]) -> w.PoolFacts:
        spec = await look(lambda tx: tx.one(StoragePool, self.pool).spec())
        facts: w.PoolFacts | None = None
        for host in choose:
            facts = await ask(host, w.MountPool(pool=spec))
        if facts is None:
            raise Failed("No host mounted the storage.")
        return facts

    @mount.undo
    async def unmount(self, choose: list[str]) -> None:
        spec = await look(lambda tx: p.spec() if (p := tx.get(StoragePool, self.pool)) else None)
        if spec is not None:
            for host in choose:
                await ask(host, w.UnmountPool(pool=spec, force=False))

    @step
    def settle(self, tx: Tx, mount: w.PoolFacts) -> None:
        tx.move(tx.one(StoragePool, self.pool), "mounted", disk_size_total=mount.capacity, disk_size_used=mount.used)


SCHEMES = {"sharedmountpoint": "SharedMountPoint", "file": "SharedMountPoint", "filesystem": "Filesystem"}


@command(
    "createStoragePool",
    roles=ROOT,
    answers=StoragePool,
    waits=True,
    event="STORAGE.POOL.CREATE",
    refused={
        "istagarule:boolean": LATER,
        "storageaccessgroups:string": LATER,
        "managed:boolean": LATER,
        "capacitybytes:long": "measured by the host",
    },
)
def create(
    ctx: Ctx,
    name: str,
    url: str,
    zoneid: Zone,
    scope: Literal["CLUSTER", "ZONE", "HOST"] | None = None,
    podid: Pod | None = None,
    clusterid: Cluster | None = None,
    hypervisor: str | None = None,
    provider: Literal["DefaultPrimary"] = "DefaultPrimary",
    tags: str | None = None,
    capacityiops: Annotated[int | None, Param(kind="long", low=0)] = None,
    details: Details | None = None,
) -> StoragePool:
    """Adds a primary storage.

    url: SharedMountPoint://localhost/path (a directory that every host of the cluster mounts) or Filesystem://host/path (a host's own)
    scope: CLUSTER, ZONE or HOST
    provider: DefaultPrimary
    tags: storage tags, comma separated
    """
    parts = net.url(url)
    kind = SCHEMES.get(parts.scheme.lower())
    if kind is None:
        raise Invalid(
            f"Storage of the kind '{parts.scheme or url[:40]}' is not offered yet; give SharedMountPoint://localhost/path or Filesystem://host/path.",
            parameter="url",
        )
    path = parts.path.rstrip("/")
    if not path.startswith("/") or ".." in path.split("/") or len(path) < 2 or "//" in path:
        raise Invalid("The URL must hold the absolute path of a directory, without '..'.", parameter="url")
    chosen = scope or ("CLUSTER" if clusterid is not None else "ZONE")
    host = None
    if kind == "Filesystem":
        chosen = "HOST"
        host = ctx.tx.first(
            Host,
            Host.c.zone_id == zoneid.id,
            sa.or_(Host.c.name == parts.hostname, Host.c.ip_address == parts.hostname, Host.c.url == parts.hostname),
        )
        if host is None:
            raise Invalid(
                f"There is no host {parts.hostname or ''} in this zone; write Filesystem://host/path.", parameter="url"
            )
        clusterid, podid = ctx.tx.one(Cluster, host.cluster_id), ctx.tx.one(Pod, host.pod_id)
    elif chosen == "HOST":
        raise Invalid(
            "A shared directory is of a cluster or of the zone; for one host's own write Filesystem://host/path.",
            parameter="scope",
        )
    if chosen == "CLUSTER" and (clusterid is None or podid is None):
        raise Invalid("A cluster's storage needs podid and clusterid.", parameter="clusterid")
    if clusterid is not None and (
        clusterid.zone_id != zoneid.id or (podid is not None and clusterid.pod_id != podid.id)
    ):
        raise Invalid("The cluster is not in this pod and zone.", parameter="clusterid")
    if chosen == "ZONE" and not hypervisor:
        raise Invalid("A zone-wide storage needs hypervisor.", parameter="hypervisor")
    used = clusterid.hypervisor if clusterid else hypervisor
    if (
        ctx.tx.first(
            StoragePool,
            StoragePool.c.path == path,
            StoragePool.c.host_id == (host.id if host else None),
            StoragePool.c.zone_id == zoneid.id,
        )
        is not None
    ):
        raise Conflict(f"The directory {path} is a primary storage already.", path=path)
    made = ctx.tx.add(
        StoragePool(
            zone_id=zoneid.id,
            pod_id=podid.id if podid else None,
            cluster_id=clusterid.id if clusterid else None,
            host_id=host.id if host else None,
            name=name,
            type=kind,
            scope=chosen,
            path=path,
            ip_address=parts.hostname or "localhost",
            hypervisor="KVM" if not used else ("Simulator" if used.lower() == "simulator" else "KVM"),
            provider=provider,
            tags=tags,
            capacity_iops=capacityiops,
            details=details,
        )
    )
    ctx.start(MountStorage(pool=made.id))
    return made


@command(
    "updateStoragePool",
    roles=ROOT,
    answers=StoragePool,
    event="STORAGE.POOL.EDIT",
    refused={"istagarule:boolean": LATER, "capacitybytes:long": "measured by the host", "url:string": LATER},
)
def update(
    ctx: Ctx,
    id: StoragePool,
    name: str | None = None,
    tags: list[str] | None = None,
    enabled: bool | None = None,
    capacityiops: Annotated[int | None, Param(kind="long", low=0)] = None,
    details: Details | None = None,
) -> StoragePool:
    """Changes a primary storage's name and tags; enables or disables it for new disks.

    enabled: false: nothing new is put there
    """
    changes: dict[str, Any] = {
        "name": name,
        "tags": ",".join(tags) if tags is not None else None,
        "capacity_iops": capacityiops,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    if details:
        changes["details"] = {**(id.details or {}), **details}
    if enabled is not None:
        if id.state not in ("Up", "Disabled"):
            raise Conflict(f"The primary storage {id.name} is {id.state}.", state=id.state)
        changes["state"] = "Up" if enabled else "Disabled"
    return ctx.tx.set(id, **changes)


@operation
class RemoveStorage(Operation):
    """Unmount a primary storage everywhere and forget it. `was` is its state before the request."""

    locks = ("pool",)
    patience = 5
    pool: str
    was: str = "Up"

    @step
    def begin(self, tx: Tx) -> None:
        """Nothing yet: its undo comes last."""

    @begin.undo
    def back(self, tx: Tx) -> None:
        tx.set(tx.one(StoragePool, self.pool), state=self.was)

    @step
    def who(self, tx: Tx) -> list[str]:
        pool = tx.one(StoragePool, self.pool)
        return [
            h.id for h in tx.find(Host, usable_of(pool), Host.c.state == "Up", Host.c.hypervisor == pool.hypervisor)
        ]

    @step
    async def unmount(self, who: list[str]) -> None:
        spec = await look(lambda tx: tx.one(StoragePool, self.pool).spec())
        for host in who[:100]:
            try:
                await ask(host, w.UnmountPool(pool=spec, force=True))
            except Unreachable:
                continue  # a host that is away has nothing running on it that is ours to keep

    @unmount.undo
    async def mount(self, who: list[str]) -> None:
        spec = await look(lambda tx: tx.one(StoragePool, self.pool).spec())
        for host in who[:100]:
            try:
                await ask(host, w.MountPool(pool=spec))
            except Unreachable:
                continue  # it mounts what it lacks when it is next asked for a disk there

    @step
    def forget(self, tx: Tx) -> None:
        tx.remove(tx.one(StoragePool, self.pool))


def usable_of(pool: StoragePool) -> Any:
    """Condition for hosts that can use a pool."""
    if pool.scope == "HOST":
        return Host.c.id == pool.host_id
    if pool.scope == "CLUSTER":
        return Host.c.cluster_id == pool.cluster_id
    return Host.c.zone_id == pool.zone_id


@command(
    "deleteStoragePool",
    roles=ROOT,
    waits=True,
    event="STORAGE.POOL.DELETE",
    refused={"forced:boolean": "not offered: expunge the machines whose disks are there first"},
)
def delete(ctx: Ctx, id: StoragePool) -> None:
    """Removes a primary storage that holds no volumes any more."""
    for used in blockers:
        text = used(ctx.tx, id)
        if text:
            raise InUse(text, poolid=id.id)
    was = id.state
    ctx.tx.set(id, state="Disabled")
    ctx.start(RemoveStorage(pool=id.id, was=was))


blockers: list[Any] = []
"""Functions (tx, pool) -> reason why it cannot go, or None; higher floors add to it."""


class Wish(msgspec.Struct, frozen=True):
    """A disk that is to be made: bytes, tags that its storage must carry (comma separated), on the host's own storage or not."""

    size: int
    tags: str | None = None
    local: bool = False


def usable(tx: Tx, host: Host) -> list[StoragePool]:
    """Primary storage that a host can use, the least used first."""
    here = {"zone_": host.zone_id, "cluster_": host.cluster_id, "host_": host.id}
    return [StoragePool.from_row(r) for r in tx.rows(_USABLE, here)]


def usable_by(tx: Tx, hosts: list[Host]) -> dict[str, list[StoragePool]]:
    """`usable` of many hosts of one zone, with one query."""
    c = StoragePool.c
    ids = [h.id for h in hosts]
    places: dict[str | None, list[StoragePool]] = {}
    for pool in tx.find(StoragePool, c.zone_id == hosts[0].zone_id, sa.or_(c.scope != "HOST", tx.any_of(c.host_id, ids))):
        where = {"ZONE": pool.zone_id, "CLUSTER": pool.cluster_id, "HOST": pool.host_id}[pool.scope]
        places.setdefault(where, []).append(pool)
    return {h.id: [p for place in (h.id, h.cluster_id, h.zone_id) for p in places.get(place, ())] for h in hosts}


def lacking(tx: Tx, found: list[StoragePool], wishes: Sequence[Wish]) -> str | None:
    """Why these pools cannot hold all of these disks, or None. A look only: `choose` reserves."""
    promised: dict[str, int] = {}
    for wish in wishes:
        verdicts = []
        for pool in found:
            why = unfit(tx, pool, wish, promised.get(pool.id, 0))
            if why is None:
                promised[pool.id] = promised.get(pool.id, 0) + wish.size
                break
            verdicts.append(f"{pool.name}: {why}")
        else:
            told = "; ".join(verdicts) or "it has no primary storage"
            return f"no primary storage of it can hold a disk of {units.size(wish.size)} ({told})"
    return None


def choose(tx: Tx, host: Host, found: list[StoragePool], wish: Wish) -> StoragePool:
    """Reserve room for a disk on one of these pools of the host; NoCapacity says why none will do."""
    verdicts: list[dict[str, object]] = []
    for pool in found:
        why = unfit(tx, pool, wish)
        if why is None:
            limit = int(
                pool.disk_size_total * OVERCOMMIT.get(tx, storage=pool.id) * ALLOCATED_LIMIT.get(tx, storage=pool.id)
            )
            if tx.done(_RESERVE, {"pool_": pool.id, "more_": wish.size, "most_": limit}):
                tx.noted(StoragePool, pool.id, "reserved")
                return pool
            why = "capacity was taken by another request"
        verdicts.append({"pool": pool.name, "reason": why})
    told = "; ".join(f"{v['pool']}: {v['reason']}" for v in verdicts) or "the host has no primary storage"
    raise NoCapacity(
        f"No primary storage of host {host.name} can hold a disk of {units.size(wish.size)} ({told}).",
        pools=verdicts,
        public=FULL,
    )


FULL = "No primary storage has room for this disk."
_USABLE = Prepared(
    sa.select(StoragePool.table)
    .where(
        StoragePool.c.zone_id == sa.bindparam("zone_"),
        sa.or_(
            StoragePool.c.scope == "ZONE",
            sa.and_(StoragePool.c.scope == "CLUSTER", StoragePool.c.cluster_id == sa.bindparam("cluster_")),
            sa.and_(StoragePool.c.scope == "HOST", StoragePool.c.host_id == sa.bindparam("host_")),
        ),
    )
    .order_by(
        StoragePool.c.disk_size_used * 1.0 / sa.func.nullif(StoragePool.c.disk_size_total, 0), StoragePool.c.number
    )
)
"""`usable_on`, the least used first."""
_RESERVE = Prepared(
    sa.update(StoragePool.table)
    .where(
        StoragePool.c.id == sa.bindparam("pool_"),
        StoragePool.c.state == "Up",
        StoragePool.c.reserved + sa.bindparam("more_") <= sa.bindparam("most_"),
    )
    .values(reserved=StoragePool.c.reserved + sa.bindparam("more_"))
)


def unfit(tx: Tx, pool: StoragePool, wish: Wish, promised: int = 0) -> str | None:
    """Why a pool cannot hold a disk besides what is `promised` (bytes) in the same decision, or None."""
    if pool.state != "Up":
        return f"it is {pool.state}"
    if (pool.scope == "HOST") != wish.local:
        return "it is a host's own storage" if not wish.local else "it is shared storage, and the offering asks for local"
    wanted, has = ({t.strip() for t in (text or "").split(",") if t.strip()} for text in (wish.tags, pool.tags))
    if not wanted <= has:
        return f"it lacks the tag {', '.join(sorted(wanted - has))}"
    used = USED_LIMIT.get(tx, storage=pool.id, zone=pool.zone_id)
    if pool.disk_size_used > used * pool.disk_size_total:
        return f"{100 * pool.disk_size_used / max(1, pool.disk_size_total):.0f} % of it are used, more than {100 * used:.0f} %"
    factor, share = OVERCOMMIT.get(tx, storage=pool.id), ALLOCATED_LIMIT.get(tx, storage=pool.id)
    taken = pool.reserved + promised
    if taken + wish.size > pool.disk_size_total * factor * share:
        return (
            f"{units.size(taken)} of {units.size(pool.disk_size_total * factor * share)} are promised already, "
            f"{units.size(wish.size)} more are needed"
        )
    return None


def release(tx: Tx, pool_id: str, size: int) -> None:
    """Give reserved bytes back."""
    tx.noted(StoragePool, pool_id, "reserved")
    tx.execute(
        sa.update(StoragePool.table)
        .where(StoragePool.c.id == pool_id)
        .values(reserved=sa.case((StoragePool.c.reserved > size, StoragePool.c.reserved - size), else_=0))
    )


@watched
def _pools_away(tx: Tx) -> list[Trouble]:
    """Storage that is to be used and that no host which is Up has mounted."""
    out = []
    for pool in tx.find(StoragePool, StoragePool.c.state == "Up"):
        hosts = tx.count(Host, usable_of(pool), Host.c.hypervisor == pool.hypervisor)
        up = tx.count(Host, usable_of(pool), Host.c.hypervisor == pool.hypervisor, Host.c.state == "Up")
        if hosts and not up:
            text = f"No host that can use the primary storage {pool.name} is Up; bring one of {hosts} back."
            out.append(Trouble("STORAGE.MISC", f"pool:{pool.id}", text, pool.zone_id, pool.pod_id))
    return out


@reconciler(every=MEASURE)
async def measure_pools() -> int:
    """Measure how full primary storage is."""

    def plan(tx: Tx) -> list[tuple[str, str, w.PoolSpec]]:
        out = []
        for pool in tx.find(StoragePool, StoragePool.c.state == "Up"):
            host = tx.first(Host, usable_of(pool), Host.c.state == "Up", Host.c.hypervisor == pool.hypervisor)
            if host is not None:
                out.append((pool.id, host.id, pool.spec()))
        return out

    count = 0
    for pool_id, host_id, spec in await look(plan):
        try:
            facts: w.PoolFacts = await ask(host_id, w.MountPool(pool=spec))
        except (Unreachable, Failed):
            continue  # the host's own state tells of it

        def note(tx: Tx, pool_id: str = pool_id, facts: w.PoolFacts = facts) -> bool:
            pool = tx.get(StoragePool, pool_id)
            if pool is None or (pool.disk_size_total, pool.disk_size_used) == (facts.capacity, facts.used):
                return False
            tx.set(pool, disk_size_total=facts.capacity, disk_size_used=facts.used)
            return True

        count += await write(note)
    return count
