"""Accounts own things; users are their aliases, who sign in; projects are accounts that several share."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Owner, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, RANK, Person, Policy, RoleType, below
from mold.base import ids
from mold.base.errors import Denied, Invalid
from mold.features.identity.domains import Domain
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step

ACCOUNT_TYPE = {RoleType.USER: 0, RoleType.ADMIN: 1, RoleType.DOMAIN: 2, RoleType.RESOURCE: 3}
BY_TYPE = {v: k for k, v in ACCOUNT_TYPE.items()}
PROJECT_TYPE = 5
hasher = PasswordHasher()
checks = ThreadPoolExecutor(1, "argon2")
"""Password checks take 100 ms and 64 MiB each: one at a time, away from every other pool."""


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
    type: int = column(default=0, api="accounttype")
    role_type: str = column(default=RoleType.USER.value, api="roletype")
    state: str = column(default="enabled", filter=True)
    project_id: str | None = column(default=None, hidden=True)
    networkdomain: str | None = column(default=None)
    created: str = created()


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


class KeyPair(Resource):
    """An API key and its secret. The secret is kept sealed: signatures are checked with it."""

    kind = "keypair"
    title = "API key"
    policy = Policy()

    user_id: str = refers("user", cascade=True, filter=False)
    apikey: str = column(unique=True)
    secret: str = column(secret=True)
    created: str = created()


class Session(Resource):
    """A signed-in session; only digests of its two secrets are kept."""

    kind = "login_session"
    title = "session"
    policy = Policy()

    user_id: str = refers("user", cascade=True, filter=False)
    cookie_digest: str = column(unique=True, hidden=True)
    key_digest: str = column(hidden=True)
    used: float = column(hidden=True)
    created: str = created()


class Membership(Policy):
    """Projects: seen by their members and by admins of their domain, changed by their admins."""

    def see(self, caller: Any, t: Any) -> Any:
        if caller.role in (RoleType.ADMIN, RoleType.RESOURCE):
            return t.c.id.is_not(None)
        members = t.c.project_account_id.in_(caller.projects)
        if caller.role is RoleType.DOMAIN:
            return members | below(caller.domain_trail, t.c.domain_id)
        return members

    def operate(self, caller: Any, t: Any) -> Any:
        if caller.role is RoleType.USER:
            return t.c.project_account_id.in_(caller.extra.get("administers", ()))
        return self.see(caller, t)


class Project(Resource):
    """A project: a shared account with members."""

    kind = "project"
    steady = True
    unique = (("domain_id", "name"),)
    appears = {"projectid": "id", "project": "name"}
    policy = Membership()

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", filter=True)
    domain_id: str = refers("domain", shows={"domainid": "id", "domain": "name"}, filter=False)
    project_account_id: str = refers("account", shows={"projectaccountname": "name"}, filter=False)
    state: str = column(default="Active", filter=True)
    created: str = created()


class Member(Resource):
    """An account's place in a project: `Admin` or `Regular`."""

    kind = "project_member"
    title = "project member"
    unique = (("project_id", "account_id"),)
    policy = Policy()

    project_id: str = refers("project", cascade=True)
    account_id: str = refers("account", cascade=True)
    role: str = column(default="Regular")


# -- making and checking -----------------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """What is stored of a password (argon2id)."""
    return hasher.hash(password)


def _verify(stored: str, password: str) -> bool:
    try:
        return hasher.verify(stored, password)
    except VerificationError:
        return False


_decoy = ""


async def check_password(user: User | None, password: str) -> bool:
    """Whether the password is the user's; takes as long when there is no such user."""
    global _decoy
    loop = asyncio.get_running_loop()
    if not _decoy:
        _decoy = await loop.run_in_executor(checks, hash_password, secrets.token_hex(8))
    good = await loop.run_in_executor(checks, _verify, user.password_hash if user else _decoy, password)
    return good and user is not None


