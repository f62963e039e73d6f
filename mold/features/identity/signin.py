"""Signing in: who a request comes from. Password and session, signature, shared key, integration port.

Whoever proves a password elsewhere (a directory) registers a way in `WAYS`; how a session begins is the same for all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
import structlog

from mold.api import events
from mold.api.answer import Field
from mold.api.command import COMMANDS, Command, Param, command
from mold.api.door import Door, Entry, Request
from mold.api.permit import Caller, RoleType
from mold.api.sign import REFUSED, candidates, verify
from mold.base import clock, ids
from mold.base.errors import Denied, Invalid, Refusal, Unauthorized
from mold.features.identity import access, apikeys, credentials, lockout, roles, sessions, twofactor
from mold.features.identity.accounts import Account
from mold.features.identity.apikeys import KeyPair
from mold.features.identity.credentials import check_password
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Member, Project
from mold.features.identity.rules import Rules
from mold.features.identity.sessions import Session
from mold.features.identity.spent import spend
from mold.features.identity.users import User
from mold.store import Prepared, Tx
from mold.store.settings import setting

log = structlog.get_logger()
SHARED_KEY_LEAST = 16
INTEGRATION_PORT = setting(
    "integration.api.port",
    0,
    "Port without sign-in for programs on the management server itself, on loopback only; 0 or less: none.",
    high=65535,
    restart=True,
)
PASSWORD_AFTER_SAML = setting(
    "enable.login.with.disabled.saml",
    False,
    "Whether users who may no longer sign in by SAML sign in with their password again.",
    group="Access",
)
LOGIN_ATTEMPTS = setting(
    "incorrect.login.attempts.allowed", 5, "Failed sign-ins before a user is disabled; 0: never.", group="Access", low=0
)
SHARED_KEY = setting(
    "security.singlesignon.key",
    "",
    "The key with which a company's own sign-in page signs people in (login with timestamp and signature); empty: off.",
    category="Secure",
    group="Access",
    secret=True,
    check=lambda text: (
        f"it must have at least {SHARED_KEY_LEAST} characters." if text and len(text) < SHARED_KEY_LEAST else None
    ),
)
TOLERANCE = setting(
    "security.singlesignon.tolerance.millis",
    300_000,
    "How far the timestamp of such a sign-in may lie from this server's clock, in milliseconds.",
    group="Access",
    low=1,
    unit="milliseconds",
    shape="Long",
)
MUST_CHANGE = frozenset({"updateUser", "listApis", "listUsers"})
"""What a user may call before she has changed a password that she was given."""
BAD_SESSION = "unable to verify user credentials"


class WrongMethod(Refusal):
    """Sign-in by GET."""

    code, cs = 405, 0
    plain = True


class Foreign(Unauthorized):
    """A page of another site made the browser ask."""


def foreign(request: Request) -> Foreign:
    """The refusal of a request that a page of another site made."""
    return Foreign(
        f"The request was made by a page of another site ({request.foreign[:100]}); this server takes signed-in requests from its own pages only.",
        inner="foreign origin",
    )


def caller_of(tx: Tx, user: User, *, address: str = "", session: str | None = None) -> Caller:
    """The caller that a user is; Unauthorized when the user or the account is not enabled."""
    found = _who(tx, _PEOPLE, {"key": user.id})
    if found is None:
        raise Unauthorized(REFUSED, inner="the user is gone")
    return _caller(tx, found, address=address, session=session)


def _asking(match: Any, *more: Any) -> Any:
    """One statement for who asks: what proves it (`more`), user, account, domain, and the projects of the account.

    Read for every request and never remembered: a disabled user is out with her next request.
    """
    u, a, d, p, m = User.c, Account.c, Domain.c, Project.c, Member.c
    projects = (
        sa.select(p.project_account_id, m.role, p.id, m.project_role_id, m.account_id, m.user_id)
        .join(Member.table, m.project_id == p.id)
        .subquery()
    )
    in_it = projects.c
    return (
        sa.select(
            u.id, u.username, u.state, u.number, a.id, a.name, a.state, a.role_type, d.id, d.trail,
            a.role_id, in_it.project_account_id, in_it.role, in_it.id, in_it.project_role_id, in_it.user_id,
            u.change_password, *more,
        )
        .select_from(User.table)
        .join(Account.table, a.id == u.account_id)
        .join(Domain.table, d.id == a.domain_id)
        .outerjoin(
            projects, sa.and_(in_it.account_id == a.id, sa.or_(in_it.user_id.is_(None), in_it.user_id == u.id))
        )
        .where(match)
    )  # fmt: skip


PROOF = 17
"""Where in a row of `_asking` what proves it begins."""
_PEOPLE = Prepared(_asking(User.c.id == sa.bindparam("key")))
_KEYS = Prepared(
    _asking(
        KeyPair.c.apikey == sa.bindparam("key"), KeyPair.c.secret, KeyPair.c.rules, KeyPair.c.startdate, KeyPair.c.enddate,
        User.c.apikey_access, Account.c.apikey_access,
    ).join(KeyPair.table, KeyPair.c.user_id == User.c.id)
)  # fmt: skip
_SESSIONS = Prepared(
    _asking(
        Session.c.cookie_digest == sa.bindparam("key"), Session.c.id, Session.c.key_digest, Session.c.used,
        Session.c.verified,
    ).join(Session.table, Session.c.user_id == User.c.id)
)  # fmt: skip


def _who(tx: Tx, statement: Prepared, given: dict[str, str]) -> list[Any] | None:
    return tx.rows(statement, given) or None


def _over(tx: Tx, role_id: str) -> Callable[[], frozenset[str]] | None:
    return None if role_id == roles.ROOT_ADMIN else lambda: roles.not_above(tx, role_id)


def within(tx: Tx, caller: Caller) -> Caller:
    """A caller from an earlier transaction, who asks this one for what she asks."""
    return replace(caller, over=_over(tx, caller.role_id)) if caller.over is not None else caller


def _caller(
    tx: Tx, rows: list[Any], *, address: str, session: str | None, rules: Rules | None = None, **extra: Any
) -> Caller:
    user_id, username, user_state, number, account_id, account, account_state, role, domain_id, trail = rows[0][:10]
    if user_state != "enabled" or account_state != "enabled":
        raise Unauthorized(REFUSED, inner=f"user {username} is {user_state}, account {account_state}")
    role_id: str = rows[0][10]
    # A user's own place in a project counts before that of her account.
    places = {r[11]: r[12:15] for r in sorted(rows, key=lambda r: r[15] is not None) if r[11] is not None}
    return Caller(
        user_id=user_id,
        username=username,
        account_id=account_id,
        account=account,
        domain_id=domain_id,
        domain_trail=trail,
        role=RoleType(role),
        role_id=role_id,
        over=_over(tx, role_id),
        projects=tuple(places),
        project_roles={a: (p, own) for a, (place, p, own) in places.items() if own and place != "Admin"},
        address=address,
        session=session,
        user_number=number,
        rules=rules,
        extra={"administers": tuple(a for a, (place, _, _) in places.items() if place == "Admin"), **extra},
    )


def by_signature(tx: Tx, request: Request) -> Caller | None:
    """The caller of a signed request; None when it is not signed."""
    low = {k.lower(): v for k, v in request.params.items()}
    key = low.get("apikey")
    if not key or "signature" not in low:
        return None
    found = _who(tx, _KEYS, {"key": key})
    if found is None:
        raise Unauthorized(REFUSED, inner="unknown API key")
    verify(request.params, found[0][PROOF])
    return _by_key(tx, found, request)


def _by_key(tx: Tx, found: list[Any], request: Request) -> Caller:
    """The caller whose key it is, if the key is of use now."""
    rules, startdate, enddate, by_user, by_account = found[0][PROOF + 1 :]
    now = time.time()
    if (startdate is not None and clock.seconds(startdate) > now) or (
        enddate is not None and clock.seconds(enddate) <= now
    ):
        raise Unauthorized(REFUSED, inner="the API key is not valid yet, or no more")
    if not apikeys.permitted(tx, by_user, by_account, found[0][8]):
        raise Unauthorized(REFUSED, inner="API keys may not be used: apikeyaccess, or api.key.access")
    return _caller(tx, found, address=request.address, session=None, rules=apikeys.ready(rules))


def by_session(tx: Tx, request: Request) -> Caller | None:
    """The caller of a request with a session; None when there is no session cookie."""
    cookie = request.cookies.get("JSESSIONID")
    if not cookie:
        return None
    made = COMMANDS.get(request.params.get("command", ""))
    if request.foreign and (request.foreign != UNKNOWN_PAGE or made is None or not made.reads):
        raise foreign(request)
    found = _who(tx, _SESSIONS, {"key": ids.digest(cookie)})
    if found is None or time.time() - found[0][PROOF + 2] > sessions.idle_seconds(tx):
        raise Unauthorized(BAD_SESSION, inner="no such session, or idle too long")
    session_id, key_digest, _, verified = found[0][PROOF:]
    given, kept = request.params.get("sessionkey"), request.cookies.get("sessionkey")
    where = sessions.LOCATIONS.get(tx)
    good, repeated = _is_key(given, key_digest), _is_key(kept, key_digest)
    if where == "CookieAndParameter":
        fine = good and repeated
    elif where == "ParameterOnly":
        fine = good
    else:  # a cookie goes along by itself: alone it must not change anything by a mere link
        fine = good or (repeated and not given and (request.post or (made is not None and made.reads)))
    if not fine:
        raise Unauthorized(BAD_SESSION, inner="session key is missing or wrong")
    return _caller(
        tx,
        found,
        address=request.address,
        session=session_id,
        unverified=not verified,
        must_change=bool(found[0][PROOF - 1]),
    )


def _is_key(given: str | None, digest: str) -> bool:
    return given is not None and hmac.compare_digest(ids.digest(given), digest)


UNKNOWN_PAGE = "unknown"
"""The browser was sent here by a link and says not from where."""


class MustChange(Denied):
    """The password has to be changed first."""


def refusal(tx: Tx, caller: Caller, made: Command) -> Refusal | None:
    """Why the caller may not call the command: what she has proved does not allow it, or else her role does not."""
    no = twofactor.refusal(caller, made) or apikeys.refusal(caller, made)
    if no is None and caller.extra.get("must_change") and made.name not in MUST_CHANGE:
        no = MustChange("Change your password first, with updateUser: the one you have was given to you by an admin.")
    return no or access.refusal(tx, caller, made)


def still(tx: Tx, request: Request) -> Caller:
    """Who a request that was let in comes from, asked again later; Unauthorized when it would not be let in any more.

    A signature is not looked at a second time, since it may have an end of its own; whose key it was made with is.
    """
    low = {k.lower(): v for k, v in request.params.items()}
    if low.get("apikey") and "signature" in low:
        found = _who(tx, _KEYS, {"key": low["apikey"]})
        if found is None:
            raise Unauthorized(REFUSED, inner="the API key is gone")
        return _by_key(tx, found, request)
    caller = by_session(tx, request)
    if caller is None:
        raise Unauthorized("unable to verify user credentials", inner="no session")
    return caller


async def keep_alive(door: Door, cookie: str) -> None:
    """Note that a session is in use."""
    await door.engine.writing(
        lambda tx: tx.execute(
            sa.update(Session.table).where(Session.c.cookie_digest == ids.digest(cookie)).values(used=time.time())
        )
    )


async def end(door: Door, cookie: str) -> int:
    """End the session of this cookie; returns how many there were."""
    return int(await door.engine.writing(lambda tx: sessions.close(tx, cookie)))


def system(tx: Tx) -> Caller:
    """The system itself: the caller on the integration port."""
    return tx.remembered("system caller", (Account, User, Domain), lambda: _system(tx))


def _system(tx: Tx) -> Caller:
    account = tx.first(Account, Account.c.name == "system")
    assert account is not None, "the installation has no system account"
    user = tx.first(User, User.c.account_id == account.id)
    domain = tx.one(Domain, account.domain_id)
    return Caller(
        user_id=user.id if user else "",
        username="system",
        account_id=account.id,
        account=account.name,
        domain_id=domain.id,
        domain_trail=domain.trail,
        role=RoleType.ADMIN,
        role_id=account.role_id,
        user_number=user.number if user else 0,
        internal=True,
    )


LOGIN_FIELDS = (
    *(Field(n) for n in ("username", "userid", "domainid")),
    Field("timeout", "integer"),
    *(Field(n) for n in ("account", "firstname", "lastname", "type", "timezone", "timezoneoffset", "registered")),
    *(Field(n) for n in ("sessionkey", "is2faenabled", "is2faverified", "providerfor2fa", "issuerfor2fa")),
    Field("managementserverid"),
    Field("passwordchangerequired", "boolean"),
)
LOGIN_PARAMS = (
    Param("username", required=True, doc="name of the user"),
    Param("password", required=True, secret=True, doc="the password"),
    Param("domain", doc="path of the user's domain, as ROOT/sales; default: ROOT"),
    Param("domainId", "long", doc="internal number of the domain, instead of its path"),
)


@dataclass
class Way:
    """How somebody proves a password elsewhere.

    `ask` is given the password and answers what it learnt, or None when it is wrong; `settle` makes a user of that in the
    transaction that follows, or refuses.
    """

    ask: Callable[[str], Awaitable[Any]]
    settle: Callable[[Tx, Any], User]


WAYS: list[Callable[[Tx, Domain, User | None, str], Way | None]] = []
"""Ways for users whose password is not kept here, and for people who are no users yet; the first that answers is taken."""


@dataclass
class Seen:
    """Who wants to sign in, as far as the rows say."""

    domain: Domain | None
    user: User | None
    way: Way | None
    native: bool
    """Whether the password is kept here."""
    limit: int


def domain_of(tx: Tx, request: Request) -> tuple[Domain | None, str]:
    """The domain that a sign-in names, and how it names it; Unauthorized when its id is of none."""
    domain_id = request.given("domainid")
    if domain_id:
        number = ids.whole(domain_id)
        found = tx.first(Domain, Domain.c.number == number) if number is not None else tx.get(Domain, domain_id)
        if found is None:
            raise Unauthorized(f"Unable to find the domain by id={domain_id[:80]}")
        return found, domain_id
    path = request.params.get("domain", "").strip("/")
    if path.upper() == "ROOT" or path.upper().startswith("ROOT/"):
        path = path[5:]
    return tx.first(Domain, Domain.c.path == ("ROOT/" + path if path else "ROOT")), path


def issued(tx: Tx, door: Door, user: User, request: Request, how: str) -> tuple[dict[str, Any], list[Any]]:
    """Begin the session of a user who has proved who she is: the answer of login, and the cookies.

    Unauthorized when the user or the account is not enabled.
    """
    caller = caller_of(tx, user)
    asked, mine, issuer = twofactor.standing(tx, user)
    _, cookie, key = sessions.open_session(
        tx, user.id, verified=not asked, instead_of=request.cookies.get("JSESSIONID", "")
    )
    account = tx.known(Account, user.account_id)
    body: dict[str, Any] = {
        "username": user.username,
        "userid": user.id,
        "domainid": user.domain_id,
        "timeout": sessions.idle_seconds(tx),
        "account": account.name,
        "firstname": user.firstname,
        "lastname": user.lastname,
        "type": str(account.type),
        "timezone": user.timezone,
        "timezoneoffset": _offset(user.timezone),
        "registered": "true" if apikeys.keys_of(tx, [user.id]) else "false",
        "sessionkey": key,
        "is2faenabled": "true" if asked else "false",
        "is2faverified": "false" if asked else "true",
        "providerfor2fa": "totp" if mine else None,
        "issuerfor2fa": issuer if asked else None,
        "managementserverid": door.engine.session if caller.root else None,
        "passwordchangerequired": True if user.change_password else None,
    }
    events.record(
        tx,
        "USER.LOGIN",
        f"user has logged in from {request.address or 'here'} by {how}",
        account_id=user.account_id,
        domain_id=user.domain_id,
        user_id=user.id,
        username=user.username,
        resource=user,
    )
    return {k: v for k, v in body.items() if v is not None}, sessions.cookies(tx, cookie, key, https=request.secure)


def _offset(zone: str | None) -> str | None:
    """Hours from UTC, as `9.0`."""
    if not zone:
        return None
    try:
        found = datetime.now(ZoneInfo(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError):
        return None
    return None if found is None else str(found.total_seconds() / 3600)


@command("login", shape="flat", open=True, fields=LOGIN_FIELDS, takes=LOGIN_PARAMS)
async def login(door: Door, entry: Entry) -> Any:
    """Signs a user in with a password and begins a session. POST only.

    Instead of the password a company's own sign-in page may give timestamp (milliseconds since 1970) and signature, made
    with the key that the setting security.singlesignon.key has.

    username: the user's name
    password: the user's password
    domain: path of the user's domain, as /sales/asia; default: ROOT
    """
    request = entry.request
    if not request.post:
        raise WrongMethod("Please use HTTP POST to authenticate using this API")
    username, password = request.params.get("username", ""), request.params.get("password", "")
    if username and not password and request.given("timestamp") and request.given("signature"):
        return await _by_shared_key(door, entry, username)
    if request.foreign:
        raise foreign(request)
    if not username or not password:
        raise Denied(f"Failed to authenticate user {username}; please provide valid credentials")

    def seek(tx: Tx) -> tuple[Seen, str]:
        domain, said = domain_of(tx, request)
        user = tx.first(User, User.c.username == username, User.c.domain_id == domain.id) if domain else None
        native = user is not None and (
            user.source == "native" or (user.source == "saml2disabled" and PASSWORD_AFTER_SAML.get(tx))
        )
        way = None
        if domain is not None and not native:
            way = next((w for make in WAYS if (w := make(tx, domain, user, username)) is not None), None)
        return Seen(domain, user, way, native, lockout.allowed(tx)), said

    seen, said = await door.engine.reading(seek)
    lockout.refuse(request.address, seen.limit)
    native = seen.user if seen.native else None
    learnt: Any = None
    if seen.way is not None:
        learnt = await seen.way.ask(password)
        good = learnt is not None
    else:
        good = await check_password(native, password)
    if not good:
        lockout.failures.add(request.address)
    # Those who waited for their turn are judged by what came out meanwhile.
    lockout.refuse(request.address, seen.limit)
    wrong = Denied(
        f"Failed to authenticate user {username[:255]} in domain {said or 1}; please provide valid credentials"
    )

    def settle(tx: Tx) -> Any:
        user = seen.user
        if user is not None:
            user = tx.locked(User, user.id)
            if user.state != "enabled":
                return _disabled(user, said) if good else wrong
            if not good:
                return _failed(tx, user, request, wrong)
        elif not good:
            return wrong
        if seen.way is not None:
            user = seen.way.settle(tx, learnt)
        assert user is not None
        if user.failed_logins:
            tx.set(user, failed_logins=0)
        if native is not None and credentials.hasher.check_needs_rehash(user.password_hash):
            tx.set(user, password_hash=credentials.hash_password(password))
        return issued(tx, door, user, request, "password" if seen.way is None else user.source)

    out = await door.engine.writing(settle)
    if isinstance(out, Refusal):
        raise out
    body, cookies = out
    entry.cookies += cookies
    return body


def _disabled(user: User, said: str) -> Denied:
    return Denied(
        f"User {user.username} in domain {said or 'ROOT'} is disabled/locked. Please contact the administrator."
    )


def _failed(tx: Tx, user: User, request: Request, wrong: Refusal) -> Refusal:
    """Count a wrong password; the last one that is allowed disables the user."""
    failed, allowed = user.failed_logins + 1, LOGIN_ATTEMPTS.get(tx)
    out = bool(allowed) and failed >= allowed
    tx.set(user, failed_logins=failed, state="disabled" if out else user.state)
    if out:
        events.record(
            tx,
            "USER.DISABLE",
            f"{failed} failed sign-ins, the last from {request.address or 'here'}: the user is disabled",
            account_id=user.account_id,
            domain_id=user.domain_id,
            user_id=user.id,
            username=user.username,
            resource=user,
            level="WARN",
        )
    return wrong


async def _by_shared_key(door: Door, entry: Entry, username: str) -> Any:
    """Sign-in on the word of a company's own page, which has the shared key: no password, but a fresh signature."""
    request = entry.request

    def settle(tx: Tx) -> Any:
        domain, said = domain_of(tx, request)
        wrong = Denied(
            f"Failed to authenticate user {username[:255]} in domain {said or 1}; please provide valid credentials",
            inner="shared key",
        )
        key = SHARED_KEY.get(tx)
        if len(key) < SHARED_KEY_LEAST:
            wrong.inner = f"security.singlesignon.key is empty or shorter than {SHARED_KEY_LEAST}"
            return wrong
        stamp, tolerance = ids.whole(request.given("timestamp")), TOLERANCE.get(tx)
        if stamp is None or abs(time.time() * 1000 - stamp) > tolerance or not _signed(request.params, key):
            return wrong
        user = tx.first(User, User.c.username == username, User.c.domain_id == domain.id) if domain else None
        if user is None or user.source.startswith("saml2"):
            return wrong
        if user.state != "enabled":
            return _disabled(user, said)
        until = (stamp + tolerance) / 1000 + 1
        if not spend(tx, "shared key", request.given("signature"), until):
            wrong.inner = "the signature was used before"
            return wrong
        return issued(tx, door, user, request, "shared key")

    seen = await door.engine.reading(lockout.allowed)
    lockout.refuse(request.address, seen)
    out = await door.engine.writing(settle)
    if isinstance(out, Refusal):
        lockout.failures.add(request.address)
        raise out
    body, cookies = out
    entry.cookies += cookies
    return body


