"""Guest networks. An isolated one has a segment and a router of its own, made when its first machine starts.

`serial` grows with every change that its elements must learn of; `applied` is the one they follow.
"""

from __future__ import annotations

import ipaddress
import random
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Owner, Param, Tags, command
from mold.api.lists import Query, lists
from mold.api.permit import ROOT, Owned
from mold.base import clock, ids, net
from mold.base.errors import Conflict, Denied, InUse, Invalid, NoCapacity
from mold.base.states import machine
from mold.drivers.elements import ELEMENTS
from mold.features.identity import limits, removal
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.tags import tags_of, untag
from mold.features.infra.alerts import failing
from mold.features.infra.capacity import Amount, gauge
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.features.network.offerings import NetworkOffering, service_list
from mold.features.network.physical import PhysicalNetwork, carries, carrying, label_of
from mold.store import REGISTRY, Prepared, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import Engine, Job, Operation, change, look, operation, reconciler, step, unattended

DOMAIN_SUFFIX = setting(
    "guest.domain.suffix",
    "cloud.internal",
    "DNS suffix of networks whose domain, account and zone have none.",
    category="Network",
    scopes=("zone",),
)
GC_WAIT = setting(
    "network.gc.wait", 600, "Seconds that a network without running machines keeps its router.", low=0, unit="seconds"
)
CIDR_LIMIT = setting(
    "network.guest.cidr.limit",
    22,
    "Largest guest network that may be made, as the length of its prefix.",
    category="Network",
    low=8,
    high=29,
)
SAME_NAMES = setting(
    "allow.duplicate.networkname", True, "Whether an account may give one name to several networks.", scopes=("account",)
)
GC_INTERVAL = setting(
    "network.gc.interval", 600, "Seconds between looks for networks that run no machine.", low=5, unit="seconds"
)


class Network(Owned):
    """A guest network."""

    kind = "network"
    appears = {"networkid": "id", "networkname": "name"}
    indexes = (("zone_id", "state"),)
    unique = (("physical_network_id", "tag"),)
    states = machine(
        "Allocated",
        implement="Allocated|Shutdown|Implementing>Implementing",
        implemented="Implementing|Implemented>Implemented",
        shutdown="Implemented|Implementing|Shutdown>Shutdown",
        rest="Shutdown>Allocated",
        destroy="Allocated|Shutdown|Implemented|Implementing|Setup|Destroy>Destroy",
    )

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", keyword=True)
    zone_id: str = refers("zone")
    network_offering_id: str = refers(
        "networkoffering",
        shows={
            "networkofferingid": "id",
            "networkofferingname": "name",
            "networkofferingdisplaytext": "displaytext",
            "networkofferingconservemode": "conserve_mode",
            "networkofferingavailability": "availability",
        },
    )
    physical_network_id: str | None = refers(
        "physicalnetwork", default=None, shows={"physicalnetworkid": "id"}, admin=True
    )
    traffic_type: str = column(default="Guest", filter=True)
    type: str = column(default="Isolated", filter=True)
    state: str = column(default="Allocated")
    cidr: str = column()
    gateway: str = column()
    netmask: str = column()
    start_ip: str | None = column(default=None, hidden=True)
    end_ip: str | None = column(default=None, hidden=True)
    tag: int | None = column(default=None, hidden=True)
    chosen_tag: bool = column(default=False, hidden=True)
    networkdomain: str = column()
    dns1: str | None = column(default=None)
    dns2: str | None = column(default=None)
    display: bool = column(default=True, api="displaynetwork", admin=True)
    restart_required: bool = column(default=False, filter=True)
    serial: int = column(default=0, hidden=True)
    applied: int = column(default=0, hidden=True)
    idle_since: str | None = column(default=None, hidden=True)
    externalid: str | None = column(default=None)
    created: str = created()

    @property
    def net(self) -> ipaddress.IPv4Network:
        """The network's addresses."""
        return net.network(self.cidr)


