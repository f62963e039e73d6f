"""Identifiers and secrets. All tokens have at least 128 bits from the system's generator."""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.IGNORECASE)
LABEL = re.compile(r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)$")


def new_id() -> str:
    """A new random id (UUID version 4)."""
    return str(uuid.uuid4())


def token(size: int = 32) -> str:
    """A URL-safe secret of `size` random bytes."""
    return secrets.token_urlsafe(size)


def digest(secret: str) -> str:
    """What is stored of a random token: its SHA-256, hex. Not for passwords."""
    return hashlib.sha256(secret.encode()).hexdigest()


def password(length: int = 12) -> str:
    """A password without look-alike characters, at least one digit, upper and lower case."""
    alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
    while True:
        word = "".join(secrets.choice(alphabet) for _ in range(length))
        if any(c.isdigit() for c in word) and any(c.isupper() for c in word) and any(c.islower() for c in word):
            return word


def is_label(word: str) -> bool:
    """Whether `word` is one RFC 1123 host-name label (letters, digits, hyphen, at most 63)."""
    return bool(LABEL.match(word)) and not word.isdigit()


def label(text: str) -> str:
    """`text` made into a host-name label; empty if nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")[:63].strip("-")


def whole(text: str) -> int | None:
    """The number that `text` writes in ASCII digits, few enough for a database; None when it is none.

    `str.isdigit` alone lets through what `int` refuses (`²`), and numbers that no column holds.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
