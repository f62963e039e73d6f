"""HTTP: the public API, consoles, and the pages of the web console, on one port."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mold.api.door import VERSION, Answer, Request
from mold.api.model import openapi
from mold.features.identity import signin
from mold.server import feed, screens, upload
from mold.server.app import Manager
from mold.server.pages import Pages

log = structlog.get_logger()
BODY_MAX = 1 << 20
KEYS_MAX = 5000
HEAD_MAX = BODY_MAX + (64 << 10)
HEAD_SECONDS = 30.0
TOUCH_SECONDS = 15.0
"""How often the use of a session is noted: often enough for a session.timeout of one minute."""
STATIC = Path(__file__).parent.parent / "gui" / "static"
POLICY = "; ".join(
    (
        "default-src 'self'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "font-src 'self'",
        "connect-src 'self'", "object-src 'none'", "frame-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
        "form-action 'self'",
    )
)  # fmt: skip
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1;mode=block",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": POLICY,
}
"""What every answer carries, whatever it is, unless what made it says otherwise. There is no header that lets a foreign
page read an answer (CORS): browsers talk to their own cloud, programs need none."""
PAGE_HEADERS = {
    # The console's parts write rules for their colours and sizes into the page; they run no text as a script.
    "Content-Security-Policy": POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
        "connect-src 'self'", "connect-src 'self' ws: wss:"
    ),
}
CONSOLE_HEADERS = {
    "Referrer-Policy": "no-referrer",  # the page's address holds a ticket
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
}
HTTPS_ONLY = "max-age=31536000"
ALLOWED = "GET, POST, OPTIONS"
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Bounded(HttpToolsProtocol):
    """HTTP with an end to what comes before a body: in bytes, and in the time that it may take to come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects."""
        self.head_bytes, self.head_whole = 0, False
        self.late: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody is gone."""
        self._come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if not self.head_whole:
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_MAX:
                self.send_400_response(f"Address and headers have more than {HEAD_MAX} bytes; send less.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self.head_bytes, self.head_whole = 0, False
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Address and headers are there."""
        self.head_whole = True
        self._come()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._come()
        self.late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _come(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None


class Guarded:
    """The application with `HEADERS` on all its answers, refusals and redirects of the framework's own included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        secure = scope["scheme"] == "https"

        async def begin(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in _RAW if h[0] not in there)]
                if secure:
                    message["headers"].append((b"strict-transport-security", HTTPS_ONLY.encode()))
            await send(message)

        await self.app(scope, receive, begin)


def query_pairs(text: str, *, first_wins: bool = False) -> dict[str, str]:
    """A query string as the API reads it: tokens without `=` are skipped, of duplicate names the last wins.

    On the integration port the first one wins.
    """
    out: dict[str, str] = {}
    for token in text.split("&"):
        name, sep, value = token.partition("=")
        if sep and name and not (first_wins and unquote_plus(name) in out):
            out[unquote_plus(name)] = unquote_plus(value)
    return out


async def read_request(http: HttpRequest, *, integration: bool) -> Request | None:
    """The request as the door takes it; None when it is too large."""
    query: bytes = http.scope["query_string"]
    if len(query) > BODY_MAX or query.count(b"&") >= KEYS_MAX:
        return None
    params = query_pairs(query.decode("latin-1"), first_wins=integration)
    post = http.method == "POST"
    if post and not integration:
        size = 0
        chunks = []
        async for chunk in http.stream():
            size += len(chunk)
            if size > BODY_MAX:
                return None
            chunks.append(chunk)
        kind = http.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind in ("application/x-www-form-urlencoded", ""):
            body = b"".join(chunks).decode("utf-8", "replace")
            if body.count("&") >= KEYS_MAX:
                return None
            pairs = parse_qsl(body, keep_blank_values=True) if body else []
            for name, value in reversed(pairs):
                params[name] = value  # of a form the first value wins
    address = http.client.host if http.client else ""
    host = http.headers.get("host", "localhost")
    return Request(
        foreign=asked_by(http, host),
        params=params,
        post=post,
        peer=address,
        address=address,
        headers={} if integration else http.headers,
        base_url=f"{http.url.scheme}://{host}/client",
        integration=integration,
        cookies=dict(http.cookies),
    )


