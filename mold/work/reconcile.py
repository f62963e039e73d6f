"""Reconcilers: functions that look at rows and make the world, or other rows, agree with them.

Each runs on one manager at a time (a lease in the database), every so often, and a second run right after
the first does nothing.  A reconciler takes no input: what it needs to know, it reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from mold.store.settings import Declared

if TYPE_CHECKING:
    from mold.work.engine import Engine

log = structlog.get_logger()
Reconcile = Callable[[], Awaitable[int | None]]


LOOK_SECONDS = 5.0
"""How often a setting that says how often something runs is looked at, so that a change has its effect soon."""


@dataclass(frozen=True)
class Reconciler:
    """A reconciler; `every` in seconds, or the setting that says so."""

    name: str
    every: float | Declared[int]
    function: Reconcile

    @property
    def rhythm(self) -> str:
        """How often it runs, in words."""
        return f"every {self.every.name}" if isinstance(self.every, Declared) else f"every {self.every:g} s"


RECONCILERS: dict[str, Reconciler] = {}


def reconciler(*, every: float | Declared[int]) -> Callable[[Reconcile], Reconcile]:
    """Register an async function that runs every so many seconds (a setting may say how many), the first time soon
    after the start; it may return how many things it put right.
    """

    def keep(function: Reconcile) -> Reconcile:
        RECONCILERS[function.__name__] = Reconciler(function.__name__, every, function)
        return function

    return keep


async def run(engine: Engine) -> None:
    """Run all reconcilers until cancelled."""
    await asyncio.gather(*(_keep(engine, r) for r in RECONCILERS.values()))


async def _keep(engine: Engine, each: Reconciler) -> None:
    every = each.every
    look = LOOK_SECONDS if isinstance(every, Declared) else every
    hold, ran = max(look * 3, 10), float("-inf")
    per = 0.001 if isinstance(every, Declared) and every.unit == "milliseconds" else 1.0
    while True:
        await asyncio.sleep(look)
        try:
            if isinstance(every, Declared) and time.monotonic() < ran + await engine.reading(every.get) * per:
                continue
            if not await engine.writing(lambda tx: engine.own_lease(tx, f"reconciler:{each.name}", hold)):
                continue
            ran = began = time.monotonic()
            done = await each.function()
            if done:
                log.info("reconciled", name=each.name, count=done, seconds=round(time.monotonic() - began, 3))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("reconciler failed; it runs again at its next time", name=each.name)
