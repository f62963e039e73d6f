"""Managers: the processes that serve the cloud, as operators see them; and the region, of which there is one."""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.lists import paged
from mold.api.model import release
from mold.api.permit import ROOT
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.hosts import Host, link
from mold.store import Tx
from mold.work import Job
from mold.work.job import alive, session

FIELDS = (
    *(Field(n) for n in ("id", "name", "version", "serviceip", "ipaddress")),
    Field("state", "state"),
    Field("lastserverstart", "date"),
    Field("agentscount", "long"),
    Field("agents", "list"),
    Field("pendingjobscount", "long"),
    Field("peers", "list"),
)


@command("listManagementServers", roles=ROOT, shape="list", key="managementserver", reads=True, fields=FIELDS)
def list_managers(
    ctx: Ctx,
    id: Annotated[str | None, Param(kind="uuid")] = None,
    name: str | None = None,
    version: str | None = None,
    peers: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists managers: the processes that serve this cloud. A manager has a new id after each start, and keeps its name.

    name: the name, which it keeps over restarts
    version: their version
    peers: with the other managers that each could relay calls to
    """
    tx = ctx.tx
    ours = release()
    held: dict[str, list[str]] = {}
    agents = sa.select(link.c.session, Host.c.id).join(Host.table, Host.c.guid == link.c.guid)
    for holder, host in tx.execute(agents):
        held.setdefault(holder, []).append(host)
    pending = dict(
        tx.execute(sa.select(Job.c.owner, sa.func.count()).where(Job.c.phase != "over").group_by(Job.c.owner)).all()
    )
    all_rows = tx.execute(sa.select(session).order_by(session.c.started)).all()
    rows = []
    for row in all_rows:
        if (
            (id is not None and row.id != id)
            or (name is not None and row.manager != name)
            or (version is not None and version != ours)
            or (keyword is not None and keyword.lower() not in row.manager.lower())
        ):
            continue
        address = row.address.rsplit(":", 1)[0] or None
        line: dict[str, Any] = {
            "id": row.id,
            "name": row.manager,
            "state": "Up" if row.until > time.time() else "Down",
            "version": ours,
            "lastserverstart": row.started,
            "agents": held.get(row.id, []),
            "agentscount": len(held.get(row.id, [])),
            "pendingjobscount": pending.get(row.id, 0),
        }
        if address:
            line["serviceip"] = line["ipaddress"] = address
        if peers:
            line["peers"] = [
                {"peerid": p.id, "peername": p.manager, "peerstate": "Up"}
                for p in all_rows
                if p.id != row.id and p.until > time.time()
            ]
        rows.append(line)
    return paged("managementserver", rows, page, pagesize)


REGION_FIELDS = (
    Field("id", "integer"),
    Field("name"),
    Field("endpoint"),
    Field("gslbserviceenabled", "boolean"),
    Field("portableipserviceenabled", "boolean"),
)


@command("listRegions", shape="list", key="region", reads=True, fields=REGION_FIELDS)
def list_regions(
    ctx: Ctx,
    id: int | None = None,
    name: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists regions: this cloud is one, called Local."""
    here = {
        "id": 1,
        "name": "Local",
        "endpoint": ctx.asked.base_url.rstrip("/") + "/",
        "gslbserviceenabled": False,
        "portableipserviceenabled": False,
    }
    fits = id in (None, 1) and name in (None, "Local") and (keyword is None or keyword.lower() in "local")
    return paged("region", [here] if fits else [], page, pagesize)


@watched
def _managers_away(tx: Tx) -> list[Trouble]:
    """Managers that stopped keeping their lease without taking leave."""
    gone = tx.execute(sa.select(session.c.manager, session.c.address).where(~alive(tx))).all()
    here = set(tx.execute(sa.select(session.c.manager).where(alive(tx))).scalars())
    return [
        Trouble(
            "MANAGEMENT",
            f"manager:{manager}",
            f"The management server {manager} ({address or 'no address'}) does not answer; its work goes on elsewhere. Look "
            "at its process and its machine.",
        )
        for manager, address in gone
        if manager not in here
    ]
