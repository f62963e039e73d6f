"""A job in this process's hands, and what its steps may call: ask, look, change, progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mold.base import clock
from mold.store import Resource, Tx
from mold.wire.calls import Call
from mold.work.job import Job
from mold.work.operation import OPERATIONS, Operation, Part, Step

if TYPE_CHECKING:
    from mold.work.engine import Engine

T = TypeVar("T")
R = TypeVar("R", bound=Resource)


class Blocked(Exception):
    """Another job holds a lock that this one needs."""


def is_away(broken: BaseException) -> bool:
    """Whether an error means that the database cannot be asked now: try again, nobody is to blame."""
    if isinstance(broken, DBAPIError) and broken.connection_invalidated:
        return True
    return isinstance(broken, OperationalError | InterfaceError | PoolTimeout)


class Run:
    """A job in this process's hands. KeyError, ValidationError: this version cannot read it."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self.engine = engine
        self.job = job
        self.kind = OPERATIONS[job.operation]
        self.op: Operation = msgspec.convert(job.args, self.kind)
        self.keys = self.op.wanted_locks()
        self.journal: dict[str, dict[str, Any]] = job.journal
        self.outputs: dict[str, Any] = {}
        for each in self.kind.steps:
            entry = self.journal.get(each.name)
            if entry is not None and "out" in entry:
                self.outputs[each.name] = msgspec.convert(entry["out"], each.gives)
        # Locks are taken in the transaction that writes the first entry.
        self.locked = not self.keys or bool(self.journal)
        self.notes: list[Callable[[Tx], Any]] = []
        """What the next transaction of the job writes first; see `note`."""
        self.since = 0.0
        """When the patience of the world step under way began."""
        self.text = ""
        self.cancel = job.cancelled
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

    def percent(self, part: float = 0) -> int:
        """How far the steps are, 0 to 100; `part` of one more is done."""
        done = sum(1 for e in self.journal.values() if e["s"] == "done")
        return min(99, round(100 * (done + part) / len(self.kind.steps)))


current: ContextVar[Run | None] = ContextVar("current", default=None)


def _engine() -> Engine:
    from mold.work.engine import Engine

    run = current.get()
    engine = run.engine if run else Engine.here
    assert engine is not None, "no engine runs"
    return engine


async def ask(host: str, call: Call, *, seconds: float | None = None) -> Any:
    """Ask a host, from within a world step or a reconciler. Returns the facts that the call promises.

    Raises the host's refusal, or Unreachable when there is no answer in `seconds` (default: the call's own).
    """
    run = current.get()
    return await _engine().world.ask(
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
    return await _engine().world.pour(host, make, pieces)


async def together(*parts: Coroutine[Any, Any, Any]) -> list[Any]:
    """Do parts of a world step at the same time; returns what they return, in order.

    When one fails, the others are stopped and waited for, so that the undo races with nothing of its step; then
    the failure that came first is raised.
    """
    tasks = [asyncio.create_task(p) for p in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        first = next((t for t in tasks if t.done() and not t.cancelled() and t.exception() is not None), None)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [t.result() for t in ([first] if first is not None else tasks)]


def renew_patience() -> None:
    """The current world step has done something long that it will not repeat: its patience begins anew."""
    run = current.get()
    if run is not None:
        run.since = time.monotonic()


def progress(percent: float, text: str = "", run: Run | None = None) -> None:
    """Say how far the current world step is (0 to 100). Kept in memory; shown with the job."""
    run = run or current.get()
    if run is None:
        return
    run.job.percent = run.percent(percent / 100)
    run.text = text
    run.engine.told(run)


async def look(work: Callable[[Tx], T]) -> T:
    """Read the database from within a world step or a reconciler."""
    return await _engine().reading(work)


def unattended(tx: Tx, kind: type[R], *where: Any, limit: int = 100) -> list[R]:
    """Rows that fit and on which no operation is under way: one that brought them there may have failed."""
    busy = sa.select(Job.c.instance_id).where(
        Job.c.phase != "over", Job.c.instance_type == kind.kind, Job.c.instance_id.is_not(None)
    )
    return tx.find(kind, *where, kind.c.id.not_in(busy), limit=limit)


async def change(work: Callable[[Tx], T]) -> T:
    """Write to the database from within a world step or a reconciler, in one transaction; Fenced when the job was lost."""
    engine, run = _engine(), current.get()

    def fenced(tx: Tx) -> T:
        if run is not None:
            engine.own(tx, run)
        return work(tx)

    return await engine.writing(fenced)


async def note(work: Callable[[Tx], Any]) -> None:
    """Write what a world step learned, together with the end of the step; at once, when no job is under way.

    A transaction less than `change`: for what may be learned again when the step is repeated.  It may run twice.
    """
    run = current.get()
    if run is None:
        await change(work)
    else:
        run.notes.append(work)
