"""Accounts own things; users are their aliases, who sign in; projects are accounts that several share."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from mold.api.answer import Field, show, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists, paged, tagged
from mold.api.model import capability
from mold.api.permit import ADMINS, RANK, ROOT, Person, Policy, RoleType, below, owner_of
from mold.base import ids
from mold.base.errors import Denied, Invalid, NotFound
from mold.features.identity.domains import Domain, Forgotten
from mold.features.infra.settings import setting
from mold.store import Resource, Tx, column, created, refers
from mold.work import Operation, operation, step

ACCOUNT_TYPE = {RoleType.USER: 0, RoleType.ADMIN: 1, RoleType.DOMAIN: 2, RoleType.RESOURCE: 3}
BY_TYPE = {v: k for k, v in ACCOUNT_TYPE.items()}
PROJECT_TYPE = 5
USERS_CREATE = setting("allow.user.create.projects", True, "Whether users create projects.", group="Projects")
capability("allowusercreateprojects", lambda tx, caller: USERS_CREATE.get(tx))
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
    type: int = column(default=0, api="accounttype", kind="integer")
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


def new_keys(tx: Tx, user: User) -> KeyPair:
    """Make the user's API key and secret; earlier ones end."""
    for old in tx.find(KeyPair, KeyPair.c.user_id == user.id):
        tx.remove(old)
    return tx.add(KeyPair(user_id=user.id, apikey=ids.token(32), secret=ids.token(48)))


# -- commands ------------------------------------------------------------------------------------------------------


def _builtin(tx: Tx, account: Account) -> bool:
    """Whether an account came with the installation."""
    return account.name in ("admin", "system") and tx.one(Domain, account.domain_id).parent_id is None


@shown(
    Account,
    Field("user", "list"),
    Field("isdefault", "boolean"),
    Field("roleid"),
    Field("rolename"),
    Field("iscleanuprequired", "boolean"),
)
def _users_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    from mold.api.answer import view

    found: dict[str, dict[str, Any]] = {
        r.id: {"isdefault": _builtin(tx, r), "iscleanuprequired": r.state == "removing"} for r in rows
    }
    users = tx.find(User, tx.any_of(User.c.account_id, [r.id for r in rows]))
    for user, values in zip(users, view(User).page(tx, users, caller), strict=True):
        found[user.account_id].setdefault("user", []).append(values)
    for row in rows:
        found[row.id]["rolename"] = ROLE_NAMES[RoleType(row.role_type)]
        found[row.id]["roleid"] = ROLE_IDS[RoleType(row.role_type)]
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
            "isdefault": u.username in ("admin", "system") and _builtin(tx, accounts[u.account_id]),
            "iscallerchilddomain": domains[u.domain_id].trail.startswith(caller.domain_trail)
            and u.domain_id != caller.domain_id,
            "is2faenabled": False,
            "is2famandated": False,
        }
        for u in rows
    }


ROLE_NAMES = {
    RoleType.ADMIN: "Root Admin",
    RoleType.RESOURCE: "Resource Admin",
    RoleType.DOMAIN: "Domain Admin",
    RoleType.USER: "User",
}
ROLE_IDS = {r: f"00000000-0000-4000-8000-00000000000{n}" for n, r in enumerate(RoleType, 1)}
ROLE_FIELDS = (
    Field("id"),
    Field("name"),
    Field("type"),
    Field("description"),
    Field("state"),
    Field("isdefault", "boolean"),
    Field("ispublic", "boolean"),
)


