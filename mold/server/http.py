"""HTTP: the public API, consoles, and the pages of the web console, on one port."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

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
from starlette.types import Scope
from starlette.websockets import WebSocket

from mold.api.door import VERSION, Answer, Request
from mold.api.model import openapi
from mold.features.identity import signin
from mold.server import feed, screens, upload
from mold.server.app import Manager
from mold.server.pages import Pages

log = structlog.get_logger()
BODY_MAX = 1 << 20
KEYS_MAX = 5000
STATIC = Path(__file__).parent.parent / "gui" / "static"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1;mode=block",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'",
}
CONSOLE_HEADERS = {
    **HEADERS,
    "Referrer-Policy": "no-referrer",  # the page's address holds a ticket
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
}


def query_pairs(text: str, *, first_wins: bool = False) -> dict[str, str]:
    """A query string as the API reads it: tokens without `=` are skipped, of duplicate names the last wins.

    On the integration port the first one wins.
    """
    out: dict[str, str] = {}
    for token in text.split("&")[: KEYS_MAX + 1]:
        name, sep, value = token.partition("=")
        if sep and name and not (first_wins and unquote_plus(name) in out):
            out[unquote_plus(name)] = unquote_plus(value)
    return out


async def read_request(http: HttpRequest, *, integration: bool) -> Request | None:
    """The request as the door takes it; None when it is too large."""
    params = query_pairs(http.url.query, first_wins=integration)
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
        params=params,
        post=post,
        address=address,
        base_url=f"{http.url.scheme}://{host}/client",
        integration=integration,
        cookies=dict(http.cookies),
    )


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
        headers=HEADERS,
    )


def response(answer: Answer) -> Response:
    """The door's answer as HTTP."""
    out = Response(
        answer.body, status_code=answer.status, headers={**HEADERS, "Cache-Control": "no-store", **answer.headers}
    )
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
        request = await read_request(http, integration=False)
        if request is None:
            return too_large()
        answer = await manager.door.answer(request)
        cookie = request.cookies.get("JSESSIONID")
        if cookie and answer.status == 200 and time.monotonic() - touched.get(cookie, -1e9) > 60:
            touched[cookie] = time.monotonic()
            if len(touched) > 10_000:
                touched.clear()
            await signin.keep_alive(manager.door, cookie)
        if cookie and answer.status == 401:
            # A cookie without its session key is a foreign page's, or a guess: the API ends the session then.
            await signin.end(manager.door, cookie)
        return response(answer)

    async def receive(http: HttpRequest) -> Response:
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
        return RedirectResponse("/client/", status_code=308, headers=HEADERS)

    async def screen(socket: WebSocket) -> None:
        await screens.show(manager, socket)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield

    routes: list[Any] = [
        Route("/client/api", api, methods=["GET", "POST"]),
        Route("/client/api/{rest:path}", api, methods=["GET", "POST"]),
        Route("/client/upload/{id}", receive, methods=["POST"]),
        Route("/client/events", live, methods=["GET"]),
        Route("/client/openapi.json", document),
        WebSocketRoute("/client/console/websockify", screen),
        Mount("/client/console", ConsolePage(directory=STATIC / "console", check_dir=False)),
        Route("/metrics", metric),
        Route("/", bare),
        Route("/client", bare),
        Route("/client/{path:path}", Pages(STATIC / "app", HEADERS).answer),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(GZipMiddleware, minimum_size=1400, compresslevel=3)], lifespan=lifespan
    )


def integration(manager: Manager) -> Starlette:
    """The ASGI application of the integration port: no sign-in, query string only, loopback only."""

    async def api(http: HttpRequest) -> Response:
        if not loopback(http.client.host if http.client else ""):
            return PlainTextResponse("The integration port is for this machine only.\n", status_code=403)
        request = await read_request(http, integration=True)
        assert request is not None
        out = response(await manager.door.answer(request))
        out.headers["Connection"] = "close"
        return out

    return Starlette(routes=[Route("/{rest:path}", api, methods=["GET", "POST"])])
