"""Consoles: the bytes of a guest's VNC screen, carried between its socket on this host and a stream to a manager.

What the bytes say is the business of QEMU and of the manager, which also knows the screen's password.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from mold.agent import machines, streams
from mold.agent.here import Here
from mold.agent.serve import Work, serves
from mold.base.errors import Failed, Unavailable
from mold.wire import calls as w

log = structlog.get_logger()
AT_ONCE = 64
PIECE = 64 * 1024
AGENT_STOPS = 1001


@serves(w.OpenConsole)
async def open_console(call: w.OpenConsole, work: Work) -> w.Done:
    """Connect a guest's screen with a stream; done when both ends stand, and carried on in the background."""
    here = work.here
    _room(here)
    socket = await machines.screen(work, call.name)
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError as error:
        raise Failed(f"The screen of {call.name} cannot be reached: {error.strerror}.", name=call.name) from error
    try:
        stream = await streams.opened(here, call.dial, call.ticket)
        try:
            _room(here)  # others have come meanwhile
        except Unavailable:
            await stream.close(1013)
            raise
    except BaseException:
        writer.close()
        raise
    task = asyncio.create_task(_carry(call.name, stream, reader, writer))
    here.background.add(task)
    task.add_done_callback(here.background.discard)
    return w.Done()


def _room(here: Here) -> None:
    if len(here.background) >= AT_ONCE:
        raise Unavailable(f"This host carries {AT_ONCE} consoles already; close one first.")


async def _carry(name: str, stream: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both ways at once, until either side closes. The code of the close tells the manager which: 1001 is the agent."""
    code = AGENT_STOPS
    ways = [asyncio.create_task(_out(stream, reader)), asyncio.create_task(_in(stream, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        code = streams.NORMAL
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        await stream.close(code)
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        log.info("console closed", machine=name)


async def _out(stream: ClientConnection, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while piece := await reader.read(PIECE):
            await stream.send(piece)


async def _in(stream: ClientConnection, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        async for message in stream:
            if isinstance(message, str):
                return
            writer.write(message)
            await writer.drain()
