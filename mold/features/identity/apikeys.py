"""API keys: pairs of a public key and a secret, with which requests are signed instead of signing in.

A user has as many as she likes, each with a span of days and rules of its own if she wants.  The secret is shown when
the pair is made and never again; it is kept sealed, because signatures are checked with it.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, show, shown, view
from mold.api.command import COMMANDS, Command, Ctx, Date, Param, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import ADMINS, ROOT, Caller, Person, Policy, RoleType
from mold.base import clock, ids
from mold.base.errors import Denied, Invalid, NotFound, Refusal
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.roles import not_above
from mold.features.identity.rules import Rules, pattern_of, permission_of
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting
from mold.work import Done, Operation, operation, step

ACCESS = setting(
    "api.key.access",
    True,
    "Whether requests may be signed with API keys, where neither the user nor the account says otherwise.",
    category="System",
    group="Access",
    scopes=("domain",),
)
TOLD_SECONDS = 600
"""How long the finished job of registerUserKeys shows the secret to the user who asked for it."""
KEYS_MAX = 100
MAKING_KEYS = frozenset({"registerUserKeys", "updateUser"})
"""What can give a user a key without rules."""


class OneOfUser(Policy):
    """A user's own: she, and who may change her."""

    def see(self, caller: Caller, t: Any) -> Any:
        return t.c.user_id.in_(sa.select(User.c.id).where(Person().operate(caller, User.table)))


class KeyPair(Resource):
    """An API key and its secret. `rules` narrow what the account's role permits: [{rule, permission, description}]."""

    kind = "keypair"
    title = "API key"
    unique = (("user_id", "name"),)
    policy = OneOfUser()

    name: str = column(keyword=True)
    description: str | None = column(default=None, keyword=True)
    user_id: str = refers("user", cascade=True, filter=False)
    apikey: str = column(unique=True)
    secret: str = column(secret=True)
    rules: list[Any] | None = column(default=None, hidden=True)
    startdate: str | None = column(default=None, kind="date")
    enddate: str | None = column(default=None, kind="date")
    created: str = created()


RULE_FIELDS = (Field("rule"), Field("permission"), Field("description"))
KEY_FIELDS = (
    *(Field(n) for n in ("accountid", "accountname", "accounttype", "roleid", "roletype", "rolename")),
    *(Field(n) for n in ("domainid", "domain", "domainpath", "state")),
    Field("permissions", "list", of=RULE_FIELDS),
)


def state_of(pair: KeyPair, now: float) -> str:
    """ENABLED, PENDING (its first day is to come) or EXPIRED."""
    if pair.startdate is not None and clock.seconds(pair.startdate) > now:
        return "PENDING"
    if pair.enddate is not None and clock.seconds(pair.enddate) <= now:
        return "EXPIRED"
    return "ENABLED"


