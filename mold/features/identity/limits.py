"""Limits and counts: what an account, and the domains above it, may have of each kind, and has.

A count changes in the transaction that makes or removes the thing, with one guarded UPDATE per owner, so
that no number of parallel requests passes a limit.  -1 means unlimited.  What lies on tagged hosts or storage
counts once more under its tag (`user_vm@gpu`), whatever tags are limited at the time: so no change of a setting
makes a count wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql, sqlite

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Long, Param, command
from mold.api.lists import paged
from mold.api.permit import ADMINS, RoleType, below
from mold.base.errors import Denied, Invalid, NotFound, OverLimit
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain, above, moving
from mold.features.identity.projects import Member, Project, owning
from mold.store import Prepared, Tx, metadata
from mold.store.resource import NUMBER
from mold.store.settings import setting
from mold.store.store import GOES_WITH
from mold.work import change, look, reconciler

log = structlog.get_logger()


class Limited(NamedTuple):
    """A kind of thing that is limited: the API's number, its name in settings, defaults, what one is in bytes or MiB."""

    number: int
    words: str
    account: int
    domain: int
    project: int | None
    unit: int = 1
    tags: str = ""
    """`host` or `storage` where there are limits by tag too."""


GIB = 1024**3
KINDS: dict[str, Limited] = {
    "user_vm": Limited(0, "user.vms", 20, 40, 20, tags="host"),
    "public_ip": Limited(1, "public.ips", 20, 40, 20),
    "volume": Limited(2, "volumes", 20, 40, 20, tags="storage"),
    "snapshot": Limited(3, "snapshots", 20, 40, 20),
    "template": Limited(4, "templates", 20, 40, 20),
    "project": Limited(5, "projects", 10, 50, None),
    "network": Limited(6, "networks", 20, 40, 20),
    "vpc": Limited(7, "vpcs", 20, 40, 20),
    "cpu": Limited(8, "cpus", 40, 80, 40, tags="host"),
    "memory": Limited(9, "memory", 40960, 81920, 40960, tags="host"),
    "primary_storage": Limited(10, "primary.storage", 200, 400, 200, GIB, tags="storage"),
    "secondary_storage": Limited(11, "secondary.storage", 400, 800, 400, GIB),
    "backup": Limited(12, "backups", 20, 40, 20),
    "backup_storage": Limited(13, "backup.storage", 400, 800, 400, GIB),
    "bucket": Limited(14, "buckets", 20, 20, 20),
    "object_storage": Limited(15, "object.storage", 400, 400, 400, GIB),
    "gpu": Limited(16, "gpus", 20, 20, 20, tags="host"),
}
"""Settings and answers count storage in GiB and memory in MiB; what is kept counts storage in bytes."""
UNIT_WORDS = {"memory": "MiB", **{k: "GiB" for k, v in KINDS.items() if v.unit == GIB}}


def _default(whose: str, kind: str, value: int) -> Any:
    return setting(
        f"max.{whose}.{KINDS[kind].words}",
        value,
        f"How much of {kind} {'an' if whose == 'account' else 'a'} {whose} may have if nothing else is set for it; -1: any number.",
        category=f"{whose.title()} Defaults",
        low=-1,
        unit=UNIT_WORDS.get(kind, "things"),
        shape="Long",
    )


DEFAULTS: dict[str, dict[str, Any]] = {
    "account": {k: _default("account", k, v.account) for k, v in KINDS.items()},
    "domain": {k: _default("domain", k, v.domain) for k, v in KINDS.items()},
    "project": {k: _default("project", k, v.project) for k, v in KINDS.items() if v.project is not None},
}
TAGS = {
    "host": setting(
        "resource.limit.host.tags", "", "Tags of hosts for which there are limits, separated by commas."
    ),
    "storage": setting(
        "resource.limit.storage.tags", "", "Tags of storage for which there are limits, separated by commas."
    ),
}
CHECK_SECONDS = setting(
    "resourcecount.check.interval",
    300,
    "Seconds between looks whether counts are what there is.",
    low=10,
    unit="seconds",
    shape="Long",
)

usage = sa.Table(
    "usage_count",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("resource", sa.Text, primary_key=True),
    sa.Column("used", NUMBER, nullable=False, server_default="0"),
    sa.Column("most", NUMBER, nullable=True),
)
"""How much an account or domain (`owner`) has, and its own limit if one was set. `resource` is a kind, or kind@tag."""


