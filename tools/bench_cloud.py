"""Clouds to measure: built through the API, then filled with rows put straight into the tables."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from mold.api.door import Request
from mold.api.permit import RoleType
from mold.base import ids, net
from mold.features.compute.machines.row import Disk, Nic, VirtualMachine
from mold.features.identity import roles
from mold.features.identity.accounts import ACCOUNT_TYPE, Account
from mold.features.identity.apikeys import KeyPair
from mold.features.identity.domains import Domain, place
from mold.features.identity.users import User
from mold.features.infra.hosts import Host
from mold.features.network.networks import Network
from mold.features.network.offerings import NetworkOffering
from mold.features.storage.volumes import Volume
from mold.plugins.simulator import Simulator
from mold.server.app import Manager, Options
from mold.store import Resource, Store, Tx, seal
from mold.store.resource import Json, Sealed

MIB = 1024**2


@contextlib.asynccontextmanager
async def manager(url: str, data: Path) -> AsyncIterator[Manager]:
    """A management server in this process, with the settings of the real one."""
    made = Manager(Options(data, database=url, admin_password="bench"), simulator=Simulator())
    await made.start(agents=False)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield made
    finally:
        await made.stop()


async def call(made: Manager, command: str, **params: Any) -> Any:
    """What a command answers on the integration port; waits for its job."""
    given = {"command": command, "response": "json", **{k: str(v) for k, v in params.items()}}
    answer = await made.door.answer(Request(params=given, integration=True))
    body = next(iter(json.loads(answer.body).values()))
    if answer.status != 200:
        raise RuntimeError(f"{command}: {body}")
    if "jobid" in body:
        job = await made.engine.finished(body["jobid"], 60)
        if job.status != 1:
            raise RuntimeError(f"{command}: {job.error}")
    return body


async def build(made: Manager) -> dict[str, str]:
    """A zone with one simulated host, storage, a template and an offering; returns their ids."""
    zone = (
        await call(
            made,
            "createZone",
            name="zone1",
            dns1="192.0.2.53",
            internaldns1="192.0.2.53",
            networktype="Advanced",
            guestcidraddress="10.1.0.0/16",
        )
    )["zone"]["id"]
    physical = (
        await call(
            made, "createPhysicalNetwork", zoneid=zone, name="net1", isolationmethods="VXLAN", vlan="1000-900000"
        )
    )["id"]
    for traffic in ("Management", "Public", "Guest"):
        await call(made, "addTrafficType", physicalnetworkid=physical, traffictype=traffic)
    await call(made, "updatePhysicalNetwork", id=physical, state="Enabled")
    await call(
        made,
        "createVlanIpRange",
        zoneid=zone,
        vlan="untagged",
        gateway="172.30.0.1",
        netmask="255.255.252.0",
        startip="172.30.0.10",
        endip="172.30.3.250",
        forvirtualnetwork="true",
        physicalnetworkid=physical,
    )
    pod = (
        await call(
            made,
            "createPod",
            zoneid=zone,
            name="pod1",
            gateway="172.29.0.1",
            netmask="255.255.0.0",
            startip="172.29.0.10",
            endip="172.29.255.250",
        )
    )["pod"]["id"]
    cluster = (
        await call(
            made,
            "addCluster",
            zoneid=zone,
            podid=pod,
            clustername="cluster1",
            hypervisor="Simulator",
            clustertype="CloudManaged",
        )
    )["cluster"][0]["id"]
    await call(made, "updateZone", id=zone, allocationstate="Enabled")
    host = (
        await call(
            made, "addHost", zoneid=zone, podid=pod, clusterid=cluster, hypervisor="Simulator", url="http://sim-1"
        )
    )["host"][0]["id"]
    pool = (
        await call(
            made,
            "createStoragePool",
            zoneid=zone,
            podid=pod,
            clusterid=cluster,
            name="primary1",
            url="sharedmountpoint://localhost/bench/primary",
            scope="CLUSTER",
        )
    )["storagepool"]["id"]
    await call(made, "addImageStore", provider="NFS", url="file:///bench/secondary", name="secondary1", zoneid=zone)
    for name in ("user.vms", "volumes", "cpus", "memory", "primary.storage", "networks"):
        await call(made, "updateConfiguration", name=f"max.account.{name}", value="-1")
        await call(made, "updateConfiguration", name=f"max.domain.{name}", value="-1")
    os_type = (await call(made, "listOsTypes", description="Other Linux (64-bit)"))["ostype"][0]["id"]
    template = (
        await call(
            made,
            "registerTemplate",
            name="tiny",
            displaytext="Tiny",
            url="http://192.0.2.1/tiny.qcow2",
            format="QCOW2",
            hypervisor="Simulator",
            zoneid=zone,
            ispublic="true",
            passwordenabled="true",
            ostypeid=os_type,
        )
    )["template"][0]["id"]
    async with asyncio.timeout(20):
        await made.engine.idle()
    offering = (
        await call(
            made, "createServiceOffering", name="Bench", displaytext="Bench", cpunumber=1, cpuspeed=100, memory=64
        )
    )["serviceoffering"]["id"]
    networking = await made.engine.reading(
        lambda tx: tx.first(
            NetworkOffering, NetworkOffering.c.state == "Enabled", NetworkOffering.c.guest_ip_type == "Isolated"
        )
    )
    assert networking is not None
    return {
        "zone": zone,
        "physical": physical,
        "pod": pod,
        "cluster": cluster,
        "host": host,
        "pool": pool,
        "template": template,
        "offering": offering,
        "networkoffering": networking.id,
        "ostype": os_type,
    }


class Tenant(msgspec.Struct):
    """Somebody who signs requests, with a network of her own."""

    account: str
    domain: str
    user: str
    apikey: str
    secret: str
    network: str


def tenants(tx: Tx, here: dict[str, str], count: int) -> list[Tenant]:
    """So many accounts in domains of twenty, each with a user, keys and a network that is not implemented yet."""
    root = tx.first(Domain, Domain.c.parent_id.is_(None))
    assert root is not None
    role = roles.default(tx, RoleType.USER).id
    domains = [place(tx, Domain(name=f"division-{n}", parent_id=root.id)) for n in range((count + 19) // 20)]
    out: list[Tenant] = []
    rows: dict[type[Resource], list[dict[str, Any]]] = {Account: [], User: [], KeyPair: [], Network: []}
    for n in range(count):
        domain = domains[n // 20]
        who = Tenant(ids.new_id(), domain.id, ids.new_id(), ids.token(32), ids.token(48), ids.new_id())
        rows[Account].append(
            {
                "id": who.account,
                "name": f"tenant-{n}",
                "domain_id": domain.id,
                "type": ACCOUNT_TYPE[RoleType.USER],
                "role_id": role,
            }
        )
        rows[User].append(
            {
                "id": who.user,
                "username": f"user-{n}",
                "account_id": who.account,
                "domain_id": domain.id,
                "password_hash": "!",
                "firstname": "User",
                "lastname": str(n),
                "email": f"user-{n}@example.org",
            }
        )
        rows[KeyPair].append({"name": who.account, "user_id": who.user, "apikey": who.apikey, "secret": who.secret})
        rows[Network].append(
            {
                "id": who.network,
                "account_id": who.account,
                "domain_id": domain.id,
                "name": f"net-{n}",
                "displaytext": f"net-{n}",
                "zone_id": here["zone"],
                "network_offering_id": here["networkoffering"],
                "cidr": "10.1.0.0/16",
                "gateway": "10.1.0.1",
                "netmask": "255.255.0.0",
                "networkdomain": "bench.internal",
            }
        )
        out.append(who)
    for kind, values in rows.items():
        pour(tx, kind, values)
    return out


def more_hosts(tx: Tx, like: str, count: int) -> None:
    """So many further hosts, each as the one with the id `like`."""
    one = tx.one(Host, like).fields()
    start = tx.count(Host)
    pour(
        tx,
        Host,
        (
            {**one, "id": ids.new_id(), "number": None, "name": f"sim-{n}", "url": f"sim-{n}",
             "cpu_reserved": 0, "memory_reserved": 0, "machines": 0}
            for n in range(start + 1, start + count + 1)
        ),
    )  # fmt: skip


def machines(tx: Tx, here: dict[str, str], whose: list[Tenant], count: int) -> None:
    """So many machines: the first tenant has 1 %, the others equal shares; one in ten is stopped, one in a hundred destroyed."""
    hosts = [h.id for h in tx.find(Host)]
    rows: dict[type[Resource], list[dict[str, Any]]] = {VirtualMachine: [], Nic: [], Volume: [], Disk: []}
    used = [0] * len(whose)
    for n in range(count):
        owner = 0 if n % 100 == 0 else 1 + n % (len(whose) - 1)
        who = whose[owner]
        used[owner] += 1
        state = "Destroyed" if n % 100 == 7 else "Stopped" if n % 10 == 3 else "Running"
        vm, volume = ids.new_id(), ids.new_id()
        common = {"account_id": who.account, "domain_id": who.domain}
        placed = {"host_id": hosts[n % len(hosts)], "pod_id": here["pod"]} if state == "Running" else {}
        rows[VirtualMachine].append(
            {
                "id": vm, **common, **placed,
                "name": f"machine-{n}",
                "display_name": f"Machine {n} of tenant-{owner}",
                "instance_name": f"i-2-{n}-VM",
                "user_id": who.user,
                "zone_id": here["zone"],
                "service_offering_id": here["offering"],
                "template_id": here["template"],
                "os_type_id": here["ostype"],
                "hypervisor": "Simulator",
                "state": state,
                "cpu_number": 1,
                "cpu_speed": 100,
                "memory": 64,
                "password_enabled": True,
                "password": "secret-password",
                "vnc_password": "12345678",
            }
        )  # fmt: skip
        rows[Nic].append(
            {
                "machine_id": vm,
                "network_id": who.network,
                "ip": net.dotted((10 << 24) + (1 << 16) + 1 + used[owner]),
                "mac": net.mac((owner << 20) + used[owner]),
                "host_name": vm,
            }
        )
        rows[Volume].append(
            {
                "id": volume, **common,
                "name": f"ROOT-{n}",
                "zone_id": here["zone"],
                "size": 64 * MIB,
                "state": "Ready",
                "pool_id": here["pool"],
                "template_id": here["template"],
                "service_offering_id": here["offering"],
                "hypervisor": "Simulator",
            }
        )  # fmt: skip
        rows[Disk].append({"machine_id": vm, "volume_id": volume})
    assert max(used) < 65_000
    for kind, values in rows.items():
        pour(tx, kind, values)


def pour(tx: Tx, kind: type[Resource], rows: Iterable[dict[str, Any]]) -> None:
    """Put many rows into a table: COPY on PostgreSQL, one prepared INSERT on SQLite."""
    columns = [c for c in kind.table.columns if c.name != "number"]
    sealed: dict[str, str] = {}

    def cell(column: Any, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(column.type, Json):
            return msgspec.json.encode(value).decode()
        if isinstance(column.type, Sealed):
            if value not in sealed:
                sealed[value] = seal.close(value)
            return sealed[value]
        return value

    def line(values: dict[str, Any]) -> list[Any]:
        row = kind(**values).__dict__
        if row["id"] is None:
            row["id"] = ids.new_id()
        if kind.states is not None and row["state"] is None:
            row["state"] = kind.states.initial
        return [cell(c, row[c.name]) for c in columns]

    names = ", ".join(f'"{c.name}"' for c in columns)
    raw: Any = tx.conn.connection.driver_connection
    if tx.postgres:
        with raw.cursor() as cursor, cursor.copy(f'COPY "{kind.kind}" ({names}) FROM STDIN') as copy:
            for values in rows:
                copy.write_row(line(values))
    else:
        marks = ", ".join("?" * len(columns))
        raw.executemany(f'INSERT INTO "{kind.kind}" ({names}) VALUES ({marks})', (line(v) for v in rows))


def settle(store: Store) -> None:
    """What the database's own housekeeping would have done by the next day: statistics, visibility, a checkpoint."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(sa.text("VACUUM ANALYZE" if store.postgres else "ANALYZE"))
        if store.postgres:
            conn.execute(sa.text("CHECKPOINT"))


