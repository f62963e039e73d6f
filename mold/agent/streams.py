"""Streams that a host opens to a manager: bytes of a console or an image, outside of the calls.

The host always dials, to `wss://<manager>/stream/<ticket>`, with the same certificates as for calls; the ticket
says what the stream is for and is good once.  Everything is in binary messages.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from mold.agent import config
from mold.agent.config import Address, Settings
from mold.base.errors import Failed, Invalid, Unreachable
from mold.wire import calls as w

if TYPE_CHECKING:
    from mold.agent.here import Here

MANAGER = "mold-manager"
"""The DNS name in every manager's certificate, whatever address it is reached by."""
OPEN_SECONDS = 15.0
KEEPALIVE_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A stream may stand still for so long: a manager whose far end is slow reads nothing, keepalive's frames included."""
NORMAL = 1000
_TICKET = re.compile(r"[A-Za-z0-9_-]{8,512}")


def trust(settings: Settings) -> ssl.SSLContext:
    """TLS with this host's certificate, believing only managers of its authorities. Failed when a file is missing or wrong."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(settings.authorities))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(settings.certificate), str(settings.key))
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(_missing(settings)) or str(error)
        raise Failed(f"The certificates in {settings.folder} cannot be used ({names}); set the agent up again.") from error
    return context


async def dial(
    settings: Settings, address: Address, path: str, silence_seconds: float = 2 * KEEPALIVE_SECONDS
) -> ClientConnection:
    """A WebSocket to a manager, mutually authenticated. Failed: our own files; OSError, WebSocketException: the way there.

    The connection ends when the manager does not answer a ping within `silence_seconds`.
    """
    return await connect(
        f"wss://{address}{path}",
        ssl=trust(settings),
        server_hostname=MANAGER,
        max_size=w.FRAME_MAX,
        open_timeout=OPEN_SECONDS,
        ping_interval=KEEPALIVE_SECONDS,
        ping_timeout=silence_seconds,
        close_timeout=2,
        compression=None,
        proxy=None,
    )


async def opened(here: Here, where: str, ticket: str) -> ClientConnection:
    """The stream for `ticket` at the manager `where`; Unreachable when it cannot be made."""
    address = config.address(where)
    if not _TICKET.fullmatch(ticket):
        raise Invalid("The ticket of the stream has a form that none has.")
    try:
        return await dial(here.settings, address, f"/stream/{ticket}", STALL_SECONDS)
    except (OSError, WebSocketException) as error:
        raise Unreachable(f"The stream to the manager {address} could not be opened: {error}.", manager=str(address)) from error


async def pieces(here: Here, where: str, ticket: str) -> AsyncGenerator[bytes, None]:
    """What comes over a stream, until the manager closes it with code 1000; Failed when it ends in any other way."""
    stream = await opened(here, where, ticket)
    async with stream:
        try:
            async for message in stream:
                if isinstance(message, str):
                    raise Failed("The manager sent text over a stream of bytes.")
                yield message
        except ConnectionClosed as error:
            raise Failed(f"The stream broke off before the image was whole: {error}.") from error
        if stream.close_code != NORMAL:
            raise Failed(f"The stream ended before the image was whole (code {stream.close_code}).")


def _missing(settings: Settings) -> list[str]:
    paths: tuple[Path, ...] = (settings.authorities, settings.certificate, settings.key)
    return [f"{path.name} is missing" for path in paths if not path.exists()]