def new_account(
    tx: Tx, *, name: str, domain: Domain, role: RoleType, type: int | None = None, project_id: str | None = None
) -> Account:
    """Insert an account."""
    return tx.add(
        Account(
            name=name,
            domain_id=domain.id,
            type=ACCOUNT_TYPE[role] if type is None else type,
            role_type=role.value,
            project_id=project_id,
            networkdomain=domain.networkdomain,
        )
    )


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
) -> User:
    """Insert a user with a password (plain text in, argon2 stored)."""
    return tx.add(
        User(
            username=username,
            account_id=account.id,
            domain_id=account.domain_id,
            password_hash=hash_password(password),
            firstname=firstname,
            lastname=lastname,
            email=email,
            timezone=timezone,
        )
    )


def new_keys(tx: Tx, user: User) -> KeyPair:
    """Make the user's API key and secret; earlier ones end."""
    for old in tx.find(KeyPair, KeyPair.c.user_id == user.id):
        tx.remove(old)
    return tx.add(KeyPair(user_id=user.id, apikey=ids.token(32), secret=ids.token(48)))


# -- commands ------------------------------------------------------------------------------------------------------


@shown(Account, Field("user", "list"), Field("isdefault", "boolean"), Field("roleid"), Field("rolename"))
def _users_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    from mold.api.answer import view

    roots = {d.id for d in tx.find(Domain, Domain.c.parent_id.is_(None))}
    found: dict[str, dict[str, Any]] = {
        r.id: {"isdefault": r.name in ("admin", "system") and r.domain_id in roots} for r in rows
    }
    users = tx.find(User, tx.any_of(User.c.account_id, [r.id for r in rows]))
    for user, values in zip(users, view(User).page(tx, users, caller), strict=True):
        found[user.account_id].setdefault("user", []).append(values)
    for row in rows:
        found[row.id]["rolename"] = ROLE_NAMES[RoleType(row.role_type)]
        found[row.id]["roleid"] = ROLE_IDS[RoleType(row.role_type)]
    return found


ROLE_NAMES = {
    RoleType.ADMIN: "Root Admin",
    RoleType.RESOURCE: "Resource Admin",
    RoleType.DOMAIN: "Domain Admin",
    RoleType.USER: "User",
}
ROLE_IDS = {r: f"00000000-0000-4000-8000-00000000000{n}" for n, r in enumerate(RoleType, 1)}


@lists("listAccounts", Account)
def _accounts(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    accounttype: int | None = None,
    state: str | None = None,
    iscleanuprequired: bool | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists accounts.

    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    iscleanuprequired: accounts whose removal is not finished
    """
    if domainid is not None:
        q.where(below(domainid.trail, Account.c.domain_id) if isrecursive else Account.c.domain_id == domainid.id)
    elif not listall and q.ctx.given.isdisjoint({"id", "name"}):
        q.where(Account.c.id == q.ctx.caller.account_id)
    if accounttype is not None:
        q.where(Account.c.type == accounttype)
    if state is not None:
        q.where(Account.c.state == state)
    if iscleanuprequired:
        q.where(Account.c.state == "removing")
    q.where(Account.c.type != PROJECT_TYPE)


@command(
    "createAccount",
    roles=ADMINS,
    answers=Account,
    event="ACCOUNT.CREATE",
    refused={
        "accountid:string": "not offered",
        "userid:string": "not offered",
        "accountdetails:map": "not offered yet",
    },
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
    roleid: str | None = None,
    networkdomain: str | None = None,
    timezone: str | None = None,
) -> Account:
    """Creates an account and its first user.

    account: name of the account; default: the user's name
    accounttype: 0 user, 1 root admin, 2 domain admin, 3 resource admin
    roleid: id of the role; decides instead of accounttype
    timezone: the user's time zone
    """
    role = BY_TYPE.get(accounttype or 0)
    if roleid is not None:
        role = next(
            (
                r
                for r, i in ROLE_IDS.items()
                if i == roleid or roleid == str(list(RoleType).index(r) + 1)
            ),
            None,
        )
    if role is None:
        raise Invalid("There is no such role or account type.", parameter="accounttype")
    if RANK[role] > ctx.caller.rank:
        raise Denied("You cannot create an account that ranks higher than your own.")
    domain = domainid or ctx.tx.one(Domain, ctx.caller.domain_id)
    if role in (RoleType.ADMIN,) and domain.parent_id is not None:
        raise Invalid("Root admin accounts belong to the ROOT domain.", parameter="domainid")
    made = new_account(ctx.tx, name=account or username, domain=domain, role=role)
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
    )
    return made


@command("deleteAccount", roles=ADMINS, event="ACCOUNT.DELETE")
def delete_account(ctx: Ctx, id: Account) -> None:
    """Deletes an account that owns nothing any more, with its users."""
    if id.id == ctx.caller.account_id:
        raise Denied("You cannot delete your own account.")
    ctx.tx.remove(id)


@lists("listUsers", User)
def _users(
    q: Query,
    account: str | None = None,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    accounttype: int | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists users."""
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


@command("createUser", roles=ADMINS, answers=User, event="USER.CREATE", refused={"userid:string": "not offered"})
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
) -> User:
    """Creates a user: an alias of an account.

    account: name of the account that the user belongs to
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
    )


@command("deleteUser", roles=ADMINS, event="USER.DELETE")
def delete_user(ctx: Ctx, id: User) -> None:
    """Deletes a user; the account and what it owns stay."""
    if id.id == ctx.caller.user_id:
        raise Denied("You cannot delete the user you are signed in as.")
    ctx.tx.remove(id)


@command(
    "registerUserKeys",
    shape="object",
    key="userkeys",
    event="REGISTER.USER.KEY",
    fields=(Field("apikey"), Field("secretkey")),
)
def register_keys(ctx: Ctx, id: User) -> dict[str, Any]:
    """Makes a new API key and secret for a user; earlier ones end at once."""
    made = new_keys(ctx.tx, id)
    return {"userkeys": {"apikey": made.apikey, "secretkey": made.secret}}


@command("getUserKeys", shape="object", key="userkeys", reads=True, fields=(Field("apikey"), Field("secretkey")))
def get_keys(ctx: Ctx, id: Annotated[User, Param(access="operate")]) -> dict[str, Any]:
    """Gives a user's API key and secret."""
    found = ctx.tx.first(KeyPair, KeyPair.c.user_id == id.id)
    return {"userkeys": {"apikey": found.apikey, "secretkey": found.secret} if found else {}}


