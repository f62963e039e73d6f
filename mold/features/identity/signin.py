"""Signing in: who a request comes from. Password and session, signature, integration port.

A session has two secrets: the cookie JSESSIONID and the session key, which the client repeats as a parameter;
both are needed, so a foreign page that makes the browser send the cookie gets nothing.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Param, command
from mold.api.door import Door, Entry, Request
from mold.api.permit import Caller, RoleType
from mold.api.sign import REFUSED, verify
from mold.base import ids
from mold.base.errors import Denied, Invalid, Refusal, Unauthorized
from mold.features.identity import roles
from mold.features.identity.accounts import Account
from mold.features.identity.credentials import KeyPair, Session, check_password, hasher
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Member, Project
from mold.features.identity.users import User
from mold.features.infra.settings import setting
from mold.store import Prepared, Tx

SESSION_TIMEOUT = setting("session.timeout", 30, "Minutes that a session may be idle.", group="Access")
LOGIN_ATTEMPTS = setting(
    "incorrect.login.attempts.allowed", 5, "Failed sign-ins before a user is disabled; 0: never.", group="Access"
)
SECURE_COOKIE = setting("enable.secure.session.cookie", False, "Send session cookies over HTTPS only.", group="Access")


class WrongMethod(Refusal):
    """Sign-in by GET."""

    code, cs = 405, 0
    plain = True


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
            a.role_id, in_it.project_account_id, in_it.role, in_it.id, in_it.project_role_id, in_it.user_id, *more,
        )
        .select_from(User.table)
        .join(Account.table, a.id == u.account_id)
        .join(Domain.table, d.id == a.domain_id)
        .outerjoin(
            projects, sa.and_(in_it.account_id == a.id, sa.or_(in_it.user_id.is_(None), in_it.user_id == u.id))
        )
        .where(match)
    )  # fmt: skip


PROOF = 16
"""Where in a row of `_asking` what proves it begins."""
_PEOPLE = Prepared(_asking(User.c.id == sa.bindparam("key")))
_KEYS = Prepared(
    _asking(KeyPair.c.apikey == sa.bindparam("key"), KeyPair.c.secret).join(
        KeyPair.table, KeyPair.c.user_id == User.c.id
    )
)
_SESSIONS = Prepared(
    _asking(Session.c.cookie_digest == sa.bindparam("key"), Session.c.id, Session.c.key_digest, Session.c.used).join(
        Session.table, Session.c.user_id == User.c.id
    )
)


def _who(tx: Tx, statement: Prepared, given: dict[str, str]) -> list[Any] | None:
    return tx.rows(statement, given) or None


def _caller(tx: Tx, rows: list[Any], *, address: str, session: str | None) -> Caller:
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
        over=None if role_id == roles.ROOT_ADMIN else lambda: roles.not_above(tx, role_id),
        projects=tuple(places),
        project_roles={a: (p, own) for a, (place, p, own) in places.items() if own and place != "Admin"},
        address=address,
        session=session,
        user_number=number,
        extra={"administers": tuple(a for a, (place, _, _) in places.items() if place == "Admin")},
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
    return _caller(tx, found, address=request.address, session=None)


def by_session(tx: Tx, request: Request) -> Caller | None:
    """The caller of a request with a session; None when there is no session cookie."""
    cookie, key = request.cookies.get("JSESSIONID"), request.params.get("sessionkey")
    if not cookie:
        return None
    found = _who(tx, _SESSIONS, {"key": ids.digest(cookie)})
    limit = SESSION_TIMEOUT.get(tx) * 60
    if found is None or time.time() - found[0][PROOF + 2] > limit:
        raise Unauthorized("unable to verify user credentials", inner="no such session, or idle too long")
    session_id, key_digest = found[0][PROOF : PROOF + 2]
    if not key or ids.digest(key) != key_digest:
        raise Unauthorized("unable to verify user credentials", inner="session key is missing or wrong")
    return _caller(tx, found, address=request.address, session=session_id)


def still(tx: Tx, request: Request) -> Caller:
    """Who a request that was let in comes from, asked again later; Unauthorized when it would not be let in any more.

    A signature is not looked at a second time, since it may have an end of its own; whose key it was made with is.
    """
    low = {k.lower(): v for k, v in request.params.items()}
    if low.get("apikey") and "signature" in low:
        found = _who(tx, _KEYS, {"key": low["apikey"]})
        if found is None:
            raise Unauthorized(REFUSED, inner="the API key is gone")
        return _caller(tx, found, address=request.address, session=None)
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
    return int(
        await door.engine.writing(
            lambda tx: (
                tx.execute(sa.delete(Session.table).where(Session.c.cookie_digest == ids.digest(cookie))).rowcount
            )
        )
    )


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


LOGIN_FIELDS = tuple(
    Field(n, "integer" if n == "timeout" else "string")
    for n in (
        "username",
        "userid",
        "domainid",
        "timeout",
        "account",
        "firstname",
        "lastname",
        "type",
        "timezone",
        "registered",
        "sessionkey",
        "is2faenabled",
        "is2faverified",
        "managementserverid",
    )
)


LOGIN_PARAMS = (
    Param("username", required=True, doc="name of the user"),
    Param("password", required=True, secret=True, doc="the password"),
    Param("domain", doc="path of the user's domain, as ROOT/sales; default: ROOT"),
    Param("domainId", "long", doc="internal number of the domain, instead of its path"),
)


@command("login", shape="flat", open=True, fields=LOGIN_FIELDS, takes=LOGIN_PARAMS)
async def login(door: Door, entry: Entry) -> Any:
    """Signs a user in with a password and begins a session. POST only.

    username: the user's name
    password: the user's password
    domain: path of the user's domain, as /sales/asia; default: ROOT
    """
    request = entry.request
    if not request.post:
        raise WrongMethod("Please use HTTP POST to authenticate using this API")
    params = request.params
    username, password = params.get("username"), params.get("password")
    if not username or not password:
        raise Denied(f"Failed to authenticate user {username or ''}; please provide valid credentials")
    domain_id = params.get("domainId") or params.get("domainid")
    path = (params.get("domain") or "").strip("/")
    if path.upper() == "ROOT" or path.upper().startswith("ROOT/"):
        path = path[5:]

    def seek(tx: Tx) -> User | None:
        if domain_id:
            found = (
                tx.first(Domain, Domain.c.number == int(domain_id))
                if ids.whole(domain_id) is not None
                else tx.get(Domain, domain_id)
            )
            if found is None:
                raise Unauthorized(f"Unable to find the domain by id={domain_id[:80]}")
        else:
            found = tx.first(Domain, Domain.c.path == ("ROOT/" + path if path else "ROOT"))
        return tx.first(User, User.c.username == username, User.c.domain_id == found.id) if found else None

    user = await door.engine.reading(seek)
    good = await check_password(user, password)
    wrong = Denied(
        f"Failed to authenticate user {username[:255]} in domain {domain_id or path or 1}; please provide valid credentials"
    )

    def settle(tx: Tx) -> Any:
        if user is None:
            return wrong
        fresh = tx.one(User, user.id)
        if fresh.state != "enabled":
            return (
                Denied(
                    f"User {fresh.username} in domain {path or 'ROOT'} is disabled/locked. Please contact the administrator."
                )
                if good
                else wrong
            )
        if not good:
            failed = fresh.failed_logins + 1
            allowed = LOGIN_ATTEMPTS.get(tx)
            tx.set(fresh, failed_logins=failed, state="disabled" if allowed and failed >= allowed else fresh.state)
            return wrong
        caller = caller_of(tx, fresh)
        if fresh.failed_logins:
            tx.set(fresh, failed_logins=0)
        if hasher.check_needs_rehash(fresh.password_hash):
            tx.set(fresh, password_hash=hasher.hash(password))
        old = request.cookies.get("JSESSIONID")
        if old:
            tx.execute(sa.delete(Session.table).where(Session.c.cookie_digest == ids.digest(old)))
        tx.execute(sa.delete(Session.table).where(Session.c.used < time.time() - SESSION_TIMEOUT.get(tx) * 60))
        cookie, key = ids.token(24), ids.token(20)
        tx.add(
            Session(user_id=fresh.id, cookie_digest=ids.digest(cookie), key_digest=ids.digest(key), used=time.time())
        )
        account = tx.one(Account, fresh.account_id)
        keys = tx.first(KeyPair, KeyPair.c.user_id == fresh.id)
        body = {
            "username": fresh.username,
            "userid": fresh.id,
            "domainid": fresh.domain_id,
            "timeout": SESSION_TIMEOUT.get(tx) * 60,
            "account": account.name,
            "firstname": fresh.firstname,
            "lastname": fresh.lastname,
            "type": str(account.type),
            "timezone": fresh.timezone,
            "registered": "true" if keys else "false",
            "sessionkey": key,
            "is2faenabled": "false",
            "is2faverified": "true",
        }
        if caller.root:
            body["managementserverid"] = door.engine.session
        return cookie, key, SECURE_COOKIE.get(tx), {k: v for k, v in body.items() if v is not None}

    out = await door.engine.writing(settle)
    if isinstance(out, Refusal):
        raise out
    cookie, key, secure, body = out
    entry.cookies.append(
        ("JSESSIONID", cookie, {"httponly": True, "path": "/client", "samesite": "lax", "secure": secure})
    )
    entry.cookies.append(("sessionkey", key, {"httponly": True, "samesite": "lax", "secure": secure}))
    return body


@command("logout", shape="flat", open=True, fields=(Field("description"),))
async def logout(door: Door, entry: Entry) -> dict[str, str]:
    """Ends the session."""
    cookie = entry.request.cookies.get("JSESSIONID")
    gone = await end(door, cookie) if cookie else 0
    for name in entry.request.cookies:
        entry.cookies.append((name, "", {"max_age": 0, "path": "/client" if name == "JSESSIONID" else "/"}))
    if not gone:
        raise Invalid("Session not found for the logout process.")
    return {"description": "success"}
