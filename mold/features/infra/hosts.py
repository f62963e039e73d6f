"""Hosts: the machines that run machines, and how they are doing.

An agent connects to any manager; `link` says which one holds it.  A host is Up when its agent is linked and
pings; what its agent says of guests and load goes to a narrow table once a second, for all hosts in one
statement.  `cpu_capacity` and `memory_capacity` include over-provisioning; `…_reserved` is what placement has
promised, changed only by compare and set in the transaction that places.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import msgspec
import sqlalchemy as sa
import structlog

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Param, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import ADMINS, OPERATORS, ROOT, Infra
from mold.base import clock, net
from mold.base.errors import Conflict, Failed, InUse, Invalid, Unreachable
from mold.base.states import machine
from mold.base.units import GIB
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.clusters import CPU_FACTOR, MEMORY_FACTOR, Cluster, factors, hypervisor_named
from mold.features.infra.hypervisors import max_hosts
from mold.features.infra.pods import Pod
from mold.features.infra.settings import CHANGED, setting
from mold.features.infra.zones import Allocation, Zone
from mold.store import Resource, Tx, column, created, metadata, refers
from mold.wire import calls as w
from mold.work import Operation, ask, change, look, operation, reconciler, step
from mold.work.job import alive, database_time
from mold.work.job import session as sessions

log = structlog.get_logger()
PING_SECONDS = setting("ping.interval", 10, "Seconds between an agent's pings.", low=1, unit="seconds")
PING_MISSES = setting(
    "ping.timeout", 2.5, "How many intervals without a ping make a host Alert.", low=1, unit="intervals"
)
ALERT_WAIT = setting(
    "alert.wait", 1800, "Seconds that a disconnected host waits before it is Alert.", low=1, unit="seconds"
)
CONNECT_SECONDS = setting(
    "host.connect.timeout", 120, "Seconds that addHost waits for the agent to connect.", low=1, unit="seconds"
)
FILE_OF_AGENT = "/etc/mold/agent/agent.properties"
MEMORY_RESERVED = setting(
    "host.reserved.mem.mb",
    1024,
    "MiB of a host's memory that are left to the host itself.",
    scopes=("cluster",),
    low=0,
    unit="MiB",
)


class Host(Resource):
    """A host. `state` is about its agent, `resource_state` about what the operator wants of it."""

    kind = "host"
    unique = (("guid",),)
    indexes = (("zone_id", "hypervisor", "state", "resource_state"),)
    appears = {"hostid": "id", "hostname": "name"}
    policy = Infra()
    states = machine(
        "Creating",
        connect="Creating|Disconnected|Down|Alert|Rebalancing|Error|Up|Connecting>Connecting",
        ready="Connecting|Alert|Disconnected|Creating|Up>Up",
        lost="Up|Connecting|Rebalancing>Disconnected",
        overdue="Up|Connecting|Disconnected>Alert",
        down="Up|Connecting|Disconnected|Alert>Down",
        failed="Creating>Error",
    )

    zone_id: str = refers("zone")
    pod_id: str = refers("pod")
    cluster_id: str = refers("cluster")
    name: str = column(filter=True, keyword=True)
    url: str = column(hidden=True)
    hypervisor: str = column(filter=True)
    guid: str | None = column(default=None, hidden=True, doc="of its agent; simulated hosts in the manager have none")
    state: str = column(default="Creating", filter=True, kind="status")
    resource_state: str = column(default="Enabled", filter=True)
    type: str = column(default="Routing", filter=True)
    ip_address: str | None = column(default=None)
    version: str | None = column(default=None, filter=True)
    hypervisor_version: str | None = column(default=None)
    domain_type: str | None = column(default=None, hidden=True)
    arch: str = column(default="x86_64", filter=True)
    cores: int = column(default=0, api="cpunumber", kind="integer")
    sockets: int = column(default=0, api="cpusockets", kind="integer")
    mhz: int = column(default=0, api="cpuspeed")
    memory_total: int = column(default=0)
    cpu_capacity: int = column(default=0, hidden=True)
    cpu_reserved: int = column(default=0, hidden=True)
    memory_capacity: int = column(default=0, hidden=True)
    memory_reserved: int = column(default=0, hidden=True)
    machines: int = column(default=0, hidden=True)
    host_tags: list[str] | None = column(default=None, hidden=True)
    username: str | None = column(default=None)
    password: str | None = column(default=None, secret=True)
    problems: list[str] | None = column(default=None, hidden=True)
    boot_id: str = column(default="", hidden=True)
    details: dict[str, str] | None = column(default=None)
    state_since: str = column(default_factory=clock.now, hidden=True)
    created: str = created()


link = sa.Table(
    "link",
    metadata,
    sa.Column("guid", sa.Text, primary_key=True),
    sa.Column("session", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
)
"""Agents connected, added to the cloud or not, and the manager's session that holds each."""

