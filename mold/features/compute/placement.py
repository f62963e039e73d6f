"""Placement: which host a machine goes to, and why not the others.

A host is chosen and its capacity reserved in one transaction, by compare and set; nothing is held in memory.  When
none will do, the refusal says for every host which filter failed, what was needed and what there was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, command
from mold.api.lists import escaped, paged
from mold.api.permit import ROOT
from mold.base.errors import Invalid, NoCapacity
from mold.base.units import GIB, MIB
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.hypervisors import max_guests
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.features.storage import pools
from mold.features.storage.pools import StoragePool
from mold.store import REGISTRY, Prepared, Tx

ALGORITHM = setting(
    "vm.allocation.algorithm",
    "random",
    "How hosts are chosen: random, firstfit, userdispersing, userconcentratedpod_random, userconcentratedpod_firstfit or firstfitleastconsumed.",
    scopes=("cluster",),
    choices=("random", "firstfit", "userdispersing", "userconcentratedpod_random", "userconcentratedpod_firstfit", "firstfitleastconsumed"),
)
THRESHOLDS = setting(
    "cluster.threshold.enabled", False, "Whether clusters of which so much has been promised take no further machines."
)
CPU_THRESHOLD = setting(
    "cluster.cpu.allocated.capacity.disablethreshold",
    0.85,
    "Share of a cluster's CPU above which it takes no further machines, if cluster.threshold.enabled.",
    category="Alert",
    scopes=("cluster",),
    low=0,
    high=1,
)
MEMORY_THRESHOLD = setting(
    "cluster.memory.allocated.capacity.disablethreshold",
    0.85,
    "Share of a cluster's memory above which it takes no further machines, if cluster.threshold.enabled.",
    category="Alert",
    scopes=("cluster",),
    low=0,
    high=1,
)
PLANNERS = {
    "FirstFitPlanner": "firstfit",
    "UserDispersingPlanner": "userdispersing",
    "UserConcentratedPodPlanner": "userconcentratedpod_firstfit",
    "SkipHeuresticsPlanner": "firstfit",
}
FEW, MANY = 4, 200
"""How many hosts are looked at first: when nothing but capacity counts, and when rules may refuse some."""


@command(
    "listDeploymentPlanners", roles=ROOT, shape="list", key="deploymentPlanner", reads=True, fields=(Field("name"),)
)
def list_planners(
    ctx: Ctx, keyword: str | None = None, page: int | None = None, pagesize: int | None = None
) -> dict[str, Any]:
    """Lists the planners that choose hosts."""
    rows = [{"name": n} for n in PLANNERS if keyword is None or keyword.lower() in n.lower()]
    return paged("deploymentPlanner", rows, page, pagesize)


class Need(msgspec.Struct, kw_only=True, frozen=True):
    """What a machine needs of a host. `cpu_mhz` in all, `memory` in bytes."""

    zone_id: str
    hypervisor: str
    arch: str
    cores: int
    mhz: int
    memory: int
    tags: tuple[str, ...] = ()
    account_id: str = ""
    host_id: str | None = None
    cluster_id: str | None = None
    pod_id: str | None = None
    planner: str | None = None
    machine_id: str | None = None
    prefer_host_id: str | None = None
    disks: tuple[pools.Wish, ...] = ()
    """Disks that are to be made."""
    pools: tuple[str, ...] = ()
    """Ids of the primary storage on which it has disks already."""

    @property
    def cpu_mhz(self) -> int:
        """All cores together."""
        return self.cores * self.mhz


Rule = Callable[[Tx, Need, list[Host]], dict[str, str]]
RULES: list[Rule] = []


def placement_rule(function: Rule) -> Rule:
    """Register a further filter: given hosts that would do, returns {host id: why it will not}. Higher floors use it."""
    RULES.append(function)
    return function


def _fitting(need: Need) -> list[Any]:
    """Conditions of hosts that will do, with bound names; `_given` has their values."""
    h, c, p = Host.c, Cluster.c, Pod.c
    enabled = (
        sa.select(c.id)
        .join(Pod.table, p.id == c.pod_id)
        .where(c.allocation_state == "Enabled", c.managed_state == "Managed", p.allocation_state == "Enabled")
    )
    where = [
        h.zone_id == sa.bindparam("zone_"),
        h.hypervisor == sa.bindparam("hypervisor_"),
        h.state == "Up",
        h.resource_state == "Enabled",
        h.arch == sa.bindparam("arch_"),
        h.cores >= sa.bindparam("cores_"),
        h.mhz >= sa.bindparam("mhz_"),
        h.cpu_capacity - h.cpu_reserved >= sa.bindparam("all_mhz_"),
        h.memory_capacity - h.memory_reserved >= sa.bindparam("memory_"),
        h.machines < sa.bindparam("guests_"),
        h.cluster_id.in_(enabled),
    ]
    for n, _ in enumerate(need.tags):
        # host_tags is a JSON list of strings, kept as text.
        where.append(sa.cast(h.host_tags, sa.Text).like(sa.bindparam(f"tag{n}_"), escape="\\"))
    if need.host_id:
        where.append(h.id == sa.bindparam("host_"))
    if need.cluster_id:
        where.append(h.cluster_id == sa.bindparam("cluster_"))
    if need.pod_id:
        where.append(h.pod_id == sa.bindparam("pod_"))
    return where


def _given(tx: Tx, need: Need) -> dict[str, Any]:
    given: dict[str, Any] = {
        "guests_": max_guests(tx, need.hypervisor),
        "zone_": need.zone_id,
        "hypervisor_": need.hypervisor,
        "arch_": need.arch,
        "cores_": need.cores,
        "mhz_": need.mhz,
        "all_mhz_": need.cpu_mhz,
        "memory_": need.memory,
    }
    for n, tag in enumerate(need.tags):
        word = escaped(msgspec.json.encode(tag).decode())
        given[f"tag{n}_"] = f"%{word}%"
    for name in ("host", "cluster", "pod"):
        if value := getattr(need, f"{name}_id"):
            given[f"{name}_"] = value
    return given


_made: dict[Any, Prepared] = {}


def _hosts(tx: Tx, need: Need, limit: int | None, start: int | None = None, *, below: bool = False) -> list[Host]:
    """Hosts that will do, by number; from `start` on, or below it."""
    shape = (limit, start is None, below, len(need.tags), bool(need.host_id), bool(need.cluster_id), bool(need.pod_id))
    made = _made.get(shape)
    if made is None:
        query = sa.select(Host.table).where(*_fitting(need)).order_by(Host.c.number)
        if start is not None:
            edge: Any = sa.bindparam("start_")
            query = query.where(Host.c.number < edge if below else Host.c.number >= edge)
        if limit is not None:
            query = query.limit(sa.literal_column(str(limit)))
        made = _made[shape] = Prepared(query)
    given = _given(tx, need)
    if start is not None:
        given["start_"] = start
    return [Host.from_row(r) for r in tx.rows(made, given)]


def _order(tx: Tx, need: Need) -> tuple[Any, ...]:
    h = Host.c
    algorithm = PLANNERS.get(need.planner or "", "") or ALGORITHM.get(tx)
    if need.planner and need.planner not in PLANNERS:
        raise Invalid(
            f"There is no planner {need.planner[:40]}; there are {', '.join(PLANNERS)}.", parameter="deploymentplanner"
        )
    if algorithm == "firstfit":
        return (h.number,)
    if algorithm == "random":
        return ()
    vm = REGISTRY["virtualmachine"].table
    mine = (
        sa.select(sa.func.count())
        .select_from(vm)
        .where(vm.c.host_id == h.id, vm.c.account_id == need.account_id)
        .correlate(Host.table)
        .scalar_subquery()
    )
    in_pod = (
        sa.select(sa.func.count())
        .select_from(vm)
        .where(vm.c.pod_id == h.pod_id, vm.c.account_id == need.account_id)
        .correlate(Host.table)
        .scalar_subquery()
    )
    match algorithm:
        case "firstfitleastconsumed":
            return (h.cpu_reserved * 1.0 / sa.func.nullif(h.cpu_capacity, 0), h.number)
        case "userdispersing":
            return (mine, h.cpu_reserved * 1.0 / sa.func.nullif(h.cpu_capacity, 0), h.number)
        case "userconcentratedpod_firstfit":
            return (in_pod.desc(), mine.desc(), h.number)
        case "userconcentratedpod_random":
            return (in_pod.desc(), sa.func.random())
    return ()


def _some(tx: Tx, need: Need, order: tuple[Any, ...], limit: int | None) -> list[Host]:
    """Hosts that will do, in order; without one, from a random place on, shuffled.

    Sorting by a random number would read all hosts of the zone for every machine.
    """
    if order:
        query = sa.select(Host.table).where(*_fitting(need)).order_by(*order)
        if limit is not None:
            query = query.limit(sa.literal_column(str(limit)))
        return [Host.from_row(r) for r in tx.execute(query, _given(tx, need))]
    if limit is None:
        found = _hosts(tx, need, None)
    else:
        # The bounds are a hint of a second ago, nothing more.
        first, last = tx.remembered(
            ("hosts of zone", need.zone_id), (), lambda: tx.rows(_NUMBERS, {"zone": need.zone_id})[0]
        )
        start = random.randint(first or 0, last or 0)
        found = _hosts(tx, need, limit, start)
        if len(found) < limit:
            found = [*found, *_hosts(tx, need, limit, start, below=True)][:limit]
    random.shuffle(found)
    return found


_NUMBERS = Prepared(
    sa.select(sa.func.min(Host.c.number), sa.func.max(Host.c.number)).where(Host.c.zone_id == sa.bindparam("zone"))
)


def _stored(tx: Tx, need: Need, found: list[StoragePool]) -> str | None:
    """Why a host with this primary storage cannot have the machine's disks, or None."""
    away = set(need.pools) - {p.id for p in found}
    if away:
        names = ", ".join(sorted(p.name for p in tx.among(StoragePool, list(away)).values()))
        return f"it does not reach the primary storage {names}"
    return pools.lacking(tx, found, need.disks)


