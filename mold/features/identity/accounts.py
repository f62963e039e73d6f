"""Accounts own things; who acts for them are their users."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, RANK, ROOT, Person, RoleType, below
from mold.base import ids
from mold.base.errors import Denied, Invalid
from mold.features.identity.domains import Domain, Forgotten
from mold.features.identity.roles import ROLE_IDS, ROLE_NAMES
from mold.store import Resource, Tx, column, created, refers

ACCOUNT_TYPE = {RoleType.USER: 0, RoleType.ADMIN: 1, RoleType.DOMAIN: 2, RoleType.RESOURCE: 3}
BY_TYPE = {v: k for k, v in ACCOUNT_TYPE.items()}
PROJECT_TYPE = 5


KeyAccess = Annotated[Literal["ENABLED", "DISABLED", "INHERIT"], Param(roles=ROOT)]
"""Whether requests may be signed with API keys; INHERIT asks what is above."""


class Account(Resource):
    """An account. `role_type` is the kind of its role; `type` the API's number for it (5: a project's own)."""

    kind = "account"
    steady = True
    title = "account"
    unique = (("domain_id", "name"),)
    appears = {"account": "name"}
    policy = Person()

    name: str = column(filter=True, keyword=True)
    domain_id: str = refers("domain", filter=False)
    type: int = column(default=0, api="accounttype", kind="integer")
    role_type: str = column(default=RoleType.USER.value, api="roletype")
    state: str = column(default="enabled", filter=True)
    apikey_access: str = column(default="INHERIT", api="apikeyaccess")
    project_id: str | None = column(default=None, hidden=True)
    networkdomain: str | None = column(default=None)
    created: str = created()


def role_for(ctx: Ctx, roleid: str | None, accounttype: int | None, domain: Domain) -> RoleType:
    """The role of a new account; refuses one that the caller may not give, or that does not belong in the domain."""
    role = BY_TYPE.get(accounttype or 0)
    if roleid is not None:
        role = next(
            (r for r, i in ROLE_IDS.items() if i == roleid or roleid == str(list(RoleType).index(r) + 1)),
            None,
        )
    if role is None:
        raise Invalid("There is no such role or account type.", parameter="accounttype")
    if RANK[role] > ctx.caller.rank:
        raise Denied("You cannot create an account that ranks higher than your own.")
    if role is RoleType.ADMIN and domain.parent_id is not None:
        raise Invalid("Root admin accounts belong to the ROOT domain.", parameter="domainid")
    return role


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
    role: RoleType,
    type: int | None = None,
    project_id: str | None = None,
    id: str | None = None,
) -> Account:
    """Insert an account."""
    made = Account(
        name=name,
        domain_id=domain.id,
        type=ACCOUNT_TYPE[role] if type is None else type,
        role_type=role.value,
        project_id=project_id,
        networkdomain=domain.networkdomain,
    )
    if id is not None:
        made.id = id
    return tx.add(made)


def builtin(tx: Tx, account: Account) -> bool:
    """Whether an account came with the installation."""
    return account.name in ("admin", "system") and tx.one(Domain, account.domain_id).parent_id is None


@shown(
    Account,
    Field("isdefault", "boolean"),
    Field("roleid"),
    Field("rolename"),
    Field("iscleanuprequired", "boolean"),
)
def _account(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        a.id: {
            "isdefault": builtin(tx, a),
            "iscleanuprequired": a.state == "removing",
            "rolename": ROLE_NAMES[RoleType(a.role_type)],
            "roleid": ROLE_IDS[RoleType(a.role_type)],
        }
        for a in rows
    }


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
    iscleanuprequired: accounts whose removal is not finished
    apikeyaccess: ENABLED, DISABLED or INHERIT: whether their users may sign requests with API keys
    """
    if apikeyaccess is not None:
        q.where(Account.c.apikey_access == apikeyaccess)
    if domainid is not None:
        q.where(below(domainid.trail, Account.c.domain_id) if isrecursive else Account.c.domain_id == domainid.id)
    elif not listall and q.ctx.given.isdisjoint({"id", "name"}):
        q.where(Account.c.id == q.ctx.caller.account_id)
    if accounttype is not None:
        q.where(Account.c.type == accounttype)
    if state is not None:
        q.where(Account.c.state == state)
    if iscleanuprequired is not None:
        q.where((Account.c.state == "removing") == iscleanuprequired)
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    q.where(Account.c.type != PROJECT_TYPE)


@command("deleteAccount", roles=ADMINS, job=True, event="ACCOUNT.DELETE")
def delete_account(ctx: Ctx, id: Account) -> None:
    """Deletes an account that owns nothing any more, with its users."""
    if id.id == ctx.caller.account_id:
        raise Denied("You cannot delete your own account.")
    ctx.tx.remove(id)
    ctx.start(Forgotten(thing=id.id))
