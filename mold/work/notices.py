"""Notices between managers on PostgreSQL: "look now", with the id of the job that it is about.

They only make things quicker: whatever a lost notice would have told is found by looking every other second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import sqlalchemy as sa
import structlog

from mold.store import Tx

log = structlog.get_logger()
CHANNEL = "mold_work"
AGAIN_SECONDS = 2.0


def send(tx: Tx, what: str) -> None:
    """Notify the other managers once the transaction has committed; does nothing on SQLite, which has one manager."""
    if tx.postgres:
        tx.execute(sa.text("select pg_notify(:channel, :what)"), {"channel": CHANNEL, "what": what})


async def listen(url: sa.URL, heard: Callable[[str], None]) -> None:
    """Call `heard` with every notice until cancelled; connects again when the connection breaks."""
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                heard("")  # what was told while nobody listened
                async for notice in connection.notifies():
                    heard(notice.payload)
        except psycopg.Error as broken:
            log.info("no notices from other managers for now", error=str(broken)[:200])
        await asyncio.sleep(AGAIN_SECONDS)