def asked_by(http: HttpRequest, host: str) -> str:
    """The origin of the page that made the browser ask, if that is not a page of this host; else empty.

    Only browsers say it, and only they have cookies that somebody else can make them send.  A browser that follows a link
    and says nothing of where it was (it wants a page, not data) may have been sent by anybody: `unknown`.
    """
    origin = http.headers.get("origin") or http.headers.get("referer")
    if origin is not None:
        theirs = _place(origin, None)
        # Behind a proxy that ends TLS our own scheme is not known: a host without a port has that of theirs.
        ours = _place(f"//{host}", theirs[1] if theirs is not None else None)
        return "" if theirs is not None and theirs == ours else origin[:200]
    site = http.headers.get("sec-fetch-site")
    if site is not None:
        return "" if site in ("same-origin", "none") else site[:20]
    return signin.UNKNOWN_PAGE if "text/html" in http.headers.get("accept", "") else ""


def _place(url: str, port: int | None) -> tuple[str, int | None] | None:
    """Host and port of a URL, `port` if it names none; None without a host, as the origin `null` of a page in a sandbox."""
    try:
        parts = urlsplit(url)
        named = parts.port or {"http": 80, "https": 443}.get(parts.scheme, port)
    except ValueError:
        return None
    return (parts.hostname, named) if parts.hostname else None


def too_large() -> Response:
    """The answer to a body that nobody will read."""
    return JSONResponse(
        {
            "errorresponse": {
                "uuidList": [],
                "errorcode": 413,
                "errortext": f"The request is larger than {BODY_MAX} bytes, or has more than {KEYS_MAX} parameters; send less.",
            }
        },
        status_code=413,
        headers={"Connection": "close"},
    )


def methods(http: HttpRequest) -> Response | None:
    """The answer to a question about the API's address itself; None for a call. HEAD is none: it would act and not tell."""
    if http.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": ALLOWED})
    if http.method == "HEAD":
        return Response(status_code=405, headers={"Allow": ALLOWED})
    return None


def response(answer: Answer) -> Response:
    """The door's answer as HTTP."""
    # What has a version may be kept, and is asked for again with it; everything else is for this moment only.
    keep = "private, no-cache" if "ETag" in answer.headers else "no-store"
    out = Response(answer.body, status_code=answer.status, headers={"Cache-Control": keep, **answer.headers})
    if answer.kind:
        out.headers["content-type"] = answer.kind
    for name, value, about in answer.cookies:
        if about.get("max_age") == 0:
            out.delete_cookie(name, path=about.get("path", "/"))
        else:
            out.set_cookie(
                name,
                value,
                httponly=about.get("httponly", True),
                secure=about.get("secure", False),
                path=about.get("path", "/"),
                samesite=about.get("samesite", "lax"),
            )
    return out


class Metrics:
    """What Prometheus may ask."""

    def __init__(self, manager: Manager) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "mold_command_seconds",
            "Time a command took",
            ["command"],
            registry=self.registry,
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
        )
        self.count = Counter("mold_commands_total", "Commands answered", ["command", "status"], registry=self.registry)
        Gauge("mold_agents", "Agents connected to this manager", registry=self.registry).set_function(
            lambda: len(manager.hub.lines)
        )
        Gauge("mold_jobs_running", "Operations under way in this manager", registry=self.registry).set_function(
            lambda: len(manager.engine.runs)
        )
        Gauge("mold_live_streams", "Live event streams of this manager", registry=self.registry).set_function(
            lambda: len(manager.feed.streams)
        )
        manager.door.observe = self.observe

    def observe(self, command: str, status: int, seconds: float) -> None:
        """Count one command."""
        self.seconds.labels(command).observe(seconds)
        self.count.labels(command, str(status)).inc()


