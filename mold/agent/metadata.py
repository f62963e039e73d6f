"""What guests ask the router over HTTP: user data and metadata on port 80, their password on port 8080.

One process per agent, long-running, apart from the agent (`python -m mold.agent.metadata FOLDER`), so guests are
served while the agent is dead or being replaced.  It opens its sockets *inside* each router's namespace, on the
gateway's address only, and knows a guest by the address it speaks from, within that namespace.  It reads
`FOLDER/routers/*/document` when told to over a socket in `FOLDER/metadata`, and ends when there is no router left.

Guests are hostile: one request per connection, small limits, a deadline for everything.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mold.agent import namespaces
from mold.agent.programs import ENVIRONMENT, alive, end, run, write
from mold.base.errors import Failed
from mold.wire.calls import LeaseSpec, RouterSpec

HEAD_MAX = 8192
HEAD_SECONDS = 5.0
SEND_SECONDS = 30.0
PER_GUEST = 8
PER_ROUTER = 128
WEB_PORT, PASSWORD_PORT = 80, 8080
TAKEN_SPARE = 1000
LOG_MAX = 1_048_576

_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,2047}) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\t -~\x80-\xff]*)")
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
           413: "Content Too Large", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}  # fmt: skip


class Served(msgspec.Struct, kw_only=True):
    """What the process says of itself: router id -> serial of the document it follows, and what went wrong."""

    pid: int
    serving: dict[str, int] = {}
    problems: dict[str, str] = {}


class Answer(msgspec.Struct):
    """An HTTP answer."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"


NO_SUCH = Answer(404, b"Not found\n")


class Guests:
    """The guests of one router, and what each may read."""

    def __init__(self, spec: RouterSpec, folder: Path) -> None:
        self.folder = folder
        self.taken: dict[str, str] = {}
        with suppress(FileNotFoundError, msgspec.DecodeError):
            self.taken = msgspec.json.decode((folder / "taken").read_bytes(), type=dict[str, str])
        self.follow(spec)

    def follow(self, spec: RouterSpec) -> None:
        """Take a newer document."""
        self.spec = spec
        self.by_address = {lease.ip: lease for lease in spec.leases}

    def web(self, address: str, path: str) -> Answer:
        """The answer to a GET on port 80."""
        lease = self.by_address.get(address)
        if lease is None:
            return NO_SUCH
        if path in ("", "/"):
            return Answer(200, b"latest\n")
        if path in ("/latest", "/latest/"):
            return Answer(200, b"user-data\nmeta-data\n")
        item = path.removeprefix("/latest/") if path.startswith("/latest/") else ""
        if item in ("user-data", "user-data/"):
            return Answer(200, base64.b64decode(lease.userdata), "application/octet-stream") if lease.userdata else NO_SUCH
        if item in ("meta-data", "meta-data/"):
            return Answer(200, "".join(f"{name}\n" for name in lease.metadata).encode())
        text = lease.metadata.get(item.removeprefix("meta-data/").removesuffix("/"))
        return NO_SUCH if text is None else Answer(200, text.encode())

    def password(self, address: str, request: str) -> Answer:
        """The answer to a GET on port 8080, whose header `DomU_Request` says `request`."""
        lease = self.by_address.get(address)
        if lease is None:
            return Answer(200, b"bad_request")
        if request == "send_my_password":
            return Answer(200, b"saved_password" if self._has_taken(lease) else lease.password.encode())
        if request == "saved_password":
            try:
                if not self._has_taken(lease):
                    self._take(lease)
            except OSError as no:
                say(f"a taken password of router {self.spec.id} cannot be noted: {no}")
                return Answer(503, b"bad_request")
            return Answer(200, b"saved_password")
        return Answer(200, b"bad_request")

    def _has_taken(self, lease: LeaseSpec) -> bool:
        return not lease.password or self.taken.get(lease.mac.lower()) == lease.password_serial

    def _take(self, lease: LeaseSpec) -> None:
        """Remember on disk, before the guest hears it, that this password is not to be served again."""
        self.taken[lease.mac.lower()] = lease.password_serial
        if len(self.taken) > len(self.spec.leases) + TAKEN_SPARE:
            known = {known.mac.lower() for known in self.spec.leases}
            self.taken = {mac: serial for mac, serial in self.taken.items() if mac in known}
        write(self.folder / "taken", msgspec.json.encode(self.taken).decode(), durable=True)


# -- HTTP, as little as guests need -----------------------------------------------------------------------------


