"""Serving calls: which function answers which call, and the rules every answer keeps.

Calls of one key (an operation) are served one after another: a newer call cancels the one that still runs
and waits for it to end, so an undo never races with what it undoes.  Waiting includes work that cannot be
cancelled (a libvirt call in a thread): it may outlive its own call's deadline, but the next call of the key
does not begin before it is over.  Of one key only the highest epoch is served: a manager that lost the
operation while it was frozen is refused.  Every call has a deadline, waiting included.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from mold.base.errors import Cancelled, Failed, Refusal, Unavailable, Unreachable, Unsupported
from mold.wire import calls as w

if TYPE_CHECKING:
    from mold.agent.here import Here

log = structlog.get_logger()
C = TypeVar("C", bound=w.Call)
T = TypeVar("T")

KEYS_KEPT = 10_000
AT_ONCE = 64
SLOW_SECONDS = 300.0
"""A call that may take longer than this is a slow one."""
WAITING = 1_000


class Work:
    """What a handler gets besides the call: the agent it runs in, and how to say how far it is."""

    def __init__(self, say: Callable[[float, str], None] | None = None, here: Here | None = None) -> None:
        self._say = say
        self._here = here
        self._last = 0.0
        self.unfinished: set[asyncio.Future[Any]] = set()
        """Work that goes on although nobody waits for it any more; the next call of the key waits for it."""

    @property
    def here(self) -> Here:
        """The agent that serves the call."""
        if self._here is None:
            raise RuntimeError("this call is served outside of an agent")
        return self._here

    def progress(self, percent: float, text: str = "") -> None:
        """Tell how far the call is (0 to 100); at most five times a second."""
        tick = time.monotonic()
        if self._say is not None and (tick - self._last > 0.2 or percent >= 100):
            self._last = tick
            self._say(percent, text)

    async def thread(self, running: concurrent.futures.Future[T], seconds: float) -> T:
        """The result of work in a thread, which cannot be cancelled once it began.

        TimeoutError after `seconds`; then, and when the call is cancelled, the work is remembered as unfinished.
        """
        future = asyncio.wrap_future(running)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(future)
        except (TimeoutError, asyncio.CancelledError):
            if not future.done() and not running.cancel():
                self.unfinished.add(future)
                future.add_done_callback(self._over)
            raise

    def _over(self, future: asyncio.Future[Any]) -> None:
        self.unfinished.discard(future)
        if not future.cancelled() and future.exception() is not None:
            log.warning("abandoned work failed", error=str(future.exception()))


async def wait_out(work: Awaitable[T]) -> T:
    """Await something short that must not be left half done: a cancellation takes effect after it."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


Handler = Callable[[Any, Work], Awaitable[w.Facts]]
HANDLERS: dict[type[w.Call], Handler] = {}


def serves(kind: type[C]) -> Callable[[Callable[[C, Work], Awaitable[w.Facts]]], Callable[[C, Work], Awaitable[w.Facts]]]:
    """Register the coroutine function that answers calls of `kind`."""

    def keep(function: Callable[[C, Work], Awaitable[w.Facts]]) -> Callable[[C, Work], Awaitable[w.Facts]]:
        if kind in HANDLERS:
            raise RuntimeError(f"two functions answer {kind.__name__}")
        HANDLERS[kind] = function
        return function

    return keep


@dataclass(frozen=True)
class _Turn:
    """A call of a key that is being served."""

    task: asyncio.Task[bytes]
    work: Work

    def rest(self) -> set[asyncio.Future[Any]]:
        """All that must be over before another call of the key may begin."""
        return {future for future in (self.task, *self.work.unfinished) if not future.done()}


class Desk:
    """Takes requests, answers them; one per agent process. `handlers` defaults to all that are registered."""

    def __init__(self, here: Here | None = None, handlers: dict[type[w.Call], Handler] | None = None) -> None:
        self._here = here
        self._handlers = HANDLERS if handlers is None else handlers
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._turns: dict[str, _Turn] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        # Copies of images wait for one another for hours; they must not keep a guest from being stopped.
        self._slow_slots = asyncio.Semaphore(AT_ONCE)
        self._inside = 0

    async def answer(self, request: w.Request, say: Callable[[float, str], None] | None = None) -> bytes:
        """The packed reply to one request. Cancelling it cancels the call, and is answered like any refusal."""
        key = request.key
        known = self._epochs.get(key, 0) if key else 0
        if request.epoch < known:
            text = f"operation {key} is in epoch {known}; epoch {request.epoch} is over"
            return w.refusal(request.n, "Fenced", text, {"epoch": known})
        if self._inside >= WAITING:
            return _refused(request, Unavailable(f"This host already has {WAITING} calls to answer; ask again later."))
        before = self._turns.get(key) if key else None
        work = Work(say, self._here)
        if before is not None:
            before.task.cancel()
            # Also when this call ends before that one does: whoever comes third waits for both.
            work.unfinished |= before.rest()
        task = asyncio.create_task(self._serve(request, work))
        turn = _Turn(task, work)
        if key:
            self._remember(key, request.epoch)
            self._turns[key] = turn
        self._inside += 1
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
        finally:
            self._inside -= 1
            self._leave(key, turn)
        return _refused(request, Cancelled(_cancelled(request))) if task.cancelled() else task.result()

    def _remember(self, key: str, epoch: int) -> None:
        self._epochs[key] = epoch
        self._epochs.move_to_end(key)
        if len(self._epochs) > KEYS_KEPT:
            idle = next((old for old in self._epochs if old not in self._turns), None)
            if idle is not None:
                del self._epochs[idle]

    def _leave(self, key: str, turn: _Turn) -> None:
        """Forget the key's turn when all of it is over, now or as soon as its last thread returns."""
        rest = turn.rest()
        if rest:
            next(iter(rest)).add_done_callback(lambda _: self._leave(key, turn))
        elif key and self._turns.get(key) is turn:
            del self._turns[key]

    async def _serve(self, request: w.Request, work: Work) -> bytes:
        kind = type(request.call)
        limit = asyncio.timeout(request.seconds)
        try:
            handler = self._handlers.get(kind)
            if handler is None:
                raise Unsupported(f"This host does not know the call {kind.__name__}.", call=kind.__name__)
            async with limit:
                while work.unfinished:
                    await asyncio.wait(work.unfinished)
                    work.unfinished = {future for future in work.unfinished if not future.done()}
                async with self._slow_slots if kind.seconds > SLOW_SECONDS else self._slots:
                    facts = await handler(request.call, work)
            return w.reply(request.n, facts)
        except Refusal as no:
            if no.inner:
                log.warning("call refused", call=kind.__name__, key=request.key, text=no.text, inner=no.inner)
            return _refused(request, no)
        except asyncio.CancelledError:
            return _refused(request, Cancelled(_cancelled(request)))
        except Exception as broken:
            if isinstance(broken, TimeoutError) and limit.expired():
                text = f"{kind.__name__} did not finish within {request.seconds:.0f} s on this host."
                return _refused(request, Unreachable(text, call=kind.__name__))
            log.exception("call failed", call=kind.__name__, key=request.key)
            return _refused(request, Failed(f"{kind.__name__} failed on this host: {broken}", call=kind.__name__))


def _cancelled(request: w.Request) -> str:
    return f"{type(request.call).__name__} was cancelled."


def _refused(request: w.Request, no: Refusal) -> bytes:
    return w.refusal(request.n, no.key, no.text, no.facts)