def _promised(tx: Tx, cluster: str) -> tuple[int, ...]:
    """MHz promised, MHz there, bytes promised and bytes there of a cluster's hosts."""
    h = Host.c
    sums = (sa.func.sum(c) for c in (h.cpu_reserved, h.cpu_capacity, h.memory_reserved, h.memory_capacity))
    of = (h.cluster_id == cluster, h.state == "Up", h.resource_state == "Enabled")
    return tuple(int(n or 0) for n in tx.execute(sa.select(*sums).where(*of)).one())


def _crowded(tx: Tx, need: Need, hosts: list[Host]) -> dict[str, str]:
    """Hosts whose cluster would pass its thresholds with this machine, and why.

    What a cluster has promised is a second old: the thresholds keep room for bad days, they are no limit to the byte.
    """
    if not THRESHOLDS.get(tx):
        return {}
    full: dict[str, str] = {}
    for cluster in {host.cluster_id for host in hosts}:
        mhz, all_mhz, memory, all_memory = tx.remembered(
            ("promised of cluster", cluster), (), partial(_promised, tx, cluster)
        )
        for what, used, there, most in (
            ("CPU", mhz + need.cpu_mhz, all_mhz, CPU_THRESHOLD.get(tx, cluster=cluster)),
            ("memory", memory + need.memory, all_memory, MEMORY_THRESHOLD.get(tx, cluster=cluster)),
        ):
            if used > there * most:
                full[cluster] = f"its cluster would have promised {used / max(1, there):.0%} of its {what}, {most:.0%} is the most"
    return {host.id: full[host.cluster_id] for host in hosts if host.cluster_id in full}