class Spent:
    """CPU seconds of this process and of PostgreSQL's, whatever the load of the machine: what a thing costs, not how long it took."""

    def __init__(self, store: Store) -> None:
        self.postmaster = 0
        if store.postgres:
            with store.engine.connect() as conn:
                self.postmaster = _stat(int(conn.exec_driver_sql("select pg_backend_pid()").scalar_one()))[1]
        self.take()

    def take(self) -> tuple[float, float]:
        """Seconds of the manager and of PostgreSQL since the last call."""
        now = time.process_time(), self._postgres()
        before, self.before = getattr(self, "before", now), now
        return now[0] - before[0], now[1] - before[1]

    def _postgres(self) -> float:
        ticks = 0
        for pid in (int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()) if self.postmaster else ():
            with contextlib.suppress(OSError):
                _, parent, used = _stat(pid)
                ticks += used if self.postmaster in (pid, parent) else 0
        return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> tuple[int, int, int]:
    """A process, its parent, and the clock ticks it has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return pid, int(words[1]), int(words[11]) + int(words[12])


class Statements:
    """Counts the SQL statements that a store sends (not BEGIN, COMMIT, ROLLBACK)."""

    def __init__(self, store: Store) -> None:
        self.texts: list[str] = []
        sa.event.listen(store.engine, "before_cursor_execute", self._heard)
        store.heard = self.texts_add

    def _heard(self, conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            self.texts.append(statement)

    def texts_add(self, text: str) -> None:
        """A prepared statement was sent."""
        self.texts.append(text)

    def take(self) -> list[str]:
        """The statements since the last call."""
        found, self.texts = self.texts, []
        return found
