"""Who may see, use and change what: the one place that decides.

A policy gives, for a caller and an access, a condition in SQL.  Lists add it to their query; an id
parameter is looked up *with* it, so what a caller may not touch is simply not found.  No command checks
ownership by hand.  Accesses: `see` (lists), `use` (refer to it, as a template in a deploy), `operate`
(change it; the `id` of a command that changes something).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from mold.base import ids
from mold.base.errors import Conflict, Denied, Invalid, NotFound
from mold.store import REGISTRY, Resource, Tx, refers

Access = Literal["see", "use", "operate"]


class RoleType(StrEnum):
    """The four kinds of role; every role is of one."""

    ADMIN = "Admin"
    RESOURCE = "ResourceAdmin"
    DOMAIN = "DomainAdmin"
    USER = "User"


RANK = {RoleType.ADMIN: 3, RoleType.RESOURCE: 2, RoleType.DOMAIN: 1, RoleType.USER: 0}
EVERYONE = frozenset(RoleType)
ADMINS = frozenset({RoleType.ADMIN, RoleType.RESOURCE, RoleType.DOMAIN})
OPERATORS = frozenset({RoleType.ADMIN, RoleType.RESOURCE})
ROOT = frozenset({RoleType.ADMIN})


@dataclass(frozen=True)
class Caller:
    """Who asks. `projects` are ids of the project accounts the caller belongs to."""

    user_id: str
    account_id: str
    account: str
    domain_id: str
    domain_trail: str
    role: RoleType
    username: str = ""
    user_number: int = 0
    projects: tuple[str, ...] = ()
    internal: bool = False
    """True for the system itself (integration port, reconcilers)."""
    address: str = ""
    session: str | None = None
    role_id: str = ""
    over: Callable[[], frozenset[str]] | None = None
    """Gives the ids of the roles that do not rank above the caller's; None: nobody ranks above her."""
    rules: Any = None
    """Rules that the API key of the request carries (`verdict(command)`); None: those of the role alone count."""
    project_roles: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Project account -> (project, project role) where the caller is a member with a role and no admin."""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> bool:
        """Whether the caller is a root admin."""
        return self.role is RoleType.ADMIN

    @property
    def rank(self) -> int:
        """How high the caller's role stands."""
        return RANK[self.role]


TRUE = sa.true()
FALSE = sa.false()


def domain_table() -> sa.Table:
    """The table of domains (declared by a higher floor)."""
    return REGISTRY["domain"].table


def below(path: str, col: Any) -> Any:
    """`col` is the id of the domain with this path or of one below it."""
    d = domain_table()
    return col.in_(sa.select(d.c.id).where(d.c.trail.startswith(path, autoescape=True)))


class Policy:
    """Root and resource admins do everything, nobody else anything; subclasses open it."""

    def see(self, caller: Caller, t: Any) -> Any:
        """Condition for rows the caller may see."""
        return TRUE if caller.role in OPERATORS else FALSE

    def use(self, caller: Caller, t: Any) -> Any:
        """Condition for rows the caller may refer to."""
        return self.see(caller, t)

    def operate(self, caller: Caller, t: Any) -> Any:
        """Condition for rows the caller may change."""
        return self.see(caller, t)

    def surely(self, caller: Caller, row: Any, access: Access) -> bool:
        """Whether it is plain without asking the database that the condition holds for this row. May say no too often."""
        return False


class Infra(Policy):
    """Machine rooms: seen and changed by operators only."""


class Open(Policy):
    """Seen and used by everybody, changed by operators (guest OS types, hypervisors)."""

    def see(self, caller: Caller, t: Any) -> Any:
        return TRUE

    def operate(self, caller: Caller, t: Any) -> Any:
        return TRUE if caller.role in OPERATORS else FALSE

    def surely(self, caller: Caller, row: Any, access: Access) -> bool:
        return access != "operate"


