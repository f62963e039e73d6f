"""Pods: racks that share one management network."""

from __future__ import annotations

from typing import Any

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, command
from mold.api.lists import Query, lists
from mold.api.permit import OPERATORS, ROOT, Infra
from mold.base import net
from mold.base.errors import Conflict, Invalid
from mold.features.infra.zones import Allocation, Zone
from mold.store import Resource, Tx, column, created, refers


class Pod(Resource):
    """A pod with the range of its management network that is the cloud's own."""

    kind = "pod"
    steady = True
    unique = (("zone_id", "name"),)
    appears = {"podid": "id", "podname": "name"}
    policy = Infra()

    zone_id: str = refers("zone")
    name: str = column(filter=True, keyword=True)
    gateway: str = column()
    netmask: str = column()
    start_ip: str = column(hidden=True)
    end_ip: str = column(hidden=True)
    allocation_state: str = column(default="Enabled", filter=True)
    created: str = created()


@lists("listPods", Pod, roles=OPERATORS, refused={"storageaccessgroup:string": LATER})
def _list(q: Query, showcapacities: bool | None = None) -> None:
    """Lists pods."""
    if showcapacities:
        q.details = frozenset({"all", "capacity"})


@shown(
    Pod,
    Field("startip", "list"),
    Field("endip", "list"),
    Field("ipranges", "list"),
    Field("forsystemvms", "list"),
    Field("hasannotations", "boolean"),
)
def _ranges(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        p.id: {
            "startip": [p.start_ip],
            "endip": [p.end_ip],
            "forsystemvms": ["0"],
            "hasannotations": False,
            "ipranges": [
                {
                    "startip": p.start_ip,
                    "endip": p.end_ip,
                    "gateway": p.gateway,
                    "cidr": str(net.around(p.gateway, p.netmask)),
                    "forsystemvms": "0",
                }
            ],
        }
        for p in rows
    }


def check(tx: Tx, zone_id: str, gateway: str, netmask: str, start: str, end: str, but: str = "") -> None:
    """The range must lie in the pod's network, and that must not overlap another pod's."""
    mine = net.around(gateway, netmask)
    net.span(start, end, mine)
    for other in tx.find(Pod, Pod.c.zone_id == zone_id, Pod.c.id != but):
        if net.around(other.gateway, other.netmask).overlaps(mine):
            raise Conflict(f"The network {mine} overlaps the one of pod {other.name}.", podid=other.id)


@command("createPod", roles=ROOT, answers=Pod, event="POD.CREATE", refused={"storageaccessgroups:list": LATER})
def create(
    ctx: Ctx,
    name: str,
    zoneid: Zone,
    startip: str | None = None,
    gateway: str | None = None,
    netmask: str | None = None,
    endip: str | None = None,
    allocationstate: Allocation = "Enabled",
) -> Pod:
    """Creates a pod."""
    if not gateway or not netmask or not startip:
        raise Invalid("A pod needs gateway, netmask and startip of its management network.", parameter="gateway")
    check(ctx.tx, zoneid.id, gateway, netmask, startip, endip or startip)
    return ctx.tx.add(
        Pod(
            zone_id=zoneid.id,
            name=name,
            gateway=gateway,
            netmask=netmask,
            start_ip=startip,
            end_ip=endip or startip,
            allocation_state=allocationstate,
        )
    )


@command("updatePod", roles=ROOT, answers=Pod, event="POD.EDIT")
def update(
    ctx: Ctx,
    id: Pod,
    name: str | None = None,
    gateway: str | None = None,
    netmask: str | None = None,
    startip: str | None = None,
    endip: str | None = None,
    allocationstate: Allocation | None = None,
) -> Pod:
    """Changes a pod; enables or disables it."""
    changes = {
        "name": name,
        "gateway": gateway,
        "netmask": netmask,
        "start_ip": startip,
        "end_ip": endip,
        "allocation_state": allocationstate,
    }
    new = {**id.fields(), **{k: v for k, v in changes.items() if v is not None}}
    check(ctx.tx, id.zone_id, new["gateway"], new["netmask"], new["start_ip"], new["end_ip"], but=id.id)
    return ctx.tx.set(id, **{k: v for k, v in changes.items() if v is not None})


@command("deletePod", roles=ROOT, event="POD.DELETE")
def delete(ctx: Ctx, id: Pod) -> None:
    """Deletes a pod that holds no clusters any more."""
    ctx.tx.remove(id)
