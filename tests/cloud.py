"""A whole cloud in memory for tests: real SQL, the real door, the real worker, simulated hosts; nothing else is spoken than the API.

A test reads top to bottom: `cloud.admin.createZone(name=…)` answers the zone, waits for the job if there is one, and
raises `ApiError` when the API refuses.  Requests are signed for real, with a signing function of the tests' own.
One cloud lives at a time in a process, as one manager does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import uvicorn
from argon2 import PasswordHasher
from signing import signature

from mold.api.door import Answer, Request
from mold.features.identity import credentials
from mold.plugins.simulator import Simulator
from mold.server.app import Manager, Options
from mold.server.http import Bounded, application, integration
from mold.store import Store
from mold.store.resource import metadata
from mold.work.reconcile import RECONCILERS

T = TypeVar("T")
ADMIN_PASSWORD = "canary: admin password of the tests"
TENANT_PASSWORD = "canary: password of the tests' tenants"
CANARIES = {ADMIN_PASSWORD, TENANT_PASSWORD}
"""Secrets that are in use all over the tests and must not be found: not in a database, not in a log. Secret keys join them."""
SUNG: list[str] = []
"""What was logged with a canary in it."""


def listen_for_canaries(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A processor of structlog."""
    text = str(event)
    if any(canary in text for canary in CANARIES):
        SUNG.append(text[:500])
    return event
PATIENCE_SECONDS = 60.0
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Passwords of tests protect nothing: 0.1 ms instead of 100 ms each. `tests/api/test_login.py` looks at the real one."""


class ApiError(Exception):
    """The API refused. `code` is its errorcode, `text` its sentence, `key` the refusal's name, `params` its facts."""

    def __init__(self, code: int, text: str, body: dict[str, Any]) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.body = code, text, body
        self.key: str = body.get("errorkey", "")
        self.params: dict[str, Any] = body.get("errorparams", {})


def on_the_wire(params: dict[str, Any]) -> dict[str, str]:
    """Parameters as clients send them: lists joined, maps unfolded, switches as words; None is left out."""
    out: dict[str, str] = {}
    for name, value in params.items():
        if value is None:
            continue
        if isinstance(value, bool):
            out[name] = "true" if value else "false"
        elif isinstance(value, dict) and name == "tags":
            for i, (key, word) in enumerate(value.items()):
                out[f"tags[{i}].key"], out[f"tags[{i}].value"] = key, str(word)
        elif isinstance(value, dict):
            for key, word in value.items():
                out[f"{name}[0].{key}"] = str(word)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, entry in enumerate(value):
                out.update({f"{name}[{i}].{key}": str(word) for key, word in entry.items()})
        elif isinstance(value, list | tuple):
            out[name] = ",".join(map(str, value))
        else:
            out[name] = str(value)
    return out


def inside(body: dict[str, Any], *, rows: bool) -> Any:
    """What a caller wants of an answer: the rows of a list (`rows`), the object of an object, else the body itself.

    Commands like addHost and registerTemplate answer a list although they make one thing: that one comes back.
    """
    values = [v for k, v in body.items() if k != "count"]
    if rows:
        return values[0] if values else []
    if len(values) == 1 and isinstance(values[0], dict | list):
        found = values[0]
        return found[0] if isinstance(found, list) and len(found) == 1 else found
    return body