class Private(Policy):
    """Belongs to an account: the account, its project's members, and admins of domains above."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        if caller.role is RoleType.DOMAIN:
            mine = below(caller.domain_trail, t.c.domain_id)
            return sa.or_(mine, t.c.account_id.in_(caller.projects)) if caller.projects else mine
        return t.c.account_id.in_((caller.account_id, *caller.projects))

    def surely(self, caller: Caller, row: Any, access: Access) -> bool:
        return caller.role is RoleType.USER and row.account_id in (caller.account_id, *caller.projects)


class Owned(Resource):
    """Mixin of resources that belong to an account (`project_id` set when that is a project's account)."""

    account_id: str = refers("account", filter=False)
    domain_id: str = refers("domain", filter=False)
    project_id: str | None = refers("project", default=None, filter=False)
    policy = Private()


class Person(Policy):
    """Accounts and users: oneself, and whom an admin's domain holds, never somebody who ranks higher."""

    def _reach(self, caller: Caller, t: Any) -> Any:
        own = t.c.id if t.name == "account" else t.c.account_id
        if caller.role in OPERATORS:
            return TRUE
        if caller.role is RoleType.DOMAIN:
            return below(caller.domain_trail, t.c.domain_id)
        return own == caller.account_id

    def see(self, caller: Caller, t: Any) -> Any:
        return self._reach(caller, t)

    def operate(self, caller: Caller, t: Any) -> Any:
        reach = self._reach(caller, t)
        if caller.over is None:
            return reach
        account = REGISTRY["account"].table
        lower = sorted(caller.over())
        if t.name == "account":
            return sa.and_(reach, t.c.role_id.in_(lower))
        if caller.role is RoleType.USER:
            # An ordinary user acts on herself, not on the other users of the account.
            reach = t.c.id == caller.user_id
        return sa.and_(reach, t.c.account_id.in_(sa.select(account.c.id).where(account.c.role_id.in_(lower))))


class Territory(Policy):
    """Domains: an admin's own and those below; a user sees the one she is in."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        if caller.role is RoleType.DOMAIN:
            return t.c.trail.startswith(caller.domain_trail, autoescape=True)
        return t.c.id == caller.domain_id

    def operate(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        if caller.role is RoleType.DOMAIN:
            return t.c.trail.startswith(caller.domain_trail, autoescape=True)
        return FALSE


class Offered(Policy):
    """Offerings and zones: everybody's, or only for some domains (`domain_ids`, with all below them).

    A domain admin also sees what is offered below her domain, and changes what is offered nowhere else.
    """

    def _for(self, t: Any, where: Any) -> Any:
        """It is offered to a domain that meets the condition."""
        d = domain_table()
        # domain_ids is a JSON list of ids as text; ids are uuids, so one can be looked for as a word.
        listed = sa.cast(t.c.domain_ids, sa.Text).like(sa.literal("%").concat(d.c.id).concat("%"))
        return sa.exists(sa.select(1).where(where, listed))

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        trail = domain_table().c.trail
        open_to_me = sa.or_(
            t.c.domain_ids.is_(None), self._for(t, sa.literal(caller.domain_trail).like(trail.concat("%")))
        )
        if caller.role is RoleType.DOMAIN:
            return sa.or_(open_to_me, self._for(t, trail.startswith(caller.domain_trail, autoescape=True)))
        return open_to_me

    def operate(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        if caller.role is RoleType.DOMAIN:
            mine = domain_table().c.trail.startswith(caller.domain_trail, autoescape=True)
            return sa.and_(self._for(t, mine), ~self._for(t, ~mine))
        return FALSE

    def surely(self, caller: Caller, row: Any, access: Access) -> bool:
        return access != "operate" and row.domain_ids is None


def condition(kind: type[Resource], caller: Caller, access: Access) -> Any:
    """The condition under which `caller` has `access` to rows of `kind`."""
    if caller.internal:
        return TRUE
    policy: Policy | None = kind.policy
    if policy is None:
        raise RuntimeError(f"{kind.__name__} has no policy")
    rule: Any = getattr(policy, access)(caller, kind.table)
    return rule


_SAMPLES = tuple(
    Caller(
        user_id="", account_id="", account="", domain_id="", domain_trail="", role=role, projects=("",),
        extra={"administers": ("",)},
    )
    for role in RoleType
)  # fmt: skip


@cache
def judged(name: str) -> tuple[str, ...]:
    """The columns of a kind that decide who may see a row: those that its policy reads, and the id."""
    kind = REGISTRY[name]
    found = {"id"}
    for caller in _SAMPLES:
        for part in visitors.iterate(condition(kind, caller, "see")):
            if isinstance(part, sa.Column) and part.table is kind.table:
                found.add(part.name)
    return tuple(sorted(found))


def gone(tx: Tx, kind: type[Resource], caller: Caller, rows: list[dict[str, Any]]) -> set[str]:
    """The ids of removed rows that `caller` could have seen; of each row, the columns that are `judged` are needed."""
    rule = condition(kind, caller, "see")
    if rule is TRUE or not rows:
        return {r["id"] for r in rows}
    names = judged(kind.kind)
    cells = (
        [sa.cast(sa.literal(r[n], type_=kind.c[n].type), kind.c[n].type).label(n) for n in names] for r in rows
    )
    # The policy is given a table of the rows as they were, and decides as ever.
    was: Any = sa.union_all(*(sa.select(*each) for each in cells)).subquery(kind.kind)
    rule = kind.policy.see(caller, was)
    return set(tx.execute(sa.select(was.c.id).where(rule)).scalars())


def find(tx: Tx, kind: type[Resource], caller: Caller, value: str, access: Access) -> Resource | None:
    """The row that `value` (a uuid, or an internal number) names, if the caller has `access` to it."""
    number = ids.whole(value)
    if number is not None:
        return tx.first(kind, kind.c.number == number, condition(kind, caller, access))
    word = value.lower()
    if caller.internal or kind.policy is not None:
        row: Resource | None
        if kind.steady and access != "operate":
            row = copy.copy(tx.known_among(kind, (word,)).get(word))
        else:
            row = tx.get(kind, word)
        if row is None or caller.internal or kind.policy.surely(caller, row, access):
            return row
    return tx.first(kind, kind.c.id == word, condition(kind, caller, access))


def owner_of(tx: Tx, caller: Caller, account: str | None, domainid: Resource | None, projectid: Resource | None) -> Any:
    """The account that a new thing will belong to.

    Without parameters the caller's own; `projectid` gives the project's; `account` with `domainid` another's, if the
    caller administers it.
    """
    kind = REGISTRY["account"]
    if projectid is not None:
        if account:
            raise Invalid("Give either an account with its domain or a project, not both.")
        return tx.known(kind, projectid.__dict__["project_account_id"])
    if account is None:
        if domainid is not None and domainid.id != caller.domain_id and not caller.internal:
            raise Invalid("domainid needs account: say whose it is to be.", parameter="account")
        return tx.known(kind, caller.account_id)
    if domainid is None:
        if account == caller.account:
            return tx.known(kind, caller.account_id)
        raise Invalid("account needs domainid: the same name may exist in several domains.", parameter="domainid")
    found = tx.first(kind, kind.c.name == account, kind.c.domain_id == domainid.id, condition(kind, caller, "see"))
    if found is None:
        raise NotFound(f"There is no account {account} in this domain, or you may not act for it.", account=account)
    if caller.role is RoleType.USER and found.id != caller.account_id:
        raise Denied("You may act for your own account only.")
    if found.__dict__["state"] == "removing":
        raise Conflict(f"The account {account} is being removed; nothing is made for it any more.", account=account)
    return found
