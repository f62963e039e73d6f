"""Routers: a namespace on a host that serves an isolated network: DHCP, DNS, metadata, passwords, source NAT.

The agent gets one document with everything; its serial only grows, and a host ignores an older one.  So any number
of managers may send documents at once, and the last word is always the newest rows.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, FALSE, OPERATORS, TRUE, Caller, Policy, RoleType, below
from mold.base import ids, net
from mold.base.states import machine
from mold.drivers.elements import ELEMENTS
from mold.features.compute.machines.row import Nic, VirtualMachine, control_state
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Project
from mold.features.infra.alerts import failing
from mold.features.infra.clusters import Cluster
from mold.features.infra.hosts import Host
from mold.features.infra.offerings import ServiceOffering
from mold.features.infra.pods import Pod
from mold.features.infra.zones import Zone
from mold.features.network import addresses, networks
from mold.features.network.addresses import Address, VlanRange
from mold.features.network.networks import Network
from mold.features.network.offerings import NetworkOffering
from mold.features.network.physical import public_segment
from mold.store import Prepared, Resource, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import ask, look, note, operation


class Served(Policy):
    """Routers: operators', and of admins of the domains whose networks they serve."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        return below(caller.domain_trail, t.c.domain_id) if caller.role is RoleType.DOMAIN else FALSE


class Router(Resource):
    """A network's router. `state`: Starting until its first document is applied, then Running."""

    kind = "router"
    policy = Served()
    states = machine("Starting", up="Starting|Running>Running", stop="Starting|Running>Stopping")

    network_id: str = refers(
        "network",
        unique=True,
        shows={"guestnetworkid": "id", "guestnetworkname": "name", "networkdomain": "networkdomain"},
    )
    zone_id: str = refers("zone")
    host_id: str = refers("host", admin=True)
    address_id: str | None = refers("address", default=None, shows={"publicip": "ip"}, filter=False)
    account_id: str = refers("account", filter=False)
    domain_id: str = refers("domain", filter=False)
    mac: str = column(hidden=True)
    public_mac: str = column(hidden=True)
    state: str = column(default="Starting", filter=True, kind="state")
    created: str = created()


@shown(
    Router,
    Field("name"),
    Field("role"),
    Field("isredundantrouter", "boolean"),
    Field("redundantstate"),
    Field("version"),
    Field("requiresupgrade", "boolean"),
    Field("hypervisor"),
    Field("nic", "set"),
    *(
        Field(n)
        for n in (
            *("dns1", "dns2", "gateway", "guestipaddress", "guestnetmask", "guestmacaddress", "publicnetmask"),
            *("publicmacaddress", "podid", "podname", "projectid", "project", "softwareversion", "arch"),
            "hostcontrolstate",
        )
    ),
    Field("hasannotations", "boolean"),
)
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    nets = tx.among(Network, [r.network_id for r in rows])
    hosts = tx.among(Host, [r.host_id for r in rows])
    zones = tx.among(Zone, list({r.zone_id for r in rows}))
    pods = tx.among(Pod, list({h.pod_id for h in hosts.values()}))
    given = tx.among(Address, [r.address_id for r in rows if r.address_id])
    ranges = tx.among(VlanRange, list({a.range_id for a in given.values()}))
    projects = tx.among(Project, [n.project_id for n in nets.values() if n.project_id])
    out: dict[str, dict[str, Any]] = {}
    for r in rows:
        network, zone, host = nets[r.network_id], zones[r.zone_id], hosts[r.host_id]
        address, project = given.get(r.address_id or ""), projects.get(network.project_id or "")
        out[r.id] = {
            "dns1": network.dns1 or zone.dns1,
            "dns2": network.dns2 or zone.dns2,
            "gateway": ranges[address.range_id].gateway if address else None,
            "publicnetmask": ranges[address.range_id].netmask if address else None,
            "publicmacaddress": r.public_mac if address else None,
            "guestipaddress": network.gateway,
            "guestnetmask": network.netmask,
            "guestmacaddress": r.mac,
            # Where it runs is the operators' business.
            "podid": host.pod_id if caller.rank >= 2 else None,
            "podname": pods[host.pod_id].name if caller.rank >= 2 else None,
            "projectid": project.id if project else None,
            "project": project.name if project else None,
            "softwareversion": host.version,
            "arch": host.arch,
            "hostcontrolstate": control_state(host),
            "hasannotations": False,
            "name": f"r-{r.number}-VM",
            "role": "VIRTUAL_ROUTER",
            "isredundantrouter": False,
            "redundantstate": "UNKNOWN",
            "requiresupgrade": False,
            "version": hosts[r.host_id].version,
            "hypervisor": hosts[r.host_id].hypervisor,
            "nic": [
                {
                    "id": r.id,
                    "networkid": r.network_id,
                    "ipaddress": nets[r.network_id].gateway,
                    "netmask": nets[r.network_id].netmask,
                    "macaddress": r.mac,
                    "traffictype": "Guest",
                    "isdefault": False,
                }
            ],
        }
    return out


