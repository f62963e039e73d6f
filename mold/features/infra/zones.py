"""Zones: data centres. A new zone is Disabled until somebody enables it; nothing is placed in a disabled one."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Details, Tags, command
from mold.api.lists import Query, lists, tagged
from mold.api.permit import ROOT, Offered
from mold.base import ids, net
from mold.base.errors import Invalid
from mold.features.identity.domains import Domain
from mold.features.identity.tags import tags_of, untag
from mold.store import REGISTRY, Resource, Tx, column, created

Allocation = Literal["Enabled", "Disabled"]


class Zone(Resource):
    """A zone."""

    kind = "zone"
    steady = True
    appears = {"zoneid": "id", "zonename": "name"}
    policy = Offered()

    name: str = column(unique=True, filter=True, keyword=True)
    dns1: str = column()
    dns2: str | None = column(default=None)
    ip6dns1: str | None = column(default=None)
    ip6dns2: str | None = column(default=None)
    internaldns1: str = column()
    internaldns2: str | None = column(default=None)
    guestcidraddress: str | None = column(default=None)
    networktype: str = column(default="Advanced", filter=True)
    domain: str | None = column(default=None, doc="DNS suffix of the zone's networks")
    domain_ids: str | None = column(default=None, hidden=True)
    allocation_state: str = column(default="Disabled")
    security_groups_enabled: bool = column(default=False)
    local_storage_enabled: bool = column(default=False)
    dhcpprovider: str = column(default="VirtualRouter")
    type: str = column(default="Core")
    sortkey: int = column(default=0, hidden=True)
    zonetoken: str = column(default_factory=ids.new_id)
    resource_details: dict[str, str] | None = column(default=None)
    created: str = created()


def check_dns(**addresses: str | None) -> None:
    """Each given address must be an IPv4 address."""
    for name, text in addresses.items():
        if text:
            net.ip(text, name)


@lists("listZones", Zone, refused={"storageaccessgroup:string": LATER})
def _list(
    q: Query,
    available: bool | None = None,
    domainid: Domain | None = None,
    ids: list[Zone] | None = None,
    showcapacities: bool | None = None,
    showicon: bool | None = None,
    tags: Tags | None = None,
) -> None:
    """Lists zones.

    available: true, the default: zones in which machines can be deployed; false: those in which the caller has machines
    showcapacities: with what is taken there (operators)
    """
    if ids is not None:
        q.where(q.tx.any_of(Zone.c.id, [z.id for z in ids]))
    if domainid is not None:
        q.where(Zone.c.domain_ids.contains(domainid.id, autoescape=True))
    if available is False:
        machine = REGISTRY["virtualmachine"].table
        mine = machine.c.account_id.in_((q.ctx.caller.account_id, *q.ctx.caller.projects))
        q.where(Zone.c.id.in_(sa.select(machine.c.zone_id).where(mine)))
    if tags:
        q.where(tagged(Zone, tags))
    if not q.ctx.caller.root and not q.ctx.caller.internal:
        q.where(Zone.c.allocation_state == "Enabled")
    if showcapacities:
        q.details = frozenset({"all", "capacity"})
    q.order = [Zone.c.sortkey, Zone.c.number]


@shown(
    Zone,
    Field("domainid"),
    Field("domainname"),
    Field("tags", "set"),
    Field("isnsxenabled", "boolean"),
    Field("routedmodeenabled", "boolean"),
    Field("allowuserspecifyvrmtu", "boolean"),
    Field("hasannotations", "boolean"),
)
def _domains(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    first = {z.id: _first(z.domain_ids) for z in rows}
    named = tx.among(Domain, [d for d in first.values() if d])
    tags = tags_of(tx, "zone", list(first))
    out: dict[str, dict[str, Any]] = {}
    for z, d in first.items():
        out[z] = {
            "tags": tags.get(z, []),
            "isnsxenabled": False,
            "routedmodeenabled": False,
            "allowuserspecifyvrmtu": False,
            "hasannotations": False,
        }
        if d and d in named:
            out[z].update(domainid=d, domainname=named[d].name)
    return out


def _first(listed: str | None) -> str | None:
    return listed.strip('[]"').split('"')[0] if listed else None


@command(
    "createZone",
    roles=ROOT,
    answers=Zone,
    event="ZONE.CREATE",
    refused={
        "securitygroupenabled:boolean": "not offered yet: security groups come with shared networks",
        "isedge:boolean": LATER,
        "storageaccessgroups:list": LATER,
    },
)
def create(
    ctx: Ctx,
    name: str,
    dns1: str,
    internaldns1: str,
    networktype: Literal["Advanced", "Basic"],
    dns2: str | None = None,
    internaldns2: str | None = None,
    ip6dns1: str | None = None,
    ip6dns2: str | None = None,
    domain: str | None = None,
    domainid: Domain | None = None,
    guestcidraddress: str | None = None,
    localstorageenabled: bool = False,
    allocationstate: Allocation = "Disabled",
) -> Zone:
    """Creates a zone.

    dns1: first DNS server that machines may use
    dns2: second DNS server that machines may use
    internaldns1: first DNS server for the cloud's own machines
    internaldns2: second DNS server for the cloud's own machines
    networktype: Advanced, or Basic
    domain: DNS suffix of the zone's networks
    guestcidraddress: the CIDR that isolated networks get when none is given
    localstorageenabled: whether disks may lie on a host's own storage
    """
    if networktype == "Basic":
        raise Invalid("Basic zones are not offered yet; create an Advanced one.", parameter="networktype")
    check_dns(dns1=dns1, dns2=dns2, internaldns1=internaldns1, internaldns2=internaldns2)
    if guestcidraddress:
        net.network(guestcidraddress, "guestcidraddress")
    return ctx.tx.add(
        Zone(
            name=name,
            dns1=dns1,
            dns2=dns2,
            internaldns1=internaldns1,
            internaldns2=internaldns2,
            ip6dns1=ip6dns1,
            ip6dns2=ip6dns2,
            domain=domain,
            domain_ids=f'["{domainid.id}"]' if domainid else None,
            guestcidraddress=guestcidraddress or "10.1.1.0/24",
            local_storage_enabled=localstorageenabled,
            allocation_state=allocationstate,
            networktype=networktype,
        )
    )


@command("updateZone", roles=ROOT, answers=Zone, event="ZONE.EDIT", refused={"dnssearchorder:list": LATER})
def update(
    ctx: Ctx,
    id: Zone,
    name: str | None = None,
    dns1: str | None = None,
    dns2: str | None = None,
    internaldns1: str | None = None,
    internaldns2: str | None = None,
    ip6dns1: str | None = None,
    ip6dns2: str | None = None,
    domain: str | None = None,
    guestcidraddress: str | None = None,
    ispublic: bool | None = None,
    allocationstate: Allocation | None = None,
    localstorageenabled: bool | None = None,
    sortkey: int | None = None,
    details: Details | None = None,
    dhcpprovider: Literal["VirtualRouter"] | None = None,
) -> Zone:
    """Changes a zone; enables or disables it.

    ispublic: true opens a zone that was made for one domain to everybody
    dhcpprovider: who serves DHCP
    """
    check_dns(dns1=dns1, dns2=dns2, internaldns1=internaldns1, internaldns2=internaldns2)
    if guestcidraddress:
        net.network(guestcidraddress, "guestcidraddress")
    changes: dict[str, Any] = {
        "name": name,
        "dns1": dns1,
        "dns2": dns2,
        "internaldns1": internaldns1,
        "internaldns2": internaldns2,
        "ip6dns1": ip6dns1,
        "ip6dns2": ip6dns2,
        "domain": domain,
        "guestcidraddress": guestcidraddress,
        "allocation_state": allocationstate,
        "local_storage_enabled": localstorageenabled,
        "sortkey": sortkey,
        "dhcpprovider": dhcpprovider,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    if details:
        changes["resource_details"] = {**(id.resource_details or {}), **details}
    if ispublic:
        changes["domain_ids"] = None
    return ctx.tx.set(id, **changes)


@command("deleteZone", roles=ROOT, event="ZONE.DELETE")
def delete(ctx: Ctx, id: Zone) -> None:
    """Deletes a zone that holds nothing any more."""
    ctx.tx.remove(id)
    untag(ctx.tx, "zone", id.id)