@lists("listProjects", Project)
def _projects(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    account: str | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists projects that the caller is a member of or administers."""
    if domainid is not None:
        q.where(below(domainid.trail, Project.c.domain_id) if isrecursive else Project.c.domain_id == domainid.id)
    elif not listall and q.ctx.given.isdisjoint({"id", "name"}):
        q.where(Project.c.project_account_id.in_(q.ctx.caller.projects))
    if account is not None:
        q.where(
            Project.c.id.in_(
                sa.select(Member.c.project_id)
                .join(Account.table, Account.c.id == Member.c.account_id)
                .where(Account.c.name == account)
            )
        )


def make_project(tx: Tx, *, name: str, displaytext: str, domain: Domain, admin: Account) -> Project:
    """Insert a project with its own account and its first admin."""
    project_id = ids.new_id()
    own = tx.add(
        Account(
            name=f"PrjAcct-{name}-{project_id[:8]}",
            domain_id=domain.id,
            type=PROJECT_TYPE,
            role_type=RoleType.USER.value,
            project_id=project_id,
        )
    )
    made = Project(name=name, displaytext=displaytext, domain_id=domain.id, project_account_id=own.id)
    made.id = project_id
    tx.add(made)
    tx.add(Member(project_id=made.id, account_id=admin.id, role="Admin"))
    return made


@operation
class OpenProject(Operation):
    """A project that was just made becomes active."""

    answers = (Project, "project")
    project: str

    @step
    def open(self, tx: Tx) -> None:
        tx.set(tx.one(Project, self.project), state="Active")


@command(
    "createProject",
    answers=Project,
    job=True,
    creates=True,
    event="PROJECT.CREATE",
    refused={"userid:string": "not offered yet", "accountid:string": "not offered yet"},
)
def create_project(ctx: Ctx, name: str, owner: Owner, displaytext: str = "") -> Project:
    """Creates a project; the caller, or the account given, becomes its admin."""
    if owner.project_id is not None:
        raise Invalid("A project cannot own a project.", parameter="projectid")
    made = make_project(
        ctx.tx,
        name=name,
        displaytext=displaytext or name,
        domain=ctx.tx.one(Domain, owner.domain_id),
        admin=owner.account,
    )
    ctx.start(OpenProject(project=made.id))
    return made
