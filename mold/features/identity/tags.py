"""Tags: key and value on things, by which people sort and find them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Tags, command
from mold.api.lists import Query, lists
from mold.api.permit import Owned
from mold.base.errors import Invalid
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Project, unsuspended
from mold.features.identity.things import TYPES, kind_of, name_of, noting, thing
from mold.store import Among, Prepared, Resource, Tx, column, created
from mold.work import Done


class Tag(Owned):
    """A tag."""

    kind = "tag"
    unique = (("resource_kind", "resource_id", "key"),)

    key: str = column(filter=True, keyword=True)
    value: str = column(default="", filter=True, keyword=True)
    customer: str | None = column(default=None, filter=True)
    resource_kind: str = column(hidden=True)
    resource_id: str = column(api="resourceid", filter=True, index=True)
    created: str = created()


noting(Tag, "resource_kind", "resource_id")


@shown(Tag, Field("resourcetype"))
def _type(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {t.id: {"resourcetype": name_of(t.resource_kind, TYPES)} for t in rows}


@lists("listTags", Tag, id_param=False)
def _list(q: Query, resourcetype: str | None = None) -> None:
    """Lists tags.

    resourcetype: what they are, as UserVm, Template, Network, Volume, Project, Zone
    """
    if resourcetype is not None:
        q.where(Tag.c.resource_kind == kind_of(resourcetype, TYPES, "resourcetype").kind)


def _targets(ctx: Ctx, name: str, ids: list[str]) -> list[Resource]:
    kind = kind_of(name, TYPES, "resourcetype")
    out = [thing(ctx.tx, kind, ctx.caller, each, "operate") for each in ids]
    unsuspended(ctx.tx, (r.id if isinstance(r, Project) else r.__dict__.get("project_id") for r in out))
    return out


@command("createTags", job=True, event="CREATE_TAGS")
def create(ctx: Ctx, resourcetype: str, resourceids: list[str], tags: Tags, customer: str | None = None) -> None:
    """Puts tags on things.

    resourcetype: what they are, as UserVm, Template, Network, Volume, Project, Zone
    resourceids: ids of the things
    """
    rows = _targets(ctx, resourcetype, resourceids)
    for row in rows:
        data = row.__dict__
        whose: dict[str, Any] = {k: data.get(k) for k in ("account_id", "domain_id", "project_id")}
        if whose["account_id"] is None:
            whose.update(account_id=ctx.caller.account_id, domain_id=ctx.caller.domain_id)
        for key, value in tags.items():
            if not key or len(key) > 255 or len(value) > 255:
                raise Invalid("A tag's key must have 1 to 255 characters, its value at most 255.", parameter="tags")
            ctx.tx.add(
                Tag(key=key, value=value, customer=customer, resource_kind=row.kind, resource_id=row.id, **whose)
            )
        ctx.tx.noted(type(row), row.id, "tags")
    ctx.start(Done.to(rows[0]) if rows else Done())


@command("deleteTags", job=True, event="DELETE_TAGS")
def delete(ctx: Ctx, resourcetype: str, resourceids: list[str], tags: Tags | None = None) -> None:
    """Takes tags off things.

    tags: those to take off; default: all
    """
    rows = _targets(ctx, resourcetype, resourceids)
    for row in rows:
        for tag in ctx.tx.find(Tag, Tag.c.resource_kind == row.kind, Tag.c.resource_id == row.id):
            if tags is None or (tag.key in tags and tags[tag.key] in ("", tag.value)):
                ctx.tx.remove(tag)
        ctx.tx.noted(type(row), row.id, "tags")
    ctx.start(Done.to(rows[0]) if rows else Done())


def tags_of(tx: Tx, kind: str, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Tags of a page of things, as answers show them."""
    out: dict[str, list[dict[str, Any]]] = {}
    for tag in map(Tag.from_row, tx.rows(_TAGS, {"kind": kind, "ids": ids})):
        out.setdefault(tag.resource_id, []).append(
            {"key": tag.key, "value": tag.value, "resourcetype": name_of(kind, TYPES), "resourceid": tag.resource_id}
        )
    return out


_TAGS = Prepared(
    sa.select(Tag.table)
    .where(Tag.c.resource_kind == sa.bindparam("kind"), Among(Tag.c.resource_id, "ids"))
    .order_by(Tag.c.number)
)


@shown(Domain, Field("tags", "set"))
def _of_domain(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tags_of(tx, "domain", [d.id for d in rows])
    return {i: {"tags": tags} for i, tags in found.items()}


@shown(Project, Field("tags", "list"))
def _of_project(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tags_of(tx, "project", [p.id for p in rows])
    return {p.id: {"tags": found.get(p.id, [])} for p in rows}


def untag(tx: Tx, kind: str, id: str) -> None:
    """Forget the tags of a thing that goes."""
    for tag in tx.find(Tag, Tag.c.resource_kind == kind, Tag.c.resource_id == id):
        tx.remove(tag)