@lists(
    "listRouters",
    Router,
    roles=ADMINS,
    refused={
        "fetchhealthcheckresults:boolean": LATER,
        "healthchecksfailed:boolean": LATER,
        "vpcid:uuid": "VPCs are not offered yet",
    },
)
def _list(
    q: Query,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
    isrecursive: bool = False,
    listall: bool | None = None,
    name: str | None = None,
    clusterid: Cluster | None = None,
    podid: Pod | None = None,
    version: str | None = None,
    arch: str | None = None,
    forvpc: bool | None = None,
) -> None:
    """Lists routers.

    listall: what happens anyhow: operators see all routers
    version: those that an agent of this version runs
    arch: those on hosts of this architecture
    forvpc: true: routers of VPCs; there are none
    """
    c, h = Router.c, Host.c
    if account is not None:
        q.where(c.account_id.in_(sa.select(Account.c.id).where(Account.c.name == account)))
    whose: Any = projectid  # a project, or -1 for all of them
    if whose not in (None, "-1"):
        q.where(c.account_id == whose.project_account_id)
    hosts = [
        h[k] == v
        for k, v in (
            ("cluster_id", clusterid.id if clusterid else None),
            ("pod_id", podid.id if podid else None),
            ("version", version),
            ("arch", arch),
        )
        if v is not None
    ]
    if hosts:
        q.where(c.host_id.in_(sa.select(h.id).where(*hosts)))
    if forvpc:
        q.where(sa.false())
    if name is not None:
        parts = name.split("-")
        q.where(Router.c.number == int(parts[1]) if len(parts) > 1 and ids.whole(parts[1]) is not None else sa.false())
    if domainid is not None:
        q.where(below(domainid.trail, c.domain_id) if isrecursive else c.domain_id == domainid.id)


class Turn(asyncio.Lock):
    """Who may send a network's document, how many want to, and the newest serial that was sent meanwhile."""

    many = 0
    serial = 0


class RouterElement:
    """The element that serves isolated networks."""

    name = "VirtualRouter"

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = defaultdict(Turn)

    def claim(self, tx: Tx, network: Network, host: Host) -> None:
        """Give the network a router on this host, and a public address for source NAT if its offering has that."""
        if tx.first(Router, Router.c.network_id == network.id) is not None:
            return
        offering = tx.one(NetworkOffering, network.network_offering_id)
        address = None
        if "SourceNat" in offering.services:
            address = addresses.take(tx, network.zone_id, network, source_nat=True, network_id=network.id)
        import random

        tx.add(
            Router(
                network_id=network.id,
                zone_id=network.zone_id,
                host_id=host.id,
                address_id=address.id if address else None,
                account_id=network.account_id,
                domain_id=network.domain_id,
                mac=net.mac(random.getrandbits(40)),
                public_mac=net.mac(random.getrandbits(40)),
            )
        )
        networks.bump(tx, network.id)

    async def apply(self, network_id: str) -> None:
        """Send the newest document, unless a document at least as new as what we came for has just been applied."""
        turn = self._turns[network_id]
        turn.many += 1
        try:
            wanted = 0  # whatever is newest, unless others are at it: then they may send what we came for
            if turn.locked():
                wanted = await look(lambda tx: n.serial if (n := tx.get(Network, network_id)) else 0)
            async with turn:
                if wanted == 0 or turn.serial < wanted:
                    await self._send(turn, network_id, wanted)
        finally:
            turn.many -= 1
            if turn.many == 0:
                del self._turns[network_id]

    async def _send(self, turn: Turn, network_id: str, wanted: int) -> None:
        plan = await look(lambda tx: document(tx, network_id, but=wanted))
        if plan is None:
            return
        router, spec = plan
        facts: w.RouterFacts = await ask(router.host_id, w.ApplyRouter(router=spec))
        turn.serial = max(turn.serial, facts.serial)
        await note(lambda tx: self._applied(tx, network_id, facts.serial, router))

    def _applied(self, tx: Tx, network_id: str, serial: int, router: Router) -> None:
        networks.applied(tx, network_id, serial)
        if router.state == "Starting":
            again = tx.first(Router, Router.c.network_id == network_id)
            if again is not None and again.state == "Starting":
                tx.move(again, "up")

    async def remove(self, network_id: str) -> None:
        """Remove the namespace; done as well when the host is gone from the cloud."""
        router = await look(lambda tx: tx.first(Router, Router.c.network_id == network_id))
        if router is None:
            return
        await ask(router.host_id, w.RemoveRouter(id=router.id, number=router.number))

    def release(self, tx: Tx, network: Network) -> None:
        """Forget the router's row and free its address."""
        router = tx.first(Router, Router.c.network_id == network.id)
        if router is None:
            return
        address = tx.get(Address, router.address_id)
        tx.remove(router)
        if address is not None:
            addresses.give_back(tx, address)


