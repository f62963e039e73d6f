"""Passwords: how they are kept and checked."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

if TYPE_CHECKING:
    from mold.features.identity.users import User

hasher = PasswordHasher()
checks = ThreadPoolExecutor(1, "argon2")
"""Password checks take 100 ms and 64 MiB each: one at a time, away from every other pool."""


def hash_password(password: str) -> str:
    """What is stored of a password (argon2id)."""
    return hasher.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether a password is the one that was stored; takes 100 ms."""
    try:
        return hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
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
