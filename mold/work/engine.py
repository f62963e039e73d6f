"""The engine: runs operations so that a kill at any instant leaves nothing half-done.

One transaction takes the job's locks (the first), records what the last world step returned, runs the plain steps that
follow and marks the next world step as begun; so a crash loses no step, repeats only world steps, and undoes only what
may have happened.  Jobs belong to a session (one manager process).  A session keeps a lease; when it runs out, any
other manager takes its jobs over under a higher epoch, and both the database and the hosts refuse the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from mold.base import clock, ids
from mold.base.errors import Cancelled, Failed, Fenced, Refusal, Unreachable, revive
from mold.store import Prepared, Store, Tx
from mold.wire.calls import Call, Facts
from mold.work import notices
from mold.work.job import Job, database_time, held, lease, session
from mold.work.operation import OPERATIONS, Operation, Step
from mold.work.run import Blocked, Run, current, is_away

log = structlog.get_logger()
T = TypeVar("T")

LEASE_SECONDS = 6.0
BEAT_SECONDS = 1.5
LOOK_SECONDS = 0.5
"""How often the engine looks for jobs of dead sessions."""
NET_SECONDS = 2.0
"""How often the engine looks for whatever else no notification told it of."""
OPEN = ("forward", "backward")
CANCELLED = "The operation was cancelled; what it had done is undone."


class World(Protocol):
    """What world steps talk to."""

    async def ask(
        self, host: str, call: Call, *, key: str, epoch: int, seconds: float, say: Callable[[float, str], None] | None
    ) -> Facts:
        """The host's answer; raises its refusal, or Unreachable."""

    async def pour(self, host: str, make: Callable[[str, str], Call], pieces: AsyncIterator[bytes]) -> Facts:
        """Have a host open a stream to this manager, and send it `pieces`; `make(address, ticket)` is the call that asks."""


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
        # The lease must not wait behind work.
        self.beats = ThreadPoolExecutor(1, "beats")
        self.runs: dict[int, Run] = {}
        self.on_begin: list[Callable[[Tx, Job, Operation], None]] = []
        """Called in the first transaction of a job."""
        self.on_finish: list[Callable[[Tx, Job, Operation], None]] = []
        self.on_told: list[Callable[[Job, str], None]] = []
        self.crash: Callable[[str, str], None] | None = None
        """Drills set this: called before and after every commit and world call, may raise to play a kill."""
        self._holders: dict[str, int] = {}
        self._waiting: dict[str, deque[int]] = defaultdict(deque)
        self._strays: set[int] = set()
        self._unreadable: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._done: dict[str, list[asyncio.Event]] = defaultdict(list)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._has_peers = store.postgres
        self.channels: dict[str, Callable[[str], None]] = {notices.CHANNEL: self._heard}
        """Who hears what other managers tell, by channel; set before `run`."""
        self.stopping = False
        self.ready = asyncio.Event()

    # -- database work in the right thread -------------------------------------------------------------------

    async def reading(self, work: Callable[[Tx], T]) -> T:
        """Run `work` with a reader in the pool of readers."""

        def go() -> T:
            with self.store.read() as tx:
                return work(tx)

        return await asyncio.get_running_loop().run_in_executor(self.reads, go)

    async def writing(self, work: Callable[[Tx], T], pool: ThreadPoolExecutor | None = None) -> T:
        """Run `work` in one transaction in the pool of writers."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool or self.writes, lambda: self.store.transact(work))

    # -- wanting work ----------------------------------------------------------------------------------------

    def enqueue(self, tx: Tx, op: Operation, **about: Any) -> Job:
        """Want `op` done; part of the transaction, so the job exists exactly when the transaction commits.

        `about` are columns of `Job`: who asked (account_id, user_id, domain_id), cmd, event.
        """
        kind = type(op)
        if (subject := op.subject()) is not None:
            about.setdefault("instance_type", subject[0])
            about.setdefault("instance_id", subject[1])
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
        if job.number in self.runs or job.number in self._unreadable or self.stopping:
            return
        try:
            run = Run(self, job)
        except (KeyError, msgspec.ValidationError) as broken:
            # Begun by another version: this one can neither finish nor undo it, and must not pretend to.
            log.error("job cannot be read by this version", job=job.id, operation=job.operation, error=str(broken))  # noqa: TRY400
            self._unreadable.add(job.number)
            return
        self.runs[job.number] = run
        self._start(run)

    def _start(self, run: Run) -> None:
        run.task = self._spawn(self._drive(run))

    def spawn(self, work: Any) -> None:
        """Do something beside everything else; it is cancelled when the engine stops."""
        self._spawn(work)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finished(self, job_id: str, seconds: float) -> Job:
        """Wait until a job is over (or `seconds` have passed) and return it as it is then."""
        event = asyncio.Event()
        self._done[job_id].append(event)
        try:
            until = time.monotonic() + seconds
            while True:
                event.clear()
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

    def _ended(self, job_id: str) -> None:
        for event in self._done.get(job_id, ()):
            event.set()

    def told(self, run: Run) -> None:
        """Somebody said how far a job is."""
        for listener in self.on_told:
            listener(run.job, run.text)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job: its running step is told to stop, and what was done is undone.

        It ends at its next pause: one that waits for another job's locks, when it gets them.
        """

        def note(tx: Tx) -> int:
            wanted = sa.update(Job.table).where(Job.c.id == job_id, Job.c.phase == "forward").values(cancelled=True)
            self._tell(tx, job_id)
            return tx.execute(wanted.returning(Job.c.number)).scalar() or 0

        self._cancel(await self.writing(note))

    def _cancel(self, number: int) -> None:
        run = self.runs.get(number)
        if run is not None and run.job.phase == "forward":
            run.cancel = True
            if run.doing is not None:
                run.doing.cancel()

    # -- doing it --------------------------------------------------------------------------------------------

    def _point(self, run: Run, where: str) -> None:
        if self.crash is not None:
            self.crash(run.job.operation, where)

    async def _drive(self, run: Run) -> None:
        """Work on a job until it is over, it is not ours any more, or it waits for a lock."""
        if not self._claim(run):
            return
        token = current.set(run)
        try:
            async with self.slots:
                if run.job.phase == "forward":
                    await self._forward(run)
                if run.job.phase == "backward":
                    await self._backward(run)
        except Blocked as by:
            # Another manager's job holds the lock, or one that is not under way: the net tries again.
            self._unclaim(run)
            self._waiting[str(by)].appendleft(run.job.number)
            return
        except Fenced:
            log.warning("job was taken over", job=run.job.id, operation=run.job.operation)
        except asyncio.CancelledError:
            raise
        except Exception as broken:  # the worker's net: the job stays as the journal says, and the net finds it there
            if is_away(broken):
                log.warning("database away; job waits", job=run.job.id, error=str(broken)[:200])
            else:
                log.exception("job broke; it will be tried again", job=run.job.id, operation=run.job.operation)
        finally:
            current.reset(token)
        if self.runs.get(run.job.number) is run:
            del self.runs[run.job.number]
        self._unclaim(run)
        if run.job.phase == "over":
            self._ended(run.job.id)
            self.told(run)
            for key in run.keys:
                self._next(key)

    def _claim(self, run: Run) -> bool:
        """Take the job's locks among the jobs of this process; False: it waits in a queue until they are free."""
        for key in run.keys:
            if self._holders.get(key, run.job.number) != run.job.number:
                self._waiting[key].append(run.job.number)
                return False
        self._holders.update(dict.fromkeys(run.keys, run.job.number))
        return True

    def _unclaim(self, run: Run) -> None:
        for key in run.keys:
            if self._holders.get(key) == run.job.number:
                del self._holders[key]

    def _next(self, key: str) -> None:
        """Start the first job that waits for a lock, unless somebody here holds it."""
        queue = self._waiting.get(key)
        while queue and key not in self._holders:
            run = self.runs.get(queue.popleft())
            if run is not None and (run.task is None or run.task.done()):
                self._start(run)
                break
        if not queue:
            self._waiting.pop(key, None)

    def _take(self, tx: Tx, run: Run) -> None:
        """Take the job's locks in the database; Blocked names one that another job holds."""
        take = _holding(self.store.postgres)
        missing = {key for key in run.keys if not tx.rows(take, {"key_": key, "job_": run.job.number})}
        if missing:
            missing -= set(tx.execute(sa.select(held.c.key).where(held.c.job == run.job.number)).scalars())
        if missing:
            raise Blocked(min(missing))

    def _ours(self, run: Run) -> dict[str, Any]:
        return {"number_": run.job.number, "owner_": self.session, "epoch_": run.job.epoch}

    def own(self, tx: Tx, run: Run) -> None:
        """Fenced when the job is not ours any more; nobody takes it over before the transaction ends."""
        if not tx.rows(_OWN, self._ours(run)):
            raise Fenced

    def _save(self, tx: Tx, run: Run, **values: Any) -> None:
        """Write the journal; Fenced when the job is not ours any more."""
        values = {"journal": run.journal, "percent": run.percent(), **values}
        found = tx.rows(_saving(tuple(values)), {**self._ours(run), **{f"new_{k}": v for k, v in values.items()}})
        if not found:
            raise Fenced
        run.cancel = run.cancel or bool(found[0][0])

    async def _commit(self, run: Run, work: Callable[[Tx], T]) -> T:
        """One transaction of a job, with its locks; journal and outputs are as before when it fails."""
        journal, outputs = {k: dict(v) for k, v in run.journal.items()}, dict(run.outputs)
        notes, run.notes = run.notes, []

        def go(tx: Tx) -> T:
            # A transaction that was the victim of a deadlock runs again, from here.
            run.journal, run.outputs = {k: dict(v) for k, v in journal.items()}, dict(outputs)
            if not run.locked:
                self._take(tx, run)
            try:
                for note in notes:
                    note(tx)
            except Exception as broken:
                if not is_away(broken):
                    notes.clear()  # it fails the job, as it would have failed the step that left it
                raise
            return work(tx)

        self._point(run, "before commit")
        try:
            out = await self.writing(go)
        except BaseException:
            run.journal, run.outputs, run.notes = journal, outputs, notes
            raise
        run.locked = True
        self._point(run, "after commit")
        return out

    async def _forward(self, run: Run) -> None:
        finished: tuple[Step, Any] | None = None
        while True:
            try:
                if run.cancel:
                    raise Cancelled(CANCELLED)
                nxt = await self._plain(run, finished)
                if nxt is None:
                    run.job.phase, run.job.status = "over", 1
                    return
                if run.cancel:
                    raise Cancelled(CANCELLED)
                finished = (nxt, await self._world(run, nxt))
            except Refusal as no:
                await self._turn(run, no)
                return
            except (Fenced, Blocked, asyncio.CancelledError):
                raise
            except Exception as broken:
                if is_away(broken):
                    raise
                log.exception("step failed", job=run.job.id, operation=run.job.operation, step=run.job.at)
                await self._turn(run, Failed(f"{run.job.operation} failed: {broken}"))
                return

    async def _plain(self, run: Run, finished: tuple[Step, Any] | None) -> Step | None:
        """Record the world step just done, run the plain steps after it, mark the next world step begun: one transaction.

        When a plain step refuses, the same is done again with a transaction for each, so that what went before
        the refusal is recorded, and undone.
        """
        try:
            return await self._advance(run, finished, single=False)
        except (Fenced, Blocked, asyncio.CancelledError):
            raise
        except Exception as broken:
            if is_away(broken):
                raise
            if finished is not None:
                await self._commit(run, lambda tx: self._note(tx, run, *finished))
            while True:
                nxt = await self._advance(run, None, single=True)
                if nxt is None or nxt.world:
                    return nxt

    def _note(self, tx: Tx, run: Run, each: Step, out: Any) -> None:
        run.record(each, out)
        self._save(tx, run)

    async def _advance(self, run: Run, finished: tuple[Step, Any] | None, *, single: bool) -> Step | None:
        """One transaction of `_plain`. With `single`, it ends after one thing and returns the plain step it did."""

        def work(tx: Tx) -> Step | None:
            if finished:
                run.record(*finished)
            elif not run.journal:
                for listener in self.on_begin:
                    listener(tx, run.job, run.op)
            for each in run.kind.steps:
                entry = run.journal.get(each.name)
                if entry is not None and entry["s"] == "done":
                    continue
                if each.world:
                    run.journal[each.name] = {"s": "begun", "t": clock.now()}
                    self._save(tx, run, at=each.name)
                    return each
                run.job.at = each.name
                run.record(each, run.call(each, tx))
                if single:
                    self._save(tx, run, at=each.name)
                    return each
            self._finish(tx, run, status=1)
            return None

        return await self._commit(run, work)

    async def _world(self, run: Run, each: Step) -> Any:
        """Call a world step, again while the host does not answer and patience lasts."""
        run.job.at = each.name
        self.told(run)
        run.since = time.monotonic()
        pause = 0.2
        while True:
            try:
                self._point(run, f"before {each.name}")
                run.doing = asyncio.get_running_loop().create_task(run.call(each, None))
                try:
                    out = await run.doing
                except asyncio.CancelledError:
                    if run.cancel and not self.stopping:
                        raise Cancelled(CANCELLED) from None
                    raise
                finally:
                    run.doing = None
                self._point(run, f"after {each.name}")
                return out
            except Unreachable as no:
                if time.monotonic() + pause > run.since + run.kind.patience or run.cancel:
                    raise
                log.info("host does not answer; trying again", job=run.job.id, step=each.name, text=no.text)
                await self._rest(pause)
                pause = min(pause * 2, 10)
                if run.cancel:
                    raise Cancelled(CANCELLED) from no

    async def _rest(self, seconds: float) -> None:
        """Wait about so long, and let other jobs work meanwhile."""
        self.slots.release()
        try:
            await asyncio.sleep(seconds * (0.5 + random.random()))
        finally:
            await self.slots.acquire()

    async def _turn(self, run: Run, no: Refusal) -> None:
        """Turn around: from now on the job undoes what it did."""
        error = {"key": no.key, "text": no.text, "facts": no.facts, "step": run.job.at}
        if no.inner:
            log.info("operation refused", job=run.job.id, operation=run.job.operation, text=no.text, inner=no.inner)
        await self._commit(run, lambda tx: self._save(tx, run, phase="backward", error=error))
        run.job.phase, run.job.error = "backward", error

    async def _backward(self, run: Run) -> None:
        pause = 0.2
        undone: Step | None = None
        while True:
            try:
                undone = await self._plain_back(run, undone)
                if undone is None:
                    run.job.phase, run.job.status = "over", 2
                    return
                assert undone.back is not None
                self._point(run, f"before undo of {undone.name}")
                await run.call(undone.back, None)
                self._point(run, f"after undo of {undone.name}")
                pause = 0.2
            except (Fenced, Blocked, asyncio.CancelledError):
                raise
            except Exception as broken:
                if is_away(broken):
                    raise
                # An undo must come to its end: try on, and tell the caller meanwhile that the job has failed.
                undone = None
                (log.info if isinstance(broken, Unreachable) else log.exception)(
                    "undo failed; trying again", job=run.job.id, operation=run.job.operation, error=str(broken)
                )
                if run.job.status == 0:
                    await self._commit(run, lambda tx: self._save(tx, run, status=2))
                    run.job.status = 2
                    self._ended(run.job.id)
                await self._rest(pause)
                pause = min(pause * 2, 30)

    async def _plain_back(self, run: Run, undone: Step | None) -> Step | None:
        """Record the undo just done, run the plain ones after it; returns the step to be undone in the world next."""

        def work(tx: Tx) -> Step | None:
            if undone:
                run.journal[undone.name]["s"] = "undone"
            for each in reversed(run.kind.steps):
                entry = run.journal.get(each.name)
                if entry is None and each is run.kind.steps[0]:
                    # Its undo takes back what the request did, and that has happened in any case.
                    entry = run.journal[each.name] = {"s": "begun"}
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

        return await self._commit(run, work)

    def _finish(self, tx: Tx, run: Run, *, status: int) -> None:
        run.job.completed = clock.now()
        percent = 100 if status == 1 else run.percent()
        self._save(tx, run, phase="over", status=status, completed=run.job.completed, percent=percent, at="")
        if run.keys:
            tx.done(_FREE, {"job_": run.job.number})
        run.job.status = status
        for listener in self.on_finish:
            listener(tx, run.job, run.op)
        self._tell(tx, run.job.id)

    def _tell(self, tx: Tx, what: str) -> None:
        """Let the other managers look, once the transaction has committed."""
        if self._has_peers:
            notices.send(tx, what)

    def _heard(self, what: str) -> None:
        self._ended(what)
        self._wake.set()

    # -- living ----------------------------------------------------------------------------------------------

    def _clock(self, tx: Tx) -> float:
        """The time all managers agree on: the database's."""
        return database_time(tx)

    def _alive(self, tx: Tx) -> Any:
        return sa.select(session.c.id).where(session.c.until > self._clock(tx))

    async def run(self) -> None:
        """Work until `stop`: keep the lease, take over what dead managers left, run reconcilers."""
        from mold.work import reconcile

        self._loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        assert me is not None
        self._tasks.add(me)
        Engine.here = self
        await self.writing(self._register, self.beats)
        self._spawn(self._beats())
        await self._adopt()
        self.ready.set()
        self._spawn(reconcile.run(self))
        if self.store.postgres:
            self._spawn(notices.listen(self.store.url, self.channels))
        net = time.monotonic()
        while not self.stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
            told, due = self._wake.is_set(), time.monotonic() >= net
            self._wake.clear()
            try:
                await self._adopt()
                if told or due:
                    await self._cast(strays=due)
            except Exception as broken:  # noqa: BLE001 - the worker: a manager that looks no more is dead unknowingly
                await self._trouble(broken)
            if due:
                net = time.monotonic() + NET_SECONDS
            await asyncio.sleep(0.05)  # notices come in bursts

    async def _trouble(self, broken: Exception) -> None:
        if is_away(broken):
            log.warning("database away", error=str(broken)[:200])
        else:
            log.exception("engine stumbled; it goes on")
        await asyncio.sleep(0.5)

    async def _beats(self) -> None:
        """Keep the session's lease."""
        while True:
            await asyncio.sleep(min(BEAT_SECONDS, self.lease_seconds / 3))
            try:
                if not await self.writing(self._beat, self.beats):
                    await self.writing(self._register, self.beats)
            except Exception as broken:  # noqa: BLE001 - as above
                await self._trouble(broken)

    async def stop(self) -> None:
        """Stop cleanly: running jobs stay in the journal for the next manager."""
        self.stopping = True
        self._wake.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

        def leave(tx: Tx) -> None:
            tx.execute(sa.delete(session).where(session.c.id == self.session))
            self._tell(tx, "")

        try:
            await self.writing(leave)
        except DBAPIError as broken:
            log.warning("database away; the lease runs out by itself", error=str(broken)[:200])
        if Engine.here is self:
            Engine.here = None
        for pool in (self.reads, self.writes, self.beats):
            await asyncio.to_thread(pool.shutdown)

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
        mine = sa.update(session).where(session.c.id == self.session)
        done = tx.execute(mine.values(until=now + self.lease_seconds)).rowcount
        tx.execute(sa.delete(session).where(session.c.until < now - 60))
        self._has_peers = len(tx.execute(sa.select(session.c.id)).all()) > 1
        return bool(done)

    async def _adopt(self) -> None:
        """Take over the jobs of dead sessions. What another version began is left to that version."""

        def orphans(tx: Tx) -> Any:
            known = Job.c.operation.in_(OPERATIONS)
            return sa.and_(Job.c.phase.in_(OPEN), known, Job.c.owner.not_in(self._alive(tx)))

        if await self.reading(lambda tx: tx.execute(sa.select(Job.c.number).where(orphans(tx)).limit(1)).first()):
            await self._grab(orphans)

    async def _grab(self, which: Callable[[Tx], Any]) -> None:
        """Make jobs ours under a higher epoch, and begin on them as they are in that instant."""

        def take(tx: Tx) -> list[Job]:
            ours = sa.update(Job.table).where(which(tx)).values(owner=self.session, epoch=Job.c.epoch + 1)
            return [Job.from_row(r) for r in tx.execute(ours.returning(*Job.table.c))]

        for job in sorted(await self.writing(take), key=lambda job: job.number):
            log.info("job taken over", job=job.id, operation=job.operation, epoch=job.epoch)
            self._begin(job)

    async def _cast(self, *, strays: bool) -> None:
        """The net: cancels asked of another manager, locks freed by one, and our own jobs that nobody works on.

        Such a stray is left by a commit whose answer was lost, or by a job that broke.
        """
        mine = await self.reading(
            lambda tx: tx.execute(
                sa.select(Job.c.number, Job.c.cancelled).where(Job.c.phase.in_(OPEN), Job.c.owner == self.session)
            ).all()
        )
        for number, cancelled in mine:
            run = self.runs.get(number)
            if cancelled and run is not None and not run.cancel:
                self._cancel(number)
        for key in list(self._waiting):
            self._next(key)
        if strays:
            # Twice seen: one that is committed this instant is about to be begun.
            idle = {number for number, _ in mine} - self.runs.keys() - self._unreadable
            again = idle & self._strays
            self._strays = idle
            if again:
                await self._grab(
                    lambda tx: sa.and_(
                        tx.any_of(Job.c.number, sorted(again)), Job.c.phase.in_(OPEN), Job.c.owner == self.session
                    )
                )

    async def idle(self, seconds: float = 30) -> None:
        """Wait until nothing is under way (tests, clean stops); TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while self.runs:  # noqa: ASYNC110 - for tests, where a wake-up is worth no event
                await asyncio.sleep(0.01)

    def own_lease(self, tx: Tx, name: str, seconds: float) -> bool:
        """Take or keep the lease `name` for `seconds`; False when another live session has it."""
        now = self._clock(tx)
        insert: Any = (postgresql if self.store.postgres else sqlite).insert(lease)
        wanted = insert.values(name=name, owner=self.session, until=now + seconds)
        free = sa.or_(lease.c.owner == self.session, lease.c.until < now, lease.c.owner.not_in(self._alive(tx)))
        mine = {"owner": self.session, "until": now + seconds}
        # Not rowcount: after an INSERT it is not to be relied on.
        kept = wanted.on_conflict_do_update(index_elements=["name"], set_=mine, where=free).returning(lease.c.name)
        return tx.execute(kept).first() is not None


_FREE = Prepared(sa.delete(held).where(held.c.job == sa.bindparam("job_")))


@cache
def _holding(on_postgres: bool) -> Prepared:
    insert: Any = (postgresql if on_postgres else sqlite).insert(held)
    given: dict[str, Any] = {"key": sa.bindparam("key_"), "job": sa.bindparam("job_")}
    return Prepared(insert.values(given).on_conflict_do_nothing().returning(held.c.key))


def _is_ours() -> Any:
    c = Job.c
    return sa.and_(
        c.number == sa.bindparam("number_"),
        c.owner == sa.bindparam("owner_"),
        c.epoch == sa.bindparam("epoch_"),
        sa.or_(*(c.phase == p for p in OPEN)),
    )


_OWN = Prepared(sa.select(Job.c.number).where(_is_ours()).with_for_update())


@cache
def _saving(columns: tuple[str, ...]) -> Prepared:
    c = Job.c
    ours = sa.update(Job.table).where(_is_ours())
    values = {n: sa.bindparam(f"new_{n}", type_=c[n].type) for n in columns}
    return Prepared(ours.values(values).returning(c.cancelled))


def error_of(job: Job) -> Refusal:
    """The refusal that a failed job ended with."""
    error = job.error or {}
    return revive(error.get("key", "Failed"), error.get("text", "The operation failed."), error.get("facts"))
