"""Users: aliases of an account, who sign in. An account begins with its first user, so `createAccount` is here."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown, view
from mold.api.command import Ctx, Details, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Person, below, condition
from mold.base.errors import Denied, Invalid, NotFound
from mold.features.identity import passwords, sessions
from mold.features.identity.accounts import (
    PROJECT_TYPE,
    Account,
    KeyAccess,
    builtin,
    chosen_id,
    new_account,
    role_for,
)
from mold.features.identity.credentials import hash_password, matches
from mold.features.identity.domains import Domain, check_suffix
from mold.features.identity.roles import Role
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step


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
def check_timezone(name: str | None) -> None:
    """Invalid unless it is a time zone of the tz database; no name at all is fine."""
    try:
        if name:
            zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(f"There is no time zone '{name}'; write it like Asia/Seoul.", parameter="timezone") from None


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
    check_timezone(timezone)
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
    roles = tx.among(Role, list({a.role_id for a in accounts.values()}))
    return {
        u.id: {
            "roleid": accounts[u.account_id].role_id,
            "rolename": roles[accounts[u.account_id].role_id].name,
            "isdefault": u.username in ("admin", "system") and builtin(tx, accounts[u.account_id]),
            "iscallerchilddomain": domains[u.domain_id].trail.startswith(caller.domain_trail)
            and u.domain_id != caller.domain_id,
        }
        for u in rows
    }


@command("createAccount", roles=ADMINS, answers=Account, event="ACCOUNT.CREATE")
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
    roleid: Role | None = None,
    networkdomain: str | None = None,
    timezone: str | None = None,
    accountid: str | None = None,
    userid: str | None = None,
    accountdetails: Details | None = None,
) -> Account:
    """Creates an account and its first user.

    account: name of the account; default: the user's name
    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    roleid: id of the role; decides instead of accounttype
    networkdomain: DNS suffix of its networks; default: the domain's
    timezone: the user's time zone, as Asia/Seoul
    accountid: the id that the account is to have (a uuid)
    userid: the id that the user is to have (a uuid)
    accountdetails: details, accountdetails[0].name=value
    """
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    check_suffix(networkdomain)
    name = (account or username).strip()
    if not name or not username.strip():
        raise Invalid("The names of an account and its user must not be empty.", parameter="username")
    made = new_account(
        ctx.tx,
        name=name,
        domain=domain,
        role=role_for(ctx, roleid, accounttype, domain),
        id=chosen_id(accountid, "accountid"),
        networkdomain=networkdomain,
        details=accountdetails,
    )
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
    elif isrecursive and not listall:
        q.where(below(q.ctx.caller.domain_trail, User.c.domain_id))
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
    passwordchangerequired: bool = False,
) -> User:
    """Creates a user: an alias of an account.

    account: name of the account that the user belongs to
    userid: the id that the user is to have (a uuid)
    passwordchangerequired: she must change her password before she does anything else
    """
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    found = ctx.tx.first(
        Account,
        Account.c.name == account,
        Account.c.domain_id == domain.id,
        Account.c.type != PROJECT_TYPE,
        condition(Account, ctx.caller, "operate"),
    )
    if found is None:
        raise Invalid(
            f"There is no account {account} in the domain {domain.path} that you may add users to.", parameter="account"
        )
    passwords.check(ctx.tx, domain.id, username, password)
    made = new_user(
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
    return ctx.tx.set(made, change_password=True) if passwordchangerequired else made


@command(
    "updateUser",
    answers=User,
    event="USER.UPDATE",
)
def update_user(
    ctx: Ctx,
    id: User,
    username: str | None = None,
    firstname: str | None = None,
    lastname: str | None = None,
    email: str | None = None,
    timezone: str | None = None,
    password: Annotated[str | None, Param(secret=True)] = None,
    currentpassword: Annotated[str | None, Param(secret=True)] = None,
    userapikey: Annotated[str | None, Param(secret=True)] = None,
    usersecretkey: Annotated[str | None, Param(secret=True)] = None,
    apikeyaccess: KeyAccess | None = None,
    mandate2fa: bool | None = None,
    passwordchangerequired: bool | None = None,
) -> User:
    """Changes a user's names, address, time zone, password or keys.

    timezone: the user's time zone, as Asia/Seoul
    password: the new password; it ends the user's other sessions
    currentpassword: the password until now; needed to change one's own
    userapikey: an API key that the user is to have instead of all others; needs usersecretkey
    usersecretkey: the secret that goes with it
    apikeyaccess: ENABLED, DISABLED or INHERIT (the account's): whether she may sign requests with API keys
    mandate2fa: whether she must have a second factor
    passwordchangerequired: she must change her password before she does anything else
    """
    tx, own = ctx.tx, id.id == ctx.caller.user_id
    for name, text in (("username", username), ("firstname", firstname), ("lastname", lastname), ("email", email)):
        if text is not None and not text.strip():
            raise Invalid(f"{name} must not be empty.", parameter=name)
    if username is not None and username != id.username and _first(tx, id):
        raise Denied(f"The user {id.username} came with the installation and keeps the name.")
    check_timezone(timezone)
    changed = {
        "username": username, "firstname": firstname, "lastname": lastname, "email": email, "timezone": timezone,
    }  # fmt: skip
    tx.set(id, **{k: v for k, v in changed.items() if v is not None})
    if password is not None:
        if not password:
            raise Invalid("A password must not be empty.", parameter="password")
        if ctx.caller.internal:
            raise Denied("Passwords are not changed at the integration port, where nobody has signed in.")
        if own and not (currentpassword and matches(id.password_hash, currentpassword)):
            raise Invalid("To change your password give the current one; it is missing or wrong.", parameter="currentpassword")
        passwords.change(tx, id, password, session=ctx.caller.session if own else None)
    if own and not ctx.caller.internal and (mandate2fa is False or passwordchangerequired is not None):
        raise Denied("What you must do to sign in is changed by another admin, not by yourself.")
    wanted = {"apikey_access": apikeyaccess, "mandate_2fa": mandate2fa, "change_password": passwordchangerequired}
    if chosen := {k: v for k, v in wanted.items() if v is not None}:
        tx.set(id, **chosen)
    if (userapikey is None) != (usersecretkey is None):
        raise Invalid("userapikey and usersecretkey go together.", parameter="userapikey")
    if userapikey is not None and usersecretkey is not None:
        if len(userapikey) < 16 or len(usersecretkey) < 16:
            raise Invalid("An API key and its secret have at least 16 characters.", parameter="userapikey")
        from mold.features.identity.apikeys import KeyPair, new_keys  # which know users

        for old in tx.find(KeyPair, KeyPair.c.user_id == id.id):
            tx.remove(old)
        new_keys(tx, id, apikey=userapikey, secret=usersecretkey)
    return id


def _first(tx: Tx, user: User) -> bool:
    """Whether a user came with the installation."""
    return user.username in ("admin", "system") and builtin(tx, tx.one(Account, user.account_id))


def _stoppable(ctx: Ctx, user: User) -> User:
    if user.id == ctx.caller.user_id or _first(ctx.tx, user):
        raise Denied(f"The user {user.username} is yourself, or the first of the installation, and stays enabled.")
    return user


def _shut_out(tx: Tx, user: User, state: str) -> User:
    sessions.close_all(tx, user.id)
    return tx.set(user, state=state)


@command("enableUser", roles=ADMINS, answers=User, event="USER.ENABLE")
def enable_user(ctx: Ctx, id: User) -> User:
    """Enables a user who was disabled or locked."""
    return ctx.tx.set(id, state="enabled", failed_logins=0)


@command("lockUser", roles=ADMINS, answers=User, event="USER.LOCK")
def lock_user(ctx: Ctx, id: User) -> User:
    """Locks a user, who cannot sign in any more."""
    return _shut_out(ctx.tx, _stoppable(ctx, id), "locked")


@operation
class DisableUser(Operation):
    """A user was disabled with the request; nothing in the world follows."""

    answers = (User, "user")
    user: str

    @step
    def done(self, tx: Tx) -> None:
        tx.one(User, self.user)


@command("disableUser", roles=ADMINS, answers=User, job=True, event="USER.DISABLE")
def disable_user(ctx: Ctx, id: User) -> User:
    """Disables a user: her sessions end, and requests with her keys are refused."""
    _shut_out(ctx.tx, _stoppable(ctx, id), "disabled")
    ctx.start(DisableUser(user=id.id))
    return id


@command("moveUser", roles=ROOT, event="USER.MOVE")
def move_user(
    ctx: Ctx,
    id: User,
    account: str | None = None,
    accountid: Annotated[Account | None, Param(access="operate")] = None,
) -> None:
    """Moves a user to another account of the same domain; her keys and sessions go with her.

    account: name of that account
    accountid: its id, instead of the name
    """
    tx = ctx.tx
    if (account is None) == (accountid is None):
        raise Invalid("Say which account the user moves to: account or accountid.", parameter="accountid")
    target = accountid or tx.first(
        Account,
        Account.c.name == account,
        Account.c.domain_id == id.domain_id,
        condition(Account, ctx.caller, "operate"),
    )
    if target is None or target.domain_id != id.domain_id or target.type == PROJECT_TYPE:
        raise NotFound(f"There is no such account in the domain of the user {id.username}.", account=account)
    if target.state == "removing":
        raise Invalid(f"The account {target.name} is being removed.", parameter="accountid")
    if _first(tx, id) or id.id == ctx.caller.user_id:
        raise Denied("You cannot move yourself, or a user who came with the installation.")
    tx.set(id, account_id=target.id)


@command("deleteUser", roles=ADMINS, event="USER.DELETE")
def delete_user(ctx: Ctx, id: User) -> None:
    """Deletes a user; the account and what it owns stay."""
    if id.id == ctx.caller.user_id:
        raise Denied("You cannot delete the user you are signed in as.")
    if _first(ctx.tx, id):
        raise Denied(f"The user {id.username} came with the installation and stays.")
    ctx.tx.remove(id)
