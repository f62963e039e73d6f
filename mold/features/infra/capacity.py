"""Capacity: how much of everything there is, and how much is taken, by zone, pod and cluster.

Each room measures its own kinds with a gauge; what is shown here is only summed up.  CPU in MHz, memory and storage in
bytes, the rest in numbers of things.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Param, command
from mold.api.lists import paged
from mold.api.permit import OPERATORS
from mold.base.errors import Invalid
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.store import Tx
from mold.store.settings import Declared

TYPES = {
    0: "MEMORY",
    1: "CPU",
    2: "STORAGE",
    3: "STORAGE_ALLOCATED",
    4: "VIRTUAL_NETWORK_PUBLIC_IP",
    6: "SECONDARY_STORAGE",
    7: "VLAN",
    9: "LOCAL_STORAGE",
    90: "CPU_CORE",
}
Level = Literal["zone", "pod", "cluster"]


class Amount(NamedTuple):
    """How much of one type a place has (`total`) and has given out (`used`)."""

    type: int
    zone_id: str
    pod_id: str | None
    cluster_id: str | None
    used: int
    total: int


Gauge = Callable[[Tx], list[Amount]]
GAUGES: list[Gauge] = []


def gauge(function: Gauge) -> Gauge:
    """Register a function that measures some types over the whole cloud, in a few queries."""
    GAUGES.append(function)
    return function


@gauge
def _hosts(tx: Tx) -> list[Amount]:
    h = Host.c
    query = sa.select(
        h.zone_id,
        h.pod_id,
        h.cluster_id,
        sa.func.sum(h.memory_reserved),
        sa.func.sum(h.memory_capacity),
        sa.func.sum(h.cpu_reserved),
        sa.func.sum(h.cpu_capacity),
    ).where(h.state == "Up", h.resource_state == "Enabled")
    out = []
    for zone, pod, cluster, memory, memory_all, cpu, cpu_all in tx.execute(
        query.group_by(h.zone_id, h.pod_id, h.cluster_id)
    ):
        out.append(Amount(0, zone, pod, cluster, int(memory), int(memory_all)))
        out.append(Amount(1, zone, pod, cluster, int(cpu), int(cpu_all)))
    return out


def sums(tx: Tx, level: Level, type: int | None = None) -> dict[str, dict[int, tuple[int, int]]]:
    """{id of the zone, pod or cluster: {type: (used, total)}}; what has no pod or cluster counts for the zone only."""
    found: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    for measure in GAUGES:
        for each in measure(tx):
            place = {"zone": each.zone_id, "pod": each.pod_id, "cluster": each.cluster_id}[level]
            if place is None or type not in (None, each.type):
                continue
            used, total = found[place].get(each.type, (0, 0))
            found[place][each.type] = (used + each.used, total + each.total)
    return found


def _threshold(name: str, what: str, *, cluster: bool = False) -> Declared[float]:
    return setting(
        name,
        0.75,
        f"How much of {what} may be taken before there is an alert, 0 to 1.",
        low=0.0,
        high=1.0,
        scopes=("cluster",) if cluster else (),
        shape="Double" if cluster else "Float",
        category="Alert",
    )


NOTIFY = {
    0: ("MEMORY", "memory", _threshold("cluster.memory.allocated.capacity.notificationthreshold", "memory", cluster=True)),
    1: ("CPU", "CPU", _threshold("cluster.cpu.allocated.capacity.notificationthreshold", "the CPU", cluster=True)),
    2: ("STORAGE", "primary storage in use",
        _threshold("cluster.storage.capacity.notificationthreshold", "primary storage", cluster=True)),
    3: ("STORAGE.ALLOCATED", "primary storage given out",
        _threshold("cluster.storage.allocated.capacity.notificationthreshold", "primary storage given out", cluster=True)),
    4: ("NETWORK.PUBLICIP", "public addresses",
        _threshold("zone.virtualnetwork.publicip.capacity.notificationthreshold", "the public addresses")),
    6: ("STORAGE.SECONDARY", "secondary storage",
        _threshold("zone.secstorage.capacity.notificationthreshold", "secondary storage")),
    7: ("NETWORK.VLAN", "VLANs", _threshold("zone.vlan.capacity.notificationthreshold", "the VLANs")),
    9: ("STORAGE.LOCAL", "local storage", _threshold("cluster.localStorage.capacity.notificationthreshold", "local storage")),
}  # fmt: skip
"""Type -> its alert, what it is of, and the threshold."""


@watched
def _nearly_full(tx: Tx) -> list[Trouble]:
    """Zones and clusters of which more is taken than the threshold says."""
    found: dict[tuple[int, str, str | None], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for measure in GAUGES:
        for each in measure(tx):
            if each.type in NOTIFY:
                key = (each.type, each.zone_id, each.cluster_id)
                found[key] = (found[key][0] + each.used, found[key][1] + each.total)
    out = []
    for (type, zone, cluster), (used, total) in found.items():
        name, what, threshold = NOTIFY[type]
        limit = threshold.get(tx, cluster=cluster)
        if total and used > limit * total:
            row = tx.known(Cluster, cluster) if cluster else tx.known(Zone, zone)
            place = f"{'cluster' if cluster else 'zone'} {row.name}"
            text = (
                f"{100 * used / total:.0f} % of the {what} of {place} are taken, more than {100 * limit:.0f} %; "
                f"add some, or free some ({used} of {total})."
            )
            out.append(Trouble(name, f"capacity:{type}:{cluster or zone}", text, zone))
    return out


FIELDS = (
    Field("type", "short"),
    Field("name"),
    *(Field(n) for n in ("zoneid", "zonename", "podid", "podname", "clusterid", "clustername")),
    Field("capacityallocated", "long"),
    Field("capacityused", "long"),
    Field("capacitytotal", "long"),
    Field("percentused"),
)


def _line(type: int, used: int, total: int, place: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": type,
        "name": TYPES[type],
        **place,
        "capacityallocated": used,
        "capacityused": used,
        "capacitytotal": total,
        "percentused": f"{100 * used / total:.2f}" if total else "0",
    }


def _places(tx: Tx, level: Level, ids: list[str]) -> dict[str, dict[str, Any]]:
    clusters = tx.among(Cluster, ids) if level == "cluster" else {}
    pods = tx.among(Pod, [c.pod_id for c in clusters.values()] or (ids if level == "pod" else []))
    zone_ids = [p.zone_id for p in pods.values()] or (ids if level == "zone" else [])
    zones = tx.among(Zone, list(set(zone_ids)))
    out: dict[str, dict[str, Any]] = {}
    for id in ids:
        place: dict[str, Any] = {}
        cluster = clusters.get(id)
        pod = pods.get(cluster.pod_id if cluster else id)
        zone = zones.get(pod.zone_id if pod else id)
        if zone is not None:
            place.update(zoneid=zone.id, zonename=zone.name)
        if pod is not None:
            place.update(podid=pod.id, podname=pod.name)
        if cluster is not None:
            place.update(clusterid=cluster.id, clustername=cluster.name)
        out[id] = place
    return out


def _shown(level: Level) -> Callable[[Tx, list[Any], Any], dict[str, dict[str, Any]]]:
    def lines(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
        ids = [r.id for r in rows]
        found, places = sums(tx, level), _places(tx, level, ids)
        return {
            i: {"capacity": [_line(t, *found[i][t], places[i]) for t in sorted(found[i])]} for i in ids if i in found
        }

    return lines


shown(Zone, Field("capacity", "list", of=FIELDS, admin=True), detail="capacity", asked=True)(_shown("zone"))
shown(Pod, Field("capacity", "list", of=FIELDS), detail="capacity", asked=True)(_shown("pod"))
shown(Cluster, Field("capacity", "list", of=FIELDS), detail="capacity", asked=True)(_shown("cluster"))


@command(
    "listCapacity",
    roles=OPERATORS,
    shape="list",
    key="capacity",
    reads=True,
    fields=FIELDS,
    refused={"tag:string": LATER},
)
def list_capacity(
    ctx: Ctx,
    zoneid: Zone | None = None,
    podid: Pod | None = None,
    clusterid: Cluster | None = None,
    type: int | None = None,
    sortby: Annotated[str | None, Param(choices=("usage",))] = None,
    fetchlatest: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists how much of everything is taken: of all zones, or of one zone, pod or cluster.

    type: 0 memory, 1 CPU, 2 storage used, 3 storage given out, 4 public addresses, 6 secondary storage, 7 VLANs, 9 local storage, 90 cores
    sortby: usage: the fullest first, one level below the place given
    fetchlatest: what happens anyhow: nothing is cached
    keyword: text in the name of the type
    """
    if type is not None and type not in TYPES:
        raise Invalid(
            f"The capacity type {type} is not measured; there are {', '.join(f'{n} {w}' for n, w in TYPES.items())}.",
            parameter="type",
        )
    level: Level = "cluster" if clusterid else "pod" if podid else "zone"
    chosen = clusterid or podid or zoneid
    if sortby and chosen is not None:
        level = "pod" if level == "zone" else "cluster"
    found = sums(ctx.tx, level, type)
    places = _places(ctx.tx, level, list(found))
    rows = []
    for id, amounts in found.items():
        place = places[id]
        if chosen is not None and chosen.id not in place.values():
            continue
        rows += [_line(t, *amounts[t], place) for t in sorted(amounts)]
    if keyword:
        rows = [r for r in rows if keyword.lower() in r["name"].lower()]
    if sortby:
        rows.sort(key=lambda r: -float(r["percentused"]))
    return paged("capacity", rows, page, pagesize)
