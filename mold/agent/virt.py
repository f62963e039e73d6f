"""The line to libvirtd: blocking calls in a bounded pool of threads, each with a deadline; reconnects by itself.

A call that libvirt never answers costs one thread and an `Unreachable`, not the agent.  Guests do not depend on
libvirtd: when it is killed they run on, and the next call finds the new one.  A call is never repeated here:
when the line broke under it, nobody knows whether it happened, and that is what `Unreachable` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

import libvirt
import structlog

from mold.agent.serve import Work
from mold.base.errors import Failed, Unreachable

log = structlog.get_logger()
T = TypeVar("T")

THREADS = 8
SECONDS = 30.0
KEEPALIVE_SECONDS = 5
KEEPALIVE_MISSES = 3

_loop_started = threading.Lock()
_loop_thread: threading.Thread | None = None


@dataclass(frozen=True)
class Event:
    """Something happened to a guest: `what` is `lifecycle` or `reboot`."""

    what: str
    name: str
    id: str


class Threads:
    """A few daemon threads. Unlike an executor's, a thread that hangs does not keep the process from ending."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have `function` run in one of the threads; a future not yet begun can be cancelled."""
        future: Future[T] = Future()
        self._jobs.put((future, function))
        return future

    def close(self) -> None:
        """End the threads that are idle, and the others after what they do."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)


class Virt:
    """One agent's line to libvirtd at `uri`, opened when first needed."""

    def __init__(self, uri: str, threads: int = THREADS) -> None:
        self.uri = uri
        self._threads = Threads(threads, "libvirt")
        self._opening = threading.Lock()
        self._connection: Any = None
        self._closed = False
        self._listeners: dict[int, Callable[[Event], None]] = {}
        self._numbers = itertools.count()

    async def call(
        self, doing: str, function: Callable[[Any], T], work: Work | None = None, seconds: float = SECONDS
    ) -> T:
        """The result of `function(connection)`, run in a thread. `doing` completes "libvirt did not ...".

        Unreachable when it takes longer than `seconds`, or the line breaks under it; libvirt's own refusals come
        as libvirt.libvirtError, for those who know what they mean.
        """
        running = self._threads.submit(lambda: function(self._open()))
        try:
            return await (work or Work()).thread(running, seconds)
        except TimeoutError:
            raise Unreachable(f"libvirt did not {doing} within {seconds:.0f} s on this host.") from None
        except libvirt.libvirtError as error:
            if is_down(error):
                raise Unreachable(f"libvirt went away, or is not there, to {doing}: {error}") from error
            raise

    def listen(self, hear: Callable[[Event], None]) -> Callable[[], None]:
        """Call `hear` in the running event loop at every event of any guest; returns what ends that."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)

        def pass_on(event: Event) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(hear, event)

        self._listeners[number] = pass_on
        return lambda: self._listeners.pop(number, None) and None

    def close(self) -> None:
        """Let libvirtd go, without waiting for calls that hang."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            self._threads.submit(connection.close)
        self._threads.close()

    def _open(self) -> Any:
        with self._opening:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            if self._closed:
                raise Unreachable("This agent is ending.")
            _start_event_loop()
            if self._connection is not None:
                with contextlib.suppress(libvirt.libvirtError):
                    self._connection.close()
                self._connection = None
            connection = libvirt.open(self.uri)
            _keep_alive(connection)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._reboot, None)
            self._connection = connection
            log.info("libvirt connected", uri=self.uri)
            return connection

    def _lifecycle(self, _connection: Any, domain: Any, _event: int, _detail: int, _opaque: Any) -> None:
        self._tell(Event("lifecycle", domain.name(), domain.UUIDString()))

    def _reboot(self, _connection: Any, domain: Any, _opaque: Any) -> None:
        self._tell(Event("reboot", domain.name(), domain.UUIDString()))

    def _tell(self, event: Event) -> None:
        for hear in list(self._listeners.values()):
            hear(event)


_LINE_ERRORS = (
    libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR,
)  # fmt: skip


def is_down(error: libvirt.libvirtError) -> bool:
    """Whether the error is about the line to libvirtd and not about what was asked."""
    domain, code = error.get_error_domain(), error.get_error_code()
    if code in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN):
        return True
    # "client socket is closed" and "End of file while reading data" come from the RPC client itself.
    return bool(domain == libvirt.VIR_FROM_RPC and code in (*_LINE_ERRORS, libvirt.VIR_ERR_INTERNAL_ERROR))


def said(error: libvirt.libvirtError, doing: str) -> Failed:
    """libvirt's refusal as one of ours."""
    return Failed(f"libvirt could not {doing}: {error}", code=error.get_error_code())


def _keep_alive(connection: Any) -> None:
    """Have libvirt notice a daemon that is stopped or stuck; its calls then fail instead of hanging for ever."""
    try:
        connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_MISSES)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def _start_event_loop() -> None:
    """libvirt's own event loop, one thread per process: events and keepalives, whatever loop the agent runs on."""
    global _loop_thread
    with _loop_started:
        if _loop_thread is None:
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            _loop_thread = threading.Thread(target=_turn, name="libvirt-events", daemon=True)
            _loop_thread.start()


def _turn() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
