"""The link to the managers: one WebSocket to one of them at a time, over mutual TLS.

The agent dials and takes the first manager that answers, in an order of its own making so that many agents spread.
When the link breaks, calls that run go on; their replies are dropped with the link they came by, and a manager
that still wants to know asks again.  Guests and routers never notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from mold.agent import config, streams
from mold.agent.config import Address, Settings
from mold.agent.serve import Desk
from mold.base.errors import Failed, Refusal
from mold.wire import calls as w

log = structlog.get_logger()
T = TypeVar("T")

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 30.0
WELCOME_SECONDS = 20.0
STEADY_SECONDS = 10.0
"""A link that held this long was good: after it the first wait is short again."""
SETTLE_SECONDS = 0.05
"""Events come in bursts; a report waits this long for the rest of one."""
QUEUE_MAX = 256
PING_MIN, PING_MAX = 0.05, 300.0
POLICY_VIOLATION = 1008


class Garbage(Exception):
    """A manager sent what is not a frame."""


class Place(Protocol):
    """What a link reads and changes of the agent it belongs to; see `Here`."""

    settings: Settings
    dismissed: bool
    renewed: bool


class Eyes(Protocol):
    """What a link tells of its host. `facts.Reporter` looks at a real one."""

    async def gather(self, towards: str) -> w.HostFacts:
        """What the host is; `towards` is its own address on the way to the manager."""

    async def report(self) -> w.HostReport | None:
        """How the host does; None: nothing was seen yet."""

    def listen(self, hear: Callable[[], None]) -> Callable[[], None]:
        """Call `hear` whenever a guest changes, until what is returned is called."""

    def close(self) -> None:
        """Look no more."""


class Link:
    """Keeps the agent connected until `stop` is called."""

    def __init__(self, here: Place, desk: Desk, eyes: Eyes, *, backoff: float = BACKOFF_LAST) -> None:
        """`backoff` is the longest wait between two attempts to connect, seconds."""
        self._here = here
        self._desk = desk
        self._eyes = eyes
        self._backoff = backoff
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Close the link and let `run` return; calls that run are cancelled and ended first."""
        self._stopping.set()

    async def run(self) -> None:
        """Connect, serve, connect again; returns after `stop`, or when a manager dismissed this host."""
        wait = BACKOFF_FIRST
        try:
            while not self._stopping.is_set() and not self._here.dismissed:
                managers = self._managers()
                held = 0.0
                for manager in managers:
                    held = await self._try(manager)
                    if held or self._stopping.is_set() or self._here.dismissed:
                        break
                wait = BACKOFF_FIRST if held >= STEADY_SECONDS or self._here.renewed else min(wait * 2, self._backoff)
                self._here.renewed = False
                if not self._here.dismissed:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), wait * random.uniform(0.5, 1.0))
        finally:
            for call in self._calls:
                call.cancel()
            if self._calls:
                await asyncio.wait(self._calls)
            self._eyes.close()

    def _managers(self) -> list[Address]:
        """The managers in an order of our own. When there is none, somebody may have written one down meanwhile."""
        here = self._here
        if not here.settings.managers:
            try:
                here.settings = config.load(here.settings.folder)
            except Refusal as no:
                log.warning("settings are wrong", error=no.text)
        managers = list(here.settings.managers)
        random.shuffle(managers)
        return managers

    async def _try(self, manager: Address) -> float:
        """One link to one manager, to its end; how many seconds it held (0: it did not come about)."""
        began = time.monotonic()
        try:
            connection = await self.unless_stopped(streams.dial(self._here.settings, manager, "/agent"))
        except (OSError, WebSocketException, Failed) as error:
            log.warning("manager not reached", manager=str(manager), error=str(error))
            return 0.0
        if connection is None:
            return 0.0
        try:
            await _Session(self, connection, manager).serve()
        except Garbage as garbage:
            log.error("manager sends garbage; link closed", manager=str(manager), error=str(garbage))  # noqa: TRY400 - theirs, not ours
            await connection.close(POLICY_VIOLATION, "not a frame")
        except ConnectionClosed as error:
            log.warning("link lost", manager=str(manager), error=str(error))
        except TimeoutError:
            log.warning("manager does not welcome this host", manager=str(manager))
        finally:
            await connection.close()
        return time.monotonic() - began

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`, or None when the agent is told to end before it is there."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stopping.cancel()

    @property
    def here(self) -> Place:
        """The agent this link belongs to."""
        return self._here

    @property
    def eyes(self) -> Eyes:
        """What looks at the host."""
        return self._eyes

    def start(self, request: w.Request, say: Callable[[float, str], None], reply: Callable[[bytes], None]) -> asyncio.Task[None]:
        """Answer a request in the background, also when the link it came by is gone meanwhile."""

        async def answer() -> None:
            reply(await self._desk.answer(request, say))

        task = asyncio.create_task(answer())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def report(self) -> w.HostReport | None:
        """How the host does."""
        return await self._eyes.report()

    async def until_stopped(self) -> None:
        """Wait for `stop`."""
        await self._stopping.wait()


class _Session:
    """One connection: what is sent on it, what came by it."""

    def __init__(self, link: Link, connection: ClientConnection, manager: Address) -> None:
        self._link = link
        self._connection = connection
        self._manager = manager
        self._outgoing: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._ping_seconds = link.here.settings.ping_seconds
        self._is_over = False

    async def serve(self) -> None:
        """Greet, then serve until the connection ends, the agent stops, or its certificate or managers change."""
        local = self._connection.local_address
        told = await self._link.eyes.gather(str(local[0]) if local and ":" not in str(local[0]) else "")
        await self._connection.send(w.pack(w.Hello(facts=told)))
        async with asyncio.timeout(WELCOME_SECONDS):
            welcome = self._frame(await self._connection.recv())
        if not isinstance(welcome, w.Welcome):
            raise Garbage(f"the first frame is {type(welcome).__name__}, not Welcome")
        self._welcome(welcome)
        end = self._link.eyes.listen(self._changed.set)
        tasks = [asyncio.create_task(each) for each in (self._receive(), self._send(), self._report(), self._link.until_stopped())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            end()
            self._is_over = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _frame(self, data: str | bytes) -> w.ToAgent:
        if isinstance(data, str):
            raise Garbage("a text message")
        try:
            return w.for_agent(data)
        except msgspec.DecodeError as error:
            raise Garbage(str(error)) from error

    def _welcome(self, welcome: w.Welcome) -> None:
        here = self._link.here
        self._ping_seconds = min(max(welcome.ping_seconds, PING_MIN), PING_MAX)
        log.info("welcomed", manager=str(self._manager), name=welcome.manager, host=welcome.host, ping=self._ping_seconds)
        self._managers(welcome.managers)
        here.renewed = False

    def _managers(self, managers: list[str]) -> None:
        """Keep the list of managers that one of them gave, if it is a new one."""
        here = self._link.here
        if not managers or managers == [str(each) for each in here.settings.managers]:
            return
        try:
            found = config.keep_managers(here.settings.folder, managers)
        except Refusal as no:
            log.error("list of managers refused", manager=str(self._manager), error=no.text)  # noqa: TRY400 - it says all there is to say
            return
        here.settings = replace(here.settings, managers=found)

    async def _receive(self) -> None:
        async for data in self._connection:
            frame = self._frame(data)
            match frame:
                case w.Request():
                    self._request(frame)
                case w.Cancel(n=n):
                    if n in self._requests:
                        self._requests[n].cancel()
                case w.Pong(managers=managers):
                    self._managers(managers)
                case w.Welcome():
                    self._welcome(frame)

    def _request(self, request: w.Request) -> None:
        n = request.n

        def say(percent: float, text: str) -> None:
            if not self._is_over and self._outgoing.qsize() < QUEUE_MAX:
                self._outgoing.put_nowait((w.pack(w.Progress(n=n, percent=percent, text=text)), False))

        def reply(data: bytes) -> None:
            if len(data) > w.FRAME_MAX:
                no = Failed(f"The answer to {type(request.call).__name__} has {len(data)} bytes, more than a frame holds.")
                data = w.refusal(n, no.key, no.text)
            if not self._is_over:
                is_last = isinstance(request.call, w.StopAgent | w.InstallCertificate)
                self._outgoing.put_nowait((data, is_last))

        if n in self._requests:
            raise Garbage(f"request {n} is asked twice")
        task = self._link.start(request, say, reply)
        self._requests[n] = task
        task.add_done_callback(lambda _: self._requests.pop(n, None))

    async def _send(self) -> None:
        """Send what waits; returns, which ends the link, after the reply to a call that changes who we are."""
        here = self._link.here
        while True:
            data, is_last = await self._outgoing.get()
            await self._connection.send(data)
            if is_last and (here.dismissed or here.renewed):
                return

    async def _report(self) -> None:
        """Tell how the host does, at every interval and whenever a guest changes."""
        while True:
            self._changed.clear()
            report = await self._link.report()
            if report is not None:
                await self._connection.send(w.pack(w.Report(report=report)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._ping_seconds)
                await asyncio.sleep(SETTLE_SECONDS)
