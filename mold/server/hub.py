"""The hub: agents connected to this manager, and the way to those connected to others.

Agents come in over mutual TLS on the agent port.  A call to a host goes to its agent here, or is relayed to the manager
that holds it, or, for a simulated host without an agent (it has no guid), to the simulator in this process.  A certificate speaks for
one agent: the first it is used for.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from cryptography import x509
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from mold.base import ids
from mold.base.errors import Denied, Failed, Fenced, Unreachable, revive
from mold.features.care import power
from mold.features.infra import certificates, hosts
from mold.features.infra.certificates import MANAGER_NAME, Certificate
from mold.features.infra.hosts import Host, link
from mold.plugins.simulator import Simulator
from mold.store import Tx
from mold.wire import calls as w
from mold.work import Engine
from mold.work.job import session

log = structlog.get_logger()
HANDSHAKES = 64
FLUSH_SECONDS = 1.0
ROUTE_SECONDS = 5.0


class Line:
    """One connection on which requests are sent and replies come back."""

    def __init__(self, socket: Any, name: str) -> None:
        self.socket = socket
        self.name = name
        self.waiting: dict[int, tuple[asyncio.Future[w.Reply], Callable[[float, str], None] | None]] = {}
        self.numbers = itertools.count(1)

    async def ask(
        self, request_of: Callable[[int], bytes], seconds: float, say: Callable[[float, str], None] | None
    ) -> w.Reply:
        """Send a frame made for a fresh number and wait for its reply; Unreachable without one."""
        n = next(self.numbers)
        future: asyncio.Future[w.Reply] = asyncio.get_running_loop().create_future()
        self.waiting[n] = (future, say)
        try:
            try:
                await self.socket.send(request_of(n))
            except ConnectionClosed:
                raise Unreachable(f"The connection to {self.name} has just ended.", host=self.name) from None
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            self._cancel(n)
            raise Unreachable(f"{self.name} gave no answer within {seconds:.0f} s.", host=self.name) from None
        except asyncio.CancelledError:
            self._cancel(n)
            raise
        finally:
            self.waiting.pop(n, None)

    def _cancel(self, n: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            task = asyncio.ensure_future(self.socket.send(w.pack(w.Cancel(n=n))))
            task.add_done_callback(lambda t: t.cancelled() or t.exception())

    def heard(self, frame: w.Reply | w.Progress) -> None:
        """A reply or progress has come in."""
        found = self.waiting.get(frame.n)
        if found is None:
            return
        future, say = found
        if isinstance(frame, w.Progress):
            if say is not None:
                say(frame.percent, frame.text)
        elif not future.done():
            future.set_result(frame)

    def lost(self) -> None:
        """The connection has ended: nobody knows what became of what was asked."""
        for future, _ in self.waiting.values():
            if not future.done():
                future.set_exception(
                    Unreachable(f"The connection to {self.name} ended before it answered.", host=self.name)
                )


def facts_from(call: w.Call, reply: w.Reply) -> w.Facts:
    """The facts of a reply, or the refusal in it raised."""
    if reply.error:
        if reply.error == "Fenced":
            raise Fenced(reply.text)
        raise revive(reply.error, reply.text, dict(reply.params))
    try:
        return w.facts_of(call, bytes(reply.facts))
    except msgspec.DecodeError as broken:
        raise Failed(
            "The host answered something that is no answer to this call; its agent may be of another version.",
            inner=str(broken),
        ) from None


class Hub:
    """Agents, other managers and simulated hosts. `World` of the engine."""

    def __init__(self, simulator: Simulator | None = None) -> None:
        self.simulator = simulator or Simulator()
        self.engine: Engine | None = None
        self.lines: dict[str, Line] = {}
        """Agents connected here, by guid."""
        self.streams: dict[str, asyncio.Future[ServerConnection]] = {}
        """Streams that hosts were asked to open, by ticket."""
        self._routes: dict[str, tuple[float, str, str]] = {}
        self._peers: dict[str, Line] = {}
        self._reports: dict[str, w.HostReport] = {}
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gate = asyncio.Semaphore(HANDSHAKES)
        self._client: ssl.SSLContext | None = None
        self.address = ""
        self.ping_seconds = 10.0

    # -- asking ------------------------------------------------------------------------------------------------

    async def ask(
        self,
        host: str,
        call: w.Call,
        *,
        key: str = "",
        epoch: int = 0,
        seconds: float = 30,
        say: Callable[[float, str], None] | None = None,
    ) -> w.Facts:
        """Ask a host by its id."""
        guid, hypervisor = await self._route(host)
        if hypervisor == "Simulator" and not guid:
            return await self.simulator.ask(host, call, key=key, epoch=epoch, seconds=seconds, say=say)
        known: Any = call
        line = self.lines.get(guid)
        if line is not None:
            reply = await line.ask(
                lambda n: w.pack(w.Request(n=n, call=known, seconds=seconds, key=key, epoch=epoch)), seconds + 2, say
            )
            return facts_from(call, reply)
        holder = await self._holder(guid)
        if holder is not None:
            peer = await self._peer(*holder)
            request = w.Request(n=0, call=known, seconds=seconds, key=key, epoch=epoch)
            reply = await peer.ask(lambda n: w.pack(w.Relay(n=n, host=guid, request=request)), seconds + 4, say)
            return facts_from(call, reply)
        raise Unreachable("The host's agent is not connected to any manager.", host=host)

    async def _route(self, host: str) -> tuple[str, str]:
        known = self._routes.get(host)
        if known is not None and time.monotonic() - known[0] < ROUTE_SECONDS * (12 if known[2] == "Simulator" else 1):
            return known[1], known[2]
        assert self.engine is not None
        row = await self.engine.reading(
            lambda tx: tx.execute(
                sa.select(Host.c.guid, Host.c.hypervisor, Host.c.url).where(Host.c.id == host)
            ).first()
        )
        if row is None:
            raise Unreachable("The host is not in the cloud any more.", host=host)
        self._routes[host] = (time.monotonic(), row[0] or "", row[1])
        return row[0] or "", row[1]

    async def _holder(self, guid: str) -> tuple[str, str] | None:
        """(session, address) of the other manager that holds an agent."""
        if not guid:
            return None
        assert self.engine is not None
        mine = self.engine.session
        row = await self.engine.reading(
            lambda tx: tx.execute(
                sa.select(session.c.id, session.c.address)
                .join(link, link.c.session == session.c.id)
                .where(link.c.guid == guid, session.c.id != mine)
            ).first()
        )
        return (row[0], row[1]) if row is not None and row[1] else None

    async def _peer(self, session_id: str, address: str) -> Line:
        peer = self._peers.get(session_id)
        if peer is not None:
            return peer
        try:
            socket = await asyncio.wait_for(
                connect(
                    f"wss://{address}/peer",
                    ssl=self._client,
                    server_hostname=MANAGER_NAME,
                    max_size=w.FRAME_MAX,
                    open_timeout=5,
                ),
                6,
            )
        except (OSError, TimeoutError) as broken:
            raise Unreachable(f"The manager at {address} does not answer.", inner=str(broken)) from None
        peer = self._peers[session_id] = Line(socket, f"manager {address}")
        self._spawn(self._hear_peer(session_id, peer))
        return peer

    async def _hear_peer(self, session_id: str, peer: Line) -> None:
        try:
            async for data in peer.socket:
                frame = w.for_manager(data)
                if isinstance(frame, w.Reply | w.Progress):
                    peer.heard(frame)
        except (ConnectionClosed, msgspec.DecodeError):
            pass
        finally:
            self._peers.pop(session_id, None)
            peer.lost()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stream(
        self, host: str, make: Callable[[str, str], w.Call], seconds: float = 10
    ) -> tuple[ServerConnection, asyncio.Task[Any]]:
        """Have a host open a stream to this manager; `make(address, ticket)` is the call that asks it to.

        Returns the stream and the task that waits for the call's answer.
        """
        ticket = ids.token(24)
        future: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
        self.streams[ticket] = future
        call = make(self.address, ticket)
        asked = asyncio.create_task(self.ask(host, call, seconds=type(call).seconds))
        self._tasks.add(asked)
        asked.add_done_callback(self._tasks.discard)
        try:
            waiting: set[asyncio.Future[Any]] = {asked, future}
            done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if future in done:
                return future.result(), asked
            if asked in done:
                asked.result()
                return await asyncio.wait_for(future, seconds), asked
            asked.cancel()
            raise Unreachable(f"The host did not open a stream within {seconds:.0f} s.", host=host)
        finally:
            self.streams.pop(ticket, None)

    # -- serving -----------------------------------------------------------------------------------------------

    async def start(self, engine: Engine, *, bind: str, port: int, address: str) -> int:
        """Listen for agents; returns the port. The engine must be able to write."""
        self.engine = engine
        own, key, ca = await engine.writing(lambda tx: certificates.issue(tx, MANAGER_NAME, server=True, days=365))
        self.ping_seconds = float(await engine.reading(hosts.PING_SECONDS.get))
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "manager.pem"
            pem.touch(0o600)
            pem.write_text(key + own)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(pem)
            context.load_verify_locations(cadata=ca)
            context.verify_mode = ssl.CERT_REQUIRED
            self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._client.load_cert_chain(pem)
            self._client.load_verify_locations(cadata=ca)
        self._server = await serve(
            self._accept,
            bind,
            port,
            ssl=context,
            max_size=w.FRAME_MAX,
            compression=None,
            ping_interval=20,
            ping_timeout=20,
            open_timeout=15,
            write_limit=1 << 18,
            server_header=None,
        )
        actual = int(next(iter(self._server.sockets)).getsockname()[1])
        host = address.rsplit(":", 1)[0] if address else "127.0.0.1"
        self.address = f"{host}:{actual}"
        engine.address = self.address
        self._spawn(self._flush())
        return actual

    async def stop(self) -> None:
        """Close all connections."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, socket: ServerConnection) -> None:
        path = socket.request.path if socket.request else ""
        tls = socket.transport.get_extra_info("ssl_object")
        try:
            certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
            name = str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        except (ValueError, IndexError, TypeError, AttributeError):
            await socket.close(4401, "certificate cannot be read")
            return
        assert self.engine is not None
        async with self._gate:
            if await self.engine.reading(lambda tx: certificates.revoked(tx, certificate.serial_number)):
                await socket.close(4403, "certificate is revoked or unknown")
                return
        if path == "/agent":
            await self._agent(socket, name, certificate.serial_number)
        elif path.startswith("/stream/"):
            await self._opened(socket, path.removeprefix("/stream/"))
        elif path == "/peer" and name == MANAGER_NAME:
            await self._peer_in(socket)
        else:
            await socket.close(4404, "no such path")

    async def _opened(self, socket: ServerConnection, ticket: str) -> None:
        future = self.streams.get(ticket)
        if future is None or future.done():
            await socket.close(4404, "no such ticket")
            return
        future.set_result(socket)
        await socket.wait_closed()

    async def _agent(self, socket: ServerConnection, name: str, serial: int) -> None:
        assert self.engine is not None
        engine = self.engine
        line: Line | None = None
        guid = ""
        try:
            hello = w.for_manager(await asyncio.wait_for(socket.recv(decode=False), 15))
            if not isinstance(hello, w.Hello) or not hello.facts.guid:
                await socket.close(4400, "the first frame must be Hello")
                return
            guid = hello.facts.guid
            host = await engine.writing(lambda tx: self._admit(tx, hello.facts, serial))
            line = Line(socket, hello.facts.name)
            old = self.lines.get(guid)
            self.lines[guid] = line
            if old is not None:
                await old.socket.close(4409, "the agent has connected again")
            log.info(
                "agent connected", name=hello.facts.name, certificate=name, guid=guid, host=host.name if host else None
            )
            await socket.send(
                w.pack(w.Welcome(manager=engine.manager, host=host.id if host else "", ping_seconds=self.ping_seconds))
            )
            async for data in socket:
                frame = w.for_manager(data if isinstance(data, bytes) else data.encode())
                if isinstance(frame, w.Reply | w.Progress):
                    line.heard(frame)
                elif isinstance(frame, w.Report):
                    self._reports[guid] = frame.report
                    await socket.send(w.pack(w.Pong()))
        except (ConnectionClosed, TimeoutError):
            pass
        except msgspec.DecodeError as broken:
            log.warning("agent sent something unreadable; closing", name=name, error=str(broken)[:200])
            await socket.close(4400, "unreadable frame")
        except Denied as no:
            log.warning("agent refused", name=name, guid=guid, text=no.text)
            await socket.close(4403, no.text[:120])
        finally:
            if line is not None:
                line.lost()
                if self.lines.get(guid) is line:
                    del self.lines[guid]
                    if not engine.stopping:
                        with contextlib.suppress(RuntimeError):
                            await engine.writing(lambda tx: hosts.unlinked(tx, guid, engine.session))
                    log.info("agent disconnected", name=line.name, guid=guid)

    def _admit(self, tx: Tx, facts: w.HostFacts, serial: int) -> Host | None:
        assert self.engine is not None
        held = tx.first(Certificate, Certificate.c.serial == f"{serial:x}")
        if held is None:
            raise Denied("The certificate is not of this installation.")
        if held.guid is None:
            tx.set(held, guid=facts.guid)
        elif held.guid != facts.guid:
            raise Denied(f"This certificate belongs to another agent ({held.guid}); give this one its own.")
        other = tx.first(
            Certificate,
            Certificate.c.guid == facts.guid,
            Certificate.c.subject != held.subject,
            Certificate.c.revoked.is_(None),
        )
        if other is not None:
            raise Denied(f"The agent {facts.guid} is known under the certificate of {other.subject}.")
        return hosts.linked(tx, facts, self.engine.session)

    async def _peer_in(self, socket: ServerConnection) -> None:
        """Another manager relays calls to agents that are connected here."""

        async def serve_one(frame: w.Relay) -> None:
            line = self.lines.get(frame.host)
            request = frame.request
            try:
                if line is None:
                    raise Unreachable("The host's agent is not connected to this manager any more.")
                reply = await line.ask(
                    lambda n: w.pack(
                        w.Request(n=n, call=request.call, seconds=request.seconds, key=request.key, epoch=request.epoch)
                    ),
                    request.seconds + 2,
                    lambda p, t: self._spawn(_quiet(socket.send(w.pack(w.Progress(n=frame.n, percent=p, text=t))))),
                )
                reply.n = frame.n
                data = w.pack(reply)
            except Unreachable as no:
                data = w.refusal(frame.n, no.key, no.text, no.facts)
            await _quiet(socket.send(data))

        try:
            async for data in socket:
                frame = w.for_manager(data if isinstance(data, bytes) else data.encode())
                if isinstance(frame, w.Relay):
                    self._spawn(serve_one(frame))
        except (ConnectionClosed, msgspec.DecodeError):
            pass

    async def _flush(self) -> None:
        """Write what agents reported: all of them in one statement, once a second."""
        assert self.engine is not None
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            reports, self._reports = self._reports, {}
            if not reports:
                continue
            try:
                await self.engine.writing(functools.partial(_told, reports))
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("reports could not be written; the next ones will be")


def _told(reports: dict[str, w.HostReport], tx: Tx) -> None:
    hosts.beat(tx, reports)
    power.follow(tx, reports)


async def _quiet(sending: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        await sending