class Refused(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = Answer(status, text.encode() + b"\n")


def parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path (without its query) and headers (names in small letters) of a request's head; Refused when it is wrong."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    first = _REQUEST.fullmatch(lines[0])
    if not first:
        raise Refused(400, "Not an HTTP/1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        found = _HEADER.fullmatch(line)
        if not found:
            raise Refused(400, "Malformed header")
        name = found[1].decode("ascii").lower()
        if name in headers:
            raise Refused(400, "Repeated header")
        headers[name] = found[2].decode("latin-1").strip()
        if len(headers) > 64:
            raise Refused(431, "Too many headers")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise Refused(413, "No request body is read here")
    return first[1].decode("ascii"), first[2].decode("ascii").partition("?")[0], headers


class Listener:
    """The two ports of one router."""

    def __init__(self, guests: Guests, key: tuple[int, str]) -> None:
        self.guests = guests
        self.key = key
        """Which namespace and which address the sockets are bound in; another key means other sockets."""
        self._busy: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, sockets: list[socket.socket]) -> None:
        """Begin to answer on the sockets for port 80 and port 8080."""
        for bound, respond in zip(sockets, (self._web, self._password), strict=True):
            self._servers.append(await asyncio.start_server(self._serve(respond), sock=bound, limit=HEAD_MAX, backlog=128))

    def close(self) -> None:
        """Stop answering, and cut those who are being answered: an open socket would keep the namespace alive."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()

    def _web(self, address: str, path: str, headers: dict[str, str]) -> Answer:
        return self.guests.web(address, path)

    def _password(self, address: str, path: str, headers: dict[str, str]) -> Answer:
        return self.guests.password(address, headers.get("domu_request", ""))

    def _serve(
        self, respond: Callable[[str, str, dict[str, str]], Answer]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            address = str((writer.get_extra_info("peername") or [""])[0])
            self._busy[address] += 1
            try:
                if self._busy[address] > PER_GUEST or self._busy.total() > PER_ROUTER:
                    method, answer = "GET", Answer(503, b"Too many connections\n")
                else:
                    method, answer = await self._ask(reader, address, respond)
                async with asyncio.timeout(SEND_SECONDS):
                    await _send(writer, answer, whole=method != "HEAD")
            except (OSError, TimeoutError, EOFError):
                pass  # the guest went away or is too slow: there is nobody to tell
            finally:
                self._busy[address] -= 1
                if not self._busy[address]:
                    del self._busy[address]
                writer.transport.abort()  # does nothing to one that is closed, and cuts one that does not take its answer

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(talk(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return begin

    async def _ask(
        self, reader: asyncio.StreamReader, address: str, respond: Callable[[str, str, dict[str, str]], Answer]
    ) -> tuple[str, Answer]:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, path, headers = parse(head)
            if method not in ("GET", "HEAD"):
                raise Refused(405, "Only GET and HEAD are answered here")
            return method, respond(address, path, headers)
        except TimeoutError:
            return "GET", Answer(408, b"The request took too long\n")
        except asyncio.LimitOverrunError:
            return "GET", Answer(431, b"The request is too large\n")
        except Refused as no:
            return "GET", no.answer


async def _send(writer: asyncio.StreamWriter, answer: Answer, *, whole: bool) -> None:
    head = (
        f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: {answer.kind}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + (answer.body if whole else b""))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


# -- the process ------------------------------------------------------------------------------------------------


def _bind(address: str) -> list[socket.socket]:
    """Listening sockets on the ports of `address`; runs inside the router's namespace."""
    bound: list[socket.socket] = []
    try:
        for port in (WEB_PORT, PASSWORD_PORT):
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
            one.listen(128)
            one.setblocking(False)
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


class Process:
    """The whole process: all routers of one agent."""

    def __init__(self, folder: Path) -> None:
        self.routers = folder / "routers"
        self.control = folder / "metadata" / "control"
        self.listeners: dict[str, Listener] = {}
        self.problems: dict[str, str] = {}
        self.over = asyncio.Event()
        self._turn = asyncio.Lock()

    async def reload(self, only: str = "") -> None:
        """Read the documents anew (of one router, or of all) and listen accordingly."""
        async with self._turn:
            found = {path.parent.name for path in self.routers.glob("*/document")}
            for one in [only] if only else sorted(found | set(self.listeners)):
                await self._follow(one)
            if not found:
                self.over.set()

    async def _follow(self, one: str) -> None:
        folder = self.routers / one
        self.problems.pop(one, None)
        try:
            spec = msgspec.json.decode((folder / "document").read_bytes(), type=RouterSpec)
            namespace = (folder / "namespace").read_text()
            key = (namespaces.inode(namespace), spec.gateway)
        except FileNotFoundError:
            self._close(one)
            return
        except msgspec.DecodeError as no:
            self.problems[one] = f"The document cannot be read: {no}"
            return
        if "UserData" not in spec.services:
            self._close(one)
            return
        listener = self.listeners.get(one)
        if listener is not None and listener.key == key:
            listener.guests.follow(spec)
            return
        self._close(one)
        try:
            sockets = await asyncio.to_thread(namespaces.inside, namespace, lambda: _bind(spec.gateway))
        except (OSError, Failed) as no:
            self.problems[one] = f"The ports of {spec.gateway} in {namespace} cannot be opened: {no}"
            say(self.problems[one])
            return
        listener = Listener(Guests(spec, folder), key)
        self.listeners[one] = listener
        await listener.open(sockets)
        say(f"router {one} is served in {namespace} on {spec.gateway}")

    def _close(self, one: str) -> None:
        if listener := self.listeners.pop(one, None):
            listener.close()
            say(f"router {one} is served no more")

    def served(self) -> Served:
        """What is served now."""
        serving = {one: listener.guests.spec.serial for one, listener in self.listeners.items()}
        return Served(pid=os.getpid(), serving=serving, problems=self.problems)

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order of the agent: `status`, `reload`, or `reload ID`; answered by `Served` as JSON."""
        try:
            async with asyncio.timeout(60):
                line = (await reader.readline()).decode().split()
                if line[:1] == ["reload"]:
                    await self.reload(line[1] if len(line) > 1 else "")
                if self.over.is_set():
                    # before the answer: nobody may reach a process that is about to end
                    self.control.unlink(missing_ok=True)
                writer.write(msgspec.json.encode(self.served()))
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            say("an order of the agent broke off")
        finally:
            writer.close()

    async def live(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop or until no router is left."""
        loop = asyncio.get_running_loop()
        orders: set[asyncio.Task[None]] = set()

        def reread() -> None:
            task = loop.create_task(self.reload())
            orders.add(task)
            task.add_done_callback(orders.discard)

        loop.add_signal_handler(signal.SIGTERM, self.over.set)
        loop.add_signal_handler(signal.SIGHUP, reread)
        await self.reload()
        self.control.unlink(missing_ok=True)
        with _short(self.control.parent) as short:
            server = await asyncio.start_unix_server(self.obey, f"{short}/control")
        ready()
        await self.over.wait()
        self.control.unlink(missing_ok=True)
        server.close()
        for one in list(self.listeners):
            self._close(one)
        await asyncio.sleep(0.05)


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A short path to a folder: a socket's path has room for 107 characters only."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def say(text: str) -> None:
    """A line for the log of this process. Never a secret."""
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Detach, take the lock, serve. Returns in the starting process once the detached one serves: 0, or 1 with the reason."""
    data = Path(arguments[1]).absolute()
    folder = data / "metadata"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hear, tell = os.pipe()
    if os.fork():
        os.close(tell)
        with os.fdopen(hear, "rb") as pipe:
            text = pipe.read()
        print(text.decode(), file=sys.stderr)
        return 0 if text == b"ready" else 1
    # whatever the starter left open here, it may wait for its end (uvloop leaves its pipes)
    os.closerange(3, tell)
    os.closerange(tell + 1, 4096)
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + 5
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # another is ending, or another was started at the same moment (by an agent that died since) and will do
            if _answers(folder):
                os.write(tell, b"ready")
                return 0
            if time.monotonic() > until:
                os.write(tell, b"Another process serves these routers already, and takes no orders.")
                return 1
            time.sleep(0.02)
    write(folder / "pid", str(os.getpid()))
    _detach_output(folder / "log")

    def ready() -> None:
        os.write(tell, b"ready")
        os.close(tell)

    asyncio.run(Process(data).live(ready))
    (folder / "pid").unlink(missing_ok=True)
    return 0


def _answers(folder: Path) -> bool:
    """Whether a process takes orders already."""
    with _short(folder) as short, socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1)
        return one.connect_ex(f"{short}/control") == 0


def _detach_output(log: Path) -> None:
    """Let go of the starter's input and output, so that nobody waits for them to close."""
    if log.exists() and log.stat().st_size > LOG_MAX:
        log.unlink()
    nothing = os.open("/dev/null", os.O_RDWR)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)


