"""Volumes: the disks of machines. A volume is a promise (Allocated) until a machine's first start makes it real."""

from __future__ import annotations

from typing import Any

from mold.api.answer import Field, shown
from mold.api.command import LATER, Tags
from mold.api.lists import Query, lists
from mold.api.permit import Owned
from mold.base import clock
from mold.base.states import machine
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import DiskOffering
from mold.features.infra.zones import Zone
from mold.features.storage import pools, templates
from mold.features.storage.pools import StoragePool
from mold.features.storage.templates import Template
from mold.store import Tx, column, created, refers


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
)
def _kind(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    scopes = {p.id: p.scope for p in tx.among(StoragePool, [v.pool_id for v in rows if v.pool_id]).values()}
    return {
        v.id: {
            "storagetype": "local" if scopes.get(v.pool_id) == "HOST" else "shared",
            "destroyed": v.state == "Destroy",
            "isextractable": True,
            "quiescevm": False,
            "supportsstoragesnapshot": False,
        }
        for v in rows
    }


@lists(
    "listVolumes",
    Volume,
    refused={
        "encrypted:boolean": LATER,
        "isencrypted:boolean": LATER,
        "listonlyremoved:boolean": LATER,
        "listsystemvms:boolean": LATER,
        "retrieveonlyresourcecount:boolean": LATER,
        "showicon:boolean": LATER,
    },
)
def _list(
    q: Query,
    ids: list[Volume] | None = None,
    clusterid: Cluster | None = None,
    hostid: Host | None = None,
    storageid: StoragePool | None = None,
    serviceofferingid: str | None = None,
    diskofferingid: DiskOffering | None = None,
    displayvolume: bool | None = None,
    tags: Tags | None = None,
    zoneid: Zone | None = None,
    podid: str | None = None,
) -> None:
    """Lists volumes."""
    import sqlalchemy as sa

    c = Volume.c
    if ids is not None:
        q.where(q.tx.any_of(c.id, [v.id for v in ids]))
    if storageid is not None:
        q.where(c.pool_id == storageid.id)
    if clusterid is not None:
        q.where(c.pool_id.in_(sa.select(StoragePool.c.id).where(StoragePool.c.cluster_id == clusterid.id)))
    if podid is not None:
        q.where(c.pool_id.in_(sa.select(StoragePool.c.id).where(StoragePool.c.pod_id == podid)))
    if diskofferingid is not None:
        q.where(c.disk_offering_id == diskofferingid.id)
    if serviceofferingid is not None:
        q.where(c.service_offering_id == serviceofferingid)
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


def pool_of_host(host: Host) -> Any:
    """Condition for volumes on pools that a host can use."""
    import sqlalchemy as sa

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
