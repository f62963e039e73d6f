"""Domains: the tree that everything owned hangs in. ROOT is its root and cannot be removed.

`trail` is the way down from ROOT in internal numbers (`/1/5/`), which permission conditions compare;
`path` is the same in names, for people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, Tags, command
from mold.api.lists import Query, lists, tagged
from mold.api.permit import ADMINS, ROOT, RoleType, Territory, condition
from mold.base import ids
from mold.base.errors import Conflict, Denied, Invalid
from mold.store import REGISTRY, Resource, Tx, column, created, refers

TREE = frozenset({RoleType.ADMIN, RoleType.DOMAIN})
"""Who makes and removes domains."""


class Domain(Resource):
    """A domain."""

    kind = "domain"
    steady = True
    unique = (("parent_id", "name"),)
    appears = {"domainid": "id", "domain": "name", "domainpath": "path"}
    policy = Territory()

    name: str = column(filter=True, keyword=True)
    parent_id: str | None = refers(
        "domain", default=None, shows={"parentdomainid": "id", "parentdomainname": "name"}, filter=False
    )
    path: str = column(default="ROOT")
    trail: str = column(default="/", hidden=True, index=True)
    level: int = column(default=0, kind="integer")
    networkdomain: str | None = column(default=None)
    state: str = column(default="Active")
    created: str = created()


@shown(Domain, Field("haschild", "boolean"), Field("hasannotations", "boolean"))
def _children_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    parents = set(
        tx.execute(sa.select(Domain.c.parent_id).where(tx.any_of(Domain.c.parent_id, [d.id for d in rows]))).scalars()
    )
    return {d.id: {"haschild": d.id in parents, "hasannotations": False} for d in rows}


@lists(
    "listDomains",
    Domain,
    roles=ADMINS,
    refused={"tag:string": "for limits by tag, which are not offered yet"},
)
def _list(
    q: Query,
    id: Domain | None = None,
    domainid: Domain | None = None,
    name: str | None = None,
    level: int | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    account: str | None = None,
    projectid: Annotated[Resource | None, Param(of="project")] = None,
    tags: Tags | None = None,
    details: list[str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists domains: root admins all, others their own and, with listall, those below it.

    domainid: this domain, with isrecursive also those below it
    account: those with an account of this name
    projectid: the one that this project is in
    details: sets of fields, comma separated: min, resource, all
    """
    if account is not None:
        kind = REGISTRY["account"]
        seen = condition(kind, q.ctx.caller, "see")
        q.where(Domain.c.id.in_(sa.select(kind.c.domain_id).where(kind.c.name == account, seen)))
    if isinstance(projectid, Resource):
        q.where(Domain.c.id == projectid.__dict__["domain_id"])
    if tags:
        q.where(tagged(Domain, tags))
    if id is not None:
        q.where(Domain.c.id == id.id)
    elif domainid is not None or not (q.ctx.caller.root or listall):
        top = domainid or q.tx.one(Domain, q.ctx.caller.domain_id)
        deep = isrecursive or listall
        q.where(Domain.c.trail.startswith(top.trail, autoescape=True) if deep else Domain.c.id == top.id)
    if name:
        q.where(Domain.c.name == name)
    if level is not None:
        q.where(Domain.c.level == level)
    if details:
        q.details = frozenset(d.strip().lower() for d in details)