class Actor:
    """Somebody who calls commands. Any attribute is a command: `actor.listZones(id=…)`."""

    def __init__(
        self, cloud: Cloud, *, keys: tuple[str, str] | None = None, about: dict[str, Any] | None = None
    ) -> None:
        self.cloud = cloud
        self.keys = keys
        """API key and secret; None speaks at the integration port's door."""
        self.about = about or {}
        """The account as the API shows it."""

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        """The account's name."""
        return str(self.about.get("name", "system"))

    @property
    def account(self) -> str:
        """The account's id."""
        return str(self.about["id"])

    @property
    def domain(self) -> str:
        """The id of the account's domain."""
        return str(self.about["domainid"])

    @property
    def user(self) -> str:
        """The id of the account's first user."""
        return str(self.about["user"][0]["id"])

    def request(self, command: str, params: dict[str, str]) -> Request:
        """The request as the door takes it, signed."""
        given = {"command": command, "response": "json", **params}
        if self.keys is not None:
            given["apiKey"] = self.keys[0]
            given["signature"] = signature(given, self.keys[1])
        return Request(params=given, post=True, integration=self.keys is None, base_url="http://127.0.0.1:1/client")

    async def answer(self, command: str, params: dict[str, str]) -> Answer:
        """Status and raw body; for tests that run on the cloud's own loop."""
        return await self.cloud.manager.door.answer(self.request(command, params))

    def raw(self, command: str, **params: Any) -> Answer:
        """Status and raw body."""
        return self.cloud.run(self.answer(command, on_the_wire(params)))

    def ask(self, command: str, **params: Any) -> dict[str, Any]:
        """The body inside the envelope, jobs not waited for. ApiError when refused."""
        return opened(self.raw(command, **params))

    def call(self, command: str, **params: Any) -> Any:
        """What is inside the answer, the job waited for. ApiError when it is refused or fails."""
        body = self.ask(command, **params)
        if "jobid" in body and "jobstatus" not in body:
            return inside(self.job(body["jobid"]), rows=False)
        return inside(body, rows=command.startswith("list"))

    def job(self, jobid: str) -> dict[str, Any]:
        """The result of a job once it is over; ApiError when it failed."""
        told = self.ended(jobid)
        result: dict[str, Any] = told["jobresult"]
        if told["jobstatus"] == 2:
            raise ApiError(result["errorcode"], result["errortext"], result)
        return result

    def ended(self, jobid: str) -> dict[str, Any]:
        """A job as queryAsyncJobResult tells of it once it is over."""
        self.cloud.run(self.cloud.manager.engine.finished(jobid, PATIENCE_SECONDS))
        told = self.ask("queryAsyncJobResult", jobid=jobid)
        assert told["jobstatus"] != 0, f"job {jobid} is still under way: {told}"
        return told

    def one(self, command: str, **params: Any) -> dict[str, Any]:
        """The only row of a list."""
        rows = self.call(command, **params)
        assert len(rows) == 1, rows
        return dict(rows[0])

    def __getattr__(self, command: str) -> Callable[..., Any]:
        if command.startswith("_"):
            raise AttributeError(command)
        return lambda **params: self.call(command, **params)


def opened(answer: Answer) -> dict[str, Any]:
    """The body inside the one top-level key; ApiError when it is a refusal."""
    envelope = json.loads(answer.body)
    ((_, body),) = envelope.items()
    if answer.status != 200:
        raise ApiError(body["errorcode"], body["errortext"], body)
    return dict(body)


@dataclass
class Site:
    """A zone that is ready for machines; everything by its id."""

    cloud: Cloud
    zone: str
    physical: str
    pod: str
    cluster: str
    pool: str
    store: str
    template: str
    offering: str
    network_offering: str
    public_range: str
    hosts: list[str] = field(default_factory=list)

    def add_host(self, name: str, **params: Any) -> str:
        """One more simulated host; its id."""
        where = {"zoneid": self.zone, "podid": self.pod, "clusterid": self.cluster, "hypervisor": "Simulator", **params}
        made = self.cloud.admin.addHost(url=f"http://{name}", **where)
        self.hosts.append(made["id"])
        return str(made["id"])

    def network(self, actor: Actor, name: str = "net", **params: Any) -> dict[str, Any]:
        """An isolated network of an account."""
        wanted = {"networkofferingid": self.network_offering, "zoneid": self.zone, **params}
        return dict(actor.createNetwork(name=name, **wanted))

    def wish(self, actor: Actor, **params: Any) -> dict[str, Any]:
        """The parameters of a deploy; the account's only network is made when it has none."""
        if "networkids" not in params and "iptonetworklist" not in params:
            whose = {"projectid": params["projectid"]} if "projectid" in params else {}
            mine = [n["id"] for n in actor.listNetworks(zoneid=self.zone, **whose)]
            params["networkids"] = mine[0] if mine else self.network(actor, **whose)["id"]
        return {"serviceofferingid": self.offering, "templateid": self.template, "zoneid": self.zone, **params}

    def deploy(self, actor: Actor, **params: Any) -> dict[str, Any]:
        """A machine, running unless `startvm` is false."""
        return dict(actor.deployVirtualMachine(**self.wish(actor, **params)))

    def machine(self, actor: Actor, vm: str) -> dict[str, Any]:
        """A machine as the account sees it now."""
        return actor.one("listVirtualMachines", id=vm)