def words(text: str | None) -> tuple[str, ...]:
    """Tags out of a text with commas, each once."""
    return tuple(dict.fromkeys(t.strip() for t in (text or "").split(",") if t.strip()))


def limited_tags(tx: Tx, kind: str) -> tuple[str, ...]:
    """The tags for which there are limits of a kind."""
    return words(TAGS[KINDS[kind].tags].get(tx)) if KINDS[kind].tags else ()


def _parted(key: str) -> tuple[str, str | None]:
    kind, _, tag = key.partition("@")
    return kind, tag or None


def _spread(amounts: dict[str, int], host_tags: str | None, storage_tags: str | None) -> dict[str, int]:
    """Amounts by kind, and by kind@tag; nothing that is nothing."""
    by = {"host": words(host_tags), "storage": words(storage_tags), "": ()}
    out = {k: n for k, n in amounts.items() if n}
    out.update({f"{k}@{t}": n for k, n in list(out.items()) for t in by[KINDS[k].tags]})
    return out


def owners(tx: Tx, account: Any) -> list[tuple[str, str]]:
    """The account and the domains above it but ROOT, which has no limits, each with what it is.

    From the bottom up, because rows are locked in this order and the highest is the one that most others want.
    """
    out: list[tuple[str, str]] = [(account.id, "project" if account.project_id is not None else "account")]
    domain = tx.known(Domain, account.domain_id)
    while domain.parent_id is not None:
        out.append((domain.id, "domain"))
        domain = tx.known(Domain, domain.parent_id)
    return out


def default(tx: Tx, whose: str, key: str) -> int:
    """The limit of a kind where none was set; by tag there is none then."""
    kind, tag = _parted(key)
    declared = DEFAULTS[whose].get(kind)
    if tag is not None or declared is None:
        return -1
    value: int = declared.get(tx)
    return value * KINDS[kind].unit if value >= 0 else -1


def _free(account: Account) -> bool:
    """Root admins and the system have no limits."""
    return account.role_type == RoleType.ADMIN.value or account.name == "system"


def reserve(
    tx: Tx, account: Account, *, host_tags: str | None = None, storage_tags: str | None = None, **amounts: int
) -> None:
    """Count more of something for an account; OverLimit when a limit would be passed.

    One statement per owner for all kinds in the good case.  ROOT has no limits and no rows: its counts are sums.
    """
    more = _spread(amounts, host_tags, storage_tags)
    kinds = sorted(more)
    free = _free(account)
    if not kinds:
        return
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)

    def count(owner: str, whose: str, some: list[str]) -> set[str]:
        given: dict[str, Any] = {"owner_": owner}
        for n, kind in enumerate(some):
            given.update({f"kind_{n}": kind, f"add_{n}": more[kind]})
            if not free:
                given[f"most_{n}"] = default(tx, whose, kind)
        return {row[0] for row in tx.rows(_counting(len(some), free), given)}

    for owner, whose in owners(tx, account):
        done = count(owner, whose, kinds)
        missing = [k for k in kinds if k not in done]
        if not missing:
            continue
        # Whoever is first to count something for an owner makes the row; the others wait for it and then count.
        made = [{"owner": owner, "resource": k, "used": 0} for k in missing]
        tx.execute(insert.values(made).on_conflict_do_nothing())
        done |= count(owner, whose, missing)
        for kind in kinds:
            if kind not in done:
                raise _over(tx, owner, whose, kind, more[kind])


@cache
def _counting(number: int, free: bool) -> Prepared:
    """Count more of so many kinds for one owner, each within its limit; returns those that were counted."""

    def bound(word: str, n: int, kind: Any = NUMBER) -> Any:
        return sa.bindparam(f"{word}_{n}", type_=kind)

    these = [usage.c.resource == bound("kind", n, sa.Text()) for n in range(number)]
    add = sa.case(*((match, bound("add", n)) for n, match in enumerate(these)), else_=sa.literal(0, NUMBER))
    guard: Any = sa.true()
    if not free:
        most = sa.case(*((match, bound("most", n)) for n, match in enumerate(these)), else_=sa.literal(-1, NUMBER))
        own = sa.func.coalesce(usage.c.most, most)
        guard = sa.or_(own < 0, usage.c.used + add <= own)
    return Prepared(
        sa.update(usage)
        .where(usage.c.owner == sa.bindparam("owner_"), sa.or_(*these), guard)
        .values(used=usage.c.used + add)
        .returning(usage.c.resource)
    )


