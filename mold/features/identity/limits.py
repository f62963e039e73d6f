"""Limits and counts: what an account, and the domains above it, may have of each kind, and has.

A count changes in the transaction that makes or removes the thing, with one guarded UPDATE per owner, so
that no number of parallel requests passes a limit.  -1 means unlimited.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Long, Param, command
from mold.api.lists import paged
from mold.api.permit import ADMINS, RoleType, below
from mold.base.errors import Denied, Invalid, NotFound, OverLimit
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain, above, moving
from mold.features.identity.projects import Project
from mold.features.infra.settings import setting
from mold.store import Prepared, Tx, metadata
from mold.store.resource import NUMBER

KINDS: dict[str, tuple[int, str, int, int]] = {
    "user_vm": (0, "user.vms", 20, 40),
    "public_ip": (1, "public.ips", 20, 40),
    "volume": (2, "volumes", 20, 40),
    "snapshot": (3, "snapshots", 20, 40),
    "template": (4, "templates", 20, 40),
    "network": (6, "networks", 20, 40),
    "vpc": (7, "vpcs", 20, 40),
    "cpu": (8, "cpus", 40, 80),
    "memory": (9, "memory", 40960, 81920),
    "primary_storage": (10, "primary.storage", 200, 400),
    "secondary_storage": (11, "secondary.storage", 400, 800),
}
"""Kind -> (the API's number, name in settings, default for an account, default for a domain). Storage in GiB, memory in MiB."""

UNIT = {"primary_storage": 1024**3, "secondary_storage": 1024**3}
ACCOUNT = {
    k: setting(f"max.account.{n}", a, f"Limit of {k} for an account; -1: none.", group="Limits", low=-1)
    for k, (_, n, a, _d) in KINDS.items()
}
DOMAIN = {
    k: setting(f"max.domain.{n}", -1, f"Limit of {k} for a domain; -1: none.", group="Limits", low=-1)
    for k, (_, n, _a, _d) in KINDS.items()
}

usage = sa.Table(
    "usage_count",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("used", NUMBER, nullable=False, server_default="0"),
    sa.Column("most", NUMBER, nullable=True),
)
"""How much an account or domain (`owner`) has, and its own limit if one was set."""


def owners(tx: Tx, account: Any) -> list[tuple[str, bool]]:
    """The account and the domains above it but ROOT, which has no limits; True marks the account.

    From the bottom up, because rows are locked in this order and the highest is the one that most others want.
    """
    out: list[tuple[str, bool]] = [(account.id, True)]
    domain = tx.known(Domain, account.domain_id)
    while domain.parent_id is not None:
        out.append((domain.id, False))
        domain = tx.known(Domain, domain.parent_id)
    return out


def _defaults(tx: Tx, kind: str, is_account: bool) -> int:
    default = (ACCOUNT if is_account else DOMAIN)[kind].get(tx)
    return default * UNIT.get(kind, 1) if default >= 0 else default


def reserve(tx: Tx, account: Account, **amounts: int) -> None:
    """Count more of something for an account; OverLimit when a limit would be passed.

    One statement for all kinds and owners in the good case.  ROOT has no limits and no rows: its counts are sums.
    """
    kinds = sorted(k for k, n in amounts.items() if n)
    free = account.role_type == "Admin" or account.name == "system"
    parties = owners(tx, account)
    if not kinds:
        return
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
    statement = _counting(tuple(kinds), free)
    for owner, is_account in parties:
        given: dict[str, Any] = {"owner_": owner, **{f"add_{k}": amounts[k] for k in kinds}}
        if not free:
            given.update((f"most_{k}", _defaults(tx, k, is_account)) for k in kinds)
        done = {row[0] for row in tx.rows(statement, given)}
        missing = [k for k in kinds if k not in done]
        if not missing:
            continue
        fresh = set(
            tx.execute(
                insert.values([{"owner": owner, "resource": k, "used": 0} for k in missing])
                .on_conflict_do_nothing()
                .returning(usage.c.resource)
            ).scalars()
        )
        if fresh:
            some = _counting(tuple(k for k in kinds if k in fresh), free)
            done |= {row[0] for row in tx.rows(some, {n: v for n, v in given.items() if _of(n, fresh)})}
        for kind in kinds:
            if kind not in done:
                raise _over(tx, owner, is_account, kind, amounts[kind])


def _of(name: str, kinds: set[str]) -> bool:
    return name == "owner_" or name.split("_", 1)[1] in kinds


@cache
def _counting(kinds: tuple[str, ...], free: bool) -> Prepared:
    """Count more of some kinds for one owner, each within its limit; returns those that were counted."""
    bound = {k: sa.bindparam(f"add_{k}", type_=NUMBER) for k in kinds}
    add = sa.case(bound, value=usage.c.resource, else_=sa.literal(0, NUMBER))
    guard: Any = sa.true()
    if not free:
        default = sa.case({k: sa.bindparam(f"most_{k}", type_=NUMBER) for k in kinds}, value=usage.c.resource, else_=-1)
        own = sa.func.coalesce(usage.c.most, default)
        guard = sa.or_(own < 0, usage.c.used + add <= own)
    return Prepared(
        sa.update(usage)
        .where(usage.c.owner == sa.bindparam("owner_"), sa.or_(*(usage.c.resource == k for k in kinds)), guard)
        .values(used=usage.c.used + add)
        .returning(usage.c.resource)
    )


def _over(tx: Tx, owner: str, is_account: bool, kind: str, amount: int) -> OverLimit:
    row = tx.execute(
        sa.select(usage.c.used, usage.c.most).where(usage.c.owner == owner, usage.c.resource == kind)
    ).one()
    most = _defaults(tx, kind, is_account) if row.most is None else row.most
    unit, what = UNIT.get(kind, 1), "account" if is_account else "domain"
    return OverLimit(
        f"The {what}'s limit of {kind} is {most // unit}; {row.used // unit} are in use and {max(1, amount // unit)} more were asked for. Remove some, or ask for a higher limit.",
        resource=kind,
        limit=most // unit,
        used=row.used // unit,
        wanted=max(1, amount // unit),
        owner=what,
    )


def check(tx: Tx, account: Account, **amounts: int) -> None:
    """OverLimit when so much more would not be allowed now; counts nothing."""
    if account.role_type == "Admin" or account.name == "system":
        return
    for owner, is_account in owners(tx, account):
        have = {r.resource: r for r in tx.execute(sa.select(usage).where(usage.c.owner == owner))}
        for kind, amount in amounts.items():
            row = have.get(kind)
            most = _defaults(tx, kind, is_account) if row is None or row.most is None else row.most
            if most >= 0 and (row.used if row else 0) + amount > most:
                if row is None:
                    raise OverLimit(f"The limit of {kind} is {most // UNIT.get(kind, 1)}.", resource=kind)
                raise _over(tx, owner, is_account, kind, amount)


def give_back(tx: Tx, account_id: str, **amounts: int) -> None:
    """Count less of something."""
    account = tx.get(Account, account_id)
    kinds = sorted(k for k, n in amounts.items() if n)
    if account is None or not kinds:
        return
    less = sa.case({k: amounts[k] for k in kinds}, value=usage.c.resource, else_=0)
    for owner, _ in owners(tx, account):
        tx.execute(
            sa.update(usage)
            .where(usage.c.owner == owner, usage.c.resource.in_(kinds))
            .values(used=sa.case((usage.c.used > less, usage.c.used - less), else_=0))
        )


def move_counts(tx: Tx, domain: Domain, old: Domain, new: Domain) -> None:
    """A domain moves: what it has counts for the domains above its new place; OverLimit when that is too much for one."""
    have = tx.execute(
        sa.select(usage.c.resource, usage.c.used).where(usage.c.owner == domain.id, usage.c.used > 0).with_for_update()
    ).all()
    before, after = {d.id for d in above(tx, old)}, {d.id for d in above(tx, new)}
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
    for kind, amount in sorted((r.resource, r.used) for r in have):
        for owner in sorted(before - after):
            less = sa.case((usage.c.used > amount, usage.c.used - amount), else_=0)
            tx.execute(sa.update(usage).where(usage.c.owner == owner, usage.c.resource == kind).values(used=less))
        for owner in sorted(after - before):
            tx.execute(insert.values(owner=owner, resource=kind, used=0).on_conflict_do_nothing())
            most = sa.func.coalesce(usage.c.most, _defaults(tx, kind, False))
            done = tx.execute(
                sa.update(usage)
                .where(
                    usage.c.owner == owner,
                    usage.c.resource == kind,
                    sa.or_(most < 0, usage.c.used + amount <= most),
                )
                .values(used=usage.c.used + amount)
            )
            if not done.rowcount:
                raise _over(tx, owner, False, kind, amount)


moving.append(move_counts)


# -- as callers see them -------------------------------------------------------------------------------------------

PREFIX = {
    "user_vm": "vm",
    "public_ip": "ip",
    "primary_storage": "primarystorage",
    "secondary_storage": "secondarystorage",
}
SHOWN = tuple(
    Field(f"{PREFIX.get(kind, kind)}{what}", shape)
    for kind in KINDS
    for what, shape in (
        ("limit", "string"),
        ("total", "float" if kind == "secondary_storage" else "long"),
        ("available", "string"),
    )
)


def _values(
    tx: Tx, owner: str, is_account: bool, free: bool, used: dict[str, tuple[int, int | None]]
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for kind in KINDS:
        have, own = used.get(kind, (0, None))
        most = -1 if free else _defaults(tx, kind, is_account) if own is None else own
        unit, name = UNIT.get(kind, 1), PREFIX.get(kind, kind)
        out[f"{name}limit"] = "Unlimited" if most < 0 else str(most // unit)
        out[f"{name}total"] = round(have / unit, 2) if kind == "secondary_storage" else have // unit
        out[f"{name}available"] = "Unlimited" if most < 0 else str(max(0, most - have) // unit)
    return out


def _used(tx: Tx, owners: list[str]) -> dict[str, dict[str, tuple[int, int | None]]]:
    out: dict[str, dict[str, tuple[int, int | None]]] = {}
    for row in tx.execute(sa.select(usage).where(tx.any_of(usage.c.owner, owners))):
        out.setdefault(row.owner, {})[row.resource] = (row.used, row.most)
    return out


def _sums(tx: Tx) -> dict[str, tuple[int, int | None]]:
    """What all accounts have: ROOT's counts."""
    query = sa.select(usage.c.resource, sa.func.sum(usage.c.used)).where(usage.c.owner.in_(sa.select(Account.c.id)))
    return {kind: (int(total or 0), None) for kind, total in tx.execute(query.group_by(usage.c.resource))}


def _free(account: Account) -> bool:
    return account.role_type == RoleType.ADMIN.value or account.name == "system"


@shown(Account, *SHOWN, detail="resource")
def _of_accounts(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [a.id for a in rows])
    return {a.id: _values(tx, a.id, True, _free(a), used.get(a.id, {})) for a in rows}


@shown(Project, *SHOWN, detail="resource")
def _of_projects(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [p.project_account_id for p in rows])
    return {p.id: _values(tx, p.project_account_id, True, False, used.get(p.project_account_id, {})) for p in rows}


@shown(Domain, *SHOWN, detail="resource")
def _of_domains(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [d.id for d in rows])
    return {
        d.id: _values(tx, d.id, False, d.parent_id is None, _sums(tx) if d.parent_id is None else used.get(d.id, {}))
        for d in rows
    }


Party = tuple[Domain, Account | None]
"""Whose limits: an account's (with its domain), or a domain's."""


def _party(ctx: Ctx, account: str | None, domain: Domain | None, project: Project | None) -> Party:
    """Whose limits are meant; NotFound when the caller may not see them."""
    from mold.api.permit import condition

    tx = ctx.tx
    if project is not None:
        own = tx.one(Account, project.project_account_id)
        return tx.one(Domain, own.domain_id), own
    if account is None and domain is not None:
        if ctx.caller.role is RoleType.USER:
            raise Denied("You see the limits of your own account only.", parameter="domainid")
        return domain, None
    found = tx.first(
        Account,
        Account.c.name == (account or ctx.caller.account),
        Account.c.domain_id == (domain.id if domain else ctx.caller.domain_id),
        condition(Account, ctx.caller, "see"),
    )
    if found is None:
        raise NotFound(f"There is no account {account} in this domain, or you may not see it.", account=account)
    return tx.one(Domain, found.domain_id), found


def _whose(tx: Tx, party: Party) -> dict[str, Any]:
    domain, account = party
    out: dict[str, Any] = {"domainid": domain.id, "domain": domain.name, "domainpath": domain.path}
    if account is not None and account.project_id is not None:
        project = tx.one(Project, account.project_id)
        out.update(projectid=project.id, project=project.name)
    elif account is not None:
        out["account"] = account.name
    return out


def _limit(tx: Tx, party: Party, kind: str) -> dict[str, Any]:
    domain, account = party
    owner = account.id if account else domain.id
    own = _used(tx, [owner]).get(owner, {}).get(kind, (0, None))[1]
    free = _free(account) if account else domain.parent_id is None
    most = -1 if free else _defaults(tx, kind, account is not None) if own is None else own
    return {
        **_whose(tx, party),
        "resourcetype": str(KINDS[kind][0]),
        "resourcetypename": kind,
        "max": most // UNIT.get(kind, 1) if most >= 0 else -1,
    }


def _kind(number: int) -> str:
    for kind, (known, *_) in KINDS.items():
        if known == number:
            return kind
    raise Invalid(
        f"There are no limits of the resource type {number}; there are {', '.join(f'{n} {k}' for k, (n, *_) in KINDS.items())}.",
        parameter="resourcetype",
    )


WHOSE = tuple(Field(n) for n in ("account", "projectid", "project", "domainid", "domain", "domainpath"))
LIMIT_FIELDS = (*WHOSE, Field("resourcetype"), Field("resourcetypename"), Field("max", "long"))
COUNT_FIELDS = (*WHOSE, Field("resourcetype"), Field("resourcetypename"), Field("resourcecount", "long"))
BY_TAG = {"tag:string": "for limits by tag, which are not offered yet"}


@command(
    "listResourceLimits",
    shape="list",
    key="resourcelimit",
    reads=True,
    fields=LIMIT_FIELDS,
    refused={**BY_TAG, "id:long": "not offered: limits have no ids; name the account or domain"},
)
def list_limits(
    ctx: Ctx,
    account: str | None = None,
    domainid: Domain | None = None,
    projectid: Project | None = None,
    resourcetype: int | None = None,
    resourcetypename: str | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the limits of an account, a domain or a project; -1 is no limit. Storage in GiB, memory in MiB.

    resourcetype: number of the type, 0 for machines
    resourcetypename: name of the type, as user_vm
    isrecursive: with domainid alone: also the domains below it
    listall: without an account or domain: of all accounts that the caller may see
    """
    from mold.api.permit import condition

    tx = ctx.tx
    kinds = [_kind(resourcetype)] if resourcetype is not None else list(KINDS)
    kinds = [k for k in kinds if resourcetypename in (None, k) and (keyword is None or keyword.lower() in k)]
    if listall and account is None and domainid is None and projectid is None:
        seen = tx.find(Account, condition(Account, ctx.caller, "see"), limit=1000)
        parties: list[Party] = [(tx.one(Domain, a.domain_id), a) for a in seen]
    else:
        parties = [_party(ctx, account, domainid, projectid)]
        top, of = parties[0]
        if isrecursive and of is None:
            parties = [(d, None) for d in tx.find(Domain, Domain.c.trail.startswith(top.trail, autoescape=True))]
    return paged("resourcelimit", [_limit(tx, p, k) for p in parties for k in kinds], page, pagesize)


@command(
    "updateResourceLimit",
    roles=ADMINS,
    shape="object",
    key="resourcelimit",
    event="RESOURCE.LIMIT.UPDATE",
    fields=LIMIT_FIELDS,
    refused=BY_TAG,
)
def update_limit(
    ctx: Ctx,
    resourcetype: int,
    max: Annotated[Long, Param(kind="long", low=-1)] = -1,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
) -> dict[str, Any]:
    """Sets a limit of an account, a domain or a project.

    resourcetype: number of the type, 0 for machines
    max: the limit; -1: none. Storage in GiB, memory in MiB
    """
    tx, kind = ctx.tx, _kind(resourcetype)
    party = _party(ctx, account, domainid, projectid)
    domain, who = party
    if not ctx.caller.root and (who.id == ctx.caller.account_id if who else domain.id == ctx.caller.domain_id):
        raise Denied("Only an admin above you changes your own limits.", parameter="account" if who else "domainid")
    if _free(who) if who else domain.parent_id is None:
        raise Invalid(
            "Root admin accounts and the ROOT domain have no limits.", parameter="account" if who else "domainid"
        )
    above = _limit(tx, (domain, None), kind)["max"] if who else -1
    if above >= 0 and (max < 0 or max > above):
        raise Invalid(f"The domain {domain.path} may have {above}; an account in it cannot have more.", parameter="max")
    most = max * UNIT.get(kind, 1) if max >= 0 else -1
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
    tx.execute(
        insert.values(owner=who.id if who else domain.id, resource=kind, used=0, most=most).on_conflict_do_update(
            index_elements=["owner", "resource"], set_={"most": insert.excluded.most}
        )
    )
    return {"resourcelimit": _limit(tx, party, kind)}


Counter = Callable[[Tx, Any], int]
COUNTERS: dict[str, Counter] = {}


def counted(kind: str) -> Callable[[Counter], Counter]:
    """Say how things of a kind are counted anew: a function of (tx, subselect of account ids)."""

    def keep(function: Counter) -> Counter:
        COUNTERS[kind] = function
        return function

    return keep


def recount(tx: Tx, domain: Domain, account: Account | None, kind: str) -> int:
    """Count what an account, or all accounts of a domain and below, really have, and keep that; returns the count."""
    owner = account.id if account else domain.id
    # The row is locked first: whoever adds to it meanwhile waits, and adds to the fresh count.
    tx.execute(sa.select(usage.c.used).where(usage.c.owner == owner, usage.c.resource == kind).with_for_update())
    these = sa.select(Account.c.id)
    these = (
        these.where(Account.c.id == account.id) if account else these.where(below(domain.trail, Account.c.domain_id))
    )
    count = COUNTERS[kind](tx, these)
    if account is not None or domain.parent_id is not None:
        tx.execute(sa.update(usage).where(usage.c.owner == owner, usage.c.resource == kind).values(used=count))
    return count


@command(
    "updateResourceCount",
    roles=ADMINS,
    shape="list",
    key="resourcecount",
    fields=COUNT_FIELDS,
    refused=BY_TAG,
)
def update_count(
    ctx: Ctx,
    domainid: Annotated[Domain, Param(access="see")],
    account: str | None = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
    resourcetype: int | None = None,
) -> list[dict[str, Any]]:
    """Counts anew what an account, a domain or a project has, and keeps the result.

    resourcetype: number of the type, 0 for machines; default: all types
    """
    party = _party(ctx, account, domainid, projectid)
    kinds = [_kind(resourcetype)] if resourcetype is not None else [k for k in KINDS if k in COUNTERS]
    out = []
    for kind in kinds:
        if kind not in COUNTERS:
            raise Invalid(f"There are no things of the type {kind} yet.", parameter="resourcetype")
        count = recount(ctx.tx, *party, kind)
        out.append(
            {
                **_whose(ctx.tx, party),
                "resourcetype": str(KINDS[kind][0]),
                "resourcetypename": kind,
                "resourcecount": count // UNIT.get(kind, 1),
            }
        )
    return out