@shown(
    Network,
    Field("service", "list"),
    Field("broadcastdomaintype"),
    Field("broadcasturi", admin=True),
    Field("vlan", admin=True),
    Field("acltype"),
    Field("issystem", "boolean"),
    Field("isdefault", "boolean"),
    Field("canusefordeploy", "boolean"),
    Field("ispersistent", "boolean"),
    Field("specifyvlan", "boolean"),
    Field("specifyipranges", "boolean"),
    Field("related"),
    Field("strechedl2subnet", "boolean"),
    Field("redundantrouter", "boolean"),
    Field("egressdefaultpolicy", "boolean"),
    Field("supportsvmautoscaling", "boolean"),
    Field("internetprotocol"),
    Field("tags", "list"),
    Field("hasannotations", "boolean"),
)
def _services(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    offerings = tx.among(NetworkOffering, list({n.network_offering_id for n in rows}))
    physical = tx.among(PhysicalNetwork, list({n.physical_network_id for n in rows if n.physical_network_id}))
    tags = tags_of(tx, "network", [n.id for n in rows])
    out: dict[str, dict[str, Any]] = {}
    for n in rows:
        offering = offerings[n.network_offering_id]
        method = physical[n.physical_network_id].method if n.physical_network_id in physical else "vlan"
        out[n.id] = {
            "service": service_list(offering.services),
            "broadcastdomaintype": method.capitalize(),
            "broadcasturi": f"{method}://{n.tag}" if n.tag is not None else None,
            "vlan": str(n.tag) if n.tag is not None else None,
            "acltype": "Account",
            "issystem": False,
            "isdefault": False,
            "canusefordeploy": True,
            "ispersistent": offering.is_persistent,
            "specifyvlan": offering.specify_vlan,
            "specifyipranges": False,
            "related": n.id,
            "strechedl2subnet": False,
            "redundantrouter": False,
            "egressdefaultpolicy": offering.egress_default_policy,
            "supportsvmautoscaling": False,
            "internetprotocol": "IPv4",
            "tags": tags.get(n.id, []),
            "hasannotations": False,
        }
    return out


@lists(
    "listNetworks",
    Network,
    refused={
        "associatednetworkid:uuid": LATER,
        "vpcid:uuid": "VPCs are not offered yet",
    },
)
def _list(
    q: Query,
    acltype: str | None = None,
    canusefordeploy: bool | None = None,
    forvpc: bool | None = None,
    issystem: bool | None = None,
    networkfilter: str | None = None,
    specifyipranges: bool | None = None,
    supportedservices: list[str] | None = None,
    vlan: str | None = None,
    displaynetwork: bool | None = None,
    retrieveonlyresourcecount: bool | None = None,
    showicon: bool | None = None,
    tags: Tags | None = None,
) -> None:
    """Lists guest networks.

    retrieveonlyresourcecount: how many there are and nothing else
    forvpc: true: networks of VPCs; there are none
    issystem: true: the cloud's own networks; there are none
    acltype: Account or Domain
    canusefordeploy: only networks that machines can be deployed on
    networkfilter: account, domain, accountdomain, shared or all
    vlan: the VLAN (admins)
    """
    c = Network.c
    if (
        forvpc
        or issystem
        or specifyipranges
        or (networkfilter or "").lower() in ("domain", "shared")
        or (acltype or "account").lower() == "domain"
    ):
        q.where(sa.false())
    if vlan is not None and q.ctx.caller.root:
        word = vlan.rsplit("/", 1)[-1]
        q.where(c.tag == int(word) if word.isascii() and word.isdigit() and len(word) < 10 else sa.false())
    if canusefordeploy is False:
        q.where(sa.false())  # machines can be deployed on every network there is
    if retrieveonlyresourcecount:
        q.only_count = True
    if displaynetwork is not None and q.ctx.caller.root:
        q.where(c.display == displaynetwork)
    for service in supportedservices or []:
        q.where(
            c.network_offering_id.in_(
                sa.select(NetworkOffering.c.id).where(
                    sa.cast(NetworkOffering.c.services, sa.Text).contains(f'"{service}"', autoescape=True)
                )
            )
        )
    if tags:
        from mold.api.lists import tagged

        q.where(tagged(Network, tags))
    q.where(c.state != "Destroy")


def suffix(tx: Tx, zone: Zone, account: Account) -> str:
    """The DNS suffix of a new network: the account's, the domain's, the zone's, or the default."""
    domain = tx.one(Domain, account.domain_id)
    return account.networkdomain or domain.networkdomain or zone.domain or DOMAIN_SUFFIX.get(tx, zone=zone.id)


LATER_KINDS = {
    **dict.fromkeys(("aclid:uuid", "vpcid:uuid"), "VPCs are not offered yet"),
    **dict.fromkeys(
        (
            "startipv6:string",
            "endipv6:string",
            "ip6cidr:string",
            "ip6dns1:string",
            "ip6dns2:string",
            "ip6gateway:string",
            "routeripv6:string",
        ),
        "not offered yet: IPv6",
    ),
    **dict.fromkeys(
        (
            "asnumber:long",
            "associatednetworkid:uuid",
            "bgppeerids:list/uuid",
            "bypassvlanoverlapcheck:boolean",
            "cidrsize:integer",
            "externalid:string",
            "hideipaddressusage:boolean",
            "isolatedpvlan:string",
            "isolatedpvlantype:string",
            "keepmacaddressonpublicnic:boolean",
            "privatemtu:integer",
            "publicmtu:integer",
            "routerip:string",
            "sourcenatipaddress:string",
            "subdomainaccess:boolean",
            "tungstenvirtualrouteruuid:string",
        ),
        LATER,
    ),
}


@command("createNetwork", answers=Network, event="NETWORK.CREATE", refused=LATER_KINDS)
def create(
    ctx: Ctx,
    owner: Owner,
    name: str,
    networkofferingid: NetworkOffering,
    zoneid: Zone,
    displaytext: str | None = None,
    gateway: str | None = None,
    netmask: str | None = None,
    startip: str | None = None,
    endip: str | None = None,
    networkdomain: str | None = None,
    vlan: str | None = None,
    physicalnetworkid: PhysicalNetwork | None = None,
    acltype: Literal["Account"] = "Account",
    displaynetwork: Annotated[bool, Param(roles=ROOT)] = True,
    dns1: str | None = None,
    dns2: str | None = None,
) -> Network:
    """Creates an isolated network; its router comes with its first machine.

    gateway: the gateway; default: the first address of the zone's guest CIDR
    networkdomain: DNS suffix
    vlan: the VLAN or VXLAN id (root admins, with an offering that lets them choose)
    acltype: Account
    dns1: a DNS server for the machines instead of the router
    """
    tx, zone = ctx.tx, zoneid
    if networkofferingid.state != "Enabled":
        raise Invalid(f"The network offering {networkofferingid.name} is disabled.", parameter="networkofferingid")
    if zone.allocation_state != "Enabled" and not ctx.caller.root:
        raise Invalid(f"The zone {zone.name} is disabled.", parameter="zoneid")
    if vlan is not None and not (ctx.caller.root and networkofferingid.specify_vlan):
        raise Denied(
            "Only root admins choose the VLAN, and only with an offering made for it (specifyvlan).", parameter="vlan"
        )
    if networkofferingid.specify_vlan and vlan is None:
        raise Invalid("This offering wants the VLAN to be given.", parameter="vlan")
    if gateway or netmask:
        if not (gateway and netmask):
            raise Invalid("Give gateway and netmask together.", parameter="netmask")
        block = net.around(gateway, netmask)
    else:
        block = net.network(zone.guestcidraddress or "10.1.1.0/24")
        gateway = net.dotted(int(block.network_address) + 1)
    if block.prefixlen < 8 or block.prefixlen > 29 or not block.is_private:
        raise Invalid(
            f"{block} will not do for a guest network: it must be private and between /8 and /29.", parameter="gateway"
        )
    if netmask and block.prefixlen < CIDR_LIMIT.get(tx):
        raise Invalid(
            f"{block} is too large for a guest network: the cidr size can't be less than {CIDR_LIMIT.get(tx)} (network.guest.cidr.limit).",
            parameter="netmask",
            limit=CIDR_LIMIT.get(tx),
        )
    if not SAME_NAMES.get(tx, account=owner.account_id) and tx.first(
        Network, Network.c.account_id == owner.account_id, Network.c.zone_id == zone.id, Network.c.name == name
    ):
        raise Conflict(f"The account already has a network {name} in this zone (allow.duplicate.networkname is false).")
    if startip or endip:
        net.span(startip or net.dotted(int(block.network_address) + 1), endip or startip, block)
    if networkdomain is not None and (
        len(networkdomain) > 190 or not all(ids.is_label(p) for p in networkdomain.split("."))
    ):
        raise Invalid(
            f"'{networkdomain[:80]}' is not a DNS suffix; write it like example.internal.", parameter="networkdomain"
        )
    for label, address in (("dns1", dns1), ("dns2", dns2)):
        if address:
            net.ip(address, label)
    if physicalnetworkid is not None and physicalnetworkid.zone_id != zone.id:
        raise Invalid("The physical network is in another zone.", parameter="physicalnetworkid")
    limits.reserve(tx, owner.account, network=1)
    carrier = physicalnetworkid or next(iter(carrying(tx, zone.id, "Guest") or ()), None)
    made = tx.add(
        Network(
            name=name,
            displaytext=displaytext or name,
            zone_id=zone.id,
            network_offering_id=networkofferingid.id,
            cidr=str(block),
            gateway=gateway,
            netmask=str(block.netmask),
            start_ip=startip,
            end_ip=endip,
            networkdomain=networkdomain or suffix(tx, zone, owner.account),
            physical_network_id=carrier.id if carrier else None,
            display=displaynetwork,
            dns1=dns1,
            dns2=dns2,
            **owner.columns(),
        )
    )
    if vlan is not None:
        word = vlan.rsplit("/", 1)[-1]
        number = ids.whole(word)
        if number is None or not 1 <= number <= 0xFFFFFF:
            raise Invalid("vlan must be a number.", parameter="vlan")
        physical = physical_of(tx, made)
        tx.set(made, physical_network_id=physical.id, tag=number, chosen_tag=True)
    return made


@operation
class ApplyNetwork(Operation):
    """Make the world serve a network as its rows say."""

    locks = ("network",)
    answers = (Network, "network")
    network: str

    @step
    async def apply(self) -> None:
        await apply(self.network)


@command(
    "updateNetwork",
    answers=Network,
    job=True,
    event="NETWORK.UPDATE",
    refused=dict.fromkeys(
        (
            "changecidr:boolean",
            "customid:string",
            "forced:boolean",
            "guestvmcidr:string",
            "hideipaddressusage:boolean",
            "ip6dns1:string",
            "ip6dns2:string",
            "keepmacaddressonpublicnic:boolean",
            "networkofferingid:uuid",
            "privatemtu:integer",
            "publicmtu:integer",
            "sourcenatipaddress:string",
            "updateinsequence:boolean",
        ),
        LATER,
    ),
)
def update(
    ctx: Ctx,
    id: Network,
    name: str | None = None,
    displaytext: str | None = None,
    networkdomain: str | None = None,
    dns1: str | None = None,
    dns2: str | None = None,
    displaynetwork: Annotated[bool | None, Param(roles=ROOT)] = None,
) -> Network:
    """Changes a network's names, suffix and DNS servers.

    networkdomain: DNS suffix; machines learn it when they renew their lease
    """
    if networkdomain is not None and not all(ids.is_label(p) for p in networkdomain.split(".")):
        raise Invalid(
            f"'{networkdomain[:80]}' is not a DNS suffix; write it like example.internal.", parameter="networkdomain"
        )
    for label, address in (("dns1", dns1), ("dns2", dns2)):
        if address:
            net.ip(address, label)
    changes: dict[str, Any] = {
        "name": name,
        "displaytext": displaytext,
        "networkdomain": networkdomain,
        "dns1": dns1,
        "dns2": dns2,
        "display": displaynetwork,
    }
    ctx.tx.set(id, **{k: v for k, v in changes.items() if v is not None})
    bump(ctx.tx, id.id)
    ctx.start(ApplyNetwork(network=id.id))
    return id


@operation
class RestartNetwork(Operation):
    """Make a network's router anew from its rows."""

    locks = ("network",)
    instance = (Network, "network")
    network: str
    cleanup: bool = False

    @step
    def bump(self, tx: Tx) -> None:
        tx.set(tx.one(Network, self.network), restart_required=False)
        bump(tx, self.network)

    @step
    async def clean(self) -> None:
        if self.cleanup:
            for each in ELEMENTS:
                await each.remove(self.network)

    @step
    def cleaned(self, tx: Tx) -> None:
        """Whoever applied the rows meanwhile did it before the removal."""
        bump(tx, self.network)

    @step
    async def apply(self) -> None:
        await apply(self.network)


@command(
    "restartNetwork",
    job=True,
    event="NETWORK.RESTART",
    refused={"makeredundant:boolean": "redundant routers are not offered yet"},
)
def restart(ctx: Ctx, id: Network, cleanup: bool = False, livepatch: bool = False) -> Network:
    """Makes a network's router anew.

    cleanup: remove it first, instead of mending what differs
    livepatch: what happens without cleanup anyhow
    """
    if id.state not in ("Implemented", "Implementing"):
        raise Conflict(
            f"The network {id.name} is {id.state}; it has a router only while machines run on it.", state=id.state
        )
    ctx.start(RestartNetwork(network=id.id, cleanup=cleanup and not livepatch))
    return id


@operation
class RemoveNetwork(Operation):
    """Take a network out of the world and forget it. There is no way back: what fails is tried again."""

    locks = ("network",)
    instance = (Network, "network")
    network: str

    @step
    def begin(self, tx: Tx) -> None:
        network = tx.locked(Network, self.network)
        for used in blockers:
            text = used(tx, network)
            if text:
                raise InUse(text, networkid=network.id)
        tx.move(network, "destroy")

    @step
    async def remove(self) -> None:
        for each in ELEMENTS:
            await each.remove(self.network)

    @step
    def forget(self, tx: Tx) -> None:
        network = tx.one(Network, self.network)
        for each in ELEMENTS:
            each.release(tx, network)
        limits.give_back(tx, network.account_id, network=1)
        untag(tx, "network", network.id)
        tx.remove(network)


@removal.leaves(Network, order=30)
def _of_accounts(tx: Tx, whose: Any, most: int) -> list[tuple[str, Operation]]:
    found = tx.find(Network, whose(Network.c.account_id), limit=most)
    return [(n.id, RemoveNetwork(network=n.id)) for n in found]


@limits.counted("network")
def _count(tag: str | None) -> Any:
    return sa.select(Network.c.account_id, sa.func.count()).group_by(Network.c.account_id)


@gauge
def _tags(tx: Tx) -> list[Amount]:
    taken = dict(
        tx.execute(
            sa.select(Network.c.physical_network_id, sa.func.count())
            .where(Network.c.tag.is_not(None))
            .group_by(Network.c.physical_network_id)
        ).all()
    )
    out = []
    for each in tx.find(PhysicalNetwork, PhysicalNetwork.c.state == "Enabled", PhysicalNetwork.c.vlan != ""):
        total = sum(high - low + 1 for low, high in net.vlans(each.vlan))
        out.append(Amount(7, each.zone_id, None, None, int(taken.get(each.id, 0)), total))
    return out


blockers: list[Any] = []
"""Functions (tx, network) -> reason why it cannot go, or None; higher floors add to it."""


@command(
    "deleteNetwork",
    job=True,
    event="NETWORK.DELETE",
    refused={
        "forced:boolean": "not offered: a router that cannot be reached would go on serving; bring its host back or remove it"
    },
)
def delete(ctx: Ctx, id: Network) -> Network:
    """Deletes a network without machines."""
    for used in blockers:
        text = used(ctx.tx, id)
        if text:
            raise InUse(text, networkid=id.id)
    ctx.start(RemoveNetwork(network=id.id))
    return id


# -- for the rooms above -----------------------------------------------------------------------------------------


def bump(tx: Tx, network_id: str) -> int:
    """Note that the network's elements have something new to learn; returns the new serial."""
    found = tx.rows(_BUMP, {"network": network_id})
    return int(found[0][0]) if found else 0


_BUMP = Prepared(
    sa.update(Network.table)
    .where(Network.c.id == sa.bindparam("network"))
    .values(serial=Network.c.serial + 1)
    .returning(Network.c.serial)
)


def physical_of(tx: Tx, network: Network) -> PhysicalNetwork:
    """The physical network that carries a guest network; NoCapacity when the zone has none enabled."""
    if network.physical_network_id and (network.tag is not None or carries(tx, network.physical_network_id)):
        return tx.known(PhysicalNetwork, network.physical_network_id)
    found = None if network.physical_network_id else carrying(tx, network.zone_id, "Guest")
    if found is None:
        raise NoCapacity(
            "No enabled physical network of the zone carries Guest traffic with an enabled VirtualRouter on it.",
            public="The zone's network is not ready for machines.",
        )
    return found[0]


def implement(tx: Tx, network_id: str, host: Any) -> Network:
    """In the transaction that places a machine: give the network its tag and let its elements take what they need."""
    network = tx.one(Network, network_id)
    if network.state == "Implemented":
        if network.idle_since is not None:
            tx.set(network, idle_since=None)
        return network
    network = tx.locked(Network, network_id)
    if network.state == "Destroy":
        raise Conflict(f"The network {network.name} is being deleted.", networkid=network.id)
    if network.state in ("Allocated", "Shutdown"):
        tx.move(network, "implement", idle_since=None)
    if network.tag is None:
        _take_tag(tx, network)
    for each in ELEMENTS:
        each.claim(tx, network, host)
    return network


def _take_tag(tx: Tx, network: Network) -> None:
    physical = physical_of(tx, network)
    ranges = net.vlans(physical.vlan) if physical.vlan else []
    total = sum(high - low + 1 for low, high in ranges)
    if not total:
        raise NoCapacity(
            f"The physical network {physical.name} has no VLAN range for guest networks; give it one with updatePhysicalNetwork.",
            public="The zone's network is not ready for machines.",
        )
    for attempt in range(64):
        if attempt < 8:
            pick = random.randrange(total)
            for low, high in ranges:
                if pick <= high - low:
                    tag = low + pick
                    break
                pick -= high - low + 1
        else:
            used = set(
                tx.execute(
                    sa.select(Network.c.tag).where(
                        Network.c.physical_network_id == physical.id, Network.c.tag.is_not(None)
                    )
                ).scalars()
            )
            free = next((t for low, high in ranges for t in range(low, high + 1) if t not in used), None)
            if free is None:
                raise NoCapacity(
                    f"All {total} ids of the physical network {physical.name} are in use; extend its range with updatePhysicalNetwork.",
                    public="The zone has no network segment left.",
                )
            tag = free
        try:
            with tx.savepoint():
                tx.execute(
                    sa.update(Network.table)
                    .where(Network.c.id == network.id)
                    .values(physical_network_id=physical.id, tag=tag)
                )
        except IntegrityError:
            continue
        network.physical_network_id, network.tag = physical.id, tag
        tx.noted(Network, network.id, "physical_network_id", "tag")
        return
    raise NoCapacity(
        f"No id of the physical network {physical.name} could be taken.", public="The zone has no network segment left."
    )


def segment(tx: Tx, network: Network) -> w.SegmentSpec:
    """The segment of an implemented network."""
    physical = physical_of(tx, network)
    return w.SegmentSpec(method=physical.method, tag=network.tag or 0, label=label_of(tx, physical.id, "Guest"))


async def apply(network_id: str) -> None:
    """Have all elements follow the rows; called from world steps and reconcilers."""
    for each in ELEMENTS:
        await each.apply(network_id)


def applied(tx: Tx, network_id: str, serial: int) -> None:
    """Note that the elements follow a serial."""
    if tx.rows(_APPLIED, {"network": network_id, "now": serial}) == [("Implemented",)]:
        return
    network = tx.get(Network, network_id)
    if network is not None and network.state == "Implementing":
        tx.move(network, "implemented")


_APPLIED = Prepared(
    sa.update(Network.table)
    .where(Network.c.id == sa.bindparam("network"), Network.c.applied < sa.bindparam("now"))
    .values(applied=sa.bindparam("now"))
    .returning(Network.c.state)
)


@reconciler(every=60)
async def finish_networks() -> int:
    """Networks whose removal or rest began and failed, because a host was away: both are wanted still."""

    def go(tx: Tx) -> int:
        engine = Engine.here
        assert engine is not None
        stuck = unattended(tx, Network, Network.c.state.in_(("Destroy", "Shutdown")))
        for each in stuck:
            further = RemoveNetwork(network=each.id) if each.state == "Destroy" else ShutNetwork(network=each.id)
            engine.enqueue(tx, further)
        return len(stuck)

    return await change(go)


@reconciler(every=5)
async def follow_networks() -> int:
    """Networks whose elements lag behind their rows are applied again."""

    def behind(tx: Tx) -> list[str]:
        return [
            n.id
            for n in tx.find(
                Network,
                Network.c.applied < Network.c.serial,
                Network.c.state.in_(("Implemented", "Implementing")),
                limit=200,
            )
        ]

    count = 0
    for network_id in await look(behind):
        from mold.base.errors import Refusal

        try:
            await apply(network_id)
            count += 1
        except Refusal:
            continue  # its host is away or refuses; what it lacks stays visible in applied < serial
    return count


@operation
class ShutNetwork(Operation):
    """Take the router of an idle network away; the network itself stays."""

    locks = ("network",)
    hidden = True
    instance = (Network, "network")
    network: str

    @step
    def begin(self, tx: Tx) -> None:
        network = tx.locked(Network, self.network)
        if network.idle_since is None or running(tx, network.id):
            raise Conflict(f"The network {network.name} is in use again.")
        tx.move(network, "shutdown")

    @step
    async def remove(self) -> None:
        for each in ELEMENTS:
            await each.remove(self.network)

    @step
    def settle(self, tx: Tx) -> None:
        network = tx.locked(Network, self.network)
        if network.state != "Shutdown":
            return  # a machine is starting on it: that operation makes the router anew
        for each in ELEMENTS:
            each.release(tx, network)
        tx.move(network, "rest", idle_since=None, applied=0, **({} if network.chosen_tag else {"tag": None}))


def running(tx: Tx, network_id: str) -> bool:
    """Whether any machine on the network runs or is about to."""
    nic, vm = REGISTRY["nic"].table, REGISTRY["virtualmachine"].table
    return (
        tx.execute(
            sa.select(nic.c.id)
            .join(vm, vm.c.id == nic.c.machine_id)
            .where(nic.c.network_id == network_id, vm.c.state.in_(("Running", "Starting", "Stopping", "Migrating")))
            .limit(1)
        ).first()
        is not None
    )


@reconciler(every=GC_INTERVAL)
async def shut_idle_networks() -> int:
    """Networks on which nothing has run for a while give their router and segment back."""

    def go(tx: Tx) -> int:
        engine = Engine.here
        assert engine is not None
        nic, vm = REGISTRY["nic"].table, REGISTRY["virtualmachine"].table
        busy = (
            sa.select(nic.c.network_id)
            .join(vm, vm.c.id == nic.c.machine_id)
            .where(vm.c.state.in_(("Running", "Starting", "Stopping", "Migrating")))
        )
        persistent = sa.select(NetworkOffering.c.id).where(NetworkOffering.c.is_persistent)
        idle = (
            Network.c.state == "Implemented",
            Network.c.id.not_in(busy),
            Network.c.network_offering_id.not_in(persistent),
        )
        fresh = tx.execute(
            sa.update(Network.table).where(*idle, Network.c.idle_since.is_(None)).values(idle_since=clock.now())
        ).rowcount
        count = 0
        for network in tx.find(Network, *idle, Network.c.idle_since < clock.ago(GC_WAIT.get(tx)), limit=50):
            under_way = tx.first(
                Job, Job.c.operation == "ShutNetwork", Job.c.phase != "over", Job.c.instance_id == network.id
            )
            if under_way is None:
                engine.enqueue(tx, ShutNetwork(network=network.id))
                count += 1
        return count + int(fresh)

    return await change(go)


failing("SERVICE.DOMAINROUTER", RestartNetwork, ApplyNetwork, text="Could not set up network")
