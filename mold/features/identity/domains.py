"""Domains: the tree that everything owned hangs in. ROOT is its root and cannot be removed.

`trail` is the way down from ROOT in internal numbers (`/1/5/`), which permission conditions compare;
`path` is the same in names, for people.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, Territory
from mold.base import ids
from mold.base.errors import Denied, Invalid
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step


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
    refused={
        **dict.fromkeys(("account:string", "projectid:uuid"), "no filter for domains, which belong to no account"),
        "tag:string": "for limits by tag, which are not offered yet",
        "tags:map": "not offered yet: domains have no tags",
    },
)
def _list(
    q: Query,
    id: Domain | None = None,
    domainid: Domain | None = None,
    name: str | None = None,
    level: int | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    details: list[str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists domains: root admins all, others their own and, with listall, those below it.

    domainid: this domain, with isrecursive also those below it
    details: sets of fields, comma separated: min, resource, all
    """
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


def place(tx: Tx, domain: Domain) -> Domain:
    """Insert a domain below its parent, with its trail and path."""
    parent = tx.get(Domain, domain.parent_id)
    domain.path = f"{parent.path}/{domain.name}" if parent else domain.name
    domain.level = parent.level + 1 if parent else 0
    tx.add(domain)
    return tx.set(domain, trail=f"{parent.trail if parent else '/'}{domain.number}/")


@command("createDomain", roles=ADMINS, answers=Domain, event="DOMAIN.CREATE")
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
    if networkdomain and not all(ids.is_label(p) for p in networkdomain.split(".")):
        raise Invalid(f"'{networkdomain}' is not a DNS suffix; write it like example.org.", parameter="networkdomain")
    if domainid is not None and not ids.UUID.match(domainid):
        raise Invalid("domainid must be a uuid.", parameter="domainid")
    parent = parentdomainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    made = Domain(name=name, parent_id=parent.id, networkdomain=networkdomain)
    if domainid:
        made.id = domainid.lower()
    return place(ctx.tx, made)


@command("updateDomain", roles=ADMINS, answers=Domain, event="DOMAIN.UPDATE")
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
        tx.set(id, networkdomain=networkdomain or None)
    return id


@operation
class Forgotten(Operation):
    """A row was removed with the request; nothing in the world follows."""

    thing: str

    @step
    def done(self, tx: Tx) -> None:
        del tx


@command(
    "deleteDomain",
    roles=ADMINS,
    job=True,
    event="DOMAIN.DELETE",
    refused={"cleanup:boolean": "not offered yet; remove what is in the domain first"},
)
def delete(ctx: Ctx, id: Domain) -> None:
    """Deletes a domain that holds nothing any more."""
    if id.parent_id is None or id.id == ctx.caller.domain_id:
        raise Denied("The ROOT domain and your own domain cannot be deleted.")
    ctx.tx.remove(id)
    ctx.start(Forgotten(thing=id.id))
