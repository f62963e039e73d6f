"""The engine: runs operations so that a kill at any instant leaves nothing half-done.

One transaction records what the last world step returned, runs the plain steps that follow and marks the next
world step as begun; so a crash loses no step, repeats only world steps, and undoes only what may have
happened.  Jobs belong to a session (one manager process).  A session keeps a lease; when it runs out, any
other manager takes its jobs over under a higher epoch, and both the database and the hosts refuse the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from mold.base import clock, ids
from mold.base.errors import Cancelled, Failed, Fenced, Refusal, Unreachable, revive
from mold.store import Store, Tx
from mold.wire.calls import Call, Facts
from mold.work.job import Job, held, lease, session
from mold.work.operation import OPERATIONS, Operation, Part, Step

log = structlog.get_logger()
T = TypeVar("T")

LEASE_SECONDS = 6.0
BEAT_SECONDS = 1.5
NET_SECONDS = 2.0
"""How often the engine looks for work that no notification told it of."""
PURGE_AFTER_SECONDS = 7 * 24 * 3600


class World(Protocol):
    """What world steps talk to."""

    async def ask(
        self, host: str, call: Call, *, key: str, epoch: int, seconds: float, say: Callable[[float, str], None] | None
    ) -> Facts:
        """The host's answer; raises its refusal, or Unreachable."""

    async def pour(self, host: str, make: Callable[[str, str], Call], pieces: AsyncIterator[bytes]) -> Facts:
        """Have a host open a stream to this manager, and send it `pieces`; `make(address, ticket)` is the call that asks."""


