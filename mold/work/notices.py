"""Notices between managers on PostgreSQL: "look now", with the id of the job that it is about.

They only make things quicker: whatever a lost notice would have told is found by looking every other second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import sqlalchemy as sa
import structlog
from psycopg import sql

from mold.store import Tx

log = structlog.get_logger()
CHANNEL = "mold_work"
AGAIN_SECONDS = 2.0


def send(tx: Tx, what: str, channel: str = CHANNEL) -> None:
    """Notify the other managers once the transaction has committed; does nothing on SQLite, which has one manager."""
    if tx.postgres:
        tx.execute(sa.text("select pg_notify(:channel, :what)"), {"channel": channel, "what": what})


async def listen(url: sa.URL, hearers: dict[str, Callable[[str], None]]) -> None:
    """Call the hearer of a channel with every notice on it until cancelled; connects again when the connection breaks.

    Each is called with "" whenever there is a new connection: what was told in between is not known.
    """
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                for channel in hearers:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                for heard in hearers.values():
                    heard("")
                async for notice in connection.notifies():
                    hearers[notice.channel](notice.payload)
        except psycopg.Error as broken:
            log.info("no notices from other managers for now", error=str(broken)[:200])
        await asyncio.sleep(AGAIN_SECONDS)
