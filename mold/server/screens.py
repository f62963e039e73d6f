"""Consoles: a browser's WebSocket on one side, the stream of a host on the other, a machine's screen in between.

A socket is accepted before anything is checked, because browsers show a page only the code and the sentence of a close,
never the answer to a refused handshake.  The codes are for the page, which says them in the user's language.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Never
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import OperationalError
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from mold.base.errors import Conflict, Denied, NotFound, Refusal, Unreachable
from mold.features.compute import consoles
from mold.server import rfb
from mold.server.app import Manager
from mold.wire import calls as w

log = structlog.get_logger()
OPEN_SECONDS = 20.0
"""Within these the browser must have said that it speaks RFB, so that nobody holds a host's stream with silence."""

LOOK_SECONDS = 20.0
"""How often it is looked whether who sees a screen still may."""

REFUSED, GONE, BROKEN = 4403, 4410, 4502
"""Close codes: you may not; the screen is no more; the way to it broke."""
STOPPED = "The screen has closed: the machine was stopped, restarted or moved."
AWAY = "The connection to the machine's host broke off."


async def show(manager: Manager, socket: WebSocket) -> None:
    """Carry one console from its ticket to its end."""
    offered = socket.scope.get("subprotocols") or []
    stream: ServerConnection | None = None
    try:
        await socket.accept(subprotocol="binary" if "binary" in offered else None)
        try:
            _same_site(socket)
            asked = socket.query_params
            secret, extra = asked.get("token", ""), asked.get("extra") or None
            # Two transactions: whatever comes of the ticket, it is used up.
            ticket = await manager.engine.writing(lambda tx: consoles.take(tx, secret, extra))
            screen = await manager.engine.reading(lambda tx: consoles.screen(tx, ticket))
            stream, _ = await manager.hub.stream(
                screen.host, lambda address, way: w.OpenConsole(name=screen.name, dial=address, ticket=way)
            )
            log.info("console opened", machine=screen.name, user=ticket.user_id)
            await _carry(manager, ticket, socket, stream, screen.password)
        except Denied as no:
            code, text = REFUSED, no.text
        except Conflict as no:
            code, text = GONE, no.text
        except NotFound:  # the host, asked just when the machine left it
            code, text = GONE, STOPPED
        except Refusal as no:
            code, text = BROKEN, no.public if no.hidden else no.text
            log.info("console failed", text=no.text, inner=no.inner)
        except ConnectionClosed as end:
            closed = end.rcvd is not None and end.rcvd.code == 1000
            code, text = (GONE, STOPPED) if closed else (BROKEN, AWAY)
        log.info("console closed", code=code, text=text)
        await socket.close(code, shortened(text))
    except WebSocketDisconnect:
        log.info("console left by its viewer")
    finally:
        if stream is not None:
            await stream.close()


def shortened(text: str) -> str:
    """`text` cut to what a close frame holds: 123 bytes, counted in UTF-8."""
    return text if len(text.encode()) <= 123 else text.encode()[:120].decode(errors="ignore") + "…"


def _same_site(socket: WebSocket) -> None:
    """Browsers say whose page opens a socket; only this server's own may. What is no browser says nothing."""
    origin = socket.headers.get("origin")
    if origin is None:
        return
    try:
        page = urlsplit(origin)
        usual = {"http": 80, "https": 443}[page.scheme]
        here = urlsplit(f"//{socket.headers.get('host', '')}")
        same = (page.hostname, page.port or usual) == (here.hostname, here.port or usual) and bool(page.hostname)
    except (ValueError, KeyError):
        same = False
    if not same:
        raise Denied("Consoles open only from this server's own pages; behind a proxy, let it pass the Host header on.")


async def _carry(
    manager: Manager, ticket: consoles.Ticket, socket: WebSocket, stream: ServerConnection, password: str
) -> None:
    """Sign in on one side, let in on the other, then pass bytes on untouched. Always ends with an exception.

    Neither side is read faster than the other takes: `send` waits, and nothing is kept in between.
    """

    async def from_browser() -> bytes:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if message.get("bytes") is None:
            raise Denied("A console takes binary messages only.")
        return bytes(message["bytes"])

    async def from_host() -> bytes:
        return await stream.recv(decode=False)

    browser, screen = rfb.Inflow(from_browser), rfb.Inflow(from_host)

    async def inwards() -> Never:
        data = browser.rest
        while True:
            if data:
                await stream.send(data)
            data = await from_browser()

    async def outwards() -> Never:
        data = screen.rest
        while True:
            if data:
                await socket.send_bytes(data)
            data = await from_host()

    async def still_allowed() -> Never:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # While the database is away nobody's right has ended.
            with contextlib.suppress(OperationalError):
                await manager.engine.reading(lambda tx: consoles.seen(tx, ticket))

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await rfb.enter(screen, stream.send, password)
            await rfb.admit(browser, socket.send_bytes)
    except TimeoutError:
        raise Unreachable(f"The console did not open within {OPEN_SECONDS:.0f} s.") from None
    ways = [asyncio.create_task(way()) for way in (inwards, outwards, still_allowed)]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    for way in done:
        way.result()
