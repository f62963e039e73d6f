"""HTTP: the public API, consoles, and the pages of the web console, on one port."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed

from mold.api.door import VERSION, Answer, Request
from mold.api.model import openapi
from mold.base.errors import Refusal
from mold.features.compute import consoles
from mold.features.identity import signin
from mold.server import upload
from mold.server.app import Manager
from mold.wire import calls as w

log = structlog.get_logger()
BODY_MAX = 1 << 20
KEYS_MAX = 5000
STATIC = Path(__file__).parent.parent / "gui" / "static"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1;mode=block",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}


def query_pairs(text: str) -> dict[str, str]:
    """A query string as the API reads it: tokens without `=` are skipped, the last of duplicate names wins."""
    out: dict[str, str] = {}
    for token in text.split("&")[: KEYS_MAX + 1]:
        name, sep, value = token.partition("=")
        if sep and name:
            out[unquote_plus(name)] = unquote_plus(value)
    return out


async def read_request(http: HttpRequest, *, integration: bool) -> Request | None:
    """The request as the door takes it; None when it is too large."""
    params = query_pairs(http.url.query)
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
                "errortext": f"The request is larger than {BODY_MAX} bytes or has more than {KEYS_MAX} fields; send less.",
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
        return response(answer)

    async def receive(http: HttpRequest) -> Response:
        return await upload.take(manager, http)

    async def metric(http: HttpRequest) -> Response:
        if not loopback(http.client.host if http.client else ""):
            return PlainTextResponse("Metrics are for this machine only.\n", status_code=403)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def document(http: HttpRequest) -> Response:
        return JSONResponse(openapi(VERSION))

    async def home(http: HttpRequest) -> Response:
        return RedirectResponse("/client/", status_code=308)

    async def page(http: HttpRequest) -> Response:
        index = STATIC / "index.html"
        if index.exists():
            return FileResponse(index, headers={**HEADERS, "Cache-Control": "no-cache"})
        return PlainTextResponse(
            "The API is at /client/api; its model at /client/openapi.json. The web console is not part of this build.\n",
            headers=HEADERS,
        )

    async def console_page(http: HttpRequest) -> Response:
        return FileResponse(STATIC / "console" / "vnc.html", headers={**HEADERS, "Cache-Control": "no-cache"})

    async def screen(socket: WebSocket) -> None:
        await pump(manager, socket)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield

    routes: list[Any] = [
        Route("/client/api", api, methods=["GET", "POST"]),
        Route("/client/api/{rest:path}", api, methods=["GET", "POST"]),
        Route("/client/upload/{id}", receive, methods=["POST"]),
        Route("/client/openapi.json", document),
        Route("/client/console/vnc.html", console_page),
        WebSocketRoute("/client/console/websockify", screen),
        Route("/metrics", metric),
        Route("/", home),
        Route("/client", page),
        Route("/client/", page),
    ]
    if STATIC.exists():
        routes.insert(6, Mount("/client/console", StaticFiles(directory=STATIC / "console", check_dir=False)))
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


async def pump(manager: Manager, socket: WebSocket) -> None:
    """A console: the browser's socket on one side, the host's stream on the other, bytes untouched in between."""
    offered = socket.scope.get("subprotocols") or []
    await socket.accept(subprotocol="binary" if "binary" in offered else None)
    try:
        host, call, _ = await manager.engine.writing(
            lambda tx: consoles.redeem(tx, socket.query_params.get("token", ""), socket.query_params.get("extra"))
        )
        stream, _ = await manager.hub.stream(
            host, lambda address, ticket: w.OpenConsole(name=call.name, dial=address, ticket=ticket)
        )
    except Refusal as no:
        log.info("console refused", text=no.text)
        await socket.close(4403, no.text[:120])
        return

    async def from_browser() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data:
                await stream.send(data)

    async def from_host() -> None:
        async for data in stream:
            await socket.send_bytes(data if isinstance(data, bytes) else data.encode())

    tasks = [asyncio.create_task(from_browser()), asyncio.create_task(from_host())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(ConnectionClosed):
            await stream.close()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close()
