"""Public addresses: ranges that an operator brings, and the single addresses that networks take from them."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Param, command
from mold.api.lists import Query, lists, tagged
from mold.api.permit import ROOT, Infra, Owned, Private, below
from mold.base import clock, ids, net
from mold.base.errors import Conflict, InUse, Invalid, NoCapacity
from mold.features.identity import limits, removal
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Project
from mold.features.identity.tags import tags_of
from mold.features.infra.capacity import Amount, gauge
from mold.features.infra.pods import Pod
from mold.features.infra.zones import Zone
from mold.features.network.physical import PhysicalNetwork, carrying
from mold.store import Resource, Tx, column, created, refers


class VlanRange(Resource):
    """A range of public addresses. `vlan` is `untagged` or a number."""

    kind = "vlaniprange"
    title = "IP range"
    policy = Infra()

    zone_id: str = refers("zone", shows={"zoneid": "id"})
    physical_network_id: str = refers("physicalnetwork", shows={"physicalnetworkid": "id"})
    vlan: str = column(default="untagged", filter=True)
    gateway: str = column()
    netmask: str = column()
    start_ip: str = column()
    end_ip: str = column()
    account_id: str | None = refers("account", default=None, shows={"account": "name"}, filter=False)
    domain_id: str | None = refers("domain", default=None, filter=False)
    forsystemvms: bool = column(default=False)
    created: str = created()


class Address(Resource):
    """One public address. `state`: Free, Allocated."""

    kind = "address"
    title = "public IP address"
    unique = (("zone_id", "vlan", "ip"),)
    indexes = (("zone_id", "state"),)
    policy = Private()

    range_id: str = refers(
        "vlaniprange",
        cascade=True,
        admin=True,
        filter=False,
        shows={"vlanid": "id", "vlanname": "vlan", "physicalnetworkid": "physical_network_id"},
    )
    zone_id: str = refers("zone")
    vlan: str = column(hidden=True)
    ip: str = column(api="ipaddress", filter=True, keyword=True)
    state: str = column(default="Free")
    account_id: str | None = refers("account", default=None, filter=False)
    domain_id: str | None = refers("domain", default=None, filter=False)
    project_id: str | None = refers("project", default=None, filter=False)
    network_id: str | None = refers(
        "network", default=None, shows={"associatednetworkid": "id", "associatednetworkname": "name"}, filter=False
    )
    source_nat: bool = column(default=False, api="issourcenat", filter=True)
    allocated: str | None = column(default=None, kind="date")


FLAGS = (
    *("forvirtualnetwork", "isstaticnat", "issystem", "isportable", "fordisplay", "hasrules", "forsystemvms"),
    "hasannotations",
)


@shown(VlanRange, Field("forvirtualnetwork", "boolean"), Field("cidr"), Field("description"))
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        r.id: {
            "forvirtualnetwork": True,
            "cidr": str(net.around(r.gateway, r.netmask)),
            "description": r.vlan,
            "vlan": f"vlan://{r.vlan}",
        }
        for r in rows
    }


@lists("listVlanIpRanges", VlanRange, key="vlaniprange", roles=ROOT)
def _list(
    q: Query,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    projectid: Project | None = None,
    podid: Pod | None = None,
    networkid: Annotated[Resource | None, Param(of="network")] = None,
    forvirtualnetwork: bool | None = None,
    vlan: str | None = None,
) -> None:
    """Lists ranges of public addresses.

    podid: ranges of this pod; public ranges belong to none
    networkid: ranges of this network; public ranges belong to none
    forvirtualnetwork: false: ranges of shared networks; there are none
    """
    c = VlanRange.c
    if podid or networkid or forvirtualnetwork is False:
        q.where(sa.false())  # ranges of pods and of guest networks do not exist here
    if vlan is not None:
        q.where(c.vlan == vlan.removeprefix("vlan://"))
    if domainid is not None:
        q.where(c.domain_id == domainid.id)
    if account is not None:
        q.where(c.account_id.in_(sa.select(Account.c.id).where(Account.c.name == account)))
    everywhere: Any = projectid
    if everywhere not in (None, "-1"):
        q.where(sa.false())


SIX = dict.fromkeys(
    ("startipv6:string", "endipv6:string", "ip6cidr:string", "ip6gateway:string"), "not offered yet: IPv6"
)


@command(
    "createVlanIpRange",
    roles=ROOT,
    answers=VlanRange,
    key="vlan",
    event="VLAN.IP.RANGE.CREATE",
    refused={
        **SIX,
        "podid:uuid": "for Basic zones, which are not offered yet",
        "networkid:uuid": "for shared networks, which are not offered yet",
        "provider:string": LATER,
        "projectid:uuid": LATER,
        "account:string": LATER,
        "domainid:uuid": LATER,
    },
)
def create(
    ctx: Ctx,
    startip: str | None = None,
    gateway: str | None = None,
    netmask: str | None = None,
    zoneid: Zone | None = None,
    endip: str | None = None,
    vlan: str = "untagged",
    physicalnetworkid: PhysicalNetwork | None = None,
    forvirtualnetwork: bool = True,
    forsystemvms: bool = False,
) -> VlanRange:
    """Adds a range of public addresses.

    vlan: untagged, or the VLAN
    forvirtualnetwork: true
    """
    if not startip or not gateway or not netmask:
        raise Invalid("Give startip, gateway and netmask of the range.", parameter="startip")
    if zoneid is None and physicalnetworkid is None:
        raise Invalid("Give zoneid.", parameter="zoneid")
    zone_id = zoneid.id if zoneid else physicalnetworkid.zone_id  # type: ignore[union-attr]
    if not forvirtualnetwork:
        raise Invalid(
            "Ranges for shared networks are not offered yet; say forvirtualnetwork=true.", parameter="forvirtualnetwork"
        )
    physical = physicalnetworkid
    if physical is None:
        found = carrying(ctx.tx, zone_id, "Public")
        if found is None:
            raise Invalid(
                "No enabled physical network of the zone carries Public traffic; add that traffic type first.",
                parameter="physicalnetworkid",
            )
        physical = found[0]
    word = vlan.removeprefix("vlan://").strip().lower() or "untagged"
    if word != "untagged" and not 1 <= (ids.whole(word) or 0) <= 0xFFFFFF:
        raise Invalid("vlan must be untagged or a number.", parameter="vlan")
    network = net.around(gateway, netmask)
    first, last = net.span(startip, endip, network)
    if first <= int(net.ip(gateway)) <= last:
        raise Invalid(f"The range holds the gateway {gateway}.", parameter="gateway")
    for other in ctx.tx.find(VlanRange, VlanRange.c.zone_id == zone_id):
        theirs = net.around(other.gateway, other.netmask)
        if other.vlan == word:
            low, high = net.span(other.start_ip, other.end_ip)
            if not (last < low or first > high):
                raise Conflict(f"The range overlaps {other.start_ip} - {other.end_ip}.", rangeid=other.id)
            if theirs != network and theirs.overlaps(network):
                raise Conflict(f"The network {network} overlaps {theirs} on the same VLAN.", rangeid=other.id)
    made = ctx.tx.add(
        VlanRange(
            zone_id=zone_id,
            physical_network_id=physical.id,
            vlan=word,
            gateway=gateway,
            netmask=netmask,
            start_ip=net.dotted(first),
            end_ip=net.dotted(last),
            forsystemvms=forsystemvms,
        )
    )
    _fill(ctx.tx, made, first, last)
    return made


def _fill(tx: Tx, range_: VlanRange, first: int, last: int) -> None:
    from mold.store.resource import fresh_id

    rows = [
        {
            "id": fresh_id(),
            "range_id": range_.id,
            "zone_id": range_.zone_id,
            "vlan": range_.vlan,
            "ip": net.dotted(n),
            "state": "Free",
            "source_nat": False,
        }
        for n in range(first, last + 1)
    ]
    for start in range(0, len(rows), 1000):
        tx.execute(sa.insert(Address.table), rows[start : start + 1000])


@command("deleteVlanIpRange", roles=ROOT, event="VLAN.IP.RANGE.DELETE")
def delete(ctx: Ctx, id: VlanRange) -> None:
    """Removes a range of public addresses of which none is in use."""
    used = ctx.tx.first(Address, Address.c.range_id == id.id, Address.c.state != "Free")
    if used is not None:
        raise InUse(f"The address {used.ip} of the range is in use.", ip=used.ip)
    ctx.tx.remove(id)


@command("updateVlanIpRange", roles=ROOT, answers=VlanRange, key="vlan", event="VLAN.IP.RANGE.UPDATE", refused=SIX)
def update(
    ctx: Ctx,
    id: VlanRange,
    startip: str | None = None,
    endip: str | None = None,
    gateway: str | None = None,
    netmask: str | None = None,
    forsystemvms: bool | None = None,
) -> VlanRange:
    """Makes a range of public addresses longer or shorter."""
    tx = ctx.tx
    if (gateway and gateway != id.gateway) or (netmask and netmask != id.netmask):
        used = tx.first(Address, Address.c.range_id == id.id, Address.c.state != "Free")
        if used is not None:
            raise InUse(f"The address {used.ip} of the range is in use; gateway and netmask cannot change.", ip=used.ip)
        tx.set(id, gateway=gateway or id.gateway, netmask=netmask or id.netmask)
    network = net.around(id.gateway, id.netmask)
    first, last = net.span(startip or id.start_ip, endip or id.end_ip, network)
    keep = {net.dotted(n) for n in range(first, last + 1)}
    have = {a.ip: a for a in tx.find(Address, Address.c.range_id == id.id)}
    for ip, address in have.items():
        if ip not in keep:
            if address.state != "Free":
                raise InUse(f"The address {ip} is in use and would fall out of the range.", ip=ip)
            tx.remove(address)
    missing = sorted(int(net.ip(ip)) for ip in keep - set(have))
    for number in missing:
        _fill(tx, id, number, number)
    return tx.set(
        id,
        start_ip=net.dotted(first),
        end_ip=net.dotted(last),
        **({"forsystemvms": forsystemvms} if forsystemvms is not None else {}),
    )


def take(tx: Tx, zone_id: str, owner: Owned, *, source_nat: bool = False, network_id: str | None = None) -> Address:
    """Give a free public address of the zone to an owner; NoCapacity when none is left."""
    account = tx.one(Account, owner.account_id)
    reserved = sa.select(VlanRange.c.id).where(VlanRange.c.forsystemvms)
    pick = (
        sa.select(Address.c.number)
        .where(Address.c.zone_id == zone_id, Address.c.state == "Free", Address.c.range_id.not_in(reserved))
        .order_by(Address.c.number)
        .limit(1)
    )
    if tx.postgres:
        pick = pick.with_for_update(skip_locked=True)
    row = tx.execute(
        sa.update(Address.table)
        .where(Address.c.number == pick.scalar_subquery(), Address.c.state == "Free")
        .values(
            state="Allocated",
            account_id=owner.account_id,
            domain_id=owner.domain_id,
            project_id=owner.project_id,
            source_nat=source_nat,
            network_id=network_id,
            allocated=clock.now(),
        )
        .returning(Address.table)
    ).first()
    if row is None:
        raise NoCapacity(
            "No public IP address of the zone is free; add a range with createVlanIpRange.",
            public="No public IP address is free in this zone.",
        )
    limits.reserve(tx, account, public_ip=1)
    tx.noted(Address, row.id, "state", "account_id", "network_id")
    return Address.from_row(row)


def give_back(tx: Tx, address: Address) -> None:
    """Free an address."""
    if address.state == "Free":
        return
    if address.account_id:
        limits.give_back(tx, address.account_id, public_ip=1)
    tx.set(
        address,
        state="Free",
        account_id=None,
        domain_id=None,
        project_id=None,
        network_id=None,
        source_nat=False,
        allocated=None,
    )


@removal.leaves(Address, order=40)
def _of_accounts(tx: Tx, whose: Any, most: int) -> list[tuple[str, None]]:
    """Addresses that no network holds any more are free at once."""
    for each in tx.find(Address, whose(Address.c.account_id)):
        give_back(tx, each)
    return []


@shown(
    Address,
    *(Field(n, "boolean") for n in FLAGS),
    Field("tags", "list"),
)
def _flags(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    tags = tags_of(tx, "address", [a.id for a in rows])
    system = {r.id: r.forsystemvms for r in tx.among(VlanRange, list({a.range_id for a in rows})).values()}
    return {
        a.id: {
            "forvirtualnetwork": True,
            "isstaticnat": False,
            "issystem": False,
            "isportable": False,
            "fordisplay": True,
            "hasrules": False,
            "forsystemvms": system.get(a.range_id, False),
            "hasannotations": False,
            "tags": tags.get(a.id, []),
        }
        for a in rows
    }


@lists(
    "listPublicIpAddresses",
    Address,
    key="publicipaddress",
    refused={
        "forloadbalancing:boolean": "not offered yet: balancers",
        "forprovider:boolean": LATER,
        "vpcid:uuid": "VPCs are not offered yet",
    },
)
def _addresses(
    q: Query,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
    isrecursive: bool = False,
    listall: bool = False,
    allocatedonly: bool = True,
    associatednetworkid: Annotated[Resource | None, Param(of="network")] = None,
    networkid: Annotated[Resource | None, Param(of="network")] = None,
    physicalnetworkid: PhysicalNetwork | None = None,
    vlanid: VlanRange | None = None,
    state: str | None = None,
    isstaticnat: bool | None = None,
    forvirtualnetwork: bool | None = None,
    forsystemvms: bool | None = None,
    fordisplay: Annotated[bool | None, Param(roles=ROOT)] = None,
    tags: dict[str, str] | None = None,
    retrieveonlyresourcecount: bool | None = None,
) -> None:
    """Lists public IP addresses: those in use, or for operators with allocatedonly=false also the free ones.

    associatednetworkid: addresses of this guest network
    networkid: addresses of this network
    vlanid: addresses of this range (operators)
    state: Free or Allocated
    isstaticnat: true: addresses that belong to one machine; there are none yet
    forvirtualnetwork: false: addresses of shared networks; there are none
    forsystemvms: addresses of ranges for the cloud's own machines
    retrieveonlyresourcecount: how many there are and nothing else
    """
    c, caller = Address.c, q.ctx.caller
    whose: Any = projectid  # a project, or -1 for all of them
    if account is not None:
        of = domainid.id if domainid else caller.domain_id
        q.where(c.account_id.in_(sa.select(Account.c.id).where(Account.c.name == account, Account.c.domain_id == of)))
    elif whose is not None:
        if whose != "-1":
            q.where(c.project_id == whose.id)
    elif domainid is not None:
        q.where(below(domainid.trail, c.domain_id) if isrecursive else c.domain_id == domainid.id)
    elif isrecursive and caller.rank >= 1:
        q.where(below(caller.domain_trail, c.domain_id) | c.domain_id.is_(None))
    elif not (listall or caller.internal or "id" in q.ctx.given):
        # Nobody owns a free address: it is listed to operators who ask for them.
        q.where((c.account_id == caller.account_id) | (c.state == "Free"))
    if state is not None:
        q.where(sa.func.lower(c.state) == state.lower())
    elif allocatedonly:
        q.where(c.state != "Free")
    for wanted in (associatednetworkid, networkid):
        if wanted is not None:
            q.where(c.network_id == wanted.id)
    ranges = []
    if physicalnetworkid is not None:
        ranges.append(VlanRange.c.physical_network_id == physicalnetworkid.id)
    if forsystemvms is not None:
        ranges.append(VlanRange.c.forsystemvms == forsystemvms)
    if vlanid is not None:
        ranges.append(VlanRange.c.id == vlanid.id)
    if ranges:
        q.where(c.range_id.in_(sa.select(VlanRange.c.id).where(*ranges)))
    if isstaticnat or forvirtualnetwork is False or fordisplay is False:
        q.where(sa.false())
    if tags:
        q.where(tagged(Address, tags))
    if retrieveonlyresourcecount:
        q.only_count = True


@limits.counted("public_ip")
def _count(tag: str | None) -> Any:
    c = Address.c
    taken = sa.select(c.account_id, sa.func.count()).where(c.state != "Free", c.account_id.is_not(None))
    return taken.group_by(c.account_id)


@gauge
def _public(tx: Tx) -> list[Amount]:
    used = sa.func.sum(sa.case((Address.c.state != "Free", 1), else_=0))
    query = sa.select(Address.c.zone_id, used, sa.func.count()).group_by(Address.c.zone_id)
    return [Amount(4, zone, None, None, int(taken), total) for zone, taken, total in tx.execute(query)]