def loopback(address: str) -> bool:
    """Whether a peer is on this machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class ConsolePage(StaticFiles):
    """The page of a machine's screen and what it is made of. Folders are not listed; nothing outside is reached.

    noVNC lies in a folder with its version in the name, so browsers may keep it; the page itself they ask for again.
    """

    async def check_config(self) -> None:
        """A build without the page is no fault of the configuration."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file of it, or a sentence."""
        try:
            out = await super().get_response(path, scope)
        except HTTPException as no:
            out = PlainTextResponse(_absent(self.directory), no.status_code)
        out.headers.update(CONSOLE_HEADERS)
        if out.status_code in (200, 304):
            lasting = path.startswith("novnc-")
            out.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
            if path.endswith(".js"):  # the machine's own table of types may say anything
                out.headers["Content-Type"] = "text/javascript; charset=utf-8"
        return out


def _absent(folder: Any) -> str:
    if (Path(folder) / "vnc.html").exists():
        return "The console has no such file.\n"
    return (
        "The console's page is not part of this build: run `make gui` in Mold's source, or install Mold from a wheel.\n"
    )


def application(manager: Manager) -> Starlette:
    """The ASGI application of the public port."""
    metrics = Metrics(manager)
    touched: dict[str, float] = {}

    async def api(http: HttpRequest) -> Response:
        if (told := methods(http)) is not None:
            return told
        request = await read_request(http, integration=False)
        if request is None:
            return too_large()
        answer = await manager.door.answer(request)
        cookie = request.cookies.get("JSESSIONID")
        if cookie and answer.status == 200 and time.monotonic() - touched.get(cookie, -1e9) > TOUCH_SECONDS:
            touched[cookie] = time.monotonic()
            if len(touched) > 10_000:
                touched.clear()
            await signin.keep_alive(manager.door, cookie)
        if cookie and answer.status == 401 and not request.foreign:
            # A cookie without its session key is a guess: the API ends the session then. A foreign page ends nothing.
            await signin.end(manager.door, cookie)
        return response(answer)

    async def receive(http: HttpRequest) -> Response:
        match http.method:
            case "HEAD":
                return await upload.there(manager, http)
            case "PATCH":
                return await upload.take_part(manager, http)
        return await upload.take(manager, http)

    async def live(http: HttpRequest) -> Response:
        request = await read_request(http, integration=False)
        assert request is not None, "a GET has no body that is read"
        return await feed.listen(manager.feed, http, request, HEADERS)

    async def metric(http: HttpRequest) -> Response:
        if not loopback(http.client.host if http.client else ""):
            return PlainTextResponse("Metrics are for this machine only.\n", status_code=403)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def document(http: HttpRequest) -> Response:
        return JSONResponse(openapi(VERSION))

    async def bare(http: HttpRequest) -> Response:
        return RedirectResponse("/client/", status_code=308)

    async def screen(socket: WebSocket) -> None:
        await screens.show(manager, socket)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield

    routes: list[Any] = [
        Route("/client/api", api, methods=["GET", "POST", "OPTIONS"]),
        Route("/client/api/{rest:path}", api, methods=["GET", "POST", "OPTIONS"]),
        Route("/client/upload/{id}", receive, methods=["HEAD", "POST", "PATCH"]),
        Route("/client/events", live, methods=["GET"]),
        Route("/client/openapi.json", document),
        WebSocketRoute("/client/console/websockify", screen),
        Mount("/client/console", ConsolePage(directory=STATIC / "console", check_dir=False)),
        Route("/metrics", metric),
        Route("/", bare),
        Route("/client", bare),
        Route("/client/{path:path}", Pages(STATIC / "app", PAGE_HEADERS).answer),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guarded), Middleware(GZipMiddleware, minimum_size=1400, compresslevel=3)],
        lifespan=lifespan,
    )


def integration(manager: Manager) -> Starlette:
    """The ASGI application of the integration port: no sign-in, query string only, loopback only."""

    async def api(http: HttpRequest) -> Response:
        if not loopback(http.client.host if http.client else ""):
            return PlainTextResponse("The integration port is for this machine only.\n", status_code=403)
        if (told := methods(http)) is not None:
            return told
        request = await read_request(http, integration=True)
        if request is None:
            return too_large()
        out = response(await manager.door.answer(request))
        out.headers["Connection"] = "close"
        return out

    return Starlette(
        routes=[Route("/{rest:path}", api, methods=["GET", "POST", "OPTIONS"])], middleware=[Middleware(Guarded)]
    )
