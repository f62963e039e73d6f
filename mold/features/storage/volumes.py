"""Volumes: the disks of machines. A volume is a promise (Allocated) until a machine's first start makes it real."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Param, Tags
from mold.api.lists import Query, lists
from mold.api.permit import Owned
from mold.base import clock
from mold.base.states import machine
from mold.features.identity import removal
from mold.features.identity.limits import counted, with_tag
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import DiskOffering, ServiceOffering
from mold.features.infra.pods import Pod
from mold.features.infra.zones import Zone
from mold.features.storage import pools, templates
from mold.features.storage.pools import StoragePool
from mold.features.storage.templates import Template
from mold.store import REGISTRY, Resource, Tx, column, created, refers


class Volume(Owned):
    """A disk. `size` in bytes; `device` counts from 0, the root disk."""

    kind = "volume"
    appears = {"volumeid": "id", "volumename": "name"}
    states = machine(
        "Allocated",
        create="Allocated>Creating",
        made="Creating>Ready",
        uncreate="Creating|Ready>Allocated",
        destroy="Allocated|Ready|Creating>Destroy",
        recover="Destroy>Ready",
        reallocate="Destroy>Allocated",
        expunge="Destroy|Allocated|Ready|Creating>Expunging",
    )

    name: str = column(filter=True, keyword=True)
    zone_id: str = refers("zone")
    type: str = column(default="ROOT", filter=True)
    device: int = column(default=0, api="deviceid")
    size: int = column(default=0)
    state: str = column(default="Allocated", filter=True)
    pool_id: str | None = refers(
        "storagepool", default=None, filter=False, admin=True, shows={"storageid": "id", "storage": "name"}
    )
    path: str | None = column(default=None, admin=True)
    physical_size: int = column(default=0, api="physicalsize")
    format: str = column(default="qcow2", hidden=True)
    template_id: str | None = refers("template", default=None, filter=False)
    disk_offering_id: str | None = refers("diskoffering", default=None)
    service_offering_id: str | None = refers("serviceoffering", default=None, filter=False)
    storage_tags: str | None = column(default=None, hidden=True, doc="tags of storage that it was made for")
    provisioning_type: str = column(default="thin")
    hypervisor: str = column(default="KVM")
    display: bool = column(default=True, api="displayvolume", admin=True)
    attached: str | None = column(default=None, kind="date")
    state_since: str = column(default_factory=clock.now, hidden=True)
    created: str = created()


@shown(
    Volume,
    Field("storagetype"),
    Field("destroyed", "boolean"),
    Field("isextractable", "boolean"),
    Field("quiescevm", "boolean"),
    Field("supportsstoragesnapshot", "boolean"),
    Field("virtualsize", "long"),
    Field("utilization"),
    Field("clusterid", admin=True),
    Field("clustername", admin=True),
    Field("podid", admin=True),
    Field("podname", admin=True),
    Field("serviceofferingdisplaytext"),
    *(Field(n, "long") for n in ("diskBytesReadRate", "diskBytesWriteRate", "diskIopsReadRate", "diskIopsWriteRate")),
    Field("hasannotations", "boolean"),
)
def _kind(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    places = tx.among(StoragePool, list({v.pool_id for v in rows if v.pool_id}))
    clusters = tx.among(Cluster, list({p.cluster_id for p in places.values() if p.cluster_id}))
    pods_ = tx.among(Pod, list({p.pod_id for p in places.values() if p.pod_id}))
    services = tx.among(ServiceOffering, list({v.service_offering_id for v in rows if v.service_offering_id}))
    disks = tx.among(DiskOffering, list({v.disk_offering_id for v in rows if v.disk_offering_id}))
    out: dict[str, dict[str, Any]] = {}
    for v in rows:
        pool = places.get(v.pool_id)
        cluster = clusters.get(pool.cluster_id or "") if pool else None
        pod = pods_.get(pool.pod_id or "") if pool else None
        service = services.get(v.service_offering_id)
        rates: Any = disks.get(v.disk_offering_id) or service
        out[v.id] = {
            "storagetype": "local" if pool is not None and pool.scope == "HOST" else "shared",
            "destroyed": v.state == "Destroy",
            "isextractable": True,
            "quiescevm": False,
            "supportsstoragesnapshot": False,
            "virtualsize": v.size or None,
            "utilization": f"{100 * v.physical_size / v.size:.2f}%" if v.size and v.physical_size else None,
            "clusterid": cluster.id if cluster else None,
            "clustername": cluster.name if cluster else None,
            "podid": pod.id if pod else None,
            "podname": pod.name if pod else None,
            "serviceofferingdisplaytext": service.displaytext if service else None,
            "diskBytesReadRate": rates.bytesreadrate if rates else None,
            "diskBytesWriteRate": rates.byteswriterate if rates else None,
            "diskIopsReadRate": rates.iopsreadrate if rates else None,
            "diskIopsWriteRate": rates.iopswriterate if rates else None,
            "hasannotations": False,
        }
    return out


@lists(
    "listVolumes",
    Volume,
    refused={
        "isencrypted:boolean": "not offered yet: no disk is encrypted",
        "kmskeyid:uuid": "not offered yet: no disk is encrypted",
        "listsystemvms:boolean": "not offered: routers are namespaces and have no disks",
    },
)
def _list(
    q: Query,
    ids: list[Volume] | None = None,
    clusterid: Cluster | None = None,
    hostid: Host | None = None,
    storageid: str | None = None,
    serviceofferingid: ServiceOffering | None = None,
    diskofferingid: DiskOffering | None = None,
    displayvolume: bool | None = None,
    tags: Tags | None = None,
    zoneid: Zone | None = None,
    podid: Pod | None = None,
    virtualmachineid: Annotated[Resource | None, Param(of="virtualmachine")] = None,
    retrieveonlyresourcecount: bool | None = None,
) -> None:
    """Lists volumes.

    storageid: id of the primary storage (operators)
    retrieveonlyresourcecount: how many there are and nothing else
    """
    c = Volume.c
    if ids is not None:
        q.where(q.tx.any_of(c.id, [v.id for v in ids]))
    if storageid is not None:
        q.where(c.pool_id == storageid.lower() if q.ctx.caller.rank >= 2 or q.ctx.caller.internal else sa.false())
    if virtualmachineid is not None:
        disk = REGISTRY["disk"].table
        q.where(c.id.in_(sa.select(disk.c.volume_id).where(disk.c.machine_id == virtualmachineid.id)))
    if retrieveonlyresourcecount:
        q.only_count = True
    if clusterid is not None:
        q.where(c.pool_id.in_(sa.select(StoragePool.c.id).where(StoragePool.c.cluster_id == clusterid.id)))
    if podid is not None:
        q.where(c.pool_id.in_(sa.select(StoragePool.c.id).where(StoragePool.c.pod_id == podid.id)))
    if diskofferingid is not None:
        q.where(c.disk_offering_id == diskofferingid.id)
    if serviceofferingid is not None:
        q.where(c.service_offering_id == serviceofferingid.id)
    if displayvolume is not None and q.ctx.caller.root:
        q.where(c.display == displayvolume)
    if hostid is not None:
        q.where(pool_of_host(hostid))
    if zoneid is not None:
        q.where(c.zone_id == zoneid.id)
    if tags:
        from mold.api.lists import tagged

        q.where(tagged(Volume, tags))
    q.where(c.state != "Expunging")


def _by_account(amount: Any, tag: str | None) -> Any:
    c = Volume.c
    return sa.select(c.account_id, amount).where(with_tag(c.storage_tags, tag)).group_by(c.account_id)


@counted("volume")
def _count(tag: str | None) -> Any:
    return _by_account(sa.func.count(), tag)


@counted("primary_storage")
def _sum(tag: str | None) -> Any:
    return _by_account(sa.func.sum(Volume.c.size), tag)


@removal.leaves(Volume, order=20)
def _of_accounts(tx: Tx, whose: Any, most: int) -> list[tuple[str, None]]:
    """Disks go with their machines, before this."""
    return [(v.id, None) for v in tx.find(Volume, whose(Volume.c.account_id), limit=most)]


def pool_of_host(host: Host) -> Any:
    """Condition for volumes on pools that a host can use."""
    return Volume.c.pool_id.in_(sa.select(StoragePool.c.id).where(pools.usable_on(host)))


def _pool_blocked(tx: Tx, pool: StoragePool) -> str | None:
    volume = tx.first(Volume, Volume.c.pool_id == pool.id)
    return (
        f"The primary storage {pool.name} holds the volume {volume.name}; move or remove it first."
        if volume is not None
        else None
    )


def _template_blocked(tx: Tx, template: Template) -> str | None:
    volume = tx.first(Volume, Volume.c.template_id == template.id)
    return (
        f"The volume {volume.name} stands on the template {template.name}; remove it first."
        if volume is not None
        else None
    )


pools.blockers.append(_pool_blocked)
templates.blockers.append(_template_blocked)
