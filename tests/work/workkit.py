"""What tests of the engine share: engines on a database, a world that remembers, operations that leave no trace behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import sqlalchemy as sa

from mold.store import Store, Tx
from mold.work import OPERATIONS, Engine, Job, Operation, operation
from mold.work.job import held, session

LOCAL: dict[str, type[Operation]] = {}
"""Operations that tests declare. Only registered while a test of theirs runs: other tests look at all that there are."""

marks = sa.Table(
    "mark",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("once", sa.Text, nullable=True, unique=True),
)


def local(kind: type[Operation]) -> type[Operation]:
    """Declare an operation of a test."""
    made = operation(kind)
    LOCAL[kind.__name__] = OPERATIONS.pop(kind.__name__)
    return made


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """The tests' operations are known."""
    OPERATIONS.update(LOCAL)
    try:
        yield
    finally:
        for name in LOCAL:
            del OPERATIONS[name]


def mark(tx: Tx, text: str, once: str | None = None) -> None:
    """A row that tells that a plain step has happened."""
    tx.execute(sa.insert(marks).values(text=text, once=once))


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more after it."""


class Outside:
    """What world steps change. `stands` is what there is, `did` all that was ever asked, `plan` what goes wrong next."""

    def __init__(self) -> None:
        self.stands: Counter[str] = Counter()
        self.did: list[str] = []
        self.plan: dict[str, list[BaseException]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.entered: dict[str, asyncio.Event] = {}

    def clear(self) -> None:
        """A new world."""
        self.__init__()  # type: ignore[misc]

    def trip(self, what: str) -> None:
        """Go wrong as planned."""
        if self.plan.get(what):
            raise self.plan[what].pop(0)

    def gate(self, what: str) -> asyncio.Event:
        """Work on `what` waits for this event; `entered[what]` is set when it is there."""
        self.entered[what] = asyncio.Event()
        self.gates[what] = asyncio.Event()
        return self.gates[what]

    async def make(self, what: str) -> str:
        """Something comes to be; twice is once."""
        self.did.append(what)
        self.trip(f"before {what}")
        if what in self.gates:
            self.entered[what].set()
            await self.gates[what].wait()
        self.stands[what] = 1
        self.trip(what)
        return f"made {what}"

    async def drop(self, what: str) -> None:
        """Something goes; twice is once."""
        self.did.append(f"drop {what}")
        self.trip(f"drop {what}")
        self.stands.pop(what, None)


class NoWorld:
    """Hosts that nobody asks: these tests' steps use `Outside`."""

    async def ask(self, host: str, call: Any, **about: Any) -> Any:
        """Never called."""
        raise AssertionError((host, call, about))


def a_store(url: str) -> Store:
    """A database with all tables; the second engine on it finds them there."""
    store = Store(url)
    store.create()
    marks.metadata.create_all(store.engine)
    return store


@contextlib.asynccontextmanager
async def an_engine(url: str, **about: Any) -> AsyncIterator[Engine]:
    """A manager's engine at work. One that was killed in the block is not stopped cleanly."""
    store = a_store(url)
    engine = Engine(store, NoWorld(), **about)
    running = asyncio.create_task(engine.run())
    await asyncio.wait_for(engine.ready.wait(), 20)
    try:
        yield engine
    finally:
        if not engine.stopping:
            await engine.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()


async def kill(engine: Engine) -> None:
    """End an engine as kill -9 would: it writes nothing any more, and its session stays behind.

    Transactions that are in a thread already come to their end, as one that the database has received would.
    """
    engine.stopping = True
    for task in list(engine._tasks):
        task.cancel()
    await asyncio.gather(*engine._tasks, return_exceptions=True)
    for pool in (engine.reads, engine.writes, engine.beats):
        await asyncio.to_thread(pool.shutdown)
    if Engine.here is engine:
        Engine.here = None


async def want(engine: Engine, op: Operation, also: Callable[[Tx], Any] | None = None) -> Job:
    """Enqueue an operation as a request does."""

    def go(tx: Tx) -> Job:
        if also is not None:
            also(tx)
        return engine.enqueue(tx, op)

    return await engine.writing(go)


async def do(engine: Engine, op: Operation, seconds: float = 20) -> Job:
    """Enqueue an operation and wait until it is over."""
    job = await want(engine, op)
    return await over(engine, job, seconds)


async def over(engine: Engine, job: Job, seconds: float = 20) -> Job:
    """The job once it is over, undo and all."""
    async with asyncio.timeout(seconds):
        while True:
            found = await engine.reading(lambda tx: tx.one(Job, job.id))
            if found.phase == "over":
                return found
            await asyncio.sleep(0.01)


def texts(tx: Tx) -> list[str]:
    """All marks, in order."""
    return list(tx.execute(sa.select(marks.c.text).order_by(marks.c.number)).scalars())


def locks(tx: Tx) -> list[str]:
    """All locks that are held."""
    return list(tx.execute(sa.select(held.c.key)).scalars())


def expire(tx: Tx, who: str) -> None:
    """A session's lease has run out."""
    tx.execute(sa.update(session).where(session.c.id == who).values(until=0))
