"""Accounts own things; who acts for them are their users."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Details, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Person, RoleType, below, condition
from mold.base import ids
from mold.base.errors import Conflict, Denied, Invalid, NotFound
from mold.features.identity import roles
from mold.features.identity.domains import Domain, check_suffix
from mold.features.identity.roles import Role
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step

ACCOUNT_TYPE = {RoleType.USER: 0, RoleType.ADMIN: 1, RoleType.DOMAIN: 2, RoleType.RESOURCE: 3}
BY_TYPE = {v: k for k, v in ACCOUNT_TYPE.items()}
PROJECT_TYPE = 5


KeyAccess = Annotated[Literal["ENABLED", "DISABLED", "INHERIT"], Param(roles=ROOT)]
"""Whether requests may be signed with API keys; INHERIT asks what is above."""


class Account(Resource):
    """An account. `role_type` is the kind of its role; `type` the API's number for it (5: a project's own).

    `state`: enabled, locked (its users cannot sign in), disabled (and its machines are stopped), removing.
    """

    kind = "account"
    steady = True
    title = "account"
    unique = (("domain_id", "name"),)
    appears = {"account": "name"}
    policy = Person()

    name: str = column(filter=True, keyword=True)
    domain_id: str = refers("domain", filter=False)
    type: int = column(default=0, api="accounttype", kind="integer")
    role_id: str = refers("role", filter=False)
    role_type: str = column(default=RoleType.USER.value, api="roletype")
    state: str = column(default="enabled", filter=True)
    apikey_access: str = column(default="INHERIT", api="apikeyaccess")
    project_id: str | None = column(default=None, hidden=True)
    networkdomain: str | None = column(default=None)
    default_zone_id: str | None = refers(
        "zone", default=None, loose=True, filter=False, shows={"defaultzoneid": "id"}
    )
    details: dict[str, str] | None = column(default=None, api="accountdetails", kind="map")
    created: str = created()


def chosen_id(text: str | None, name: str) -> str | None:
    """An id that the caller chose for something new; Invalid when it is no uuid."""
    if text is not None and not ids.UUID.match(text):
        raise Invalid(f"{name} must be a uuid.", parameter=name)
    return text.lower() if text else None


def new_account(
    tx: Tx,
    *,
    name: str,
    domain: Domain,
    role: RoleType | Role,
    type: int | None = None,
    project_id: str | None = None,
    id: str | None = None,
    networkdomain: str | None = None,
    details: dict[str, str] | None = None,
) -> Account:
    """Insert an account with a role, or with the default role of a kind."""
    chosen = role if isinstance(role, Role) else roles.default(tx, role)
    kind = RoleType(chosen.role_type)
    made = Account(
        name=name,
        domain_id=domain.id,
        type=ACCOUNT_TYPE[kind] if type is None else type,
        role_id=chosen.id,
        role_type=kind.value,
        project_id=project_id,
        networkdomain=networkdomain or None,
        details=details or None,
    )
    if id is not None:
        made.id = id
    return tx.add(made)


def role_for(ctx: Ctx, roleid: Role | None, accounttype: int | None, domain: Domain) -> Role:
    """The role that an account of this domain is to have; Denied when it ranks above the caller's own."""
    role = roleid
    if role is None:
        kind = BY_TYPE.get(accounttype or 0)
        if kind is None:
            raise Invalid(
                f"There is no account type {accounttype}; there are 0 user, 1 root admin, 2 domain admin, 3 resource admin.",
                parameter="accounttype",
            )
        role = roles.default(ctx.tx, kind)
    if ctx.caller.over is not None and role.id not in ctx.caller.over():
        raise Denied(f"The role {role.name} ranks higher than your own; you cannot give it away.", roleid=role.id)
    if role.role_type == RoleType.ADMIN and domain.parent_id is not None:
        raise Invalid(
            f"The role {role.name} is of the type {role.role_type}; such accounts belong to the ROOT domain.",
            parameter="domainid",
        )
    return role


def builtin(tx: Tx, account: Account) -> bool:
    """Whether an account came with the installation."""
    return account.name in ("admin", "system") and tx.known(Domain, account.domain_id).parent_id is None