class Cloud:
    """One management server on a database, its loop in a thread. See the module's docstring."""

    alive: Cloud | None = None

    def __init__(self, folder: Path, url: str, *, agents: bool = False) -> None:
        assert Cloud.alive is None, "one cloud at a time: the engine of a process is one"
        Cloud.alive = self
        self.url = url
        self.postgres = url.startswith("postgres")
        self.counter = itertools.count(1)
        self._real_hasher = credentials.hasher
        credentials.hasher = QUICK
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cloud", daemon=True)
        self._thread.start()
        self._servers: list[tuple[uvicorn.Server, asyncio.Future[Any]]] = []
        options = Options(data=folder, database=url, admin_password=ADMIN_PASSWORD, agent_port=0)
        self.manager = Manager(options)
        self.run(self.manager.start(agents=agents))
        self.system = Actor(self)
        """Who speaks at the integration port."""
        self.admin = self._root()

    @property
    def simulator(self) -> Simulator:
        """The simulated hosts: what they hold, and faults to plant."""
        return self.manager.hub.simulator

    def run(self, work: Coroutine[Any, Any, T], seconds: float = PATIENCE_SECONDS * 2) -> T:
        """Run a coroutine on the cloud's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def stop(self) -> None:
        """End everything this cloud began."""
        try:
            for server, task in self._servers:
                server.should_exit = True
                self.run(asyncio.wait_for(_awaited(task), 10))
            self.run(self.manager.stop())
            assert not SUNG, f"secrets were logged: {SUNG[:3]}"
            written = self._dump()
            found = [c for c in CANARIES if c in written]
            assert not found, f"secrets lie open in the database: {found}"
        finally:
            CANARIES.intersection_update((ADMIN_PASSWORD, TENANT_PASSWORD))  # the next cloud has keys of its own
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            credentials.hasher = self._real_hasher
            Cloud.alive = None

    def _dump(self) -> str:
        """All that the database holds, as text."""
        store = Store(self.manager.options.url)
        try:
            with store.engine.connect() as conn:
                return "\n".join(str(list(conn.exec_driver_sql(f'SELECT * FROM "{t}"'))) for t in metadata.tables)
        finally:
            store.close()

    def name(self, word: str) -> str:
        """A name that nothing else in this cloud has."""
        return f"{word}-{next(self.counter)}"

    def idle(self) -> None:
        """Wait until no operation is under way."""
        self.run(self.manager.engine.idle(PATIENCE_SECONDS))

    def reconcile(self, name: str) -> int:
        """Run a reconciler now, and what it asked for to its end."""
        done = self.run(RECONCILERS[name].function())  # type: ignore[arg-type]
        self.idle()
        return int(done or 0)

    def set(self, name: str, value: Any, **scope: Any) -> None:
        """Change a setting."""
        self.admin.updateConfiguration(
            name=name, value=str(value).lower() if isinstance(value, bool) else value, **scope
        )

    def calls_to_hosts(self) -> list[tuple[str, Any]]:
        """A list that every call to a simulated host is added to from now on, as (host id, call)."""
        seen: list[tuple[str, Any]] = []
        self.simulator.on_call = lambda host, call: seen.append((host, call))
        return seen

    # -- who calls ---------------------------------------------------------------------------------------------

    def _root(self) -> Actor:
        about = self.system.one("listAccounts", name="admin", listall=True)
        return self._signing(about)

    def _signing(self, about: dict[str, Any]) -> Actor:
        made = self.system.registerUserKeys(id=about["user"][0]["id"])
        CANARIES.add(made["secretkey"])
        return Actor(self, keys=(made["apikey"], made["secretkey"]), about=about)

    def domain(self, name: str | None = None, parent: str | None = None) -> str:
        """A new domain; its id."""
        return str(self.admin.createDomain(name=name or self.name("domain"), parentdomainid=parent)["id"])

    def tenant(
        self, domain: str | None = None, role: str = "User", name: str | None = None, title: str | None = None
    ) -> Actor:
        """A new account with a user and keys, in a new domain unless one is given.

        Roles: User, DomainAdmin, ResourceAdmin, Admin; or `title`, the name of a role, as Read-Only User.
        """
        kind = {"User": 0, "Admin": 1, "DomainAdmin": 2, "ResourceAdmin": 3}[role]
        word = name or self.name(role.lower())
        if domain is None and role in ("User", "DomainAdmin"):
            domain = self.domain()
        about = self.system.createAccount(
            username=word, password=TENANT_PASSWORD, email=f"{word}@example.org", firstname=word, lastname="of the tests",
            accounttype=kind, domainid=domain or self.admin.domain,
            roleid=self.system.one("listRoles", name=title)["id"] if title else None,
        )  # fmt: skip
        return self._signing(about)

    # -- a zone ------------------------------------------------------------------------------------------------

    def zone(
        self, *, hosts: int = 2, vlan: str = "1000-3999", public: int = 100, name: str | None = None, ready: bool = True
    ) -> Site:
        """A simulated zone: physical network, public range, pod, cluster, hosts, storage, template, offerings."""
        admin, n = self.admin, next(self.counter)
        name = name or f"zone-{n}"
        zone = admin.createZone(name=name, dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced")["id"]
        physical = admin.createPhysicalNetwork(zoneid=zone, name="guests", isolationmethods="VXLAN", vlan=vlan)["id"]
        for traffic in ("Management", "Public", "Guest"):
            admin.addTrafficType(physicalnetworkid=physical, traffictype=traffic)
        admin.updatePhysicalNetwork(id=physical, state="Enabled")
        last = 10 + public
        range_ = admin.createVlanIpRange(
            zoneid=zone, vlan="untagged", gateway="203.0.112.1", netmask="255.255.240.0", startip="203.0.112.11",
            endip=f"203.0.{112 + last // 256}.{last % 256}", forvirtualnetwork=True,
        )["id"]  # fmt: skip
        pod = admin.createPod(
            zoneid=zone,
            name="pod",
            gateway="172.30.0.1",
            netmask="255.255.0.0",
            startip="172.30.0.10",
            endip="172.30.9.9",
        )["id"]
        cluster = admin.addCluster(
            zoneid=zone, podid=pod, clustername="cluster", hypervisor="Simulator", clustertype="CloudManaged"
        )["id"]
        site = Site(self, zone, physical, pod, cluster, "", "", "", "", "", range_)
        for number in range(1, hosts + 1):
            site.add_host(f"sim-{n}-{number}")
        if ready:
            admin.updateZone(id=zone, allocationstate="Enabled")
        if hosts:
            site.pool = admin.createStoragePool(
                zoneid=zone,
                podid=pod,
                clusterid=cluster,
                name="primary",
                url=f"sharedmountpoint://localhost/primary/{n}",
            )["id"]
            site.store = admin.addImageStore(
                provider="NFS", url=f"file:///secondary/{n}", name=f"store-{n}", zoneid=zone
            )["id"]
            site.template = admin.registerTemplate(
                name=f"tiny-{n}", url="http://images.invalid/tiny.qcow2", format="QCOW2", hypervisor="Simulator",
                zoneid=zone, ispublic=True, isfeatured=True, passwordenabled=True,
            )["id"]  # fmt: skip
            self.idle()
            assert admin.one("listTemplates", templatefilter="self", id=site.template)["isready"]
        site.offering = admin.createServiceOffering(name=f"tiny-{n}", cpunumber=1, cpuspeed=500, memory=256)["id"]
        site.network_offering = admin.one(
            "listNetworkOfferings", name="DefaultIsolatedNetworkOfferingWithSourceNatService"
        )["id"]
        return site

    # -- HTTP --------------------------------------------------------------------------------------------------

    def serve(self, *, integration_port: bool = False) -> str:
        """The real HTTP server on a free loopback port; its URL up to the port."""
        app = integration(self.manager) if integration_port else application(self.manager)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, access_log=False, loop="none", http=Bounded,
            ws="websockets-sansio", lifespan="off", server_header=False, proxy_headers=False,
        )  # fmt: skip
        server = uvicorn.Server(config)

        async def begin() -> asyncio.Future[Any]:
            return asyncio.ensure_future(server._serve())

        task = self.run(begin())
        self._servers.append((server, task))
        until = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < until and not task.done(), "the HTTP server has not started"
            time.sleep(0.005)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


async def _awaited(task: asyncio.Future[Any]) -> None:
    await task


class Blueprint:
    """An installation made once per kind of database, and copied for every cloud: a cloud then starts in a blink."""

    def __init__(self, folder: Path, server_url: str | None) -> None:
        self.folder = folder
        self.server_url = server_url
        self.number = itertools.count(1)
        if server_url is None:
            cloud = Cloud(folder / "data", f"sqlite:///{folder / 'mold.db'}")
        else:
            self._admin("CREATE DATABASE blueprint")
            cloud = Cloud(folder / "data", self._named("blueprint"))
        cloud.stop()

    def _named(self, name: str) -> str:
        assert self.server_url is not None
        return self.server_url.replace("/postgres?", f"/{name}?")

    def _admin(self, statement: str) -> None:
        assert self.server_url is not None
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def cloud(self, folder: Path, *, agents: bool = False) -> Cloud:
        """A fresh cloud with its own database."""
        data = folder / "data"
        shutil.copytree(self.folder / "data", data)
        if self.server_url is None:
            shutil.copy(self.folder / "mold.db", folder / "mold.db")
            return Cloud(data, f"sqlite:///{folder / 'mold.db'}", agents=agents)
        name = f"cloud_{next(self.number)}"
        self._admin(f"CREATE DATABASE {name} TEMPLATE blueprint")
        return Cloud(data, self._named(name), agents=agents)
