"""Managers, their database, or both are killed at random while machines come and go; then everything is counted.

Management servers are real processes; simulated hosts are connected to them over the real agent link and live in this
process, which nobody kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import census
import pytest
import sqlalchemy as sa
from census import Census, differences
from private_postgres import programs as postgres_programs
from servers import Client, Postgres, Server, free_ports, hosts, new_key
from sqlalchemy.exc import OperationalError
from workcloud import Ids, Refused, build, machine

from mold.features.infra.hosts import Host
from mold.plugins.simulator import Simulator
from mold.server.app import load
from mold.server.simhosts import Hosts
from mold.store import Store, Tx, seal
from mold.work import Job
from mold.work.engine import LEASE_SECONDS
from mold.work.job import session

pytestmark = [pytest.mark.slow, pytest.mark.alone]
load()
MACHINES = int(os.environ.get("MOLD_KILL_MACHINES", "80"))
AT_ONCE = 8


class Field:
    """Managers, hosts, a client, and a look at the database past all of them."""

    def __init__(self, servers: list[Server], client: Client, simulated: Hosts, ids: Ids, store: Store) -> None:
        self.servers, self.client, self.simulated, self.ids, self.store = servers, client, simulated, ids, store
        self.done = 0
        self.refused: Counter[str] = Counter()

    def count(self) -> Census:
        """The census. The simulator knows its hosts by name, the rows by id."""

        def go(tx: Tx) -> Census:
            ids = {h.name: h.id for h in tx.find(Host)}
            seen = Simulator()
            seen.boxes = {ids.get(name, name): box for name, box in self.simulated.simulator.boxes.items()}
            seen.stores = self.simulated.simulator.stores
            found = census.take(tx, seen)
            under_way = tx.find(Job, Job.c.phase != "over")
            found.faults += [f"job {j.operation} is {j.phase} at {j.at}: {j.error}" for j in under_way]
            return found

        try:
            with self.store.read() as tx:
                return go(tx)
        except OperationalError:  # connections to a database that was stopped since
            self.store.engine.dispose()
            with self.store.read() as tx:
                return go(tx)

    async def one(self, name: str) -> None:
        """Deploy a machine and remove it again, trying on until both are true."""
        id = ""
        while not id:
            try:
                made = await self.client.done("deployVirtualMachine", **machine(self.ids, name))
                id = made["id"]
            except Refused as no:
                # Its answer may have been lost, and it was asked again: then it is there, or on its way.
                self.refused[str(no)[:60]] += 1
                found = (await self.client.call("listVirtualMachines", name=name, listall="true")).get("virtualmachine")
                if found and found[0]["state"] == "Running":
                    id = found[0]["id"]
                else:
                    await asyncio.sleep(0.3)
        while True:
            try:
                await self.client.done("destroyVirtualMachine", id=id, expunge="true")
            except Refused as no:
                self.refused[str(no)[:60]] += 1
            if not (await self.client.call("listVirtualMachines", name=name, listall="true")).get("virtualmachine"):
                break
            await asyncio.sleep(0.3)
        self.done += 1

    async def work(self, names: list[str]) -> None:
        """All of these machines, a few at once."""
        waiting = list(names)

        async def worker() -> None:
            while waiting:
                await self.one(waiting.pop())

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def rested(self, seconds: float = 30) -> Census:
        """The census once nothing is on its way."""
        until = time.monotonic() + seconds
        while (now := await asyncio.to_thread(self.count)).faults:
            assert time.monotonic() < until, now.faults
            await asyncio.sleep(0.2)
        return now

    async def settled(self, before: Census, seconds: float = 30) -> None:
        """Everything is as before, soon."""
        until = time.monotonic() + seconds
        while True:
            now = await asyncio.to_thread(self.count)
            wrong = now.faults + differences(before, now)
            if not wrong:
                return
            if time.monotonic() > until:
                pytest.fail("\n".join(wrong[:40]), pytrace=False)
            await asyncio.sleep(0.5)

    def twice(self) -> list[str]:
        """Operations that have succeeded more than once for one machine."""

        def go(tx: Tx) -> list[str]:
            good = tx.find(Job, Job.c.status == 1, Job.c.operation.in_(("StartVm", "ExpungeVm")))
            count = Counter((j.operation, j.args["vm"]) for j in good)
            # A destroy whose answer was lost may have been asked for again; what it did, it did once.
            return [str(k) for k, n in count.items() if n > 1 and k[0] == "StartVm"]

        with self.store.read() as tx:
            return go(tx)


@contextlib.asynccontextmanager
async def field(
    folder: Path, managers: int, count: int, postgres: Postgres | None, url: str = ""
) -> AsyncIterator[Field]:
    """Managers on one database (`url`, else that of the server), hosts linked to them, a cloud with one network in use."""
    key = new_key()
    ports = free_ports(3 * managers)
    url = url or (postgres.url if postgres else "")
    servers = [
        Server(folder / f"manager{n}", url, ports[3 * n : 3 * n + 3], key) for n in range(managers)
    ]
    client = Client(servers)
    simulated: Hosts | None = None
    store: Store | None = None
    try:
        for each in servers:
            each.start()
            await each.ready()
        simulated = await asyncio.to_thread(hosts, folder / "hosts", count, servers)
        simulated.simulator.latency = 0.01
        simulated.start()
        await linked(client, count)
        ids = await build(client.done, count, primary="/kills")
        os.environ["MOLD_KEY"] = key
        seal.load(folder)
        store = Store(url or f"sqlite:///{servers[0].folder / 'mold.db'}")
        made = Field(servers, client, simulated, ids, store)
        await made.one("warm")
        yield made
    finally:
        os.environ.pop("MOLD_KEY", None)
        if simulated is not None:
            await simulated.stop()
        for each in servers:
            each.end()
        await client.http.aclose()
        if store is not None:
            store.close()


async def linked(client: Client, count: int) -> None:
    """Wait until the hosts' agents are connected, before they are added: the hub tells of them in its log only."""
    del client, count
    await asyncio.sleep(1.5)