class Run:
    """A job in this process's hands."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self.engine = engine
        self.job = job
        self.kind = OPERATIONS[job.operation]
        self.op: Operation = msgspec.convert(job.args, self.kind)
        self.journal: dict[str, dict[str, Any]] = job.journal
        self.outputs: dict[str, Any] = {}
        for each in self.kind.steps:
            entry = self.journal.get(each.name)
            if entry is not None and "out" in entry:
                self.outputs[each.name] = msgspec.convert(entry["out"], each.gives)
        self.locked = not self.kind.locks or bool(self.journal)
        self.text = ""
        self.cancel = False
        self.task: asyncio.Task[None] | None = None
        self.doing: asyncio.Task[Any] | None = None

    def call(self, part: Part, tx: Tx | None) -> Any:
        """Call a step or an undo with what it asks for."""
        given: dict[str, Any] = {n: self.outputs.get(n) for n in part.inputs}
        if part.wants_tx:
            given["tx"] = tx
        if part.wants_error:
            given["error"] = (self.job.error or {}).get("text", "")
        return part.function(self.op, **given)

    def record(self, each: Step, out: Any) -> None:
        """Note that a step is done and what it returned."""
        plain = msgspec.to_builtins(out)
        entry = self.journal.setdefault(each.name, {})
        entry.update(s="done", out=plain, t=clock.now())
        self.outputs[each.name] = msgspec.convert(plain, each.gives)

    def percent(self) -> int:
        """How far the steps are, 0 to 100."""
        done = sum(1 for e in self.journal.values() if e["s"] == "done")
        return min(99, round(100 * done / len(self.kind.steps)))


current: ContextVar[Run | None] = ContextVar("current", default=None)


async def ask(host: str, call: Call, *, seconds: float | None = None) -> Any:
    """Ask a host, from within a world step or a reconciler. Returns the facts that the call promises.

    Raises the host's refusal, or Unreachable when there is no answer in `seconds` (default: the call's own).
    """
    run = current.get()
    engine = run.engine if run else Engine.here
    assert engine is not None, "no engine runs"
    return await engine.world.ask(
        host,
        call,
        key=f"{run.job.id}:{call.thing()}" if run else "",
        epoch=run.job.epoch if run else 0,
        seconds=seconds or type(call).seconds,
        say=(lambda p, t: progress(p, t, run)) if run else None,
    )


async def pour(host: str, make: Callable[[str, str], Call], pieces: AsyncIterator[bytes]) -> Any:
    """Send bytes to a host, from within a world step; `make(address, ticket)` is the call that asks the host to fetch them.

    Returns the facts that the call promises.  Raises the host's refusal, Unreachable, or what `pieces` raises; then the
    host is told that the bytes are not whole.
    """
    run = current.get()
    engine = run.engine if run else Engine.here
    assert engine is not None, "no engine runs"
    return await engine.world.pour(host, make, pieces)


def progress(percent: float, text: str = "", run: Run | None = None) -> None:
    """Say how far the current world step is (0 to 100). Kept in memory; shown with the job."""
    run = run or current.get()
    if run is None:
        return
    done = sum(1 for e in run.journal.values() if e["s"] == "done")
    run.job.percent = min(99, round(100 * (done + percent / 100) / len(run.kind.steps)))
    run.text = text
    run.engine.told(run)


async def look(work: Callable[[Tx], T]) -> T:
    """Read the database from within a world step or a reconciler."""
    run = current.get()
    engine = run.engine if run else Engine.here
    assert engine is not None, "no engine runs"
    return await engine.reading(work)


async def change(work: Callable[[Tx], T]) -> T:
    """Write to the database from within a reconciler, in one transaction."""
    engine = Engine.here
    assert engine is not None, "no engine runs"
    return await engine.writing(work)


class Engine:
    """Runs the operations and reconcilers of one manager process. `here` is the process's own."""

    here: Engine | None = None

    def __init__(
        self,
        store: Store,
        world: World,
        *,
        manager: str = "",
        address: str = "",
        lease_seconds: float = LEASE_SECONDS,
        slots: int = 512,
    ) -> None:
        self.store = store
        self.world = world
        self.manager = manager or ids.new_id()
        self.address = address
        self.session = ids.new_id()
        self.lease_seconds = lease_seconds
        self.slots = asyncio.Semaphore(slots)
        self.reads = ThreadPoolExecutor(4 if store.postgres else 1, "reads")
        self.writes = ThreadPoolExecutor(4 if store.postgres else 1, "writes")
        self.runs: dict[int, Run] = {}
        self.on_finish: list[Callable[[Tx, Job, Operation], None]] = []
        self.on_told: list[Callable[[Job, str], None]] = []
        self.crash: Callable[[str, str], None] | None = None
        """Drills set this: called before and after every commit and world call, may raise to play a kill."""
        self._waiting: dict[str, deque[int]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._done: dict[str, list[asyncio.Event]] = defaultdict(list)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self.stopping = False
        self.ready = asyncio.Event()

    # -- database work in the right thread -------------------------------------------------------------------

    async def reading(self, work: Callable[[Tx], T]) -> T:
        """Run `work` with a reader in the pool of readers."""

        def go() -> T:
            with self.store.read() as tx:
                return work(tx)

        return await asyncio.get_running_loop().run_in_executor(self.reads, go)

    async def writing(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in one transaction in the pool of writers."""
        return await asyncio.get_running_loop().run_in_executor(self.writes, lambda: self.store.transact(work))

    # -- wanting work ----------------------------------------------------------------------------------------

    def enqueue(self, tx: Tx, op: Operation, **about: Any) -> Job:
        """Want `op` done; part of the transaction, so the job exists exactly when the transaction commits.

        `about` are columns of `Job`: who asked (account_id, user_id, domain_id), cmd, event.
        """
        kind = type(op)
        target = kind.answers or kind.instance
        if target is not None:
            about.setdefault("instance_type", target[0].kind)
            about.setdefault("instance_id", getattr(op, target[1]))
        job = tx.add(
            Job(
                operation=kind.__name__, args=msgspec.to_builtins(op), owner=self.session, internal=kind.hidden, **about
            )
        )
        op.before(tx)
        tx.then(lambda: self.soon(job))
        return job

    def soon(self, job: Job) -> None:
        """Start on a job that is committed; callable from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._begin, job)

    def _begin(self, job: Job) -> None:
        if job.number in self.runs or self.stopping:
            return
        run = Run(self, job)
        self.runs[job.number] = run
        run.task = asyncio.create_task(self._drive(run))
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)

    async def finished(self, job_id: str, seconds: float) -> Job:
        """Wait until a job is over (or `seconds` have passed) and return it as it is then."""
        event = asyncio.Event()
        self._done[job_id].append(event)
        try:
            until = time.monotonic() + seconds
            while True:
                job = await self.reading(lambda tx: tx.one(Job, job_id))
                left = until - time.monotonic()
                if job.status or left <= 0:
                    return job
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), min(left, NET_SECONDS))
        finally:
            self._done[job_id].remove(event)
            if not self._done[job_id]:
                del self._done[job_id]

    def told(self, run: Run) -> None:
        """Somebody said how far a job is."""
        for listener in self.on_told:
            listener(run.job, run.text)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job: its running step is told to stop, and what was done is undone."""
        number = await self.writing(
            lambda tx: tx.execute(
                sa.update(Job.table)
                .where(Job.c.id == job_id, Job.c.phase == "forward")
                .values(cancelled=True)
                .returning(Job.c.number)
            ).scalar()
        )
        run = self.runs.get(number or 0)
        if run is not None:
            run.cancel = True
            if run.doing is not None:
                run.doing.cancel()

    # -- doing it --------------------------------------------------------------------------------------------

    def _point(self, run: Run, where: str) -> None:
        if self.crash is not None:
            self.crash(run.job.operation, where)

    async def _drive(self, run: Run) -> None:
        token = current.set(run)
        try:
            async with self.slots:
                if not await self._lock(run):
                    return
                if run.job.phase == "forward":
                    await self._forward(run)
                if run.job.phase == "backward":
                    await self._backward(run)
        except Fenced:
            log.warning("job was taken over", job=run.job.id, operation=run.job.operation)
        except asyncio.CancelledError:
            raise
        except DBAPIError as broken:
            # The database is away: keep the job, try again from what is stored.
            log.warning("database away; job waits", job=run.job.id, error=str(broken.orig)[:200])
            self.runs.pop(run.job.number, None)
            self._later(1.0 + random.random(), run.job.number)
            return
        except Exception:  # the worker's net
            # A defect in the engine or in a step's arguments: the job stays as it is in the journal and is tried again.
            log.exception(
                "job failed unexpectedly; it will be tried again", job=run.job.id, operation=run.job.operation
            )
            self.runs.pop(run.job.number, None)
            self._later(5.0, run.job.number)
            return
        finally:
            current.reset(token)
        if run.job.phase == "over" or run.job.owner != self.session or run.locked:
            self.runs.pop(run.job.number, None)
        if run.job.phase == "over":
            for event in self._done.get(run.job.id, ()):
                event.set()
            self.told(run)
            self._freed(run)

    def _later(self, seconds: float, number: int) -> None:
        if self._loop is None or self.stopping:
            return

        async def again() -> None:
            await asyncio.sleep(seconds)
            job = await self.reading(
                lambda tx: tx.first(Job, Job.c.number == number, Job.c.owner == self.session, Job.c.phase != "over")
            )
            if job is not None:
                self._begin(job)

        task = asyncio.create_task(again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lock(self, run: Run) -> bool:
        """Take the operation's locks; False when somebody holds one, and the job waits for it."""
        if run.locked:
            return True
        keys = run.op.wanted_locks()
        insert: Any = (postgresql if self.store.postgres else sqlite).insert(held)

        def take(tx: Tx) -> list[str]:
            mine = set(tx.execute(sa.select(held.c.key).where(held.c.job == run.job.number)).scalars())
            wanted = [k for k in keys if k not in mine]
            if not wanted:
                return []
            got = (
                tx.execute(
                    insert.values([{"key": k, "job": run.job.number} for k in wanted])
                    .on_conflict_do_nothing()
                    .returning(held.c.key)
                )
                .scalars()
                .all()
            )
            missing = [k for k in wanted if k not in got]
            if missing and got:
                tx.execute(sa.delete(held).where(held.c.job == run.job.number))
            return missing

        missing = await self.writing(take)
        if missing:
            self._waiting[missing[0]].append(run.job.number)
            return False
        run.locked = True
        return True

    def _freed(self, run: Run) -> None:
        for key in run.op.wanted_locks():
            queue = self._waiting.get(key)
            if queue:
                self._retry(queue.popleft())
            if not queue:
                self._waiting.pop(key, None)

    def _retry(self, number: int) -> None:
        run = self.runs.get(number)
        if run is not None and (run.task is None or run.task.done()):
            run.task = asyncio.create_task(self._drive(run))
            self._tasks.add(run.task)
            run.task.add_done_callback(self._tasks.discard)

    def _save(self, tx: Tx, run: Run, **values: Any) -> None:
        """Write the journal; Fenced when the job is not ours any more."""
        values = {"journal": run.journal, "percent": run.percent(), **values}
        row = tx.execute(
            sa.update(Job.table)
            .where(Job.c.number == run.job.number, Job.c.owner == self.session, Job.c.epoch == run.job.epoch)
            .values(values)
            .returning(Job.c.cancelled)
        ).first()
        if row is None:
            raise Fenced
        if row[0]:
            run.cancel = True

    async def _forward(self, run: Run) -> None:
        finished: tuple[Step, Any] | None = None
        while True:
            if run.cancel or run.job.cancelled:
                await self._turn(run, Cancelled("The operation was cancelled; what it had done is undone."))
                return
            try:
                nxt = await self._plain(run, finished)
            except Refusal as no:
                await self._turn(run, no)
                return
            except (Fenced, DBAPIError, asyncio.CancelledError):
                raise
            except Exception as broken:
                log.exception("step failed", job=run.job.id, operation=run.job.operation)
                await self._turn(run, Failed(f"{run.job.operation} failed: {broken}"))
                return
            if nxt is None:
                return
            try:
                out = await self._world(run, nxt, nxt)
            except Refusal as no:
                await self._turn(run, no)
                return
            finished = (nxt, out)

    async def _plain(self, run: Run, finished: tuple[Step, Any] | None) -> Step | None:
        """Record the world step just done, run the plain steps after it, mark the next world step begun: one transaction.

        When a plain step refuses, the same is done again with a transaction for each, so that what went before
        the refusal is recorded, and undone.
        """
        try:
            return await self._advance(run, finished, single=False)
        except (Fenced, DBAPIError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001 - whatever it was, the second run raises it again, alone
            if finished is not None:
                await self.writing(lambda tx: self._note(tx, run, *finished))
            while True:
                nxt = await self._advance(run, None, single=True)
                if nxt is None or nxt.world:
                    return nxt

    def _note(self, tx: Tx, run: Run, each: Step, out: Any) -> None:
        run.record(each, out)
        self._save(tx, run)

    async def _advance(self, run: Run, finished: tuple[Step, Any] | None, *, single: bool) -> Step | None:
        """One transaction of `_plain`. With `single`, it ends after one thing and returns the plain step it did."""
        kept, kept_out = {k: dict(v) for k, v in run.journal.items()}, dict(run.outputs)
        over = False

        def work(tx: Tx) -> Step | None:
            nonlocal over
            run.journal, run.outputs = {k: dict(v) for k, v in kept.items()}, dict(kept_out)
            if finished:
                run.record(*finished)
            for each in run.kind.steps:
                entry = run.journal.get(each.name)
                if entry is not None and entry["s"] == "done":
                    continue
                if each.world:
                    run.journal[each.name] = {"s": "begun", "t": clock.now()}
                    self._save(tx, run, at=each.name)
                    return each
                run.record(each, run.call(each, tx))
                if single:
                    self._save(tx, run, at=each.name)
                    return each
            self._finish(tx, run, status=1)
            over = True
            return None

        self._point(run, "before commit")
        try:
            nxt = await self.writing(work)
        except BaseException:
            run.journal, run.outputs = kept, kept_out
            raise
        self._point(run, "after commit")
        if over:
            run.job.phase, run.job.status = "over", 1
        return nxt

    async def _world(self, run: Run, each: Step, part: Part) -> Any:
        """Call a world step, again while the host does not answer and patience lasts."""
        run.job.at = each.name
        self.told(run)
        until = time.monotonic() + run.kind.patience
        pause = 0.2
        while True:
            try:
                self._point(run, f"before {each.name}")
                run.doing = asyncio.create_task(run.call(part, None))
                try:
                    out = await run.doing
                except asyncio.CancelledError:
                    if run.cancel and run.doing.done():
                        raise Cancelled("The operation was cancelled; what it had done is undone.") from None
                    run.doing.cancel()
                    raise
                finally:
                    run.doing = None
                self._point(run, f"after {each.name}")
                return out
            except Unreachable as no:
                if time.monotonic() + pause > until or run.cancel:
                    raise
                log.info("host does not answer; trying again", job=run.job.id, step=each.name, text=no.text)
                await asyncio.sleep(pause * (0.5 + random.random()))
                pause = min(pause * 2, 10)
            except (Refusal, Fenced, asyncio.CancelledError):
                raise
            except Exception as broken:
                log.exception("step failed", job=run.job.id, operation=run.job.operation, step=each.name)
                raise Failed(f"{run.job.operation} failed in step {each.name}: {broken}") from broken

    async def _turn(self, run: Run, no: Refusal) -> None:
        """Turn around: from now on the job undoes what it did."""
        run.job.error = {"key": no.key, "text": no.text, "facts": no.facts, "step": run.job.at}
        if no.inner:
            log.info("operation refused", job=run.job.id, operation=run.job.operation, text=no.text, inner=no.inner)
        await self.writing(lambda tx: self._save(tx, run, phase="backward", error=run.job.error))
        run.job.phase = "backward"

    async def _backward(self, run: Run) -> None:
        pause = 0.2
        undone: Step | None = None
        while True:
            try:
                self._point(run, "before undo")
                nxt = await self._plain_back(run, undone)
                self._point(run, "after undo")
                if nxt is None:
                    run.job.phase, run.job.status = "over", 2
                    return
                undone = None
                assert nxt.back is not None
                self._point(run, f"before undo of {nxt.name}")
                await run.call(nxt.back, None)
                self._point(run, f"after undo of {nxt.name}")
                undone, pause = nxt, 0.2
            except (Fenced, DBAPIError, asyncio.CancelledError):
                raise
            except Exception as broken:  # noqa: BLE001 - logged, and tried until it succeeds
                # An undo must come to its end: try on, and tell the caller meanwhile that the job has failed.
                undone = None
                quiet = isinstance(broken, Unreachable)
                (log.info if quiet else log.exception)(
                    "undo failed; trying again", job=run.job.id, operation=run.job.operation, error=str(broken)
                )
                if run.job.status == 0:
                    await self.writing(lambda tx: self._save(tx, run, status=2))
                    run.job.status = 2
                    for event in self._done.get(run.job.id, ()):
                        event.set()
                await asyncio.sleep(pause * (0.5 + random.random()))
                pause = min(pause * 2, 30)

    async def _plain_back(self, run: Run, undone: Step | None) -> Step | None:
        kept = {k: dict(v) for k, v in run.journal.items()}

        def merged(tx: Tx) -> Step | None:
            run.journal = {k: dict(v) for k, v in kept.items()}
            if undone:
                run.journal[undone.name]["s"] = "undone"
            for each in reversed(run.kind.steps):
                entry = run.journal.get(each.name)
                if entry is None or entry["s"] == "undone":
                    continue
                if each.back is not None:
                    if each.back.world:
                        self._save(tx, run, at=each.name)
                        return each
                    run.call(each.back, tx)
                entry["s"] = "undone"
            self._finish(tx, run, status=2)
            return None

        try:
            return await self.writing(merged)
        except BaseException:
            run.journal = kept
            raise

    def _finish(self, tx: Tx, run: Run, *, status: int) -> None:
        run.job.completed = clock.now()
        self._save(
            tx,
            run,
            phase="over",
            status=status,
            completed=run.job.completed,
            percent=100 if status == 1 else run.percent(),
            at="",
        )
        if run.kind.locks:
            tx.execute(sa.delete(held).where(held.c.job == run.job.number))
        run.job.status = status
        for listener in self.on_finish:
            listener(tx, run.job, run.op)

    # -- living ----------------------------------------------------------------------------------------------

    def _clock(self, tx: Tx) -> float:
        """The time all managers agree on: the database's."""
        if tx.postgres:
            return float(tx.execute(sa.text("select extract(epoch from clock_timestamp())")).scalar_one())
        return time.time()

    async def run(self) -> None:
        """Work until `stop`: keep the lease, take over what dead managers left, run reconcilers."""
        from mold.work import reconcile

        self._loop = asyncio.get_running_loop()
        Engine.here = self
        await self.writing(self._register)
        await self._adopt()
        self.ready.set()
        reconcilers = asyncio.create_task(reconcile.run(self))
        self._tasks.add(reconcilers)
        last_beat = last_net = time.monotonic()
        while not self.stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.3)
            tick = time.monotonic()
            try:
                if tick - last_beat >= min(BEAT_SECONDS, self.lease_seconds / 3):
                    last_beat = tick
                    if not await self.writing(self._beat):
                        await self.writing(self._register)
                if tick - last_net >= NET_SECONDS:
                    last_net = tick
                    await self._adopt()
                    for queue in list(self._waiting.values()):
                        for _ in range(len(queue)):
                            self._retry(queue.popleft())
            except DBAPIError as broken:
                log.warning("database away", error=str(broken.orig)[:200])
                await asyncio.sleep(1)

    async def stop(self) -> None:
        """Stop cleanly: running jobs stay in the journal for the next manager."""
        self.stopping = True
        self._wake.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(DBAPIError):
            await self.writing(lambda tx: tx.execute(sa.delete(session).where(session.c.id == self.session)))
        if Engine.here is self:
            Engine.here = None
        self.reads.shutdown(wait=False)
        self.writes.shutdown(wait=False)

    def _register(self, tx: Tx) -> None:
        # An older process of this manager is dead: the data folder is locked by one process at a time.
        tx.execute(sa.delete(session).where(session.c.manager == self.manager))
        tx.execute(
            sa.insert(session).values(
                id=self.session,
                manager=self.manager,
                address=self.address,
                started=clock.now(),
                until=self._clock(tx) + self.lease_seconds,
            )
        )

    def _beat(self, tx: Tx) -> bool:
        now = self._clock(tx)
        done = tx.execute(
            sa.update(session).where(session.c.id == self.session).values(until=now + self.lease_seconds)
        ).rowcount
        tx.execute(sa.delete(session).where(session.c.until < now - 60))
        return bool(done)

    async def _adopt(self) -> None:
        """Take over jobs whose session is dead, and start on those that are ours but not under way."""

        def take(tx: Tx) -> list[Job]:
            alive = sa.select(session.c.id).where(session.c.until > self._clock(tx))
            orphans = tx.find(Job, Job.c.phase != "over", Job.c.owner.not_in(alive), limit=500)
            taken = []
            for job in orphans:
                done = tx.execute(
                    sa.update(Job.table)
                    .where(
                        Job.c.number == job.number,
                        Job.c.epoch == job.epoch,
                        Job.c.owner == job.owner,
                        Job.c.phase != "over",
                    )
                    .values(owner=self.session, epoch=job.epoch + 1)
                ).rowcount
                if done:
                    job.owner, job.epoch = self.session, job.epoch + 1
                    taken.append(job)
            return taken

        found = await self.reading(
            lambda tx: tx.first(
                Job,
                Job.c.phase != "over",
                Job.c.owner.not_in(sa.select(session.c.id).where(session.c.until > self._clock(tx))),
            )
        )
        if found is None:
            return
        for job in await self.writing(take):
            log.info("job taken over", job=job.id, operation=job.operation, epoch=job.epoch)
            self._begin(job)

    async def idle(self, seconds: float = 30) -> None:
        """Wait until nothing is under way (tests, clean stops); TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while self.runs:  # noqa: ASYNC110 - for tests, where a wake-up is worth no event
                await asyncio.sleep(0.01)

    def own_lease(self, tx: Tx, name: str, seconds: float) -> bool:
        """Take or keep the lease `name` for `seconds`; False when another live session has it."""
        now = self._clock(tx)
        alive = sa.select(session.c.id).where(session.c.until > now)
        row = tx.execute(sa.select(lease.c.owner, lease.c.until).where(lease.c.name == name)).first()
        if row is None:
            insert: Any = (postgresql if self.store.postgres else sqlite).insert(lease)
            got = tx.execute(
                insert.values(name=name, owner=self.session, until=now + seconds).on_conflict_do_nothing()
            ).rowcount
            return bool(got)
        done = tx.execute(
            sa.update(lease)
            .where(
                lease.c.name == name,
                sa.or_(lease.c.owner == self.session, lease.c.until < now, lease.c.owner.not_in(alive)),
            )
            .values(owner=self.session, until=now + seconds)
        ).rowcount
        return bool(done)


def error_of(job: Job) -> Refusal:
    """The refusal that a failed job ended with."""
    error = job.error or {}
    return revive(error.get("key", "Failed"), error.get("text", "The operation failed."), error.get("facts"))


Awaited = Awaitable[Any]