@shown(Account, Field("isdefault", "boolean"), Field("rolename"), Field("iscleanuprequired", "boolean"))
def _account(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {a.id: {"isdefault": builtin(tx, a), "iscleanuprequired": a.state == "removing"} for a in rows}


@lists(
    "listAccounts",
    Account,
    refused={
        "tag:string": "for limits by tag, which are not offered yet",
    },
)
def _accounts(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    accounttype: int | None = None,
    state: str | None = None,
    iscleanuprequired: bool | None = None,
    apikeyaccess: KeyAccess | None = None,
    details: list[str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists accounts.

    details: sets of fields, comma separated: min, resource, all
    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    state: enabled, locked or disabled
    iscleanuprequired: accounts whose removal is not finished
    apikeyaccess: ENABLED, DISABLED or INHERIT: whether their users may sign requests with API keys
    """
    if apikeyaccess is not None:
        q.where(Account.c.apikey_access == apikeyaccess)
    if domainid is not None:
        q.where(below(domainid.trail, Account.c.domain_id) if isrecursive else Account.c.domain_id == domainid.id)
    elif isrecursive and not listall:
        q.where(below(q.ctx.caller.domain_trail, Account.c.domain_id))
    elif not listall and q.ctx.given.isdisjoint({"id", "name"}):
        q.where(Account.c.id == q.ctx.caller.account_id)
    if accounttype is not None:
        q.where(Account.c.type == accounttype)
    if state is not None:
        q.where(Account.c.state == state.lower())
    if iscleanuprequired is not None:
        q.where((Account.c.state == "removing") == iscleanuprequired)
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    q.where(Account.c.type != PROJECT_TYPE)


def meant(ctx: Ctx, id: Account | None, account: str | None, domainid: Domain | None) -> Account:
    """The account that a change is about: by id, or by name and domain; NotFound when the caller may not change it."""
    if id is not None:
        found: Account | None = id
    elif account is None:
        raise Invalid("Say which account: its id, or account and domainid.", parameter="id")
    else:
        found = ctx.tx.first(
            Account,
            Account.c.name == account,
            Account.c.domain_id == (domainid.id if domainid else ctx.caller.domain_id),
            condition(Account, ctx.caller, "operate"),
        )
    if found is None or found.type == PROJECT_TYPE:
        raise NotFound(
            f"There is no account {account or (id.name if id else '')} here, or you may not change it.",
            account=account,
        )
    if found.state == "removing":
        raise Conflict(f"The account {found.name} is being removed.", accountid=found.id)
    return found


@command(
    "updateAccount",
    roles=ADMINS,
    answers=Account,
    event="ACCOUNT.UPDATE",
)
def update(
    ctx: Ctx,
    id: Account | None = None,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    newname: str | None = None,
    roleid: Role | None = None,
    networkdomain: str | None = None,
    accountdetails: Details | None = None,
    apikeyaccess: KeyAccess | None = None,
) -> Account:
    """Changes an account's name, role, network domain or details.

    id: the account, instead of account and domainid
    account: its name; needs domainid unless it is in the caller's domain
    newname: the name it gets
    roleid: the role it gets
    networkdomain: DNS suffix of its networks; empty: the domain's
    accountdetails: details, accountdetails[0].name=value; they replace those there are
    apikeyaccess: ENABLED, DISABLED or INHERIT (api.key.access): whether its users may sign requests with API keys
    """
    tx, found = ctx.tx, meant(ctx, id, account, domainid)
    if newname is not None and newname != found.name:
        if not newname.strip():
            raise Invalid("An account's name must not be empty.", parameter="newname")
        if builtin(tx, found):
            raise Denied(f"The account {found.name} came with the installation and keeps its name.")
        tx.set(found, name=newname)
    if roleid is not None and roleid.id != found.role_id:
        if builtin(tx, found) or found.id == ctx.caller.account_id:
            raise Denied(f"The role of the account {found.name} cannot be changed by you: it is your own, or the first.")
        role = role_for(ctx, roleid, None, tx.one(Domain, found.domain_id))
        tx.set(found, role_id=role.id, role_type=role.role_type, type=ACCOUNT_TYPE[RoleType(role.role_type)])
    if networkdomain is not None:
        check_suffix(networkdomain)
        tx.set(found, networkdomain=networkdomain or None)
    if accountdetails is not None:
        tx.set(found, details=accountdetails or None)
    if apikeyaccess is not None:
        tx.set(found, apikey_access=apikeyaccess)
    return found


def _stoppable(ctx: Ctx, account: Account) -> Account:
    if builtin(ctx.tx, account) or account.id == ctx.caller.account_id:
        raise Denied(f"The account {account.name} is your own, or the first of the installation; it stays enabled.")
    return account


@command("enableAccount", roles=ADMINS, answers=Account, event="ACCOUNT.ENABLE")
def enable(
    ctx: Ctx,
    id: Account | None = None,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
) -> Account:
    """Enables an account that was disabled or locked.

    id: the account, instead of account and domainid
    account: its name; needs domainid unless it is in the caller's domain
    """
    return ctx.tx.set(meant(ctx, id, account, domainid), state="enabled")


@command("lockAccount", roles=ADMINS, answers=Account, event="ACCOUNT.LOCK")
def lock(ctx: Ctx, account: str, domainid: Annotated[Domain, Param(access="see")]) -> Account:
    """Locks an account: its users cannot sign in, its machines go on."""
    found = _stoppable(ctx, meant(ctx, None, account, domainid))
    if found.state == "disabled":
        raise Conflict(f"The account {found.name} is disabled, which is more than locked.", accountid=found.id)
    return ctx.tx.set(found, state="locked")


@operation
class MarkZone(Operation):
    """An account's default zone was noted with the request; nothing in the world follows."""

    answers = (Account, "account")
    account: str

    @step
    def done(self, tx: Tx) -> None:
        tx.one(Account, self.account)


@command(
    "markDefaultZoneForAccount", roles=ROOT, answers=Account, job=True, event="ACCOUNT.MARK.DEFAULT.ZONE"
)
def mark_zone(
    ctx: Ctx,
    account: str,
    domainid: Annotated[Domain, Param(access="see")],
    zoneid: Annotated[Resource, Param(of="zone")],
) -> None:
    """Marks a zone as the one that an account's things are made in when nobody says another."""
    found = meant(ctx, None, account, domainid)
    ctx.tx.set(found, default_zone_id=zoneid.id)
    ctx.start(MarkZone(account=found.id))