async def at_random(f: Field, strikes: list[Callable[[], Awaitable[None]]]) -> None:
    """Strike at random moments while the work goes on, each time after some more of it is done."""
    for number, strike in enumerate(strikes, 1):
        while f.done < 1 + number * MACHINES // (len(strikes) + 2):
            await asyncio.sleep(0.01)
        await asyncio.sleep(random.uniform(0, 0.5))
        await strike()


def names(count: int) -> list[str]:
    return [f"vm-{number}" for number in range(count)]


async def until_done(work: Awaitable[None], trouble: Awaitable[None], seconds: float) -> None:
    """Work under trouble; both come to their end."""
    async with asyncio.timeout(seconds):
        await asyncio.gather(work, trouble)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_kill_9_five_times_while_machines_come_and_go(kind: str, tmp_path: Path) -> None:
    async def go(postgres: Postgres | None) -> None:
        async with field(tmp_path, 1, 3, postgres) as f:
            before = await f.rested()
            (server,) = f.servers

            async def strike() -> None:
                server.kill()
                server.start()
                await server.ready()

            began = time.monotonic()
            await until_done(f.work(names(MACHINES)), at_random(f, [strike] * 5), 280)
            seconds = time.monotonic() - began
            await f.settled(before)
            assert f.done == MACHINES + 1
            assert server.kills == 5
            assert f.twice() == []
            print(f"{kind}: {MACHINES} deploys and destroys, 5 kills, {seconds:.0f} s; refused on the way: {dict(f.refused)}")

    with maybe_postgres(kind) as postgres:
        asyncio.run(go(postgres))


@contextlib.contextmanager
def maybe_postgres(kind: str = "postgres") -> AsyncIterator[Postgres | None]:  # type: ignore[misc]
    """A PostgreSQL of the test's own, or none."""
    if kind != "postgres":
        yield None
        return
    programs = postgres_programs()
    assert programs is not None
    postgres = Postgres(programs)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.end()


@pytest.mark.postgres
def test_two_managers_on_one_database_either_killed_frozen_or_without_it(tmp_path: Path) -> None:
    async def go(postgres: Postgres) -> None:
        async with field(tmp_path, 2, 3, postgres) as f:
            before = await f.rested()
            told: list[str] = []

            async def kill_one() -> None:
                server = random.choice(f.servers)
                server.kill()
                await asyncio.sleep(random.uniform(0.5, 2))
                server.start()
                await server.ready()
                told.append("killed")

            async def freeze_one() -> None:
                server = random.choice(f.servers)
                server.signal(signal.SIGSTOP)
                await asyncio.sleep(LEASE_SECONDS + 2)
                server.signal(signal.SIGCONT)
                told.append("frozen")

            async def restart_database() -> None:
                await asyncio.to_thread(postgres.stop)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(postgres.start)
                told.append("database")

            strikes = [kill_one, kill_one, freeze_one, restart_database, kill_one]
            began = time.monotonic()
            await until_done(f.work(names(MACHINES)), at_random(f, strikes), 280)
            seconds = time.monotonic() - began
            await f.settled(before)
            assert told == ["killed", "killed", "frozen", "database", "killed"]
            assert f.done == MACHINES + 1
            assert f.twice() == []
            print(f"two managers: {MACHINES} machines, {seconds:.0f} s; refused on the way: {dict(f.refused)}")

    with maybe_postgres() as postgres:
        assert postgres is not None
        asyncio.run(go(postgres))


