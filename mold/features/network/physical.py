"""Physical networks of a zone: what carries which kind of traffic, and how guest networks are kept apart."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import ROOT, Infra
from mold.base import net
from mold.base.errors import Conflict, InUse, Invalid
from mold.features.identity.domains import Domain
from mold.features.infra.zones import Zone
from mold.store import Resource, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import Done, Operation, operation, step

ISOLATION = {"VLAN": "vlan", "VXLAN": "vxlan"}
TRAFFIC = ("Public", "Guest", "Management", "Storage", "Control")


class PhysicalNetwork(Resource):
    """A physical network. `vlan` are the ranges that guest networks get their numbers from (VLAN or VXLAN ids)."""

    kind = "physicalnetwork"
    steady = True
    title = "physical network"
    unique = (("zone_id", "name"),)
    appears = {"physicalnetworkid": "id", "physicalnetworkname": "name"}
    policy = Infra()

    zone_id: str = refers("zone")
    name: str = column(filter=True, keyword=True)
    domain_id: str | None = column(default=None)
    isolation_methods: str = column(default="VLAN")
    broadcastdomainrange: str = column(default="ZONE")
    vlan: str = column(default="")
    networkspeed: str | None = column(default=None)
    tags: str | None = column(default=None)
    state: str = column(default="Disabled")
    created: str = created()

    @property
    def method(self) -> str:
        """The isolation method as hosts know it."""
        return ISOLATION[self.isolation_methods.split(",")[0].upper()]


class TrafficType(Resource):
    """A kind of traffic that a physical network carries, and on which device of a host."""

    kind = "traffictype"
    steady = True
    title = "traffic type"
    unique = (("physical_network_id", "traffic_type"),)
    policy = Infra()

    physical_network_id: str = refers("physicalnetwork", shows={"physicalnetworkid": "id"})
    traffic_type: str = column()
    kvm_network_label: str | None = column(default=None)
    isolation_methods: str | None = column(default=None)
    vlan: str | None = column(default=None)


class Provider(Resource):
    """Who provides services on a physical network, and whether it may."""

    kind = "networkserviceprovider"
    title = "network service provider"
    unique = (("physical_network_id", "name"),)

    physical_network_id: str = refers("physicalnetwork", shows={"physicalnetworkid": "id"}, cascade=True)
    name: str = column(default="VirtualRouter", filter=True)
    state: str = column(default="Enabled")


class VirtualRouterElement(Resource):
    """The virtual router of a provider, and whether it is set to work."""

    kind = "virtualrouterelement"
    title = "virtual router element"
    unique = (("nsp_id",),)

    nsp_id: str = refers("networkserviceprovider", shows={"nspid": "id"}, cascade=True)
    enabled: bool = column(default=True, filter=True)


@lists("listPhysicalNetworks", PhysicalNetwork, roles=ROOT)
def _list(q: Query) -> None:
    """Lists physical networks."""


@operation
class ChangePhysicalNetwork(Operation):
    """A change to a physical network has been made; hosts learn of it with the next network they serve."""

    answers = (PhysicalNetwork, "network")
    network: str

    @step
    def made(self, tx: Tx) -> None:
        tx.one(PhysicalNetwork, self.network)


@command(
    "createPhysicalNetwork",
    roles=ROOT,
    answers=PhysicalNetwork,
    job=True,
    creates=True,
    event="PHYSICAL.NETWORK.CREATE",
)
def create(
    ctx: Ctx,
    name: str,
    zoneid: Zone,
    vlan: str | None = None,
    isolationmethods: list[str] | None = None,
    domainid: Domain | None = None,
    networkspeed: str | None = None,
    tags: list[str] | None = None,
    broadcastdomainrange: Literal["ZONE", "POD"] = "ZONE",
) -> PhysicalNetwork:
    """Creates a physical network.

    isolationmethods: VLAN or VXLAN
    vlan: ranges of VLAN or VXLAN ids for guest networks, as 100-200,300
    broadcastdomainrange: ZONE
    """
    methods = [m.strip().upper() for m in isolationmethods or ["VLAN"]]
    for each in methods:
        if each not in ISOLATION:
            raise Invalid(
                f"The isolation method {each[:20]} is not offered; choose {' or '.join(ISOLATION)}.",
                parameter="isolationmethods",
            )
    _check_range(vlan, methods[0])
    return _started(
        ctx,
        ctx.tx.add(
            PhysicalNetwork(
                zone_id=zoneid.id,
                name=name,
                vlan=vlan or "",
                isolation_methods=",".join(methods),
                domain_id=domainid.id if domainid else None,
                networkspeed=networkspeed,
                tags=",".join(tags) if tags else None,
                broadcastdomainrange=broadcastdomainrange,
            )
        ),
    )


def _check_range(vlan: str | None, method: str) -> None:
    if vlan:
        top = max(high for _, high in net.vlans(vlan))
        if method == "VLAN" and top > 4094:
            raise Invalid("VLAN ids end at 4094.", parameter="vlan")


def _started(ctx: Ctx, row: PhysicalNetwork) -> PhysicalNetwork:
    if ctx.tx.first(Provider, Provider.c.physical_network_id == row.id) is None:
        ctx.tx.add(VirtualRouterElement(nsp_id=ctx.tx.add(Provider(physical_network_id=row.id)).id))
    ctx.start(ChangePhysicalNetwork(network=row.id))
    return row


@command("updatePhysicalNetwork", roles=ROOT, answers=PhysicalNetwork, job=True, event="PHYSICAL.NETWORK.UPDATE")
def update(
    ctx: Ctx,
    id: PhysicalNetwork,
    state: Literal["Enabled", "Disabled"] | None = None,
    vlan: str | None = None,
    networkspeed: str | None = None,
    tags: list[str] | None = None,
) -> PhysicalNetwork:
    """Changes a physical network; enables or disables it.

    vlan: all ranges of VLAN or VXLAN ids for guest networks
    """
    if vlan is not None:
        _check_range(vlan, id.isolation_methods.split(",")[0])
        ranges = net.vlans(vlan) if vlan else []
        for taken in users(ctx.tx, id):
            if not any(low <= taken <= high for low, high in ranges):
                raise InUse(f"The id {taken} is used by a network and must stay in the range.", vlan=taken)
    changes: dict[str, Any] = {
        "state": state,
        "vlan": vlan,
        "networkspeed": networkspeed,
        "tags": ",".join(tags) if tags is not None else None,
    }
    ctx.tx.set(id, **{k: v for k, v in changes.items() if v is not None})
    return _started(ctx, id)


def users(tx: Tx, physical: PhysicalNetwork) -> list[int]:
    """The ids of a physical network that guest networks use."""
    from mold.store import REGISTRY

    n = REGISTRY["network"].table
    return list(
        tx.execute(sa.select(n.c.tag).where(n.c.physical_network_id == physical.id, n.c.tag.is_not(None))).scalars()
    )


@command("deletePhysicalNetwork", roles=ROOT, job=True, event="PHYSICAL.NETWORK.DELETE")
def delete(ctx: Ctx, id: PhysicalNetwork) -> None:
    """Deletes a physical network that carries nothing any more, with its traffic types."""
    for each in ctx.tx.find(TrafficType, TrafficType.c.physical_network_id == id.id):
        ctx.tx.remove(each)
    ctx.tx.remove(id)
    ctx.start(Done.to(id))


@command(
    "listNetworkIsolationMethods",
    roles=ROOT,
    shape="list",
    key="isolationmethod",
    reads=True,
    fields=(Field("name"),),
)
def list_methods(
    ctx: Ctx, keyword: str | None = None, page: int | None = None, pagesize: int | None = None
) -> dict[str, Any]:
    """Lists how guest networks can be kept apart."""
    rows = [{"name": n} for n in ISOLATION if keyword is None or keyword.lower() in n.lower()]
    return paged("isolationmethod", rows, page, pagesize)


@lists("listTrafficTypes", TrafficType, roles=ROOT, id_param=False)
def _traffic(q: Query, physicalnetworkid: PhysicalNetwork) -> None:
    """Lists the traffic types of a physical network."""
    q.where(TrafficType.c.physical_network_id == physicalnetworkid.id)


FOREIGN = dict.fromkeys(
    ("hypervnetworklabel:string", "ovm3networklabel:string", "vmwarenetworklabel:string", "xennetworklabel:string"),
    "for hypervisors that are not offered yet",
)


@operation
class ChangeTrafficType(Operation):
    """A change to a traffic type has been made."""

    answers = (TrafficType, "traffic")
    traffic: str

    @step
    def made(self, tx: Tx) -> None:
        tx.one(TrafficType, self.traffic)


@command(
    "addTrafficType",
    roles=ROOT,
    answers=TrafficType,
    job=True,
    creates=True,
    event="TRAFFIC.TYPE.CREATE",
    refused=FOREIGN,
)
def add_traffic(
    ctx: Ctx,
    physicalnetworkid: PhysicalNetwork,
    traffictype: Literal["Public", "Guest", "Management", "Storage", "Control"],
    kvmnetworklabel: str | None = None,
    isolationmethod: str | None = None,
    vlan: str | None = None,
) -> TrafficType:
    """Says that a physical network carries a kind of traffic.

    traffictype: Public, Guest, Management, Storage or Control
    kvmnetworklabel: the bridge or device of the hosts that carries it
    """
    if kvmnetworklabel and (len(kvmnetworklabel) > 15 or "/" in kvmnetworklabel or " " in kvmnetworklabel):
        raise Invalid(
            "kvmnetworklabel must be the name of a network device, at most 15 characters.", parameter="kvmnetworklabel"
        )
    if (
        ctx.tx.first(
            TrafficType,
            TrafficType.c.physical_network_id == physicalnetworkid.id,
            TrafficType.c.traffic_type == traffictype,
        )
        is not None
    ):
        raise Conflict(
            f"The physical network {physicalnetworkid.name} carries {traffictype} traffic already.",
            traffictype=traffictype,
        )
    made = ctx.tx.add(
        TrafficType(
            physical_network_id=physicalnetworkid.id,
            traffic_type=traffictype,
            kvm_network_label=kvmnetworklabel,
            isolation_methods=isolationmethod,
            vlan=vlan,
        )
    )
    ctx.start(ChangeTrafficType(traffic=made.id))
    return made


@command("updateTrafficType", roles=ROOT, answers=TrafficType, job=True, event="TRAFFIC.TYPE.UPDATE", refused=FOREIGN)
def update_traffic(ctx: Ctx, id: TrafficType, kvmnetworklabel: str | None = None) -> TrafficType:
    """Changes the device that carries a kind of traffic.

    kvmnetworklabel: the bridge or device of the hosts that carries it
    """
    ctx.tx.set(id, kvm_network_label=kvmnetworklabel or None)
    ctx.start(ChangeTrafficType(traffic=id.id))
    return id


@command("deleteTrafficType", roles=ROOT, job=True, event="TRAFFIC.TYPE.DELETE")
def delete_traffic(ctx: Ctx, id: TrafficType) -> None:
    """Says that a physical network does not carry a kind of traffic any more."""
    if id.traffic_type in ("Guest", "Public") and users(ctx.tx, ctx.tx.one(PhysicalNetwork, id.physical_network_id)):
        raise InUse("Networks still use this physical network.")
    ctx.tx.remove(id)
    ctx.start(Done.to(id))


def served() -> Any:
    """The ids of the physical networks on which a router may serve: its provider is enabled, and its element is."""
    return (
        sa.select(Provider.c.physical_network_id)
        .join(VirtualRouterElement.table, VirtualRouterElement.c.nsp_id == Provider.c.id)
        .where(Provider.c.state == "Enabled", VirtualRouterElement.c.enabled)
    )


def carrying(tx: Tx, zone_id: str, traffic: str) -> tuple[PhysicalNetwork, TrafficType] | None:
    """The enabled physical network of a zone that carries a kind of traffic; for guests, one on which routers may serve."""
    row = tx.execute(
        sa.select(PhysicalNetwork.c.id, TrafficType.c.id)
        .join(TrafficType.table, TrafficType.c.physical_network_id == PhysicalNetwork.c.id)
        .where(
            PhysicalNetwork.c.zone_id == zone_id,
            TrafficType.c.traffic_type == traffic,
            PhysicalNetwork.c.state == "Enabled",
            *([PhysicalNetwork.c.id.in_(served())] if traffic == "Guest" else []),
        )
        .order_by(PhysicalNetwork.c.number)
    ).first()
    if row is None:
        return None
    return tx.one(PhysicalNetwork, row[0]), tx.one(TrafficType, row[1])


def carries(tx: Tx, physical_id: str) -> bool:
    """Whether a guest network may begin on this physical network: it is enabled, and so is the router on it."""
    serves = tx.first(Provider, Provider.c.physical_network_id == physical_id, Provider.c.physical_network_id.in_(served()))
    return serves is not None and tx.known(PhysicalNetwork, physical_id).state == "Enabled"


def label_of(tx: Tx, physical_id: str, traffic: str) -> str:
    """The hosts' device for a kind of traffic of a physical network."""
    found = tx.remembered(
        ("label", physical_id, traffic),
        (TrafficType,),
        lambda: tx.first(
            TrafficType, TrafficType.c.physical_network_id == physical_id, TrafficType.c.traffic_type == traffic
        ),
    )
    return (found.kvm_network_label or "") if found else ""


def public_segment(tx: Tx, physical_id: str, vlan: str) -> w.SegmentSpec:
    """The segment of a public range (`vlan` as given: untagged, a number, or vlan://number)."""
    word = vlan.removeprefix("vlan://").strip()
    label = label_of(tx, physical_id, "Public")
    if word in ("", "untagged"):
        return w.SegmentSpec(method="untagged", label=label)
    physical = tx.known(PhysicalNetwork, physical_id)
    return w.SegmentSpec(method=physical.method, tag=int(word), label=label)
