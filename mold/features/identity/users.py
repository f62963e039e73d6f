"""Users: aliases of an account, who sign in. An account begins with its first user, so `createAccount` is here."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, show, shown, view
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, RANK, ROOT, Person, RoleType, below
from mold.base.errors import Denied, Invalid, NotFound
from mold.features.identity.accounts import BY_TYPE, Account, builtin, chosen_id, new_account
from mold.features.identity.credentials import KeyPair, hash_password, new_keys
from mold.features.identity.domains import Domain
from mold.features.identity.roles import ROLE_IDS, ROLE_NAMES
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step


class User(Resource):
    """A user: an alias of an account, with a password and keys of its own."""

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
    created: str = created()


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
) -> User:
    """Insert a user with a password (plain text in, argon2 stored)."""
    made = User(
        username=username,
        account_id=account.id,
        domain_id=account.domain_id,
        password_hash=hash_password(password),
        firstname=firstname,
        lastname=lastname,
        email=email,
        timezone=timezone,
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
    Field("apikey"),
    Field("isdefault", "boolean"),
    Field("iscallerchilddomain", "boolean"),
    Field("is2faenabled", "boolean"),
    Field("is2famandated", "boolean"),
)
def _user(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    accounts = tx.among(Account, list({u.account_id for u in rows}))
    domains = tx.among(Domain, list({u.domain_id for u in rows}))
    keys = {k.user_id: k.apikey for k in tx.find(KeyPair, tx.any_of(KeyPair.c.user_id, [u.id for u in rows]))}
    return {
        u.id: {
            "roleid": ROLE_IDS[RoleType(accounts[u.account_id].role_type)],
            "rolename": ROLE_NAMES[RoleType(accounts[u.account_id].role_type)],
            "apikey": keys.get(u.id) if caller.root or u.id == caller.user_id else None,
            "isdefault": u.username in ("admin", "system") and builtin(tx, accounts[u.account_id]),
            "iscallerchilddomain": domains[u.domain_id].trail.startswith(caller.domain_trail)
            and u.domain_id != caller.domain_id,
            "is2faenabled": False,
            "is2famandated": False,
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
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    if role in (RoleType.ADMIN,) and domain.parent_id is not None:
        raise Invalid("Root admin accounts belong to the ROOT domain.", parameter="domainid")
    made = new_account(ctx.tx, name=account or username, domain=domain, role=role, id=chosen_id(accountid, "accountid"))
    if networkdomain:
        ctx.tx.set(made, networkdomain=networkdomain)
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


@lists("listUsers", User, refused={"apikeyaccess:string": "not offered yet: every user may have API keys"})
def _users(
    q: Query,
    account: str | None = None,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    accounttype: int | None = None,
    usersource: str | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists users.

    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    usersource: where users are known from: native
    """
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


@command("getUser", roles=ROOT, answers=User, reads=True)
def get_user(ctx: Ctx, userapikey: Annotated[str, Param(secret=True)]) -> dict[str, Any]:
    """Finds the user that an API key belongs to.

    userapikey: the API key
    """
    found = ctx.tx.first(KeyPair, KeyPair.c.apikey == userapikey)
    if found is None:
        raise NotFound("No user has this API key.", parameter="userapikey")
    return {"user": show(ctx.tx, ctx.tx.one(User, found.user_id), ctx.caller)}


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


def _key_answer(tx: Tx, pair: KeyPair) -> dict[str, Any]:
    user = tx.one(User, pair.user_id)
    account, domain = tx.one(Account, user.account_id), tx.one(Domain, user.domain_id)
    role = RoleType(account.role_type)
    return {
        "id": pair.id,
        "apikey": pair.apikey,
        "secretkey": pair.secret,
        "userid": user.id,
        "username": user.username,
        "accountid": account.id,
        "accountname": account.name,
        "accounttype": str(account.type),
        "roleid": ROLE_IDS[role],
        "roletype": role.value,
        "rolename": ROLE_NAMES[role],
        "domainid": domain.id,
        "domain": domain.name,
        "domainpath": domain.path,
        "state": "ENABLED",
        "created": pair.created,
    }


KEY_ANSWER = tuple(
    Field(n, "date" if n == "created" else "string")
    for n in (
        *("id", "apikey", "secretkey", "userid", "username", "accountid", "accountname", "accounttype", "roleid"),
        *("roletype", "rolename", "domainid", "domain", "domainpath", "state", "created"),
    )
)


@operation
class RegisterKeys(Operation):
    """A user's new keys were made with the request; the finished job shows them to its owner."""

    user: str

    @step
    def made(self, tx: Tx) -> None:
        tx.one(User, self.user)

    def tells(self, tx: Tx) -> dict[str, Any]:
        """The keys, as long as they are the user's."""
        pair = tx.first(KeyPair, KeyPair.c.user_id == self.user)
        return _key_answer(tx, pair) if pair is not None else {}


@command(
    "registerUserKeys",
    shape="object",
    key="userkeys",
    job=True,
    event="REGISTER.USER.KEY",
    fields=KEY_ANSWER,
    refused=dict.fromkeys(
        ("name:string", "description:string:1024", "startdate:date", "enddate:date", "rules:map"),
        "not offered yet: a user has one pair of keys, with all the rights of the account",
    ),
)
def register_keys(ctx: Ctx, id: User) -> dict[str, Any]:
    """Makes a new API key and secret for a user; earlier ones end at once.

    They are in the first answer as well as in the finished job's: clients of older versions do not wait for a job here.
    """
    made = new_keys(ctx.tx, id)
    ctx.start(RegisterKeys(user=id.id))
    return {"userkeys": _key_answer(ctx.tx, made)}


@command("getUserKeys", shape="object", key="userkeys", reads=True, fields=(Field("apikey"), Field("secretkey")))
def get_keys(ctx: Ctx, id: Annotated[User, Param(access="operate")]) -> dict[str, Any]:
    """Gives a user's API key and secret."""
    found = ctx.tx.first(KeyPair, KeyPair.c.user_id == id.id)
    return {"userkeys": {"apikey": found.apikey, "secretkey": found.secret} if found else {}}
