"""Jobs: the journal of operations, one row each, and who works on them.

A job's row is its whole journal: what was begun, what each step returned, what is undone.  Every write to
it names the owner and the epoch; a manager that lost the job (it froze, its lease ran out, another took
over) finds that its writes change nothing and stops.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from mold.store import Resource, Tx, column, created, metadata
from mold.store.resource import NUMBER


class Job(Resource):
    """One operation, wanted, under way or over. `phase`: forward, backward, over."""

    kind = "asyncjob"
    title = "job"
    indexes = (("phase", "owner"), ("account_id", "number"))

    operation: str = column(hidden=True)
    args: dict[str, Any] = column(hidden=True)
    cmd: str = column(default="", keyword=True)
    account_id: str | None = column(default=None, hidden=True)
    user_id: str | None = column(default=None, hidden=True)
    domain_id: str | None = column(default=None, hidden=True)
    instance_type: str | None = column(default=None, api="jobinstancetype")
    instance_id: str | None = column(default=None, api="jobinstanceid", index=True)
    event: str | None = column(default=None, hidden=True)
    event_id: str | None = column(default=None, hidden=True)
    internal: bool = column(default=False, hidden=True)
    phase: str = column(default="forward", hidden=True)
    status: int = column(default=0, api="jobstatus", doc="0 running, 1 done, 2 failed")
    journal: dict[str, Any] = column(default_factory=dict, hidden=True)
    at: str = column(default="", hidden=True)
    error: dict[str, Any] | None = column(default=None, hidden=True)
    owner: str | None = column(default=None, hidden=True)
    epoch: int = column(default=1, hidden=True)
    cancelled: bool = column(default=False, hidden=True)
    percent: int = column(default=0, api="jobprogress", doc="0 to 100")
    created: str = created()
    completed: str | None = column(default=None, kind="date")


held = sa.Table(
    "held",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("job", NUMBER, nullable=False, index=True),
)
"""Locks: which job holds which key."""

session = sa.Table(
    "session",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("manager", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
"""Managers alive: one row per process, with the instant its lease ends (seconds since the epoch, database's clock)."""

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
"""Who runs which reconciler, and until when."""


def database_time(tx: Tx) -> float:
    """The time all managers agree on: the database's, seconds since the epoch."""
    if tx.postgres:
        return float(tx.execute(sa.text("select extract(epoch from clock_timestamp())")).scalar_one())
    return time.time()


def managers(tx: Tx, sessions: set[str | None]) -> dict[str, str]:
    """The names of the managers behind these sessions; one that ended long ago has none any more."""
    wanted = [s for s in sessions if s]
    if not wanted:
        return {}
    return dict(tx.execute(sa.select(session.c.id, session.c.manager).where(tx.any_of(session.c.id, wanted))).all())


def alive(tx: Tx) -> sa.ColumnElement[bool]:
    """What the session of a living manager fulfils: its lease has not ended."""
    return session.c.until > database_time(tx)