pulse = sa.Table(
    "pulse",
    metadata,
    sa.Column("guid", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("cpu", sa.Float, nullable=False),
    sa.Column("load", sa.Float, nullable=False),
    sa.Column("memory_used", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
)
"""The last ping of each agent."""


# -- how it is shown ---------------------------------------------------------------------------------------------


@shown(
    Host,
    Field("cpuallocated"),
    Field("cpuallocatedvalue", "long"),
    Field("cpuallocatedpercentage"),
    Field("cpuallocatedwithoverprovisioning"),
    Field("cpuwithoverprovisioning"),
    Field("memoryallocated", "long"),
    Field("memoryallocatedbytes", "long"),
    Field("memoryallocatedpercentage"),
    Field("memorywithoverprovisioning"),
    Field("hosttags"),
    Field("explicithosttags"),
    Field("clustertype"),
    Field("hahost", "boolean"),
    Field("capabilities"),
    Field("managementserverid"),
    Field("ueficapability", "boolean"),
    Field("islocalstorageactive", "boolean"),
    Field("problems", "list"),
    Field("istagarule", "boolean"),
    Field("encryptionsupported", "boolean"),
    Field("instanceconversionsupported", "boolean"),
    Field("managementservername"),
    Field("hasannotations", "boolean"),
    detail="capacity",
)
def _capacity(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    clusters = tx.among(Cluster, list({h.cluster_id for h in rows}))
    held = {
        r.guid: r
        for r in tx.execute(
            sa.select(link.c.guid, sessions.c.id, sessions.c.manager)
            .join(sessions, sessions.c.id == link.c.session)
            .where(tx.any_of(link.c.guid, [h.guid for h in rows if h.guid]))
        )
    }
    out = {}
    for h in rows:
        cpu = 100 * h.cpu_reserved / h.cpu_capacity if h.cpu_capacity else 0
        memory = 100 * h.memory_reserved / h.memory_capacity if h.memory_capacity else 0
        out[h.id] = {
            "cpuallocated": f"{cpu:.2f}%",
            "cpuallocatedpercentage": f"{cpu:.2f}%",
            "cpuallocatedwithoverprovisioning": f"{cpu:.2f}%",
            "cpuallocatedvalue": h.cpu_reserved,
            "cpuwithoverprovisioning": str(h.cpu_capacity),
            "memoryallocated": h.memory_reserved,
            "memoryallocatedbytes": h.memory_reserved,
            "memoryallocatedpercentage": f"{memory:.2f}%",
            "memorywithoverprovisioning": str(h.memory_capacity),
            "clustertype": clusters[h.cluster_id].cluster_type,
            "hosttags": ",".join(h.host_tags or []) or None,
            "explicithosttags": ",".join(h.host_tags or []) or None,
            "hahost": False,
            "capabilities": "hvm",
            "managementserverid": held[h.guid].id if h.guid in held else None,
            "managementservername": held[h.guid].manager if h.guid in held else None,
            "istagarule": False,
            "encryptionsupported": False,
            "instanceconversionsupported": False,
            "hasannotations": False,
            "ueficapability": bool((h.details or {}).get("uefi")),
            "islocalstorageactive": True,
            "problems": h.problems or None,
        }
    return out


EVENTS = {
    "connect": "AgentConnected",
    "ready": "Ready",
    "lost": "AgentDisconnected",
    "overdue": "PingTimeout",
    "down": "HostDown",
    "failed": "Error",
}
"""State moves and the names that the API has for them."""


@shown(Host, Field("events"), Field("disconnected", "date"), detail="events")
def _events(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    assert Host.states is not None
    moves = Host.states.moves.values()
    return {
        h.id: {
            "events": "; ".join(EVENTS[m.name] for m in moves if h.state in m.sources),
            "disconnected": h.state_since if h.state in ("Disconnected", "Alert", "Down") else None,
        }
        for h in rows
    }


@shown(
    Host,
    Field("cpuused"),
    Field("cpuloadaverage", "double"),
    Field("memoryused", "long"),
    Field("networkkbsread", "long"),
    Field("networkkbswrite", "long"),
    Field("lastpinged", "date"),
    detail="stats",
)
def _stats(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = {
        r.guid: r for r in tx.execute(sa.select(pulse).where(tx.any_of(pulse.c.guid, [h.guid for h in rows if h.guid])))
    }
    return {
        h.id: {
            "cpuused": f"{p.cpu:.2f}%",
            "cpuloadaverage": p.load,
            "memoryused": p.memory_used,
            "networkkbsread": p.received // 1024,
            "networkkbswrite": p.sent // 1024,
            "lastpinged": clock.at(p.at),
        }
        for h in rows
        if (p := found.get(h.guid)) is not None
    }


@lists(
    "listHosts",
    Host,
    roles=OPERATORS,
    refused={
        "outofbandmanagementenabled:boolean": LATER,
        "outofbandmanagementpowerstate:string": LATER,
        "storageaccessgroup:string": LATER,
        "hahost:boolean": LATER,
        "virtualmachineid:uuid": "not offered yet: it comes with moving machines",
    },
)
def _list(
    q: Query,
    details: list[str] | None = None,
    managementserverid: Annotated[str | None, Param(kind="uuid")] = None,
) -> None:
    """Lists hosts.

    details: sets of fields, comma separated: min, all, capacity, stats, events
    managementserverid: those whose agent this manager holds
    """
    q.details = frozenset(d.strip().lower() for d in details) if details else None
    if managementserverid is not None:
        q.where(Host.c.guid.in_(sa.select(link.c.guid).where(link.c.session == managementserverid)))


# -- adding ------------------------------------------------------------------------------------------------------


class Installer(Protocol):
    """Puts an agent on a machine over SSH, and takes it off again."""

    async def install(self, host: str, address: str, user: str, password: str) -> str:
        """Set the agent up (again) and start it; its guid. `host` is the row's id."""

    async def remove(self, host: str, address: str, user: str, password: str) -> None:
        """Take off what `install` put there for this row; an agent that was there before it stays."""


install: list[Installer] = []
"""How an agent is put on a machine over SSH; set by the server, which has the files."""


async def over_ssh(host: str) -> str:
    """Install or repair a host's agent with the user and password of its row; the agent's guid."""
    given = await look(lambda tx: tx.one(Host, host))
    if not install:
        raise Failed("This manager cannot install agents over SSH; set the agent up on the host first.")
    return await install[0].install(host, given.url, given.username or "root", given.password or "")


@operation
class AddHost(Operation):
    """Bring a host into a cluster: find its agent (or install it), learn what the host is, and let it work."""

    locks = ("host",)
    answers = (Host, "host")
    patience = 30
    host: str
    address: str
    hypervisor: str
    install: bool = False
    seconds: float = 120

    @step
    def begin(self, tx: Tx) -> None:
        tx.one(Host, self.host)

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        host = tx.get(Host, self.host)
        if host is not None:
            tx.remove(host)

    @step
    async def meet(self) -> w.HostFacts:
        if self.hypervisor == "Simulator":
            linked = await look(lambda tx: stranger(tx, self.address, self.hypervisor))
            found: w.HostFacts = linked or await ask(self.host, w.GetFacts())
            return found
        wanted = await over_ssh(self.host) if self.install else self.address
        until = time.monotonic() + self.seconds
        while True:
            facts = await look(lambda tx: stranger(tx, wanted, self.hypervisor))
            if facts is not None:
                return facts
            if time.monotonic() > until and self.install:
                raise Failed(
                    f"The agent was installed on {self.address} and started, but has not connected within {self.seconds:.0f} s. Look at its log there (journalctl -u mold-agent, or /var/log/mold-agent.log) while it is being set up again.",
                    address=self.address,
                )
            if time.monotonic() > until:
                raise Failed(
                    f"No agent of {self.address} has connected within {self.seconds:.0f} s. Set the agent up on it and let it reach this manager's agent port, or give username and password so that Mold installs it.",
                    address=self.address,
                )
            await asyncio.sleep(0.3)

    @meet.undo
    async def leave(self) -> None:
        given = await look(lambda tx: tx.get(Host, self.host))
        if self.install and install and given is not None:
            await install[0].remove(self.host, self.address, given.username or "root", given.password or "")

    @step
    def settle(self, tx: Tx, meet: w.HostFacts) -> None:
        host = tx.one(Host, self.host)
        other = tx.first(Host, Host.c.guid == meet.guid, Host.c.id != self.host) if meet.guid else None
        if other is not None:
            raise Conflict(f"This machine is already the host {other.name}.", hostid=other.id)
        tx.set(host, guid=meet.guid or None, name=meet.name if self.hypervisor != "Simulator" else host.name)
        learn(tx, host, meet)
        tx.move(host, "ready", state_since=clock.now())

    @step
    async def check(self, meet: w.HostFacts) -> w.HostFacts:
        # A first call over the very path that work will take.
        facts: w.HostFacts = await ask(self.host, w.GetFacts())
        return facts


def stranger(tx: Tx, address: str, hypervisor: str) -> w.HostFacts | None:
    """The facts of a connected agent with this name, address or guid, that is no host yet."""
    taken = sa.select(Host.c.guid).where(Host.c.guid.is_not(None))
    for row in tx.execute(sa.select(link.c.facts).where(link.c.guid.not_in(taken))):
        facts = msgspec.msgpack.decode(row.facts, type=w.HostFacts)
        if facts.hypervisor != hypervisor:
            continue
        if address in (facts.name, facts.guid, *facts.addresses) or (
            address in ("localhost", "127.0.0.1") and facts.name
        ):
            return facts
    return None


def learn(tx: Tx, host: Host, facts: w.HostFacts) -> None:
    """Keep what a host said of itself, and what of it may be promised."""
    cpu, memory = factors(tx, host.cluster_id)
    left = max(
        facts.memory
        - (MEMORY_RESERVED.get(tx, cluster=host.cluster_id) * 1024**2 if facts.hypervisor != "Simulator" else 0),
        facts.memory // 2,
    )
    tx.set(
        host,
        ip_address=facts.addresses[0] if facts.addresses else None,
        version=facts.version,
        hypervisor_version=facts.hypervisor_version,
        arch=facts.arch,
        cores=facts.cores,
        sockets=facts.sockets,
        mhz=facts.mhz,
        memory_total=facts.memory,
        domain_type=facts.domain_type,
        cpu_capacity=int(facts.cores * facts.mhz * cpu),
        memory_capacity=int(left * memory),
        problems=list(facts.problems),
        boot_id=facts.boot_id,
    )


def recount(tx: Tx, cluster_id: str) -> None:
    """Take over changed over-provisioning factors of a cluster."""
    cpu, memory = factors(tx, cluster_id)
    reserved = MEMORY_RESERVED.get(tx, cluster=cluster_id) * 1024**2
    for host in tx.find(Host, Host.c.cluster_id == cluster_id):
        left = max(host.memory_total - (reserved if host.hypervisor != "Simulator" else 0), host.memory_total // 2)
        tx.set(host, cpu_capacity=int(host.cores * host.mhz * cpu), memory_capacity=int(left * memory))


def _overprovisioning(tx: Tx, scope: str, scope_id: str) -> None:
    for cluster in tx.find(Cluster, *([Cluster.c.id == scope_id] if scope == "cluster" else [])):
        recount(tx, cluster.id)


for each in (CPU_FACTOR, MEMORY_FACTOR, MEMORY_RESERVED):
    CHANGED[each.name] = _overprovisioning


@command(
    "listHostTags",
    roles=ADMINS,
    shape="list",
    key="hosttag",
    reads=True,
    fields=(Field("name"), Field("isimplicit", "boolean")),
)
def list_tags(
    ctx: Ctx, keyword: str | None = None, page: int | None = None, pagesize: int | None = None
) -> dict[str, Any]:
    """Lists the tags that hosts have."""
    query = sa.select(Host.c.host_tags).where(Host.c.host_tags.is_not(None)).distinct()
    names = sorted({t for tags in ctx.tx.execute(query).scalars() for t in tags or []})
    rows = [{"name": n, "isimplicit": False} for n in names if keyword is None or keyword.lower() in n.lower()]
    return paged("hosttag", rows, page, pagesize)


@command(
    "addHost",
    roles=OPERATORS,
    answers=Host,
    shape="list",
    waits=True,
    event="HOST.ADD",
    refused={
        "externaldetails:map": LATER,
        "storageaccessgroups:list": LATER,
        "clustername:string": "not offered: make the cluster first and give clusterid",
    },
)
def add(
    ctx: Ctx,
    zoneid: Zone,
    podid: Pod,
    hypervisor: str,
    url: str,
    clusterid: Cluster | None = None,
    username: str | None = None,
    password: Annotated[str | None, Param(secret=True)] = None,
    hosttags: list[str] | None = None,
    allocationstate: Allocation = "Enabled",
) -> Host:
    """Adds a host to a cluster.

    With username and password Mold installs the agent over SSH; without, the agent must have been set up.
    url: http:// and the host's name or address
    username: user for SSH
    password: password for SSH
    hosttags: host tags
    """
    if clusterid is None:
        raise Invalid("Give clusterid: a host belongs to a cluster.", parameter="clusterid")
    if podid.zone_id != zoneid.id or clusterid.pod_id != podid.id:
        raise Invalid("The cluster is not in this pod and zone.", parameter="clusterid")
    kind = hypervisor_named(hypervisor)
    if clusterid.hypervisor != kind:
        raise Invalid(
            f"The cluster {clusterid.name} has {clusterid.hypervisor} hosts; this one is {kind}.",
            parameter="hypervisor",
        )
    parts = net.url(url if "//" in url else f"http://{url}")
    if not parts.hostname or parts.username or parts.query:
        raise Invalid("url must be http:// and the host's name or address.", parameter="url")
    if ctx.tx.first(Host, Host.c.url == parts.hostname) is not None:
        raise Conflict(f"The host {parts.hostname} has been added already.", url=parts.hostname)
    most = max_hosts(ctx.tx, kind)
    if most is not None:
        ctx.tx.locked(Cluster, clusterid.id)  # whoever adds one at the same moment waits and counts this one
        if (there := ctx.tx.count(Host, Host.c.cluster_id == clusterid.id)) >= most:
            raise Conflict(
                f"The cluster {clusterid.name} has {there} hosts; {kind} clusters have {most} at most (updateHypervisorCapabilities).",
                limit=most,
                used=there,
            )
    made = ctx.tx.add(
        Host(
            zone_id=zoneid.id,
            pod_id=podid.id,
            cluster_id=clusterid.id,
            name=parts.hostname,
            url=parts.hostname,
            hypervisor=kind,
            username=username,
            password=password,
            host_tags=hosttags,
            resource_state="Enabled" if allocationstate == "Enabled" else "Disabled",
        )
    )
    ctx.start(
        AddHost(
            host=made.id,
            address=parts.hostname,
            hypervisor=kind,
            install=username is not None,
            seconds=CONNECT_SECONDS.get(ctx.tx),
        )
    )
    return made


@command(
    "updateHost",
    roles=ROOT,
    answers=Host,
    event="HOST.EDIT",
    refused={
        "cleanupexternaldetails:boolean": LATER,
        "externaldetails:map": LATER,
        "guestosrule:string": LATER,
        "istagarule:boolean": LATER,
        "oscategoryid:uuid": LATER,
        "annotation:string": LATER,
        "url:string": "not offered: remove the host and add it again",
    },
)
def update(
    ctx: Ctx,
    id: Host,
    name: str | None = None,
    allocationstate: Literal["Enable", "Disable", "Enabled", "Disabled"] | None = None,
    hosttags: list[str] | None = None,
) -> Host:
    """Changes a host's name and tags; enables or disables it for new machines.

    hosttags: host tags
    """
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if hosttags is not None:
        changes["host_tags"] = [t for t in hosttags if t.strip()]
    if allocationstate is not None:
        if id.resource_state not in ("Enabled", "Disabled"):
            raise Conflict(f"The host {id.name} is in {id.resource_state}; end that first.", state=id.resource_state)
        changes["resource_state"] = "Enabled" if allocationstate.startswith("Enable") else "Disabled"
    return ctx.tx.set(id, **changes)


@operation
class RemoveHost(Operation):
    """Take a host out of the cloud: its agent is told to forget the managers. `was` is its state before the request."""

    locks = ("host",)
    patience = 5
    host: str
    was: str = "Enabled"

    @step
    def check(self, tx: Tx) -> None:
        tx.unused(tx.one(Host, self.host))

    @check.undo
    def back(self, tx: Tx) -> None:
        tx.set(tx.one(Host, self.host), resource_state=self.was)

    @step
    async def dismiss(self) -> None:
        try:
            await ask(self.host, w.StopAgent(), seconds=5)
        except Unreachable:
            return  # a host that is gone needs no dismissal; its certificate is revoked with its row

    @step
    def forget(self, tx: Tx) -> None:
        host = tx.one(Host, self.host)
        tx.execute(sa.delete(pulse).where(pulse.c.guid == host.guid))
        for clean in on_remove:
            clean(tx, host)
        tx.remove(host)


on_remove: list[Callable[[Tx, Host], None]] = []
"""What else is to go with a host's row; higher floors add to it."""


@command(
    "deleteHost", roles=OPERATORS, waits=True, event="HOST.DELETE", refused={"forcedestroylocalstorage:boolean": LATER}
)
def delete(ctx: Ctx, id: Host, forced: bool = False) -> None:
    """Removes a host that runs no machines from the cloud.

    forced: also when it is neither disabled nor in maintenance
    """
    if id.machines:
        raise InUse(f"The host {id.name} runs {id.machines} machines; move or stop them first.", machines=id.machines)
    if id.resource_state == "Enabled" and id.state == "Up" and not forced:
        raise Conflict(
            f"The host {id.name} still takes machines; disable it, put it into maintenance, or say forced=true.",
            state=id.resource_state,
        )
    ctx.tx.unused(id)  # before its agent is told to stop
    was = id.resource_state
    ctx.tx.set(id, resource_state="Disabled")
    ctx.start(RemoveHost(host=id.id, was=was))


@operation
class ReconnectHost(Operation):
    """Ask a host's agent what the host is, anew; one that Mold installed is installed again when it does not answer."""

    locks = ("host",)
    answers = (Host, "host")
    patience = 30
    host: str

    @step
    async def meet(self) -> w.HostFacts:
        facts: w.HostFacts
        try:
            facts = await ask(self.host, w.GetFacts())
        except Unreachable as no:
            host = await look(lambda tx: tx.one(Host, self.host))
            if host.username is None or host.hypervisor == "Simulator":
                raise
            guid = await over_ssh(self.host)
            seconds = await look(CONNECT_SECONDS.get)
            if guid != host.guid:
                raise Conflict(
                    f"The agent of {host.url} is another one now (it has lost {FILE_OF_AGENT}); remove the host and add it again.",
                    inner=no.text,
                ) from None
            facts = await _soon(self.host, seconds)
        return facts

    @step
    def settle(self, tx: Tx, meet: w.HostFacts) -> None:
        host = tx.one(Host, self.host)
        learn(tx, host, meet)
        tx.move(host, "ready")


async def _soon(host: str, seconds: float) -> w.HostFacts:
    """What an agent that was just started says once it has connected; Failed when it does not within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            facts: w.HostFacts = await ask(host, w.GetFacts())
        except Unreachable as no:
            if time.monotonic() > until:
                raise Failed(
                    f"The agent was installed again and started, but has not connected within {seconds:.0f} s. "
                    "Look at its log on the host (journalctl -u mold-agent, or /var/log/mold-agent.log).",
                    inner=no.text,
                ) from None
            await asyncio.sleep(0.3)
        else:
            return facts


@command("reconnectHost", roles=ROOT, answers=Host, job=True, event="HOST.RECONNECT")
def reconnect(ctx: Ctx, id: Host) -> Host:
    """Asks a host's agent what the host is, anew.

    When the agent does not answer and Mold had installed it over SSH, it is installed and started again.
    """
    ctx.start(ReconnectHost(host=id.id))
    return id


# -- living ------------------------------------------------------------------------------------------------------


def linked(tx: Tx, facts: w.HostFacts, session: str) -> Host | None:
    """An agent has connected to this manager: note it, and bring its host Up if it is one of ours."""
    tx.execute(sa.delete(link).where(link.c.guid == facts.guid))
    tx.execute(
        sa.insert(link).values(
            guid=facts.guid, session=session, name=facts.name, facts=w.pack(facts), since=time.time()
        )
    )
    host = tx.first(Host, Host.c.guid == facts.guid)
    if host is None or host.state == "Creating":
        return host
    learn(tx, host, facts)
    _note(tx, {facts.guid: w.HostReport()})
    # A host that only changed managers goes on; any other is believed to be well when it has told how it is.
    if host.state != "Up":
        tx.move(host, "connect", state_since=clock.now())
    return host


def distrust(tx: Tx, guid: str, session: str, why: str) -> None:
    """An agent of this manager sent what cannot be true: its host is Alert, and shows why."""
    host = tx.first(Host, Host.c.guid == guid)
    tx.execute(sa.delete(link).where(link.c.guid == guid, link.c.session == session))
    if host is not None and host.state in ("Up", "Connecting", "Disconnected"):
        tx.move(host, "overdue", state_since=clock.now(), problems=[why])


def unlinked(tx: Tx, guid: str, session: str) -> None:
    """An agent's connection to this manager has ended."""
    done = tx.execute(sa.delete(link).where(link.c.guid == guid, link.c.session == session)).rowcount
    host = tx.first(Host, Host.c.guid == guid)
    if done and host is not None and host.state in ("Up", "Connecting"):
        tx.move(host, "lost", state_since=clock.now())


def beat(tx: Tx, reports: dict[str, w.HostReport]) -> None:
    """Note the pings of many agents in one statement. Hosts that had been silent, or have just connected, are Up."""
    _note(tx, reports)
    for host in tx.find(Host, Host.c.state.in_(("Connecting", "Alert")), Host.c.hypervisor != "Simulator"):
        if host.guid in reports:
            tx.move(host, "ready", state_since=clock.now())


def _note(tx: Tx, reports: dict[str, w.HostReport]) -> None:
    tick = database_time(tx)
    rows = [
        {
            "guid": g,
            "at": tick,
            "cpu": r.cpu_percent,
            "load": r.load,
            "memory_used": r.memory_used,
            "received": r.received,
            "sent": r.sent,
        }
        for g, r in reports.items()
    ]
    if not rows:
        return
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = (postgresql if tx.postgres else sqlite).insert(pulse)
    columns = ("at", "cpu", "load", "memory_used", "received", "sent")
    tx.execute(
        insert.values(rows).on_conflict_do_update(
            index_elements=["guid"], set_={c: insert.excluded[c] for c in columns}
        )
    )


@reconciler(every=5)
async def watch_hosts() -> int:
    """Hosts whose agent does not ping become Alert; links of dead managers are dropped."""

    def go(tx: Tx) -> int:
        living = sa.select(sessions.c.id).where(alive(tx))
        tx.execute(sa.delete(link).where(link.c.session.not_in(living)))
        late = database_time(tx) - PING_SECONDS.get(tx) * PING_MISSES.get(tx)
        count = 0
        silent = sa.select(pulse.c.guid).where(pulse.c.at < late)
        # Simulated hosts without an agent have no guid; NULL would count as "not in" an empty list.
        held = Host.c.state.in_(("Up", "Connecting")) & Host.c.guid.is_not(None)
        unheld = sa.select(link.c.guid)
        for host in tx.find(Host, held, Host.c.guid.in_(silent), Host.c.guid.in_(unheld)):
            tx.move(host, "overdue", state_since=clock.now())
            count += 1
        for host in tx.find(Host, held, Host.c.guid.not_in(unheld)):
            tx.move(host, "lost", state_since=clock.now())
            count += 1
        for host in tx.find(Host, Host.c.state == "Disconnected", Host.c.state_since < clock.ago(ALERT_WAIT.get(tx))):
            tx.move(host, "overdue", state_since=clock.now())
            count += 1
        return count

    return await change(go)


@watched
def _hosts_away(tx: Tx) -> list[Trouble]:
    away = Host.c.state.in_(("Alert", "Down")) | ((Host.c.state == "Disconnected") & (Host.c.state_since < clock.ago(60)))
    out = []
    for host in tx.find(Host, away):
        why = f": {'; '.join(host.problems)}" if host.problems else ""
        text = f"Host {host.name} is {host.state}{why}. Look at its agent, its power and its network."
        out.append(Trouble("COMPUTE.HOST", f"host:{host.id}", text, host.zone_id, host.pod_id))
    return out


def free_text(host: Host) -> dict[str, Any]:
    """What a host has left, for explanations."""
    return {
        "cpu_mhz": host.cpu_capacity - host.cpu_reserved,
        "memory_gib": round((host.memory_capacity - host.memory_reserved) / GIB, 2),
    }