def place(tx: Tx, need: Need) -> tuple[Host, list[StoragePool]]:
    """Choose a host and reserve its capacity; gives the primary storage that it can use, too. NoCapacity explains."""
    skipped: dict[str, str] = {}
    unstored: set[str] = set()
    order = _order(tx, need)

    def tries() -> Iterator[list[Host]]:
        if need.prefer_host_id and not need.host_id:
            yield _hosts(tx, msgspec.structs.replace(need, host_id=need.prefer_host_id), None)
        yield _some(tx, need, order, MANY if RULES else FEW)
        yield _some(tx, need, order, None)

    for found in tries():
        for rule in (_crowded, *RULES):
            skipped.update(rule(tx, need, found))
        for host in found:
            if host.id in skipped or host.id in unstored or not set(need.tags) <= set(host.host_tags or []):
                continue
            usable = pools.usable(tx, host) if need.disks or need.pools else []
            if _stored(tx, need, usable) is not None:
                unstored.add(host.id)
            elif reserve(tx, host, need.cpu_mhz, need.memory):
                return host, usable
    raise _refusal(tx, need, tx.one(Zone, need.zone_id), skipped)


def reserve(tx: Tx, host: Host, cpu_mhz: int, memory: int) -> bool:
    """Promise capacity of a host; False when it is not there any more."""
    tx.noted(Host, host.id, "cpu_reserved", "memory_reserved")
    most = max_guests(tx, host.hypervisor)
    return tx.done(_RESERVE, {"host_": host.id, "mhz_": cpu_mhz, "bytes_": memory, "guests_": most}) > 0


