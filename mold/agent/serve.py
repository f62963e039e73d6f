"""Serving calls: which function answers which call, and the rules every answer keeps.

Calls of one key (an operation) are served one after another: a newer call cancels the one that still runs
and waits for it to end, so an undo never races with what it undoes.  Of one key only the highest epoch is
served: a manager that lost the operation while it was frozen is refused.  Every call has a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from mold.base.errors import Cancelled, Failed, Refusal, Unreachable, Unsupported
from mold.wire import calls as w

log = structlog.get_logger()
C = TypeVar("C", bound=w.Call)

KEYS_KEPT = 10_000


class Work:
    """What a handler gets besides the call: how to say how far it is."""

    def __init__(self, say: Callable[[float, str], None] | None = None) -> None:
        self._say = say
        self._last = 0.0

    def progress(self, percent: float, text: str = "") -> None:
        """Tell how far the call is (0 to 100); at most five times a second."""
        tick = time.monotonic()
        if self._say is not None and (tick - self._last > 0.2 or percent >= 100):
            self._last = tick
            self._say(percent, text)


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


class Desk:
    """Takes requests, answers them; one per agent process."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[str, int] = OrderedDict()
        self._running: dict[str, asyncio.Task[bytes]] = {}

    async def answer(self, request: w.Request, say: Callable[[float, str], None] | None = None) -> bytes:
        """The packed reply to one request. Never raises, save when this task itself is cancelled."""
        key = request.key
        if key:
            known = self._epochs.get(key, 0)
            if request.epoch < known:
                return w.refusal(
                    request.n, "Fenced", f"operation {key} is in epoch {known}; epoch {request.epoch} is over",
                    {"epoch": known},
                )  # fmt: skip
            self._epochs[key] = request.epoch
            self._epochs.move_to_end(key)
            while len(self._epochs) > KEYS_KEPT:
                self._epochs.popitem(last=False)
            before = self._running.get(key)
            task: asyncio.Task[bytes] = asyncio.create_task(self._serve(request, say, before))
            self._running[key] = task
            try:
                return await task
            finally:
                if self._running.get(key) is task:
                    del self._running[key]
        return await self._serve(request, say, None)

    async def _serve(self, request: w.Request, say: Callable[[float, str], None] | None, before: asyncio.Task[bytes] | None) -> bytes:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])
        kind = type(request.call)
        handler = HANDLERS.get(kind)
        try:
            if handler is None:
                raise Unsupported(f"This host does not know the call {kind.__name__}.", call=kind.__name__)
            async with asyncio.timeout(request.seconds):
                facts = await handler(request.call, Work(say))
            return w.reply(request.n, facts)
        except Refusal as no:
            if no.inner:
                log.warning("call refused", call=kind.__name__, key=request.key, text=no.text, inner=no.inner)
            return w.refusal(request.n, no.key, no.text, no.facts)
        except TimeoutError:
            no = Unreachable(f"{kind.__name__} did not finish within {request.seconds:.0f} s on this host.", call=kind.__name__)
            return w.refusal(request.n, no.key, no.text, no.facts)
        except asyncio.CancelledError:
            if before is None and asyncio.current_task() is not None and asyncio.current_task().cancelling() and not request.key:  # type: ignore[union-attr]
                raise
            return w.refusal(request.n, Cancelled.__name__, f"{kind.__name__} was cancelled.")
        except Exception as broken:
            log.exception("call failed", call=kind.__name__, key=request.key)
            no2 = Failed(f"{kind.__name__} failed on this host: {broken}", call=kind.__name__)
            return w.refusal(request.n, no2.key, no2.text, no2.facts)
