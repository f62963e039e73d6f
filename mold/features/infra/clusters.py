"""Clusters: hosts of one hypervisor that share storage, and between which machines move."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, command
from mold.api.lists import Query, lists
from mold.api.permit import OPERATORS, ROOT, Infra
from mold.base.errors import Invalid
from mold.features.infra.pods import Pod
from mold.features.infra.settings import setting
from mold.features.infra.zones import Allocation, Zone
from mold.store import Resource, Tx, column, created, refers

CPU_FACTOR = setting(
    "cpu.overprovisioning.factor", 1.0, "How often a cluster's CPU may be promised.", scopes=("cluster",), low=1
)
MEMORY_FACTOR = setting(
    "mem.overprovisioning.factor", 1.0, "How often a cluster's memory may be promised.", scopes=("cluster",), low=1
)
HYPERVISORS = ("KVM", "Simulator")


class Cluster(Resource):
    """A cluster."""

    kind = "cluster"
    steady = True
    unique = (("pod_id", "name"),)
    appears = {"clusterid": "id", "clustername": "name"}
    policy = Infra()

    zone_id: str = refers("zone")
    pod_id: str = refers("pod")
    name: str = column(filter=True, keyword=True)
    hypervisor: str = column(api="hypervisortype")
    cluster_type: str = column(default="CloudManaged", filter=True)
    allocation_state: str = column(default="Enabled", filter=True)
    managed_state: str = column(default="Managed", filter=True)
    arch: str = column(default="x86_64", filter=True)
    created: str = created()


@lists("listClusters", Cluster, roles=OPERATORS, refused={"storageaccessgroup:string": LATER})
def _list(q: Query, hypervisor: str | None = None, showcapacities: bool | None = None) -> None:
    """Lists clusters."""
    if hypervisor is not None:
        q.where(sa.func.lower(Cluster.c.hypervisor) == hypervisor.lower())
    if showcapacities:
        q.details = frozenset({"all", "capacity"})


@shown(Cluster, Field("cpuovercommitratio"), Field("memoryovercommitratio"), Field("hasannotations", "boolean"))
def _ratios(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        c.id: {
            "cpuovercommitratio": str(CPU_FACTOR.get(tx, cluster=c.id)),
            "memoryovercommitratio": str(MEMORY_FACTOR.get(tx, cluster=c.id)),
            "hasannotations": False,
        }
        for c in rows
    }


@command("listHypervisors", shape="list", key="hypervisor", reads=True, fields=(Field("name"),))
def list_hypervisors(ctx: Ctx, zoneid: Zone | None = None) -> dict[str, Any]:
    """Lists hypervisors: those that Mold drives, or those that a zone has clusters of."""
    names: list[str] = list(HYPERVISORS)
    if zoneid is not None:
        query = sa.select(Cluster.c.hypervisor).where(Cluster.c.zone_id == zoneid.id).distinct()
        names = sorted(ctx.tx.execute(query).scalars())
    return {"count": len(names), "hypervisor": [{"name": n} for n in names]} if names else {}


def hypervisor_named(text: str) -> str:
    """The hypervisor's proper name; Invalid when it is none that is installed."""
    for name in HYPERVISORS:
        if name.lower() == text.strip().lower():
            return name
    raise Invalid(
        f"The hypervisor {text[:40]} is not offered; choose {' or '.join(HYPERVISORS)}.", parameter="hypervisor"
    )


@command(
    "addCluster",
    roles=ROOT,
    answers=Cluster,
    shape="list",
    event="CLUSTER.CREATE",
    refused={
        **dict.fromkeys(
            (
                "guestvswitchname:string",
                "guestvswitchtype:string",
                "publicvswitchname:string",
                "publicvswitchtype:string",
                "vsmipaddress:string",
                "vsmpassword:string",
                "vsmusername:string",
                "url:string",
                "username:string",
                "password:string",
            ),
            "for VMware clusters, which are not offered yet",
        ),
        **dict.fromkeys(
            ("ovm3cluster:string", "ovm3pool:string", "ovm3vip:string"), "for Oracle VM, which is not offered"
        ),
        "extensionid:uuid": LATER,
        "externaldetails:map": LATER,
        "storageaccessgroups:list": LATER,
    },
)
def add(
    ctx: Ctx,
    zoneid: Zone,
    podid: Pod,
    clustername: str,
    hypervisor: str,
    clustertype: Literal["CloudManaged", "ExternalManaged"],
    allocationstate: Allocation = "Enabled",
    arch: Literal["x86_64", "aarch64"] = "x86_64",
) -> Cluster:
    """Adds a cluster.

    clustername: the name
    clustertype: CloudManaged
    arch: the CPU architecture of its hosts
    """
    if podid.zone_id != zoneid.id:
        raise Invalid(f"The pod {podid.name} is in another zone.", parameter="podid")
    if clustertype == "ExternalManaged":
        raise Invalid("ExternalManaged clusters are for VMware, which is not offered yet.", parameter="clustertype")
    return ctx.tx.add(
        Cluster(
            zone_id=zoneid.id,
            pod_id=podid.id,
            name=clustername,
            hypervisor=hypervisor_named(hypervisor),
            allocation_state=allocationstate,
            arch=arch,
        )
    )


@command(
    "updateCluster",
    roles=ROOT,
    answers=Cluster,
    event="CLUSTER.EDIT",
    refused={"hypervisor:string": "not offered: make a new cluster", "externaldetails:map": LATER},
)
def update(
    ctx: Ctx,
    id: Cluster,
    clustername: str | None = None,
    allocationstate: Allocation | None = None,
    managedstate: Literal["Managed", "Unmanaged"] | None = None,
    clustertype: Literal["CloudManaged"] | None = None,
    arch: Literal["x86_64", "aarch64"] | None = None,
) -> Cluster:
    """Changes a cluster; enables or disables it.

    clustername: the new name
    managedstate: Unmanaged leaves its hosts alone
    """
    changes: dict[str, Any] = {
        "name": clustername,
        "allocation_state": allocationstate,
        "managed_state": managedstate,
        "arch": arch,
    }
    return ctx.tx.set(id, **{k: v for k, v in changes.items() if v is not None})


@command("deleteCluster", roles=ROOT, event="CLUSTER.DELETE")
def delete(ctx: Ctx, id: Cluster) -> None:
    """Deletes a cluster without hosts."""
    ctx.tx.remove(id)


def factors(tx: Tx, cluster_id: str) -> tuple[float, float]:
    """How often CPU and memory of a cluster may be promised."""
    return CPU_FACTOR.get(tx, cluster=cluster_id), MEMORY_FACTOR.get(tx, cluster=cluster_id)
