"""Drills over every operation: repeat each step, fail each step, lose each answer, kill at each point and inside each undo.

Afterwards the world is as before, or as wanted; the census says so down to the last byte of reserved capacity.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import census
import pytest
import sqlalchemy as sa
import structlog
from census import Census, differences
from recipes import RECIPES, Recipe, Want
from workcloud import Cloud, build, copied, dead, managed
from workkit import Killed

from mold.base.errors import Failed, Unreachable
from mold.features.compute.machines.row import VirtualMachine
from mold.features.compute.machines.stop import expunge_again, expunge_destroyed
from mold.features.identity.removal import finish_removals, halt_again
from mold.features.network import networks
from mold.features.storage import templates
from mold.plugins.simulator import Simulator
from mold.server.app import load
from mold.store import Tx
from mold.wire.calls import Call
from mold.work import OPERATIONS, Engine, Job
from mold.work.operation import Part

LONG_AGO = "2020-01-01T00:00:00+0000"
load()
MINE = {name for name, kind in OPERATIONS.items() if kind.__module__.startswith("mold.")}


def test_every_operation_has_a_recipe() -> None:
    wanted = {r.operation for r in RECIPES.values()}
    assert sorted(MINE - wanted) == [], "write a recipe in recipes.py"
    assert sorted(wanted - MINE) == [], "these recipes are for operations that are gone"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is planted here need not be logged; MOLD_DRILL_LOGS=1 shows it."""
    before = structlog.get_config()
    if os.environ.get("MOLD_DRILL_LOGS") != "1":
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


# -- the worlds ----------------------------------------------------------------------------------------------------------


class Prepared:
    """A world at rest in which an operation is about to be wanted."""

    def __init__(self, folder: Path, simulator: Simulator, ids: dict[str, str], want: Want) -> None:
        self.folder, self.simulator, self.ids, self.want = folder, simulator, ids, want
        self.copies = 0

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Cloud, Path]]:
        """A copy of it with a manager at work."""
        self.copies += 1
        to = self.folder.with_name(f"{self.folder.name}-{self.copies}")
        folder, simulator = copied(self.folder, self.simulator, to)
        async with managed(folder, simulator) as cloud:
            cloud.ids = self.ids
            yield cloud, folder


@pytest.fixture(scope="module")
def small_cloud(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulator, dict[str, str]]:
    """A cloud that all recipes begin with, built once."""
    folder = tmp_path_factory.mktemp("cloud") / "cloud"

    async def go() -> tuple[Path, Simulator, dict[str, str]]:
        async with managed(folder) as cloud:
            ids = await build(cloud.done)
            return folder, cloud.simulator, ids

    return asyncio.run(go())


async def prepared(recipe: Recipe, small_cloud: tuple[Path, Simulator, dict[str, str]], tmp_path: Path) -> Prepared:
    """The world of a recipe."""
    folder, simulator = copied(*small_cloud[:2], tmp_path / recipe.name)
    async with managed(folder, simulator) as cloud:
        cloud.ids = dict(small_cloud[2])
        want = await recipe.prepare(cloud)
        await cloud.engine.idle()
        await networks.follow_networks()  # routers learn of what has gone within seconds: at rest, they have
        return Prepared(folder, simulator, cloud.ids, want)


# -- wanting, and what goes wrong ----------------------------------------------------------------------------------------


async def request(cloud: Cloud, want: Want) -> None:
    """Want the operation; the answer does not matter here."""
    with contextlib.suppress(Exception):
        if callable(want):
            await want(cloud)
        else:
            await cloud.call(want[0], **want[1])


async def latest(cloud: Cloud) -> int:
    """The number of the newest job."""
    return await cloud.engine.reading(lambda tx: int(tx.execute(sa.select(sa.func.max(Job.c.number))).scalar() or 0))


async def ended(cloud: Cloud, operation: str, after: int, seconds: float = 20) -> Job:
    """The first job that follows job `after`, once it is over."""

    def newest(tx: Tx) -> Job | None:
        return tx.first(Job, Job.c.operation == operation, Job.c.number > after)

    async with asyncio.timeout(seconds):
        while True:
            job = await cloud.engine.reading(newest)
            if job is not None and job.phase == "over":
                await cloud.engine.idle(seconds)
                return job
            await asyncio.sleep(0.005)


