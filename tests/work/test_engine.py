"""The engine keeps its promises, shown with small operations: locks, undo, cancel, crashes, managers that die or freeze."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from workkit import (
    Killed,
    Outside,
    an_engine,
    do,
    expire,
    kill,
    local,
    locks,
    mark,
    over,
    registered,
    texts,
    want,
)

from mold.base import clock
from mold.base.errors import Conflict, Failed, Fenced, Unreachable
from mold.store import Tx
from mold.work import Job, Operation, change, look, progress, step
from mold.work.job import held, session
from mold.work.purge import EXPIRE, purge_jobs

outside = Outside()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    outside.clear()
    with registered():
        yield


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; a hanging engine fails the test."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


@local
class Build(Operation):
    """Plain and world steps in turn, each with an undo."""

    locks = ("thing",)
    patience = 2
    thing: str

    @step
    def begin(self, tx: Tx) -> str:
        mark(tx, "begin")
        outside.trip("begin")
        return f"ground of {self.thing}"

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        mark(tx, "withdraw")

    @step
    def count(self, tx: Tx, begin: str) -> list[int]:
        assert begin == f"ground of {self.thing}"
        mark(tx, "count")
        outside.trip("count")
        return [1, 2]

    @count.undo
    def discount(self, tx: Tx) -> None:
        mark(tx, "discount")
        outside.trip("discount")

    @step
    async def lay(self, count: list[int]) -> str:
        assert count == [1, 2]
        return await outside.make("lay")

    @lay.undo
    async def unlay(self) -> None:
        await outside.drop("lay")

    @step
    def note(self, tx: Tx, lay: str) -> None:
        assert lay == "made lay"
        mark(tx, "note")
        outside.trip("note")

    @note.undo
    def unnote(self, tx: Tx, error: str) -> None:
        mark(tx, f"unnote: {error}")

    @step
    async def paint(self) -> None:
        progress(50, "half")
        await outside.make("paint")

    @paint.undo
    async def unpaint(self) -> None:
        await outside.drop("paint")

    @step
    def say(self, tx: Tx, lay: str) -> None:
        mark(tx, "say")
        outside.trip("say")


DONE = ["begin", "count", "note", "say"]


# -- forward and back ----------------------------------------------------------------------------------------------------


def test_steps_happen_in_order_and_the_journal_tells(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            told: list[tuple[int, str]] = []
            engine.on_told.append(lambda job, text: told.append((job.percent, text)))
            job = await do(engine, Build(thing="a"))
            assert (job.status, job.percent, job.error) == (1, 100, None)
            assert [(n, e["s"]) for n, e in job.journal.items()] == [
                (n, "done") for n in ("begin", "count", "lay", "note", "paint", "say")
            ]
            assert job.journal["lay"]["out"] == "made lay"
            assert (75, "half") in told  # four of six steps are done, and half of the fifth
            assert await engine.reading(texts) == DONE
            assert set(outside.stands) == {"lay", "paint"}
            assert await engine.reading(locks) == []

    run(go())


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("begin", ["withdraw"]),
        ("count", ["begin", "withdraw"]),
        ("before lay", ["begin", "count", "discount", "withdraw"]),
        ("note", ["begin", "count", "discount", "withdraw"]),
        ("before paint", ["begin", "count", "note", "unnote: no", "discount", "withdraw"]),
        ("say", ["begin", "count", "note", "unnote: no", "discount", "withdraw"]),
    ],
)
def test_a_refusal_undoes_what_was_done_and_nothing_else(database_url: str, where: str, left: list[str]) -> None:
    async def go() -> None:
        # Plain steps are tried together and then alone, so a lasting refusal is planned twice.
        outside.plan[where] = [Failed("no"), Failed("no")]
        async with an_engine(database_url) as engine:
            job = await do(engine, Build(thing="a"))
            assert job.status == 2
            assert job.error is not None
            assert (job.error["key"], job.error["text"]) == ("Failed", "no")
            assert job.error["step"] == where.removeprefix("before ")
            assert await engine.reading(texts) == left
            assert not outside.stands
            assert await engine.reading(locks) == []

    run(go())


def test_a_refusal_that_passes_when_the_step_is_alone_refuses_nothing(database_url: str) -> None:
    async def go() -> None:
        outside.plan["count"] = [Failed("only once")]
        async with an_engine(database_url) as engine:
            assert (await do(engine, Build(thing="a"))).status == 1
            assert await engine.reading(texts) == DONE

    run(go())


def test_no_answer_is_asked_for_again_while_patience_lasts(database_url: str) -> None:
    async def go() -> None:
        outside.plan["lay"] = [Unreachable("lost")] * 2
        async with an_engine(database_url) as engine:
            assert (await do(engine, Build(thing="a"))).status == 1
            assert outside.did.count("lay") == 3
            outside.plan["before lay"] = [Unreachable("lost")] * 99
            job = await do(engine, Build(thing="b"))
            assert job.status == 2
            assert job.error is not None
            assert job.error["key"] == "Unreachable"

    run(go())


def test_an_undo_is_tried_until_it_succeeds_and_the_caller_knows_meanwhile(database_url: str) -> None:
    async def go() -> None:
        outside.plan["before paint"] = [Failed("no")]
        outside.plan["drop lay"] = [Unreachable("away"), Failed("busy"), ValueError("broken")]
        outside.plan["discount"] = [Failed("not yet")]
        async with an_engine(database_url) as engine:
            job = await want(engine, Build(thing="a"))
            early = await engine.finished(job.id, 20)
            assert (early.status, early.phase) == (2, "backward")
            late = await over(engine, job)
            assert late.status == 2
            assert not outside.stands
            assert await engine.reading(texts) == ["begin", "count", "note", "unnote: no", "discount", "withdraw"]

    run(go())


@local
class Clash(Operation):
    """A plain step that breaks a constraint of the database."""

    thing: str

    @step
    def begin(self, tx: Tx) -> None:
        mark(tx, "begin")

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        mark(tx, "withdraw")

    @step
    def clash(self, tx: Tx) -> None:
        mark(tx, "clash", once="the same")


@local
class Break(Operation):
    """A world step with a defect, and one whose database goes away for a moment."""

    thing: str

    @step
    async def look(self) -> int:
        def one(tx: Tx) -> int:
            outside.trip("look")
            return int(tx.execute(sa.text("select 1")).scalar_one())

        return await look(one)


def test_a_broken_constraint_fails_the_job_instead_of_keeping_it_for_ever(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            assert (await do(engine, Clash(thing="a"))).status == 1
            job = await do(engine, Clash(thing="b"))
            assert job.status == 2
            assert await engine.reading(texts) == ["begin", "clash", "begin", "withdraw"]

    run(go())


def test_a_defect_in_a_step_is_a_failure_of_its_job_alone(database_url: str) -> None:
    async def go() -> None:
        outside.plan["look"] = [ValueError("a defect")]
        async with an_engine(database_url) as engine:
            job = await do(engine, Break(thing="a"))
            assert job.error is not None
            assert (job.status, "a defect" in job.error["text"]) == (2, True)
            assert (await do(engine, Break(thing="a"))).status == 1

    run(go())


def test_a_database_that_is_away_for_a_moment_fails_nothing(database_url: str) -> None:
    async def go() -> None:
        away = OperationalError("select 1", {}, Exception("server closed the connection"))
        outside.plan = {"look": [away], "note": [away], "discount": [away]}
        async with an_engine(database_url) as engine:
            assert (await do(engine, Break(thing="a"))).status == 1
            assert (await do(engine, Build(thing="a"))).status == 1
            outside.plan["before paint"] = [Failed("no")]
            job = await do(engine, Build(thing="b"))
            assert job.error is not None
            assert (job.status, job.error["text"]) == (2, "no")
            assert await engine.reading(locks) == []

    run(go())


# -- locks ---------------------------------------------------------------------------------------------------------------


@local
class Hold(Operation):
    """Holds a lock for a while and tells when two of them overlap."""

    locks = ("thing", "other")
    thing: str
    other: str = ""

    @step
    async def hold(self) -> None:
        outside.did.append(f"in {self.thing}")
        assert not outside.stands[self.thing], "two jobs hold the same lock"
        outside.stands[self.thing] = 1
        await outside.make(f"held {self.thing}")
        await asyncio.sleep(0.01)
        outside.stands[self.thing] = 0


def test_jobs_on_one_thing_follow_each_other_at_once_and_in_order(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            jobs = [await want(engine, Hold(thing="a")) for _ in range(30)]
            began = time.monotonic()
            ended = [await over(engine, job) for job in jobs]
            # 30 turns of 10 ms. Were wake-ups lost, each would cost a look of the net (2 s).
            assert time.monotonic() - began < 10
            assert [j.status for j in ended] == [1] * 30
            assert await engine.reading(locks) == []
            assert not engine._waiting
            assert not engine._holders

    run(go())


def test_jobs_on_different_things_run_at_once_and_two_locks_do_not_deadlock(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            gate = outside.gate("held a")
            first = await want(engine, Hold(thing="a"))
            await outside.entered["held a"].wait()
            assert (await do(engine, Hold(thing="b"))).status == 1
            crossed = [await want(engine, Hold(thing=t, other=o)) for t, o in [("x", "y"), ("y", "x")] * 5]
            blocked = await want(engine, Hold(thing="a", other="x"))
            for each in crossed:
                assert (await over(engine, each)).status == 1
            gate.set()
            assert [(await over(engine, j)).status for j in (first, blocked)] == [1, 1]

    run(go())


def test_an_engine_that_waits_keeps_no_others_from_working(database_url: str) -> None:
    async def go() -> None:
        outside.plan["before lay"] = [Unreachable("lost")] * 99
        async with an_engine(database_url, slots=1) as engine:
            slow = await want(engine, Build(thing="a"))
            while "lay" not in outside.did:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            assert (await do(engine, Break(thing="b"))).status == 1
            assert time.monotonic() - began < 1.5
            assert (await over(engine, slow)).status == 2

    run(go())


# -- cancel --------------------------------------------------------------------------------------------------------------


def test_cancel_in_a_world_step_undoes(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            outside.gate("paint")
            job = await want(engine, Build(thing="a"))
            while "paint" not in outside.did:
                await asyncio.sleep(0.01)
            await engine.cancel(job.id)
            ended = await over(engine, job)
            assert ended.error is not None
            assert (ended.status, ended.error["key"]) == (2, "Cancelled")
            assert not outside.stands
            assert (await engine.reading(texts))[-2:] == ["discount", "withdraw"]

    run(go())


def test_cancel_of_a_job_that_waits_for_a_lock_takes_back_what_its_request_did(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            gate = outside.gate("lay")
            first = await want(engine, Build(thing="a"))
            await outside.entered["lay"].wait()
            second = await want(engine, Build(thing="a"))
            await asyncio.sleep(0.1)
            await engine.cancel(second.id)
            gate.set()
            assert (await over(engine, first)).status == 1
            ended = await over(engine, second)
            assert (ended.status, list(ended.journal)) == (2, ["begin"])
            assert await engine.reading(texts) == [*DONE, "withdraw"]
            assert await engine.reading(locks) == []

    run(go())


def test_cancel_while_a_host_is_waited_for_and_after_the_end(database_url: str) -> None:
    async def go() -> None:
        outside.plan["before lay"] = [Unreachable("lost")] * 99
        async with an_engine(database_url) as engine:
            job = await want(engine, Build(thing="a"))
            while outside.did.count("lay") < 2:
                await asyncio.sleep(0.01)
            await engine.cancel(job.id)
            assert (await over(engine, job)).status == 2
            await engine.cancel(job.id)
            outside.plan.clear()
            done = await do(engine, Build(thing="a"))
            await engine.cancel(done.id)
            assert (await engine.reading(lambda tx: tx.one(Job, done.id))).status == 1

    run(go())


def test_cancel_during_undo_changes_nothing(database_url: str) -> None:
    async def go() -> None:
        outside.plan["before paint"] = [Failed("no")]
        outside.plan["drop lay"] = [Unreachable("away")] * 2
        async with an_engine(database_url) as engine:
            job = await want(engine, Build(thing="a"))
            while "drop lay" not in outside.did:
                await asyncio.sleep(0.01)
            await engine.cancel(job.id)
            ended = await over(engine, job)
            assert ended.error is not None
            assert ended.error["text"] == "no"
            assert not outside.stands

    run(go())


# -- crashes -------------------------------------------------------------------------------------------------------------


async def crash_at(url: str, number: int, op: Operation, *, cancel_after: str | None = None) -> str | None:
    """Run `op` and kill its engine at the `number`th point; where that was, or None when there are fewer."""
    async with an_engine(url, manager="m") as engine:
        seen: list[str] = []
        dead = asyncio.Event()

        def crash(_operation: str, where: str) -> None:
            if dead.is_set():
                raise Killed
            seen.append(where)
            if len(seen) == number:
                dead.set()
                raise Killed

        engine.crash = crash
        job = await want(engine, op)
        ended = asyncio.create_task(over(engine, job))
        died = asyncio.create_task(dead.wait())
        await asyncio.wait([ended, died], return_when=asyncio.FIRST_COMPLETED)
        await kill(engine)
        for task in (ended, died):
            task.cancel()
        await asyncio.gather(ended, died, return_exceptions=True)
        return seen[-1] if dead.is_set() else None


@pytest.mark.parametrize("refused", [None, "before paint", "say"])
def test_killed_at_any_point_it_is_finished_or_undone_exactly_once(
    database_url: str, refused: str | None, request: pytest.FixtureRequest
) -> None:
    async def go() -> None:
        places = []
        for number in range(1, 99):
            outside.clear()
            if refused:
                outside.plan[refused] = [Failed("no")] * 99
            where = await crash_at(database_url, number, Build(thing="a"))
            if where is None:
                break
            places.append(where)
            async with an_engine(database_url, manager="m") as engine:
                async with asyncio.timeout(20):
                    while await engine.reading(lambda tx: tx.count(Job, Job.c.phase != "over")):
                        await asyncio.sleep(0.01)
                (job,) = await engine.reading(lambda tx: tx.find(Job, order=Job.c.number.desc(), limit=1))
                found = await engine.reading(texts)
                if refused:
                    assert job.status == 2, where
                    assert sorted(found) == sorted(
                        ["begin", "count", "note", "unnote: no", "discount", "withdraw"]
                    ), where
                    assert not outside.stands, where
                else:
                    assert job.status == 1, where
                    assert found == DONE, where
                    assert set(outside.stands) == {"lay", "paint"}, where
                assert max(outside.did.count(w) for w in outside.did) <= 2, where
                assert await engine.reading(locks) == [], where
                await engine.writing(lambda tx: tx.execute(sa.text("delete from mark")))
        assert len(places) >= (16 if refused else 9), places

    run(go())


# -- several managers ----------------------------------------------------------------------------------------------------


def test_a_frozen_manager_that_wakes_changes_nothing(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="one", lease_seconds=300) as frozen:
            gate = outside.gate("paint")
            job = await want(frozen, Build(thing="a"))
            blocked = await want(frozen, Build(thing="a"))
            await outside.entered["paint"].wait()
            del outside.gates["paint"]
            async with an_engine(database_url, manager="two") as other:
                await other.writing(lambda tx: expire(tx, frozen.session))
                assert (await over(other, job)).status == 1
                assert (await over(other, blocked)).status == 1
                before = await other.reading(texts)
                assert before == DONE * 2
                gate.set()  # the frozen one wakes: its step ends, and it wants to say so
                await frozen.idle()
                assert await other.reading(texts) == before
                assert await other.reading(locks) == []
                assert (await other.reading(lambda tx: tx.one(Job, job.id))).owner == other.session

    run(go())


@local
class Write(Operation):
    """A world step that writes to the database on its own."""

    thing: str

    @step
    async def write(self) -> str:
        await outside.make("write")
        try:
            await change(lambda tx: mark(tx, "written"))
        except Fenced:
            outside.did.append("fenced")
            raise
        return ""


def test_what_a_step_writes_on_its_own_is_fenced_too(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="one", lease_seconds=300) as frozen:
            gate = outside.gate("write")
            job = await want(frozen, Write(thing="a"))
            await outside.entered["write"].wait()
            del outside.gates["write"]
            async with an_engine(database_url, manager="two") as other:
                await other.writing(lambda tx: expire(tx, frozen.session))
                assert (await over(other, job)).status == 1
                gate.set()
                await frozen.idle()
                assert await other.reading(texts) == ["written"]
                assert outside.did[-1] == "fenced"

    run(go())


def test_what_a_dead_manager_left_is_taken_over_within_the_lease_and_a_second(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="two", lease_seconds=2) as other:
            async with an_engine(database_url, manager="one", lease_seconds=2) as dead:
                outside.gate("lay")
                job = await want(dead, Build(thing="a"))
                await outside.entered["lay"].wait()
                outside.gates.clear()
                await kill(dead)
            died = time.monotonic()
            assert (await over(other, job)).status == 1
            assert time.monotonic() - died < 3
            assert await other.reading(texts) == DONE

    run(go())


def test_two_managers_never_hold_the_same_lock_and_wake_each_other(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="one") as one, an_engine(database_url, manager="two") as two:
            jobs = [await want(e, Hold(thing="a")) for _ in range(6) for e in (one, two)]
            ended = [await over(one, job, 40) for job in jobs]
            assert [j.status for j in ended] == [1] * 12
            assert await one.reading(locks) == []

    run(go())


@pytest.mark.postgres
def test_notices_between_managers(postgres_database: str) -> None:
    async def go() -> None:
        url = postgres_database
        async with an_engine(url, manager="one") as one, an_engine(url, manager="two") as two:
            await asyncio.sleep(0.5)
            outside.gate("paint")
            job = await want(one, Build(thing="a"))
            await outside.entered["paint"].wait()
            blocked = await want(two, Hold(thing="a"))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            waiter = asyncio.create_task(two.finished(job.id, 20))
            await two.cancel(job.id)  # the job runs in the other process
            assert (await waiter).status == 2
            assert (await over(two, blocked)).status == 1
            assert time.monotonic() - began < 1, "a notice was lost; the net did it"

    run(go())


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database, whatever `--database` says."""
    import uuid

    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        yield postgres_url.replace("/postgres?", f"/{name}?")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_the_lease_of_a_reconciler_has_one_owner(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="one") as one, an_engine(database_url, manager="two") as two:
            assert await one.writing(lambda tx: one.own_lease(tx, "x", 60))
            assert await one.writing(lambda tx: one.own_lease(tx, "x", 60))
            assert not await two.writing(lambda tx: two.own_lease(tx, "x", 60))
            await one.stop()
            assert await two.writing(lambda tx: two.own_lease(tx, "x", 60))

    run(go())


