"""Annotations: what people write down about things, for those who see the thing, or for admins only.

Whether somebody may read one is asked of the policy of the thing that it is about; so an annotation's own id opens nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import SETTLED, Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, FALSE, OPERATORS, ROOT, TRUE, Caller, Policy, condition
from mold.base.errors import Denied, Invalid
from mold.features.identity.things import ENTITIES, kind_of, known, name_of, noted, noting, thing
from mold.store import REGISTRY, Resource, Tx, column, created


class OfWhatIsSeen(Policy):
    """Who sees the thing sees what is written about it, unless that is for admins; who wrote it may take it away."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        found = []
        for name in sorted(set(known(ENTITIES).values())):
            kind = REGISTRY[name]
            rule = condition(kind, caller, "see")
            if rule is not FALSE:
                found.append(sa.and_(t.c.entity_kind == name, t.c.entity_id.in_(sa.select(kind.c.id).where(rule))))
        seen = sa.or_(FALSE, *found)
        return seen if caller.role in ADMINS else sa.and_(seen, ~t.c.adminsonly)

    def operate(self, caller: Caller, t: Any) -> Any:
        if caller.root:
            return TRUE
        return sa.and_(self.see(caller, t), t.c.user_id == caller.user_id)


class Annotation(Resource):
    """One annotation."""

    kind = "annotation"
    indexes = (("entity_id", "number"),)
    policy = OfWhatIsSeen()

    annotation: str = column(keyword=True)
    entity_kind: str = column(hidden=True)
    entity_id: str = column(api="entityid")
    entity_name: str | None = column(default=None, api="entityname")
    user_id: str = column(api="userid", index=True)
    username: str = column()
    adminsonly: bool = column(default=False)
    created: str = created()


noting(Annotation, "entity_kind", "entity_id")


@shown(Annotation, Field("entitytype"))
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {a.id: {"entitytype": name_of(a.entity_kind, ENTITIES)} for a in rows}


@lists("listAnnotations", Annotation)
def _list(
    q: Query,
    entitytype: str | None = None,
    entityid: str | None = None,
    userid: str | None = None,
    annotationfilter: Annotated[str, Param(choices=("self", "all"))] = "all",
) -> None:
    """Lists annotations, the newest first.

    entitytype: type of the things that they are about, as VM or HOST
    entityid: id of the thing that they are about; needs entitytype
    userid: id of the user who wrote them
    annotationfilter: self: one's own; all: all that one may see
    """
    c = Annotation.c
    if entityid is not None and entitytype is None:
        raise Invalid("entityid needs entitytype: say what it is the id of.", parameter="entitytype")
    if entitytype is not None:
        kind = kind_of(entitytype, ENTITIES, "entitytype")
        q.where(c.entity_kind == kind.kind)
        if entityid is not None:
            q.where(c.entity_id == thing(q.tx, kind, q.ctx.caller, entityid, "see").id)
    if userid is not None:
        q.where(c.user_id == userid)
    if annotationfilter == "self":
        q.where(c.user_id == q.ctx.caller.user_id)
    q.order = [c.number.desc()]


@command("addAnnotation", answers=Annotation, event="ANNOTATION.CREATE")
def add(
    ctx: Ctx,
    annotation: str | None = None,
    entitytype: str | None = None,
    entityid: str | None = None,
    adminsonly: bool = False,
) -> Annotation:
    """Writes something down about a thing.

    annotation: what is to be written down
    entitytype: what it is, as VM or HOST
    entityid: id of the thing
    adminsonly: only admins shall read it (admins)
    """
    caller = ctx.caller
    if not annotation or not annotation.strip() or not entitytype or not entityid:
        raise Invalid("An annotation needs annotation, entitytype and entityid.", parameter="annotation")
    if adminsonly and caller.role not in ADMINS:
        raise Denied("Only admins write annotations for admins only; leave adminsonly out.")
    kind = kind_of(entitytype, ENTITIES, "entitytype")
    row = thing(ctx.tx, kind, caller, entityid, "see")
    name = row.__dict__.get("display_name") or row.__dict__.get("name") or row.__dict__.get("address")
    made = ctx.tx.add(
        Annotation(
            annotation=annotation,
            entity_kind=kind.kind,
            entity_id=row.id,
            entity_name=name,
            user_id=caller.user_id,
            username=caller.username,
            adminsonly=adminsonly,
        )
    )
    ctx.tx.noted(kind, row.id, "hasannotations")
    return made


@command("removeAnnotation", answers=Annotation, event="ANNOTATION.REMOVE")
def remove(ctx: Ctx, id: Annotation) -> Annotation:
    """Removes an annotation: one's own, or any (root admins)."""
    ctx.tx.remove(id)
    if (kind := REGISTRY.get(id.entity_kind)) is not None:
        ctx.tx.noted(kind, id.entity_id, "hasannotations")
    return id


@command("updateAnnotationVisibility", roles=ROOT, answers=Annotation)
def show_to(ctx: Ctx, id: Annotation, adminsonly: bool) -> Annotation:
    """Changes who may read an annotation.

    adminsonly: admins only, or everybody who sees the thing
    """
    return ctx.tx.set(id, adminsonly=adminsonly)


def _has(kind: type[Resource]) -> Any:
    def extra(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
        found: set[str] = set()
        c = Annotation.c
        if kind.kind in noted(tx, Annotation, "entity_kind"):
            about = (c.entity_kind == kind.kind, tx.any_of(c.entity_id, [r.id for r in rows]))
            # The rows are seen, so what is written about them is too, but for what is for admins.
            mine = () if caller.internal or caller.role in ADMINS else (~c.adminsonly,)
            found = set(tx.execute(sa.select(c.entity_id).where(*about, *mine)).scalars())
        return {r.id: {"hasannotations": r.id in found} for r in rows}

    return extra


def _settle() -> None:
    for name in sorted(set(known(ENTITIES).values())):
        kind = REGISTRY[name]
        shown(kind, Field("hasannotations", "boolean"))(_has(kind))


SETTLED.append(_settle)