class Flaky:
    """The world, with its calls counted: what happens to which of an operation's is planned."""

    def __init__(self, cloud: Cloud) -> None:
        self.inner = cloud.engine.world
        self.count = 0
        self.names: list[str] = []
        self.before: Callable[[int, Call], None] = lambda number, call: None
        self.after: Callable[[int, Call], None] = lambda number, call: None
        cloud.engine.world = self

    async def ask(self, host: str, call: Call, *, key: str, **about: Any) -> Any:
        """Ask the real one."""
        if not key:
            return await self.inner.ask(host, call, key=key, **about)
        self.count += 1
        number = self.count
        self.names.append(type(call).__name__)
        self.before(number, call)
        facts = await self.inner.ask(host, call, key=key, **about)
        self.after(number, call)
        return facts

    async def pour(self, host: str, make: Any, pieces: Any) -> Any:
        """Send bytes to the real one; what a host does with them counts as its call."""
        self.count += 1
        number, call = self.count, make("", "")
        self.names.append(type(call).__name__)
        self.before(number, call)
        facts = await self.inner.pour(host, make, pieces)
        self.after(number, call)
        return facts


@contextlib.contextmanager
def instead(part: Part, function: Callable[..., Any]) -> Iterator[None]:
    """Another function for a step, for as long as the block runs."""
    kept = part.function
    part.function = function
    try:
        yield
    finally:
        part.function = kept


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Hosts that do not answer are given up soon, by the operation and by those that it starts."""
    kept = {kind: kind.patience for kind in OPERATIONS.values()}
    for kind, seconds in kept.items():
        kind.patience = min(seconds, 0.3)
    try:
        yield
    finally:
        for kind, patience in kept.items():
            kind.patience = patience


failed_removals = (
    sa.update(Job.table).where(Job.c.phase == "over", Job.c.operation.startswith("Remove")).values(completed=LONG_AGO)
)


async def settle(cloud: Cloud, *, idle: bool) -> None:
    """Let the reconcilers that bring leftovers home run now, as they would within minutes."""

    def age(tx: Tx) -> None:
        stuck = sa.update(VirtualMachine.table).where(VirtualMachine.c.state == "Expunging")
        tx.execute(stuck.values(state_since=LONG_AGO))

    def rest(tx: Tx) -> None:
        resting = sa.update(networks.Network.table).where(networks.Network.c.idle_since.is_not(None))
        tx.execute(resting.values(idle_since=LONG_AGO))

    await cloud.engine.idle()
    await cloud.engine.writing(age)
    await expunge_destroyed()
    await expunge_again()
    await cloud.engine.idle()
    await cloud.engine.writing(lambda tx: tx.execute(failed_removals))
    await finish_removals()
    await cloud.engine.idle()
    await halt_again()
    await cloud.engine.idle()
    await networks.follow_networks()
    await networks.finish_networks()
    await templates.finish_template_removals()
    await cloud.engine.idle()
    if idle:
        await networks.shut_idle_networks()
        await cloud.engine.writing(rest)
        await networks.shut_idle_networks()
        await cloud.engine.idle()


class Drill:
    """One operation's drill: the worlds before, and as wanted, and what each variant left."""

    def __init__(self, recipe: Recipe, world: Prepared) -> None:
        self.recipe, self.world = recipe, world
        self.kind = OPERATIONS[recipe.operation]
        self.wanted = Census()
        self.faults: list[str] = []
        self.variants = 0

    async def judge(self, cloud: Cloud, before: Census, variant: str, job: Job, *, status: int | None = None) -> None:
        """Compare the world with what it should be after a job of this status."""
        self.variants += 1
        cloud.engine.crash = None
        if isinstance(cloud.engine.world, Flaky):
            cloud.engine.world = cloud.engine.world.inner
        try:
            await settle(cloud, idle=self.recipe.idle)
        except TimeoutError:
            stuck = [(r.job.operation, r.job.phase, r.job.at, r.journal) for r in cloud.engine.runs.values()]
            self.faults.append(f"[{variant}] is not over: {stuck}")
            return
        now = await cloud.engine.reading(lambda tx: census.take(tx, cloud.simulator))
        faults = list(now.faults)
        if status is not None and job.status != status:
            faults.append(f"the job has status {job.status}, not {status}: {job.error}")
        if job.status == 1:
            wanted, found = self.wanted.shape(), now.shape()
            faults += [f"{k}: {found.get(k)}, wanted {wanted.get(k)}" for k in {*wanted, *found} if wanted.get(k) != found.get(k)]
        elif now.shape() != self.wanted.shape():
            faults += [d for d in differences(before, now) if not any(g in d for g in self.recipe.grows)]
        self.faults += [f"[{variant}] {f}" for f in faults]

    @contextlib.asynccontextmanager
    async def variant(self) -> AsyncIterator[tuple[Cloud, Path, Census, Flaky]]:
        """A fresh copy of the world."""
        async with self.world.opened() as (cloud, folder):
            before = await cloud.engine.reading(lambda tx: census.take(tx, cloud.simulator))
            yield cloud, folder, before, Flaky(cloud)

    async def run(self, cloud: Cloud) -> Job:
        """Want it and wait for its end."""
        last = await latest(cloud)
        asking = asyncio.create_task(request(cloud, self.world.want))
        job = await ended(cloud, self.recipe.operation, last)
        await asking
        return job

    async def undisturbed(self) -> int:
        """The operation as it should go; how many calls it makes."""
        async with self.variant() as (cloud, _, before, flaky):
            assert before.faults == []
            job = await self.run(cloud)
            assert job.status == 1, job.error
            await settle(cloud, idle=self.recipe.idle)
            self.wanted = await cloud.engine.reading(lambda tx: census.take(tx, cloud.simulator))
            assert self.wanted.faults == []
            assert job.percent == 100
            return flaky.count

    async def repeated(self) -> None:
        """Every world step happens twice."""
        for each in [s for s in self.kind.steps if s.world]:

            async def twice(*a: Any, function: Any = each.function, **k: Any) -> Any:
                await function(*a, **k)
                return await function(*a, **k)

            async with self.variant() as (cloud, _, before, _flaky):
                with instead(each, twice):
                    job = await self.run(cloud)
                await self.judge(cloud, before, f"{each.name} twice", job, status=None if self.recipe.once else 1)

    async def refused_steps(self) -> None:
        """Every step is refused, and every world step done but its answer lost for good."""
        for each in self.kind.steps:
            for kind in ("refused", "lost") if each.world else ("refused",):
                async with self.variant() as (cloud, _, before, _flaky):
                    with instead(each, broken(each, kind)), impatient():
                        job = await self.run(cloud)
                    await self.judge(cloud, before, f"{each.name} {kind}", job, status=2)

    async def refused_calls(self, calls: int) -> None:
        """Every call to a host is refused once, or its answer is lost once, or for good."""
        for number in range(1, calls + 1):
            for kind in ("refused", "lost once", "lost"):
                async with self.variant() as (cloud, _, before, flaky):
                    lost: list[str] = []

                    def after(n: int, call: Call, number: int = number, kind: str = kind, lost: list[str] = lost) -> None:
                        again = f"{type(call).__name__} {call.thing()}"
                        if n == number:
                            lost.append(again)
                        if n == number or (kind == "lost" and again in lost):
                            raise Unreachable("The answer was lost.")

                    def before_(n: int, call: Call, number: int = number) -> None:
                        if n == number:
                            raise Failed("A planted refusal.")

                    if kind == "refused":
                        flaky.before = before_
                    else:
                        flaky.after = after
                    with impatient():
                        job = await self.run(cloud)
                    name = flaky.names[number - 1] if number <= len(flaky.names) else "(not made this time)"
                    await self.judge(cloud, before, f"call {number} {name} {kind}", job)

    async def refused_undo(self) -> None:
        """The last step fails, and each call of the undo is refused once and lost once."""
        last = self.kind.steps[-1]
        for kind in ("refused", "lost"):
            for number in range(1, 50):
                async with self.variant() as (cloud, _, before, flaky):
                    state = {"undo": False, "count": 0, "hit": False}

                    def watch(_operation: str, where: str, state: dict[str, Any] = state) -> None:
                        state["undo"] = state["undo"] or where.startswith("before undo")

                    def fail(n: int, call: Call, number: int = number, state: dict[str, Any] = state, kind: str = kind) -> None:
                        state["count"] += state["undo"]
                        if state["undo"] and state["count"] == number:
                            state["hit"] = True
                            raise Failed("A planted refusal.") if kind == "refused" else Unreachable("Lost.")

                    cloud.engine.crash = watch
                    if kind == "refused":
                        flaky.before = fail
                    else:
                        flaky.after = fail
                    with instead(last, broken(last, "refused")):
                        job = await self.run(cloud)
                    await self.judge(cloud, before, f"undo call {number} {kind}", job, status=2)
                    if not state["hit"]:
                        break

    async def killed(self, *, failing: bool) -> None:
        """The manager is killed at each point, on the way there or on the way back; a fresh one goes on."""
        last = self.kind.steps[-1]
        for number in range(1, 200):
            async with self.variant() as (cloud, folder, before, flaky):
                seen: list[str] = []
                gone = asyncio.Event()

                def point(where: str, seen: list[str] = seen, gone: asyncio.Event = gone, number: int = number) -> None:
                    if gone.is_set():
                        raise Killed
                    seen.append(where)
                    if len(seen) == number:
                        gone.set()
                        raise Killed

                cloud.engine.crash = lambda operation, where, point=point: point(where)  # type: ignore[misc]
                flaky.before = lambda n, call, point=point: point(f"before {type(call).__name__}")  # type: ignore[misc]
                flaky.after = lambda n, call, point=point: point(f"after {type(call).__name__}")  # type: ignore[misc]
                with contextlib.ExitStack() as stack:
                    if failing:
                        stack.enter_context(instead(last, broken(last, "refused")))
                    newest = await latest(cloud)
                    asking = asyncio.create_task(request(cloud, self.world.want))
                    running = asyncio.create_task(ended(cloud, self.recipe.operation, newest))
                    dying = asyncio.create_task(gone.wait())
                    await asyncio.wait([running, dying], return_when=asyncio.FIRST_COMPLETED)
                    if not gone.is_set():
                        await asyncio.gather(running, asking)
                        dying.cancel()
                        return
                    await dead(cloud)
                    for task in (asking, running, dying):
                        task.cancel()
                    await asyncio.gather(asking, running, dying, return_exceptions=True)
                    async with managed(folder, cloud.simulator) as fresh:
                        fresh.ids = cloud.ids
                        job = await ended(fresh, self.recipe.operation, newest)
                        stack.close()
                        where = f"killed {'on the way back ' if failing else ''}{number}: {seen[-1]}"
                        status = 2 if failing else None if self.recipe.once else 1
                        await self.judge(fresh, before, where, job, status=status)


