"""Details of things: keys and values that operators put on them, for users to see or not."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import OPERATORS, ROOT, Caller, Owned, Private
from mold.base.errors import Invalid
from mold.features.identity.things import TYPES, kind_of, name_of, noting, thing
from mold.store import Resource, Tx, column, created
from mold.work import Done


class Shown(Private):
    """As what belongs to an account; what is not for display only operators see."""

    def see(self, caller: Caller, t: Any) -> Any:
        rule = super().see(caller, t)
        return rule if caller.role in OPERATORS else sa.and_(rule, t.c.display)

    def surely(self, caller: Caller, row: Any, access: Any) -> bool:
        return super().surely(caller, row, access) and bool(row.display)


class Detail(Owned):
    """One detail of a thing."""

    kind = "resourcedetail"
    title = "detail"
    unique = (("resource_kind", "resource_id", "key"),)
    policy = Shown()

    key: str = column(filter=True, keyword=True)
    value: str = column(default="")
    display: bool = column(default=True, api="fordisplay", admin=True)
    resource_kind: str = column(hidden=True)
    resource_id: str = column(api="resourceid", index=True)
    created: str = created()


noting(Detail, "resource_kind", "resource_id")


@shown(Detail, Field("resourcetype"))
def _type(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {d.id: {"resourcetype": name_of(d.resource_kind, TYPES)} for d in rows}


@lists("listResourceDetails", Detail, id_param=False)
def _list(
    q: Query,
    resourcetype: str,
    resourceid: str | None = None,
    value: Annotated[str | None, Param(roles=ROOT)] = None,
    fordisplay: Annotated[bool | None, Param(roles=ROOT)] = None,
) -> None:
    """Lists details of things.

    resourcetype: what they are, as Volume
    resourceid: id of the thing
    value: those with this value
    fordisplay: those that users see, or those that they do not
    """
    kind = kind_of(resourcetype, TYPES, "resourcetype")
    q.where(Detail.c.resource_kind == kind.kind)
    if resourceid is not None:
        q.where(Detail.c.resource_id == thing(q.tx, kind, q.ctx.caller, resourceid, "see").id)
    if value is not None:
        q.where(Detail.c.value == value)
    if fordisplay is not None:
        q.where(Detail.c.display == fordisplay)


def _row(ctx: Ctx, name: str, id: str) -> Resource:
    return thing(ctx.tx, kind_of(name, TYPES, "resourcetype"), ctx.caller, id, "operate")


@command("addResourceDetail", roles=ROOT, job=True, event="CREATE_RESOURCE_DETAILS")
def add(
    ctx: Ctx,
    resourcetype: str,
    resourceid: str,
    details: Annotated[dict[str, str], Param(keys=("key", "value"))],
    fordisplay: bool = True,
) -> None:
    """Puts details on a thing; those of the same key are replaced.

    resourcetype: what it is, as Volume
    details: details[0].key=…&details[0].value=…
    fordisplay: whether users see them
    """
    tx, row = ctx.tx, _row(ctx, resourcetype, resourceid)
    data = row.__dict__
    whose = {k: data.get(k) for k in ("account_id", "domain_id", "project_id")}
    if whose["account_id"] is None:
        whose = {"account_id": ctx.caller.account_id, "domain_id": ctx.caller.domain_id, "project_id": None}
    there = {d.key: d for d in tx.find(Detail, Detail.c.resource_kind == row.kind, Detail.c.resource_id == row.id)}
    for key, value in details.items():
        if not key or len(key) > 255 or len(value) > 1024:
            raise Invalid("A detail's key must have 1 to 255 characters, its value at most 1024.", parameter="details")
        if key in there:
            tx.set(there[key], value=value, display=fordisplay)
        else:
            about: dict[str, Any] = {"resource_kind": row.kind, "resource_id": row.id, **whose}
            tx.add(Detail(key=key, value=value, display=fordisplay, **about))
    ctx.start(Done.to(row))


@command("removeResourceDetail", roles=ROOT, job=True, event="DELETE_RESOURCE_DETAILS")
def remove(ctx: Ctx, resourcetype: str, resourceid: str, key: str | None = None) -> None:
    """Takes a detail off a thing, or all of them.

    resourcetype: what it is, as Volume
    key: that of this key; default: all
    """
    row = _row(ctx, resourcetype, resourceid)
    where = [Detail.c.resource_kind == row.kind, Detail.c.resource_id == row.id]
    if key is not None:
        where.append(Detail.c.key == key)
    for each in ctx.tx.find(Detail, *where):
        ctx.tx.remove(each)
    ctx.start(Done.to(row))