@pytest.mark.postgres
def test_failover_to_a_synchronous_standby_in_mid_work(tmp_path: Path) -> None:
    """The database's server is lost for good and its standby takes over: all that was accepted is done, once."""

    async def go(first: Postgres, second: Postgres) -> None:
        both = f"postgresql://mold@/postgres?host={first.folder},{second.folder}&target_session_attrs=read-write"
        async with field(tmp_path, 2, 3, None, both) as f:
            before = await f.rested()
            count = max(30, MACHINES // 4)
            lost: list[float] = []

            async def lose_the_first() -> None:
                while f.done < 1 + count // 3:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(first.stop)
                await asyncio.sleep(1)
                await asyncio.to_thread(second.promote)
                lost.append(time.monotonic())

            await until_done(f.work(names(count)), lose_the_first(), 200)
            assert lost and f.done == count + 1
            f.store.engine.dispose()  # its connections were to the first
            await f.settled(before)
            assert f.twice() == []
            print(f"failover: {count} machines; {time.monotonic() - lost[0]:.0f} s from the promotion to the last of them")

    with maybe_postgres() as first:
        assert first is not None
        second = first.standby()
        try:
            asyncio.run(go(first, second))
        finally:
            second.end()


@pytest.mark.postgres
def test_a_dead_managers_jobs_go_on_within_the_lease_and_a_second(tmp_path: Path) -> None:
    async def go(postgres: Postgres) -> None:
        async with field(tmp_path, 2, 3, postgres) as f:
            before = await f.rested()
            one, two = f.servers
            f.simulated.simulator.latency = 1.0  # the deploys are in the middle of it when their manager dies
            direct = Client([one])
            jobs = [
                (await direct.call("deployVirtualMachine", **machine(f.ids, f"left-{n}")))["jobid"] for n in range(5)
            ]
            await asyncio.sleep(0.7)
            one.kill()
            died = time.monotonic()
            f.simulated.simulator.latency = 0.01

            def owners(tx: Tx) -> set[str]:
                open_ = tx.find(Job, Job.c.phase != "over")
                alive = set(tx.execute(sa.select(session.c.id).where(session.c.address.endswith(str(two.agents)))).scalars())
                return {j.owner or "" for j in open_} - alive

            while await asyncio.to_thread(with_reader, f.store, owners):
                assert time.monotonic() - died < LEASE_SECONDS + 1, "not taken over in time"
                await asyncio.sleep(0.05)
            taken = time.monotonic() - died
            other = Client([two])
            results = []
            for job in jobs:
                while (answer := await other.call("queryAsyncJobResult", jobid=job))["jobstatus"] == 0:
                    assert time.monotonic() - died < 60
                    await asyncio.sleep(0.1)
                results.append(answer["jobstatus"])
            finished = time.monotonic() - died
            assert results == [1] * 5
            one.start()
            await one.ready()
            for number in range(5):
                await f.one(f"left-{number}")
            await f.settled(before)
            print(f"taken over {taken:.1f} s after the kill, done after {finished:.1f} s")
            await direct.http.aclose()
            await other.http.aclose()

    with maybe_postgres() as postgres:
        assert postgres is not None
        asyncio.run(go(postgres))


def with_reader(store: Store, work: Callable[[Tx], set[str]]) -> set[str]:
    """Read the database."""
    with store.read() as tx:
        return work(tx)


def test_simulated_hosts_as_a_process_of_their_own(tmp_path: Path) -> None:
    import subprocess
    import sys

    async def go() -> None:
        ports = free_ports(3)
        server = Server(tmp_path / "manager", "", ports, new_key())
        client = Client([server])
        process: subprocess.Popen[bytes] | None = None
        try:
            server.start()
            await server.ready()
            with (tmp_path / "simhosts.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "mold.server.simhosts", "--config", str(tmp_path / "hosts"), "--hosts", "2",
                     "--managers", f"127.0.0.1:{server.agents}", "--integration-port", str(server.integration)],
                    stdout=log, stderr=log,
                )  # fmt: skip
            await asyncio.sleep(3)
            ids = await build(client.done, 2)
            await client.done("deployVirtualMachine", **machine(ids, "one"))
            server.kill()  # the machine runs on, and the new manager finds its host again
            server.start()
            await server.ready()
            until = time.monotonic() + 20
            while True:
                found = (await client.call("listHosts", type="Routing"))["host"]
                if all(h["state"] == "Up" for h in found):
                    break
                assert time.monotonic() < until, found
                await asyncio.sleep(0.2)
            (vm,) = (await client.call("listVirtualMachines", listall="true"))["virtualmachine"]
            assert vm["state"] == "Running"
            await client.done("destroyVirtualMachine", id=vm["id"], expunge="true")
        finally:
            if process is not None:
                process.terminate()
                process.wait(10)
            server.end()
            await client.http.aclose()

    asyncio.run(go())