# -- strays, other versions, old jobs ------------------------------------------------------------------------------------


def test_a_job_whose_start_was_never_heard_of_is_found(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:

            def quietly(tx: Tx) -> Job:
                job = engine.enqueue(tx, Build(thing="a"))
                tx._after.clear()  # the commit's answer was lost
                return job

            job = await engine.writing(quietly)
            assert (await over(engine, job)).status == 1
            assert await engine.reading(texts) == DONE

    run(go())


def test_jobs_of_another_version_are_left_alone_and_stop_nobody(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="one") as engine:

            def foreign(tx: Tx) -> list[Job]:
                gone = Job(operation="GoneSince", args={"thing": "a"}, owner="dead", journal={"begin": {"s": "done"}})
                changed = Job(operation="Build", args={"other": 1}, owner="dead")
                journal = {"count": {"s": "done", "out": "no list"}}
                shaped = Job(operation="Build", args={"thing": "z"}, owner="dead", journal=journal)
                return [tx.add(j) for j in (gone, changed, shaped)]

            jobs = await engine.writing(foreign)
            assert (await do(engine, Build(thing="a"))).status == 1
            await asyncio.sleep(3)
            assert (await do(engine, Build(thing="a"))).status == 1
            for job in jobs:
                now = await engine.reading(lambda tx, job=job: tx.one(Job, job.id))
                assert (now.phase, now.status, now.journal) == ("forward", 0, job.journal)

    run(go())


def test_old_jobs_are_forgotten_and_a_second_run_does_nothing(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url) as engine:
            kept = await do(engine, Build(thing="a"))
            old = clock.ago(EXPIRE.default * 60 + 60)

            def age(tx: Tx) -> None:
                for _ in range(2500):
                    tx.add(Job(operation="Build", args={}, phase="over", status=1, completed=old))
                tx.add(Job(operation="GoneSince", args={}, phase="forward", owner="dead", created=old))

            await engine.writing(age)
            assert await purge_jobs() == 2500
            assert await purge_jobs() == 0
            left = await engine.reading(lambda tx: [j.id for j in tx.find(Job)])
            assert len(left) == 2
            assert kept.id in left

    run(go())


def test_a_clean_stop_hands_over_at_once(database_url: str) -> None:
    async def go() -> None:
        async with an_engine(database_url, manager="two", lease_seconds=300) as other:
            async with an_engine(database_url, manager="one", lease_seconds=300) as first:
                gate = outside.gate("lay")
                job = await want(first, Build(thing="a"))
                await outside.entered["lay"].wait()
                outside.gates.clear()
                await first.stop()
                gate.set()
            began = time.monotonic()
            assert (await over(other, job)).status == 1
            assert time.monotonic() - began < 2
            assert await other.reading(lambda tx: tx.execute(sa.select(session.c.id)).scalars().all()) == [other.session]

    run(go())


def test_a_thousand_blocked_jobs_cost_little(database_url: str) -> None:
    def resident() -> float:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    async def go() -> None:
        async with an_engine(database_url) as engine:
            await do(engine, Build(thing="warm"))
            gate = outside.gate("held a")
            first = await want(engine, Hold(thing="a"))
            await outside.entered["held a"].wait()
            before = resident()
            jobs = await engine.writing(lambda tx: [engine.enqueue(tx, Hold(thing="a")) for _ in range(1000)])
            while len(engine.runs) < 1001:
                await asyncio.sleep(0.01)
            await asyncio.sleep(3)  # two looks of the net
            cost = resident() - before
            print(f"1,000 blocked jobs: {cost:.1f} MiB")
            assert cost <= 40
            assert await engine.reading(lambda tx: len(tx.execute(sa.select(held)).all())) == 1
            for job in jobs[10:]:
                engine.runs.pop(job.number)  # enough seen: only the first ten are waited for
            gate.set()
            for job in [first, *jobs[:10]]:
                assert (await over(engine, job)).status == 1

    run(go())


def test_operations_that_do_not_fit_are_refused_at_import() -> None:
    def declare(make: Callable[[], type[Operation]]) -> str:
        with pytest.raises(TypeError) as no:
            local(make())
        return str(no.value)

    def holds() -> type[Operation]:
        class Holds(Operation):
            @step
            async def world(self) -> None: ...
            @world.undo
            async def back(self, tx: Tx) -> None: ...

        return Holds

    def wants() -> type[Operation]:
        class Wants(Operation):
            @step
            def first(self, tx: Tx, later: int) -> None: ...

        return Wants

    assert "may not hold a transaction" in declare(holds)
    assert "no earlier step" in declare(wants)
    assert "has no steps" in declare(lambda: type("Empty", (Operation,), {}))


def test_a_conflict_is_a_conflict(database_url: str) -> None:
    async def go() -> None:
        outside.plan["begin"] = [Conflict("in the way", id="x")] * 2
        async with an_engine(database_url) as engine:
            job = await do(engine, Build(thing="a"))
            assert job.error is not None
            assert job.error["key"] == "Conflict"
            assert job.error["facts"] == {"id": "x"}

    run(go())