def broken(part: Part, kind: str) -> Callable[..., Any]:
    """A step that refuses, or that does its work and is never heard of."""
    function = part.function

    def refuse(*a: Any, **k: Any) -> Any:
        raise Failed("A planted refusal.")

    async def refuse_world(*a: Any, **k: Any) -> Any:
        raise Failed("A planted refusal.")

    async def lose(*a: Any, **k: Any) -> Any:
        await function(*a, **k)
        raise Unreachable("The answer was lost.")

    return lose if kind == "lost" else refuse_world if part.world else refuse


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RECIPES))
def test_drill(name: str, small_cloud: tuple[Path, Simulator, dict[str, str]], tmp_path: Path) -> None:
    async def go() -> Drill:
        assert Engine.here is None
        drill = Drill(RECIPES[name], await prepared(RECIPES[name], small_cloud, tmp_path))
        calls = await drill.undisturbed()
        await drill.repeated()
        await drill.refused_steps()
        await drill.refused_calls(calls)
        if calls:
            await drill.refused_undo()
        await drill.killed(failing=False)
        await drill.killed(failing=True)
        return drill

    drill = asyncio.run(go())
    print(f"{name}: {drill.variants} variants")
    if drill.faults:
        pytest.fail(f"{drill.variants} variants left {len(drill.faults)} faults:\n" + "\n".join(drill.faults[:60]), pytrace=False)

