"""Limits and counts: what an account, and the domains above it, may have of each kind, and has.

A count changes in the transaction that makes or removes the thing, with one guarded UPDATE per owner, so
that no number of parallel requests passes a limit.  -1 means unlimited.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mold.base.errors import OverLimit
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.infra.settings import setting
from mold.store import Tx, metadata
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
    add = sa.case({k: amounts[k] for k in kinds}, value=usage.c.resource, else_=0)
    for owner, is_account in parties:
        own = sa.func.coalesce(
            usage.c.most, sa.case({k: _defaults(tx, k, is_account) for k in kinds}, value=usage.c.resource, else_=-1)
        )
        guard = sa.true() if free else sa.or_(own < 0, usage.c.used + add <= own)
        good = (
            sa.update(usage)
            .where(usage.c.owner == owner, usage.c.resource.in_(kinds), guard)
            .values(used=usage.c.used + add)
            .returning(usage.c.resource)
        )
        done = set(tx.execute(good).scalars())
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
            done |= set(tx.execute(good.where(usage.c.resource.in_(fresh))).scalars())
        for kind in kinds:
            if kind not in done:
                raise _over(tx, owner, is_account, kind, amounts[kind])


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
