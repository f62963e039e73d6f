"""Migrations: bring a database to the tables that this version declares, one manager at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from mold.store.resource import metadata
from mold.store.store import Store

HERE = Path(__file__).parent / "migrations"
LOCK = 0x4D6F6C64
"""Key of the advisory lock that managers take on PostgreSQL while migrating."""


def config(conn: sa.Connection | None = None) -> Config:
    """Alembic's configuration, with the connection to use."""
    made = Config()
    made.set_main_option("script_location", str(HERE))
    made.attributes["connection"] = conn
    made.attributes["metadata"] = metadata
    return made


def upgrade(store: Store) -> None:
    """Run the migrations that the database has not had yet."""
    with store.engine.begin() as conn:
        if store.postgres:
            conn.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        command.upgrade(config(conn), "head")


def current(store: Store) -> str | None:
    """The revision that the database is at."""
    with store.engine.connect() as conn:
        return MigrationContext.configure(conn).get_current_revision()


def differences(store: Store) -> list[Any]:
    """What declarations and tables disagree on; empty when the migrations are complete."""
    from alembic.autogenerate import compare_metadata

    with store.engine.connect() as conn:
        return list(compare_metadata(MigrationContext.configure(conn), metadata))