# -- the agent's side -------------------------------------------------------------------------------------------

_starting = asyncio.Lock()


async def tell(data: Path, order: str, seconds: float = 10) -> Served | None:
    """Give the process an order and hear what it serves; None when no process answers."""
    folder = data / "metadata"
    try:
        async with asyncio.timeout(seconds):
            with _short(folder) as short:
                reader, writer = await asyncio.open_unix_connection(f"{short}/control")
            try:
                writer.write(f"{order}\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
        return msgspec.json.decode(answer, type=Served)
    except (OSError, TimeoutError, msgspec.DecodeError):
        return None


async def refresh(data: Path, router: str = "") -> Served:
    """Have the process read the document of one router or of all; starts it when it is dead, and anew when it hangs."""
    order = f"reload {router}".strip()
    async with _starting:
        for _ in range(2):
            if served := await tell(data, order):
                return served
            if pid := alive(data / "metadata" / "pid", str(data)):
                # it may just be ending because its last router went; a process that hangs is ended here
                await end(pid, str(data))
            await run(
                sys.executable, "-m", "mold.agent.metadata", str(data),
                what="Starting the metadata service", environment={**os.environ, "PATH": ENVIRONMENT["PATH"]},
            )  # fmt: skip
        if served := await tell(data, order):
            return served
    raise Failed(f"The metadata service of this host starts but does not answer; its log is {data}/metadata/log.")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
