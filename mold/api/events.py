"""Events: what happened, to what, by whom. Recorded with the transaction that made it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from mold.api.permit import Owned
from mold.base import clock, ids
from mold.store import Prepared, Tx, column, created, refers
from mold.store.store import Change

LEVELS = ("INFO", "WARN", "ERROR")


class Event(Owned):
    """One event. `state`: Created, Scheduled, Started or Completed; asynchronous work has several with one `start`."""

    kind = "event"
    title = "event"
    indexes = (("account_id", "number"), ("resource_id", "number"))

    # An account that ever did something could not be removed otherwise; its events stay.
    account_id: str = refers("account", filter=False, loose=True)
    domain_id: str = refers("domain", filter=False, loose=True)
    project_id: str | None = refers("project", default=None, filter=False, loose=True)
    type: str = column(filter=True)
    level: str = column(default="INFO", filter=True)
    description: str = column(keyword=True)
    state: str = column(default="Completed", filter=True, kind="state")
    user_id: str | None = column(default=None, hidden=True)
    username: str | None = column(default=None)
    parent: str | None = column(default=None, api="parentid")
    resource_kind: str | None = column(default=None, api="resourcetype", filter=True)
    resource_id: str | None = column(default=None, api="resourceid", filter=True)
    resource_name: str | None = column(default=None, api="resourcename")
    archived: bool = column(default=False)
    created: str = created()


def record(
    tx: Tx,
    type: str,
    text: str,
    *,
    account_id: str,
    domain_id: str,
    project_id: str | None = None,
    user_id: str | None = None,
    username: str | None = None,
    resource: Any = None,
    resource_kind: str | None = None,
    resource_id: str | None = None,
    level: str = "INFO",
    state: str = "Completed",
    parent: str | None = None,
    id: str | None = None,
) -> Event:
    """Record an event in this transaction; `id` is the one it is to have."""
    made = Event(
        type=type,
        level=level,
        description=text,
        state=state,
        user_id=user_id,
        username=username,
        parent=parent,
        account_id=account_id,
        domain_id=domain_id,
        project_id=project_id,
        resource_kind=resource.kind if resource is not None else resource_kind,
        resource_id=resource.id if resource is not None else resource_id,
        resource_name=_name_of(resource) if resource is not None else None,
        created=clock.now(),
    )
    if id is not None:
        made.id = id
    tx.add(made)
    for hear in HEARERS:
        hear(tx, made)
    return made


def _name_of(resource: Any) -> str | None:
    """What people call it; users have no other name than the one they sign in with."""
    about = resource.__dict__
    name: str | None = about.get("name") or about.get("username")
    return name


ALSO: set[str] = set()
"""Types of events that no command declares: what happens by itself."""
HEARERS: list[Callable[[Tx, Event], None]] = []
"""Who is told of each event, in the transaction that records it."""


_SAME = ("type", "account_id", "domain_id", "project_id", "user_id", "username")
_NEW = ("id", "description", "level", "state", "resource_kind", "resource_id", "resource_name", "created")


def _following() -> Prepared:
    c = Event.c
    new: list[Any] = [sa.bindparam(f"new_{n}", type_=c[n].type) for n in _NEW]
    new[4:7] = [sa.func.coalesce(each, c[n]) for n, each in zip(_NEW[4:7], new[4:7], strict=True)]
    first = sa.select(*(c[n] for n in _SAME), c.id, *new, sa.false()).where(c.id == sa.bindparam("first"))
    names = [*_SAME, "parent", *_NEW, "archived"]
    made = sa.insert(Event.table).from_select(names, first, include_defaults=False)
    return Prepared(made.returning(*Event.table.c))


_FOLLOW = _following()


def follow(
    tx: Tx,
    first: str,
    text: str,
    *,
    state: str,
    level: str = "INFO",
    resource_kind: str | None = None,
    resource_id: str | None = None,
) -> bool:
    """Record what came of the event `first`, about the same thing and whose it is; False when that event is gone."""
    new = {
        "id": ids.new_id(),
        "description": text,
        "level": level,
        "state": state,
        "resource_kind": resource_kind,
        "resource_id": resource_id,
        "resource_name": None,
        "created": clock.now(),
    }
    found = tx.rows(_FOLLOW, {"first": first, **{f"new_{n}": v for n, v in new.items()}})
    if found:
        tx.changes.append(Change("add", Event.kind, str(new["id"]), {}))
        if HEARERS:
            made = Event.from_row(found[0])
            for hear in HEARERS:
                hear(tx, made)
    return bool(found)