def document(tx: Tx, network_id: str, *, but: int | None = None) -> tuple[Router, w.RouterSpec] | None:
    """A network's router and its document, out of the rows as they are now; None when it has none.

    None as well when the router follows serial `but` (0: the newest) or a newer one already.
    """
    network = tx.get(Network, network_id)
    done = network is not None and network.state == "Implemented" and but is not None
    if network is not None and done and network.applied >= (but or network.serial):
        return None
    router = next(iter(tx.by(Router, network_id=network_id)), None)
    if network is None or router is None:
        return None
    zone = tx.known(Zone, network.zone_id)
    offering = tx.known(NetworkOffering, network.network_offering_id)
    leases = _leases(tx, network, zone)
    public = None
    address = tx.get(Address, router.address_id)
    if address is not None:
        range_ = tx.known(VlanRange, address.range_id)
        public = w.PublicSpec(
            segment=public_segment(tx, range_.physical_network_id, range_.vlan),
            mac=router.public_mac,
            ip=address.ip,
            prefix=net.around(range_.gateway, range_.netmask).prefixlen,
            gateway=range_.gateway,
            source_nat=address.source_nat,
        )
    segment = networks.segment(tx, network)
    spec = w.RouterSpec(
        id=router.id,
        number=router.number,
        serial=network.serial,
        segment=segment,
        mac=router.mac,
        gateway=network.gateway,
        prefix=network.net.prefixlen,
        domain=network.networkdomain,
        dns=[d for d in (network.dns1 or zone.dns1, network.dns2 or zone.dns2) if d],
        leases=leases,
        public=public,
        services=tuple(offering.services),
        egress="allow" if offering.egress_default_policy else "deny",
        mtu=0,
    )
    return router, spec


_LEASES = Prepared(
    sa.select(
        Nic.c.ip,
        Nic.c.mac,
        Nic.c.is_default,
        VirtualMachine.c.id,
        VirtualMachine.c.name,
        VirtualMachine.c.service_offering_id,
        VirtualMachine.c.publickeys,
        VirtualMachine.c.userdata,
        VirtualMachine.c.password,
        VirtualMachine.c.password_serial,
    )
    .join(VirtualMachine.table, VirtualMachine.c.id == Nic.c.machine_id)
    .where(
        Nic.c.network_id == sa.bindparam("network"),
        VirtualMachine.c.state != "Destroyed",
        VirtualMachine.c.state != "Expunging",
    )
    .order_by(Nic.c.number)
)


def _leases(tx: Tx, network: Network, zone: Zone) -> list[w.LeaseSpec]:
    found = tx.rows(_LEASES, {"network": network.id})
    offerings = tx.known_among(ServiceOffering, {row[5] for row in found})
    out = []
    for ip, mac, default, vm_id, vm_name, offering_id, keys, userdata, password, serial in found:
        metadata = {
            "instance-id": vm_id,
            "vm-id": vm_id,
            "local-hostname": vm_name,
            "local-ipv4": ip,
            "availability-zone": zone.name,
            "service-offering": offerings[offering_id].name,
            "public-hostname": ip,
            "public-ipv4": network.gateway,
            "cloud-identifier": f"CloudStack-{{{zone.id}}}",
            "cloud-name": "Mold",
        }
        if keys:
            metadata["public-keys"] = "\n".join(keys) + "\n"
        out.append(
            w.LeaseSpec(
                mac=mac,
                ip=ip,
                name=vm_name,
                default=default,
                metadata=metadata,
                userdata=userdata or base64.b64encode(b"").decode(),
                password=password or "",
                password_serial=serial,
            )
        )
    return out


ELEMENTS.append(RouterElement())


@operation
class RebootRouter(networks.RestartNetwork, kw_only=True):
    """Make a router anew: away with it, and back out of the rows."""

    answers = (Router, "router")
    router: str
    cleanup: bool = True


@command("rebootRouter", roles=ADMINS, answers=Router, job=True, event="ROUTER.REBOOT")
def reboot(ctx: Ctx, id: Router, forced: bool = False) -> Router:
    """Makes a router anew from the rows.

    forced: what happens anyhow: a router is not asked
    """
    ctx.start(RebootRouter(router=id.id, network=id.network_id))
    return id


failing("SERVICE.DOMAINROUTER", RebootRouter, text="Could not restart router")