@shown(KeyPair, *KEY_FIELDS)
def _of_whom(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    users = tx.among(User, list({r.user_id for r in rows}))
    accounts = list(tx.among(Account, list({u.account_id for u in users.values()})).values())
    about = {a["id"]: a for a in view(Account).page(tx, accounts, caller, frozenset({"min"}))}
    domains = tx.known_among(Domain, {u.domain_id for u in users.values()})
    now = time.time()
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        user = users[row.user_id]
        account, domain = about[user.account_id], domains[user.domain_id]
        out[row.id] = {
            "accountid": user.account_id,
            "accountname": account["name"],
            "accounttype": str(account["accounttype"]),
            **{n: account.get(n) for n in ("roleid", "roletype", "rolename")},
            "domainid": user.domain_id,
            "domain": domain.name,
            "domainpath": domain.path,
            "state": state_of(row, now),
        }
    return out


def keys_of(tx: Tx, users: list[str]) -> dict[str, str]:
    """The newest API key of each of these users that has one."""
    found = tx.execute(
        sa.select(KeyPair.c.user_id, KeyPair.c.apikey)
        .where(tx.any_of(KeyPair.c.user_id, users))
        .order_by(KeyPair.c.number)
    )
    return {user: key for user, key in found}


@shown(User, Field("apikey"))
def _newest(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    # Root admins see the keys of those whose role does not rank above their own.
    lower = None if caller.over is None else not_above(tx, caller.role_id)
    accounts = tx.among(Account, list({u.account_id for u in rows})) if caller.root and lower is not None else {}
    mine = [
        u.id
        for u in rows
        if u.id == caller.user_id
        or (caller.root and (lower is None or accounts[u.account_id].role_id in lower))
    ]
    return {user: {"apikey": key} for user, key in keys_of(tx, mine).items()} if mine else {}


def permitted(tx: Tx, user: str | None, account: str | None, domain_id: str) -> bool:
    """Whether requests may be signed: the user's word, else the account's, else the domain's setting."""
    for word in (user, account):
        if word in ("ENABLED", "DISABLED"):
            return word == "ENABLED"
    return ACCESS.get(tx, domain=domain_id)


def new_keys(
    tx: Tx,
    user: User,
    *,
    name: str | None = None,
    description: str | None = None,
    rules: list[dict[str, str]] | None = None,
    startdate: str | None = None,
    enddate: str | None = None,
    apikey: str | None = None,
    secret: str | None = None,
) -> KeyPair:
    """One more pair for a user, a fresh one unless it is said."""
    if tx.count(KeyPair, KeyPair.c.user_id == user.id) >= KEYS_MAX:
        raise Invalid(f"The user {user.username} has {KEYS_MAX} API keys; delete some with deleteUserKeys.")
    return tx.add(
        KeyPair(
            name=name or f"{user.username}-{ids.token(6)}",
            description=description,
            user_id=user.id,
            apikey=apikey or ids.token(32),
            secret=secret or ids.token(48),
            rules=rules,
            startdate=startdate,
            enddate=enddate,
        )
    )


def _rules(given: list[dict[str, str]] | None) -> list[dict[str, str]] | None:
    """The rules as they are kept; Invalid names the one that will not do."""
    if not given:
        return None
    out = []
    for number, each in enumerate(given):
        pattern, permission = pattern_of(each.get("rule", "")), permission_of(each.get("permission", ""))
        if "*" not in pattern and pattern.lower() not in {name.lower() for name in COMMANDS}:
            raise Invalid(f"rules[{number}].rule: there is no command {pattern}.", parameter="rules")
        out.append({"rule": pattern, "permission": permission, "description": each.get("description", "")[:255]})
    return out


def ready(lines: list[dict[str, str]] | None) -> Rules | None:
    """A key's rules as requests are measured by them; None: it has none, and may do what the role permits."""
    return Rules((each["rule"], each["permission"] == "allow") for each in lines) if lines is not None else None


def refusal(caller: Caller, made: Command) -> Refusal | None:
    """Why a key with rules may not call a command, whatever they say: it would make one without rules."""
    if caller.rules is None or made.name not in MAKING_KEYS:
        return None
    return Denied("This API key has rules of its own, so it cannot make keys; sign in, or use one without rules.")


@operation
class RegisterKeys(Operation):
    """A user's new keys were made with the request; the finished job shows them to its owner for some minutes."""

    instance = (User, "user")
    user: str
    pair: str

    @step
    def made(self, tx: Tx) -> None:
        tx.one(KeyPair, self.pair)

    def tells(self, tx: Tx) -> dict[str, Any]:
        """The keys. The secret only for `TOLD_SECONDS`: who did not read it in time makes new keys."""
        pair = tx.get(KeyPair, self.pair)
        if pair is None:
            return {}
        fresh = time.time() - clock.seconds(pair.created) < TOLD_SECONDS
        return _answer(tx, pair, secret=fresh)


def _answer(tx: Tx, pair: KeyPair, *, secret: bool) -> dict[str, Any]:
    user = tx.one(User, pair.user_id)
    account = tx.one(Account, user.account_id)
    # Whoever may be told at all sees the same: the pair's owner or who made it.
    seen = Caller(
        user.id, account.id, account.name, user.domain_id, "", RoleType(account.role_type), role_id=account.role_id
    )
    out = show(tx, pair, seen)
    out["permissions"] = pair.rules or []
    if secret:
        out["secretkey"] = pair.secret
    return out


@command(
    "registerUserKeys",
    shape="object",
    key="userkeys",
    job=True,
    event="REGISTER.USER.KEY",
    fields=(
        *(Field(n) for n in ("id", "name", "description", "apikey", "secretkey", "userid", "username")),
        *(Field(n, "date") for n in ("startdate", "enddate", "created")),
        *KEY_FIELDS,
    ),
)
def register_keys(
    ctx: Ctx,
    id: User,
    name: str | None = None,
    description: Annotated[str | None, Param(length=1024)] = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
    rules: Annotated[list[dict[str, str]] | None, Param(keys=("rule", "permission", "description"))] = None,
) -> dict[str, Any]:
    """Makes an API key and its secret for a user. The secret is shown now and never again.

    It is in the first answer as well as in the finished job's: clients of older versions do not wait for a job here.

    name: name of the pair, unique for the user
    description: what it is for
    startdate: from when on it can be used
    enddate: until when it can be used
    rules: what it allows of what the role permits, rules[0].rule=list*&rules[0].permission=allow; the first that fits decides
    """
    if enddate is not None:
        if clock.seconds(enddate) <= time.time():
            raise Invalid("enddate must lie in the future.", parameter="enddate")
        if startdate is not None and clock.seconds(startdate) >= clock.seconds(enddate):
            raise Invalid("enddate must come after startdate.", parameter="enddate")
    made = new_keys(
        ctx.tx, id, name=name, description=description, rules=_rules(rules), startdate=startdate, enddate=enddate
    )
    ctx.start(RegisterKeys(user=made.user_id, pair=made.id))
    return {"userkeys": _answer(ctx.tx, made, secret=True)}


@command("deleteUserKeys", job=True, event="DELETE.USER.KEY")
def delete_keys(ctx: Ctx, keypairid: Annotated[KeyPair, Param(access="operate")]) -> None:
    """Deletes an API key: it ends at once.

    keypairid: id of the pair
    """
    ctx.tx.remove(keypairid)
    ctx.start(Done(kind=User.kind, id=keypairid.user_id))


@lists("listUserKeys", KeyPair, key="userapikey", id_param=False)
def _list(
    q: Query,
    keypairid: KeyPair | None = None,
    userid: Annotated[User | None, Param(access="operate")] = None,
    apikeyfilter: Annotated[str | None, Param(secret=True)] = None,
    listall: Annotated[bool, Param(roles=ADMINS)] = False,
    showpermissions: bool = False,
) -> None:
    """Lists API keys, without their secrets.

    keypairid: id of a pair
    userid: keys of this user; default: the caller's own
    apikeyfilter: the API key itself
    listall: keys of all users that the caller may change
    showpermissions: with the rules of each
    """
    if keypairid is not None:
        q.where(KeyPair.c.id == keypairid.id)
    if apikeyfilter is not None:
        q.where(KeyPair.c.apikey == apikeyfilter)
    if userid is not None:
        q.where(KeyPair.c.user_id == userid.id)
    elif not listall and keypairid is None and apikeyfilter is None:
        q.where(KeyPair.c.user_id == q.ctx.caller.user_id)
    q.details = frozenset({"permissions"}) if showpermissions else frozenset({"min"})


@shown(KeyPair, Field("permissions", "list", of=RULE_FIELDS), detail="permissions", asked=True)
def _permissions(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {row.id: {"permissions": row.rules or []} for row in rows}


@command("listUserKeyRules", shape="list", key="keypermission", reads=True, fields=RULE_FIELDS)
def list_rules(ctx: Ctx, keypairid: Annotated[KeyPair, Param(access="operate")]) -> dict[str, Any]:
    """Lists the rules of an API key; a key without any may do what its account's role permits.

    keypairid: id of the pair
    """
    return paged("keypermission", list(keypairid.rules or []), None, None)


@command(
    "getUserKeys",
    shape="object",
    key="userkeys",
    reads=True,
    fields=(Field("apikey"), Field("apikeyaccess", "boolean")),
)
def get_keys(ctx: Ctx, id: Annotated[User, Param(access="operate")]) -> dict[str, Any]:
    """Gives a user's newest API key. Its secret was shown when it was made, and is not shown again."""
    found = keys_of(ctx.tx, [id.id]).get(id.id)
    account = ctx.tx.one(Account, id.account_id)
    may = permitted(ctx.tx, id.apikey_access, account.apikey_access, id.domain_id)
    return {"userkeys": {**({"apikey": found} if found else {}), "apikeyaccess": may}}


@command("getUser", roles=ROOT, answers=User, reads=True)
def get_user(ctx: Ctx, userapikey: Annotated[str, Param(secret=True)]) -> dict[str, Any]:
    """Finds the user that an API key belongs to.

    userapikey: the API key
    """
    found = ctx.tx.first(KeyPair, KeyPair.c.apikey == userapikey)
    if found is None:
        raise NotFound("No user has this API key.", parameter="userapikey")
    return {"user": show(ctx.tx, ctx.tx.one(User, found.user_id), ctx.caller)}