def _signed(params: dict[str, str], key: str) -> bool:
    try:
        given = base64.b64decode(next(v for k, v in params.items() if k.lower() == "signature"), validate=True)
    except (binascii.Error, ValueError, StopIteration):
        return False
    good = False
    for text in candidates(params):
        good |= hmac.compare_digest(hmac.new(key.encode(), text.encode(), hashlib.sha1).digest(), given)
    return good


@command("logout", shape="flat", open=True, fields=(Field("description"),))
async def logout(door: Door, entry: Entry) -> dict[str, str]:
    """Ends the session, for every manager at once."""
    request = entry.request
    cookie = request.cookies.get("JSESSIONID")
    if cookie and request.foreign:
        raise foreign(request)

    def leave(tx: Tx) -> int:
        found = _who(tx, _SESSIONS, {"key": ids.digest(cookie or "")})
        if found is None or not cookie:
            return 0
        given = request.params.get("sessionkey") or (request.cookies.get("sessionkey") if request.post else None)
        if not _is_key(given, found[0][PROOF + 1]):
            return -1
        row = found[0]
        events.record(
            tx, "USER.LOGOUT", "user has logged out", account_id=row[4], domain_id=row[8], user_id=row[0],
            username=row[1], resource_kind="user", resource_id=row[0],
        )  # fmt: skip
        return sessions.close(tx, cookie)

    gone = await door.engine.writing(leave)
    if gone < 0:
        raise Unauthorized(BAD_SESSION, inner="session key is missing or wrong")
    for name in request.cookies:
        entry.cookies.append((name, "", {"max_age": 0, "path": "/client" if name == "JSESSIONID" else "/"}))
    if not gone:
        raise Invalid("Session not found for the logout process.")
    return {"description": "success"}