_RESERVE = Prepared(
    sa.update(Host.table)
    .where(
        Host.c.id == sa.bindparam("host_"),
        Host.c.cpu_capacity - Host.c.cpu_reserved >= sa.bindparam("mhz_"),
        Host.c.memory_capacity - Host.c.memory_reserved >= sa.bindparam("bytes_"),
        Host.c.machines < sa.bindparam("guests_"),
        Host.c.state == "Up",
        Host.c.resource_state == "Enabled",
    )
    .values(
        cpu_reserved=Host.c.cpu_reserved + sa.bindparam("mhz_"),
        memory_reserved=Host.c.memory_reserved + sa.bindparam("bytes_"),
        machines=Host.c.machines + 1,
    )
)


def release(tx: Tx, host_id: str, cpu_mhz: int, memory: int) -> None:
    """Take a promise back."""
    h = Host.c
    tx.noted(Host, host_id, "cpu_reserved", "memory_reserved")
    tx.execute(
        sa.update(Host.table)
        .where(h.id == host_id)
        .values(
            cpu_reserved=h.cpu_reserved - cpu_mhz, memory_reserved=h.memory_reserved - memory, machines=h.machines - 1
        )
    )


def verdict(tx: Tx, need: Need, host: Host, cluster: Cluster, pod: Pod) -> list[dict[str, object]]:
    """Why a host will not do: each reason a code with what was needed and what there was; empty when it will."""
    out: list[dict[str, object]] = []

    def no(code: str, needed: object, available: object) -> None:
        out.append({"code": code, "needed": needed, "available": available})

    if need.host_id and host.id != need.host_id:
        no("NotAsked", need.host_id, host.id)
    if need.cluster_id and host.cluster_id != need.cluster_id:
        no("OtherCluster", need.cluster_id, host.cluster_id)
    if need.pod_id and host.pod_id != need.pod_id:
        no("OtherPod", need.pod_id, host.pod_id)
    if host.hypervisor != need.hypervisor:
        no("Hypervisor", need.hypervisor, host.hypervisor)
    if host.arch != need.arch:
        no("Architecture", need.arch, host.arch)
    if host.state != "Up":
        no("HostState", "Up", host.state)
    if host.resource_state != "Enabled":
        no("ResourceState", "Enabled", host.resource_state)
    if cluster.allocation_state != "Enabled" or cluster.managed_state != "Managed":
        no("ClusterDisabled", "Enabled", f"{cluster.allocation_state}, {cluster.managed_state}")
    if pod.allocation_state != "Enabled":
        no("PodDisabled", "Enabled", pod.allocation_state)
    missing = sorted(set(need.tags) - set(host.host_tags or []))
    if missing:
        no("HostTags", ",".join(need.tags), ",".join(host.host_tags or []))
    if host.cores < need.cores:
        no("Cores", need.cores, host.cores)
    if host.mhz < need.mhz:
        no("CpuSpeed", need.mhz, host.mhz)
    if host.machines >= (most := max_guests(tx, host.hypervisor)):
        no("Guests", most, host.machines)
    if host.cpu_capacity - host.cpu_reserved < need.cpu_mhz:
        no("Cpu", need.cpu_mhz, host.cpu_capacity - host.cpu_reserved)
    if host.memory_capacity - host.memory_reserved < need.memory:
        no("Memory", need.memory // MIB, (host.memory_capacity - host.memory_reserved) // MIB)
    return out


SENTENCES = {
    "NotAsked": "another host was asked for",
    "OtherCluster": "it is in another cluster",
    "OtherPod": "it is in another pod",
    "Hypervisor": "needs {needed}, is {available}",
    "Architecture": "needs {needed}, is {available}",
    "HostState": "it is {available}",
    "ResourceState": "it is {available}",
    "ClusterDisabled": "its cluster is {available}",
    "PodDisabled": "its pod is {available}",
    "HostTags": "needs the tags {needed}, has '{available}'",
    "Cores": "needs {needed} cores, has {available}",
    "Guests": "it runs {available} machines already, {needed} at most",
    "CpuSpeed": "needs cores of {needed} MHz, has {available} MHz",
    "Cpu": "needs {needed} MHz CPU, {available} MHz are free",
    "Memory": "needs {needed} MiB memory, {available} MiB are free",
    "Storage": "{available}",
    "Rule": "{available}",
}


def explain(tx: Tx, need: Need, skipped: dict[str, str] | None = None, limit: int = 1000) -> list[dict[str, object]]:
    """Every host of the zone with its verdict: hostid, hostname, accepted, score, reason[]."""
    skipped = dict(skipped or {})
    hosts = tx.find(Host, Host.c.zone_id == need.zone_id, limit=limit)
    for rule in (_crowded, *RULES):
        skipped.update(rule(tx, need, hosts))
    clusters = tx.among(Cluster, list({h.cluster_id for h in hosts}))
    pods = tx.among(Pod, list({h.pod_id for h in hosts}))
    storage = pools.usable_by(tx, hosts) if hosts and (need.disks or need.pools) else {}
    out: list[dict[str, object]] = []
    for host in hosts:
        reasons = verdict(tx, need, host, clusters[host.cluster_id], pods[host.pod_id])
        if (why := _stored(tx, need, storage[host.id]) if storage else None) is not None:
            reasons.append({"code": "Storage", "needed": sum(d.size for d in need.disks) // MIB, "available": why})
        if host.id in skipped:
            reasons.append({"code": "Rule", "needed": "", "available": skipped[host.id]})
        free = (host.memory_capacity - host.memory_reserved) / max(1, host.memory_capacity)
        out.append(
            {
                "hostid": host.id,
                "hostname": host.name,
                "clusterid": host.cluster_id,
                "accepted": not reasons,
                "score": round(100 * free),
                "reason": reasons,
            }
        )
    return out


def _refusal(tx: Tx, need: Need, zone: Zone, skipped: dict[str, str]) -> NoCapacity:
    verdicts = explain(tx, need, skipped, limit=200)
    told = []
    counts: dict[str, int] = {}
    for v in verdicts:
        reasons: Any = v["reason"]
        if reasons:
            told.append(f"{v['hostname']}: " + ", ".join(SENTENCES[r["code"]].format(**r) for r in reasons))
            counts[reasons[0]["code"]] = counts.get(reasons[0]["code"], 0) + 1
    wants = f"{need.cores} × {need.mhz} MHz and {need.memory / GIB:.2f} GiB"
    text = (
        f"No host of the zone {zone.name} can take a machine of {wants}: "
        + ("; ".join(told[:20]) or "it has no hosts")
        + (f"; and {len(told) - 20} more hosts" if len(told) > 20 else "")
        + "."
    )
    only_storage = [v for v in verdicts if [r["code"] for r in v["reason"]] == ["Storage"]]  # type: ignore[attr-defined]
    public = pools.FULL if only_storage else f"No host can take a machine of {wants} now ({', '.join(f'{n} lack {c}' for c, n in sorted(counts.items())) or 'there are no hosts'}). Choose a smaller offering, or ask the operator for capacity."
    return NoCapacity(text, hosts=verdicts, public=public)
