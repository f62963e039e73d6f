"""Users: aliases of an account, who sign in. An account begins with its first user, so `createAccount` is here."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown, view
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, RANK, Person, RoleType, below
from mold.base.errors import Denied, Invalid
from mold.features.identity import passwords
from mold.features.identity.accounts import Account, KeyAccess, builtin, chosen_id, new_account, role_for
from mold.features.identity.credentials import hash_password
from mold.features.identity.domains import Domain
from mold.features.identity.roles import ROLE_IDS, ROLE_NAMES
from mold.store import Resource, Tx, column, created, refers


class User(Resource):
    """A user: an alias of an account, with a password and keys of its own.

    `source` is where the password is known: native, ldap or saml2. `apikey_access`: ENABLED, DISABLED or INHERIT (the
    account's). `mandate_2fa`: she must have a second factor. `change_password`: before she does anything else.
    """

    kind = "user"
    steady = True
    unique = (("domain_id", "username"),)
    appears = {"userid": "id", "username": "username"}
    policy = Person()

    username: str = column(filter=True, keyword=True)
    account_id: str = refers(
        "account",
        shows={"account": "name", "accountid": "id", "accounttype": "type", "roletype": "role_type"},
        filter=False,
        cascade=True,
    )
    domain_id: str = refers("domain", filter=False, shows={"domainid": "id", "domain": "name"})
    password_hash: str = column(hidden=True)
    firstname: str = column(keyword=True)
    lastname: str = column(keyword=True)
    email: str = column(keyword=True)
    timezone: str | None = column(default=None)
    state: str = column(default="enabled", filter=True)
    failed_logins: int = column(default=0, hidden=True)
    source: str = column(default="native", api="usersource")
    apikey_access: str = column(default="INHERIT", api="apikeyaccess")
    mandate_2fa: bool = column(default=False, hidden=True)
    change_password: bool = column(default=False, hidden=True)
    created: str = created()


KEPT_ELSEWHERE = "!"
"""What is kept of the password of a user whose password is known elsewhere: no hash, so nothing fits it."""


def new_user(
    tx: Tx,
    account: Account,
    *,
    username: str,
    password: str,
    firstname: str,
    lastname: str,
    email: str,
    timezone: str | None = None,
    id: str | None = None,
    source: str = "native",
) -> User:
    """Insert a user with a password (plain text in, argon2 stored); with another `source` no password here ever fits."""
    made = User(
        username=username,
        account_id=account.id,
        domain_id=account.domain_id,
        password_hash=hash_password(password) if source == "native" else KEPT_ELSEWHERE,
        firstname=firstname,
        lastname=lastname,
        email=email,
        timezone=timezone,
        source=source,
    )
    if id is not None:
        made.id = id
    return tx.add(made)


@shown(Account, Field("user", "list"))
def _users_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    users = tx.find(User, tx.any_of(User.c.account_id, [r.id for r in rows]))
    for user, values in zip(users, view(User).page(tx, users, caller), strict=True):
        found.setdefault(user.account_id, {}).setdefault("user", []).append(values)
    return found


@shown(
    User,
    Field("roleid"),
    Field("rolename"),
    Field("isdefault", "boolean"),
    Field("iscallerchilddomain", "boolean"),
)
def _user(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    accounts = tx.among(Account, list({u.account_id for u in rows}))
    domains = tx.among(Domain, list({u.domain_id for u in rows}))
    return {
        u.id: {
            "roleid": ROLE_IDS[RoleType(accounts[u.account_id].role_type)],
            "rolename": ROLE_NAMES[RoleType(accounts[u.account_id].role_type)],
            "isdefault": u.username in ("admin", "system") and builtin(tx, accounts[u.account_id]),
            "iscallerchilddomain": domains[u.domain_id].trail.startswith(caller.domain_trail)
            and u.domain_id != caller.domain_id,
        }
        for u in rows
    }


@command(
    "createAccount",
    roles=ADMINS,
    answers=Account,
    event="ACCOUNT.CREATE",
    refused={"accountdetails:map": "not offered yet: accounts have no details"},
)
def create_account(
    ctx: Ctx,
    username: str,
    password: str,
    email: str,
    firstname: str,
    lastname: str,
    account: str | None = None,
    domainid: Domain | None = None,
    accounttype: int | None = None,
    roleid: Annotated[str | None, Param(kind="uuid")] = None,
    networkdomain: str | None = None,
    timezone: str | None = None,
    accountid: str | None = None,
    userid: str | None = None,
) -> Account:
    """Creates an account and its first user.

    account: name of the account; default: the user's name
    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    roleid: id of the role; decides instead of accounttype
    timezone: the user's time zone
    accountid: the id that the account is to have (a uuid)
    userid: the id that the user is to have (a uuid)
    """
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    role = role_for(ctx, roleid, accounttype, domain)
    made = new_account(ctx.tx, name=account or username, domain=domain, role=role, id=chosen_id(accountid, "accountid"))
    if networkdomain:
        ctx.tx.set(made, networkdomain=networkdomain)
    passwords.check(ctx.tx, domain.id, username, password)
    new_user(
        ctx.tx,
        made,
        username=username,
        password=password,
        firstname=firstname,
        lastname=lastname,
        email=email,
        timezone=timezone,
        id=chosen_id(userid, "userid"),
    )
    return made


@lists("listUsers", User)
def _users(
    q: Query,
    account: str | None = None,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    accounttype: int | None = None,
    usersource: str | None = None,
    apikeyaccess: KeyAccess | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists users.

    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    usersource: where users are known from: native, ldap or saml2
    apikeyaccess: ENABLED, DISABLED or INHERIT: whether they may sign requests with API keys
    """
    if apikeyaccess is not None:
        q.where(User.c.apikey_access == apikeyaccess)
    if usersource is not None:
        q.where(User.c.source == usersource.lower())
    if domainid is not None:
        q.where(below(domainid.trail, User.c.domain_id) if isrecursive else User.c.domain_id == domainid.id)
    elif not listall and account is None and q.ctx.given.isdisjoint({"id", "username"}):
        q.where(User.c.account_id == q.ctx.caller.account_id)
    if account is not None or accounttype is not None:
        match = sa.select(Account.c.id)
        if account is not None:
            match = match.where(Account.c.name == account)
        if accounttype is not None:
            match = match.where(Account.c.type == accounttype)
        q.where(User.c.account_id.in_(match))


@command(
    "createUser",
    roles=ADMINS,
    answers=User,
    event="USER.CREATE",
    refused={"passwordchangerequired:boolean": "not offered yet"},
)
def create_user(
    ctx: Ctx,
    username: str,
    password: str,
    email: str,
    firstname: str,
    lastname: str,
    account: str,
    domainid: Domain | None = None,
    timezone: str | None = None,
    userid: str | None = None,
) -> User:
    """Creates a user: an alias of an account.

    account: name of the account that the user belongs to
    userid: the id that the user is to have (a uuid)
    """
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    found = ctx.tx.first(Account, Account.c.name == account, Account.c.domain_id == domain.id)
    if found is None or RANK[RoleType(found.role_type)] > ctx.caller.rank:
        raise Invalid(
            f"There is no account {account} in the domain {domain.path} that you may add users to.", parameter="account"
        )
    passwords.check(ctx.tx, domain.id, username, password)
    return new_user(
        ctx.tx,
        found,
        username=username,
        password=password,
        firstname=firstname,
        lastname=lastname,
        email=email,
        timezone=timezone,
        id=chosen_id(userid, "userid"),
    )


@command("deleteUser", roles=ADMINS, event="USER.DELETE")
def delete_user(ctx: Ctx, id: User) -> None:
    """Deletes a user; the account and what it owns stay."""
    if id.id == ctx.caller.user_id:
        raise Denied("You cannot delete the user you are signed in as.")
    ctx.tx.remove(id)
