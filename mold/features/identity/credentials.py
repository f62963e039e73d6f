"""What proves who somebody is: passwords, API keys, sessions."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from mold.api.permit import Policy
from mold.base import ids
from mold.store import Resource, Tx, column, created, refers

if TYPE_CHECKING:
    from mold.features.identity.users import User

hasher = PasswordHasher()
checks = ThreadPoolExecutor(1, "argon2")
"""Password checks take 100 ms and 64 MiB each: one at a time, away from every other pool."""


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


def hash_password(password: str) -> str:
    """What is stored of a password (argon2id)."""
    return hasher.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether a password is the one that was stored; takes 100 ms."""
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
    good = await loop.run_in_executor(checks, matches, user.password_hash if user else _decoy, password)
    return good and user is not None


def new_keys(tx: Tx, user: User, apikey: str | None = None, secret: str | None = None) -> KeyPair:
    """Give the user an API key and a secret, fresh ones unless they are said; earlier ones end."""
    for old in tx.find(KeyPair, KeyPair.c.user_id == user.id):
        tx.remove(old)
    return tx.add(KeyPair(user_id=user.id, apikey=apikey or ids.token(32), secret=secret or ids.token(48)))
