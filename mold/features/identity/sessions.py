"""Sessions: signed-in browsers. A session has two secrets, of which only digests are kept.

The cookie JSESSIONID goes along by itself; the session key must be repeated by the page, so a foreign page that makes
the browser send the cookie gets nothing.  Both are needed, and a session ends for every manager at once: it is a row.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from mold.api.permit import Policy
from mold.base import ids
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting

TIMEOUT = setting("session.timeout", 30, "How long a session may be idle.", group="Access", low=0, unit="minutes")
SECURE = setting(
    "enable.secure.session.cookie",
    False,
    "Send session cookies over HTTPS only; without it those of sessions that began over HTTPS.",
    group="Access",
)
SAME_SITE = setting(
    "api.sessionkey.cookie.samesite",
    "Lax",
    "The SameSite attribute of the cookies of a session.",
    group="Access",
    choices=("Lax", "Strict", "NoneAndSecure", "Null"),
)
LOCATIONS = setting(
    "api.sessionkey.check.locations",
    "CookieAndParameter",
    "Where a request must repeat the session key.",
    group="Access",
    choices=("CookieOrParameter", "ParameterOnly", "CookieAndParameter"),
)


class Session(Resource):
    """A signed-in session.

    `verified`: nothing is left to prove (a second factor). `proved`: when a second factor was last shown in it.
    """

    kind = "login_session"
    title = "session"
    policy = Policy()

    user_id: str = refers("user", cascade=True, filter=False)
    cookie_digest: str = column(unique=True, hidden=True)
    key_digest: str = column(hidden=True)
    used: float = column(hidden=True)
    verified: bool = column(default=True, hidden=True)
    proved: float | None = column(default=None, hidden=True)
    created: str = created()


def idle_seconds(tx: Tx) -> int:
    """How long a session may be idle."""
    return TIMEOUT.get(tx) * 60


def open_session(tx: Tx, user_id: str, *, verified: bool, instead_of: str = "") -> tuple[Session, str, str]:
    """A new session with its cookie and its key; the one of the cookie `instead_of` ends, and those that were idle too long."""
    if instead_of:
        close(tx, instead_of)
    tx.execute(sa.delete(Session.table).where(Session.c.used < time.time() - idle_seconds(tx)))
    cookie, key = ids.token(24), ids.token(20)
    made = Session(
        user_id=user_id,
        cookie_digest=ids.digest(cookie),
        key_digest=ids.digest(key),
        used=time.time(),
        verified=verified,
    )
    return tx.add(made), cookie, key


def close(tx: Tx, cookie: str) -> int:
    """End the session of this cookie; how many there were."""
    return int(tx.execute(sa.delete(Session.table).where(Session.c.cookie_digest == ids.digest(cookie))).rowcount)


def close_all(tx: Tx, user_id: str, *, but: str | None = None) -> None:
    """End the sessions of a user: her password or her second factor is another one now. `but`: id of one that stays."""
    where = [Session.c.user_id == user_id, *([Session.c.id != but] if but else [])]
    tx.execute(sa.delete(Session.table).where(*where))


def cookies(tx: Tx, cookie: str, key: str, *, https: bool) -> list[tuple[str, str, dict[str, Any]]]:
    """The two cookies of a session as the door sets them."""
    word = SAME_SITE.get(tx)
    secure = https or SECURE.get(tx) or word == "NoneAndSecure"
    site = {"Lax": "lax", "Strict": "strict", "NoneAndSecure": "none", "Null": None}[word]
    about = {"httponly": True, "samesite": site, "secure": secure}
    # The session's own cookie never goes without a rule: a browser's own idea of one may be none.
    own = {**about, "path": "/client", "samesite": site or "lax"}
    return [("JSESSIONID", cookie, own), ("sessionkey", key, about)]