def _named(tx: Tx, owner: str, whose: str) -> str:
    if whose == "domain":
        return tx.known(Domain, owner).path
    account = tx.known(Account, owner)
    return tx.one(Project, account.project_id).name if whose == "project" else account.name


def _over(tx: Tx, owner: str, whose: str, key: str, amount: int) -> OverLimit:
    row = tx.execute(
        sa.select(usage.c.used, usage.c.most).where(usage.c.owner == owner, usage.c.resource == key)
    ).first()
    used = row.used if row is not None else 0
    most = default(tx, whose, key) if row is None or row.most is None else row.most
    kind, tag = _parted(key)
    unit, wanted = KINDS[kind].unit, max(1, -(-amount // KINDS[kind].unit))
    name, tagged = _named(tx, owner, whose), f" with the tag {tag}" if tag else ""
    facts: dict[str, Any] = {"tag": tag} if tag else {}
    return OverLimit(
        f"The {whose}'s limit of {kind}{tagged} is {most // unit}; {used // unit} are in use and {wanted} more were asked for"
        f" ({whose} {name}). Remove some, or ask for a higher limit.",
        resource=kind,
        limit=most // unit,
        used=used // unit,
        wanted=wanted,
        owner=whose,
        ownerid=owner,
        ownername=name,
        **facts,
    )


def check(
    tx: Tx, account: Account, *, host_tags: str | None = None, storage_tags: str | None = None, **amounts: int
) -> None:
    """OverLimit when so much more would not be allowed now; counts nothing."""
    if _free(account):
        return
    more = _spread(amounts, host_tags, storage_tags)
    for owner, whose in owners(tx, account):
        have = _used(tx, [owner]).get(owner, {})
        for key, amount in more.items():
            used, own = have.get(key, (0, None))
            most = default(tx, whose, key) if own is None else own
            if most >= 0 and used + amount > most:
                raise _over(tx, owner, whose, key, amount)


def give_back(
    tx: Tx, account_id: str, *, host_tags: str | None = None, storage_tags: str | None = None, **amounts: int
) -> None:
    """Count less of something."""
    account = tx.get(Account, account_id)
    less = _spread(amounts, host_tags, storage_tags)
    if account is None or not less:
        return
    minus = sa.case(less, value=usage.c.resource, else_=0)
    for owner, _ in owners(tx, account):
        tx.execute(
            sa.update(usage)
            .where(usage.c.owner == owner, usage.c.resource.in_(sorted(less)))
            .values(used=sa.case((usage.c.used > minus, usage.c.used - minus), else_=0))
        )


def move_counts(tx: Tx, domain: Domain, old: Domain, new: Domain) -> None:
    """A domain moves: what it has counts for the domains above its new place; OverLimit when that is too much for one."""
    have = tx.execute(
        sa.select(usage.c.resource, usage.c.used).where(usage.c.owner == domain.id, usage.c.used > 0).with_for_update()
    ).all()
    # ROOT has no counts of its own.
    before, after = ({d.id for d in above(tx, place) if d.parent_id is not None} for place in (old, new))
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
    for kind, amount in sorted((r.resource, r.used) for r in have):
        for owner in sorted(before - after):
            less = sa.case((usage.c.used > amount, usage.c.used - amount), else_=0)
            tx.execute(sa.update(usage).where(usage.c.owner == owner, usage.c.resource == kind).values(used=less))
        for owner in sorted(after - before):
            tx.execute(insert.values(owner=owner, resource=kind, used=0).on_conflict_do_nothing())
            most = sa.func.coalesce(usage.c.most, default(tx, "domain", kind))
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
                raise _over(tx, owner, "domain", kind, amount)


moving.append(move_counts)


def _goes(tx: Tx, owner: str) -> None:
    tx.execute(sa.delete(usage).where(usage.c.owner == owner))


for _party_of in (Account, Domain):
    GOES_WITH.setdefault(_party_of.kind, []).append(_goes)


def _own_project(tx: Tx, account_id: str, more: int) -> None:
    if more > 0:
        reserve(tx, tx.one(Account, account_id), project=more)
    else:
        give_back(tx, account_id, project=-more)


owning.append(_own_project)


# -- as callers see them -------------------------------------------------------------------------------------------

PREFIX = {
    "user_vm": "vm",
    "public_ip": "ip",
    "primary_storage": "primarystorage",
    "secondary_storage": "secondarystorage",
    "backup_storage": "backupstorage",
    "object_storage": "objectstorage",
}
TAGGED_FIELDS = tuple(
    Field(n, t)
    for n, t in (
        ("resourcetype", "integer"),
        ("resourcetypename", "string"),
        ("tag", "string"),
        ("limit", "long"),
        ("total", "long"),
        ("available", "long"),
    )
)


def _fields(whose: str) -> tuple[Field, ...]:
    return (
        *(
            Field(f"{PREFIX.get(kind, kind)}{what}", shape)
            for kind in DEFAULTS[whose]
            for what, shape in (
                ("limit", "string"),
                ("total", "float" if kind == "secondary_storage" else "long"),
                ("available", "string"),
            )
        ),
        Field("taggedresources", "list", "limits and counts by tag", of=TAGGED_FIELDS),
    )


Used = dict[str, tuple[int, int | None]]


def _shown(tx: Tx, whose: str, parties: dict[str, tuple[bool, Used]]) -> dict[str, dict[str, Any]]:
    """What answers say of limits and counts: {id: (whether it has no limits, its counts)} -> fields."""
    defaults = {kind: default(tx, whose, kind) for kind in DEFAULTS[whose]}
    by_tag = [(kind, tag) for kind in DEFAULTS[whose] for tag in limited_tags(tx, kind)]
    out: dict[str, dict[str, Any]] = {}
    for id, (free, used) in parties.items():
        values: dict[str, Any] = {}
        for kind, usual in defaults.items():
            have, own = used.get(kind, (0, None))
            most = -1 if free else usual if own is None else own
            unit, name = KINDS[kind].unit, PREFIX.get(kind, kind)
            values[f"{name}limit"] = "Unlimited" if most < 0 else str(most // unit)
            values[f"{name}total"] = round(have / unit, 2) if kind == "secondary_storage" else have // unit
            values[f"{name}available"] = "Unlimited" if most < 0 else str(max(0, most - have) // unit)
        tagged = []
        for kind, tag in by_tag:
            have, own = used.get(f"{kind}@{tag}", (0, None))
            most, unit = -1 if free or own is None else own, KINDS[kind].unit
            tagged.append(
                {
                    "resourcetype": KINDS[kind].number,
                    "resourcetypename": kind,
                    "tag": tag,
                    "limit": most // unit if most >= 0 else -1,
                    "total": have // unit,
                    "available": max(0, most - have) // unit if most >= 0 else -1,
                }
            )
        if tagged:
            values["taggedresources"] = tagged
        out[id] = values
    return out


def _used(tx: Tx, owners: list[str]) -> dict[str, Used]:
    out: dict[str, Used] = {}
    for row in tx.execute(sa.select(usage).where(tx.any_of(usage.c.owner, owners))):
        out.setdefault(row.owner, {})[row.resource] = (row.used, row.most)
    return out


def _sums(tx: Tx) -> Used:
    """What all accounts have: ROOT's counts."""
    query = sa.select(usage.c.resource, sa.func.sum(usage.c.used)).where(usage.c.owner.in_(sa.select(Account.c.id)))
    return {kind: (int(total or 0), None) for kind, total in tx.execute(query.group_by(usage.c.resource))}


@shown(Account, *_fields("account"), detail="resource")
def _of_accounts(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [a.id for a in rows])
    return _shown(tx, "account", {a.id: (_free(a), used.get(a.id, {})) for a in rows})


@shown(Project, *_fields("project"), detail="resource")
def _of_projects(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [p.project_account_id for p in rows])
    return _shown(tx, "project", {p.id: (False, used.get(p.project_account_id, {})) for p in rows})


@shown(Domain, *_fields("domain"), detail="resource")
def _of_domains(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    used = _used(tx, [d.id for d in rows])
    parties = {
        d.id: (d.parent_id is None, _sums(tx) if d.parent_id is None else used.get(d.id, {})) for d in rows
    }
    return _shown(tx, "domain", parties)


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


def _sort(party: Party) -> str:
    account = party[1]
    return "domain" if account is None else "project" if account.project_id is not None else "account"


def _limit(tx: Tx, party: Party, key: str) -> dict[str, Any]:
    domain, account = party
    owner = account.id if account else domain.id
    return _limits(tx, party, [key], _used(tx, [owner]).get(owner, {}))[0]


def _limits(tx: Tx, party: Party, keys: Iterable[str], used: Used) -> list[dict[str, Any]]:
    domain, account = party
    free = _free(account) if account else domain.parent_id is None
    whose, out = _whose(tx, party), []
    for key in keys:
        kind, tag = _parted(key)
        own = used.get(key, (0, None))[1]
        most = -1 if free else default(tx, _sort(party), key) if own is None else own
        limit = {"resourcetype": str(KINDS[kind].number), "resourcetypename": kind}
        out.append(
            {
                **whose,
                **limit,
                "max": most // KINDS[kind].unit if most >= 0 else -1,
                **({"tag": tag} if tag is not None else {}),
            }
        )
    return out


def _kind(number: int) -> str:
    for kind, about in KINDS.items():
        if about.number == number:
            return kind
    raise Invalid(
        f"There are no limits of the resource type {number}; there are {', '.join(f'{v.number} {k}' for k, v in KINDS.items())}.",
        parameter="resourcetype",
    )


def _tagged(tx: Tx, kind: str, tag: str | None) -> str:
    """The key of a kind, or of a kind by tag; Invalid when there are no limits by that tag."""
    if tag is None:
        return kind
    if not KINDS[kind].tags:
        by_tag = ", ".join(k for k, v in KINDS.items() if v.tags)
        raise Invalid(f"There are no limits of {kind} by tag; there are some of {by_tag}.", parameter="tag")
    if tag not in limited_tags(tx, kind):
        name = TAGS[KINDS[kind].tags].name
        raise Invalid(f"There are no limits by the tag {tag[:80]}: it is not one of the setting {name}.", parameter="tag")
    return f"{kind}@{tag}"


WHOSE = tuple(Field(n) for n in ("account", "projectid", "project", "domainid", "domain", "domainpath"))
TYPED = (*WHOSE, Field("resourcetype"), Field("resourcetypename"))
LIMIT_FIELDS = (*TYPED, Field("max", "long"), Field("tag", doc="tag of hosts or storage that the limit is for"))
COUNT_FIELDS = (*TYPED, Field("resourcecount", "long"), Field("tag", doc="tag of hosts or storage that was counted"))
PARTIES_MAX = 1000
"""Whose limits one call lists at most: each has one for every kind."""


@command(
    "listResourceLimits",
    shape="list",
    key="resourcelimit",
    reads=True,
    fields=LIMIT_FIELDS,
    refused={"id:long": "not offered: limits have no ids; name the account or domain"},
)
def list_limits(
    ctx: Ctx,
    account: str | None = None,
    domainid: Domain | None = None,
    projectid: Project | None = None,
    resourcetype: int | None = None,
    resourcetypename: str | None = None,
    tag: str | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the limits of an account, a domain or a project; -1 is no limit. Storage in GiB, memory in MiB.

    resourcetype: number of the type, 0 for machines
    resourcetypename: name of the type, as user_vm
    tag: only limits by this tag of hosts or storage; default: the usual limits and those by tag
    isrecursive: with domainid alone: also the domains below it
    listall: without an account or domain: of all accounts that the caller may see
    """
    from mold.api.permit import condition

    tx = ctx.tx
    kinds = [_kind(resourcetype)] if resourcetype is not None else list(KINDS)
    kinds = [k for k in kinds if resourcetypename in (None, k) and (keyword is None or keyword.lower() in k)]
    if listall and account is None and domainid is None and projectid is None:
        seen = tx.find(Account, condition(Account, ctx.caller, "see"), limit=PARTIES_MAX)
        parties: list[Party] = [(tx.known(Domain, a.domain_id), a) for a in seen]
    else:
        parties = [_party(ctx, account, domainid, projectid)]
        top, of = parties[0]
        if isrecursive and of is None:
            under = Domain.c.trail.startswith(top.trail, autoescape=True)
            parties = [(d, None) for d in tx.find(Domain, under, limit=PARTIES_MAX)]
    used = _used(tx, [a.id if a is not None else d.id for d, a in parties])
    rows: list[dict[str, Any]] = []
    for party in parties:
        keys = [] if tag is not None else [k for k in kinds if k in DEFAULTS[_sort(party)]]
        keys += [f"{k}@{t}" for k in kinds for t in limited_tags(tx, k) if tag in (None, t)]
        rows += _limits(tx, party, keys, used.get(party[1].id if party[1] is not None else party[0].id, {}))
    return paged("resourcelimit", rows, page, pagesize)


@command(
    "updateResourceLimit",
    roles=ADMINS,
    shape="object",
    key="resourcelimit",
    event="RESOURCE.LIMIT.UPDATE",
    fields=LIMIT_FIELDS,
)
def update_limit(
    ctx: Ctx,
    resourcetype: int,
    max: Annotated[Long, Param(kind="long", low=-1, high=2**40)] = -1,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
    tag: str | None = None,
) -> dict[str, Any]:
    """Sets a limit of an account, a domain or a project.

    resourcetype: number of the type, 0 for machines
    max: the limit; -1: none. Storage in GiB, memory in MiB
    tag: the limit is for what lies on hosts or storage with this tag
    """
    tx, kind = ctx.tx, _kind(resourcetype)
    key = _tagged(tx, kind, tag)
    party = _party(ctx, account, domainid, projectid)
    domain, who = party
    if not ctx.caller.root and (who.id == ctx.caller.account_id if who else domain.id == ctx.caller.domain_id):
        raise Denied("Only an admin above you changes your own limits.", parameter="account" if who else "domainid")
    if (_free(who) if who else domain.parent_id is None) and max >= 0:
        raise Invalid(
            "Root admin accounts and the ROOT domain have no limits.", parameter="account" if who else "domainid"
        )
    if kind not in DEFAULTS[_sort(party)]:
        raise Invalid(f"A {_sort(party)} has no {kind}s, so there is no limit of them.", parameter="resourcetype")
    if who is None and domain.parent_id is not None:
        parent = tx.known(Domain, domain.parent_id)
        above = _limit(tx, (parent, None), key)["max"]
        if above >= 0 and (max < 0 or max > above):
            raise Invalid(
                f"The domain {parent.path} may have {above}; a domain below it cannot have more.", parameter="max", limit=above
            )
    most = max * KINDS[kind].unit if max >= 0 else -1
    insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
    before = _limit(tx, party, key)["max"]
    tx.execute(
        insert.values(owner=who.id if who else domain.id, resource=key, used=0, most=most).on_conflict_do_update(
            index_elements=["owner", "resource"], set_={"most": insert.excluded.most}
        )
    )
    label = f"account {who.name}" if who else f"domain {domain.path}"
    ctx.tell(f"The limit of {key} of the {label} is {max}, it was {before}.", about=who or domain)
    return {"resourcelimit": _limit(tx, party, key)}


Counter = Callable[[str | None], Any]
COUNTERS: dict[str, Counter] = {}


def counted(kind: str) -> Callable[[Counter], Counter]:
    """Say how things of a kind are counted anew.

    The function gets a tag, or None for all things, and returns a SELECT of (account id, amount) grouped by account.
    """

    def keep(function: Counter) -> Counter:
        COUNTERS[kind] = function
        return function

    return keep


@counted("project")
def _projects(tag: str | None) -> Any:
    """The projects whose admin an account is."""
    return (
        sa.select(Member.c.account_id, sa.func.count()).where(Member.c.role == "Admin").group_by(Member.c.account_id)
    )


def with_tag(column: Any, tag: str | None) -> Any:
    """The condition that a text of tags with commas holds this one; no condition without a tag."""
    if tag is None:
        return sa.true()
    held = sa.literal(",").concat(sa.func.replace(sa.func.coalesce(column, ""), " ", "")).concat(",")
    return held.contains(f",{tag.replace(' ', '')},", autoescape=True)


def real(tx: Tx, key: str, accounts: Any) -> int:
    """What the accounts of a subselect really have of a kind (by tag); 0 of kinds that there are no things of yet."""
    kind, tag = _parted(key)
    if kind not in COUNTERS:
        return 0
    found = COUNTERS[kind](tag).subquery()
    owner, amount = found.c
    return int(tx.execute(sa.select(sa.func.coalesce(sa.func.sum(amount), 0)).where(owner.in_(accounts))).scalar_one())


def recount(tx: Tx, domain: Domain, account: Account | None, key: str) -> int:
    """Count what an account, or all accounts of a domain and below, really have, and keep that; returns the count."""
    owner = account.id if account else domain.id
    # The row is locked first: whoever adds to it meanwhile waits, and adds to the fresh count.
    held = tx.execute(
        sa.select(usage.c.used).where(usage.c.owner == owner, usage.c.resource == key).with_for_update()
    ).first()
    these = sa.select(Account.c.id)
    these = (
        these.where(Account.c.id == account.id) if account else these.where(below(domain.trail, Account.c.domain_id))
    )
    count = real(tx, key, these)
    if (account is not None or domain.parent_id is not None) and (held is None or held.used != count):
        if held is not None:
            log.warning("a count was wrong", owner=owner, resource=key, counted=held.used, real=count)
        insert: Any = (postgresql if tx.postgres else sqlite).insert(usage)
        row = insert.values(owner=owner, resource=key, used=count)
        tx.execute(row.on_conflict_do_update(index_elements=["owner", "resource"], set_={"used": row.excluded.used}))
    return count


@command(
    "updateResourceCount",
    roles=ADMINS,
    shape="list",
    key="resourcecount",
    fields=COUNT_FIELDS,
)
def update_count(
    ctx: Ctx,
    domainid: Annotated[Domain, Param(access="see")],
    account: str | None = None,
    projectid: Annotated[Project | None, Param(access="see")] = None,
    resourcetype: int | None = None,
    tag: str | None = None,
) -> list[dict[str, Any]]:
    """Counts anew what an account, a domain or a project has, and keeps the result.

    resourcetype: number of the type, 0 for machines; default: all types
    tag: only what lies on hosts or storage with this tag; default: everything, and by tag what is limited by tag
    """
    tx = ctx.tx
    party = _party(ctx, account, domainid, projectid)
    kinds = [_kind(resourcetype)] if resourcetype is not None else list(DEFAULTS[_sort(party)])
    if tag is not None and resourcetype is not None:
        keys = [_tagged(tx, kinds[0], tag)]
    else:
        keys = [] if tag is not None else list(kinds)
        keys += [f"{k}@{t}" for k in kinds for t in limited_tags(tx, k) if tag in (None, t)]
    out = []
    for key in keys:
        kind, by = _parted(key)
        count = recount(tx, *party, key)
        out.append(
            {
                **_whose(tx, party),
                "resourcetype": str(KINDS[kind].number),
                "resourcetypename": kind,
                "resourcecount": count // KINDS[kind].unit,
                **({"tag": by} if by is not None else {}),
            }
        )
    return out


def drifts(tx: Tx) -> list[tuple[str, str]]:
    """(owner, key) whose counts are not what there is, as far as can be seen without holding anything up."""
    places = {a: d for a, d in tx.execute(sa.select(Account.c.id, Account.c.domain_id))}
    parents = {d: p for d, p in tx.execute(sa.select(Domain.c.id, Domain.c.parent_id))}
    have = {(r.owner, r.resource): r.used for r in tx.execute(sa.select(usage.c.owner, usage.c.resource, usage.c.used))}
    tagged = {key for _, key in have if "@" in key}
    wrong: list[tuple[str, str]] = []
    for key in (*COUNTERS, *sorted(tagged)):
        kind, tag = _parted(key)
        if kind not in COUNTERS:
            continue
        there: dict[str, int] = {}
        for account, amount in tx.execute(COUNTERS[kind](tag)):
            there[account] = int(amount)
            above = places.get(account)
            while above is not None and parents.get(above) is not None:
                there[above] = there.get(above, 0) + int(amount)
                above = parents[above]
        for owner in (*places, *(d for d, p in parents.items() if p is not None)):
            if there.get(owner, 0) != have.get((owner, key), 0):
                wrong.append((owner, key))
    return wrong


@reconciler(every=CHECK_SECONDS)
async def check_counts() -> int:
    """Counts that are not what there is are put right."""
    # What is under way between two statements looks wrong too: only what is wrong twice is looked at, and under a lock.
    first = set(await look(drifts))
    suspects = [d for d in await look(drifts) if d in first] if first else []

    def mend(tx: Tx, owner: str, key: str) -> int:
        account = tx.get(Account, owner)
        domain = tx.get(Domain, account.domain_id if account is not None else owner)
        if domain is None:
            return 0
        before = _used(tx, [owner]).get(owner, {}).get(key, (0, None))[0]
        return int(recount(tx, domain, account, key) != before)

    return sum([await change(partial(mend, owner=owner, key=key)) for owner, key in suspects])