@command("listRoles", roles=ADMINS, shape="list", key="role", reads=True, fields=ROLE_FIELDS)
def list_roles(
    ctx: Ctx,
    id: Annotated[str | None, Param(kind="uuid")] = None,
    name: str | None = None,
    type: str | None = None,
    state: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the roles that accounts may have; an admin sees those that rank no higher than her own.

    id: the id
    type: Admin, ResourceAdmin, DomainAdmin or User
    """
    found = [
        {
            "id": ROLE_IDS[role],
            "name": label,
            "type": role.value,
            "description": f"Default role of the type {role.value}",
            "state": "enabled",
            "isdefault": True,
            "ispublic": True,
        }
        for role, label in ROLE_NAMES.items()
        if RANK[role] <= ctx.caller.rank
        and (id is None or ROLE_IDS[role] == id)
        and (name is None or label == name)
        and (type is None or role.value.lower() == type.lower())
        and (state is None or state.lower() == "enabled")
        and (keyword is None or keyword.lower() in label.lower())
    ]
    return paged("role", found, page, pagesize)


@lists(
    "listAccounts",
    Account,
    refused={
        "apikeyaccess:string": "not offered yet: every user may have API keys",
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
    details: list[str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists accounts.

    details: sets of fields, comma separated: min, resource, all
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
    if iscleanuprequired is not None:
        q.where((Account.c.state == "removing") == iscleanuprequired)
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    q.where(Account.c.type != PROJECT_TYPE)


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


@command("deleteAccount", roles=ADMINS, job=True, event="ACCOUNT.DELETE")
def delete_account(ctx: Ctx, id: Account) -> None:
    """Deletes an account that owns nothing any more, with its users."""
    if id.id == ctx.caller.account_id:
        raise Denied("You cannot delete your own account.")
    ctx.tx.remove(id)
    ctx.start(Forgotten(thing=id.id))


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


@shown(Project, Field("owner", "list"))
def _owners_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.execute(
        sa.select(Member.c.project_id, Account.c.id, Account.c.name)
        .join(Account.table, Account.c.id == Member.c.account_id)
        .where(Member.c.role == "Admin", tx.any_of(Member.c.project_id, [p.id for p in rows]))
        .order_by(Member.c.number)
    )
    out: dict[str, dict[str, Any]] = {p.id: {"owner": []} for p in rows}
    for project, account, name in found:
        out[project]["owner"].append({"accountid": account, "account": name})
    return out


@lists("listProjects", Project)
def _projects(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    account: str | None = None,
    username: str | None = None,
    details: list[str] | None = None,
    tags: dict[str, str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists projects that the caller is a member of or administers.

    username: projects that this user's account belongs to
    details: sets of fields, comma separated: min, resource, all
    """
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    if tags:
        q.where(tagged(Project, tags))
    if username is not None:
        q.where(
            Project.c.id.in_(
                sa.select(Member.c.project_id)
                .join(User.table, User.c.account_id == Member.c.account_id)
                .where(User.c.username == username)
            )
        )
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
    refused={"userid:uuid": "not offered yet: members of a project are accounts, not single users"},
)
def create_project(
    ctx: Ctx,
    name: str,
    displaytext: str = "",
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    accountid: Annotated[Account | None, Param(access="see")] = None,
) -> Project:
    """Creates a project; the caller, or the account given, becomes its admin.

    accountid: id of the account that becomes its admin, instead of account and domainid
    """
    if ctx.caller.role is RoleType.USER and not USERS_CREATE.get(ctx.tx):
        raise Denied("Only admins create projects here (allow.user.create.projects).")
    admin: Account = accountid or owner_of(ctx.tx, ctx.caller, account, domainid, None)
    if admin.type == PROJECT_TYPE:
        raise Invalid("A project cannot own a project.", parameter="accountid")
    made = make_project(
        ctx.tx,
        name=name,
        displaytext=displaytext or name,
        domain=ctx.tx.one(Domain, admin.domain_id),
        admin=admin,
    )
    ctx.start(OpenProject(project=made.id))
    return made


MEMBER_FIELDS = (
    *(Field(n) for n in ("projectid", "project", "accountid", "account", "role", "domainid", "domain", "domainpath")),
    Field("accounttype", "integer"),
    Field("user", "list"),
)


@command(
    "listProjectAccounts",
    shape="list",
    key="projectaccount",
    reads=True,
    fields=MEMBER_FIELDS,
    refused={
        "projectroleid:uuid": "not offered yet: project roles",
        "userid:uuid": "not offered yet: members of a project are accounts, not single users",
    },
)
def project_accounts(
    ctx: Ctx,
    projectid: Project,
    account: str | None = None,
    role: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the accounts that belong to a project.

    account: name of an account
    role: Admin or Regular
    """
    tx = ctx.tx
    domains: dict[str, Domain] = {}
    found: list[dict[str, Any]] = []
    for member in tx.find(Member, Member.c.project_id == projectid.id):
        who = tx.one(Account, member.account_id)
        if (
            (account is not None and who.name != account)
            or (role is not None and member.role.lower() != role.lower())
            or (keyword is not None and keyword.lower() not in who.name.lower())
        ):
            continue
        domain = domains.setdefault(who.domain_id, tx.one(Domain, who.domain_id))
        users = tx.find(User, User.c.account_id == who.id)
        found.append(
            {
                "projectid": projectid.id,
                "project": projectid.name,
                "accountid": who.id,
                "account": who.name,
                "accounttype": who.type,
                "role": member.role,
                "domainid": domain.id,
                "domain": domain.name,
                "domainpath": domain.path,
                "user": [{"id": u.id, "username": u.username} for u in users],
            }
        )
    return paged("projectaccount", found, page, pagesize)
