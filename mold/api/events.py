"""Events: what happened, to what, by whom. Recorded with the transaction that made it so."""

from __future__ import annotations

from typing import Any

from mold.api.permit import Owned
from mold.base import clock
from mold.store import Tx, column, created, refers

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
        resource_name=resource.__dict__.get("name") if resource is not None else None,
        created=clock.now(),
    )
    if id is not None:
        made.id = id
    return tx.add(made)