@lists("listDomainChildren", Domain, roles=ADMINS)
def _children(
    q: Query,
    id: Domain | None = None,
    isrecursive: bool = False,
    listall: bool | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists the domains below one.

    isrecursive: all levels, not only the next
    """
    top = id or q.tx.one(Domain, q.ctx.caller.domain_id)
    if isrecursive or listall:
        q.where(Domain.c.trail.startswith(top.trail, autoescape=True), Domain.c.id != top.id)
    else:
        q.where(Domain.c.parent_id == top.id)


def check_suffix(text: str | None) -> None:
    """Invalid unless it is a DNS suffix; none at all is fine."""
    if text and (len(text) > 200 or not all(ids.is_label(p) for p in text.split("."))):
        raise Invalid(f"'{text[:80]}' is not a DNS suffix; write it like example.org.", parameter="networkdomain")


def place(tx: Tx, domain: Domain) -> Domain:
    """Insert a domain below its parent, with its trail and path."""
    # Locked, so that the parent does not move elsewhere before its new child is there to move with it.
    parent = tx.locked(Domain, domain.parent_id) if domain.parent_id else None
    if parent is not None and parent.state != "Active":
        raise Conflict(f"The domain {parent.path} is being removed.", domainid=parent.id)
    domain.path = f"{parent.path}/{domain.name}" if parent else domain.name
    domain.level = parent.level + 1 if parent else 0
    tx.add(domain)
    return tx.set(domain, trail=f"{parent.trail if parent else '/'}{domain.number}/")


@command("createDomain", roles=TREE, answers=Domain, event="DOMAIN.CREATE")
def create(
    ctx: Ctx,
    name: str,
    parentdomainid: Domain | None = None,
    networkdomain: str | None = None,
    domainid: str | None = None,
) -> Domain:
    """Creates a domain.

    parentdomainid: the domain to create it in; default: the caller's own
    networkdomain: DNS suffix of the networks of this domain
    domainid: the id that the domain is to have (a uuid)
    """
    if "/" in name or not name.strip():
        raise Invalid("A domain's name must not be empty or contain '/'.", parameter="name")
    check_suffix(networkdomain)
    if domainid is not None and not ids.UUID.match(domainid):
        raise Invalid("domainid must be a uuid.", parameter="domainid")
    parent = parentdomainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    made = Domain(name=name, parent_id=parent.id, networkdomain=networkdomain)
    if domainid:
        made.id = domainid.lower()
    return place(ctx.tx, made)


@command("updateDomain", roles=ROOT, answers=Domain, event="DOMAIN.UPDATE")
def update(ctx: Ctx, id: Domain, name: str | None = None, networkdomain: str | None = None) -> Domain:
    """Renames a domain or changes its network domain."""
    tx = ctx.tx
    if name is not None and name != id.name:
        if id.parent_id is None:
            raise Denied("The ROOT domain cannot be renamed.")
        if "/" in name or not name.strip():
            raise Invalid("A domain's name must not be empty or contain '/'.", parameter="name")
        old, new = id.path, id.path.rsplit("/", 1)[0] + "/" + name
        tx.set(id, name=name)
        below = Domain.c.trail.startswith(id.trail, autoescape=True)
        tx.execute(
            sa.update(Domain.table)
            .where(below)
            .values(path=sa.literal(new).concat(sa.func.substr(Domain.c.path, len(old) + 1)))
        )
        tx.noted(Domain, id.id, "path")
        id.path = new
    if networkdomain is not None:
        check_suffix(networkdomain)
        tx.set(id, networkdomain=networkdomain or None)
    return id


Move = Callable[[Tx, Domain, Domain, Domain], None]
moving: list[Move] = []
"""What follows in the same transaction when a domain moves: (tx, domain, parent until now, new parent). May refuse."""


def above(tx: Tx, domain: Domain) -> list[Domain]:
    """The domain and those above it, but ROOT, from the bottom up."""
    out = []
    while domain.parent_id is not None:
        out.append(domain)
        domain = tx.one(Domain, domain.parent_id)
    return out


@command("moveDomain", roles=ROOT, answers=Domain, event="DOMAIN.MOVE")
def move(
    ctx: Ctx,
    domainid: Annotated[Domain, Param(access="operate")],
    parentdomainid: Annotated[Domain, Param(access="operate")],
) -> Domain:
    """Moves a domain, with all that is in and below it, to another parent.

    domainid: the domain that moves
    parentdomainid: the domain it moves into
    """
    tx = ctx.tx
    if domainid.parent_id is None:
        raise Denied("The ROOT domain cannot be moved.")
    # One move at a time: two at once could make a ring of domains.
    tx.execute(sa.select(Domain.c.id).where(Domain.c.parent_id.is_(None)).with_for_update())
    below = sa.select(Domain.c.id).where(Domain.c.trail.startswith(domainid.trail, autoescape=True))
    moved = tx.execute(below.with_for_update()).scalars().all()
    top, parent = tx.one(Domain, domainid.id), tx.locked(Domain, parentdomainid.id)
    if top.parent_id == parent.id:
        raise Invalid(f"The domain {top.path} is in {parent.path} already.", parameter="parentdomainid")
    if parent.trail.startswith(top.trail):
        raise Invalid(f"The domain {top.path} cannot move into itself or a domain below it.", parameter="parentdomainid")
    if parent.state != "Active":
        raise Conflict(f"The domain {parent.path} is being removed.", domainid=parent.id)
    old = tx.one(Domain, top.parent_id)
    for each in moving:
        each(tx, top, old, parent)
    tx.set(top, parent_id=parent.id)
    trail, path, levels = f"{parent.trail}{top.number}/", f"{parent.path}/{top.name}", parent.level + 1 - top.level
    c = Domain.c
    tx.execute(
        sa.update(Domain.table)
        .where(c.trail.startswith(top.trail, autoescape=True))
        .values(
            trail=sa.literal(trail).concat(sa.func.substr(c.trail, len(top.trail) + 1)),
            path=sa.literal(path).concat(sa.func.substr(c.path, len(top.path) + 1)),
            level=c.level + levels,
        )
    )
    for each_id in moved:
        tx.noted(Domain, each_id, "path")
    return tx.one(Domain, top.id)
