"""The hub: agents connected to this manager, and the way to those connected to others.

Agents come in over mutual TLS on the agent port.  A call to a host goes to its agent here, or is relayed to the manager
that holds it, or, for a simulated host without an agent (it has no guid), to the simulator in this process.  A
certificate speaks for one agent: the first it is used for.  Nothing that an agent says is believed before it was looked
at: what cannot be true, or cannot be kept in the database, ends the connection, and the host is Alert until it comes back
and behaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import math
import re
import ssl
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from cryptography import x509
from sqlalchemy.exc import DBAPIError
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from mold.base import clock, ids, net
from mold.base.errors import Denied, Fact, Fenced, Refusal, Unreachable, revive
from mold.features.care import power, stats
from mold.features.infra import certificates, hosts
from mold.features.infra.certificates import MANAGER_NAME, Certificate
from mold.features.infra.hosts import Host, link
from mold.plugins.simulator import Simulator
from mold.store import Tx
from mold.wire import calls as w
from mold.work import Engine
from mold.work.job import alive, session

log = structlog.get_logger()
HANDSHAKES = 64
FLUSH_SECONDS = 1.0
ROUTE_SECONDS = 5.0
STALL_SECONDS = 60.0
"""A stream may stand still for so long: longer than a browser, whose own keepalive ends a console after 40 s."""
HANDSHAKE_SECONDS = 10.0
"""For TLS, for HTTP, and for the first frame, each."""
QUEUE_FRAMES = 4
BARRED_SECONDS = 10.0
"""An agent that sent what cannot be is not listened to for so long, so that it costs nothing meanwhile."""
GONE_SECONDS = 600.0
"""Agents are told of a manager that died for so long after: it may be the only one that comes back."""
OWN_DAYS = 365
TEXT_MAX = 4000
FACTS_MAX = 50
INTEGER_MAX = 1 << 62
_GUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


HANG_UP_SECONDS = 15.0


class Lie(Exception):
    """An agent sent what cannot be true, or what is no frame."""


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
            async with asyncio.timeout(seconds):  # sending waits, too, when the other side does not read
                try:
                    await self.socket.send(request_of(n))
                except ConnectionClosed:
                    raise Unreachable(f"The connection to {self.name} has just ended.", host=self.name) from None
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
            if say is not None and not math.isnan(frame.percent):
                say(min(max(frame.percent, 0.0), 100.0), plain(frame.text, 200))
        elif not future.done():
            future.set_result(frame)

    def lost(self) -> None:
        """The connection has ended: nobody knows what became of what was asked."""
        for future, _ in self.waiting.values():
            if not future.done():
                future.set_exception(
                    Unreachable(f"The connection to {self.name} ended before it answered.", host=self.name)
                )


def plain(text: str, most: int = TEXT_MAX) -> str:
    """What a host wrote, fit to be stored and shown: no control characters, not too long."""
    return _UNPRINTABLE.sub(" ", text[:most])


def check(value: object) -> None:
    """Lie when something in a host's answer cannot be kept: a number out of range, or a NUL in a text."""
    if isinstance(value, str):
        if "\0" in value:
            raise Lie("a text with a NUL in it")
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise Lie(f"the number {value}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Lie(f"the number {value}")
    elif isinstance(value, dict):
        for each in (*value, *value.values()):
            check(each)
    elif isinstance(value, list | tuple):
        for each in value:
            check(each)


def facts_from(call: w.Call, reply: w.Reply) -> w.Facts:
    """The facts of a reply, or the refusal in it raised; Unreachable when it is no answer to this call."""
    if reply.error:
        if reply.error == "Fenced":
            raise Fenced(plain(reply.text))
        told: dict[str, Fact] = {
            plain(str(name), 80): plain(value) if isinstance(value, str) else value
            for name, value in itertools.islice(reply.params.items(), FACTS_MAX)
            if value is None or isinstance(value, str | bool | int)
        }
        raise revive(reply.error, plain(reply.text), told)
    try:
        facts = w.facts_of(call, bytes(reply.facts))
        check(msgspec.to_builtins(facts))
    except (msgspec.DecodeError, Lie) as broken:
        raise Unreachable(
            f"The host answered {type(call).__name__} with something that is no answer to it, so nobody knows what it did; "
            "its agent may be of another version. Set the agent up again with this manager's version.",
            inner=str(broken),
        ) from None
    return facts


def believable(facts: w.HostFacts) -> w.HostFacts:
    """What an agent says its host is, when it can be true; else Lie."""
    if not _GUID.fullmatch(facts.guid) or facts.guid.startswith("sim-"):
        raise Lie("a guid of a form that none has")
    if not 0 < len(facts.name) <= 255 or plain(facts.name) != facts.name:
        raise Lie("a name of a form that none has")
    for what, number, top in (
        ("cores", facts.cores, 1 << 16),
        ("sockets", facts.sockets, 1 << 16),
        ("MHz", facts.mhz, 1 << 20),
        ("bytes of memory", facts.memory, 1 << 50),
    ):
        if not 0 <= number <= top:
            raise Lie(f"{number} {what}")
    texts = (facts.hypervisor, facts.version, facts.hypervisor_version, facts.arch, facts.domain_type, facts.boot_id)
    if any(len(each) > 255 or "\0" in each for each in texts):
        raise Lie("a version or architecture of a form that none has")
    if len(facts.addresses) > 1000 or len(facts.problems) > 1000 or len(facts.capabilities) > 1000:
        raise Lie("thousands of addresses or problems")
    try:
        for each in facts.addresses:
            net.ip(each, "address")
    except Refusal:
        raise Lie("an address that is none") from None
    return msgspec.structs.replace(facts, problems=[plain(each, 500) for each in facts.problems])


def fits(report: w.HostReport) -> w.HostReport:
    """A report when it can be true; else Lie. One that cannot be stored would take all others of its second with it."""
    for number in (report.memory_used, report.received, report.sent):
        if not 0 <= number <= INTEGER_MAX:
            raise Lie(f"a report with the number {number}")
    for each in (report.cpu_percent, report.load, report.at):
        if not math.isfinite(each) or each < 0:
            raise Lie(f"a report with the number {each}")
    return report


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
        self._peers: dict[str, asyncio.Task[Line]] = {}
        self._sockets: dict[int, set[ServerConnection]] = defaultdict(set)
        """Connections by the serial number of the certificate they came with."""
        self._barred: dict[int, float] = {}
        self._managers: list[str] = []
        self._seen: dict[str, float] = {}
        self._revoked_since = 0.0
        self._own_renewal = math.inf
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        self._reports: dict[str, w.HostReport] = {}
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._gate = asyncio.Semaphore(HANDSHAKES)
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
        """The line to another manager, made when first asked for; all who ask meanwhile wait for the same one."""
        making = self._peers.get(session_id)
        if making is None:
            making = self._peers[session_id] = asyncio.create_task(self._call_on(session_id, address))
            self._tasks.add(making)
            making.add_done_callback(self._tasks.discard)
        return await asyncio.shield(making)

    async def _call_on(self, session_id: str, address: str) -> Line:
        assert self._contexts is not None
        try:
            socket = await connect(
                f"wss://{address}/peer",
                ssl=self._contexts[1],
                server_hostname=MANAGER_NAME,
                max_size=w.FRAME_MAX,
                open_timeout=5,
                compression=None,
                proxy=None,
            )
        except (OSError, TimeoutError, WebSocketException) as broken:
            self._peers.pop(session_id, None)
            raise Unreachable(
                f"The host's agent is connected to the manager at {address}, which does not answer.", inner=str(broken)
            ) from None
        peer = Line(socket, f"manager {address}")
        self._spawn(self._hear_peer(session_id, peer))
        return peer

    async def _hear_peer(self, session_id: str, peer: Line) -> None:
        try:
            async for data in peer.socket:
                frame = w.for_manager(data if isinstance(data, bytes) else data.encode())
                if isinstance(frame, w.Reply | w.Progress):
                    peer.heard(frame)
        except ConnectionClosed:
            pass
        except msgspec.DecodeError as broken:
            log.warning("a manager sent something unreadable; closing", manager=peer.name, error=str(broken)[:200])
            await peer.socket.close(1008)
        finally:
            self._peers.pop(session_id, None)
            peer.lost()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stream(
        self, host: str, make: Callable[[str, str], w.Call], seconds: float = 10
    ) -> tuple[ServerConnection, asyncio.Task[Any]]:
        """Have a host open a stream to this manager; `make(address, ticket)` is the call that asks it to.

        Returns the stream and the task that waits for the call's answer.  The caller closes the stream.
        """
        ticket = ids.token(24)
        future: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
        self.streams[ticket] = future
        call = make(self.address, ticket)
        asked = asyncio.create_task(self.ask(host, call, seconds=type(call).seconds))
        self._tasks.add(asked)
        asked.add_done_callback(self._tasks.discard)
        # Who only wants the stream never looks at the answer; a refusal that comes after it is no surprise.
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(seconds):
                waiting: set[asyncio.Future[Any]] = {asked, future}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not future.done():
                    asked.result()
                return await future, asked
        except BaseException as broken:
            asked.cancel()
            if future.done() and not future.cancelled():
                self._spawn(future.result().close())
            if isinstance(broken, TimeoutError):
                raise Unreachable(f"The host did not open a stream within {seconds:.0f} s.", host=host) from None
            raise
        finally:
            future.cancel()
            self.streams.pop(ticket, None)

    async def pour(self, host: str, make: Callable[[str, str], w.Call], pieces: AsyncIterator[bytes]) -> w.Facts:
        """Send bytes to a host over a stream that it opens; the code of the stream's end says whether they are whole."""
        guid, hypervisor = await self._route(host)
        if hypervisor == "Simulator" and not guid:
            return await self.simulator.pour(host, make, pieces)
        stream, asked = await self.stream(host, make)
        is_whole = False
        try:
            with contextlib.suppress(ConnectionClosed):  # the host's answer says why it hung up
                is_whole = await _poured(stream, asked, pieces)
        finally:
            await stream.close(*((1000, "") if is_whole else (1011, "the bytes are not whole")))
            if not is_whole:
                # Let the host throw away what it has before anything else is asked of it.
                await asyncio.wait([asked], timeout=HANG_UP_SECONDS)
        facts: w.Facts = await asked
        return facts

    # -- serving -----------------------------------------------------------------------------------------------

    async def start(self, engine: Engine, *, bind: str, port: int, address: str) -> int:
        """Listen for agents; returns the port. The engine must be able to write."""
        self.engine = engine
        self._revoked_since = time.time()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        self._contexts = (context, client)
        client.load_verify_locations(cadata=await self.identify())
        context.load_verify_locations(cadata=await engine.reading(lambda tx: certificates.authority(tx)[2]))
        self.ping_seconds = float(await engine.reading(hosts.PING_SECONDS.get))
        self._server = await serve(
            self._accept,
            bind,
            port,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            max_size=w.FRAME_MAX,
            max_queue=QUEUE_FRAMES,
            compression=None,
            ping_interval=20,
            ping_timeout=20,
            open_timeout=HANDSHAKE_SECONDS,
            close_timeout=2,
            write_limit=1 << 18,
            server_header=None,
            logger=logging.getLogger("mold.agents"),
        )
        actual = int(next(iter(self._server.sockets)).getsockname()[1])
        host = address.rsplit(":", 1)[0] if address else "127.0.0.1"
        self.address = f"{host}:{actual}"
        engine.address = self.address
        await self._gather()
        self._spawn(self._flush())
        self._spawn(self._tend())
        return actual

    async def identify(self, days: int = OWN_DAYS) -> str:
        """Take a fresh certificate for this manager; connections made from now on show it. Returns the authority, PEM."""
        assert self.engine is not None and self._contexts is not None
        own, key, ca = await self.engine.writing(
            lambda tx: certificates.issue(
                tx, MANAGER_NAME, server=True, days=days, guid=self.engine.manager if self.engine else None
            )
        )
        with tempfile.TemporaryDirectory() as folder:  # readable by its owner alone
            pem = Path(folder) / "manager.pem"
            pem.write_text(key + own)
            for context in self._contexts:
                context.load_cert_chain(pem)
        self._own_renewal = time.time() + days * 86400 * 2 / 3
        return ca

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
        serial = certificate.serial_number
        if self._barred.get(serial, 0) > time.monotonic():
            await socket.close(4429, "this agent sent what cannot be; come back later")
            return
        try:
            self._sockets[serial].add(socket)
            async with self._gate:
                # Entered above first: a revocation between the two is found by one or the other.
                if await self.engine.reading(lambda tx: certificates.revoked(tx, serial)):
                    log.warning("certificate refused: revoked, or unknown here", name=name, serial=f"{serial:x}")
                    await socket.close(4403, "certificate is revoked or unknown")
                    return
            if path == "/agent":
                await self._agent(socket, name, serial)
            elif path.startswith("/stream/"):
                await self._opened(socket, path.removeprefix("/stream/"))
            elif path == "/peer" and name == MANAGER_NAME:
                await self._peer_in(socket)
            else:
                await socket.close(4404, "no such path")
        except DBAPIError as broken:
            log.warning("database away; agent told to come again", name=name, error=str(broken.orig)[:200])
            await socket.close(1013, "the database is away")
        finally:
            held = self._sockets[serial]
            held.discard(socket)
            if not held:
                del self._sockets[serial]

    async def _opened(self, socket: ServerConnection, ticket: str) -> None:
        future = self.streams.get(ticket)
        if future is None or future.done():
            await socket.close(4404, "no such ticket")
            return
        # While the far end of a stream is slow nothing is read, keepalive's own frames included.
        socket.ping_timeout = STALL_SECONDS
        future.set_result(socket)
        await socket.wait_closed()

    async def _agent(self, socket: ServerConnection, name: str, serial: int) -> None:
        assert self.engine is not None
        engine = self.engine
        line: Line | None = None
        guid = ""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                hello = _frame(await socket.recv(decode=False))
            if not isinstance(hello, w.Hello):
                raise Lie("another frame before Hello")
            facts = believable(hello.facts)
            host = await engine.writing(lambda tx: self._admit(tx, facts, serial))
            guid = facts.guid
            line = Line(socket, facts.name)
            old = self.lines.get(guid)
            self.lines[guid] = line
            if old is not None:
                await old.socket.close(4409, "the agent has connected again")
            log.info("agent connected", name=facts.name, certificate=name, guid=guid, host=host.name if host else None)
            told = self.managers_for(socket)
            await socket.send(
                w.pack(
                    w.Welcome(
                        manager=engine.manager,
                        host=host.id if host else "",
                        ping_seconds=self.ping_seconds,
                        managers=told,
                    )
                )
            )
            async for data in socket:
                frame = _frame(data)
                if isinstance(frame, w.Reply | w.Progress):
                    line.heard(frame)
                elif isinstance(frame, w.Report):
                    self._reports[guid] = fits(frame.report)
                    known = self.managers_for(socket)
                    await socket.send(w.pack(w.Pong(managers=known if known != told else [])))
                    told = known
                else:
                    raise Lie(f"a frame {type(frame).__name__}, which is not for agents to send")
        except TimeoutError:
            await socket.close(4408, "no Hello came")
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == 1009:
                await self._caught(serial, guid, name, f"a frame larger than {w.FRAME_MAX} bytes")
        except Lie as lie:
            await self._caught(serial, guid, name, str(lie))
            await socket.close(4400, "sent what cannot be")
        except Denied as no:
            log.warning("agent refused", name=name, guid=guid, text=no.text)
            self._bar(serial)
            await socket.close(4403, no.text[:120])
        finally:
            if line is not None:
                line.lost()
                if self.lines.get(guid) is line:
                    del self.lines[guid]
                    self._reports.pop(guid, None)
                    if not engine.stopping:
                        with contextlib.suppress(RuntimeError, DBAPIError):  # else the reconciler finds it
                            await engine.writing(lambda tx: hosts.unlinked(tx, guid, engine.session))
                    log.info("agent disconnected", name=line.name, guid=guid)

    def _bar(self, serial: int) -> None:
        now = time.monotonic()
        self._barred = {each: until for each, until in self._barred.items() if until > now}
        self._barred[serial] = now + BARRED_SECONDS

    async def _caught(self, serial: int, guid: str, name: str, what: str) -> None:
        """An agent lied or babbles: its host is Alert, and nobody listens to it for a while."""
        assert self.engine is not None
        self._bar(serial)
        sentence = f"The agent sent {what[:200]}; it is broken, of another version, or hostile. Set it up again."
        log.warning("agent sent what cannot be; closing", name=name, guid=guid, what=what[:200])
        session_id = self.engine.session

        def note(tx: Tx) -> None:
            held = tx.first(Certificate, Certificate.c.serial == f"{serial:x}")
            known = guid or (held.guid if held is not None else None)
            if known and (guid or known not in self.lines):  # the agent itself may be well, and this somebody else
                hosts.distrust(tx, known, session_id, sentence)

        with contextlib.suppress(DBAPIError):  # else the reconciler finds it
            await self.engine.writing(note)

    def managers_for(self, socket: ServerConnection) -> list[str]:
        """The managers' addresses, as far as the agent at the other end can use them; empty: keep what you have."""
        return self.managers_towards(str((socket.remote_address or ("",))[0]))

    def managers_towards(self, peer: str) -> list[str]:
        """The managers' addresses that an agent at the address `peer` can use."""
        if _loopback(self.address) and not _loopback(peer):
            return []  # this manager does not know its own address out there, so it had better say nothing
        return [each for each in self._managers if _loopback(peer) or not _loopback(each)]

    def _admit(self, tx: Tx, facts: w.HostFacts, serial: int) -> Host | None:
        assert self.engine is not None
        held = tx.first(Certificate, Certificate.c.serial == f"{serial:x}")
        if held is None or held.subject == MANAGER_NAME:
            raise Denied("The certificate is not one of this installation's agents.")
        if held.guid is None:
            other = tx.first(
                Certificate,
                Certificate.c.guid == facts.guid,
                Certificate.c.subject != held.subject,
                Certificate.c.revoked.is_(None),
                Certificate.c.expires > clock.now(),
            )
            if other is not None:
                raise Denied(f"The agent {facts.guid} is known under the certificate of {other.subject}.")
            tx.set(held, guid=facts.guid)
        elif held.guid != facts.guid:
            raise Denied(f"This certificate belongs to another agent ({held.guid}); give this one its own.")
        self.ping_seconds = float(hosts.PING_SECONDS.get(tx))  # so that a change is told to whoever connects next
        return hosts.linked(tx, facts, self.engine.session)

    async def _peer_in(self, socket: ServerConnection) -> None:
        """Another manager relays calls to agents that are connected here."""
        serving: dict[int, asyncio.Task[Any]] = {}

        async def serve_one(frame: w.Relay) -> None:
            line = self.lines.get(frame.host)
            request = frame.request

            def say(percent: float, text: str) -> None:
                self._spawn(_quiet(socket.send(w.pack(w.Progress(n=frame.n, percent=percent, text=text)))))

            try:
                if line is None:
                    raise Unreachable("The host's agent is not connected to this manager any more.")
                reply = await line.ask(
                    lambda n: w.pack(
                        w.Request(n=n, call=request.call, seconds=request.seconds, key=request.key, epoch=request.epoch)
                    ),
                    request.seconds + 2,
                    say,
                )
                reply.n = frame.n
                data = w.pack(reply)
            except Unreachable as no:
                data = w.refusal(frame.n, no.key, no.text, no.facts)
            await _quiet(socket.send(data))

        try:
            async for data in socket:
                frame = _frame(data)
                if isinstance(frame, w.Relay):
                    task = serving[frame.n] = self._spawn(serve_one(frame))
                    task.add_done_callback(lambda _, n=frame.n: serving.pop(n, None))  # type: ignore[misc]
                elif isinstance(frame, w.Cancel) and frame.n in serving:
                    serving[frame.n].cancel()
        except ConnectionClosed:
            pass
        except Lie as broken:
            log.warning("a manager sent something unreadable; closing", error=str(broken)[:200])
            await socket.close(1008)

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

    async def _tend(self) -> None:
        """Once a second: cut agents whose certificate was revoked, learn of managers, renew this manager's certificate."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self._cut()
                await self._gather()
                if time.time() > self._own_renewal:
                    await self.identify()
                    log.info("this manager has a fresh certificate")
            except (DBAPIError, RuntimeError) as broken:
                log.warning("database away", error=str(broken)[:200])

    async def _cut(self) -> None:
        """End the connections whose certificates were revoked since the last look."""
        assert self.engine is not None
        if not self._sockets:
            return
        since, self._revoked_since = clock.at(self._revoked_since - 60), time.time()  # clocks of managers may differ
        for serial in await self.engine.reading(lambda tx: certificates.revoked_since(tx, since)):
            for socket in list(self._sockets.get(serial, ())):
                log.info("certificate revoked; connection cut", serial=f"{serial:x}")
                self._spawn(socket.close(4403, "certificate is revoked"))

    async def _gather(self) -> None:
        """Learn which managers there are. One that is gone stays in the list for a while, behind the others' backs."""
        assert self.engine is not None
        found = await self.engine.reading(
            lambda tx: (
                tx.execute(sa.select(session.c.address).where(alive(tx), session.c.address != "")).scalars().all()
            )
        )
        now = time.monotonic()
        self._seen |= dict.fromkeys([*found, self.address], now)
        self._seen = {each: at for each, at in self._seen.items() if now - at <= GONE_SECONDS}
        managers = sorted(self._seen)
        if managers != self._managers:
            self._managers = managers
            self._spawn(self._announce())

    async def _announce(self) -> None:
        """Tell the agents connected here of all managers, so that they have another to turn to when this one goes."""
        for line in list(self.lines.values()):
            with contextlib.suppress(ConnectionClosed):
                await line.socket.send(w.pack(w.Pong(managers=self.managers_for(line.socket))))


def _frame(data: bytes | str) -> w.ToManager:
    """A frame; Lie when it is none."""
    try:
        return w.for_manager(data if isinstance(data, bytes) else data.encode())
    except msgspec.DecodeError as broken:
        raise Lie(f"what is no frame ({broken})") from None


def _loopback(address: str) -> bool:
    """Whether an address, with or without port, is of this machine only."""
    host = address.rsplit(":", 1)[0] if address.count(":") == 1 or address.startswith("[") else address
    return host.strip("[]") in ("localhost", "::1", "") or host.startswith(("127.", "::ffff:127."))


async def _poured(stream: ServerConnection, asked: asyncio.Task[Any], pieces: AsyncIterator[bytes]) -> bool:
    """Send all pieces; False when the host has answered before the last one."""
    while True:
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            await asyncio.wait({coming, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not coming.done():
                coming.cancel()
        if asked.done():
            return False
        piece = coming.result()
        if piece is None:
            return True
        await stream.send(piece)


def _told(reports: dict[str, w.HostReport], tx: Tx) -> None:
    hosts.beat(tx, reports)
    power.follow(tx, reports)
    stats.note(tx, reports)


async def _quiet(sending: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        await sending
